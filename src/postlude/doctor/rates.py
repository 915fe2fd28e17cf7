"""What a run's figures say of its learning rate: that it was raised, that one update broke the policy, and how much
lower it has to be."""

from __future__ import annotations

import math
from itertools import pairwise

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Column, Track
from postlude.facts.tables import ADAPTER_FACTOR, RATES

RAISED = 2.0
"""Factor from one step to the next: behind the warm-up no schedule rises, so another setting does."""
RECENT = 30
"""Newest steps in which it is looked for."""
JUMP = 1.0
"""Nats per token from the reference that a single step adds: at a rate that suits it takes hundreds."""
FAR_JUMP = 3.0
"""The same, from which on the rate is far too high."""
BROKEN = 3
"""Newest steps that have to be so."""
FALL_ERRORS = 2.5
"""Standard errors of the fall, prompts taken as the units; together with the jump, which alone is no accident."""
LOST = 0.5
"""Of the reward's height above the lowest there was."""
LOWER, FAR_LOWER = 10.0, 30.0
"""Divisors of a rate that broke the policy in one step: KL goes by its square, and 0.01 nats a step would be much."""
FAR_ABOVE = 30.0
"""Times the method's usual rate, from which on that is worth a word."""


def usual_rate(track: Track) -> float:
    """That of online methods, for an adapter where there is one."""
    full = next(rate.full for rate in RATES if rate.training == "online methods")
    return full * (ADAPTER_FACTOR if track.setting("model.lora") else 1.0)


def raised(track: Track) -> float | None:
    """By how much the rate was raised while the run went on (with other settings), None where it was not lately."""
    after = int(track.number("schedule.warmup") or 0)
    newest = [(step, rate) for step, rate in track.get("lr").last(RECENT) if step > after]
    factors = [b / a for (_, a), (_, b) in pairwise(newest) if a > 0]
    largest = max(factors, default=1.0)
    return largest if largest >= RAISED else None


def lower(track: Track, factor: float) -> str | None:
    """The rate as it was before it was raised, or so many times lower."""
    before = raised(track)
    return track.times("schedule.lr", 1 / (before or factor))


def lower_after(track: Track, jump: float) -> str | None:
    """After a step that has added so many nats per token."""
    return lower(track, FAR_LOWER if jump >= FAR_JUMP else LOWER)


def largest_jump(kl: Column) -> tuple[float, int]:
    """The most that a step has added to a distance, and the step; 0 where it never grew."""
    grown = zip(kl.steps[1:], kl.values, kl.values[1:], strict=False)
    return max(((b - a, step) for step, a, b in grown), default=(0.0, 0))


def broken(track: Track) -> Finding | None:
    """A reward far below where it began, and a distance from the reference that a single step has made."""
    reward, kl = track["reward/mean"], track["kl_ref/k3"]
    now, apart = reward.last(BROKEN), kl.last(BROKEN)
    if len(reward) <= BROKEN or apart.low < JUMP or not _fell(track):
        return None
    jump, step = largest_jump(kl)
    if jump < JUMP:
        return None
    text = (
        f"an update has broken the policy: step {step} found it {jump:.2g} nats per token further from the reference "
        f"than the step before, and the reward has gone from {reward.values[0]:.3g} at the start to {now.mean:.3g}; "
        f"{_of_the_rate(track)}"
    )
    return seen(now, now.mean, reward.values[0], text, lower_after(track, jump))


def _fell(track: Track) -> bool:
    """Whether the newest rewards are below the first one, by more than its prompts explain and by much of what there
    is to lose."""
    reward, std = track["reward/mean"], track.get("reward/std")
    now, start = reward.last(BROKEN), reward.values[0]
    prompts = _prompts(track)
    noise = (std.values[0] if len(std) else 0.0) * math.sqrt(1 / prompts + 1 / (prompts * BROKEN))
    lowest = track.get("reward/min").lowest
    height = start - lowest if math.isfinite(lowest) else 0.0
    fall = start - now.mean
    return fall > FALL_ERRORS * noise and fall > LOST * height and now.high < start


def _prompts(track: Track) -> float:
    """Of a step: answers to one prompt go up and down together."""
    samples = track.get("samples")
    group = track.number("group_size") or 1.0
    return max((samples.values[0] if len(samples) else 1.0) / group, 1.0)


def _of_the_rate(track: Track) -> str:
    """What speaks for it."""
    rate, usual, by = track.number("schedule.lr"), usual_rate(track), raised(track)
    if by is not None:
        return f"schedule.lr was raised to {by:.3g} times what it was"
    if rate is None or rate < FAR_ABOVE * usual:
        return "no reward alone does that"
    return f"schedule.lr is {rate:g}, where {usual:g} is the usual one"


RULES = (
    Rule(
        name="broken-policy",
        symptom="an update has broken the policy",
        reads=("reward/mean", "kl_ref/k3"),
        threshold=f"a reward in {BROKEN} steps below that of the first by {FALL_ERRORS} standard errors and "
        f"{LOST:.0%} of its height above the lowest, with {JUMP:g} nat per token and more from the reference, of which "
        f"a single step has added {JUMP:g}",
        cause="the rate is far too high.",
        remedy=f"Lower schedule.lr by a factor of {LOWER:g} to {FAR_LOWER:g} (RL usually takes 1e-6 with all weights "
        "trained, and ten times that under LoRA), and begin anew or go back to a checkpoint before it.",
        source="section 3.8 of docs/specification.md; the bounds are chosen",
        check=broken,
        gravity="grave",
        kinds=("sampled",),
        points=BROKEN + 1,
        unseen="set objective.kl, whose reference it is measured against",
    ),
)
