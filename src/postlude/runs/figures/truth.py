"""Figures of truth: of what measures held-out answers and is not trained on, for each held-out set and metric."""

from __future__ import annotations

from postlude.runs.figures.figure import SHARE, Figure

WILSON = "Wilson's where every score is 0 or 1, at the number of independent answers; else Student's over prompts"
SPREADS = "standard deviations"
DIVERGES = "gain of x = (mean now - mean at the first evaluation) / standard deviation of the answers of both together"
PAGE = "docs/truth.md"

TRUTH = (
    Figure(
        name="truth/{set}/{metric}",
        label="{set}: {metric}",
        unit="the metric's",
        meaning="by a metric that is not trained on",
        formula="avg@k: mean over prompts of the mean over their evaluate.samples sampled answers",
        better="up",
        source=PAGE,
        healthy="rises with the reward; flat or falling beside a rising reward is a reward that is gamed",
    ),
    Figure(
        name="truth/{set}/{metric}/low",
        label="{set}: {metric}, at least",
        unit="the metric's",
        meaning="lower end of its 95 % interval, which counts prompts and not answers",
        formula=WILSON,
        better="up",
        source="2411.00640",
        healthy="two evaluations whose intervals overlap by much differ by nothing that can be told",
    ),
    Figure(
        name="truth/{set}/{metric}/high",
        label="{set}: {metric}, at most",
        unit="the metric's",
        meaning="upper end of its 95 % interval, which counts prompts and not answers",
        formula=WILSON,
        better="up",
        source="2411.00640",
    ),
    Figure(
        name="truth/{set}/{metric}/pass@{k}",
        label="{set}: {metric}, best of {k}",
        unit="the metric's",
        meaning="best of k answers by the metric itself; of one that says 0 or 1 it is pass@k",
        formula="mean over prompts of the mean, over all choices of k of the n answers, of the best one (of 0 and 1: "
        "1 - C(n-c, k) / C(n, k))",
        better="up",
        source="2107.03374",
        healthy="falls while avg@k rises: the policy gives up variety, and solves fewer prompts at all",
    ),
    Figure(
        name="truth/{set}/{metric}/greedy",
        label="{set}: {metric}, greedy",
        unit="the metric's",
        meaning="of the most likely answer",
        formula="mean over prompts",
        better="up",
        source=PAGE,
    ),
    Figure(
        name="truth/{set}/{metric}/unscored",
        label="{set}: {metric}, unscored",
        unit="answers",
        meaning="sampled answers that the metric gave no score, or whose call failed; it is a mean of the others",
        formula="count; not there where it is 0",
        better="down",
        source=PAGE,
        healthy="0; a metric that misses the hard answers flatters",
    ),
    Figure(
        name="truth/{set}/{metric}/divergence",
        label="{set}: reward away from {metric}",
        unit=SPREADS,
        meaning="how much further the trained reward has come than the metric, on the same answers",
        formula=f"gain of the reward - gain of the metric; {DIVERGES} (0 where none differs), so it is -4 to 4",
        better="neither",
        source=PAGE,
        healthy="around 0; above 0.5, with its low end above 0, the reward grows without what it stands for",
    ),
    Figure(
        name="truth/{set}/{metric}/divergence/low",
        label="{set}: reward away from {metric}, at least",
        unit=SPREADS,
        meaning="lower end of the divergence's 95 % interval",
        formula="Student's over prompts, each compared with itself at the first evaluation",
        better="neither",
        source=PAGE,
        healthy="above 0: more than chance",
    ),
    Figure(
        name="truth/{set}/{metric}/divergence/high",
        label="{set}: reward away from {metric}, at most",
        unit=SPREADS,
        meaning="upper end of the divergence's 95 % interval",
        formula="Student's over prompts, each compared with itself at the first evaluation",
        better="neither",
        source=PAGE,
    ),
    Figure(
        name="truth/{set}/reward",
        label="{set}: reward",
        unit="reward",
        meaning="the recipe's own reward on the same answers, before normalising and shaping",
        formula="mean over prompts of the mean over their evaluate.samples sampled answers",
        better="up",
        source=PAGE,
        healthy="rises; it says nothing of truth by itself",
    ),
    Figure(
        name="truth/{set}/reward/low",
        label="{set}: reward, at least",
        unit="reward",
        meaning="lower end of its 95 % interval, which counts prompts and not answers",
        formula=WILSON,
        better="up",
        source="2411.00640",
    ),
    Figure(
        name="truth/{set}/reward/high",
        label="{set}: reward, at most",
        unit="reward",
        meaning="upper end of its 95 % interval, which counts prompts and not answers",
        formula=WILSON,
        better="up",
        source="2411.00640",
    ),
    Figure(
        name="truth/{set}/reward/greedy",
        label="{set}: reward, greedy",
        unit="reward",
        meaning="of the most likely answer",
        formula="mean over prompts",
        better="up",
        source=PAGE,
    ),
    Figure(
        name="truth/{set}/reward/unscored",
        label="{set}: unscored by the reward",
        unit="answers",
        meaning="sampled answers without a reward",
        formula="count; not there where it is 0",
        better="down",
        source="section 0.6",
        healthy="0",
    ),
    Figure(
        name="truth/{set}/reward/accuracy",
        label="{set}: accuracy",
        unit=SHARE,
        meaning="answers of this set that the reward calls right",
        formula="right / (right + wrong) over the sampled answers",
        better="up",
        source="section 0.7",
    ),
)
"""S in truth/S/M is a held-out set, `held_out` where there is one without a name; M the label of a metric."""


def is_headline(name: str) -> bool:
    """Whether it is one of the figures to look at: truth/SET/METRIC, truth/SET/reward, and the divergence."""
    parts = name.split("/")
    return parts[0] == "truth" and (len(parts) == 3 or (len(parts) == 4 and parts[3] == "divergence"))
