"""One model spread over ranks by FSDP2, whichever way it is run.

A decoder layer is a unit, and so is what stands around the layers. The direct path reads weights without calling
modules, so a unit also gathers them for work that is handed to it (`engines.local.gathered`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from postlude.engines.local.gathered import GATHER
from postlude.engines.local.model import LocalModel
from postlude.models.heads import HEAD

LOW = (torch.bfloat16, torch.float16)


def spread(model: LocalModel, mesh: DeviceMesh) -> None:
    """Leave this rank its part of every parameter. A trained one of half precision is held in float32 from then on,
    gathered as what it was and reduced in float32: it is its own master copy."""
    model.precision = model.dtype
    units = [*_layers(model), *_scalar_head(model)]
    for unit in units:
        _spread(unit, mesh, reshard=True)
        _gather_by(unit)
    _spread(model.hf, mesh, reshard=False)
    _gather_by(model.hf)


def _layers(model: LocalModel) -> list[nn.Module]:
    """The decoder layers."""
    count = model.config.num_hidden_layers
    lists = [m for m in model.hf.base_model.children() if isinstance(m, nn.ModuleList) and len(m) == count]
    return [layer for several in lists for layer in several]


def _scalar_head(model: LocalModel) -> list[nn.Module]:
    """A map to one number, whose precision is its own."""
    return [] if model.reads == "logprobs" else [model.hf.get_submodule(HEAD)]


def _spread(unit: nn.Module, mesh: DeviceMesh, reshard: bool) -> None:
    """Make one unit of a module, but for what is a unit already."""
    trained = [p for p in unit.parameters() if p.requires_grad and p.dtype in LOW]
    low = trained[0].dtype if trained else None
    for p in trained:
        p.data = p.data.float()
    policy = MixedPrecisionPolicy(low, torch.float32 if low else None, cast_forward_inputs=False)
    fully_shard(unit, mesh=mesh, reshard_after_forward=reshard, mp_policy=policy)
    assert isinstance(unit, FSDPModule)
    unit.set_gradient_divide_factor(1.0)  # the gradient of one process is a sum
    unit.set_force_sum_reduction_for_comms(True)  # else gloo is asked for a sum of products, which it has not
    unit.set_reduce_scatter_unused_params(True)  # an expert that no token of a rank's chose


def _gather_by(unit: nn.Module) -> None:
    """Let a unit gather its weights for any work, as it does for its `forward`."""

    def give(work: Callable[..., Any], *inputs: Any) -> Any:
        return work(*inputs)

    unit.__dict__[GATHER] = give
    register_fsdp_forward_method(unit, GATHER)
    gather: Callable[..., Any] = unit.__dict__[GATHER]

    def gather_for(work: Callable[..., Any], *inputs: Any) -> Any:
        result = gather(work, *inputs)
        if not torch.is_grad_enabled():  # no backward pass comes, after which what is gathered is let go
            unit.reshard()  # type: ignore[operator]
        return result

    unit.__dict__[GATHER] = gather_for
