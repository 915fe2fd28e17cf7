"""From a recipe's `engine` to what its servers are started with."""

from __future__ import annotations

from postlude.engines.servers.command import Launch, check_args, share_devices, threads_of, visible_devices
from postlude.engines.servers.interpreter import inspect
from postlude.engines.servers.stream import PLUGIN

from postlude.engines.settings import Local
from postlude.models.lora import Lora

GREETING = 64
"""Tokens that a handshake asks for, prompt included."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM makes room for."""


def launch_of(held: Local, longest: int, seed: int, lora: Lora | None, way: str, gpus: int) -> Launch:
    """What each server is started with. `longest`: tokens of the longest prompt and answer; `gpus`: that this process
    sees, 0 on a CPU. Raises ConfigError where the interpreter, `args` or the GPUs will not do."""
    servers = held.servers
    assert servers is not None and servers.count is not None and servers.python is not None
    check_args(servers.args)
    devices = share_devices(servers.count, servers.gpus, visible_devices(gpus), servers.colocate) if gpus else ()
    streams = way == "stream"
    return Launch(
        python=inspect(servers.python).python,
        dtype=held.dtype,
        max_length=max(longest, GREETING),
        seed=seed,
        lora_rank=min(rank for rank in RANKS if rank >= lora.rank) if lora else None,
        transfer=("nccl" if gpus else "postlude_gloo") if streams else None,
        plugins=PLUGIN if streams and not gpus else None,
        sleeps=servers.colocate,
        gpus=servers.gpus if gpus else 1,
        devices=devices,
        threads=threads_of(servers.count),
        start_timeout=servers.start_timeout,
        args=servers.args,
    )
