"""What is not finite in an update, and in whose answer: asked only once a loss or a gradient is not.

Numbers are looked at in the order they are computed in, so that the first of them is the cause.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from postlude.batch import Batch, integers, select
from postlude.engines.protocol import Part, Skip
from postlude.objectives import Outputs, Want

if TYPE_CHECKING:
    from postlude.engines.local.trainer import LocalTrainer

KNOWN = {
    "old_logprobs": "old log-prob",
    "ref_logprobs": "log-prob of the reference",
    "old_values": "value",
    "advantages": "advantage",
    "returns": "return",
    "policy_weight": "weight",
    "kl_weight": "weight of the KL term",
    "value_weight": "weight of the value",
    "sequence_weight": "weight",
}
"""Field of a batch -> what it is called, in the order they are computed in. The sampler's log-probs may be missing."""


def corrupt(batch: Batch) -> bool:
    """Whether log-probs at sampling are NaN. Infinite ones are left out, token by token, and counted
    (`corrupt_tokens`); nobody would see that all of them are NaN."""
    return batch.old_logprobs is not None and bool(torch.isnan(batch.old_logprobs).any())


class Witness(Protocol):
    """Whoever tried an update that is not finite, and can be asked about it."""

    @property
    def scores(self) -> bool:
        """Whether the model gives scores, not log-probs."""
        ...

    async def spoilt(self) -> str | None:
        """The first parameter whose gradient is not finite, of the update that was tried."""
        ...

    async def tried(self, part: Part) -> tuple[float, float]:
        """(loss, norm of the gradient) of a part of an update by itself, which is forgotten then. A loss that is finite
        is told as 0."""
        ...

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        """As a trainer's."""
        ...


class Here:
    """A trainer of this process as a witness."""

    def __init__(self, trainer: LocalTrainer) -> None:
        self._trainer = trainer

    @property
    def scores(self) -> bool:
        return self._trainer.model.reads == "scores"

    async def spoilt(self) -> str | None:
        return self._trainer.spoilt()

    async def tried(self, part: Part) -> tuple[float, float]:
        return await self._trainer.workplace.do(lambda: try_alone(self._trainer, part))

    async def forward(self, batch: Batch, want: Want) -> Outputs:
        return await self._trainer.forward(batch, want)


async def explain(witness: Witness, parts: Sequence[Part]) -> Skip:
    """Why the update whose gradient the witness holds is not finite. The gradient is gone after."""
    parameter = await witness.spoilt()
    for place, part in enumerate(parts):
        known = _known(part.batch)
        if known is not None:
            figure, value, sequence = known
            return Skip(figure, value, place, sequence, parameter)
    for place, part in enumerate(parts):
        cause = await _computed(witness, part)
        if cause is not None:
            figure, value, sequence = cause
            return Skip(figure, value, place, sequence, parameter)
    return Skip("gradient", math.inf, parameter=parameter)  # of all together alone: it has grown too large


def _known(batch: Batch) -> tuple[str, float, int] | None:
    """The first number that was known before the update and is not finite: (what, value, sequence)."""
    infinite = torch.isinf(batch.reward)
    if bool(infinite.any()):
        first = int(infinite.nonzero()[0])
        return "reward", float(batch.reward[first]), first
    for name, words in KNOWN.items():
        values: Tensor | None = getattr(batch, name)
        if values is None:
            continue
        bad = torch.isnan(values) if name == "old_logprobs" else ~torch.isfinite(values)
        if values.shape[0] == batch.tokens.shape[0] and name not in ("old_logprobs", "sequence_weight"):
            bad = bad & batch.mask
        if bool(bad.any()):
            first = int(bad.nonzero()[0])
            sequence = first if name == "sequence_weight" else int(batch.sequence[first])
            return words, float(values[first]), sequence
    return None


async def _computed(witness: Witness, part: Part) -> tuple[str, float, int | None] | None:
    """The first log-prob, loss or gradient of a pass that is not finite, found by halves."""
    units = _units(part.batch, not part.objective.splits_groups)
    cause = await _breaks(witness, part)
    if cause is None:
        return None
    while len(units) > 1:
        half = len(units) // 2
        for piece in (units[:half], units[half:]):
            piece_cause = await _breaks(witness, _only(part, piece))
            if piece_cause is not None:
                units, cause = piece, piece_cause
                break
        else:  # each half by itself is finite
            break
    loss, norm = cause
    first = units[0][0] if len(units) == 1 else None
    if first is not None:
        one = _only(part, units).batch
        outputs = await witness.forward(one, "scores" if witness.scores else "policy")
        for name, words in (("logprobs", "log-prob"), ("scores", "score")):
            values: Tensor | None = getattr(outputs, name)
            if values is not None and not bool(torch.isfinite(values).all()):
                return words, float(values[~torch.isfinite(values)][0]), first
    return ("gradient", norm, first) if math.isfinite(loss) else ("loss", loss, first)


def _units(batch: Batch, whole: bool) -> list[list[int]]:
    """Sequences that train a token, singly or as whole groups."""
    groups = integers(batch.sequence_group)
    units: dict[int, list[int]] = {}
    for sequence, group in enumerate(groups):
        units.setdefault(group if whole else sequence, []).append(sequence)
    return list(units.values())


def _only(part: Part, units: Sequence[Sequence[int]]) -> Part:
    chosen = sorted(s for unit in units for s in unit)
    return replace(part, batch=select(part.batch, torch.tensor(chosen, device=part.batch.tokens.device)))


async def _breaks(witness: Witness, part: Part) -> tuple[float, float] | None:
    """(loss, norm of the gradient) of a part of an update where one of them is not finite."""
    loss, norm = await witness.tried(part)
    return None if math.isfinite(loss) and math.isfinite(norm) else (loss, norm)


def try_alone(trainer: LocalTrainer, part: Part) -> tuple[float, float]:
    """What a witness is asked: (loss, 0 where it is finite; norm) of a part by itself, with nothing known of it from
    other passes. On several ranks of what each has of it, the first loss in their order."""
    tell, trainer.on_progress = trainer.on_progress, None
    trainer.forget()
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # dropout of later updates stays the same
            alone = replace(part.batch, live_logprobs=None, live_entropy=None)
            pending = trainer.accumulate(alone, part.objective, 1.0)
        pending.settle()
        norm = sum(trainer.norms().values())
    finally:
        trainer.on_progress = tell
        trainer.forget()
    return 0.0 if pending.loss is None else pending.loss, norm
