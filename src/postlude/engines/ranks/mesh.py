"""What a trainer asks of its ranks, over torch.distributed: gloo on CPUs, NCCL on GPUs."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from postlude.engines.local.model import LocalModel
from postlude.engines.ranks.crew import Place
from postlude.engines.ranks.shard import spread
from postlude.errors import EngineError
from postlude.models.spread import plain_class

BACKENDS = {"cpu": "gloo", "cuda": "cpu:gloo,cuda:nccl"}
"""By device; small numbers are always agreed on the CPU."""


class Mesh:
    """`Ranks` of one process group, which all of a process's models are spread over."""

    def __init__(self, place: Place, device: str = "cpu") -> None:
        """Join the others. Returns once all of them are there."""
        self.rank, self.size = place.rank, place.size
        if not dist.is_initialized():  # an engine of before, which is gone
            dist.init_process_group(
                BACKENDS[device],
                init_method=place.address,
                rank=place.rank,
                world_size=place.size,
                timeout=timedelta(seconds=place.timeout),
            )
        self._mesh = init_device_mesh(device, (place.size,))
        self.beside = 1 if device == "cuda" else self._on_this_host()

    def _on_this_host(self) -> int:
        names = [""] * self.size
        dist.all_gather_object(names, socket.gethostname())
        return names.count(names[self.rank])

    def shard(self, model: LocalModel) -> None:
        apart = self.most([spread(model, self._mesh)])[0]
        if not apart <= 1:
            raise EngineError(
                f"{plain_class(model.hf).__name__}, run {model.path}, does not give its own numbers or gradients where "
                f"its weights are spread over {self.size} trainers. Use engine.trainers=1.",
                code="not-supported",
            )

    def most(self, numbers: Sequence[float]) -> list[float]:
        return _agreed(numbers, dist.ReduceOp.MAX)

    def total(self, numbers: Sequence[float]) -> list[float]:
        return _agreed(numbers, dist.ReduceOp.SUM)

    def add(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def whole(self, tensor: Tensor) -> Tensor:
        return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor

    def rows(self, tensor: Tensor) -> tuple[int, int] | None:
        if not isinstance(tensor, DTensor):
            return None
        shape, offset = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
        return offset[0], offset[0] + shape[0]

    def part(self, tensor: Tensor) -> Tensor:
        if isinstance(tensor, DTensor):
            return tensor.to_local()
        return tensor if self.rank == 0 else tensor.new_empty(0)

    @torch.no_grad()
    def put(self, target: Tensor, whole: Tensor) -> None:
        if not isinstance(target, DTensor):
            target.copy_(whole)
            return
        spread_out = distribute_tensor(
            whole.to(target.device), target.device_mesh, target.placements, src_data_rank=None
        )
        target.to_local().copy_(spread_out.to_local())


def _agreed(numbers: Sequence[float], by: dist.ReduceOp.RedOpType) -> list[float]:
    if not numbers:
        return []
    tensor = torch.tensor([float(x) for x in numbers], dtype=torch.float64)
    dist.all_reduce(tensor, by)
    agreed: list[float] = tensor.tolist()
    return agreed
