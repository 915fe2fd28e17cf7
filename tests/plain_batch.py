"""Packing and cutting as they are defined, row by row: what `postlude.batch` does in one go is held against these."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from postlude.batch import Batch, integers
from postlude.data import Completion, Group

_SEQUENCE_FIELDS = (
    "sequence_group",
    "reward",
    "correct",
    "truncated",
    "mismatched",
    "whole_reward",
    "sequence_weight",
)
_OTHER_FIELDS = ("n_groups", "temperature", "margin", "pairs", "pair_weight", "offset", "report")
_TOKEN_FIELDS = tuple(f.name for f in fields(Batch) if f.name not in {*_SEQUENCE_FIELDS, *_OTHER_FIELDS})


def pack(groups: Sequence[Group], dtype: torch.dtype | None = None, temperature: float = 1.0) -> Batch:
    """Lay groups out as one row of tokens, each prompt once.

    A completion without a reward keeps its place but is not trained (its mask is False). `dtype` is the numbers', and
    must be the engine's (`Trainer.dtype`). `temperature` is the one the completions were sampled at; log-probs are
    computed from logits divided by it.
    """
    dtype = dtype or torch.float32
    row, sequence_group = _lay_out(groups)
    nan = float("nan")
    completions = [c for item in groups for c in item.completions]
    margins = [_margin(item.prompt.columns.get("margin")) for item in groups]

    def number(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=dtype)

    return Batch(
        tokens=torch.tensor(row["tokens"], dtype=torch.long),
        position=torch.tensor(row["position"], dtype=torch.long),
        group=torch.tensor(row["group"], dtype=torch.long),
        sequence=torch.tensor(row["sequence"], dtype=torch.long),
        predictor=torch.tensor(row["predictor"], dtype=torch.long),
        mask=torch.tensor(row["mask"], dtype=torch.bool),
        sequence_group=torch.tensor(sequence_group, dtype=torch.long),
        reward=number([nan if c.reward is None else c.reward for c in completions]),
        correct=torch.tensor([-1 if c.correct is None else int(c.correct) for c in completions], dtype=torch.long),
        truncated=torch.tensor([c.truncated for c in completions], dtype=torch.bool),
        mismatched=torch.zeros(len(completions), dtype=torch.bool),
        n_groups=len(groups),
        temperature=temperature,
        margin=number(margins) if any(margins) else None,
        step_reward=number(row["step_reward"]) if any(c.steps for c in completions) else None,
        whole_reward=number([_whole(c) for c in completions])
        if any(c.whole is not None for c in completions)
        else None,
        rollout_logprobs=number(row["rollout"]) if any(c.logprobs is not None for c in completions) else None,
    )


def _lay_out(groups: Sequence[Group]) -> tuple[dict[str, list[Any]], list[int]]:
    """The columns of the row by name, [T] each, and [S] the group of each sequence."""
    tokens: list[int] = []
    position: list[int] = []
    group: list[int] = []
    sequence: list[int] = []
    predictor: list[int] = []
    mask: list[bool] = []
    rollout: list[float] = []
    step_reward: list[float] = []
    sequence_group: list[int] = []
    nan = float("nan")
    for g, item in enumerate(groups):
        prompt = item.prompt.tokens
        last_prompt = len(tokens) + len(prompt) - 1 if prompt else -1
        tokens += prompt
        position += range(len(prompt))
        for column, filler in ((group, g), (sequence, -1), (predictor, -1), (mask, False)):
            column += [filler] * len(prompt)
        rollout += [nan] * len(prompt)
        step_reward += [nan] * len(prompt)
        for completion in item.completions:
            n, start = len(completion.tokens), len(tokens)
            trained = completion.reward is not None
            tokens += completion.tokens
            position += range(len(prompt), len(prompt) + n)
            group += [g] * n
            sequence += [len(sequence_group)] * n
            predictor += ([last_prompt, *range(start, start + n - 1)])[:n]
            mask += [a and trained and p >= 0 for a, p in zip(completion.has_action, predictor[start:], strict=True)]
            rollout += completion.logprobs or [nan] * n
            ends = dict(completion.steps)
            step_reward += [ends.get(t, nan) for t in range(n)]
            sequence_group.append(g)
    columns = {
        "tokens": tokens,
        "position": position,
        "group": group,
        "sequence": sequence,
        "predictor": predictor,
        "mask": mask,
        "rollout": rollout,
        "step_reward": step_reward,
    }
    return columns, sequence_group


def _whole(completion: Completion) -> float:
    if completion.reward is None:
        return float("nan")
    return completion.reward if completion.whole is None else completion.whole


def _margin(value: Any) -> float:
    """A column of that name may hold anything where no pair uses it."""
    return float(value) if isinstance(value, int | float) else 0.0


def select(batch: Batch, sequences: Tensor) -> Batch:
    """The part of a batch that holds these sequences (sorted indices [K]) and their groups' prompts.

    Groups are renumbered; weights and advantages come along unchanged, so parts add up to the whole.
    """
    chosen = torch.zeros(batch.n_sequences, dtype=torch.bool, device=batch.tokens.device)
    chosen[sequences] = True
    group_kept = torch.zeros(batch.n_groups, dtype=torch.bool, device=batch.tokens.device)
    group_kept[batch.sequence_group[sequences]] = True
    kept_groups = group_kept.nonzero().squeeze(1)
    shared = batch.sequence < 0
    keep_token = torch.where(shared, group_kept[batch.group], chosen[batch.sequence.clamp(min=0)])

    new: dict[str, Any] = {}
    for name in _TOKEN_FIELDS:
        value = getattr(batch, name)
        new[name] = None if value is None else value[keep_token]
    for name in _SEQUENCE_FIELDS:
        value = getattr(batch, name)
        new[name] = None if value is None else value[sequences]
    row = torch.cumsum(keep_token, 0) - 1
    new["predictor"] = torch.where(new["predictor"] >= 0, row[new["predictor"].clamp(min=0)], new["predictor"])
    new["sequence"] = _renumber(new["sequence"], chosen)
    new["group"] = _renumber(new["group"], group_kept)
    new["sequence_group"] = _renumber(new["sequence_group"], group_kept)
    if batch.margin is not None:
        new["margin"] = batch.margin[kept_groups]
    if batch.pairs is not None and batch.pair_weight is not None:
        inside = chosen[batch.pairs].all(dim=1)
        new["pairs"] = _renumber(batch.pairs[inside], chosen)
        new["pair_weight"] = batch.pair_weight[inside]
    return replace(batch, n_groups=len(kept_groups), report={}, **new)


def _renumber(index: Tensor, keep: Tensor) -> Tensor:
    new = torch.cumsum(keep, 0) - 1
    return torch.where(index >= 0, new[index.clamp(min=0)], index)


def split(batch: Batch, token_budget: int, keeps_groups: bool, shares_prompts: bool = True) -> Iterator[Batch]:
    """Cut an update into micro-batches of at most `token_budget` tokens (a single larger piece stays whole).

    An engine that repeats the prompt for every answer and pads counts without `shares_prompts`.

    Completions of one group stay together as far as the budget allows, so that they share their prompt;
    with `keeps_groups` a group is never cut.
    """
    if shares_prompts and batch.tokens.shape[0] <= token_budget:
        yield batch
        return
    for part in _parts(batch, token_budget, keeps_groups, shares_prompts):
        yield select(batch, torch.tensor(part, device=batch.tokens.device))


def _parts(batch: Batch, token_budget: int, keeps_groups: bool, shares_prompts: bool) -> Iterator[list[int]]:
    shared = batch.sequence < 0
    prompt_size = integers(torch.bincount(batch.group[shared], minlength=batch.n_groups))
    size = integers(torch.bincount(batch.sequence[~shared], minlength=batch.n_sequences))
    if not shares_prompts:
        groups = integers(batch.sequence_group)
        longest = max((prompt_size[g] + n for g, n in zip(groups, size, strict=True)), default=0)
        size, prompt_size = [longest] * len(size), [0] * len(prompt_size)
    part: list[int] = []
    used, last_group = 0, -1
    for unit in _units(batch, keeps_groups):
        g = int(batch.sequence_group[unit[0]])
        answers_size = sum(size[s] for s in unit)
        cost = answers_size + (prompt_size[g] if g != last_group or not part else 0)
        if part and used + cost > token_budget:
            yield part
            part, used, cost = [], 0, answers_size + prompt_size[g]
        part += unit
        used, last_group = used + cost, g
    if part:
        yield part


def _units(batch: Batch, keeps_groups: bool) -> list[list[int]]:
    """Sequences in group order, singly or as whole groups."""
    order = integers(torch.argsort(batch.sequence_group, stable=True))
    if not keeps_groups:
        return [[s] for s in order]
    units: dict[int, list[int]] = {}
    for s in order:
        units.setdefault(int(batch.sequence_group[s]), []).append(s)
    return list(units.values())


def minibatches(batch: Batch, updates: int, keeps_groups: bool, generator: torch.Generator | None) -> list[Batch]:
    """Cut a drawn batch into `updates` parts of (nearly) equal numbers of groups or sequences, shuffled.

    Fewer parts come back when there are fewer groups or sequences than `updates`.
    """
    if updates == 1:
        return [batch]
    units = _units(batch, keeps_groups)
    order = integers(torch.randperm(len(units), generator=generator))
    parts = [order[i::updates] for i in range(updates)]
    return [
        select(batch, torch.tensor(sorted(s for i in part for s in units[i]), device=batch.tokens.device))
        for part in parts
        if part
    ]
