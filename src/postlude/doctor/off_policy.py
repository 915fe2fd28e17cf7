"""Rules on answers and the policy that learns from them: how far apart the two are within a draw, and why."""

from __future__ import annotations

import math

from postlude.doctor.progress import NOW, gains_lately
from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track
from postlude.doctor.windows import Window

LARGEST_RATIO = 100.0
"""Of the policy to the one that sampled, for a single token: a step beyond goes by few tokens."""
MOST_CLIPPED = 0.5
"""Share of trained tokens that clipping holds back: beyond, most of an update changes nothing."""
CLIPPED_STEPS = 5
FEWEST_EFFECTIVE = 0.3
"""Share of the draw that importance weights leave (docs/reliability.md)."""
MOST_MISMATCH = 0.01
"""Nats per token between sampler and trainer (k3): the bound at which verl's preset rejects an answer."""
LARGE_STEP = 0.1
"""Nats per token moved within one draw (k3): implementations of PPO end a draw's updates at 0.01 to 0.05."""
WRONG_KL_ERRORS = -4.0
"""Standard errors below 0 of an estimate that cannot be negative on average."""
LASTING = 5
"""Steps in a row of what one draw may do by chance."""


# ------------------------------------------------------------------------------------------ ratios and clips


def exploding_ratio(track: Track) -> Finding | None:
    """The largest importance ratio of a step, and the share of tokens whose log-ratio was held at 20 nats."""
    ratio, clamped = track["ratio/max"], track.get("ratio/clamped_frac")
    share = clamped.newest if len(clamped) else 0.0
    if ratio.newest < LARGEST_RATIO and not share:
        return None
    beyond = f"; {share:.2%} of the tokens were held at 20 nats" if share else ""
    text = (
        f"an importance ratio of {ratio.newest:.3g}: the policy gives some token of the draw so many times the "
        f"probability that it was sampled with{beyond}. Such steps go by few tokens"
    )
    return seen(ratio.last(1), ratio.newest, LARGEST_RATIO, text, track.times("schedule.lr", 0.3))


def clipped(track: Track) -> Finding | None:
    """The share of the trained tokens that clipping held back."""
    low, high = track["clip_frac_low"].last(CLIPPED_STEPS), track["clip_frac_high"].last(CLIPPED_STEPS)
    both = Window(
        "clip_frac_low + clip_frac_high", low.steps, tuple(map(sum, zip(low.values, high.values, strict=True)))
    )
    if both.mean <= MOST_CLIPPED or both.values[-1] <= MOST_CLIPPED or _by_sequences(track):
        return None
    text = (
        f"clipping held back {both.mean:.0%} of the trained tokens of the last {len(both)} steps: the updates of a "
        "draw go beyond what it allows, and most of them change nothing"
    )
    return seen(both, both.mean, MOST_CLIPPED, text, track.times("schedule.lr", 0.3))


def _by_sequences(track: Track) -> bool:
    """Whether a whole answer is clipped at once, by bounds far nearer to 1: half of the tokens is then usual."""
    return "seq" in str(track.setting("objective.ratio") or "")


def large_steps(track: Track) -> Finding | None:
    """How far the policy moves within a draw."""
    moved = track["kl_old/k3"].last(LASTING)
    if moved.low < LARGE_STEP or gains_lately(track, NOW, LASTING):
        return None
    text = (
        f"the policy moves {moved.mean:.2g} nats per token within a draw, over {len(moved)} steps: the answers it "
        "learns from are soon those of another policy"
    )
    return seen(
        moved, moved.mean, LARGE_STEP, text, track.times("schedule.lr", 0.3), track.times("stop_kl", 1, usual=0.05)
    )


# ------------------------------------------------------------------------------------ sampler and trainer


def ineffective(track: Track) -> Finding | None:
    """The effective sample size of a step's importance weights, as a share of its tokens."""
    share = track["mismatch/ess"]
    if share.newest >= FEWEST_EFFECTIVE:
        return None
    text = f"sampler and trainer disagree: the importance weights leave {share.newest:.0%} of the draw"
    return seen(share.last(1), share.newest, FEWEST_EFFECTIVE, text, nearer(track))


def mismatch(track: Track) -> Finding | None:
    """Lasting disagreement of sampler and trainer about the same tokens, where no older weights explain it."""
    apart = track["mismatch/k3"].last(NOW)
    older = track.setting("max_lag") or any(track.get("stale_groups").last(NOW).values)
    if older or apart.median < MOST_MISMATCH:
        return None
    text = (
        f"sampler and trainer give the same tokens different probabilities: {apart.median:.2g} nats per token over "
        f"{len(apart)} steps, from the same weights"
    )
    return seen(apart, apart.median, MOST_MISMATCH, text, nearer(track))


def stale(track: Track) -> Finding | None:
    """Answers of older weights that have become another policy's."""
    apart = track["mismatch/k3"].last(NOW)
    if apart.median < LARGE_STEP:
        return None
    text = (
        f"the answers that are trained on come from weights {apart.median:.2g} nats per token away, over {len(apart)} "
        "steps"
    )
    return seen(apart, apart.median, LARGE_STEP, text, "max_lag=0" if track.setting("max_lag") else None)


def _older(track: Track) -> bool:
    return bool(track.setting("max_lag")) or "stale_groups" in track


