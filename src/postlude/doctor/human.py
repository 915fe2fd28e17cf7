"""Rules on what people said of the answers (`postlude review`): of a run that was judged, never of one going on."""

from __future__ import annotations

from postlude.doctor.rule import Finding, Rule, seen
from postlude.doctor.track import Track

LEAST_AGREEMENT = 0.7
"""Of people's verdicts with the reward, as the share on which both say the same, or as the area under the curve, where
one half is a reward that knows nothing of what people see."""
SURE = 0.4
"""The widest interval of agreement that says something: 6 verdicts that all go against the reward, about 20 that partly
do. Fewer could all be one reviewer's mood, or one kind of prompt."""
UNSEEN = "judge some of its answers: postlude review RUN"


def disagreement(track: Track) -> Finding | None:
    """People see other answers as good than the reward does, beyond what so few verdicts could show by chance."""
    agreed, high = track["human/agreement"], track["human/agreement/high"].newest
    low = track["human/agreement/low"].newest
    if high >= LEAST_AGREEMENT or high - low > SURE:
        return None
    graded = track.get("human/agreement/auc")
    area = bool(len(graded) and graded.newest)
    what = "the reward tells answers that people find good from bad ones with an area under the curve of"
    said = f"{what if area else 'people and reward agree on a share of'} {agreed.newest:.2f} (95 % up to {high:.2f})"
    count = int(track["human/judged"].newest)
    text = f"{said} over {count} answers of a random sample: what is trained is not what people want"
    return seen(agreed.last(1), high, LEAST_AGREEMENT, text)


def getting_worse(track: Track) -> Finding | None:
    """Fewer late answers than early ones are good to people, while the reward of the same answers rose."""
    high, gained = track["human/good/change/high"].newest, track["human/reward/change"].newest
    if high >= 0 or gained <= 0:
        return None
    change = track["human/good/change"]
    text = (
        f"the share of answers that people find good went by {change.newest:+.2f} from the first half of the random "
        f"sample to the second (95 % below {high:+.2f}), while their reward went by {gained:+.3g}"
    )
    return seen(change.last(1), high, 0.0, text)


RULES = (
    Rule(
        name="people-disagree",
        symptom="people do not see as good what the reward does",
        reads=("human/agreement", "human/agreement/low", "human/agreement/high", "human/judged"),
        threshold=f"the upper end of the 95 % interval of agreement is below {LEAST_AGREEMENT:g}, and it is "
        f"no wider than {SURE:g} (6 verdicts at least)",
        cause="the reward measures something else than what people look for, or can be had without it.",
        remedy="Read where they part (postlude review RUN --report) and mend the reward.",
        source="docs/review.md",
        check=disagreement,
        kinds=("sampled",),
        unseen=UNSEEN,
        shows="judged",
    ),
    Rule(
        name="people-see-decline",
        symptom="answers get worse to people while the reward rises",
        reads=("human/good/change", "human/good/change/high", "human/reward/change"),
        threshold="the upper end of the 95 % interval of the change of good answers is below 0, and the reward rose",
        cause="the policy has found what the reward pays for and people do not want.",
        remedy="Go back to a checkpoint from before, and train on a reward that people agree with.",
        source="docs/review.md",
        check=getting_worse,
        gravity="grave",
        kinds=("sampled",),
        unseen=UNSEEN,
        shows="judged",
    ),
)
