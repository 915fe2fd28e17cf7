"""The server's end of a transfer: tensors by broadcast from rank 0, loaded as those of a checkpoint are."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch.distributed import PrefixStore, ProcessGroupGloo, TCPStore
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload


@dataclass
class GlooInit(WeightTransferInitInfo):
    """Where the trainer waits, under which name of this membership, and for how long either waits for the other."""

    host: str
    port: int
    name: str
    world_size: int
    rank_offset: int
    seconds: float


@dataclass
class GlooUpdate(WeightTransferUpdateInfo):
    """The tensors that come, in their order."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]


class GlooEngine(WeightTransferEngine[GlooInit, GlooUpdate]):
    """Weights over gloo."""

    init_info_cls = GlooInit
    update_info_cls = GlooUpdate

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self.group: ProcessGroupGloo | None = None

    def init_transfer_engine(self, init_info: GlooInit) -> None:
        self.shutdown()
        wait = timedelta(seconds=init_info.seconds)
        store = TCPStore(init_info.host, init_info.port, is_master=False, timeout=wait)
        options = ProcessGroupGloo._Options()
        options._devices = [ProcessGroupGloo.create_device(hostname=init_info.host)]
        options._timeout = wait
        parallel = self.parallel_config
        rank = init_info.rank_offset + parallel.data_parallel_index * parallel.world_size + parallel.rank
        self.group = ProcessGroupGloo(PrefixStore(init_info.name, store), rank, init_info.world_size, options)

    def start_weight_update(self) -> None:
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        # without the synchronisation that the class above ends with: it raises where there is no accelerator
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: GlooUpdate) -> None:
        self.model.load_weights(self._arriving(update_info))

    def _arriving(self, update: GlooUpdate) -> Any:
        if self.group is None:
            raise RuntimeError("no trainer has been met: init_weight_transfer_engine comes first")
        for name, dtype, shape in zip(update.names, update.dtype_names, update.shapes, strict=True):
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            self.group.broadcast(tensor.view(-1).view(torch.uint8), 0).wait()
            yield name, tensor.to(self.device)

    def finish_weight_update(self) -> None:
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        self.group = None
