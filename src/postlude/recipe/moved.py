"""Keys that once stood elsewhere: what they were called goes on working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postlude.errors import Problem
from postlude.recipe.documents import COMMAND_LINE, Document, assign
from postlude.shapes import is_mapping

MOVED = {
    "model.dtype": "engine.dtype",
    "model.device": "engine.device",
    "model.packed": "engine.packed",
    "model.gradient_checkpointing": "engine.gradient_checkpointing",
    "token_budget": "engine.token_budget",
    "head_chunk": "engine.head_chunk",
    "cache_gib": "engine.cache_gib",
    "threads": "engine.threads",
    "checkpoint_every": "checkpoints.every",
    "keep_checkpoints": "checkpoints.keep",
}
"""Earlier key -> the key of today."""


def move(document: Document) -> list[Problem]:
    """Put what stands under an earlier key where it stands today; a problem where both say different things.

    Between a file and the command line the command line wins, whichever name it uses.
    """
    problems: list[Problem] = []
    for earlier, today in MOVED.items():
        there, value = _take(document.values, earlier)
        if not there:
            continue
        origin, other = document.origin.pop(earlier, ""), document.where(today)
        again, present = _look(document.values, today)
        if again and present != value and (origin == COMMAND_LINE) == (other == COMMAND_LINE):
            sentence = f"{earlier} is {value!r}, and {today}, as it is called now, {present!r}. Leave one out."
            problems.append(Problem("contradiction", sentence, key=earlier).at(origin))
        elif not again or origin == COMMAND_LINE:
            assign(document, today, value, origin)
    return problems


def _look(values: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """(whether there is a value under a dotted path, the value)."""
    inside: Any = values
    for key in path.split("."):
        if not is_mapping(inside) or key not in inside:
            return False, None
        inside = inside[key]
    return True, inside


def _take(values: dict[str, Any], path: str) -> tuple[bool, Any]:
    """`_look`, and the key is gone."""
    there, value = _look(values, path)
    if there:
        above, _, last = path.rpartition(".")
        del (values[above] if above else values)[last]
    return there, value
