"""What is said and kept of an optimiser step that was left out, since something in it was not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from postlude.batch import Batch, integers, select
from postlude.data import Completion, Group
from postlude.engines.protocol import Skip
from postlude.errors import visible
from postlude.lazy import torch
from postlude.runs.folder import Run

if TYPE_CHECKING:
    from torch import Tensor

MOST_IN_A_ROW = 3
"""Optimiser steps left out, after which a run ends: once the step it is at is finished."""
MOST_BYTES = 32 << 20
"""Of a batch that is kept; of a larger one only the answer is."""
SHOWN = 200
"""Characters of an answer that are kept."""
ADVICE = {
    "reward": "Look at the reward (rollouts/ has what it gave), or bound it with `clip`",
    "advantage": "Look at the rewards, and at the method's advantage where it is one of yours",
    "weight": "Look at the method's aggregation where it is one of yours",
    "the sampler's log-prob": "Hold the model in float32 (engine.dtype=float32), or lower schedule.lr",
}
LOWER = (
    "Lower schedule.lr or optimizer.max_grad_norm, or hold the model in float32 or bfloat16 (float16 overflows); if it "
    "is always the same answer, leave its row out"
)


def unsound(groups: Sequence[Group]) -> Skip | None:
    """An answer whose log-probs the sampler gave as NaN or infinite: nothing of the draw is trained on."""
    place = 0
    for group in groups:
        for completion in group.completions:
            total = math.fsum(completion.logprobs or ()) if completion.logprobs else 0.0
            if not math.isfinite(total):
                return Skip("the sampler's log-prob", total, sequence=place)
            place += 1
    return None


def keep(run: Run, stream: str, update: int, batch: Batch, groups: Sequence[Group], skip: Skip) -> str:
    """Write the batch and what is known of the cause into broken/; a sentence for people."""
    there = None if skip.sequence is None else _answer(batch, groups, skip.sequence)
    facts: dict[str, Any] = {
        "schema": 1,
        "step": run.step + 1,
        "update": update,
        "stream": stream,
        "figure": skip.figure,
        "value": repr(skip.value),
        "parameter": skip.parameter,
        "in_a_row": skip.in_a_row,
        "sequence": skip.sequence,
    }
    if there is not None:
        group, completion = there
        facts["sample"] = {
            "prompt_id": visible(group.prompt.id),
            "place": visible(group.prompt.place),
            "answer": visible(completion.text[:SHOWN]),
            "reward": None if completion.reward is None else repr(completion.reward),
            "tokens": completion.length,
        }
    kept = run.write_broken(_tensors(_bounded(batch, skip)), json.dumps(facts, indent=2) + "\n")
    return _sentence(skip, there, kept)


def _sentence(skip: Skip, there: tuple[Group, Completion] | None, kept: str | None) -> str:
    of = "all answers together" if skip.sequence is None else "an answer"
    if there is not None:
        group, completion = there
        of = f"the answer {visible(completion.text[:60])!r} to prompt {visible(group.prompt.id)}"
        of += f" ({visible(group.prompt.place)})" if group.prompt.place else ""
    where = f"; the first weight it reaches is {skip.parameter}" if skip.parameter else ""
    saved = f" The batch is kept in {kept}." if kept else ""
    return (
        f"an update was left out, and nothing was changed by it: the {skip.figure.removeprefix('the ')} of {of} is "
        f"{skip.value!r}{where}.{saved} {ADVICE.get(skip.figure, LOWER)}."
    )


def too_many(skip: Skip) -> str:
    """The end of a run whose updates are left out, one after the other."""
    return (
        f"{skip.in_a_row} updates in a row were left out; of the last the {skip.figure.removeprefix('the ')} is "
        f"{skip.value!r} (broken/ holds the batches). {ADVICE.get(skip.figure, LOWER)}."
    )


def _answer(batch: Batch, groups: Sequence[Group], sequence: int) -> tuple[Group, Completion] | None:
    """The answer behind a sequence of a batch: batches hold tokens alone."""
    tokens = integers(batch.tokens[batch.sequence == sequence])
    shared = (batch.group == batch.sequence_group[sequence]) & (batch.sequence < 0)
    prompt = integers(batch.tokens[shared])
    for group in groups:
        if list(group.prompt.tokens) == prompt:
            for completion in group.completions:
                if list(completion.tokens) == tokens:
                    return group, completion
    return None


def _bounded(batch: Batch, skip: Skip) -> Batch:
    size = sum(x.numel() * x.element_size() for x in _tensors(batch).values())
    if size <= MOST_BYTES:
        return batch
    return select(batch, torch.tensor([skip.sequence or 0], device=batch.tokens.device))


def _tensors(batch: Batch) -> dict[str, Tensor]:
    named = {f.name: getattr(batch, f.name) for f in fields(batch)}
    return {name: x.detach().cpu().contiguous() for name, x in named.items() if isinstance(x, torch.Tensor)}
