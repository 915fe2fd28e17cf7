"""What of an update travels to the ranks, and what they send back: numpy columns, and nothing of torch.

A column is sent as its own bytes (pickle's protocol 5 and Ray's object store do not copy it), so numbers arrive bit for
bit. With the log-probs, advantages and weights of GRPO that is 57 bytes a token. Where it arrives it may lie in memory
that every rank of a host reads: nothing here hands that out to be written to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from postlude.batch import Batch, select
from postlude.engines.protocol import Part
from postlude.objectives import Objective, Outputs

Column = NDArray[np.generic]
Indices = NDArray[np.int64]
"""Indices of sequences or of rows, in order."""

_STAYS = "report"
"""The field that the driver alone has a use for."""


@dataclass(frozen=True)
class ShippedBatch:
    """A `Batch` as numpy columns. Its report stays on the driver."""

    columns: Mapping[str, Column]
    """Of the fields that are tensors, and there."""
    scalars: Mapping[str, float]
    """Of the fields that are numbers."""

    @classmethod
    def of(cls, batch: Batch) -> ShippedBatch:
        """Without a copy where the batch is in this host's memory: it must not change before it has arrived."""
        values = {f.name: getattr(batch, f.name) for f in fields(batch) if f.name != _STAYS}
        return cls(
            {name: _column(value) for name, value in values.items() if isinstance(value, torch.Tensor)},
            {name: value for name, value in values.items() if isinstance(value, int | float)},
        )

    @property
    def n_sequences(self) -> int:
        """S, sequences without tokens included."""
        return self.columns["sequence_group"].shape[0]

    @property
    def n_tokens(self) -> int:
        """T, every prompt once."""
        return self.columns["tokens"].shape[0]

    @property
    def nbytes(self) -> int:
        """Of all columns."""
        return sum(column.nbytes for column in self.columns.values())

    def whole(self) -> Batch:
        """The batch, in memory of its own."""
        return self._with({name: torch.from_numpy(np.array(column)) for name, column in self.columns.items()})

    def share(self, sequences: Indices) -> Batch:
        """The part that holds these sequences (sorted), in memory of its own; `rows` says where in the whole."""
        tensors = {name: _lent(column) for name, column in self.columns.items()}
        lent = self._with({**tensors, "rows": torch.arange(self.n_tokens)})
        return select(lent, torch.from_numpy(np.array(sequences, np.int64)))

    def _with(self, tensors: Mapping[str, Tensor]) -> Batch:
        values: dict[str, Any] = {**tensors, **self.scalars}
        return Batch(**values)


@dataclass(frozen=True)
class ShippedPart:
    """A `Part` of an update as it travels. The objective is a frozen value, and goes as it is."""

    batch: ShippedBatch
    objective: Objective
    coef: float = 1.0

    @classmethod
    def of(cls, part: Part) -> ShippedPart:
        return cls(ShippedBatch.of(part.batch), part.objective, part.coef)

    def whole(self) -> Part:
        """All of it."""
        return Part(self.batch.whole(), self.objective, self.coef)

    def share(self, sequences: Indices) -> Part:
        """What these sequences add to the part's loss: weights come along unchanged."""
        return Part(self.batch.share(sequences), self.objective, self.coef)


@dataclass(frozen=True)
class ShippedOutputs:
    """What a rank says of its share of a batch: a number for each trained token, by what was asked for."""

    rows: Indices
    """[N] in the whole batch."""
    columns: Mapping[str, Column]
    """[N] each, by the field of `Outputs`."""

    @classmethod
    def of(cls, outputs: Outputs, share: Batch) -> ShippedOutputs:
        """Of a share, whose `rows` say where in the whole batch it stands."""
        assert share.rows is not None
        columns = {f.name: getattr(outputs, f.name) for f in fields(outputs)}
        return cls(
            share.rows[share.mask].cpu().numpy(),
            {name: _column(value[share.mask]) for name, value in columns.items() if value is not None},
        )


def assemble(answers: Sequence[ShippedOutputs | None], batch: Batch) -> Outputs:
    """The ranks' numbers as one process gives them: [T] each, 0 at tokens that are not trained."""
    totals: dict[str, Tensor] = {}
    for one in answers:
        if one is None:
            continue
        rows = _lent(one.rows)
        for name, column in one.columns.items():
            values = _lent(column)
            totals.setdefault(name, values.new_zeros(batch.tokens.shape[0]))[rows] = values
    return Outputs(**{name: total.to(batch.tokens.device) for name, total in totals.items()})


def _column(tensor: Tensor) -> Column:
    return tensor.detach().cpu().numpy()


class _Lent:
    """An array that torch takes without a copy and without a warning though nobody may write to it."""

    def __init__(self, column: NDArray[Any]) -> None:
        self.column = column
        self.__array_interface__ = {**column.__array_interface__, "data": (column.ctypes.data, False)}


def _lent(column: NDArray[Any]) -> Tensor:
    """To be read alone: writing to it would write into what others read, or end the process."""
    return torch.from_numpy(np.asarray(_Lent(column)))
