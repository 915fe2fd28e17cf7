"""A rule on the share of right answers to held-out prompts, which every run with a reward measures."""

from __future__ import annotations

import math

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.doctor.windows import LIKELY

TWICE = 2
"""Evaluations in a row."""


def falling(track: Track) -> Finding | None:
    """A share below the interval of the first evaluation, while no other way to sample says otherwise."""
    columns = [track.get(f"{way}/accuracy") for way in ("greedy", "sampled")]
    listed = [column for column in columns if len(column) > TWICE]
    if any(column.last(TWICE).mean >= column.values[0] for column in listed):
        return None
    for column in listed:
        low, error = track.get(f"{column.name}_low"), _error(track, column)
        newest = column.last(TWICE)
        if not len(low) or newest.high >= low.values[0] or column.values[0] - newest.mean <= LIKELY * error:
            continue
        text = (
            f"fewer answers to held-out prompts are right: {column.name} went from {column.values[0]:.3g} to "
            f"{newest.mean:.3g}, and {low.values[0]:.3g} is the lower end of the interval it began with"
        )
        return seen(newest, newest.mean, low.values[0], text, f"checkpoints.best={column.name}")
    return None


def _error(track: Track, column: Column) -> float:
    """The standard error of the fall, by the intervals over prompts."""
    low, high = track.get(f"{column.name}_low"), track.get(f"{column.name}_high")
    if not len(low) or len(high) < TWICE:
        return math.inf
    late = high.last(TWICE).mean - low.last(TWICE).mean
    return math.hypot(high.values[0] - low.values[0], late) / (2 * LIKELY)


RULES = (
    Rule(
        name="held-out-falls",
        symptom="fewer held-out answers are right",
        reads=("greedy/accuracy|sampled/accuracy",),
        threshold=f"{TWICE} evaluations in a row below the 95 % interval of the first, by more than the noise of both, "
        "and neither greedy nor sampled answers better than at the start",
        cause="what is trained is learnt by heart, or breaks what the model could do: too few rows, too high a rate.",
        remedy="Go back to the best checkpoint (checkpoints.best); take more rows, fewer steps or a lower schedule.lr.",
        source="docs/truth.md; two evaluations are chosen",
        check=falling,
        follows=("truth-falls", "reward-without-truth", "broken-policy", "kl-explosion"),
        points=TWICE + 1,
        unseen="evaluate on held-out prompts (data.eval), every so many steps (evaluate.every)",
    ),
)
