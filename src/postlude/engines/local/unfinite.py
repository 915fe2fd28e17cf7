"""What is not finite in an update, and in whose answer: asked only once a loss or a gradient is not.

Numbers are looked at in the order they are computed in, so that the first of them is the cause.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from postlude.batch import Batch, integers, select
from postlude.engines.protocol import Part, Skip
from postlude.objectives import Objective

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
    return batch.old_logprobs is not None and bool(torch.isnan(batch.old_logprobs.sum()))


def explain(trainer: LocalTrainer, parts: Sequence[Part]) -> Skip:
    """Why the update whose gradient the trainer holds is not finite. The gradient is gone after."""
    parameter = trainer.spoilt()
    for place, part in enumerate(parts):
        known = _known(part.batch)
        if known is not None:
            figure, value, sequence = known
            return Skip(figure, value, place, sequence, parameter)
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):  # dropout of later updates stays the same
        for place, part in enumerate(parts):
            cause = _computed(trainer, part)
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


def _computed(trainer: LocalTrainer, part: Part) -> tuple[str, float, int | None] | None:
    """The first log-prob, loss or gradient of a pass that is not finite, found by halves."""
    whole = not part.objective.splits_groups
    units = _units(part.batch, whole)
    if not _breaks(trainer, part.batch, part.objective):
        return None
    while len(units) > 1:
        half = units[: len(units) // 2]
        if _breaks(trainer, _only(part.batch, half), part.objective):
            units = half
        elif _breaks(trainer, _only(part.batch, units[len(half) :]), part.objective):
            units = units[len(half) :]
        else:  # each half by itself is finite
            break
    loss = _breaks(trainer, _only(part.batch, units), part.objective)
    assert loss is not None
    first = units[0][0] if len(units) == 1 else None
    if first is not None:
        outputs = trainer.outputs(_only(part.batch, units), "scores" if trainer.model.reads == "scores" else "policy")
        for name, words in (("logprobs", "log-prob"), ("scores", "score")):
            values: Tensor | None = getattr(outputs, name)
            if values is not None and not bool(torch.isfinite(values).all()):
                return words, float(values[~torch.isfinite(values)][0]), first
    return ("gradient" if math.isfinite(loss[0]) else "loss"), loss[1] if math.isfinite(loss[0]) else loss[0], first


def _units(batch: Batch, whole: bool) -> list[list[int]]:
    """Sequences that train a token, singly or as whole groups."""
    groups = integers(batch.sequence_group)
    units: dict[int, list[int]] = {}
    for sequence, group in enumerate(groups):
        units.setdefault(group if whole else sequence, []).append(sequence)
    return list(units.values())


def _only(batch: Batch, units: Sequence[Sequence[int]]) -> Batch:
    chosen = sorted(s for unit in units for s in unit)
    return select(batch, torch.tensor(chosen, device=batch.tokens.device))


def _breaks(trainer: LocalTrainer, batch: Batch, objective: Objective) -> tuple[float, float] | None:
    """(loss, norm of the gradient) of a part of an update where one of them is not finite."""
    tell, trainer.on_progress = trainer.on_progress, None
    trainer.forget()
    try:
        pending = trainer.accumulate(replace(batch, live_logprobs=None, live_entropy=None), objective, 1.0)
        pending.settle()
        norm = sum(part.norm() for part in trainer.parts.values())
    finally:
        trainer.on_progress = tell
        trainer.forget()
    loss = 0.0 if pending.loss is None else pending.loss
    return None if math.isfinite(loss) and math.isfinite(norm) else (loss, norm)
