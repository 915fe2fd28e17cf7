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


SINGLY = 64
"""Up to here every number of ranks and of servers is tried; above, whole hosts of ranks."""
MOST_TRAINERS, MOST_SERVERS = 4096, 1024
"""That a recipe can ask for (`engine.trainers`, `engine.servers.count`)."""


def numbers(most: int) -> list[int]:
    """Of ranks, or of servers, that are tried: each up to 64, whole hosts up to 1,024, eight hosts at a time beyond.
    What is tried with fewer GPUs is tried with more too, so more are never slower."""
    every = [
        *range(1, SINGLY),
        *range(SINGLY, MOST_SERVERS, PER_HOST),
        *range(MOST_SERVERS, MOST_TRAINERS + 1, PER_HOST**2),
    ]
    return [one for one in every if one <= most]


def layouts(count: int, gpus: int) -> Iterator[Layout]:
    """Ways to share so many GPUs out, with servers of so many each; some GPUs may stay idle."""
    for servers in numbers(min(slots(count, gpus), MOST_SERVERS)):
        for ranks in numbers(count - servers * gpus):
            yield Layout(ranks, servers, gpus)


def slots(count: int, gpus: int) -> int:
    """Servers of so many GPUs each that find a place: none is cut over two hosts that one can hold."""
    if gpus > PER_HOST:
        return count // gpus
    return count // PER_HOST * (PER_HOST // gpus) + count % PER_HOST // gpus


def widths(count: int) -> Iterator[int]:
    """GPUs that a server may be cut over: a power of two, at most a host and all that there are."""
    width = 1
    while width <= min(count, PER_HOST):
        yield width
        width *= 2
