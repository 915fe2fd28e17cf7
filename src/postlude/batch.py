"""The packed batch: every token once, a group's prompt stored once for all its completions.

A token belongs to a group and to a sequence (-1: a prompt token, shared by the whole group). Query q attends
key k when both are in the same group, position[k] <= position[q], and k is a shared prompt token or in q's own
sequence. This one rule gives packing, padding-free training and prefix sharing.

Alignment rule: a per-token field sits at the token it describes. `old_logprobs[t]` is log p(tokens[t] | before),
computed from the hidden state in row `predictor[t]`.

Sizes: T tokens, S sequences (completions), G groups, M pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, TypeVar, cast

from postlude.cutting import Layout, cut, pairs_inside
from postlude.data import Completion, Group
from postlude.lazy import np, torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T")


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
    completions = [c for item in groups for c in item.completions]
    margins = [_margin(item.prompt.columns.get("margin")) for item in groups]
    precision = np.float64 if dtype == torch.float64 else np.float32

    def number(values: Iterable[float]) -> Tensor:
        numbers = _tensor(np.fromiter(values, precision))
        return numbers if numbers.dtype == dtype else numbers.to(dtype)

    return Batch(
        **_lay_out(groups),
        reward=number(math.nan if c.reward is None else c.reward for c in completions),
        correct=torch.tensor([-1 if c.correct is None else int(c.correct) for c in completions], dtype=torch.long),
        truncated=torch.tensor([c.truncated for c in completions], dtype=torch.bool),
        mismatched=torch.zeros(len(completions), dtype=torch.bool),
        n_groups=len(groups),
        temperature=temperature,
        margin=number(margins) if any(margins) else None,
        step_reward=number(_by_token(groups, _steps)) if any(c.steps for c in completions) else None,
        whole_reward=number(map(_whole, completions)) if any(c.whole is not None for c in completions) else None,
        rollout_logprobs=number(_by_token(groups, _logprobs))
        if any(c.logprobs is not None for c in completions)
        else None,
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


def _lay_out(groups: Sequence[Group]) -> dict[str, Any]:
    """The columns that every batch has: of tokens, and the group of each sequence."""
    pieces = [piece for item in groups for piece in (item.prompt, *item.completions)]
    size = np.array([len(piece.tokens) for piece in pieces], np.int64)
    answer = np.array([isinstance(piece, Completion) for piece in pieces], np.bool_)
    group = np.repeat(np.arange(len(groups)), [1 + len(item.completions) for item in groups])
    first = np.cumsum(size) - size
    before = np.where(answer, size[~answer][group], 0)
    """Tokens of the prompt, where one stands before the piece."""
    row = np.arange(int(size.sum()))
    predictor = np.where(np.repeat(answer, size), row - 1, -1)
    begins = answer & (size > 0)
    predictor[first[begins]] = np.where(before > 0, (first + size)[~answer][group] - 1, -1)[begins]
    columns = {
        "tokens": np.fromiter(chain.from_iterable(piece.tokens for piece in pieces), np.int64, row.size),
        "position": row - np.repeat(first - before, size),
        "group": np.repeat(group, size),
        "sequence": np.repeat(np.where(answer, np.cumsum(answer) - 1, -1), size),
        "predictor": predictor,
        "mask": np.fromiter(_by_token(groups, _trained, False), np.bool_, row.size) & (predictor >= 0),
        "sequence_group": group[answer],
    }
    return {name: _tensor(column) for name, column in columns.items()}


def _by_token(
    groups: Sequence[Group], values: Callable[[Completion], Iterable[T]], of_prompts: T = math.nan
) -> Iterator[T]:
    """What is known of each token."""
    return chain.from_iterable(
        piece
        for item in groups
        for piece in (repeat(of_prompts, len(item.prompt.tokens)), *map(values, item.completions))
    )


def _trained(completion: Completion) -> Iterable[bool]:
    if completion.reward is None or not completion.sampled:
        return repeat(completion.reward is not None, len(completion.tokens))
    return _one_each(completion, completion.sampled, "marks of what was sampled")


def _logprobs(completion: Completion) -> Iterable[float]:
    if not completion.logprobs:
        return repeat(math.nan, len(completion.tokens))
    return _one_each(completion, completion.logprobs, "log-probs")


def _steps(completion: Completion) -> Iterable[float]:
    ends = dict(completion.steps)
    return (ends.get(t, math.nan) for t in range(len(completion.tokens)))


def _one_each(completion: Completion, values: Sequence[T], what: str) -> Sequence[T]:
    if len(values) != len(completion.tokens):
        raise ValueError(f"a completion of {len(completion.tokens)} tokens has {len(values)} {what}")
    return values


def _whole(completion: Completion) -> float:
    if completion.reward is None:
        return float("nan")
    return completion.reward if completion.whole is None else completion.whole


def _margin(value: Any) -> float:
    """A column of that name may hold anything where no pair uses it."""
    return float(value) if isinstance(value, int | float) else 0.0


# --------------------------------------------------------------------------------------------------------- parts


def select(batch: Batch, sequences: Tensor) -> Batch:
    """The part of a batch that holds these sequences (sorted indices [K]) and their groups' prompts.

    Groups are renumbered; weights and advantages come along unchanged, so parts add up to the whole.
    """
    part = np.full(batch.n_sequences, -1)
    part[_numbers(sequences)] = 0
    return _cut(batch, part, 1)[0]


def split(batch: Batch, token_budget: int, keeps_groups: bool, shares_prompts: bool = True) -> Iterator[Batch]:
    """Cut an update into micro-batches of at most `token_budget` tokens (a single larger piece stays whole).

    An engine that repeats the prompt for every answer and pads counts without `shares_prompts`.

    Completions of one group stay together as far as the budget allows, so that they share their prompt;
    with `keeps_groups` a group is never cut.
    """
    if shares_prompts and batch.tokens.shape[0] <= token_budget:
        yield batch
        return
    part = _part_of(batch, token_budget, keeps_groups, shares_prompts)
    yield from _cut(batch, part, int(part.max(initial=-1)) + 1)


def count_parts(batch: Batch, token_budget: int, keeps_groups: bool, shares_prompts: bool = True) -> int:
    """How many micro-batches `split` makes of an update."""
    if shares_prompts and batch.tokens.shape[0] <= token_budget:
        return 1
    return int(_part_of(batch, token_budget, keeps_groups, shares_prompts).max(initial=-1)) + 1


def minibatches(batch: Batch, updates: int, keeps_groups: bool, generator: torch.Generator | None) -> list[Batch]:
    """Cut a drawn batch into `updates` parts of (nearly) equal numbers of groups or sequences, shuffled.

    Fewer parts come back when there are fewer groups or sequences than `updates`.
    """
    if updates == 1:
        return [batch]
    order, unit = _units(batch, keeps_groups)
    units = int(unit.max(initial=-1)) + 1
    shuffled = _numbers(torch.randperm(units, generator=generator))
    part_of_unit = np.empty(units, np.int64)
    part_of_unit[shuffled] = np.arange(units) % updates
    part = np.empty(batch.n_sequences, np.int64)
    part[order] = part_of_unit[unit]
    return _cut(batch, part, min(updates, units))


def integers(tensor: Tensor) -> list[int]:
    """The numbers of a tensor of whole numbers [N]; torch itself does not say what `tolist` gives."""
    return cast(list[int], tensor.tolist())  # pyright: ignore[reportUnknownMemberType]


def _numbers(tensor: Tensor) -> NDArray[np.int64]:
    return tensor.detach().cpu().numpy()


def _tensor(column: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(column)  # pyright: ignore[reportUnknownMemberType]


def _units(batch: Batch, keeps_groups: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[S] the sequences in group order, and for each of them its unit: itself, or its whole group."""
    groups = _numbers(batch.sequence_group)
    order = np.argsort(groups, kind="stable")
    if not keeps_groups:
        return order, np.arange(order.size)
    return order, np.cumsum(np.diff(groups[order], prepend=groups[order][:1]) > 0, dtype=np.int64)


