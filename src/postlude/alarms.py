"""What the figures of a step should make people hear of, each with its way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from postlude.data import Completion

MOST_CUT = 0.9
"""Share of answers cut off by the length limit from which on people hear of it."""
MOST_DISPLACED = 0.5
"""Share of pairs whose chosen answer lost probability from which on people hear of it."""


def alarms_of(figures: Mapping[str, float]) -> dict[str, str]:
    """Name -> sentence, of those that apply."""
    sentences = {
        "displacement": displacement(figures.get("displaced_frac", 0.0)),
        "cut off": cut_off(figures.get("truncated_frac", 0.0), figures.get("completion_length/max", 0.0)),
    }
    return {name: text for name, text in sentences.items() if text}


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
