"""What an evaluation by a suite says: figures with intervals over prompts, kept as files, held against earlier ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postlude import plain_json
from postlude.data import Group
from postlude.errors import ConfigError
from postlude.evaluate import pass_at_k
from postlude.runs.durable import replace
from postlude.runs.files import Row, whole_rows
from postlude.shapes import is_dict
from postlude.statistics import BEST_OF, mean, mean_of_known, of_mean, of_prompts

SCHEMA = 1
CORRECT = "correct"
"""The measure of right and wrong, by the reward that says it; `pass@k` is of it."""
By = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Measure -> prompt id -> the number of each answer; None of one that nothing could score."""


@dataclass(frozen=True)
class Figure:
    """A mean over prompts with its 95 % interval; the ends are None where one prompt alone says nothing of others."""

    value: float
    low: float | None
    high: float | None
    prompts: int


def figures_of(by: By) -> dict[str, Figure]:
    """`correct` (avg@k), `correct/pass@k` and every other measure. Prompts count, whatever they have of answers."""
    result: dict[str, Figure] = {}
    for measure, prompts in by.items():
        rows = [[x for x in row if x is not None] for row in prompts.values()]
        known = [row for row in rows if row]
        if not known:
            continue
        result[measure] = _figure(known)
        for k in BEST_OF if measure == CORRECT else ():
            enough = [[pass_at_k(len(row), sum(map(bool, row)), k)] for row in known if len(row) >= k]
            if enough:
                result[f"{measure}/pass@{k}"] = _figure(enough)
    return result


def _figure(rows: Sequence[Sequence[float]]) -> Figure:
    middle = mean([mean(row) for row in rows])
    low, high = of_prompts(rows)
    if all(0 <= x <= 1 for row in rows for x in row):  # Student's may reach beyond
        low, high = max(low, 0.0), min(high, 1.0)
    finite = math.isfinite(low) and len(rows) > 1
    return Figure(middle, low if finite else None, high if finite else None, len(rows))


# ------------------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class Result:
    """An evaluation as its two files hold it: NAME.json and NAME.jsonl."""

    summary: Mapping[str, Any]
    by: By

    @property
    def figures(self) -> dict[str, Figure]:
        return figures_of(self.by)


def by_prompt(groups: Iterable[Group], measures: Mapping[str, Sequence[float | None]]) -> By:
    """The numbers of every answer; those of `measures` stand in the order of the answers."""
    result: dict[str, dict[str, list[float | None]]] = {CORRECT: {}}
    start = 0
    for group in groups:
        end = start + len(group.completions)
        result[CORRECT][group.prompt.id] = [None if c.correct is None else float(c.correct) for c in group.completions]
        for name, values in measures.items():
            result.setdefault(name, {})[group.prompt.id] = [*values[start:end]]
        start = end
    return {name: rows for name, rows in result.items() if any(x is not None for row in rows.values() for x in row)}


