"""Answers of the steps that a finding rests on, for people to see what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from postlude.doctor.rule import Shows
from postlude.errors import ConfigError
from postlude.runs.files import Row
from postlude.runs.history import History
from postlude.shapes import is_number

COUNT = 3


@dataclass(frozen=True)
class Sample:
    """An answer, as it stands in rollouts/: whoever shows it escapes it."""

    step: int
    prompt: str
    """Its last message."""
    answer: str
    reward: float | None
    verdict: str | None = None
    """What people said of it, where that is the evidence."""


def samples_of(history: History, steps: Sequence[int], shows: Shows) -> list[Sample]:
    """Up to three answers of the newest of these steps that has any; none where the file is damaged or gone."""
    if shows == "judged":  # whoever shows it has the verdicts
        return []
    for step in sorted({*steps} & {*history.rollouts}, reverse=True):
        try:
            rows = history.rollouts[step]
        except (ConfigError, OSError):
            continue
        if rows:
            return [sample_of(step, row) for row in _chosen(_distinct(rows), shows)]
    return []


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """One row for each answer to each prompt."""
    return list({(str(row.get("prompt_id")), str(row.get("completion"))): row for row in rows}.values())


def _chosen(rows: list[Row], shows: Shows) -> list[Row]:
    if shows == "longest":
        return sorted(rows, key=lambda row: -len(str(row.get("completion"))))[:COUNT]
    ranked = sorted(rows, key=lambda row: -(reward if (reward := _reward(row)) is not None else float("-inf")))
    if shows == "highest" or len(ranked) <= COUNT:
        return ranked[:COUNT]
    return [ranked[0], ranked[len(ranked) // 2], ranked[-1]]


def _reward(row: Row) -> float | None:
    value = row.get("reward")
    return float(value) if is_number(value) else None


def sample_of(step: int, row: Row, verdict: str | None = None) -> Sample:
    """A row of rollouts/ as it is shown."""
    return Sample(step, _last_of(row.get("prompt")), str(row.get("completion", "")), _reward(row), verdict)


def _last_of(prompt: Any) -> str:
    """The text of a prompt's last message."""
    if isinstance(prompt, list) and prompt:
        last: Any = cast("list[Any]", prompt)[-1]
        if isinstance(last, dict):
            return str(cast("dict[str, Any]", last).get("content", ""))
    return "" if prompt is None else str(cast(object, prompt))
