"""The `data` part of a recipe: one set or a mixture, and how their columns are read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from postlude.bounds import Line, Positive
from postlude.errors import Problem
from postlude.sources.forms import CANONICAL, PINS, Reading

_ENDING = re.compile(r"(\.(jsonl|json|ndjson|csv|tsv|parquet))?(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)


Wrong = Callable[[str, str, str], Problem]
"""(dotted key, code, sentence) -> the problem, which begins with the line that the key was set in."""


@dataclass(frozen=True)
class SetSpec:
    """One set of a mixture."""

    path: Line
    """As `data.path`, which several sets, drawn by weight, take the place of."""
    weight: Positive = 1.0
    """Rows are drawn from the sets in proportion to their weights."""
    name: Line | None = None
    """In figures and counts. Default: the file's name without its ending."""
    split: Line | None = None
    """Default: `data.split`."""
    columns: dict[str, str] | None = None
    """Default: `data.columns`."""

    @property
    def label(self) -> str:
        return self.name or _ENDING.sub("", Path(self.path.removeprefix("hf:")).name)


@dataclass(frozen=True)
class DataSpec:
    """Where prompts (or written answers) come from."""

    path: Line | None = None
    """A JSONL, JSON, CSV, TSV (also .gz, .bz2, .xz, .zst) or Parquet file, a folder saved by `datasets`, or
    hf:OWNER/NAME."""
    mix: tuple[SetSpec, ...] = ()
    """Several sets instead of `path`, drawn by weight."""
    columns: dict[str, str] = field(default_factory=dict[str, str])
    """Name that is wanted -> column of the file, e.g. {prompt: question, completion: reply, answer: gold}."""
    chat: bool = False
    """Text prompts and answers become a user's and an assistant's message, for models with a chat template."""
    eval: Line | None = None
    """Held-out rows of the same kind: sampled from where there is a reward, else measured by the method's own loss (and
    accuracy, of compared answers). No prompt is shared with `path`."""
    split: Line = "train"
    """Of a data set."""
    eval_split: Line | None = None
    """Of a data set given as `eval`. Default: `split`."""
    eval_columns: dict[str, str] | None = None
    """Of `eval`. Default: `columns`."""
    step_separator: str = "\n"
    """What stands between the steps of an answer, for methods that learn from labelled steps."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """`skip` goes on without bad rows; they are counted and listed in rejected.txt."""

    @property
    def sets(self) -> tuple[SetSpec, ...]:
        """The sets of the mixture, or the one set there is."""
        return self.mix or ((SetSpec(self.path),) if self.path else ())

    def reading(self, place: int) -> Reading:
        """How the columns of set number `place` are read."""
        own_key = f"data.mix.{place}.columns" if self.mix else "data.columns"
        columns = self.sets[place].columns
        if columns is None:
            return Reading(self.columns, self.chat, own_key=own_key)
        return Reading(columns, self.chat, own_key, own_key)

    def eval_reading(self) -> Reading:
        """How the columns of the held-out prompts are read."""
        own_key = "data.eval_columns"
        if self.eval_columns is None:
            return Reading(self.columns, self.chat, own_key=own_key)
        return Reading(self.eval_columns, self.chat, own_key, own_key)

    def problems(self, wrong: Wrong) -> list[Problem]:
        """Rules across the fields."""
        problems: list[Problem] = []
        if self.path and self.mix:
            problems.append(
                wrong(
                    "data.mix",
                    "contradiction",
                    "data.path and data.mix are both given; a path can be a set of the mix.",
                )
            )
        for i, one in enumerate(self.mix):
            problems += column_problems(one.columns or {}, f"data.mix.{i}.columns", wrong)
        for name, n in Counter(one.label for one in self.mix).items():
            if n > 1:
                problems.append(
                    wrong(
                        "data.mix",
                        "duplicate-name",
                        f"{n} sets of data.mix are called {name!r}; give each its own `name`.",
                    )
                )
        problems += column_problems(self.columns, "data.columns", wrong)
        return problems + column_problems(self.eval_columns or {}, "data.eval_columns", wrong)


def column_problems(columns: dict[str, str], key: str, wrong: Wrong) -> list[Problem]:
    """Names that are misspelt, or that make two kinds of rows of one."""
    problems: list[Problem] = []
    for name in columns:
        close = [] if name in CANONICAL else get_close_matches(name, CANONICAL, 1, 0.8)
        if close:
            problems.append(wrong(f"{key}.{name}", "unknown-key", f"{key}: is {name!r} meant to be {close[0]!r}?"))
    kinds = sorted({PINS[name] for name in columns if name in PINS})
    if len(kinds) > 1:
        problems.append(
            wrong(
                key,
                "ambiguous-rows",
                f"{key} names {' and '.join(kinds)}; rows are one of prompt (with completion), messages, text.",
            )
        )
    return problems
