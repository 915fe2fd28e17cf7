"""Texts that are nearly the same: the Jaccard index of their word 5-grams, found by MinHash (Broder 1997) in bands.

Cost is linear in the number of texts: signatures of `HASHES` minima in `BANDS` bands, and at most `TRIES` exact
comparisons for each text. With 16 bands of 4 a pair at the threshold of 0.8 is met with probability 0.9998.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.8
GRAM = 5
BANDS, ROWS = 16, 4
HASHES = BANDS * ROWS
TRIES = 8
"""Texts that one is compared with."""
MOST_WORDS = 20_000_000
"""Of all texts together; of longer ones the beginnings are compared."""
FRAME_ROWS, FRAME_SHARE = 20, 0.05
"""A 5-gram in more texts than both is part of a frame around them (Alpaca's, an instruction) and counts for nothing."""
_EACH = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Letters that are words of their own, as no spaces part them."""
_WORD = re.compile(rf"[{_EACH}]|[^\W{_EACH}]+|[^\w\s,.;:!?'\"()]")
"""A word, or a sign that says something: 3+4 is not 3*4."""

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Grams:
    """The hashed 5-grams of several texts, one after the other."""

    hashes: Hashes
    starts: NDArray[np.int64]
    """Where those of each text begin, and last where all end. Each text has at least one."""

    def of(self, i: int) -> Hashes:
        return self.hashes[self.starts[i] : self.starts[i + 1]]


@dataclass(frozen=True)
class Near:
    """Which texts are nearly the same as others."""

    pairs: dict[int, int]
    """Index of a text -> an earlier one it is nearly the same as."""
    framed: list[int]
    """Texts of nothing but words that more than `FRAME_SHARE` of all share: they are compared with none."""


def near(texts: Sequence[str], among: int | None = None) -> Near:
    """`among`: only texts from there on are looked at, and compared with those before."""
    if len(texts) < 2:
        return Near({}, [])
    grams, counted = _without_frame(_grams(texts))
    keys = _keys(grams)
    result: dict[int, int] = {}
    tried: dict[int, set[int]] = {}
    for band in range(BANDS):
        first: dict[int, list[int]] = {}
        _, inverse, counts = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        for i in np.flatnonzero((counts[inverse] > 1) & counted).tolist():
            others = first.setdefault(int(inverse[i]), [])
            if (among is None or i >= among) and i not in result:
                _compare(grams, i, others, tried.setdefault(i, set()), result)
            if len(others) < 3 and (among is None or i < among):
                others.append(i)
    return Near(result, [int(i) for i in np.flatnonzero(~counted) if among is None or i >= among])


def _compare(grams: Grams, i: int, others: Sequence[int], tried: set[int], result: dict[int, int]) -> None:
    for j in others:
        if j not in tried and len(tried) < TRIES:
            tried.add(j)
            if _jaccard(grams.of(i), grams.of(j)) >= THRESHOLD:
                result[i] = j
                return


def _jaccard(a: Hashes, b: Hashes) -> float:
    a, b = np.unique(a), np.unique(b)
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def _grams(texts: Sequence[str]) -> Grams:
    most = max(200, MOST_WORDS // len(texts))
    numbers: dict[str, int] = {}
    words: list[int] = []
    sizes: list[int] = []
    for text in texts:
        said = _WORD.findall(text.casefold()[: most * 40])[:most]
        words += [numbers.setdefault(word, len(numbers) + 1) for word in said]
        words += [0] * (GRAM - len(said))
        sizes.append(max(len(said), GRAM))
    mixed = _mixed(np.array(words, np.uint64))
    ends = np.cumsum(sizes)
    hashes = np.zeros(len(mixed), np.uint64)
    for k in range(GRAM):  # of the gram that begins at each word
        hashes[: len(mixed) - k] += np.uint64(_ODD[k]) * mixed[k:]
    within = np.ones(len(mixed), bool)
    for k in range(1, GRAM):
        within[ends - k] = False
    starts = np.concatenate([[0], np.cumsum(np.array(sizes) - GRAM + 1)])
    return Grams(_mixed(hashes[within]), starts)


_ODD = [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F]
"""Multipliers of the five words."""


def _mixed(x: Hashes) -> Hashes:
    """SplitMix64's finaliser: numbers that lie anywhere (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _without_frame(grams: Grams) -> tuple[Grams, NDArray[np.bool_]]:
    """Without the 5-grams of a frame; and which texts have any other."""
    count = len(grams.starts) - 1
    most = max(FRAME_ROWS, FRAME_SHARE * count)
    _, inverse, counts = np.unique(grams.hashes, return_inverse=True, return_counts=True)
    own = counts[inverse] <= most
    sizes = np.add.reduceat(own.astype(np.int64), grams.starts[:-1])
    counted = sizes > 0
    own[grams.starts[:-1][~counted]] = True  # one stays, so that no text is empty
    return Grams(grams.hashes[own], np.concatenate([[0], np.cumsum(np.maximum(sizes, 1))])), counted


def _keys(grams: Grams) -> Hashes:
    """[texts, bands]: a number for the minima in each band."""
    count = len(grams.starts) - 1
    keys = np.zeros((count, BANDS), np.uint64)
    seeds = _mixed(np.arange(1, HASHES + 1, dtype=np.uint64) * np.uint64(_ODD[0]))
    for place, seed in enumerate(seeds):
        minima = np.minimum.reduceat((grams.hashes ^ seed) * np.uint64(_ODD[1]), grams.starts[:-1])
        keys[:, place // ROWS] = _mixed(keys[:, place // ROWS] * np.uint64(_ODD[2]) + minima)
    return keys