def write(folder: Path, name: str, groups: Sequence[Group], result: Result) -> Path:
    """Both files, each whole or not at all; the path of the answers. What is there of another suite of that name, or
    of another wording, is moved aside. Raises ConfigError where they cannot be."""
    target = folder / f"{name}.jsonl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _put_aside(folder, name, result)
        replace(target, "".join(json.dumps(row, default=str) + "\n" for row in _answers(groups, result.by)))
        figures = {measure: asdict(figure) for measure, figure in result.figures.items()}
        replace(folder / f"{name}.json", json.dumps({**result.summary, "figures": figures}, indent=1) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write to {str(folder)!r}: {error.strerror}.", code="cannot-write") from error
    return target


def _put_aside(folder: Path, name: str, result: Result) -> None:
    """Move the files of another fingerprint to names that have it."""
    before = read(folder, name)
    theirs = before.summary.get("fingerprint") if before is not None else None
    if before is not None and theirs != result.summary.get("fingerprint"):
        for end in ("json", "jsonl"):
            (folder / f"{name}.{end}").replace(folder / f"{aside(name, theirs)}.{end}")


def aside(name: str, fingerprint: Any) -> str:
    """The name of results that are not the newest of their suite's name."""
    return f"{name}-{fingerprint}"


def earlier_of(folder: Path, name: str, fingerprint: str) -> Result | None:
    """The last evaluation of that fingerprint, wherever it is; else the newest of the name. Raises ConfigError."""
    newest = read(folder, name)
    if newest is None or newest.summary.get("fingerprint") == fingerprint:
        return newest
    return read(folder, aside(name, fingerprint)) or newest


def _answers(groups: Sequence[Group], by: By) -> Iterable[Row]:
    for group in groups:
        for i, c in enumerate(group.completions):
            yield {
                "prompt_id": group.prompt.id, "prompt": group.prompt.messages, "answer": group.prompt.answer,
                "completion": c.text, "reward": c.reward, "correct": c.correct, "stop": c.stop, "tokens": c.length,
                "measures": {name: rows[group.prompt.id][i] for name, rows in by.items()},
            }  # fmt: skip


def read(folder: Path, name: str) -> Result | None:
    """An earlier evaluation; None where there is none. Raises ConfigError where its files are damaged."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    try:
        summary = plain_json.read(path)
        rows, _ = whole_rows(folder / f"{name}.jsonl")
        by: dict[str, dict[str, list[float | None]]] = {}
        for row in rows:
            for measure, value in row["measures"].items():
                by.setdefault(measure, {}).setdefault(row["prompt_id"], []).append(value)
        if not is_dict(summary) or summary.get("schema") != SCHEMA:
            raise ValueError(f"it is no summary of schema {SCHEMA}")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{path} and its answers cannot be read ({error}): move them away, or evaluate with --out elsewhere.",
            code="damaged-file",
        ) from error
    return Result(summary, by)


# ----------------------------------------------------------------------------------------------------- comparing


@dataclass(frozen=True)
class Change:
    """Now less before, prompt by prompt, of the prompts that have a number in both."""

    value: float
    low: float | None
    high: float | None
    prompts: int


def changes(before: Result, now: Result) -> dict[str, Change]:
    """Of every measure that both have. Raises ConfigError where they are of other suites."""
    if before.summary.get("fingerprint") != now.summary.get("fingerprint"):
        raise ConfigError(
            f"suite {now.summary.get('suite')}: the earlier evaluation had other rows, wording, chat or rewards: not "
            "comparable. Evaluate both anew.",
            code="contradiction",
        )
    result: dict[str, Change] = {}
    for measure in (name for name in now.by if name in before.by):
        pairs = [
            (mean_of_known(before.by[measure].get(prompt, ())), mean_of_known(row))
            for prompt, row in now.by[measure].items()
        ]
        gains = [b - a for a, b in pairs if a is not None and b is not None]
        if gains:
            low, high = of_mean(gains)
            if all(0 <= x <= 1 for pair in pairs for x in pair if x is not None):  # of shares
                low, high = max(low, -1.0), min(high, 1.0)
            finite = len(gains) > 1 and math.isfinite(low)
            result[measure] = Change(mean(gains), low if finite else None, high if finite else None, len(gains))
    return result


def unlike(before: Result, now: Result) -> list[str]:
    """Settings in which two evaluations of one suite differ, as words: the difference may be theirs."""
    names = {"temperature", "top_p", "top_k", "max_tokens", "stop"}
    one, other = (dict(r.summary.get("sampling") or {}) for r in (before, now))
    differ = [
        f"{name} {one.get(name)} then {other.get(name)}" for name in sorted(names) if one.get(name) != other.get(name)
    ]
    if before.summary.get("samples") != now.summary.get("samples"):
        differ.append(f"answers per prompt {before.summary.get('samples')} then {now.summary.get('samples')}")
    return differ
