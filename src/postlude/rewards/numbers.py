"""From the number a function gave to the one that is weighed: clip, shift and scale, squash, normalise."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import fmean, stdev

from postlude.rewards.model import sigmoid
from postlude.rewards.spec import RewardSpec

SQUASH: dict[str, Callable[[float], float]] = {"sigmoid": sigmoid, "tanh": math.tanh}


def shaped(spec: RewardSpec, value: float) -> float:
    """One number, clipped, moved, scaled and squashed, in this order."""
    if spec.clip is not None:
        value = min(max(value, spec.clip[0]), spec.clip[1])
    value = (value - spec.shift) * spec.scale
    return SQUASH[spec.squash](value) if spec.squash else value


def used(
    spec: RewardSpec, raw: Sequence[float | None], stopped: Sequence[bool], sizes: Sequence[int], measuring: bool
) -> list[float | None]:
    """The numbers to be weighed, one per completion of groups of these sizes.

    A completion that a gate stopped counts 0 from before `normalise` on, so that it stands below those that passed and
    did well. `measuring` leaves `normalise` out: a mean over answers to held-out prompts would always be 0.
    """
    values = [0.0 if s else None if x is None else shaped(spec, x) for x, s in zip(raw, stopped, strict=True)]
    if spec.normalise is None or measuring:
        return values
    if spec.normalise == "batch":
        return standardised(values)
    result: list[float | None] = []
    for size in sizes:
        result += standardised(values[len(result) : len(result) + size])
    return result


def used_steps(
    spec: RewardSpec,
    raw: Sequence[Sequence[float]],
    stopped: Sequence[bool],
    sizes: Sequence[int],
    measuring: bool,
) -> list[list[float]]:
    """As `used`, for the steps of each completion: `normalise` pools all steps of a prompt's answers, or of the draw.

    A completion that a gate stopped then counts as one step of 0.
    """
    rows = [[shaped(spec, x) for x in row] for row in raw]
    if spec.normalise is None or measuring:
        return rows
    rows = [[0.0] if s else row for s, row in zip(stopped, rows, strict=True)]
    result: list[list[float]] = []
    for size in [len(rows)] if spec.normalise == "batch" else sizes:
        part = rows[len(result) : len(result) + size]
        pooled = iter(standardised([x for row in part for x in row]))
        result += [[x for x in islice(pooled, len(row)) if x is not None] for row in part]
    return result


def standardised(values: Sequence[float | None]) -> list[float | None]:
    """(x - mean) / standard deviation (divisor n - 1) over those that are there; 0 where all are equal or one is."""
    known = [x for x in values if x is not None]
    if len(known) < 2 or min(known) == max(known):  # by comparison: rounding can give equal numbers a deviation
        return [None if x is None else 0.0 for x in values]
    mean, deviation = fmean(known), stdev(known)
    return [None if x is None else (x - mean) / deviation for x in values]
