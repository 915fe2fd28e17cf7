"""Figures of rewards: each by itself, and what the built-in ones log."""

from __future__ import annotations

from postlude.runs.figures.figure import SHARE, Better, Figure

REWARDS = (
    Figure(
        name="reward/{label}",
        label="{label}",
        unit="reward",
        meaning="what this reward gave, by itself",
        formula="mean over the answers that it scored of the number as it gave it",
        better="up",
        source="docs/rewards.md",
        healthy="one that rises while the others fall is being exploited: read answers of it",
    ),
    Figure(
        name="reward/{label}/used",
        label="{label}, as used",
        unit="reward",
        meaning="the same as it is weighed: clipped, moved, scaled, squashed, normalised",
        formula="mean over the answers that it scored; 0 where a gate stopped them; without normalise when measuring",
        better="neither",
        source="docs/rewards.md",
    ),
    Figure(
        name="reward/{label}/sum",
        label="{label}, of all steps",
        unit="reward",
        meaning="of a reward for steps: all steps of an answer together",
        formula="mean over answers of the sum of their step rewards",
        better="neither",
        source="docs/rewards.md",
    ),
    Figure(
        name="reward/{label}/cached",
        label="{label}, cached",
        unit=SHARE,
        meaning="answers it had scored before",
        formula="answers whose score came from its cache / answers it was asked about",
        better="neither",
        source="docs/rewards.md",
    ),
    Figure(
        name="reward/{label}/errors",
        label="{label}, failed",
        unit="answers",
        meaning="left without a score by calls that failed",
        formula="count, of a reward that may fail (`errors`)",
        better="down",
        source="docs/rewards.md",
        healthy="0",
    ),
    Figure(
        name="gate/{label}",
        label="stopped by {label}",
        unit=SHARE,
        meaning="answers that the gate stopped",
        formula="share of all answers whose number is below `gate`",
        better="down",
        source="docs/rewards.md",
    ),
)


def _of_judge(name: str, unit: str, meaning: str, formula: str, better: Better, healthy: str | None = None) -> Figure:
    return Figure(f"judge/{name}", name, unit, meaning, formula, better, "section 10, docs/ai-feedback.md", healthy)


BUILT_IN = (
    _of_judge("calls", "requests", "sent to the judge", "count over the step, further tries among them", "neither"),
    _of_judge("cached", "questions", "answered from the cache", "count over the step", "neither"),
    _of_judge("failed", "questions", "that no request could answer", "count over the step", "down", "0"),
    _of_judge("unreadable", "questions", "without a readable verdict after the second try", "count", "down", "0"),
    _of_judge("floored", "options", "whose likelihood the judge did not report", "count over the step", "down", "0"),
    _of_judge("tokens", "tokens", "read and written by the judge", "count over the step", "neither"),
    _of_judge("cost", "unit of `price`", "of the step", "tokens read and written * price per million", "down"),
    _of_judge(
        "flip_rate",
        SHARE,
        "verdicts that changed with the order of the answers",
        "share of the compared pairs in which each order prefers another answer",
        "down",
        "near 0; above 0.2 over 20 verdicts and more the run says so",
    ),
    _of_judge(
        "tie_rate",
        SHARE,
        "comparisons that count as ties",
        "share of the compared pairs that flipped or had no preference",
        "down",
    ),
    _of_judge(
        "position_bias",
        "probability, -1/2 to 1/2",
        "how much the answer shown first is preferred",
        "mean over pairs of (P(first shown | this order) + P(first shown | the other)) / 2 - 1/2",
        "neither",
        "near 0",
    ),
    _of_judge(
        "canary",
        "reward (score) or share won",
        "what answers that say nothing get",
        "mode score: mean reward, -1 to 1; pairs and lists: mean share won against the policy's answers",
        "down",
        "low; one above canary_limit, or winning more often than not, stops the run",
    ),
    *(
        Figure(
            name=f"maths/{verdict}",
            label=f"maths {verdict}",
            unit=SHARE,
            meaning=meaning,
            formula="share of the answers verified in the step",
            better="down",
            source="docs/maths.md",
            healthy=healthy,
        )
        for verdict, meaning, healthy in (
            ("ambiguous", "answers that name several values and take none back", None),
            ("unparsable", "answers without a value that can be read", None),
            ("timeout", "comparisons that took too long", "0"),
            (
                "error",
                "comparisons that failed through our fault",
                "0; three that are above 0.01 of a batch stop the run",
            ),
        )
    ),
    *(
        Figure(
            name=f"code/{part}",
            label=f"{part} tests",
            unit=SHARE,
            meaning=f"{part} tests that programs pass",
            formula=f"mean over answers to rows with {part} tests of passed / tests",
            better="up",
            source="docs/programs.md",
            healthy="visible far above hidden: programs are written to the tests that are shown",
        )
        for part in ("visible", "hidden")
    ),
    *(
        Figure(
            name=f"code/{word}",
            label=f"code {word}",
            unit=SHARE,
            meaning=meaning,
            formula="share of the answers of the step",
            better="down",
            source="docs/programs.md",
            healthy=healthy,
        )
        for word, meaning, healthy in (
            ("timeout", "programs that took too long", None),
            ("crashed", "programs that ended by an error of their own", None),
            ("no_program", "answers without a program", None),
            ("bad_row", "answers to rows whose tests judge nothing, which have no reward", "0"),
            (
                "fault",
                "programs that the sandbox could not judge",
                "0; three in a step that are above 0.01 of its answers stop the run",
            ),
            ("unsafe", "programs that ran without the sandbox's locks; only logged there, as 1", "not there"),
        )
    ),
    Figure(
        name="model/disagreement",
        label="disagreement",
        unit="score of the models",
        meaning="of the reward models of an ensemble about an answer",
        formula="mean over answers of the standard deviation over the models, divisor n",
        better="down",
        source="section 2.7",
        healthy="rising: the policy writes what the reward models were not trained on",
    ),
)
"""What built-in rewards log. They stand under the reward's label: here its usual one, the name of the reward."""
