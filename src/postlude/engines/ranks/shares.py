"""Which rank takes which sequences of an update: about the same work for each, a prompt on one rank if it can be.

Work is counted in tokens. A prompt of p tokens costs p + a p^2 on every rank that takes some of its group; an answer of
n tokens to it costs n + a ((p + n)^2 - p^2), since it attends to the prompt as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np
from numpy.typing import NDArray

from postlude.engines.protocol import Part
from postlude.engines.ranks.shipping import Indices, ShippedBatch
from postlude.errors import ConfigError
from postlude.objectives import TokenObjective
from postlude.sizing.shape import Shape

Numbers = NDArray[np.float64]

SLACK = 0.01
"""Of the work of the fullest rank: for less than this, a group is not cut into more pieces."""


@dataclass(frozen=True)
class Effort:
    """What a sequence costs a model, in tokens."""

    squares: float = 0.0
    """a: work of attention over a sequence of n tokens, as a n^2 tokens."""
    shares_prompts: bool = True
    """Whether a pass computes a prompt once for all its answers; else with each of them."""

    @classmethod
    def of(cls, shape: Shape, shares_prompts: bool = True) -> Effort:
        """a = layers * heads * head width / weights of all matrix products.

        A forward pass takes two operations for each weight and token, and 4 * heads * head width in each layer for
        each pair of a query and a key: a third of 6N + 12 L H Q T (PaLM, arXiv 2204.02311, appendix B), as the way
        back costs twice as much of both. Causal attention over n tokens has n^2 / 2 pairs (FlashAttention-2, arXiv
        2307.08691, section 4.1). Of a mixture's experts those count that a token meets.
        """
        met = [one.inputs * one.outputs if one.copies == 1 else shape.width * shape.inner for one in shape.linears]
        return cls(shape.layers * shape.query_width / (shape.layers * sum(met) + shape.embedding), shares_prompts)

    @classmethod
    def of_model(cls, path: str, shares_prompts: bool = True) -> Effort:
        """For the model in a folder, or of that name. Where its config does not say its sizes, lengths alone count."""
        try:
            return cls.of(Shape.of_config(path), shares_prompts)
        except ConfigError:
            return cls(0.0, shares_prompts)


@dataclass(frozen=True)
class Shares:
    """Every sequence of a batch on exactly one rank."""

    sequences: tuple[Indices, ...]
    """Of each rank, in order; a rank may have none."""
    loads: tuple[float, ...]
    """Work of each rank, in tokens."""
    repeated: int
    """Tokens of prompts beyond the first rank that computes them."""

    @property
    def imbalance(self) -> float:
        """Work of the fullest rank over the mean; 1 where all have the same, or nothing."""
        total = sum(self.loads)
        return max(self.loads) * len(self.loads) / total if total else 1.0


def share_out(
    batch: ShippedBatch,
    ranks: int,
    effort: Effort = Effort(),
    keeps_groups: bool = False,
    kinds: NDArray[np.int64] | None = None,
) -> Shares:
    """Longest first to the emptiest rank; the same batch is always shared out in the same way.

    A group is cut where the fullest rank has less to do then, though its prompt is computed more than once; with
    `keeps_groups` never. `kinds` [S] says which sequences are gone through together (see `kinds_of`): each kind is made
    even by itself.
    """
    sizes = _Sizes.of(batch, effort)
    owner = np.zeros(batch.n_sequences, np.int64)
    loads = np.zeros(ranks)
    for members in _each_kind(sizes, keeps_groups, kinds):
        dealt = _best(sizes, members, ranks, keeps_groups)
        owner[members] = dealt.owner
        loads += dealt.loads
    by_rank = np.argsort(owner, kind="stable")
    ends = np.cumsum(np.bincount(owner, minlength=ranks))
    computed = np.unique(owner * max(1, sizes.prompt.size) + sizes.group) % max(1, sizes.prompt.size)
    again = int(sizes.prompt[computed].sum() - sizes.prompt[np.unique(sizes.group)].sum())
    return Shares(tuple(np.split(by_rank, ends[:-1])), tuple(loads.tolist()), again)


def kinds_of(part: Part) -> NDArray[np.int64]:
    """[S] 0: sequences with a gradient; 1: without any, as their group's advantages are 0: only read, or not even that;
    2: those that train no token."""
    batch, objective = part.batch, part.objective
    if not isinstance(objective, TokenObjective):
        return np.zeros(batch.n_sequences, np.int64)
    rests = objective.idle(batch)[batch.sequence_group].cpu().numpy()
    return np.where(batch.lengths.cpu().numpy() > 0, rests.astype(np.int64), 2)


# ---------------------------------------------------------------------------------------------------- arithmetic


@dataclass(frozen=True)
class _Sizes:
    """Tokens and work of the prompts [G] and of the answers [S]."""

    group: NDArray[np.int64]
    """[S]"""
    prompt: NDArray[np.int64]
    """[G] tokens, where they are computed once for a group; else 0."""
    prompt_work: Numbers
    answer_work: Numbers

    @classmethod
    def of(cls, batch: ShippedBatch, effort: Effort) -> _Sizes:
        sequence, token_group = batch.columns["sequence"], batch.columns["group"]
        group = batch.columns["sequence_group"].astype(np.int64)
        shared = sequence < np.int64(0)
        prompt = np.bincount(token_group[shared].astype(np.int64), minlength=int(batch.scalars["n_groups"]))
        answer = np.bincount(sequence[~shared].astype(np.int64), minlength=batch.n_sequences)
        whole = (prompt[group] + answer).astype(np.float64)
        prompt_work = prompt + effort.squares * prompt.astype(np.float64) ** 2
        work = whole + effort.squares * whole**2
        if effort.shares_prompts:
            return cls(group, prompt, prompt_work, work - prompt_work[group])
        return cls(group, np.zeros_like(prompt), np.zeros_like(prompt_work), work)


@dataclass(frozen=True)
class _Dealt:
    """Sequences of one kind on their ranks."""

    owner: NDArray[np.int64]
    """[M] rank of each."""
    loads: Numbers

    @property
    def fullest(self) -> float:
        """Work of the rank that has most."""
        return float(self.loads.max())


def _each_kind(sizes: _Sizes, keeps_groups: bool, kinds: NDArray[np.int64] | None) -> Iterator[NDArray[np.int64]]:
    """The sequences of each kind [M]; a group that stays whole is of the first kind that any of it has."""
    if kinds is None:
        kinds = np.zeros(sizes.group.size, np.int64)
    elif keeps_groups:
        first = np.full(sizes.prompt.size, kinds.max(initial=0))
        np.minimum.at(first, sizes.group, kinds)
        kinds = first[sizes.group]
    for kind in np.unique(kinds):
        yield np.flatnonzero(kinds == kind)


def _best(sizes: _Sizes, members: NDArray[np.int64], ranks: int, keeps_groups: bool) -> _Dealt:
    """Groups in as large pieces as make the fullest rank no fuller than it need be."""
    pool = _Pool(sizes.group[members], sizes.answer_work[members], sizes.prompt_work)
    even = float(pool.work.sum() + pool.prompt_work[np.unique(pool.group)].sum()) / ranks
    enough = (1 + SLACK) * max(even, float((pool.work + pool.prompt_work[pool.group]).max()))  # nothing is below that
    largest = 1 if keeps_groups or ranks == 1 else int(np.bincount(pool.group).max())
    pieces = [enough / 2**halvings for halvings in range(1 + largest.bit_length())] if largest > 1 else []
    ways = [(math.inf, math.inf), *((most, whole) for most in pieces for whole in (enough, 0.0))]
    tried: list[_Dealt] = []
    for most, whole in ways:
        tried.append(_deal(pool, ranks, most, whole))
        if tried[-1].fullest <= enough:
            break
    limit = (1 + SLACK) * min(one.fullest for one in tried)
    return next(one for one in tried if one.fullest <= limit)


@dataclass(frozen=True)
class _Pool:
    """Sequences [M] that are shared out together."""

    group: NDArray[np.int64]
    work: Numbers
    prompt_work: Numbers
    """[G]"""

    def only(self, members: NDArray[np.int64]) -> _Pool:
        return _Pool(self.group[members], self.work[members], self.prompt_work)

    def pieces(self, most: float, whole: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[M] the piece of each sequence, and [P] a sequence of each piece: a group of at most `whole` work is one,
        any other has pieces of about `most`.

        A group's sequences go round its pieces forth and back, the longest first, so that pieces are about alike.
        """
        order = np.lexsort((-self.work, self.group))
        ordered = self.group[order]
        starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        sizes = np.diff(starts, append=ordered.size)
        work, prompt = np.add.reduceat(self.work[order], starts), self.prompt_work[ordered[starts]]
        counts = np.clip(np.ceil(work / np.maximum(most - prompt, 1e-9)), 1, sizes).astype(np.int64)
        counts = np.repeat(np.where(work + prompt <= whole, 1, counts), sizes)
        lap, place = np.divmod(np.arange(ordered.size) - np.repeat(starts, sizes), counts)
        number = np.empty_like(self.group)
        number[order] = np.repeat(starts, sizes) + np.where(lap % 2, counts - 1 - place, place)
        _, first, piece_of = np.unique(number, return_index=True, return_inverse=True)
        return piece_of, first


