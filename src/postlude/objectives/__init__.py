"""The maths: pure functions and frozen values over the packed batch. Each loss is a plain weighted sum."""

from postlude.objectives.contrast import ContrastObjective
from postlude.objectives.terms import Loss, Need, Outputs, Want
from postlude.objectives.token import TokenObjective

Objective = TokenObjective | ContrastObjective

__all__ = ["ContrastObjective", "Loss", "Need", "Objective", "Outputs", "TokenObjective", "Want"]
