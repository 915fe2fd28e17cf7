"""Places in a response where answers stand, and which of them counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from postlude.maths import hedges

NEAR = 200
"""Characters before the last answer in which another one competes with it."""
MOST = 50
"""Places of one kind that are read, from the end: a response of thousands must not take long."""
_NAME = re.compile(r"(?<![A-Za-z\\])((?:[A-Za-z]|\\[a-z]+)(?:_(?:\w|\{\w+\}))?)\s*=\s*(?:[$\s]|\\[(\[])*$")
_MARK = re.compile(r"(?:^|(?<=\s))(?:[Pp]art\s+)?(\((?:[a-h]|i{1,3}|iv|vi{0,3}|[1-9])\))")


@dataclass(frozen=True)
class Place:
    """An answer as it stands in a text; `text` is None where it is cut off or empty, and `problem` says so."""

    start: int
    end: int
    text: str | None
    problem: str = ""


@dataclass(frozen=True)
class Extraction:
    """What a rule found: `text` is the answer. Without an answer `text` is None and `rule` says why."""

    text: str | None
    rule: str
    others: tuple[str, ...] = ()
    """What competes with it: ambiguous, unless they all say the same."""
    later: tuple[str, ...] = ()
    """What is stated after it in another way: competes where it has a value."""
    lists: tuple[tuple[str, ...], ...] = ()
    """Several answers that may be one of several parts: those near the last one, and all that stand."""
    denied: bool = False
    """The words around it say that it is not the answer."""

    def mapped(self, spelt: Callable[[str], str]) -> Extraction:
        """With every text in another spelling."""
        return replace(
            self,
            text=None if self.text is None else spelt(self.text),
            others=tuple(map(spelt, self.others)),
            later=tuple(map(spelt, self.later)),
            lists=tuple(tuple(map(spelt, texts)) for texts in self.lists),
        )


def settle(text: str, places: Sequence[Place], rule: str) -> Extraction:
    """The last place; those near it that nothing takes back compete with it, as does what words put beside it."""
    last = places[-1]
    if last.text is None:
        return Extraction(None, last.problem)
    beside = hedges.beside(text, last.start, last.end)
    denied = hedges.denied(text, last.start, last.end)
    if len(places) == 1:
        return Extraction(
            last.text, rule, tuple(beside), denied=denied, lists=((last.text, *beside),) if beside else ()
        )
    standing = _standing(text, places)
    near = [p for p in standing if p.start >= last.start - NEAR]
    others = (*(p.text or "" for p in near[:-1]), *beside)
    lists = dict.fromkeys((*_labelled(text, some), *beside) for some in (near, standing))
    return Extraction(last.text, rule, others, (), tuple(lists), denied)


def _standing(text: str, places: Sequence[Place]) -> list[Place]:
    """The last place and those before it that nothing took back."""
    standing: list[Place] = []
    last = places[-1]
    for place, following in pairwise(places):
        if place.text is not None and place.end <= last.start:
            standing.append(place)
        final = _is_final(text, following) and not _is_final(text, place)
        if final or hedges.REVISED.search(text[place.end : following.start]):
            standing.clear()
    return [*standing, last]


def _is_final(text: str, place: Place) -> bool:
    return text[place.start : place.start + 5].lower() == "final"


def _labelled(text: str, places: Sequence[Place]) -> list[str]:
    """The answers, each with the part, `(a)`, or the name, `x =`, that stands before it."""
    found: list[str] = []
    end = 0
    for place in places:
        before = text[max(end, place.start - NEAR) : place.start]
        marks = _MARK.findall(before)
        name = _NAME.search(before)
        label = f"{marks[-1]} " if marks else f"{name.group(1)} = " if name and "=" not in (place.text or "") else ""
        found.append(label + (place.text or ""))
        end = place.end
    return found
