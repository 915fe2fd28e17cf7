"""The program in an answer: the block that defines what the tests name, joined with what it lacks of the others."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from postlude import thinking
from postlude.code.cases import Call, Case, Check, root_of
from postlude.code.fences import blocks_of, tagged
from postlude.code.names import Piece, bound_by, is_definition, is_quiet

_READERS = frozenset(("input", "stdin", "open", "fileinput", "read", "readline", "readlines", "raw_input"))
"""Names without one of which a script reads nothing."""
MOST_TRIED = 50
"""Of marks of thinking, and of blocks that may be the script, the last so many are looked at."""


@dataclass(frozen=True)
class Wanted:
    """What tests need of a program. Nothing of it: a script is wanted."""

    names: frozenset[str] = frozenset()
    """Functions and classes that are called."""
    methods: frozenset[str] = frozenset()
    """Those of them that may be a method of a class instead."""

    @classmethod
    def by(cls, cases: Iterable[Case]) -> Wanted:
        names, methods = set[str](), set[str]()
        for case in cases:
            if isinstance(case, Call):
                names.add(root_of(case.target))
                methods |= {case.target} if case.or_method else set()
            elif isinstance(case, Check):
                names |= {root_of(name) for name in case.names}
        return cls(frozenset(names), frozenset(methods))

    def some_in(self, piece: Piece) -> bool:
        return bool(self.names & piece.defined or self.methods & piece.methods.keys())

    def missing_in(self, piece: Piece) -> frozenset[str]:
        return self.names - piece.defined - (self.methods & piece.methods.keys())


def program_of(text: str, fence: str = "required", wanted: Wanted | None = None) -> str | None:
    """The program that an answer gives; None where there is none.

    It is the last closed block that defines a name the tests use; for a script the last one that reads input and does
    something. Blocks marked as Python go before those without a mark. Definitions that it lacks are taken from the
    other blocks, the nearest before it first. Only what follows the thinking is read; thinking that never ends, or a
    last block that does, holds no answer. `fence` optional: without any block the whole answer is the program.
    """
    answer = _answer(text.replace("\r\n", "\n"))
    if answer is None:
        return None
    lines = answer.split("\n")
    blocks = list(blocks_of(lines))
    marked = [Piece.of(b.code) for b in blocks if b.language == "python" and b.code.strip()]
    unmarked = [Piece.of(b.code) for b in blocks if b.language == "" and b.code.strip()]
    fenced = "```" in answer or "~~~" in answer
    if not fenced:
        marked = [Piece.of(code) for code in tagged(answer)]
    if marked or unmarked:
        return _chosen(marked, unmarked, wanted or Wanted())
    return Piece.of(answer).code if fence == "optional" and not fenced and answer.strip() else None


def located(source: str, cases: Sequence[Case]) -> list[Case]:
    """The cases, with the place of each target that may be a method: `f` becomes `Solution().f` where that is."""
    if not any(isinstance(case, Call) and case.or_method for case in cases):
        return list(cases)
    piece = Piece(source)
    return [replace(c, target=_place(piece, c.target)) if isinstance(c, Call) and c.or_method else c for c in cases]


def _place(piece: Piece, name: str) -> str:
    """A method of `Solution`, else a name of the top level, else a method of the last class that has it."""
    classes = piece.methods.get(name, [])
    if "Solution" in classes or (classes and name not in piece.defined):
        return f"{'Solution' if 'Solution' in classes else classes[-1]}().{name}"
    return name


# ------------------------------------------------------------------------------------------------------- the answer


def _answer(text: str) -> str | None:
    """What follows the thinking; None where that never ends. A mark inside a block of Python is part of the program."""
    ends = [0, *(mark.end() for mark in thinking.CLOSES.finditer(text))][-MOST_TRIED:]
    pairs = zip(ends[-2::-1], ends[:0:-1], strict=True)
    start = next((end for before, end in pairs if not _in_program(text, before, end)), ends[0])
    openings = itertools.islice(thinking.OPENS.finditer(text, start), MOST_TRIED)
    return text[start:] if all(_in_program(text, start, mark.start()) for mark in openings) else None


def _in_program(text: str, start: int, place: int) -> bool:
    """Whether a place lies in a block of Python, where the text is read from `start` on."""
    row = text.count("\n", start, place)
    for block in blocks_of(text[start:].split("\n")):
        if block.end >= row:
            return block.start < row and block.language != "other" and Piece(block.code).tree is not None
    return False


# ------------------------------------------------------------------------------------------------------- the choice


def _chosen(marked: Sequence[Piece], unmarked: Sequence[Piece], wanted: Wanted) -> str:
    pieces = marked or unmarked
    if len(marked) + len(unmarked) == 1:
        return pieces[0].code
    if not wanted.names:
        return _script(pieces)
    for some in (marked, unmarked):
        number = next((n for n in reversed(range(len(some))) if wanted.some_in(some[n])), None)
        if number is not None:
            return _joined(some, number, wanted)
    return _joined(pieces, len(pieces) - 1, Wanted())


def _script(pieces: Sequence[Piece]) -> str:
    """The last that reads and does something, else the last that does something, else the last."""
    acting = [n for n in reversed(range(len(pieces))) if _acts(pieces[n])]
    programs = (_joined(pieces, n, Wanted(), whole=True) for n in acting[:MOST_TRIED])
    last = acting[0] if acting else len(pieces) - 1
    return next((p for p in programs if _reads(p)), None) or _joined(pieces, last, Wanted(), whole=True)


def _acts(piece: Piece) -> bool:
    return piece.tree is None or not all(map(is_quiet, piece.tree.body))


def _reads(code: str) -> bool:
    """Whether the text has the name of a function that reads; broken code counts as well."""
    tree = Piece(code).tree
    if tree is None:
        return any(name in code for name in _READERS)
    return any(
        (isinstance(node, ast.Name) and node.id in _READERS)
        or (isinstance(node, ast.Attribute) and node.attr in _READERS)
        for node in ast.walk(tree)
    )


# ----------------------------------------------------------------------------------------------------- what it lacks


def _joined(pieces: Sequence[Piece], number: int, wanted: Wanted, whole: bool = False) -> str:
    """The piece with the definitions it lacks, from those before it and after it, each as it is written.

    `whole`: where what it lacks is made by statements that do more than define, it goes on from that piece, which is
    then taken as a whole. Nothing else of another piece is run.
    """
    chosen = pieces[number]
    if chosen.tree is None:
        return chosen.code
    order = [*reversed(range(number)), *range(number + 1, len(pieces))]
    parts: dict[tuple[int, int], str] = {}
    lacking = sorted(wanted.missing_in(chosen) | chosen.lacking)
    seen = set(lacking)
    while lacking:
        for place, code in _definition(pieces, order, number, lacking.pop(), whole):
            if place not in parts:
                parts[place] = code
                new = Piece(code).lacking - chosen.defined - seen
                seen |= new
                lacking += sorted(new)
    before = "".join(parts[place] for place in sorted(parts) if place[0] < number)
    after = "".join(parts[place] for place in sorted(parts) if place[0] > number)
    return _after_future(chosen, before) + after


def _definition(
    pieces: Sequence[Piece], order: Sequence[int], chosen: int, name: str, whole: bool
) -> Iterator[tuple[tuple[int, int], str]]:
    """(place, code) of what gives the name a value in the nearest piece that does; else of every `import *`."""
    for number in order:
        piece = pieces[number]
        statements = piece.tree.body if piece.tree is not None else []
        binding = [s for s in statements if name in bound_by(s)]
        if not binding:
            continue
        if whole and number < chosen and not all(map(is_definition, binding)):
            yield (number, 0), piece.code
        else:
            yield from (((number, s.lineno), piece.segment(s)) for s in binding)
        return
    for number in order:
        yield from (((number, s.lineno), pieces[number].segment(s)) for s in pieces[number].stars)


def _after_future(piece: Piece, before: str) -> str:
    """The code with more in front of it, but behind its `from __future__`."""
    if not before:
        return piece.code
    statements = piece.tree.body if piece.tree is not None else []
    futures = [s for s in statements if isinstance(s, ast.ImportFrom) and s.module == "__future__"]
    lines = piece.code.split("\n")
    row = futures[-1].end_lineno or 0 if futures else 0
    return "\n".join([*lines[:row], before + "\n".join(lines[row:])])
