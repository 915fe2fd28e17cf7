"""What is known of truth in a run: scores of held-out answers that are not trained on, and whether they rise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from postlude.doctor.track import Column, Track
from postlude.doctor.windows import LIKELY, Window

FIRST = 5
"""Steps that stand for how answers were before training: a template that is there then is none that pays."""
LATE = 5
"""Newest steps, likewise."""
BEHIND = 2
"""Newest evaluations that a score's standing is the mean of."""


@dataclass(frozen=True)
class Truth:
    """A score at every evaluation, which the run does not train on, with its interval and the reward beside it."""

    name: str
    values: Column
    low: Column
    high: Column
    reward: Column
    """Of the same answers; empty where none is logged."""

    @property
    def newest(self) -> Window:
        return self.values.last(BEHIND)

    @property
    def gain(self) -> float:
        """Of the newest evaluations against the first."""
        return self.newest.mean - self.values.values[0]

    @property
    def error(self) -> float:
        """The standard error of `gain`, as if the two were answers to different prompts: more rather than less."""
        if not len(self.low):
            return math.inf
        first, late = (self.high.values[0] - self.low.values[0]), (self.high.last(BEHIND), self.low.last(BEHIND))
        return math.hypot(first, late[0].mean - late[1].mean) / (2 * LIKELY)

    @property
    def rises(self) -> bool:
        """By more than chance (95 %)."""
        return len(self.values) > BEHIND and self.gain > LIKELY * self.error

    def falls(self, errors: float) -> bool:
        """By more than so many standard errors."""
        return len(self.values) > BEHIND and self.gain < -errors * self.error


def truths(track: Track) -> list[Truth]:
    """Metrics of `evaluate.metrics`; or the accuracy of a reward that only measures."""
    metrics = [c for c in track.matching("truth/*/*") if c.name.count("/") == 2 and not c.name.endswith("/reward")]
    if metrics:
        return [_of_metric(track, column) for column in metrics]
    if "sampled/accuracy" not in track or not _only_measures(track):
        return []
    low, high = (track.get(f"sampled/accuracy_{end}") for end in ("low", "high"))
    return [Truth("sampled/accuracy", track["sampled/accuracy"], low, high, track.get("sampled/reward"))]


def _of_metric(track: Track, column: Column) -> Truth:
    reward = track.get(f"{column.name.rpartition('/')[0]}/reward")
    return Truth(column.name, column, track.get(f"{column.name}/low"), track.get(f"{column.name}/high"), reward)


def _only_measures(track: Track) -> bool:
    """Whether the reward that says what is right is not trained on."""
    rewards = list(rewards_of(track))
    judge = next((r for r in rewards if r.get("outcome")), rewards[0] if rewards else {})
    return judge.get("weight") == 0


def rewards_of(track: Track) -> Iterator[Mapping[str, Any]]:
    """The rewards of the recipe."""
    listed = track.setting("reward")
    for one in cast("list[Any]", listed) if isinstance(listed, list | tuple) else []:
        if isinstance(one, Mapping):
            yield cast("Mapping[str, Any]", one)


def truth_rises(track: Track) -> bool | None:
    """Whether answers get better by anything that is not trained on; None where nothing of the kind is measured, or too
    few times yet."""
    known = [truth for truth in truths(track) if len(truth.values) > BEHIND]
    return any(truth.rises for truth in known) if known else None


def accuracy_rises(track: Track) -> bool:
    """Whether more answers are right than at the start, by the run's own rewards."""
    change = track.first_of("sampled_accuracy|accuracy").change(FIRST, LATE)
    return change is not None and change.rises


def reward_rises(track: Track) -> bool:
    """Whether the reward is higher than at the start, beyond noise."""
    change = track.get("reward/mean").change(FIRST, LATE)
    return change is not None and change.rises


def excused(track: Track) -> bool:
    """Whether what answers have in common may come of getting better: truth rises or, where none is measured, the
    share of right answers."""
    known = truth_rises(track)
    return accuracy_rises(track) if known is None else known


def judged(track: Track) -> str:
    """How a finding says that."""
    known = truths(track)
    if not known:
        return "and no more answers are right than at the start (evaluate.metrics would measure truth)"
    truth = known[0]
    return f"while {truth.name} went from {truth.values.values[0]:.3g} to {truth.newest.mean:.3g}"