def _part_of(batch: Batch, token_budget: int, keeps_groups: bool, shares_prompts: bool) -> NDArray[np.int64]:
    """[S] the micro-batch of each sequence."""
    sequence, groups = _numbers(batch.sequence), _numbers(batch.sequence_group)
    prompt_size = np.bincount(_numbers(batch.group)[sequence < 0], minlength=batch.n_groups)
    size = np.bincount(sequence[sequence >= 0], minlength=batch.n_sequences)
    if not shares_prompts:
        size = np.full_like(size, (prompt_size[groups] + size).max(initial=0))
        prompt_size = np.zeros_like(prompt_size)
    order, unit = _units(batch, keeps_groups)
    units = np.flatnonzero(np.diff(unit, prepend=-1))
    group_of = groups[order][units]
    answers = np.add.reduceat(size[order], units) if units.size else units
    numbered = _fill(group_of.tolist(), answers.tolist(), prompt_size[group_of].tolist(), token_budget)
    part = np.empty(batch.n_sequences, np.int64)
    part[order] = np.array(numbered, np.int64)[unit]
    return part


def _fill(groups: Sequence[int], answers: Sequence[int], prompts: Sequence[int], token_budget: int) -> list[int]:
    """The micro-batch of each unit, in order; a prompt counts once in each that has some of its group."""
    part, used, last = 0, 0, -1
    numbered: list[int] = []
    for group, answer, prompt in zip(groups, answers, prompts, strict=True):
        cost = answer if group == last else answer + prompt
        if numbered and used + cost > token_budget:
            part, used, cost = part + 1, 0, answer + prompt
        used, last = used + cost, group
        numbered.append(part)
    return numbered


def _cut(batch: Batch, part: NDArray[np.int64], parts: int) -> list[Batch]:
    """The batch in parts: [S] the part of each sequence, -1 for one that is in none."""
    places = (batch.group, batch.sequence, batch.predictor, batch.sequence_group)
    group, sequence, predictor, sequence_group = map(_numbers, places)
    done = cut(Layout(group, sequence, predictor, sequence_group, batch.n_groups), part, parts)
    renumbered = {name: getattr(done.layout, name) for name in ("group", "sequence", "predictor", "sequence_group")}
    taken = [(_TOKEN_FIELDS, done.rows), (_SEQUENCE_FIELDS, done.sequences), (("margin",), done.groups)]
    if batch.pairs is not None and batch.pair_weight is not None:
        pairs = _numbers(batch.pairs)
        inside = pairs_inside(pairs, part, parts)
        renumbered["pairs"] = done.number[pairs[inside.index]]
        taken.append((("pairs", "pair_weight"), inside))
    columns: dict[str, Sequence[Tensor]] = {}
    for names, pieces in taken:
        index = _tensor(pieces.index).to(batch.tokens.device)
        for name in names:
            value: Tensor | None = getattr(batch, name)
            if value is None:
                continue
            rows = _tensor(renumbered[name]).to(value.device) if name in renumbered else value.index_select(0, index)
            columns[name] = rows.split_with_sizes(pieces.sizes)
    each: list[dict[str, Any]] = [{name: values[i] for name, values in columns.items()} for i in range(parts)]
    return [replace(batch, n_groups=n, report={}, **new) for n, new in zip(done.groups.sizes, each, strict=True)]
