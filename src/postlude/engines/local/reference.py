"""What the policy is compared with: a frozen copy of the start, the model without its adapter, or a later policy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor

from postlude.engines.local.model import LocalModel
from postlude.engines.local.params import Params
from postlude.errors import EngineError
from postlude.models.pieces import Pieces, write
from postlude.models.spread import Spread


def frozen_copy(policy: LocalModel) -> LocalModel | None:
    """A model that stays as the policy is now; None under LoRA, where switching the adapter off gives the start."""
    if hasattr(policy.net, "disable_adapter"):
        return None
    return policy.copy(deepcopy(policy.net).requires_grad_(False).eval())


class Reference:
    """The reference of a policy: `frozen`, or under LoRA the policy without its adapter, or with an earlier one."""

    def __init__(self, policy: LocalModel, params: Params, frozen: LocalModel | None) -> None:
        self._policy, self._params = policy, params
        self.frozen = frozen
        """A copy of the whole model."""
        self._adapter: list[Tensor] = []
        """Under LoRA: the trained adapter's weights as they were when they became the reference."""
        self.refreshed = 0
        """How often it became the policy."""

    @property
    def _has_adapter(self) -> bool:
        return hasattr(self._policy.net, "disable_adapter")

    @property
    def weights(self) -> Sequence[Tensor]:
        """What is held for the reference alone."""
        return [*self.frozen.net.parameters()] if self.frozen is not None else self._adapter

    @contextmanager
    def model(self) -> Iterator[LocalModel]:
        """The model with the reference's weights."""
        if self._adapter:
            with self._with_earlier_adapter():
                yield self._policy
        elif self._has_adapter:
            with self._policy.without_adapter():
                yield self._policy
        elif self.frozen is None:
            raise EngineError("a reference was asked for, and none was kept", code="not-supported")
        else:
            yield self.frozen

    @contextmanager
    def _with_earlier_adapter(self) -> Iterator[None]:
        """The model with its trained adapter as it was at the last refresh. Numbers change places, not tensors: where
        weights are spread over ranks, what is gathered is read from the memory that a rank had for them first."""
        params = self._params.params
        trained = [p.detach().clone() for p in params]
        try:
            self._put(self._adapter)
            yield
        finally:
            self._put(trained)

    @torch.no_grad()
    def _put(self, adapter: Sequence[Tensor]) -> None:
        for p, numbers in zip(self._params.params, adapter, strict=True):
            p.copy_(numbers)

    @torch.no_grad()
    def refresh(self, mix: float) -> None:
        """Become the policy as it is now, or mix x policy + (1 - mix) x reference, weight by weight.

        Adapters cannot be mixed: the product of two means is not the mean of two products.
        """
        params = self._params.params
        if self._has_adapter:
            if mix != 1:
                raise EngineError("a reference under LoRA can be replaced (mix 1), not mixed", code="not-supported")
            self._adapter = [p.detach().clone() for p in params]
        elif self.frozen is None:
            raise EngineError("a reference was to be refreshed, and none was kept", code="not-supported")
        else:
            for frozen, p in zip(self._counterparts(), params, strict=True):
                frozen.copy_(p) if mix == 1 else frozen.lerp_(p.to(frozen.dtype), mix)
        self.refreshed += 1

    def _counterparts(self) -> list[Tensor]:
        """The reference's tensors of what is trained."""
        if self.frozen is None:
            return self._adapter
        by_name = dict(self.frozen.net.named_parameters())
        return [by_name[name] for name in self._params.names]

    def save(self, file: Path, spread: Spread, dtype_of: Callable[[str, Tensor], torch.dtype]) -> None:
        """Write what a refresh made of it, in `dtype_of` each; nothing while it is the start."""
        if self.refreshed:
            write(file, dict(zip(self._params.names, self._counterparts(), strict=True)), spread, dtype_of)

    @torch.no_grad()
    def load(self, file: Path, refreshed: int, spread: Spread) -> None:
        """A refreshed reference as `save` wrote it."""
        if self._has_adapter:
            self._adapter = [torch.empty_like(p) for p in self._params.params]
        if self._has_adapter or self.frozen is not None:
            with Pieces([file]) as pieces:
                for name, tensor in zip(self._params.names, self._counterparts(), strict=True):
                    pieces.fill(tensor.detach(), name, spread)
        self.refreshed = refreshed
