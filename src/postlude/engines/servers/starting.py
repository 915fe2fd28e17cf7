"""From a recipe's `engine` to what its servers are started with."""

from __future__ import annotations

from postlude.engines.gpus import visible_devices
from postlude.engines.servers.command import Launch, share_devices, threads_of
from postlude.engines.servers.interpreter import inspect
from postlude.engines.servers.stream import backend
from postlude.engines.settings import Local
from postlude.errors import ConfigError
from postlude.models.lora import SERVED_RANKS, served_rank

GREETING = 64
"""Tokens that a handshake asks for, prompt included."""


def launch_of(
    held: Local, longest: int, seed: int, rank: int | None, way: str, gpus: int, most: float | None = None
) -> Launch:
    """What each server is started with. `longest`: tokens of the longest prompt and answer; `rank`: of the adapters
    that are published, if any; `gpus`: that this process sees, 0 on a CPU; `most`: share of a GPU that each may take,
    vLLM's own choice where it is None.

    Raises ConfigError where the interpreter, `args`, the rank or the GPUs will not do.
    """
    servers = held.servers
    assert servers is not None and servers.count is not None and servers.python is not None
    devices = (
        share_devices(servers.count, servers.gpus, visible_devices(gpus), servers.colocate, held.trainers)
        if gpus
        else ()
    )
    transfer, plugins = backend(servers, bool(gpus)) if way == "stream" else (None, None)
    return Launch(
        python=inspect(servers.python).python,
        dtype=held.dtype,
        max_length=max(longest, GREETING),
        seed=seed,
        lora_rank=None if rank is None else _room_for(rank),
        transfer=transfer,
        plugins=plugins,
        sleeps=servers.colocate,
        most=most,
        gpus=servers.gpus if gpus else 1,
        devices=devices,
        threads=threads_of(servers.count),
        start_timeout=servers.start_timeout,
        args=servers.args,
    )


def _room_for(rank: int) -> int:
    """The rank that servers are told to make room for."""
    bound = served_rank(rank)
    if bound is None:
        raise ConfigError(
            f"model.lora: adapters of rank {rank} are trained (with what they begin from), and vLLM loads them up to "
            f"{SERVED_RANKS[-1]}. Lower model.lora.rank, or begin from a merged model (postlude export).",
            code="not-supported",
            key="model.lora.rank",
        )
    return bound
