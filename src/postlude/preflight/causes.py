"""What most likely ails a run whose answers teach nothing: prompts in the wrong form, a temperature, empty answers."""

from __future__ import annotations

from collections.abc import Sequence

from postlude.data import Completion, Prompt
from postlude.prepared import Prepared
from postlude.words import counted

MOST = 0.9
"""Share of the rows from which on a form is no exception but a mistake."""
HOT, COLD = 1.5, 0.3
"""Temperatures beyond which answers are hardly the model's own, or nearly all alike."""

Cause = tuple[str, str, str]
"""Code, what was seen, what to do."""


def of_form(prepared: Prepared) -> Cause | None:
    """Prompts of a chat model that are plain text, or that hold a chat template's marks inside of a message."""
    prompts = prepared.prompts or [group.prompt for group in prepared.items]
    if not prompts or not prepared.facts.tokenizer.chat_template:
        return None
    rendered = sum(1 for p in prompts if not isinstance(p.messages, str) and is_marked(prepared, p))
    if rendered >= MOST * len(prompts):
        return (
            "control-tokens",
            f"the messages of {rendered:,} of {counted(len(prompts), 'row')} hold a chat template's marks already, "
            "and the model reads them as letters: the prompts were rendered before",
            "Leave data.chat out, so that they reach the model as they are, or give the bare questions.",
        )
    plain = sum(1 for p in prompts if isinstance(p.messages, str) and not is_marked(prepared, p))
    if prepared.prompts and plain >= MOST * len(prompts):
        return (
            "plain-text",
            f"{plain:,} of {counted(len(prompts), 'prompt')} are plain text and reach the model as they are, although "
            "it has a chat template",
            "data.chat=true sends each as a user's message.",
        )
    return None


def is_marked(prepared: Prepared, prompt: Prompt) -> bool:
    """Whether its text holds what the chat template writes around turns."""
    turns, text = prepared.renderer.turns, prompt.text
    return bool(turns.pattern.search(text)) or any(mark in text for mark in turns.marks)


def of_answers(answers: Sequence[Completion]) -> str | None:
    """Where most sampled answers say nothing."""
    empty = sum(1 for c in answers if not c.text.strip())
    return f"{empty} of {counted(len(answers), 'answer')} are empty" if answers and 2 * empty > len(answers) else None


def likelier(prepared: Prepared, answers: Sequence[Completion]) -> str:
    """A sentence with what to look at before anything else; empty where nothing stands out."""
    sampling, form, empty = prepared.recipe.sampling, of_form(prepared), of_answers(answers)
    causes = [f"{form[1]} ({form[2].rstrip('.')})"] if form else []
    causes += [empty] if empty else []
    if sampling.temperature > HOT:
        causes.append(f"sampling.temperature is {sampling.temperature:g}, where answers are hardly the model's own")
    elif sampling.temperature < COLD:
        causes.append(f"sampling.temperature is {sampling.temperature:g}, where answers to a prompt are nearly alike")
    return f"The likelier cause: {'; '.join(causes)}. " if causes else ""
