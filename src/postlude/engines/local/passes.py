"""The passes of an update, and of a reading: on several ranks as many on each, since every one is a common effort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from postlude.batch import Batch, pack, select
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.ranks import Ranks
from postlude.objectives import Loss, Objective, Outputs, TokenObjective

WORTH_SKIPPING = 0.1
"""Share of a micro-batch's tokens from which on a pass of their own is cheaper than going back through them."""


@dataclass(frozen=True)
class Pass:
    """What goes through the model at once."""

    batch: Batch
    pulls: bool
    """Whether there is a gradient to gather."""
    counts: bool = True
    """Whether it is of the batch; else it is there for the other ranks' sake, and nothing comes of it."""


def parted(batch: Batch, objective: TokenObjective) -> list[tuple[Batch, bool]]:
    """A micro-batch in parts, each with whether it has a gradient; answers that train no token are in none."""
    trained = batch.lengths > 0
    if bool(trained.any()) and not bool(trained.all()):  # unscored, or masked because they were cut off
        batch = select(batch, trained.nonzero().squeeze(1))
    idle = objective.idle(batch)
    if int(idle[batch.group].sum()) < max(1, WORTH_SKIPPING * batch.tokens.numel()):
        return [(batch, True)]
    if bool(idle.all()):
        return [(batch, False)]
    rests = idle[batch.sequence_group]
    return [
        (select(batch, (~rests).nonzero().squeeze(1)), True),
        (select(batch, rests.nonzero().squeeze(1)), False),
    ]


def alike(ranks: Ranks, passes: Sequence[Pass], known: bool = False) -> Iterator[Pass]:
    """The same number of passes of each kind on every rank: with a gradient, then without, those of most tokens first,
    and empty ones at the end where another rank has more to do. Of what is `known` none goes through the model."""
    kinds = [[one for one in passes if one.pulls is pulls] for pulls in (True, False)]
    most = ranks.most([len(kind) for kind in kinds])
    for kind, pulls, count in zip(kinds, (True, False), most, strict=True):
        yield from sorted(kind, key=lambda one: -one.batch.tokens.shape[0])
        missing = 0 if known and not pulls else int(count) - len(kind)
        yield from [Pass(_empty(), pulls, counts=False)] * missing


def _empty() -> Batch:
    """One token after another: the least that reaches every weight."""
    return pack([Group(Prompt("", "", tokens=(0,)), (Completion((0,), reward=0.0),))])


def nothing(outputs: Outputs, entropy: bool) -> Loss:
    """A loss of exactly 0, whose gradient is 0 as well and reaches what an objective's would."""
    read = [outputs.logprobs, outputs.entropy if entropy else None, outputs.values, outputs.scores]
    return Loss(sum((_zero(x) for x in read if x is not None), torch.zeros(())))


def _zero(x: Tensor) -> Tensor:
    return 0 * x.nan_to_num(0.0, 0.0, 0.0).sum()


def pulls_entropy(objective: Objective) -> bool:
    """Whether entropy is in the loss."""
    return isinstance(objective, TokenObjective) and objective.entropy > 0


def known_of(micro: Batch) -> Outputs | None:
    """What the figures of a part without a gradient need, where it is there already."""
    if micro.live_logprobs is None or micro.live_entropy is None:
        return None
    return Outputs(logprobs=micro.live_logprobs, entropy=micro.live_entropy)
