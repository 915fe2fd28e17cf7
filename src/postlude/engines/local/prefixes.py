"""The prefix cache: keys and values of tokens that were sampled, for requests whose prompts begin with them.

A turn of a conversation is a request whose prompt is every token so far. What the turns before it computed is kept here
in blocks of `BLOCK` tokens. A block is found by the tokens themselves and the block before it, never by a hash of them
alone, so that no sequence gets another's. It is bounded in bytes; blocks that were not used for longest go first.

Keys and values are those of the weights that computed them. `PrefixCache.open` asks at the beginning of every call that
would use it whether the weights are still the same, and empties it where they are not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from postlude.engines.local.direct import STATIC_ROPE

BLOCK = 16
"""Tokens kept and found together; a prompt is cut down to whole blocks."""
PROBE = 8
"""Tokens whose keys and values tell whether the weights are still the same."""


@dataclass
class Figures:
    """What the cache was good for, since the sampler was made."""

    lookups: int = 0
    """Prompts that were looked up."""
    hits: int = 0
    """Those of which at least one block was there."""
    reused: int = 0
    """Tokens that were taken from the cache."""
    prefilled: int = 0
    """Tokens of prompts that were computed, of all requests."""
    evicted: int = 0
    """Blocks that made room for others."""
    emptied: int = 0
    """How often all of it was thrown away: the weights had changed, or training needed the memory."""


@dataclass(frozen=True)
class _Block:
    """[BLOCK, W] keys and values of its tokens in every layer, side by side; its number is what its successors know."""

    number: int
    rows: Tensor

    @property
    def bytes(self) -> int:
        return self.rows.numel() * self.rows.element_size()


_Key = tuple[int, tuple[int, ...]]
"""The number of the block before (0: there is none), and a block's own tokens."""


class PrefixCache:
    """Blocks of keys and values by the tokens before and in them, at most `limit` bytes.

    They are held in the order of their last use, and a block is never used without those before it. These are then
    noted as used later, so that the one that goes first has no successors.
    """

    def __init__(self) -> None:
        self.limit = 0
        """Bytes at most; a sampler sets it, out of what its cache may take."""
        self.bytes = 0
        """Bytes held now."""
        self.figures = Figures()
        self.generation = 0
        """Goes up when the cache is emptied: leave to use it that was given before has ended."""
        self._blocks: OrderedDict[_Key, _Block] = OrderedDict()
        self._last_number = 0
        self._weights: _Weights | None = None

    def __len__(self) -> int:
        return len(self._blocks)

    def open(self, net: nn.Module, answer: Callable[[], Tensor]) -> Lease:
        """Leave to use the cache in one call to sample. What other weights computed is thrown away before.

        `answer()` gives keys and values of a few tokens under today's weights: they are compared to the last bit.
        Counters of writes alone would not do: fused optimisers, and who writes through `.data`, leave them as they are.
        """
        weights = _Weights(_counters(net), answer())
        if self._weights is not None and not weights.equals(self._weights):
            self.clear()
        self._weights = weights
        return Lease(self, self.generation)

    def clear(self) -> None:
        """Throw everything away; who is sampling now neither finds nor adds anything from here on."""
        self.figures.emptied += bool(self._blocks)
        self.generation += 1
        self._blocks.clear()
        self.bytes = 0

    def shrink(self, limit: int) -> None:
        """Hold at most so many bytes, from now on."""
        self.limit = max(0, limit)
        while self.bytes > self.limit:
            self._evict()

    def find(self, tokens: Sequence[int]) -> list[Tensor]:
        """Blocks [BLOCK, W] of the longest beginning of `tokens` that is there; one token at least is left over."""
        path = self._path(tokens[:-1])
        return [self._blocks[key].rows for key in path]

    def add(self, tokens: Sequence[int], rows: Callable[[int, int], Tensor]) -> None:
        """Keep a sequence in whole blocks, as far as the limit lets it; `rows(start, stop)` reads [n, W] of it."""
        path = self._path(tokens)
        first, whole = len(path), len(tokens) // BLOCK
        if first == whole or not self.limit:
            return
        on_path = set(path)
        number = self._blocks[path[-1]].number if path else 0
        new: Sequence[Tensor] = torch.split(rows(first * BLOCK, whole * BLOCK), BLOCK)
        for block in new:
            if not self._make_room(block.numel() * block.element_size(), on_path):
                break
            start = len(path) * BLOCK
            key = (number, tuple(tokens[start : start + BLOCK]))
            self._last_number = number = self._last_number + 1
            self._blocks[key] = _Block(number, block.clone())  # a view would hold on to the whole sequence
            self.bytes += self._blocks[key].bytes
            on_path.add(key)
            path.append(key)
        self._use(path)

    def _path(self, tokens: Sequence[int]) -> list[_Key]:
        """Keys of the blocks with which `tokens` begin, first to last; they count as used now."""
        path: list[_Key] = []
        number = 0
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            key = (number, tuple(tokens[start : start + BLOCK]))
            if key not in self._blocks:
                break
            number = self._blocks[key].number
            path.append(key)
        self._use(path)
        return path

    def _use(self, path: Sequence[_Key]) -> None:
        for key in reversed(path):
            self._blocks.move_to_end(key)

    def _make_room(self, size: int, spared: set[_Key]) -> bool:
        """Evict, longest unused first, until `size` more bytes fit; False where only the spared ones are left."""
        while self.bytes + size > self.limit:
            if not self._blocks or next(iter(self._blocks)) in spared:
                return False
            self._evict()
        return True

    def _evict(self) -> None:
        _, block = self._blocks.popitem(last=False)
        self.bytes -= block.bytes
        self.figures.evicted += 1


