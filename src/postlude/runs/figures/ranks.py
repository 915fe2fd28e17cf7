"""Figures of several trainers: how evenly an update is shared out, what that and a lost rank cost."""

from __future__ import annotations

from postlude.runs.figures.figure import Figure, seconds

PAGE = "docs/scale.md"
RANKS = (
    Figure(
        name="ranks/imbalance",
        label="imbalance of ranks",
        unit="ratio",
        meaning="work of the trainer rank with most of an update, over the mean of all: the others wait for it",
        formula="max / mean over the ranks of sum over their sequences of n + a n^2 tokens, n of a sequence, a the "
        "model's attention over its matrix products; mean over the updates of a step; only with several trainers",
        better="down",
        source=PAGE,
        healthy="1.0 to 1.1; above 1.5 there are too few answers for so many ranks, or one far longer than the others",
    ),
)


def _seconds(name: str, label: str, meaning: str, healthy: str) -> Figure:
    return seconds(name, label, meaning, "several trainers", PAGE, healthy)


TIMES = (
    _seconds("share", "sharing out", "the part of training that shares updates out over ranks", "below 0.05 of it"),
    _seconds("gather", "gathering", "the part of publishing that gathers weights from the ranks", "see publishing"),
    _seconds("restart", "restarting ranks", "starting ranks again after one was lost, and what is made again", "0"),
)
"""Of no event: a run has the same events however often a rank is lost."""
