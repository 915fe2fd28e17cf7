"""Section `template`: how a row begins and ends once it is tokens."""

from __future__ import annotations

from typing import Any

from postlude.data import Prompt
from postlude.preflight.causes import is_marked, of_form
from postlude.preflight.report import Section
from postlude.prepared import Prepared

SHOWN = 6
"""Ids at either end of a row that are shown."""


def look_at_template(prepared: Prepared) -> Section:
    """Beginning, opening of the answer, end of turn, padding."""
    section = Section("template", "Template and special tokens")
    prompt, rest = _first(prepared)
    chat = not isinstance(prompt.messages, str)
    _beginning(prepared, prompt, section)
    _end(prepared, section, chat)
    _padding(prepared, section)
    _opening(prepared, prompt, section, chat)
    _ids(prepared, prompt, rest, section)
    form = of_form(prepared)
    if form is not None:
        section.warn(*form)
    elif not chat and not is_marked(prepared, prompt) and prepared.facts.tokenizer.chat_template and prepared.prompts:
        section.note(
            "plain-text",
            "the prompts are plain text and reach the model as they are, although it has a chat template",
            "data.chat=true sends each as a user's message.",
        )
    begins = f"{section.figures['bos']} BOS" if section.figures["bos"] else "no BOS"
    kind = "chat messages" if chat else "plain text"
    section.summary = f"{kind}, {begins}, answers end with {' or '.join(section.figures['ends']) or 'nothing'}"
    return section


def _first(prepared: Prepared) -> tuple[Prompt, tuple[int, ...]]:
    """The first row: its prompt, and the tokens of the answer that is written for it."""
    if prepared.prompts:
        return prepared.prompts[0], ()
    group = prepared.items[0]
    return group.prompt, group.completions[0].tokens


def _beginning(prepared: Prepared, prompt: Prompt, section: Section) -> None:
    """How many BOS there are; two were refused."""
    bos = prepared.facts.tokenizer.bos_token_id
    section.figures["bos"] = _leading(prompt.tokens, bos)


def _leading(ids: tuple[int, ...], token: int | None) -> int:
    """How often a token stands at the beginning."""
    count = 0
    while count < len(ids) and ids[count] == token:
        count += 1
    return count


def _end(prepared: Prepared, section: Section, chat: bool) -> None:
    """What ends an answer: the same for learning and for stopping."""
    tokenizer, renderer = prepared.facts.tokenizer, prepared.renderer
    ends = [str(tokenizer.convert_ids_to_tokens(i)) for i in sorted(renderer.stop_ids)]
    section.figures |= {"ends": ends, "stop_strings": list(prepared.recipe.sampling.stop)}
    if not chat:
        return
    turns = renderer.turns
    section.figures["end_of_turn"] = None if turns.end is None else tokenizer.convert_ids_to_tokens(turns.end)
    if turns.end is None:
        section.warn(
            "answers-never-end",
            "the chat template ends the assistant's turn with no token"
            + (f", but with the letters {turns.end_text!r}" if turns.end_text.strip() else ""),
            f"Name the text as a stop (sampling.stop), or take a template that ends turns with {tokenizer.eos_token}.",
        )


def _padding(prepared: Prepared, section: Section) -> None:
    """Pads stand only inside the engine, and are known by length."""
    tokenizer = prepared.facts.tokenizer
    pad: Any = tokenizer.pad_token
    section.figures["pad"] = pad
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id in prepared.renderer.stop_ids:
        section.note(
            "pad-is-end",
            f"pad = {pad} also ends answers; that is harmless here: padding is told from an end by the length of the "
            "row, never by its id, and the end is trained",
        )


def _opening(prepared: Prepared, prompt: Prompt, section: Section, chat: bool) -> None:
    """What opens the assistant's turn, which a prompt must end with."""
    if not chat:
        return
    renderer = prepared.renderer
    asked = [{"role": "user", "content": "Qhello"}]
    bare, opened = renderer.text(asked), renderer.text(asked, ask=True)
    opening = opened[len(bare) :] if opened.startswith(bare) else ""
    section.figures["opening"] = opening
    if bare == opened:
        section.warn(
            "template-opens-no-turn",
            "the chat template ignores add_generation_prompt: a prompt ends without opening the assistant's turn",
            "Give a template that writes the opening where add_generation_prompt is set (model.chat_template).",
        )


def _ids(prepared: Prepared, prompt: Prompt, rest: tuple[int, ...], section: Section) -> None:
    """First and last ids of the first row, with their texts."""
    ids = [*prompt.tokens, *rest]
    first, last = ids[:SHOWN], ids[max(SHOWN, len(ids) - SHOWN) :]
    section.figures |= {"first_ids": first, "last_ids": last}
    section.table.append(("first row begins", _spelled(prepared, first)))
    if last:
        section.table.append(("and ends" + ("" if rest else " (the answer follows)"), _spelled(prepared, last)))


def _spelled(prepared: Prepared, ids: list[int]) -> str:
    return "  ".join(f"{i} {prepared.facts.tokenizer.decode([i])!r}" for i in ids)
