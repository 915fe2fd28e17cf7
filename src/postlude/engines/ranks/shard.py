"""One model spread over ranks by FSDP2, whichever way it is run.

A decoder layer is a unit, and so is what stands around the layers. The direct path reads weights without calling
modules, so a unit also gathers them for work that is handed to it (`engines.local.gathered`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from postlude.engines.local.gathered import GATHER
from postlude.engines.local.model import LocalModel
from postlude.engines.local.probing import probe_batch
from postlude.models.heads import HEAD

LOW = (torch.bfloat16, torch.float16)


APART = {torch.float32: 1e-3, torch.float64: 1e-3}
"""Relative difference, of numbers and of a gradient, that the trial of a spread model lets pass; in half precision
0.05. What goes wrong where weights are not gathered in time, or gradients not added up, is larger."""


def spread(model: LocalModel, mesh: DeviceMesh) -> float:
    """Leave this rank its part of every parameter, and try the model as it is run. Returns how far apart its numbers
    are from those of before, relative to `APART`: 1 is the limit."""
    before = _trial(model)
    _spread_out(model, mesh)
    after = _trial(model)
    limit = APART.get(model.dtype, 0.05)
    return max(float((a - b).norm() / (b.norm() + 1e-9)) for a, b in zip(after, before, strict=True)) / limit


def _trial(model: LocalModel) -> list[Tensor]:
    """What a model gives for a probe, and the gradient of its sum by a few weights, first and last ones: on each rank
    the same probe, so that theirs is so many times one's."""
    trained = [p for p in model.net.parameters() if p.requires_grad]
    few = [*trained[:2], *trained[-1:]]  # of an adapter the second is the first with a gradient
    batch = probe_batch(model.config.vocab_size).to(model.device)
    with model.evaluating(), torch.set_grad_enabled(bool(few)), model.running(batch) as outputs:
        result = outputs(False)
        numbers = next(x for x in (result.logprobs, result.scores, result.values) if x is not None)
        grads = _gradient(numbers.sum(), few) if few else []
    for p in trained:
        p.grad = None
    return [numbers.detach(), *(grad.float() for grad in grads)]


def _gradient(total: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """By these weights, whole; of spread ones the mean over ranks. While they are in one piece no others are made."""
    if not isinstance(weights[0], DTensor):
        grads = torch.autograd.grad(total, list(weights), allow_unused=True)
        return [torch.zeros_like(p) if grad is None else grad for p, grad in zip(weights, grads, strict=True)]
    total.backward()  # type: ignore[no-untyped-call]
    return [_mean(p) for p in weights]


def _mean(weight: Tensor) -> Tensor:
    grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    assert isinstance(grad, DTensor)
    return grad.full_tensor() / grad.device_mesh.size()


def _spread_out(model: LocalModel, mesh: DeviceMesh) -> None:
    """A trained parameter of half precision is held in float32 from then on, gathered as what it was and reduced in
    float32: it is its own master copy."""
    model.precision, model.whole_bytes = model.dtype, model.weight_bytes
    times = _times(model.hf)
    for unit in [*_layers(model), *_scalar_head(model)]:
        if any(times[p] > count for p, count in _times(unit).items()):
            continue  # another layer has it, too (Zamba): such layers belong to what stands around them
        _spread(unit, mesh, reshard=True)
        _gather_by(unit)
    _spread(model.hf, mesh, reshard=False)
    _gather_by(model.hf)


def _times(module: nn.Module) -> Counter[nn.Parameter]:
    """In how many places of a module each parameter stands."""
    return Counter(p for _, p in module.named_parameters(remove_duplicate=False))


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
