"""What the figures of a step should make people hear of, each with its way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postlude.data import Completion

MOST_CUT = 0.9
"""Share of answers cut off by the length limit from which on people hear of it."""
LARGEST_RATIO = 100.0
"""Of the policy to the one that sampled, for a single token, from which on people hear of it."""
MOST_CLIPPED = 0.5
"""Share of trained tokens that clipping holds back, likewise."""
FEWEST_EFFECTIVE = 0.3
"""Share of the draw that importance weights leave, below which people hear of it."""
MOST_DISPLACED = 0.5
"""Share of pairs whose chosen answer lost probability from which on people hear of it."""


def alarms_of(figures: Mapping[str, float]) -> dict[str, str]:
    """Name -> sentence, of those that apply."""
    sentences = {
        "displacement": displacement(figures.get("displaced_frac", 0.0)),
        "cut off": cut_off(figures.get("truncated_frac", 0.0), figures.get("completion_length/max", 0.0)),
    }
    sentences |= {
        "ratio": exploding(figures.get("ratio/max", 1.0), figures.get("ratio/clamped_frac", 0.0)),
        "clipped": clipped(figures.get("clip_frac_low", 0.0) + figures.get("clip_frac_high", 0.0)),
        "effective samples": ineffective(figures.get("mismatch/ess", 1.0)),
    }
    return {name: text for name, text in sentences.items() if text}


def exploding(ratio: float, clamped: float) -> str | None:
    """The largest importance ratio of a step, and the share of tokens whose log-ratio was held at 20 nats."""
    if ratio < LARGEST_RATIO and not clamped:
        return None
    held = f"; {clamped:.2%} of the tokens were held at 20 nats" if clamped else ""
    return (
        f"an importance ratio of {ratio:.3g}: the policy gives some token of the draw so many times the probability "
        f"that it was sampled with{held}. Such steps go by few tokens: lower schedule.lr, take fewer updates per draw "
        "(updates, epochs), or set stop_kl."
    )


def clipped(share: float) -> str | None:
    """The share of a step's tokens that clipping held back."""
    if share <= MOST_CLIPPED:
        return None
    return (
        f"clipping held back {share:.0%} of the trained tokens: the updates of a draw go beyond what it allows, and "
        "most of them change nothing. Lower schedule.lr, or take fewer updates per draw (updates, epochs)."
    )


def ineffective(share: float) -> str | None:
    """The effective sample size of a step's importance weights, as a share of its tokens."""
    if share >= FEWEST_EFFECTIVE:
        return None
    return (
        f"sampler and trainer disagree: the importance weights leave {share:.0%} of the draw. Look at mismatch/max; a "
        "precision of the model that both share (engine.dtype=float32), max_lag 0, or a bounded correction "
        "(objective.correction) help."
    )


def displacement(share: float) -> str | None:
    """Of the pairs of a preference method, the share whose chosen answer lost probability."""
    if share <= MOST_DISPLACED:
        return None
    return (
        f"likelihood displacement: in {share:.0%} of the pairs the chosen answer has become less "
        "likely than under the reference, although the margin grew. Some of it is usual; where answers get worse, add "
        "a likelihood term (objective.nll=0.2), take method ipo, or lower the rate."
    )


def cut_off(share: float, longest: float) -> str | None:
    """The share of answers that were cut off, and the tokens of the longest."""
    if share < MOST_CUT:
        return None
    return (
        f"{share:.0%} of the answers were cut off by the length limit ({longest:.0f} tokens) before they had ended. "
        "Raise sampling.max_tokens (--max-tokens) if they need more room; if they ramble on after they are done, the "
        "model has not learned to end: give a stop string (sampling.stop), or train it with sft first."
    )


def cut_off_in(completions: Sequence[Completion]) -> str | None:
    """What to know where nearly all answers ran into the length limit."""
    if not completions:
        return None
    share = sum(c.truncated for c in completions) / len(completions)
    return cut_off(share, max(c.length for c in completions))
