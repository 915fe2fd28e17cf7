"""How good a reward model is, from its scores alone: accuracy, margins, length, calibration, ensembles. No torch.

Scores are in logits. A pair is (place of the better answer, place of the worse one) among the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import asdict, dataclass
from statistics import median, pstdev
from typing import Any, Literal

from postlude.rewards.numbers import ensemble_score, sigmoid
from postlude.statistics import (
    Bin,
    auc,
    calibration_error,
    clustered,
    mean,
    pearson,
    reliability,
    spearman,
)

Pair = tuple[int, int]
Figures = dict[str, Any]
COMBINATIONS: tuple[Literal["mean", "worst", "uncertainty"], ...] = ("mean", "worst", "uncertainty")


@dataclass(frozen=True)
class Compared:
    """Answers to compare: their lengths in tokens, and which is better than which."""

    lengths: Sequence[int]
    pairs: Sequence[Pair]
    prompts: Sequence[Hashable]
    """Of each answer, which prompt it answers: judgements of one prompt are no independent draws."""

    def owners(self, pairs: Sequence[Pair]) -> list[Hashable]:
        """The prompt of each pair."""
        return [self.prompts[better] for better, _ in pairs]


@dataclass(frozen=True)
class Labelled:
    """Answers or steps that are good or bad, or good with a probability; lengths are of answers only."""

    good: Sequence[float]
    prompts: Sequence[Hashable]
    """Of each, which prompt it belongs to."""
    lengths: Sequence[int] | None = None


def win(margin: float) -> float:
    """1 where the better answer scores higher, 0.5 where both score the same, else 0."""
    return 0.5 if margin == 0 else float(margin > 0)


def pairs_of(rewards: Sequence[float], start: int = 0) -> list[Pair]:
    """All pairs of a group whose rewards differ; places count from `start`."""
    places = range(len(rewards))
    return [(start + i, start + j) for i in places for j in places if rewards[i] > rewards[j]]


# ------------------------------------------------------------------------------------------------------ one model


def pair_figures(scores: Sequence[float], data: Compared) -> Figures:
    """Accuracy (ties half) with its interval, margin, scores, length, calibration of sigmoid(s_w - s_l)."""
    margins = [scores[w] - scores[x] for w, x in data.pairs]
    wins = [win(m) for m in margins]
    low, high = clustered(wins, data.owners(data.pairs))
    # a pair has no order of its own: the model says sigmoid(|d|) that the answer it prefers is the better one
    bins = reliability([sigmoid(abs(m)) for m in margins], wins, low=0.5)
    return {
        "pairs": len(margins),
        "accuracy": mean(wins),
        "accuracy_low": low,
        "accuracy_high": high,
        "ties": sum(m == 0 for m in margins),
        "margin": mean(margins),
        **_scores(scores, data.lengths),
        "ece": calibration_error(bins),
        "reliability": [asdict(b) for b in bins],
        "by_length": by_length(data, wins),
    }


def _scores(scores: Sequence[float], lengths: Sequence[int] | None) -> Figures:
    found = {"mean": mean(scores), "std": pstdev(scores), "min": min(scores), "max": max(scores)}
    result: Figures = {f"score_{name}": value for name, value in found.items()}
    if lengths is not None:
        result |= {"length_pearson": pearson(scores, lengths), "length_spearman": spearman(scores, lengths)}
    return result


def by_length(data: Compared, wins: Sequence[float]) -> list[Figures]:
    """Accuracy by how much longer the better answer is, in tokens; the outer buckets begin beyond the median gap."""
    gaps = [data.lengths[w] - data.lengths[x] for w, x in data.pairs]
    middle = int(median([abs(g) for g in gaps if g] or [0]))
    edges: list[tuple[str, Callable[[int], bool]]] = [
        (f"shorter by more than {middle}", lambda g: g < -middle),
        (f"shorter by up to {middle}", lambda g: -middle <= g < 0),
        ("as long", lambda g: g == 0),
        (f"longer by up to {middle}", lambda g: 0 < g <= middle),
        (f"longer by more than {middle}", lambda g: g > middle),
    ]
    result: list[Figures] = []
    for name, inside in edges:
        places = [i for i, g in enumerate(gaps) if inside(g)]
        mine = [wins[i] for i in places]
        low, high = clustered(mine, data.owners([data.pairs[i] for i in places]))
        shown = {"accuracy": mean(mine), "accuracy_low": low, "accuracy_high": high} if mine else {"accuracy": None}
        result.append({"better_is": name, "pairs": len(mine), **shown})
    return result


def label_figures(scores: Sequence[float], data: Labelled) -> Figures:
    """Accuracy at score 0 with its interval, AUC, calibration of sigmoid(score).

    A label of 0.5 counts for calibration only.
    """
    decided = [(s, g > 0.5) for s, g in zip(scores, data.good, strict=True) if g != 0.5]
    hits = [win(s if good else -s) for s, good in decided]
    low, high = clustered(hits, [p for p, g in zip(data.prompts, data.good, strict=True) if g != 0.5])
    bins = reliability([sigmoid(s) for s in scores], data.good)
    return {
        "judged": len(scores),
        "good": sum(good for _, good in decided),
        "accuracy": mean(hits) if hits else None,
        "accuracy_low": low,
        "accuracy_high": high,
        "auc": auc([s for s, _ in decided], [good for _, good in decided]),
        **_scores(scores, data.lengths),
        "ece": calibration_error(bins),
        "reliability": [asdict(b) for b in bins],
    }


def bins_of(figures: Figures) -> list[Bin]:
    """The reliability diagram of figures, as it was computed."""
    return [Bin(**b) for b in figures["reliability"]]


# ------------------------------------------------------------------------------------------------------- ensembles


def standardised(scores: Sequence[float]) -> list[float]:
    """Mean 0 and population std 1 on these answers, so that members are on one scale; zeros where nothing varies."""
    shift, scale = mean(scores), pstdev(scores)
    return [(s - shift) / scale if scale else 0.0 for s in scores]


def ensemble_figures(members: Sequence[Sequence[float]], data: Compared | Labelled, lam: float = 0.5) -> Figures:
    """Disagreement (population std of the members' standardised scores), how it goes with errors, and combinations.

    Quality is pair accuracy, or AUC of labelled answers. `shift` and `scale` are what puts each member on one scale:
    (score - shift) * scale.
    """
    columns = list(zip(*map(standardised, members), strict=True))
    spread = [pstdev(column) for column in columns]
    combined = {how: [ensemble_score(c, how, lam) for c in columns] for how in COMBINATIONS}
    doubt, wrong = _doubt(spread, combined["mean"], data)
    return {
        "members": len(members),
        "disagreement": mean(spread),
        "disagreement_wrong_pearson": pearson(doubt, wrong),
        "measure": "accuracy" if isinstance(data, Compared) else "auc",
        "each": [_quality(m, data) for m in members],
        "combined": {how: _quality(scores, data) for how, scores in combined.items()},
        "lam": lam,
        "shift": [mean(m) for m in members],
        "scale": [1 / pstdev(m) if pstdev(m) else 1.0 for m in members],
    }


def _quality(scores: Sequence[float], data: Compared | Labelled) -> float | None:
    if isinstance(data, Compared):
        return mean([win(scores[w] - scores[x]) for w, x in data.pairs])
    decided = [(s, g > 0.5) for s, g in zip(scores, data.good, strict=True) if g != 0.5]
    return auc([s for s, _ in decided], [good for _, good in decided])


def _doubt(
    spread: Sequence[float], scores: Sequence[float], data: Compared | Labelled
) -> tuple[list[float], list[float]]:
    """Disagreement about each pair (the mean of its answers') or label, and whether the members' mean errs there."""
    if isinstance(data, Compared):
        doubt = [(spread[w] + spread[x]) / 2 for w, x in data.pairs]
        return doubt, [1 - win(scores[w] - scores[x]) for w, x in data.pairs]
    places = [i for i, g in enumerate(data.good) if g != 0.5]
    return [spread[i] for i in places], [1 - win(scores[i] if data.good[i] > 0.5 else -scores[i]) for i in places]
