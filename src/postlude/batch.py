"""The packed batch: every token once, a group's prompt stored once for all its completions.

A token belongs to a group and to a sequence (-1: a prompt token, shared by the whole group). Query q attends
key k when both are in the same group, position[k] <= position[q], and k is a shared prompt token or in q's own
sequence. This one rule gives packing, padding-free training and prefix sharing.

Alignment rule: a per-token field sits at the token it describes. `old_logprobs[t]` is log p(tokens[t] | before),
computed from the hidden state in row `predictor[t]`.

Sizes: T tokens, S sequences (completions), G groups, M pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, cast

from postlude.data import Completion, Group
from postlude.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Tokens of several groups in one row, with everything known about them. Never holds a gradient."""

    # [T] each
    tokens: Tensor
    position: Tensor
    group: Tensor
    sequence: Tensor
    predictor: Tensor
    """Row whose hidden state predicts this token; -1 for prompt tokens and for a first token without context."""
    mask: Tensor
    """True on tokens that are trained: sampled by the policy, in a scored completion."""
    # [S] each
    sequence_group: Tensor
    reward: Tensor
    """NaN where the completion could not be scored."""
    correct: Tensor
    """1 correct, 0 wrong, -1 not known."""
    truncated: Tensor
    mismatched: Tensor
    """True for the extra sequences of KTO's reference point: they carry no weight."""
    # scalars
    n_groups: int
    temperature: float = 1.0
    margin: Tensor | None = None
    """[G] margin in reward units that the preferred completion must win by."""
    # [T], known later or not at all
    rows: Tensor | None = None
    """Row of each token in the batch this part was cut from."""
    step_reward: Tensor | None = None
    """Reward of the step that ends at this token, NaN elsewhere."""
    whole_reward: Tensor | None = None
    """[S] The part of `reward` that is of the answer as a whole, where steps are rewarded at their own tokens; NaN
    where the completion could not be scored. None: all of `reward` is."""
    rollout_logprobs: Tensor | None = None
    old_logprobs: Tensor | None = None
    old_entropy: Tensor | None = None
    live_logprobs: Tensor | None = None
    """With `live_entropy` what a pass under the weights of this update has given already; set for one update alone."""
    live_entropy: Tensor | None = None
    ref_logprobs: Tensor | None = None
    old_values: Tensor | None = None
    advantages: Tensor | None = None
    returns: Tensor | None = None
    policy_weight: Tensor | None = None
    kl_weight: Tensor | None = None
    entropy_weight: Tensor | None = None
    value_weight: Tensor | None = None
    # contrast objectives
    pairs: Tensor | None = None
    """[M, 2] indices of (preferred, other) sequences."""
    pair_weight: Tensor | None = None
    """[M]"""
    sequence_weight: Tensor | None = None
    """[S]"""
    offset: float = 0.0
    """KTO's reference point z0 in nats."""
    report: dict[str, float] = field(default_factory=dict[str, float])
    """Figures about the whole batch, for the event stream."""

    @property
    def n_sequences(self) -> int:
        """S, sequences without tokens included."""
        return self.sequence_group.shape[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.reward.dtype

    @property
    def scored(self) -> Tensor:
        """[S] bool: the completion has a reward."""
        return ~torch.isnan(self.reward)

    @property
    def lengths(self) -> Tensor:
        """[S] number of trained tokens n_i, as float."""
        return self.sum_by_sequence(torch.ones_like(self.mask, dtype=self.dtype))

    @property
    def judged(self) -> Tensor:
        """[N] rows where a scalar head is read: the last trained token of each sequence, and the ends of steps."""
        row = torch.arange(self.tokens.shape[0], device=self.tokens.device)
        last = row.new_full((self.n_sequences,), -1)
        last = last.scatter_reduce(0, self.sequence[self.mask], row[self.mask], "amax")
        chosen = torch.zeros_like(self.mask)
        chosen[last[last >= 0]] = True
        if self.step_reward is not None:
            chosen |= ~torch.isnan(self.step_reward) & self.mask
        return chosen.nonzero().squeeze(1)

    def sum_by_sequence(self, x: Tensor) -> Tensor:
        """[T] -> [S]: sum over the trained tokens of each sequence; masked entries may be NaN or infinite."""
        x = torch.where(self.mask, x, x.new_zeros(()))
        return x.new_zeros(self.n_sequences).index_add(0, self.sequence.clamp(min=0), x)

    def mean_by_sequence(self, x: Tensor) -> Tensor:
        """[T] -> [S]: mean over the trained tokens; 0 for a sequence without any."""
        return self.sum_by_sequence(x) / self.lengths.clamp(min=1).to(x.dtype)

    def by_group(self, x: Tensor) -> Tensor:
        """[S] -> [G]: sum over the sequences of each group."""
        return x.new_zeros(self.n_groups).index_add(0, self.sequence_group, x)

    def to_tokens(self, x: Tensor) -> Tensor:
        """[S] -> [T]: each trained token gets its sequence's number, every other token 0."""
        return torch.where(self.mask, x[self.sequence.clamp(min=0)], x.new_zeros(()))

    def group_to_tokens(self, x: Tensor) -> Tensor:
        """[G] -> [T]: each trained token gets its group's number, every other token 0."""
        return torch.where(self.mask, x[self.group], x.new_zeros(()))

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {f.name: _moved(getattr(self, f.name), device) for f in fields(self)}
        return replace(self, **moved)


def _moved(value: Any, device: torch.device | str) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value


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
_NOT_PER_TOKEN = {*_SEQUENCE_FIELDS, *_OTHER_FIELDS}
_TOKEN_FIELDS = tuple(f.name for f in fields(Batch) if f.name not in _NOT_PER_TOKEN)


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
        correct=torch.tensor([-1 if c.correct is None else int(c.correct) for c in completions]),
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


def with_mismatched(groups: Sequence[Group], dtype: torch.dtype | None = None, temperature: float = 1.0) -> Batch:
    """`pack`, where each prompt also gets the answers of the next other one, as extra sequences: for KTO's reference.

    They stand behind their group's own answers. An answer to the same prompt is none: a batch of one prompt has none.
    """
    joined = [replace(item, completions=(*item.completions, *_others(groups, i))) for i, item in enumerate(groups)]
    flags = [i >= len(a.completions) for a, j in zip(groups, joined, strict=True) for i in range(len(j.completions))]
    return replace(pack(joined, dtype, temperature), mismatched=torch.tensor(flags, dtype=torch.bool))


def _others(groups: Sequence[Group], place: int) -> tuple[Completion, ...]:
    """The answers to the first prompt after this one, in a circle, that is another."""
    after = (*groups[place + 1 :], *groups[:place])
    return next((g.completions for g in after if g.prompt.tokens != groups[place].prompt.tokens), ())


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


def integers(tensor: Tensor) -> list[int]:
    """The numbers of a tensor of whole numbers [N]; torch itself does not say what `tolist` gives."""
    return cast(list[int], tensor.tolist())  # pyright: ignore[reportUnknownMemberType]


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


def count_parts(batch: Batch, token_budget: int, keeps_groups: bool, shares_prompts: bool = True) -> int:
    """How many micro-batches `split` makes of an update."""
    if shares_prompts and batch.tokens.shape[0] <= token_budget:
        return 1
    return sum(1 for _ in _parts(batch, token_budget, keeps_groups, shares_prompts))


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
