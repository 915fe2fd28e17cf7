"""When not to train: one function for each case, with the evidence, and what to do instead."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from postlude.advice.evidence import IN_EARNEST_ROWS, IN_EARNEST_SHARE, Evidence, Part
from postlude.advice.routes import (
    FEWEST_ASKED,
    FEWEST_SIDE,
    LOPSIDED,
    SOLVES_ALL,
    Reason,
    counted_rows,
    in_order,
    pass_rate,
)

FEWEST = {"tests": 8, "golds": 8, "prompts": 8, "text": 20}
"""Distinct rows of these below which nothing general can be learned; of the others `FEWEST_OTHERS`."""
FEWEST_OTHERS = 20
CONTRADICTORY = 0.3
"""Share of rows that others contradict from which on they teach nothing."""
FEW_FOR_FORM = 300
"""Rows below which a form of answers is better asked for in the prompt."""


@dataclass(frozen=True)
class Stop:
    """Why not to train."""

    name: str
    headline: str
    reasons: tuple[Reason, ...]
    instead: tuple[str, ...]
    unless: str
    """What would change the answer."""
    verdict: Literal["do not train", "name the columns"] = "do not train"


def _main(e: Evidence) -> Part:
    return e.parts[0]


def unnamed(e: Evidence) -> Stop | None:
    """What may be feedback stands in columns that nothing names: any advice would pass it over."""
    most = max((part.distinct for part in e.parts), default=0)
    first = max(e.unnamed, key=lambda one: one.rows, default=None)
    if first is None or first.rows < min(IN_EARNEST_ROWS, IN_EARNEST_SHARE * most):
        return None
    shown = tuple(Reason(name, "; ".join(values) or "empty") for name, values in first.columns)
    asked = f"postlude advise {shlex.quote(first.path)} --columns "
    if first.way_out:
        headline = f"rewrite the rows first: the layout of {first.layout} leaves a choice"
        again = "then: postlude advise OUT.jsonl"
        return Stop(
            "layout", headline, shown, (first.way_out, again), "rows in columns that are read", "name the columns"
        )
    named = ", ".join(name for name, _ in first.columns)
    guess = shlex.quote(",".join(f"{name}={column}" for name, column in first.guess))
    prompt = shlex.quote(f"prompt={dict(first.guess)['prompt']}")
    return Stop(
        "unnamed", f"name the columns: nothing here says what {named} hold{'s' if len(shown) == 1 else ''}", shown,
        (f"say which column is what, for example (put each where it belongs): {asked}{guess}",
         f"or, where the others are no feedback: {asked}{prompt}",
         "names: prompt, completion, chosen, rejected, label, answer, completions with scores or ranks, and first, "
         "second with preference"),
        "columns with names; their values may be the feedback, and then the advice would be another",
        "name the columns",
    )  # fmt: skip


def nothing_preferred(e: Evidence) -> Stop | None:
    """All compared or judged rows prefer nothing."""
    left = sum(e.left.values())
    if not left or sum(part.rows for part in e.parts) > IN_EARNEST_SHARE * left:
        return None
    said = tuple(Reason("nothing says which answer is better", f"{count:,} {what}") for what, count in e.left.items())
    return Stop(
        "nothing-preferred", "do not train: no pair prefers anything" if any("prefer" in what for what in e.left)
        else "do not train: no answer is judged", said,
        ("look at how the rows were made: two columns may be copies of one (postlude data check FILE names the rows)",),
        "rows whose answers differ, or are judged",
    )  # fmt: skip


def too_few(e: Evidence) -> Stop | None:
    """A handful of rows."""
    usable = [p for p in e.parts if not p.others]
    if any(p.distinct >= FEWEST.get(p.feedback, FEWEST_OTHERS) for p in usable):
        return None
    part = _main(e)
    least = FEWEST.get(part.feedback, FEWEST_OTHERS)
    repeats = f" ({part.rows:,} rows, of which {part.repeated:,} only repeat others)" if part.repeated else ""
    return Stop(
        "too-few", "do not train: too little data",
        (Reason("so few rows would be memorised, and no held-out set could tell", counted_rows(part) + repeats),),
        ("put the best of them into the prompt as examples", "collect more: a few hundred distinct rows change "
            "the answer"),
        f"{least} distinct rows at the very least, hundreds to trust",
    )  # fmt: skip


def one_prompt(e: Evidence) -> Stop | None:
    """All rows ask the same."""
    if e.parts[0].feedback == "text" or max(part.prompts for part in e.parts) > 2 or e.parts[0].distinct < 3:
        return None
    text = "every row asks the same, so the model would learn one answer"
    return Stop(
        "one-prompt", "do not train: all rows ask the same",
        (Reason(text, f"{e.parts[0].prompts} different prompt in {e.parts[0].distinct:,} rows"),),
        ("write the answer that you want into a system prompt", "collect different prompts"), "different prompts",
    )  # fmt: skip


def all_the_same(e: Evidence) -> Stop | None:
    """One right answer, or one written answer, for everything."""
    part = next((p for p in e.parts if p.constant and not p.others), None)
    if part is None or part is not _main(e):
        return None
    what = {"golds": "right answer", "pairs": "chosen answer", "lists": "best answer"}.get(part.feedback, "answer")
    return Stop(
        "all-the-same", f"do not train: the {what} is always the same",
        (Reason("a model would learn to say it to everything", f"one {what} in {part.distinct:,} rows"),),
        ("if it is what you want, return it without a model", f"collect rows with different {what}s"),
        f"different {what}s",
    )  # fmt: skip


def contradictory(e: Evidence) -> Stop | None:
    """Rows that say the opposite of each other."""
    part = _main(e)
    # each contradiction names one row and the one it contradicts
    share = (
        min(1.0, 2 * part.conflicts / part.distinct) if part.feedback != "thumbs" else part.conflicts / part.distinct
    )
    if share < CONTRADICTORY or part.conflicts < 5:
        return None
    return Stop(
        "contradictory", "do not train: the data contradict themselves",
        (Reason("what one row prefers another rejects, so the best a model can do is nothing",
                f"{part.conflicts:,} contradictions in {part.distinct:,} rows"),),
        ("find out who judged, by which rule, and let them judge the contradicted rows again",
         "postlude data check FILE names the first of them"),
        f"fewer than {CONTRADICTORY:.0%} of the rows contradicted",
    )  # fmt: skip


def only_bad(e: Evidence) -> Stop | None:
    """Every thumb is down."""
    part = _main(e)
    if part.feedback != "thumbs" or part.up:
        return None
    return Stop(
        "only-bad", "do not train: every answer is a bad one",
        (Reason("nothing says what to do instead, and a model that only unlearns forgets how to write",
                f"{part.distinct:,} down, 0 up"),),
        ("postlude pairs MODEL --data DATA --given rejected --reward R: the model's own better answers make pairs",),
        "some answers that are good",
    )  # fmt: skip


def solved(e: Evidence) -> Stop | None:
    """The model does it already."""
    if e.base is None or not e.base.graded or e.part("pairs", "lists", "thumbs", "steps"):
        return None
    b = e.base
    target = e.goal.target
    if target is not None and b.right.low >= target:
        return Stop(
            "target-met", "do not train: the target is met",
            (Reason(f"the model reaches {target:.0%} already", pass_rate(e)),),
            ("use the model as it is", "set a higher target, or take harder prompts"), "a target above the base "
                "pass rate",
        )  # fmt: skip
    if b.prompts < FEWEST_ASKED or b.right.value < SOLVES_ALL or (e.goal.has("shorter") and b.right.value < 2):
        return None
    return Stop(
        "nothing-to-learn", "do not train: nothing to learn from these prompts",
        (Reason("right answers to everything leave no group of answers that differ, so no gradient", pass_rate(e)),),
        ("take harder prompts", 'if answers are too long: --goal "shorter answers"'), "prompts that the model "
            "does not solve",
    )  # fmt: skip


def lopsided(e: Evidence) -> Stop | None:
    """Hardly any good answer among bad ones."""
    part = _main(e)
    if part.feedback != "thumbs" or not 0 < part.up < FEWEST_SIDE or part.up > LOPSIDED * part.distinct:
        return None
    return Stop(
        "too-few-good", "do not train yet: hardly any answer is good",
        (Reason("so few good answers say nothing general, and weights that made up for it would let single rows decide",
                f"{part.up:,} up, {part.down:,} down"),),
        ("collect good answers: write some, or draw them (postlude pairs MODEL --data DATA --given rejected --reward "
         "R)",),
        f"at least {FEWEST_SIDE} good answers",
    )  # fmt: skip


def knowledge(e: Evidence) -> Stop | None:
    """Facts are looked up, not trained in."""
    part = _main(e)
    other = e.goal.has("reasoning", "reward model", "judge", "style", "safer")
    if not e.goal.has("knowledge") or other or part.feedback not in ("text", "answers", "prompts"):
        return None
    text = (
        "facts that change or must be exact are better looked up: training teaches manner, and half-learned "
        "facts come out as confident errors"
    )
    return Stop(
        "retrieval", "do not train yet: retrieval does this better",
        (Reason(text, f'--goal "{e.goal.text}"; {in_order(part)}'),),
        ("search the documents and put what is found into the prompt", "keep these rows to measure whether that works"),
        "a goal about how to answer rather than what is true",
    )  # fmt: skip


def form(e: Evidence) -> Stop | None:
    """A form of answers that a prompt asks for, with little data."""
    part = _main(e)
    if not e.goal.names or {*e.goal.names} - {"format", "cheap", "imitate"} or "format" not in e.goal.names:
        return None
    if part.distinct >= FEW_FOR_FORM or part.feedback in ("pairs", "lists", "thumbs", "tests"):
        return None
    return Stop(
        "prompting", "do not train yet: a prompt does this better",
        (Reason("instruction models keep to a form that the prompt shows with a few examples, or a grammar enforces",
                f'--goal "{e.goal.text}"; only {in_order(part)}'),),
        ("ask for the form in the system prompt, with three of these rows as examples",
         "measure how often it holds: postlude eval MODEL --data DATA --reward json_schema (or format)"),
        f"{FEW_FOR_FORM} rows, or a form that prompting misses",
    )  # fmt: skip


STOPS: Sequence[Callable[[Evidence], Stop | None]] = (
    unnamed, nothing_preferred, too_few, lopsided, one_prompt, contradictory, all_the_same, only_bad, knowledge, form,
    solved,
)  # fmt: skip
"""Looked at in this order; the first that applies is the answer."""
