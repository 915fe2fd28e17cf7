"""Rules on the answers that a policy samples: their lengths and their ends."""

from __future__ import annotations

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track

MOST_CUT = 0.9
"""Share of answers cut off by the length limit from which on people hear of it."""


def cut_off(track: Track) -> Finding | None:
    """The share of answers that were cut off, and the tokens of the longest."""
    share, longest = track["truncated_frac"], track.get("completion_length/max")
    if share.newest < MOST_CUT:
        return None
    limit = f" ({longest.newest:.0f} tokens)" if len(longest) else ""
    text = f"{share.newest:.0%} of the answers were cut off by the length limit{limit} before they had ended"
    return seen(share.last(3), share.newest, MOST_CUT, text, track.times("sampling.max_tokens", 2))


RULES = (
    Rule(
        name="cut-off",
        symptom="answers run into the length limit",
        reads=("truncated_frac",),
        threshold=f"{MOST_CUT:.0%} of a step's answers or more",
        cause="answers need more room than sampling.max_tokens, or the model has not learned to end them.",
        remedy="Raise sampling.max_tokens if they need more room; if they ramble on after they are done, give a stop "
        "string (sampling.stop), or train the model with sft first.",
        source="docs/reliability.md",
        check=cut_off,
        kinds=("sampled",),
    ),
)
