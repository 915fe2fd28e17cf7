"""How GPUs are shared out between ranks that train and servers that sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from postlude.facts.hardware import PER_HOST


@dataclass(frozen=True)
class Layout:
    """Ranks and servers. Each GPU is one or the other's, or, where they take turns, both's."""

    trainers: int
    """Ranks, one GPU each."""
    servers: int = 0
    gpus: int = 1
    """Of each server, which its model is cut over."""
    turns: bool = False
    """Whether the same GPUs train and sample, one after the other."""
    alone: bool = False
    """Whether one process does both, without any server."""

    @property
    def sampling(self) -> int:
        """GPUs that sample."""
        return self.servers * self.gpus

    @property
    def total(self) -> int:
        """All GPUs."""
        return max(self.trainers, self.sampling) if self.turns or self.alone else self.trainers + self.sampling


ALONE = Layout(1, 1, 1, alone=True)
"""One process, with its own sampler."""


def layouts(count: int, gpus: int) -> Iterator[Layout]:
    """Ways to share so many GPUs out, with servers of so many each: every way in one host, whole hosts beyond."""
    if count <= PER_HOST:
        trainers = range(1, count - gpus + 1)
    else:
        eighths = {count * share // 8 // PER_HOST * PER_HOST for share in range(1, 8)}
        powers = {PER_HOST * 2**n for n in range(14)}
        trainers = sorted({1, 2, 4, *powers, *eighths, *(count - many for many in powers if many < count)} - {0})
    for ranks in trainers:
        servers = (count - ranks) // gpus
        if servers >= 1 and ranks < count:
            yield Layout(ranks, servers, gpus)


def widths(count: int) -> Iterator[int]:
    """GPUs that a server may be cut over: a power of two, at most a host and all that there are."""
    width = 1
    while width <= min(count, PER_HOST):
        yield width
        width *= 2
