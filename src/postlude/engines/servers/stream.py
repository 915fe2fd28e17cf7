"""Weights straight from the trainer's memory to a server's: over NCCL between GPUs, over gloo where there are none.

Each server is in a group of its own with this process, rank 0: one that fails spoils nothing for the others. vLLM has
the other end of NCCL itself. That of gloo is a plugin of ours, read from `gloo_plugin/` by the server's interpreter.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import torch
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


def connect(servers: Servers, member: Member) -> Link:
    """A group with one server, which it is asked to join."""
    return GlooLink(our_address(member.server.url), servers.gpus, servers.start_timeout)
