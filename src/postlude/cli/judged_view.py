"""The judged answers behind what `postlude doctor` says of people's verdicts."""

from __future__ import annotations

from postlude.doctor.samples import COUNT, Sample, sample_of
from postlude.errors import ConfigError
from postlude.review.report import Pair, parting, report
from postlude.runs.history import History


def judged_samples(history: History) -> list[Sample]:
    """Up to three answers of the random sample with their verdicts: where people and reward part most, then the newest
    bad ones. None where verdicts or answers cannot be read."""
    try:
        sample = [p for p in report(history).pairs if p[1].queue == "random" and p[1].verdict != "skip"]
        apart = [(one.answer, one.judged) for one in parting(sample)]
        bad = sorted((p for p in sample if not p[1].is_good), key=lambda pair: -pair[0].place.step)
        chosen = list({answer.place: (answer, one) for answer, one in (*apart, *bad)}.values())[:COUNT]
        return [_sample(history, pair) for pair in chosen]
    except (ConfigError, OSError):
        return []


def _sample(history: History, pair: Pair) -> Sample:
    answer, judged = pair
    return sample_of(answer.place.step, history.rollouts[answer.place.step][answer.line], judged.verdict)
