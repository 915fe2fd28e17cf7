"""Weights straight from the trainer's memory to a server's: over NCCL between GPUs, over gloo where there are none.

Each server is in a group of its own with this process, rank 0: one that fails spoils nothing for the others. vLLM has
the other end of NCCL itself. That of gloo is a plugin of ours, read from `gloo_plugin/` by the server's interpreter.
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import torch
import torch.cuda.nccl
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore
from torch.distributed import ProcessGroupGloo

from postlude.engines.settings import Servers

if TYPE_CHECKING:
    from postlude.engines.servers.fleet import Member

PLUGIN = Path(__file__).parent / "gloo_plugin"
"""For a server's PYTHONPATH."""
BACKEND = "postlude-gloo"
"""What the plugin is called in a server's --weight-transfer-config; vLLM's own between GPUs is `nccl`."""
NAME = "postlude"
"""Of the group, in the store where its members find each other."""
MEETING = 120.0
"""Seconds that either end of gloo waits for the other."""
nccl: Any = torch.cuda.nccl
"""Whose functions say nothing of types."""


class Link(Protocol):
    """This process's end of a group with one server."""

    def info(self) -> dict[str, Any]:
        """What the server needs to join."""
        ...

    def meet(self) -> None:
        """Wait until every process of the server has joined. Blocks; raises RuntimeError."""
        ...

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        """Broadcast all, in their order. Blocks; raises RuntimeError."""
        ...

    def close(self) -> None: ...


@dataclass
class GlooLink:
    """Over gloo, on the address that this process has towards the server: loopback, where it is on this host."""

    host: str
    ranks: int
    """Processes of the server."""
    seconds: float
    """Until one who waits for the other gives up."""
    _group: Any = None
    _store: Any = field(init=False)
    _socket: socket.socket = field(init=False)

    def __post_init__(self) -> None:
        self._socket = socket.create_server((self.host, 0))  # torch's own would listen to every address
        self._store = TCPStore(
            self.host,
            self._socket.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=self.seconds),
            master_listen_fd=self._socket.detach(),
        )

    def info(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self._store.port,
            "name": NAME,
            "world_size": self.ranks + 1,
            "rank_offset": 1,
            "seconds": self.seconds,
        }

    def meet(self) -> None:
        kind: Any = ProcessGroupGloo  # whose options have no public name
        options = kind._Options()
        options._devices = [kind.create_device(hostname=self.host)]
        options._timeout = timedelta(seconds=self.seconds)
        self._group = kind(PrefixStore(NAME, self._store), 0, self.ranks + 1, options)

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        for tensor in tensors.values():
            self._group.broadcast(tensor.cpu().contiguous().view(-1).view(torch.uint8), 0).wait()

    def close(self) -> None:
        self._group = self._store = None


@dataclass
class NcclLink:
    """Over NCCL, from the trainer's GPU to those of a server. vLLM's own end of it, met by an id that we mint.

    Written by vLLM 0.32's and torch's source; no GPU has run it yet. NCCL has no limit of time: a server that dies in
    the middle leaves a broadcast on this GPU that nothing ends but the end of this process.
    """

    ranks: int
    """Processes of the server, each with a GPU of its own, none of them the trainer's."""
    device: torch.device
    _id: bytes = field(default_factory=lambda: bytes(nccl.unique_id()))
    _group: Any = None

    def info(self) -> dict[str, Any]:
        return {
            "nccl_unique_id_b64": base64.b64encode(self._id).decode(),
            "rank_offset": 1,
            "world_size": self.ranks + 1,
            "packed": False,
        }

    def meet(self) -> None:
        with torch.cuda.device(self.device):
            self._group = nccl.init_rank(self.ranks + 1, self._id, 0)
            nccl.all_reduce([torch.zeros(1, device=self.device)], comms=[self._group])  # what vLLM begins with
            torch.cuda.current_stream().synchronize()

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.cuda.device(self.device):
            for tensor in tensors.values():
                nccl.broadcast([tensor.to(self.device).contiguous()], 0, comms=[self._group])
            torch.cuda.current_stream().synchronize()

    def close(self) -> None:
        self._group = None


def over_nccl(servers: Servers, cuda: bool) -> bool:
    """Whether weights go from GPU to GPU: not where trainer and servers share one, which NCCL does not take twice."""
    return cuda and not servers.colocate


def backend(servers: Servers, cuda: bool) -> tuple[str, Path | None]:
    """What a server is told in --weight-transfer-config, and the folder of plugins that it needs for that."""
    return ("nccl", None) if over_nccl(servers, cuda) else (BACKEND, PLUGIN)


def connect(servers: Servers, device: torch.device, member: Member) -> Link:
    """This process's end of a new group with one server, for a trainer on `device`."""
    cuda = device.type == "cuda"
    ranks = servers.gpus if cuda else 1
    if over_nccl(servers, cuda):
        return NcclLink(ranks, device)
    return GlooLink(our_address(member.server.url), ranks, MEETING)


def described(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a server is told of the tensors that come, in their order."""
    return {
        "names": list(tensors),
        "dtype_names": [str(tensor.dtype).removeprefix("torch.") for tensor in tensors.values()],
        "shapes": [list(tensor.shape) for tensor in tensors.values()],
    }


def our_address(url: str) -> str:
    """The address of this machine that a server can reach, on the way to which nothing is sent."""
    parts = urlsplit(url)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((parts.hostname or "127.0.0.1", parts.port or 80))
        return str(probe.getsockname()[0])
