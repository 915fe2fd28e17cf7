"""Rules on updates: whether policy, sampler and reference stay as near to each other as the method needs."""

from __future__ import annotations

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track
from postlude.doctor.windows import Window

LARGEST_RATIO = 100.0
"""Of the policy to the one that sampled, for a single token: a step beyond goes by few tokens."""
MOST_CLIPPED = 0.5
"""Share of trained tokens that clipping holds back: beyond, most of an update changes nothing."""
FEWEST_EFFECTIVE = 0.3
"""Share of the draw that importance weights leave (docs/reliability.md)."""


def exploding_ratio(track: Track) -> Finding | None:
    """The largest importance ratio of a step, and the share of tokens whose log-ratio was held at 20 nats."""
    ratio, clamped = track["ratio/max"], track.get("ratio/clamped_frac")
    held = clamped.newest if len(clamped) else 0.0
    if ratio.newest < LARGEST_RATIO and not held:
        return None
    beyond = f"; {held:.2%} of the tokens were held at 20 nats" if held else ""
    text = (
        f"an importance ratio of {ratio.newest:.3g}: the policy gives some token of the draw so many times the "
        f"probability that it was sampled with{beyond}. Such steps go by few tokens"
    )
    return seen(ratio.last(3), ratio.newest, LARGEST_RATIO, text, track.times("schedule.lr", 0.3))


def clipped(track: Track) -> Finding | None:
    """The share of a step's tokens that clipping held back."""
    low, high = track["clip_frac_low"], track["clip_frac_high"]
    share = low.newest + high.newest
    if share <= MOST_CLIPPED:
        return None
    both = zip(low.last(3).values, high.last(3).values, strict=True)
    evidence = Window("clip_frac_low + clip_frac_high", low.last(3).steps, tuple(a + b for a, b in both))
    text = (
        f"clipping held back {share:.0%} of the trained tokens: the updates of a draw go beyond what it allows, and "
        "most of them change nothing"
    )
    return seen(evidence, share, MOST_CLIPPED, text, track.times("schedule.lr", 0.3))


def ineffective(track: Track) -> Finding | None:
    """The effective sample size of a step's importance weights, as a share of its tokens."""
    share = track["mismatch/ess"]
    if share.newest >= FEWEST_EFFECTIVE:
        return None
    text = f"sampler and trainer disagree: the importance weights leave {share.newest:.0%} of the draw"
    lag = "max_lag=0" if track.setting("max_lag") else None
    precise = "engine.dtype=float32" if track.setting("engine.dtype") not in (None, "float32") else None
    return seen(share.last(3), share.newest, FEWEST_EFFECTIVE, text, lag or precise)


RULES = (
    Rule(
        name="ratio",
        symptom="the importance ratio explodes",
        reads=("ratio/max",),
        threshold=f"a ratio of {LARGEST_RATIO:g} or more, or any token held at 20 nats",
        cause="too many or too large updates on one draw: the policy is far from the one that sampled.",
        remedy="Lower schedule.lr, take fewer updates per draw (updates, epochs), or set stop_kl.",
        source="section 0.5 of docs/specification.md",
        check=exploding_ratio,
        gravity="grave",
        kinds=("sampled",),
    ),
    Rule(
        name="clipped",
        symptom="clipping holds back most of the update",
        reads=("clip_frac_low", "clip_frac_high"),
        threshold=f"more than {MOST_CLIPPED:.0%} of the trained tokens clipped",
        cause="too many or too large updates on one draw.",
        remedy="Lower schedule.lr, or take fewer updates per draw (updates, epochs).",
        source="section 0.7 of docs/specification.md",
        check=clipped,
        kinds=("sampled",),
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
)
