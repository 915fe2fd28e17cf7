"""What every figure means that a run logs: `lookup("held_out/rewards/accuracy")`.

One table for the live view, the documentation and every other reader; docs/figures.md is made from it. A figure is
logged under its name or, for another kind of rows, with one of `PREFIXES` before it.

What users name themselves is not in the table: what a reward logs (`log_metric`) stands under the reward's label or,
where that is taken, under `logged/`; see `is_chosen`. The built-in rewards' own are here under their usual labels.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from postlude.runs.figures.answers import SETS, of_a_draw, of_a_measurement
from postlude.runs.figures.figure import Better, Figure
from postlude.runs.figures.human import PEOPLE
from postlude.runs.figures.objective import of_the_objective
from postlude.runs.figures.ranks import RANKS
from postlude.runs.figures.ranks import TIMES as TIMES_OF_RANKS
from postlude.runs.figures.serving import AGES, SERVERS, TIMES
from postlude.runs.figures.step import of_a_step
from postlude.runs.figures.truth import TRUTH

__all__ = [
    "BARE",
    "JUDGED",
    "LOGGED",
    "PREFIXES",
    "TIMED",
    "Better",
    "Figure",
    "Prefix",
    "entry_of",
    "is_chosen",
    "lookup",
]

Table = Mapping[str, Figure]
LOGGED = "logged/"
"""Before a figure of a user's reward whose name was taken."""


def _by_name(figures: Iterable[Figure]) -> Table:
    return {figure.name: figure for figure in figures}


OBJECTIVE = _by_name(of_the_objective())
BARE = _by_name((*of_a_step(), *of_the_objective(), *SETS, *of_a_draw(), *AGES, *SERVERS, *RANKS, *TRUTH))
"""Name -> figure of a step, of the stream that leads it; and of truth, whose names say the set themselves."""
JUDGED = _by_name(PEOPLE)
"""Figures that no run logs: `postlude.review.figures` makes them of what people said."""
TIMED = _by_name((*TIMES, *TIMES_OF_RANKS))
"""Figures of timings.jsonl, and of no event."""
WRITTEN = {"loss/policy": replace(OBJECTIVE["loss/policy"], meaning="-log p of written text", better="down")}
"""What means something else where nothing is sampled."""
TEXT = WRITTEN | {n: OBJECTIVE[n] for n in ("entropy", "ratio/max", "trained_tokens", "masked_infinite")}
"""What there is of plain text."""


@dataclass(frozen=True)
class Prefix:
    """Names that stand before those of figures, and what the figures are then of."""

    name: str
    label: str
    """Before the figure's own, in views."""
    meaning: str
    figures: Table


PREFIXES = (
    Prefix("pretrain/held_out/", "held-out text", "of held-out rows of plain text", TEXT),
    Prefix("pretrain/", "text", "of the plain text mixed in", TEXT | {"epoch": BARE["epoch"]}),
    Prefix("held_out/", "held-out", "of held-out rows, under the objective that is trained", {**OBJECTIVE, **WRITTEN}),
    Prefix(
        "greedy/", "held-out greedy", "of the most likely answers to held-out prompts", _by_name(of_a_measurement())
    ),
    Prefix(
        "sampled/",
        "held-out sampled",
        "of answers to held-out prompts, sampled as in training",
        _by_name(of_a_measurement()),
    ),
)
"""The longer before those that they begin with."""


@cache
def lookup(name: str) -> Figure | None:
    """The entry of a logged name, with its places filled in: label and meaning say what a prefix changes.

    None of a name that is not in the table: one that a reward or a user's own method chose.
    """
    for prefix in PREFIXES:
        if name.startswith(prefix.name):
            return _under(prefix, name)
    return _resolved(BARE, name) or JUDGED.get(name) or TIMED.get(name)


def is_chosen(name: str, labels: Collection[str]) -> bool:
    """Whether a figure's name was chosen by a reward of a run whose rewards have these labels."""
    return name.startswith(LOGGED) or any(name.startswith(f"{label}/") for label in labels)


def _under(prefix: Prefix, name: str) -> Figure | None:
    figure = _resolved(prefix.figures, name.removeprefix(prefix.name))
    if figure is None:
        return None
    label = f"{prefix.label} {figure.label}".strip()
    return replace(figure, name=name, label=label, meaning=f"{figure.meaning}; {prefix.meaning}")


def _resolved(table: Table, name: str) -> Figure | None:
    entry = entry_of(table, name)
    if entry is None or entry == name:
        return table.get(name)
    matched = _pattern(entry).fullmatch(name)
    assert matched is not None
    return replace(table[entry], name=name, label=table[entry].label.format(**matched.groupdict()))


def entry_of(table: Table, name: str) -> str | None:
    """The key a name is under: itself before one with a place, of two such the one that says more of it."""
    if name in table:
        return name
    patterns = sorted((n for n in table if "{" in n), key=lambda n: len(re.sub(r"\{\w+\}", "", n)), reverse=True)
    return next((n for n in patterns if _pattern(n).fullmatch(name)), None)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    """`reward/{label}` as an expression; `{k}` holds a number."""
    parts = re.split(r"\{(\w+)\}", name)
    places = (_place(part) if i % 2 else re.escape(part) for i, part in enumerate(parts))
    return re.compile("".join(places))


def _place(name: str) -> str:
    return f"(?P<{name}>{'[0-9]+' if name == 'k' else '.+'})"
