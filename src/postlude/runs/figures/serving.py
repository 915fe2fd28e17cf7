"""Figures of a policy that servers sample: how old answers are, what was refused, what a publication took."""

from __future__ import annotations

from postlude.runs.figures.figure import Figure, seconds

PAGE = "docs/scale.md"
AGES = (
    Figure(
        name="lag/mean",
        label="lag",
        unit="steps",
        meaning="from the weights that sampled an answer to those that learn from it",
        formula="mean over the answers that are trained on, each by its oldest part; only with servers or max_lag",
        better="down",
        source=PAGE,
        healthy="0, or 1 with max_lag 1",
    ),
    Figure(
        name="lag/max",
        label="largest lag",
        unit="steps",
        meaning="of the answer from the oldest weights",
        formula="max over the answers that are trained on; only with servers or max_lag",
        better="down",
        source=PAGE,
        healthy="at most max_lag, but for groups that dynamic sampling keeps from earlier draws",
    ),
)
SERVERS = (
    Figure(
        name="refused_answers",
        label="refused answers",
        unit="answers",
        meaning="of servers, which did not add up or came from weights that were never published",
        formula="count since the step before; each was asked for again; only with servers",
        better="down",
        source=PAGE,
        healthy="0; a few after a server was restarted",
    ),
    Figure(
        name="requeued",
        label="asked again",
        unit="answers",
        meaning="requests to servers that were sent again",
        formula="count since the step before: refused answers, broken connections, servers that were restarted",
        better="down",
        source=PAGE,
        healthy="0; as many as were under way where a server was restarted",
    ),
    Figure(
        name="handshake/error",
        label="handshake error",
        unit="nats",
        meaning="largest difference between servers' and trainer's log-prob of a token, after the newest publication",
        formula="max over the servers and 16 tokens at temperature 0.7; every engine.probe_every publications",
        better="down",
        source=PAGE,
        healthy="1e-6 to 1e-4 in float32, below 0.5 in bfloat16; where it grows, part of the weights is not sent",
    ),
)


def _seconds(name: str, label: str, meaning: str, healthy: str | None = None, whose: str = "servers") -> Figure:
    return seconds(name, label, meaning, whose, PAGE, healthy)


EITHER = "servers or several trainers"
TIMES = (
    _seconds(
        "wait",
        "waited",
        "for answers: what the trainer did nothing in",
        "with max_lag 1 near 0, where whoever samples keeps up; without it, all of sampling and scoring",
        EITHER,
    ),
    _seconds("train", "training", "updates of a step", whose=EITHER),
    _seconds(
        "commit",
        "committing",
        "saving what is published",
        "far below training; else raise engine.commit_every",
        EITHER,
    ),
    _seconds("publish", "publishing", "new weights to whoever samples", "far below training", EITHER),
    _seconds("write", "writing weights", "the part of publishing that writes them to the disk"),
    _seconds("send", "taking weights", "the part of publishing in which servers take them"),
    _seconds("handshake", "handshakes", "the part of publishing that compares log-probs", "see engine.probe_every"),
)
"""Of no event: what tells the time is in timings.jsonl alone."""
