"""Rules on compared and labelled answers: preference methods and reward models."""

from __future__ import annotations

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track

MOST_DISPLACED = 0.5
"""Share of pairs whose chosen answer lost probability: some of it is usual, most of the pairs is not."""


def displacement(track: Track) -> Finding | None:
    """Of the pairs of a preference method, the share whose chosen answer lost probability."""
    share = track["displaced_frac"]
    if share.newest <= MOST_DISPLACED:
        return None
    text = (
        f"likelihood displacement: in {share.newest:.0%} of the pairs the chosen answer has become less likely than "
        "under the reference, although the margin grew"
    )
    return seen(share.last(3), share.newest, MOST_DISPLACED, text, "objective.nll=0.2")


RULES = (
    Rule(
        name="displacement",
        symptom="chosen answers lose probability",
        reads=("displaced_frac",),
        threshold=f"more than {MOST_DISPLACED:.0%} of the pairs displaced",
        cause="a margin grows also where both answers sink: the loss goes by the difference alone.",
        remedy="Where answers get worse, add a likelihood term (objective.nll=0.2), take method ipo, or lower the "
        "rate.",
        source="section 5 of docs/specification.md",
        check=displacement,
        kinds=("judged",),
    ),
)
