"""A random value: what it truly is, a way to write it by chance, and a value beside it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from random import Random

Way = Callable[[Random], str]


@dataclass(frozen=True)
class Drawn:
    kind: str
    truth: Hashable
    """Equal exactly where two values of a kind are."""
    write: Way
    near: Callable[[Random], Drawn]
    """A value that is likely another one."""

    members: frozenset[Hashable] = frozenset()
    """Of a list or set."""

    def holds(self, other: Drawn) -> bool:
        """Whether a list or set has all members of another."""
        return bool(self.members) and other.members <= self.members

    def other(self, rng: Random) -> Drawn:
        """One that is another value."""
        for _ in range(50):
            other = self.near(rng)
            if other.truth != self.truth:
                return other
        raise ValueError(f"no value beside {self.kind} {self.truth}")
