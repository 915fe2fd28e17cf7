"""Containers that both sides of a conversation have, and hold alike."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from operator import is_
from sys import getrefcount
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .peer import Peer

KINDS: dict[type, str] = {
    kind: kind.__name__ for kind in (list, dict, set, bytearray, deque, Counter, OrderedDict, defaultdict)
}
_BY_NAME = {name: kind for kind, name in KINDS.items()}
_MAKERS = {"deque": lambda bound: deque(maxlen=bound), "defaultdict": defaultdict}
BASES = (list, dict, set, bytearray, deque)
MOST, MOST_MEMBERS = 64, 20_000
"""Containers that stay shared between calls, and their members together. An older one is a copy from then on."""
OURS = 4
"""References to a container that nobody but this file and the table of numbers holds, while it is looked at."""


class Shared:
    """Number -> the container and its members when both sides were last alike."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._known: dict[int, tuple[Any, list[Any]]] = {}

    def add(self, number: int, value: Any) -> None:
        if isinstance(value, BASES):
            self._known[number] = (value, _members(value))

    def described(self, value: Any) -> list[Any]:
        """Its kind, what it holds, and the bound or the factory it was made with."""
        extra = value.maxlen if isinstance(value, deque) else getattr(value, "default_factory", None)
        return [KINDS[type(value)], self.content(value), self._peer.encode(extra)]

    def content(self, value: Any) -> Any:
        """What it holds, whatever a subclass says."""
        if isinstance(value, deque):
            return self._peer.items(deque.__iter__(value), 1)
        return self._peer.content(value, next(kind for kind in BASES if isinstance(value, kind)), 0)

    def receive(self, number: int, name: str, content: Any, extra: Any) -> Any:
        """A container of the other side: known by its number before its content, which may hold it."""
        factory = self._peer.decode(extra)
        value = _MAKERS[name](factory) if name in _MAKERS else _BY_NAME[name]()
        self._peer.know(number, value)
        self.fill(value, self._peer.decode(content))
        self.add(number, value)
        return value

    def fill(self, value: Any, content: Any) -> None:
        """Make the container hold what another one holds, in place."""
        if isinstance(value, OrderedDict):  # it keeps its order beside the dict in it
            OrderedDict.clear(value)
            for key, member in content.items():
                OrderedDict.__setitem__(value, key, member)
        elif isinstance(value, dict):
            dict.clear(value)
            dict.update(value, content)
        elif isinstance(value, set):
            set.clear(value)
            set.update(value, content)
        elif isinstance(value, deque):
            deque.clear(value)
            deque.extend(value, content)
        elif isinstance(value, bytearray):
            bytearray.__setitem__(value, slice(None), content)
        else:
            list.__setitem__(value, slice(None), content)

    def changes(self) -> list[Any]:
        """[number, content] of those that this side changed."""
        changed: list[Any] = []
        for number, (value, before) in list(self._known.items()):
            now = _members(value)
            if len(now) != len(before) or not all(map(is_, now, before)):
                self._known[number] = (value, now)
                changed.append([number, self.content(value)])
        return changed

    def apply(self, changes: list[Any]) -> None:
        """Take over what the other side changed. ValueError for what is not shared."""
        for number, content in changes:
            if number not in self._known:
                raise ValueError("a change of what is not shared")
            value = self._known[number][0]
            self.fill(value, self._peer.decode(content))
            self._known[number] = (value, _members(value))

    def spare(self) -> list[int]:
        """Those that nobody here can see any more, and the oldest beyond what may stay shared; they are forgotten."""
        total, numbers = 0, []
        for count, (number, (value, members)) in enumerate(reversed(self._known.items())):
            total += len(members)
            if count >= MOST or total > MOST_MEMBERS or getrefcount(value) <= OURS:
                numbers.append(number)
        self.forget(numbers)
        return numbers

    def forget(self, numbers: list[int]) -> None:
        for number in numbers:
            value, _ = self._known.pop(number, (None, []))
            if type(value) in KINDS:
                self._peer.lose(number)


def _members(value: Any) -> list[Any]:
    """What it holds, whatever a subclass says."""
    if isinstance(value, dict):
        kind: Any = OrderedDict if isinstance(value, OrderedDict) else dict
        return [*kind.keys(value), *dict.values(value)]
    base: Any = next(kind for kind in BASES if isinstance(value, kind))
    return [*base.__iter__(value)]
