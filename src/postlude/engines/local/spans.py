"""Where prompts and sequences lie in a packed row, and how to gather those of similar length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from postlude.batch import Batch


@dataclass(frozen=True)
class Spans:
    """Where prompts and sequences lie in a packed row: each is contiguous and in order."""

    prompt_start: Tensor
    prompt_length: Tensor
    start: Tensor
    length: Tensor

    @classmethod
    def of(cls, batch: Batch) -> Spans:
        shared = batch.sequence < 0
        rows = torch.arange(batch.tokens.shape[0], device=batch.tokens.device)
        prompt_length = torch.bincount(batch.group[shared], minlength=batch.n_groups)
        length = torch.bincount(batch.sequence[~shared], minlength=batch.n_sequences)
        far = rows.shape[0]
        start_p = rows.new_full((batch.n_groups,), far).scatter_reduce(0, batch.group[shared], rows[shared], "amin")
        start_s = rows.new_full((batch.n_sequences,), far).scatter_reduce(
            0, batch.sequence[~shared], rows[~shared], "amin"
        )
        return cls(start_p, prompt_length, start_s, length)


def ranges(start: Tensor, length: Tensor) -> Tensor:
    """[N, L] rows start..start+length-1, -1 beyond each length."""
    longest = int(length.max()) if length.numel() else 0
    offset = torch.arange(longest, device=start.device)
    return torch.where(offset < length[:, None], start[:, None] + offset, -1)


def similar(length: Tensor, waste: float, other: Tensor | None = None) -> list[Tensor]:
    """Indices cut into parts, longest first, in which no length is below 1/waste of the longest."""
    total = length if other is None else length + other
    order = torch.argsort(total, descending=True, stable=True).tolist()
    parts: list[list[int]] = []
    top = 0
    for i in order:
        n = int(total[i])
        if not parts or (n * waste < top and len(parts[-1]) >= 4):
            parts.append([])
            top = n
        parts[-1].append(i)
    return [torch.tensor(part, device=length.device) for part in parts]


def sequence_table(batch: Batch) -> Tensor:
    """[S, L] rows of each sequence: its group's prompt, then its own tokens, -1 padded on the right."""
    spans = Spans.of(batch)
    prompt_length = spans.prompt_length[batch.sequence_group]
    total = prompt_length + spans.length
    table = ranges(torch.zeros_like(total), total)
    answer_rows = table - prompt_length[:, None] + spans.start[:, None]
    prompt = table + spans.prompt_start[batch.sequence_group][:, None]
    return torch.where(table < 0, -1, torch.where(table < prompt_length[:, None], prompt, answer_rows))


def place_in(table: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """[T] row and column of each completion token in the padded table (prompt tokens: of their last copy)."""
    s, length = table.shape
    valid = table >= 0
    row = torch.zeros_like(batch.tokens)
    column = torch.zeros_like(batch.tokens)
    row[table[valid]] = torch.arange(s, device=table.device)[:, None].expand(s, length)[valid]
    column[table[valid]] = torch.arange(length, device=table.device)[None, :].expand(s, length)[valid]
    return row, column