@dataclass(frozen=True)
class Lease:
    """Leave to use the cache, as long as it is not emptied: what comes after that is of other weights."""

    cache: PrefixCache
    generation: int

    @property
    def holds(self) -> bool:
        return self.cache.generation == self.generation

    def find(self, tokens: Sequence[int]) -> list[Tensor]:
        """As `PrefixCache.find`; counted."""
        blocks = self.cache.find(tokens) if self.holds else []
        figures = self.cache.figures
        figures.lookups += 1
        figures.hits += bool(blocks)
        figures.reused += BLOCK * len(blocks)
        return blocks

    def add(self, tokens: Sequence[int], rows: Callable[[int, int], Tensor]) -> None:
        """As `PrefixCache.add`."""
        if self.holds:
            self.cache.add(tokens, rows)


@dataclass(frozen=True)
class _Weights:
    """What is compared of the weights: where each tensor lies and how often it was written, and what they answer."""

    counters: list[tuple[int, int]]
    answer: Tensor

    def equals(self, other: _Weights) -> bool:
        same = self.counters == other.counters and self.answer.dtype == other.answer.dtype
        return same and torch.equal(self.answer, other.answer)


def _counters(net: nn.Module) -> list[tuple[int, int]]:
    tensors: Iterable[Tensor] = (*net.parameters(), *net.buffers())
    return [(t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors]


def probe_tokens(vocabulary: int) -> tuple[int, ...]:
    """A few pseudo-random tokens."""
    return tuple((7919 * i + 13) % max(vocabulary - 1, 1) for i in range(PROBE))


def varying_rope(net: nn.Module) -> str:
    """The rotary scaling of a model whose angles change with the length of the sequence; empty for all others.

    Keys of an earlier turn are then not those that the whole prompt would have.
    """
    kinds: set[str] = set()
    for module in net.modules():
        kind: str | dict[str, str] = module.__dict__.get("rope_type", "default")  # one for all layers, or by their kind
        kinds.update(kind.values() if isinstance(kind, dict) else [kind])
    return ", ".join(sorted(kinds - {*STATIC_ROPE}))
