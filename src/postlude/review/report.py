"""What the verdicts on a run say: how many answers are good, and whether the reward goes with people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from postlude.review import store
from postlude.review.agreement import Agreement, agreement
from postlude.review.answers import Answer, Measure, answers_of
from postlude.review.queue import KINDS, Kind, measures_of
from postlude.review.store import Judged
from postlude.runs.history import History
from postlude.statistics import clustered, difference, mean, ranks

WORST = 3
"""Answers named on which people and reward part."""
Pair = tuple[Answer, Judged]
Interval = tuple[float, float, float]
"""A number, and the ends of its 95 % interval."""


@dataclass(frozen=True)
class OfKind:
    """The verdicts on the answers of one queue."""

    kind: Kind
    good: int
    bad: int
    skipped: int
    prompts: int
    """Of good and bad ones."""
    share: Interval | None
    """Of good ones; None where none was judged."""
    agreements: tuple[Agreement, ...]

    @property
    def judged(self) -> int:
        return self.good + self.bad


@dataclass(frozen=True)
class Trend:
    """Early and late answers of the random sample, parted at the middle of their steps."""

    early: Interval
    late: Interval
    change: Interval
    reward: float
    """Change of the mean reward of the same answers."""
    until: int
    """The last step of the early ones."""


@dataclass(frozen=True)
class Parting:
    """An answer that people and reward see differently."""

    answer: Answer
    judged: Judged
    apart: float
    """The share of the judged answers' rewards on the wrong side of its own, from one half to 1."""


@dataclass(frozen=True)
class ReviewReport:
    """All that `postlude review --report` says."""

    kinds: tuple[OfKind, ...]
    worst: tuple[Parting, ...]
    trend: Trend | None
    lost: int
    """Verdicts on answers that the run no longer has."""
    windows: tuple[tuple[tuple[int, int | None], int], ...]
    """The steps that the random sample was drawn from, each with the count of its verdicts."""
    shown: int
    """Verdicts that were given with the reward in sight."""
    reviewers: tuple[str, ...]
    unmeasured: tuple[str, ...] = ()
    """Measures that never vary over the run: nothing can agree with them."""
    pairs: tuple[Pair, ...] = field(default=(), repr=False)
    """The verdicts that count, each with its answer."""

    def of(self, kind: Kind) -> OfKind | None:
        """The verdicts of a queue; None where there are none."""
        return next((one for one in self.kinds if one.kind == kind), None)


def report(history: History) -> ReviewReport:
    """Read the verdicts of a run and hold them against its answers. Raises ConfigError where either is damaged."""
    verdicts = [*store.read(history.folder).values()]
    answers = answers_of(history) if verdicts else []
    by_place = {answer.place: answer for answer in answers}
    pairs = [(by_place[one.place], one) for one in verdicts if one.place in by_place]
    measures, constant = _measures(history, answers) if verdicts else ([], [])
    kinds = [_of_kind(kind, [p for p in pairs if p[1].queue == kind], measures) for kind in KINDS]
    sample = [p for p in pairs if p[1].queue == "random" and p[1].verdict != "skip"]
    windows = {one.window: sum(o.window == one.window for _, o in sample) for _, one in sample}
    once = {answer.place: (answer, one) for answer, one in pairs if one.verdict != "skip"}
    return ReviewReport(
        tuple(one for one in kinds if one.judged or one.skipped),
        parting([*once.values()]),
        _trend(sample),
        len(verdicts) - len(pairs),
        tuple(windows.items()),
        sum(one.reward_shown for _, one in pairs),
        tuple(sorted({one.by for _, one in pairs if one.by})),
        unmeasured=tuple(constant),
        pairs=tuple(pairs),
    )


# ------------------------------------------------------------------------------------------------- by queue


@dataclass(frozen=True)
class _Measure:
    name: str
    value_of: Measure
    right: float | None
    """The larger of its values, where it has two over the whole run."""


