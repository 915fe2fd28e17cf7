"""The maths: pure functions and frozen values over the packed batch. Each loss is a plain weighted sum."""

from postlude.objectives.contrast import ContrastObjective
from postlude.objectives.terms import Loss, Outputs, Want
from postlude.objectives.token import TokenObjective

Objective = TokenObjective | ContrastObjective

__all__ = ["ContrastObjective", "Loss", "Objective", "Outputs", "TokenObjective", "Want"]
