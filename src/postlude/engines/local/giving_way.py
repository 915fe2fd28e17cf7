"""What gives way where memory runs out: micro-batches, then the output layer's chunk; in sampling the cache.

What was begun is done again from the start, so that the result is that of a run which had the smaller limit before.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from postlude.batch import Batch, count_parts
from postlude.engines.local.cache import token_bytes
from postlude.engines.protocol import Request
from postlude.exhausted import out_of_memory
from postlude.sizing.work import LEAST_CHUNK

if TYPE_CHECKING:
    from postlude.engines.local.decode import LocalSampler
    from postlude.engines.local.trainer import LocalTrainer

R = TypeVar("R")

Limits = tuple[int, int]
"""(token budget, chunk of the output layer)."""


@dataclass(frozen=True)
class Cut:
    """A batch as an update or a pass cuts it into micro-batches."""

    batch: Batch
    keeps_groups: bool
    shares_prompts: bool

    def count(self, token_budget: int) -> int:
        """Micro-batches under a budget."""
        return count_parts(self.batch, token_budget, self.keeps_groups, self.shares_prompts)


def within_memory(trainer: LocalTrainer, cuts: Sequence[Cut], work: Callable[[], R]) -> R:
    """The result of `work`; where memory runs out in it, done again with smaller pieces, while they can be smaller.
    One of several ranks cannot: the others are in the middle of what it left."""
    chunked = trainer.model.reads == "logprobs"
    while True:
        before = trainer.token_budget, trainer.model.head_chunk
        try:
            return work()
        except (MemoryError, RuntimeError) as error:
            less = smaller(before, cuts, chunked) if out_of_memory(error) and trainer.ranks.size == 1 else None
            if less is None:
                raise
        # here nothing holds the tensors of the attempt any more
        trainer.forget()
        trainer.make_room()
        free()
        trainer.use(*less)
        trainer.on_smaller(in_words(before, less))


def smaller(limits: Limits, cuts: Sequence[Cut], chunked: bool = True) -> Limits | None:
    """The budget halved until a batch is cut into more pieces; where each piece is alone already, the chunk halved, if
    the output layer is `chunked` at all. None where that is as small as it gets."""
    budget, chunk = limits
    now = [cut.count(budget) for cut in cuts]
    while budget > 1:
        budget //= 2
        if [cut.count(budget) for cut in cuts] != now:
            return budget, chunk
    tokens = max((cut.batch.tokens.shape[0] for cut in cuts), default=0)
    half = min(chunk, tokens, 2 * limits[0]) // 2  # no piece is longer than twice the budget that stayed
    return (limits[0], half) if chunked and half >= LEAST_CHUNK else None


def in_words(before: Limits, now: Limits, where: str = "", cost: str = "") -> str:
    """What is to be said of smaller limits: `where` memory ran out, and what that `cost`."""
    if now[0] < before[0]:
        key, less, limit = "token_budget", f"micro-batches have at most {now[0]:,} tokens", 0
    else:
        key, less, limit = "head_chunk", f"the output layer takes {now[1]:,} tokens at a time", 1
    return (
        f"memory ran out{where}: {less} from here on (before: {before[limit]:,}){cost}. Nothing is lost; "
        f"engine.{key}={now[limit]} begins with that"
    )


def smaller_cache(sampler: LocalSampler, requests: Sequence[Request], longest: int) -> str | None:
    """Halve a sampler's cache, from what these requests need of it where that is less; what is to be said, or None
    where one request alone fills it."""
    each = [(len(r.prompt) + longest) * token_bytes(sampler.model) for r in requests]
    size = min(sampler.cache_bytes, sum(each)) // 2
    if size < max(each, default=0):
        return None
    before = sampler.cache_bytes
    sampler.cache_bytes, sampler.prefix_bytes = size, min(sampler.prefix_bytes, size // 2)
    sampler.prefixes.clear()
    free()
    return (
        f"memory ran out while sampling: keys and values take at most {size / 2**20:,.2f} MiB from here on (before: "
        f"{before / 2**20:,.2f}), so fewer answers are sampled at a time. Nothing is lost; "
        f"engine.cache_gib={size / 2**30:.3g} begins with that"
    )


def free() -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
