"""What people said of a run's answers (`postlude review`): figures of no event, made of verdicts when they are read."""

from __future__ import annotations

from postlude.runs.figures.figure import SHARE, Better, Figure

PAGE = "docs/review.md"
AGREED = "share, or area under the curve, 0 to 1"


def _with_ends(figure: Figure, better: Better = "neither") -> tuple[Figure, ...]:
    """A figure, and the ends of its interval."""
    ends = (("low", "at least"), ("high", "at most"))
    return (
        figure,
        *(
            Figure(
                name=f"{figure.name}/{end}",
                label=f"{figure.label}, {words}",
                unit=figure.unit,
                meaning=f"{figure.meaning}, the {end} end of its interval",
                formula="95 % interval that counts prompts",
                better=better,
                source=PAGE,
            )
            for end, words in ends
        ),
    )


PEOPLE = (
    Figure(
        name="human/judged",
        label="judged by people",
        unit="answers",
        meaning="answers of the random sample that people called good or bad",
        formula="count, skipped ones left out",
        better="neither",
        source=PAGE,
        healthy="twenty give an interval some 0.4 wide, a hundred one of 0.2",
    ),
    *_with_ends(
        Figure(
            name="human/good",
            label="good to people",
            unit=SHARE,
            meaning="answers of the random sample that people called good",
            formula="good / (good + bad)",
            better="up",
            source=PAGE,
        ),
        "up",
    ),
    *_with_ends(
        Figure(
            name="human/good/change",
            label="good to people, late less early",
            unit="difference of shares, -1 to 1",
            meaning="change of the share of good answers from the first half of the sample's steps to the second",
            formula="late - early; the interval is Newcombe's",
            better="up",
            source=PAGE,
            healthy="the upper end below 0 while the reward rises: people see a decline (doctor: people-see-decline)",
        ),
        "up",
    ),
    Figure(
        name="human/reward/change",
        label="reward of the judged answers, late less early",
        unit="reward",
        meaning="change of the mean reward of the same answers",
        formula="late - early",
        better="neither",
        source=PAGE,
    ),
    *_with_ends(
        Figure(
            name="human/agreement",
            label="people and reward agree",
            unit=AGREED,
            meaning="how far people's verdicts go with the reward, on the random sample",
            formula="a reward of two values: both say the same / judged; any other: chance that a good answer has a "
            "higher reward than a bad one, ties half",
            better="up",
            source=PAGE,
            healthy="the upper end below 0.7: the reward is not what people look for (doctor: people-disagree)",
        ),
        "up",
    ),
    Figure(
        name="human/agreement/auc",
        label="agreement is an area",
        unit="0 or 1",
        meaning="whether human/agreement is an area under the curve",
        formula="1 of a graded reward, 0 of one with two values",
        better="neither",
        source=PAGE,
    ),
)
