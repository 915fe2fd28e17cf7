"""Part `recipes`: the same recipe with one process and with two ranks gives the same answers, and losses but for
rounding."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale_ranks.kept import Serving
from bench.scale_ranks.material import METHODS, Material, Rows, events, table, train
from postlude import build
from postlude.engines.ranks.crew import Terms

MOST = 1e-5
"""By which a loss may differ: relative, or absolute where it is below 1. Other figures are shown: what AdamW makes of a
gradient near 0 is a step of the whole rate, so norms drift apart faster, from a first one that is the same."""
OURS = ("ranks/",)
"""Figures that one process does not have."""


@dataclass(frozen=True)
class Compared:
    """Two runs of a recipe."""

    steps: int
    answers: int
    """Sampled in each."""
    same_answers: bool
    loss: float
    """The largest difference of a loss."""
    other: float
    """The same of any other figure."""
    where: str
    same_rest: bool
    """Whether all other events are the same."""

    @property
    def holds(self) -> bool:
        return self.same_answers and self.same_rest and self.loss <= MOST


def run(folder: Path) -> bool:
    """Every method with 1 and 2 trainers. The same two ranks serve all of them."""
    ranks = Serving(Terms(2))
    build._on_ray = lambda terms: ranks  # pyright: ignore[reportPrivateUsage]
    try:
        return _table(folder)
    finally:
        asyncio.run(ranks.over())


def _table(folder: Path) -> bool:
    material = Material.at(folder / "material")
    rows: Rows = []
    holds = True
    for name in METHODS:
        seconds: list[float] = []
        for trainers in (1, 2):
            output = folder / f"{name.replace(' ', '-')}-{trainers}"
            shutil.rmtree(output, ignore_errors=True)
            started = time.monotonic()
            train(material.recipe(name), output, trainers)
            seconds.append(time.monotonic() - started)
        one, two = (folder / f"{name.replace(' ', '-')}-{trainers}" for trainers in (1, 2))
        seen = compared(one, two)
        holds = holds and seen.holds
        same = "-" if not seen.answers else f"{seen.answers} the same" if seen.same_answers else "DIFFERENT"
        apart = [f"{seen.loss:.1e}", f"{seen.other:.1e} ({seen.where})"]
        rows.append([name, seen.steps, same, *apart, *(f"{s:.0f} s" for s in seconds)])
    table(("recipe", "steps", "answers", "losses apart", "other figures", "1 process", "2 ranks"), rows)
    return holds


def compared(one: Path, two: Path) -> Compared:
    """What two runs wrote, against each other."""
    ours, theirs = events(one), events(two)
    steps = [[row for row in rows if row["kind"] == "step"] for rows in (ours, theirs)]
    rest = [[row for row in rows if row["kind"] not in ("step", "start")] for rows in (ours, theirs)]
    loss, other, where = 0.0, 0.0, "-"
    for a, b in zip(*steps, strict=True):
        figures, others = ({k: v for k, v in _figures(row).items() if not k.startswith(OURS)} for row in (a, b))
        for name in figures.keys() | others.keys():
            apart = _apart(figures.get(name), others.get(name))
            if name.startswith("loss"):
                loss = max(loss, apart)
            elif apart > other:
                other, where = apart, name
    answers = [_answers(folder) for folder in (one, two)]
    return Compared(len(steps[0]), len(answers[0]), answers[0] == answers[1], loss, other, where, rest[0] == rest[1])


def _figures(row: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in row.items() if isinstance(v, int | float)}


def _apart(one: float | None, other: float | None) -> float:
    return math.inf if one is None or other is None else abs(one - other) / max(1.0, abs(one))


def _answers(folder: Path) -> list[Any]:
    """The text of every sampled answer, in order."""
    lines = [line for file in sorted(folder.glob("rollouts/step-*.jsonl")) for line in file.read_text().splitlines()]
    return [(row["prompt_id"], row["tokens"]) for row in map(json.loads, lines)]
