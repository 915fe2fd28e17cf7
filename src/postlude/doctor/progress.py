"""How far a sampling run has come: whether anything it is rewarded for rises, and how much is left to win."""

from __future__ import annotations

from postlude.doctor.track import Column, Track
from postlude.doctor.windows import Change

START = 10
"""Steps that stand for how a run began."""
NOW = 10
"""Newest steps, likewise for how it is."""
_OF_A_STEP = {"reward/mean", "reward/std", "reward/min", "reward/max"}


def progress(track: Track) -> list[Column]:
    """What should rise: accuracy before any selection, each reward by itself, and the mean of the step where groups are
    not chosen by it."""
    each = [c for c in track.matching("reward/*") if c.name.count("/") == 1 and c.name not in _OF_A_STEP]
    chosen = track.setting("keep") is not None
    whole = [track.get("reward/mean")] if "reward/mean" in track and not chosen else []
    return [*(c for c in [track.first_of("sampled_accuracy|accuracy")] if len(c)), *each, *whole]


def gains(track: Track, start: int = START, now: int = NOW) -> bool:
    """Whether any of that is higher now than at the start, beyond noise."""
    changes = [column.change(start, now) for column in progress(track)]
    return any(change is not None and change.rises for change in changes)


def rose_over(column: Column, before: int, now: int) -> Change | None:
    """The newest `now` values against the `before` values just before them."""
    if len(column) < before + now:
        return None
    earlier = column.last(before + now)
    return Change(type(earlier)(column.name, earlier.steps[:before], earlier.values[:before]), column.last(now))


def gains_lately(track: Track, before: int, now: int) -> bool:
    """Whether anything that should rise is higher now than just before, beyond noise."""
    changes = [rose_over(column, before, now) for column in progress(track)]
    return any(change is not None and change.rises for change in changes)


def right(track: Track) -> Column:
    """The share of right answers; an empty column where that says nothing: a reward that only takes away (-1 and 0)
    calls no answer right, and its top is 0."""
    accuracy = track.first_of("sampled_accuracy|accuracy")
    most, least = track.get("reward/max").highest, track.get("reward/min").lowest
    silent = len(accuracy) and accuracy.highest == 0 and least < most <= 0
    return Column(accuracy.name) if silent else accuracy


def headroom(track: Track) -> float | None:
    """The share of what can be won that is left: of the answers those that are wrong, else of the range of all rewards
    so far what lies above the mean; None where neither is known."""
    accuracy = right(track)
    if len(accuracy):
        return 1 - accuracy.last(NOW).mean
    if not all(name in track for name in _OF_A_STEP):
        return None
    most, least = track["reward/max"].highest, track["reward/min"].lowest
    return (most - track["reward/mean"].last(NOW).mean) / (most - least) if most > least else None