def nearer(track: Track) -> str | None:
    """What brings sampler and trainer together."""
    if track.setting("max_lag"):
        return "max_lag=0"
    return None if track.setting("model.dtype") == "float32" else "engine.dtype=float32"


def negative_kl(track: Track) -> Finding | None:
    """An estimate of KL that is below 0 for long: answers are not the policy's, or are scored otherwise."""
    k1 = track["kl_ref/k1"].last(2 * NOW)
    if (track.number("updates") or 1) * (track.number("epochs") or 1) > 1 or _older(track) or k1.std == 0:
        return None
    errors = k1.mean / (k1.std / math.sqrt(len(k1)))
    if errors > WRONG_KL_ERRORS or k1.mean > -LARGE_STEP / 10:
        return None
    text = (
        f"the KL to the reference is {k1.mean:.2g} nats per token over {len(k1)} steps, {-errors:.0f} standard errors "
        "below 0, which no KL can be: sampling and scoring disagree"
    )
    return seen(k1, k1.mean, 0.0, text, nearer(track))


_LOWER = "Lower schedule.lr, take fewer updates per draw (updates, epochs), or set stop_kl."

RULES = (
    Rule(
        name="ratio",
        symptom="the importance ratio explodes",
        reads=("ratio/max",),
        threshold=f"a ratio of {LARGEST_RATIO:g} or more, or any token held at 20 nats",
        cause="too many or too large updates on one draw: the policy is far from the one that sampled.",
        remedy=_LOWER,
        source="section 0.5 of docs/specification.md; a hundred is chosen",
        check=exploding_ratio,
        kinds=("sampled",),
    ),
    Rule(
        name="clipped",
        symptom="clipping holds back most of the update",
        reads=("clip_frac_low", "clip_frac_high"),
        threshold=f"more than {MOST_CLIPPED:.0%} of the trained tokens clipped over {CLIPPED_STEPS} steps; not where "
        "whole answers have one ratio",
        cause="too many or too large updates on one draw.",
        remedy="Lower schedule.lr, or take fewer updates per draw (updates, epochs).",
        source="section 0.7 of docs/specification.md; half is chosen",
        check=clipped,
        follows=("large-steps",),
        kinds=("sampled",),
        points=CLIPPED_STEPS,
    ),
    Rule(
        name="large-steps",
        symptom="the policy moves too far within a draw",
        reads=("kl_old/k3",),
        threshold=f"{LARGE_STEP} nats per token (k3) in {LASTING} steps in a row, while nothing rises by it",
        cause="the rate is too high for so many updates on one draw.",
        remedy=_LOWER,
        source="section 3.8 of docs/specification.md, 1707.06347",
        check=large_steps,
        kinds=("sampled",),
        points=LASTING,
    ),
    Rule(
        name="effective-samples",
        symptom="importance weights leave little of the draw",
        reads=("mismatch/ess",),
        threshold=f"an effective sample size below {FEWEST_EFFECTIVE} of the tokens",
        cause="sampler and trainer give the same tokens different probabilities: a lower precision, or old weights.",
        remedy="Look at mismatch/max; a precision that both share (engine.dtype=float32), max_lag 0, or a bounded "
        "correction (objective.correction) help.",
        source="section 12 of docs/specification.md; docs/reliability.md",
        check=ineffective,
        gravity="grave",
        kinds=("sampled",),
    ),
    Rule(
        name="mismatch",
        symptom="sampler and trainer disagree",
        reads=("mismatch/k3",),
        threshold=f"a median of {MOST_MISMATCH} nats per token (k3) over {NOW} steps, from the same weights",
        cause="they compute the same weights in different ways: precision, temperature, an adapter merged on one side.",
        remedy="Take one precision for both (engine.dtype=float32), or a bounded correction (objective.correction); "
        "postlude selftest shows where they part.",
        source="section 12 of docs/specification.md",
        check=mismatch,
        kinds=("sampled",),
        points=NOW,
    ),
    Rule(
        name="stale-data",
        symptom="answers are those of older weights",
        reads=("mismatch/k3",),
        threshold=f"a median of {LARGE_STEP} nats per token (k3) over {NOW} steps between the weights that sampled and "
        "those that train",
        cause="answers wait (max_lag, groups carried over by dynamic sampling) while the policy moves fast.",
        remedy="Set max_lag 0, take smaller steps (schedule.lr), or fewer groups that are carried over.",
        source="section 12 of docs/specification.md; the bound is chosen",
        check=stale,
        kinds=("sampled",),
        where=_older,
        points=NOW,
    ),
    Rule(
        name="negative-kl",
        symptom="the KL to the reference is below 0",
        reads=("kl_ref/k1",),
        threshold=f"a mean over {2 * NOW} steps below {-LARGE_STEP / 10} nats per token and {-WRONG_KL_ERRORS:g} "
        "standard errors below 0, with one update per draw",
        cause="the answers are not the policy's own, or sampling and scoring disagree.",
        remedy="Compare sampler and trainer (mismatch/k3, postlude selftest); take one precision for both.",
        source="section 3.8 of docs/specification.md",
        check=negative_kl,
        kinds=("sampled",),
        points=2 * NOW,
        unseen="set objective.kl, whose reference it is measured against",
    ),
)
