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


HELD_OUT = "held_out"
"""Name of the held-out set where there is only one, and it has no other."""


def _stem(path: str) -> str:
    """A file's name without its ending."""
    return _ENDING.sub("", Path(path.removeprefix("hf:")).name)


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
        return self.name or _stem(self.path)


@dataclass(frozen=True)
class EvalSpec:
    """A file of a held-out set, where there are several."""

    path: Line
    """As `data.eval`."""
    name: Line | None = None
    """Of the set, in figures; files of one name are one set. Default: the file's name without its ending."""
    split: Line | None = None
    """Default: `data.eval_split`."""
    columns: dict[str, str] | None = None
    """Default: `data.eval_columns`."""

    @property
    def label(self) -> str:
        return self.name or _stem(self.path)


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
    eval: Line | tuple[EvalSpec, ...] | None = None
    """Held-out rows of the same kind: sampled from where there is a reward or a metric, else measured by the method's
    own loss (and accuracy, of compared answers). No prompt is shared with `path`. A path; or several sets, each with
    figures of its own: a list of paths, or a mapping such as {easy: easy.jsonl, hard: [a.jsonl, b.jsonl]}."""
    split: Line = "train"
    """Of a data set."""
    eval_split: Line | None = None
    """Of data sets given as `eval`. Default: `split`."""
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

    @property
    def eval_files(self) -> tuple[EvalSpec, ...]:
        """The files of the held-out sets, in order."""
        return (EvalSpec(self.eval, HELD_OUT),) if isinstance(self.eval, str) else self.eval or ()

    @property
    def eval_names(self) -> tuple[str, ...]:
        """The held-out sets, in order."""
        return tuple(dict.fromkeys(one.label for one in self.eval_files))

    def eval_reading(self, one: EvalSpec | None = None) -> Reading:
        """How the columns of held-out prompts are read; of one file, where that is given."""
        if one is not None and one.columns is not None:
            own_key = f"data.eval.{self.eval_files.index(one)}.columns"
            return Reading(one.columns, self.chat, own_key, own_key)
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
        problems += column_problems(self.columns, "data.columns", wrong) + self._held_out_problems(wrong)
        return problems + column_problems(self.eval_columns or {}, "data.eval_columns", wrong)

    def _held_out_problems(self, wrong: Wrong) -> list[Problem]:
        """Held-out sets whose names tell them apart, and can stand in a figure's."""
        problems: list[Problem] = []
        if isinstance(self.eval, tuple) and not self.eval:
            problems.append(
                wrong("data.eval", "missing-key", "data.eval is an empty list: give a path, or leave it out.")
            )
        unnamed = Counter(one.label for one in self.eval_files if one.name is None)
        for name in self.eval_names:
            files = [one.path for one in self.eval_files if one.label == name]
            if unnamed[name] and len(files) > 1:
                sentence = f"{len(files)} files of data.eval are called {name!r}; name the sets: {{NAME: PATH, ...}}."
                problems.append(wrong("data.eval", "duplicate-name", sentence))
            if "/" in name or not name.strip():
                sentence = f"data.eval: {name!r} is no name of a set, since figures are called truth/SET/METRIC."
                problems.append(wrong("data.eval", "reserved-name", sentence))
            for path, count in Counter(files).items():
                if count > 1:
                    sentence = f"data.eval: the set {name!r} has {path!r} {count} times."
                    problems.append(wrong("data.eval", "duplicate-name", sentence))
        for place, one in enumerate(self.eval_files):
            problems += column_problems(one.columns or {}, f"data.eval.{place}.columns", wrong)
        return problems


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
