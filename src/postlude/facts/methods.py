"""The judgement on every method of the catalogue: what it requires, is best for, costs, and is bad at."""

from __future__ import annotations

from collections.abc import Mapping

from postlude.facts.method import FEEDBACK, Complexity, Feedback, MethodFacts
from postlude.facts.online import ONLINE
from postlude.facts.preferences import PREFERENCES

__all__ = ["FEEDBACK", "METHODS", "Complexity", "Feedback", "MethodFacts"]

METHODS: Mapping[str, MethodFacts] = {**ONLINE, **PREFERENCES}
"""Name of a method in `algorithms.py` -> facts; a test holds that every one has an entry."""
