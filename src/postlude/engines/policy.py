"""What servers have to be told of the model that is trained for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from postlude.models import adapters
from postlude.models.dtypes import Dtype
from postlude.models.tied import is_tied, ties


@dataclass(frozen=True)
class Policy:
    """A model in training."""

    dtype: Dtype
    device: torch.device
    adapter_rank: int | None
    """Of the adapter that is published; None where whole weights are."""
    ties: bool
    """Whether its config calls the output layer its embedding."""
    tied: bool
    """Whether servers have to be given the output layer as a matrix of its own."""
    net: Any = None
    """Its weights as they are now; None where ranks hold them."""

    @classmethod
    def of(cls, net: Any) -> Policy:
        """A model of this process."""
        dtype: Any = str(net.dtype).removeprefix("torch.")
        return cls(dtype, net.device, adapters.rank_of(net), ties(net), is_tied(net), net)
