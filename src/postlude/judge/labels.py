"""From a labeller's log-probabilities to preference labels and scores (RLAIF, 2309.00267; CAI, 2212.08073)."""

from __future__ import annotations

import math
from collections.abc import Sequence


def first_preferred(logprobs: tuple[float, float]) -> float:
    """P("1") from the labeller's log-probs of "1" and "2"."""
    return 1 / (1 + math.exp(logprobs[1] - logprobs[0]))


def preference_label(shown_ab: tuple[float, float], shown_ba: tuple[float, float]) -> float:
    """P(a preferred) averaged over both orders: the labeller's position bias cancels."""
    return 0.5 * (first_preferred(shown_ab) + 1 - first_preferred(shown_ba))


def clamp_label(p: float, low: float = 0.4, high: float = 0.6) -> float:
    """Labels after chain of thought are over-confident; Constitutional AI holds them in [0.4, 0.6]."""
    return min(max(p, low), high)


def expected_score(logprobs: Sequence[float], lowest: int = 1) -> float:
    """Mean score under the renormalised likelihoods of the score strings lowest, lowest + 1, ..."""
    top = max(logprobs)
    weights = [math.exp(x - top) for x in logprobs]
    return sum((lowest + i) * w for i, w in enumerate(weights)) / sum(weights)


def normalised_score(score: float, lowest: int = 1, highest: int = 10) -> float:
    """A score on [lowest, highest] as a reward on [-1, 1]: direct RLAIF."""
    return 2 * (score - lowest) / (highest - lowest) - 1
