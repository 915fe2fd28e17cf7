"""Rules on reward against truth: a reward that rises alone, truth that falls, the peak that lies behind."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.doctor.truths import Truth, truths
from postlude.doctor.windows import LIKELY, Window
from postlude.statistics import peak_rl

APART = 0.5
"""Standard deviations by which the reward has gained more than the metric (docs/truth.md)."""
TWICE = 2
"""Evaluations in a row."""
FELL_ERRORS = 3.0
"""Standard errors of a fall: a run has many evaluations, and each may fall by chance."""
PAST = 1.2
"""Of the distance at which the fit peaks: beyond, not merely near."""
FIT_POINTS = 5
"""Evaluations behind the first, for a fit of two numbers."""
BUDGET = 100.0
"""Nats per answer from the reference (design of the audit)."""
OVER_TARGET = 2.0
SETTLED = 20
"""Steps in which a controller may find its coefficient."""


def alone(track: Track) -> Finding | None:
    """A reward that has risen away from a metric which has not."""
    for truth in truths(track):
        apart, sure = track.get(f"{truth.name}/divergence"), track.get(f"{truth.name}/divergence/low")
        newest = apart.lasting(TWICE)
        if newest is None or truth.rises or not _gains(truth):
            continue
        if newest.low < APART or not sure.last(TWICE).all(lambda value: value > 0):
            continue
        text = (
            f"the reward rises without {truth.name}: {_course(truth.reward.last(len(truth.reward)))} on the same "
            f"held-out answers, while {truth.name} went {_course(truth.values.last(len(truth.values)))}; "
            f"{newest.mean:.2g} standard deviations apart"
        )
        return seen(newest, newest.mean, APART, text, f"checkpoints.best={truth.name}")
    return None


def _gains(truth: Truth) -> bool:
    return len(truth.reward) > TWICE and truth.reward.last(TWICE).low > truth.reward.values[0]


def _course(window: Window) -> str:
    return f"from {window.values[0]:.3g} to {window.values[-1]:.3g}"


def falling(track: Track) -> Finding | None:
    """A metric that is lower than before training, beyond what prompts and chance explain."""
    for truth in truths(track):
        if truth.falls(FELL_ERRORS):
            bound = truth.values.values[0] - FELL_ERRORS * truth.error
            text = f"answers have become worse: {truth.name} went {_course(truth.values.last(len(truth.values)))}"
            return seen(truth.newest, truth.newest.mean, bound, text, f"checkpoints.best={truth.name}")
    return None


def past_the_peak(track: Track) -> Finding | None:
    """Gao's R(d) = d (a - b log d), fitted to a metric's gain: the distance at which it peaks lies behind the run."""
    for truth in truths(track):
        points = _gains_by_distance(truth, track["kl_ref/sequence"])
        peak = _peak(points) if len(points) >= FIT_POINTS else None
        newest = points[-1][0] if points else 0.0
        if peak is None or newest < PAST * peak or not _fell_from_best(truth):
            continue
        text = (
            f"over-optimised: {truth.name} is best at a distance of {peak:.2g} (square root of the nats per answer "
            f"from the reference) by the fit of {len(points)} evaluations, and the run is at {newest:.2g}"
        )
        return seen(truth.newest, newest, PAST * peak, text, f"checkpoints.best={truth.name}")
    return None


def _gains_by_distance(truth: Truth, kl: Column) -> list[tuple[float, float]]:
    """(distance, gain) of every evaluation after the first, where the step before it logged a KL above 0."""
    points: list[tuple[float, float]] = []
    for step, value in zip(truth.values.steps[1:], truth.values.values[1:], strict=True):
        place = bisect_left(kl.steps, step)
        nats = kl.values[place] if place < len(kl) and kl.steps[place] == step else 0.0
        if nats > 0:
            points.append((math.sqrt(nats), value - truth.values.values[0]))
    return points


def _peak(points: Sequence[tuple[float, float]]) -> float | None:
    """The d where the least-squares fit of R/d = a - b log d peaks; None where it has no peak, or nothing to fit."""
    x, y = [math.log(d) for d, _ in points], [gain / d for d, gain in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((value - mean_x) ** 2 for value in x)
    if spread < 1e-12:
        return None
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    beta, alpha = -slope, mean_y - slope * mean_x
    return peak_rl(alpha, beta) if beta > 0 and alpha / beta < 100 else None


def _fell_from_best(truth: Truth) -> bool:
    """Whether the metric is lower now than at its best two neighbouring evaluations."""
    values = truth.values.values
    best = max((a + b) / 2 for a, b in pairwise(values))
    return best - truth.newest.mean > LIKELY * truth.error


def over_budget(track: Track) -> Finding | None:
    """A distance from the reference, in nats per answer, that is twice what the controller aims at, or very large."""
    newest = track["kl_ref/sequence"].lasting(5)
    if newest is None:
        return None
    target = track.number("kl_control.target") if track.setting("kl_control.unit") == "sequence" else None
    bound = OVER_TARGET * target if target and track.step > SETTLED else BUDGET
    if newest.low <= bound:
        return None
    text = f"the policy is {newest.mean:.3g} nats per answer from the reference, and its budget is {bound:.3g}"
    stronger = track.times("objective.kl.coef", 3) or track.times("objective.advantage.kl_coef", 3)
    return seen(newest, newest.mean, bound, text, stronger or track.times("schedule.lr", 0.3))


MEASURE = "measure truth: evaluate.metrics, on held-out prompts (data.eval), every so many steps (evaluate.every)"
RULES = (
    Rule(
        name="reward-without-truth",
        symptom="the reward rises while truth is flat or falls",
        reads=("truth/*/*/divergence",),
        threshold=f"{APART} standard deviations more gained by the reward than by a metric in {TWICE} evaluations, "
        "each beyond its interval, and the metric not above where it began",
        cause="the policy has found what the reward pays for besides what it stands for: reward hacking.",
        remedy="Read the best paid answers; mend the reward (postlude audit), add a second one, or a KL penalty "
        "(objective.kl.coef); go back to the checkpoint that is best by truth.",
        source="2210.10760; docs/truth.md",
        check=alone,
        gravity="grave",
        kinds=("sampled",),
        shows="highest",
        points=TWICE,
        unseen=MEASURE,
    ),
    Rule(
        name="truth-falls",
        symptom="answers become worse",
        reads=("truth/*/*|sampled/accuracy",),
        threshold=f"a metric that is not trained on below its first value by {FELL_ERRORS:g} standard errors, over "
        f"{TWICE} evaluations",
        cause="the run breaks what the model could do: too high a rate, or a reward that pays for something else.",
        remedy="Go back to the checkpoint that is best by truth; lower schedule.lr; look at what the reward pays for.",
        source="2210.10760; 3 errors are chosen",
        check=falling,
        gravity="grave",
        follows=("reward-without-truth", "broken-policy"),
        shows="highest",
        where=lambda track: bool(truths(track)),
        points=TWICE + 1,
        unseen=MEASURE,
    ),
    Rule(
        name="over-optimised",
        symptom="the best of the run lies behind it",
        reads=("kl_ref/sequence", "truth/*/*|sampled/accuracy"),
        threshold=f"a distance of {PAST} times that at which the fit of truth peaks, and truth lower than at its best "
        f"beyond noise; {FIT_POINTS} evaluations or more",
        cause="a proxy is optimised beyond the point up to which it agrees with truth.",
        remedy="Keep the checkpoint that is best by truth (checkpoints.best), stop there, or hold the policy by a KL "
        "penalty; a better reward moves the peak out.",
        source="2210.10760, the form for RL",
        check=past_the_peak,
        follows=("broken-policy",),
        kinds=("sampled",),
        shows="highest",
        where=lambda track: bool(truths(track)),
        points=FIT_POINTS,
        unseen=f"set objective.kl, whose reference it is measured against, and {MEASURE}",
    ),
    Rule(
        name="kl-budget",
        symptom="far from the reference",
        reads=("kl_ref/sequence",),
        threshold=f"{BUDGET:g} nats per answer in 5 steps, or {OVER_TARGET:g} times kl_control.target after {SETTLED}",
        cause="nothing holds the policy, or the penalty is too weak for the rate.",
        remedy="Raise objective.kl.coef, or lower schedule.lr.",
        source="section 3.8 of docs/specification.md",
        check=over_budget,
        follows=("broken-policy", "kl-explosion"),
        kinds=("sampled",),
        points=5,
        unseen="set objective.kl, whose reference it is measured against",
    ),
)