def _measures(history: History, answers: Sequence[Answer]) -> tuple[list[_Measure], list[str]]:
    """The reward and all else that measures the answers; and the names of those that never vary."""
    measures: list[_Measure] = []
    constant: list[str] = []
    named: dict[str, Measure] = {"reward": _reward, **measures_of(history)}
    if all(a.correct is None or a.reward == a.correct for a in answers):  # the reward by another name
        del named["correctness"]
    for name, value_of in named.items():
        values = {value for a in answers if (value := value_of(a)) is not None}
        if len(values) > 1:
            measures.append(_Measure(name, value_of, max(values) if len(values) == 2 else None))
        elif values:
            constant.append(name)
    return measures, constant


def _reward(answer: Answer) -> float | None:
    return answer.reward


def _of_kind(kind: Kind, pairs: Sequence[Pair], measures: Sequence[_Measure]) -> OfKind:
    judged = [(answer, one) for answer, one in pairs if one.verdict != "skip"]
    agreements = [_agreement(measure, judged) for measure in measures]
    good = sum(one.is_good for _, one in judged)
    prompts = len({answer.place.prompt for answer, _ in judged})
    share = _share(judged) if judged else None
    return OfKind(
        kind, good, len(judged) - good, len(pairs) - len(judged), prompts, share, tuple(a for a in agreements if a)
    )


def _share(judged: Sequence[Pair]) -> Interval:
    good = [float(one.is_good) for _, one in judged]
    return mean(good), *clustered(good, [answer.place.prompt for answer, _ in judged])


def _agreement(measure: _Measure, judged: Sequence[Pair]) -> Agreement | None:
    known = [(v, one.is_good, a.place.prompt) for a, one in judged if (v := measure.value_of(a)) is not None]
    values, good, prompts = [v for v, _, _ in known], [g for _, g, _ in known], [p for _, _, p in known]
    return agreement(measure.name, values, good, prompts, measure.right)


# --------------------------------------------------------------------------------------- where they part, and when


def parting(judged: Sequence[Pair]) -> tuple[Parting, ...]:
    """Where people and reward part most: bad answers whose reward is among the highest of all that were judged, good
    ones whose is among the lowest."""
    scored = [(answer, one, answer.reward) for answer, one in judged if answer.reward is not None]
    if len(scored) < 2:
        return ()
    places = ranks([reward for _, _, reward in scored])
    high = [(place - 1) / (len(scored) - 1) for place in places]
    apart = [Parting(a, one, 1 - h if one.is_good else h) for (a, one, _), h in zip(scored, high, strict=True)]
    return tuple(sorted((p for p in apart if p.apart > 0.5), key=lambda p: -p.apart)[:WORST])


def _trend(sample: Sequence[Pair]) -> Trend | None:
    """None where the random sample is of one step, or one half of it has no reward."""
    order = sorted(sample, key=lambda pair: pair[0].place.step)
    if len(order) < 2:
        return None
    until = order[(len(order) - 1) // 2][0].place.step
    halves = [p for p in order if p[0].place.step <= until], [p for p in order if p[0].place.step > until]
    rewards = [[a.reward for a, _ in half if a.reward is not None] for half in halves]
    if not all(rewards):
        return None
    early, late = _share(halves[0]), _share(halves[1])
    return Trend(early, late, difference(early, late), mean(rewards[1]) - mean(rewards[0]), until)


# -------------------------------------------------------------------------------------------------- as figures


def figures(history: History) -> dict[str, float]:
    """The verdicts on the random sample as figures of the run; empty where nobody reviewed it.

    `human/good`, `human/agreement` (with the reward; see `Agreement`) and `human/good/change` (late less early
    answers) have `/low` and `/high` beside them; `human/judged` counts good and bad, `human/reward/change` is that of
    the same answers' reward, and `human/agreement/auc` is 1 where agreement is an area under the curve.
    """
    whole = report(history)
    sample = whole.of("random")
    if sample is None or sample.share is None:
        return {}
    result = {"human/judged": float(sample.judged), **_named("human/good", sample.share)}
    reward = next((one for one in sample.agreements if one.measure == "reward"), None)
    if reward is not None:
        result |= _named("human/agreement", (reward.value, reward.low, reward.high))
        result["human/agreement/auc"] = float(reward.kind == "auc")
    if whole.trend is not None:
        result |= _named("human/good/change", whole.trend.change)
        result["human/reward/change"] = whole.trend.reward
    return result


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval[0], f"{name}/low": interval[1], f"{name}/high": interval[2]}
