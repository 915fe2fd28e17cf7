"""What is known of one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["up", "down", "neither"]
SHARE = "share, 0 to 1"
NATS = "nats per token"


@dataclass(frozen=True)
class Figure:
    """An entry of the table. `meaning` is a phrase of a view's line; `formula` says how the number comes about."""

    name: str
    """Parts in braces stand for a name of the user's: `reward/{label}`."""
    label: str
    """In a few words, for views."""
    unit: str
    meaning: str
    formula: str
    better: Better
    """The way it should go; `neither` where that depends, or where its value says nothing."""
    source: str
    """Where it is defined: a section of docs/specification.md, an arXiv id, or the page of the documentation."""
    healthy: str | None = None
    """What is usual, what is not, and what to do then; None where nothing general can be said."""


def seconds(name: str, label: str, meaning: str, whose: str, source: str, healthy: str | None = None) -> Figure:
    """An entry of timings.jsonl. `whose`: the runs that have it."""
    formula = f"`{name}` of timings.jsonl, of a run with {whose}"
    return Figure(f"seconds/{name}", label, "seconds", meaning, formula, "down", source, healthy)
