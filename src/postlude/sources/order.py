"""Which items come next: one set gone through epoch by epoch, or several drawn by weight. Fixed by the seed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_BLOCK = 1024


@dataclass
class Cursor:
    """Which items come next: a new permutation of all items every epoch, fixed by the seed."""

    size: int
    seed: int
    drawn: int = 0

    def take(self, n: int) -> Iterator[int]:
        """The next n indices, going on into the next epoch when one ends."""
        import numpy as np

        for _ in range(n):
            epoch, place = divmod(self.drawn, self.size)
            if place == 0 or not hasattr(self, "_order") or self._epoch != epoch:
                self._order = np.random.default_rng([self.seed, epoch]).permutation(self.size)
                self._epoch = epoch
            self.drawn += 1
            yield int(self._order[place])

    @property
    def epochs(self) -> float:
        return self.drawn / self.size if self.size else math.nan

    def counts(self) -> dict[str, int]:
        """Items drawn so far from each named set; a single set has no name."""
        return {}

    def figures(self, since: Mapping[str, int]) -> dict[str, float]:
        """What to report of a step that began when `counts` was `since`."""
        return {}

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.drawn = int(state["drawn"])


@dataclass(frozen=True)
class Share:
    """One set of a mixture: so many items, drawn in proportion to `weight`."""

    name: str
    size: int
    weight: float


class Mixture:
    """Items of several sets, one set after the other in one list: each draw picks a set by weight, then its next item.

    The pick is a function of the seed and the number of the draw alone. Every set is gone through in its own
    permutations, so within a set no item comes again before all others came.
    """

    def __init__(self, shares: Sequence[Share], seed: int) -> None:
        self.shares, self.seed, self.drawn = tuple(shares), seed, 0
        self.cursors = [Cursor(s.size, _seed(seed, s.name)) for s in self.shares]
        self._starts = [sum(s.size for s in self.shares[:k]) for k in range(len(self.shares))]
        total = sum(s.weight for s in self.shares)
        self._edges = [sum(s.weight for s in self.shares[: k + 1]) / total for k in range(len(self.shares))]
        self._block: tuple[int, Any] = (-1, None)

    def take(self, n: int) -> Iterator[int]:
        """The next n indices into the list of all items."""
        for _ in range(n):
            k = self._pick(self.drawn)
            self.drawn += 1
            yield self._starts[k] + next(self.cursors[k].take(1))

    def _pick(self, draw: int) -> int:
        import numpy as np

        block, place = divmod(draw, _BLOCK)
        if self._block[0] != block:
            self._block = block, np.random.default_rng([_seed(self.seed, "mixture"), block]).random(_BLOCK)
        at = float(self._block[1][place])
        return next((k for k, edge in enumerate(self._edges) if at < edge), len(self._edges) - 1)

    @property
    def epochs(self) -> float:
        """Draws over items; `figures` has the epochs of each set."""
        size = sum(s.size for s in self.shares)
        return self.drawn / size if size else math.nan

    def counts(self) -> dict[str, int]:
        """Items drawn so far from each set."""
        return {s.name: c.drawn for s, c in zip(self.shares, self.cursors, strict=True)}

    def figures(self, since: Mapping[str, int]) -> dict[str, float]:
        """The share drawn from each set in a step that began when `counts` was `since`, and how often it was seen."""
        fresh = {name: count - since.get(name, 0) for name, count in self.counts().items()}
        total = sum(fresh.values())
        shares = {f"data/{name}": count / total for name, count in fresh.items()} if total else {}
        seen = {f"epoch/{s.name}": c.epochs for s, c in zip(self.shares, self.cursors, strict=True)}
        return shares | seen

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "sets": self.counts()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where each set stood; a set the checkpoint does not know begins at its beginning."""
        self.drawn = int(state["drawn"])
        known = state.get("sets", {})
        for share, cursor in zip(self.shares, self.cursors, strict=True):
            cursor.drawn = int(known.get(share.name, 0))


def _seed(seed: int, name: str) -> int:
    """A seed of its own for each set, which does not change with the others' order."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big")
