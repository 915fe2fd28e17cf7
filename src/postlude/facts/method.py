"""What helps to choose a method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Complexity = Literal["low", "medium", "high"]
Feedback = Literal[
    "answers", "pairs", "rankings", "thumbs", "chances", "steps", "checkable", "scored", "scored steps", "text"
]
"""answers: written answers. pairs: one answer preferred to another. rankings: lists, ranked or rated. thumbs: single
answers, good or bad. chances: pairs with the chance that the first is better. steps: steps labelled right or wrong.
checkable: prompts whose right answer or tests a program checks. scored: prompts, and any reward that scores answers (a
function, a reward model, a judge). scored steps: the same with a score per step. text: plain text beside the rest."""
FEEDBACK: tuple[Feedback, ...] = get_args(Feedback)


@dataclass(frozen=True)
class MethodFacts:
    """The judgement on a method; what it computes is its entry in `algorithms.py`."""

    requires: str
    complexity: Complexity
    """Of running it well: parts to train beforehand, models in play, settings to find."""
    best_for: str
    cost: str
    """What is held besides the policy and its optimiser, and what a step computes."""
    limits: tuple[str, ...]
    feedback: tuple[Feedback, ...]
    """Kinds it learns from, the best first."""