def _deal(pool: _Pool, ranks: int, most: float, whole: float) -> _Dealt:
    """The longest first to the emptiest rank, groups of at most `whole` work in one piece; those with which any rank
    would have more than that come last, in pieces of about `most`."""
    loads = _Loads(ranks)
    owner = _place(pool, loads, most, whole, whole)
    rest = np.flatnonzero(owner < 0)
    if rest.size:
        owner[rest] = _place(pool.only(rest), loads, most, 0.0, math.inf)
    return _Dealt(owner, np.array(loads.of))


def _place(pool: _Pool, loads: _Loads, most: float, whole: float, limit: float) -> NDArray[np.int64]:
    """[M] rank of each sequence, in pieces as `_Pool.pieces` has them; -1 where its piece is beyond a rank's limit."""
    piece_of, first = pool.pieces(most, whole)
    work, group = np.bincount(piece_of, pool.work), pool.group[first]
    prompts = pool.prompt_work[group]
    order = np.argsort(-(work + prompts), kind="stable")
    columns = (group[order].tolist(), work[order].tolist(), prompts[order].tolist())
    owner = np.empty(work.size, np.int64)
    owner[order] = [loads.place(*piece, limit) for piece in zip(*columns, strict=True)]
    return owner[piece_of]


class _Loads:
    """Work of each rank up to now."""

    def __init__(self, ranks: int) -> None:
        self.of = [0.0] * ranks
        self._emptiest = [(0.0, rank) for rank in range(ranks)]
        """A heap, in which loads of before are put right once they come to its top."""
        self._holders: dict[int, list[int]] = {}
        """Ranks that have some of a group: they compute its prompt anyway."""

    def place(self, group: int, work: float, prompt: float, limit: float) -> int:
        """The rank that has the least after it takes a piece, which it does; -1 where that is beyond the limit."""
        while self._emptiest[0][0] < self.of[self._emptiest[0][1]]:
            rank = self._emptiest[0][1]
            heapreplace(self._emptiest, (self.of[rank], rank))
        rank = self._emptiest[0][1]
        load = self.of[rank] + work + prompt
        holders = self._holders.setdefault(group, [])
        for other in holders:
            if self.of[other] + work < load:
                rank, load = other, self.of[other] + work
        if load > limit:
            return -1
        if rank not in holders:
            holders.append(rank)
        self.of[rank] = load
        return rank
