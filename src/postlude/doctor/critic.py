"""Rules on the value function of methods that have one."""

from __future__ import annotations

from postlude.doctor.progress import NOW, headroom
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track

LONG = 20
NOTHING = 0.05
"""Explained variance of a critic that knows hardly more than a constant."""
HARMFUL = -0.5
"""Below, its values make advantages half as noisy again as a constant would; above it is the noise of few answers."""
TIMES_THE_POLICY = 10.0
"""Its usual rate, by the policy's."""
TOO_HIGH = 3.0
"""Times that."""
OFF = 0.5
"""Of the largest standard deviation of a step's rewards: a critic that has not even learned the mean return."""
LITTLE_ROOM = 0.2
"""Share of what can be won that is left: below, nearly all returns are one, and there is nothing to explain."""
SETTLED = 30
"""Steps after its warm-up from which on it should know something."""


def dead(track: Track) -> Finding | None:
    """A critic that explains nothing of the returns, and is off by more than noise or makes matters worse.

    One whose returns cannot be foreseen (a reward of pure noise) explains nothing either, but knows their mean.
    """
    explained = track["value/explained_variance"].last(LONG)
    warmup = track.number("critic.warmup") or 0
    if track.step < SETTLED + warmup or explained.mean >= NOTHING or explained.last_half >= NOTHING:
        return None
    value, returned = track["value/mean"].last(LONG), track["return/mean"].last(LONG)
    room = headroom(track)
    noisy = explained.mean <= HARMFUL and room is not None and room >= LITTLE_ROOM
    off = abs(value.mean - returned.mean)
    if not noisy and off <= OFF * track["reward/std"].highest:
        return None
    text = (
        f"the critic explains {explained.mean:.2g} of the returns' variance over {len(explained)} steps (1 is all, 0 "
        f"is what a constant explains); it expects {value.mean:.3g} where {returned.mean:.3g} comes"
    )
    return seen(explained, explained.mean, NOTHING, text, _rate(track, explained.mean))


def _rate(track: Track, explained: float) -> str | None:
    """Lower where it is far above the usual one or its values are worse than none; higher where it learns too
    little."""
    rate, policy = track.number("critic.lr"), track.number("schedule.lr")
    usual = TIMES_THE_POLICY * policy if policy else None
    if rate and usual and rate > TOO_HIGH * usual:
        return f"critic.lr={usual:g}"
    if explained <= HARMFUL:
        return track.times("critic.lr", 0.3)
    return track.times("critic.lr", 3)


RULES = (
    Rule(
        name="dead-critic",
        symptom="the critic explains nothing",
        reads=("value/explained_variance", "value/mean", "return/mean", "reward/std"),
        threshold=f"an explained variance below {NOTHING} over {LONG} steps, {SETTLED} steps after its warm-up, and "
        f"either below {HARMFUL} or off the mean return by {OFF} standard deviations of the reward (its largest)",
        cause="its rate is too low or too high, or it began to guide the policy before it knew anything.",
        remedy="Set critic.lr to about ten times schedule.lr: lower where its values are wild, higher where they "
        "hardly move. Or give it a warm-up (critic.warmup=20), or take a method without a critic (grpo, rloo).",
        source="section 3.9 of docs/specification.md; the bounds are chosen",
        check=dead,
        kinds=("sampled",),
        where=lambda track: "value/explained_variance" in track or track.setting("critic") is not None,
        points=LONG + NOW,
    ),
)
