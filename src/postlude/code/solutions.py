"""The right program of a row, as the columns of public data hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postlude import plain_json
from postlude.code.names import Piece
from postlude.code.program import Wanted, program_of
from postlude.errors import shown

SOLUTIONS = ("solution", "canonical_solution", "code", "solutions")
"""Columns that may hold it; the first that a row has is read."""
MOST_TRIED = 3
"""Of several programs; public data have wrong ones among them, so one that passes is enough."""


@dataclass(frozen=True)
class Solution:
    """Programs of a row that its data call right."""

    column: str
    programs: tuple[str, ...]

    @classmethod
    def of(cls, columns: Mapping[str, Any], wanted: Wanted) -> Solution | None:
        """None where the row has none. Raises ValueError naming the column.

        `wanted`: what the tests need of a program.
        """
        name = next((n for n in SOLUTIONS if _is_there(columns.get(n))), None)
        if name is None:
            return None
        listed = _listed(name, columns[name])
        texts = [_whole(text, columns.get("prompt"), wanted) for text in listed]
        programs = [program_of(text, "optional", wanted) or text for text in texts]
        pieces = [Piece(program) for program in programs]
        if name == "code":  # other data call what they like so: an id, a program to start from in another language
            pieces = [p for p in pieces if p.tree is not None and (wanted.some_in(p) or not wanted.names)]
        elif not any(p.tree is not None for p in pieces):
            if name == "solutions" and len(listed) > 1:  # programs in other languages
                return None
            raise ValueError(f"column {name}: it is no Python 3 program: {shown(listed[0][:60])}")
        read = [piece.code for piece in pieces if piece.tree is not None]
        return cls(name, tuple(read[:MOST_TRIED])) if read else None


def _is_there(value: Any) -> bool:
    """Whether a column holds anything: null, blanks, an empty list and the text of one do not."""
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "null")
    return value is not None and value != [] and value != {}


def _listed(name: str, value: Any) -> list[str]:
    """The texts in it: one, a list, the JSON text of a list, or CodeContests' object of languages and programs."""
    if isinstance(value, str) and value.lstrip()[:2] in ('["', "[ ", "[\n") and name.startswith("solution"):
        try:
            value = plain_json.loads(value)
        except ValueError:
            return [value]
    if isinstance(value, Mapping) and isinstance(value.get("solution"), Sequence):
        value = value["solution"]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts) or not texts:
        raise ValueError(
            f"column {name}: a right program is text, or a list of texts of which one is right; found {shown(value)}"
        )
    return list(texts)


def _whole(text: str, prompt: Any, wanted: Wanted) -> str:
    """The program; behind its prompt where it is only what that begins, as HumanEval keeps it."""
    if "```" in text or not wanted.names or not isinstance(prompt, str):
        return text
    piece = Piece(text)
    if piece.tree is not None and not wanted.missing_in(piece):
        return text
    joined = Piece(prompt if prompt.endswith("\n") else f"{prompt}\n")
    together = Piece(joined.code + text)
    return together.code if together.tree is not None and wanted.some_in(together) else text
