"""What a recipe's servers need of this machine, looked at before a model loads: an interpreter, addresses, GPUs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from postlude.engines.gpus import visible_devices
from postlude.engines.servers import interpreter
from postlude.engines.servers.addresses import private_urls
from postlude.engines.servers.command import share_devices
from postlude.engines.settings import Servers
from postlude.errors import ConfigError, Problem
from postlude.prepared import Prepared


def problems_of_servers(prepared: Prepared) -> list[Problem]:
    """Everything that is wrong; what was seen is in `prepared`. Starts nothing and connects to nobody."""
    recipe = prepared.recipe
    servers = recipe.servers
    if servers is None:
        return []
    problems: list[Problem] = []

    def attempt(step: Callable[[], Any]) -> None:
        try:
            step()
        except ConfigError as error:
            problems.extend(error.problems)

    if servers.urls:
        attempt(lambda: private_urls(servers.urls))
    else:
        attempt(lambda: _interpreter(prepared, servers))
        attempt(lambda: _devices(prepared, servers))
    return problems


def _interpreter(prepared: Prepared, servers: Servers) -> None:
    assert servers.python is not None
    prepared.vllm = interpreter.inspect(servers.python)
    if prepared.vllm.note:
        prepared.notes.append(prepared.vllm.note)


def _devices(prepared: Prepared, servers: Servers) -> None:
    import torch

    held = prepared.recipe.engine
    if held.device == "cpu" or not torch.cuda.is_available():
        prepared.notes += without_gpus(servers, held.device)
        return  # that cuda was asked for and is not here is told where the model is held
    visible = visible_devices(torch.cuda.device_count())
    prepared.devices = share_devices(servers.count or 1, servers.gpus, visible, servers.colocate, held.trainers)


def without_gpus(servers: Servers, device: str) -> list[str]:
    """What is given for GPUs, where servers run on the CPU; of device cpu the recipe itself says that gpus are idle."""
    notes: list[str] = []
    if servers.gpus != 1 and device != "cpu":
        notes.append("engine.servers.gpus: no effect here, since this process sees no GPU: the servers are on the CPU")
    if servers.colocate:
        notes.append(
            "engine.servers.colocate: saves no memory here, since the servers are on the CPU. They are put to sleep "
            "and woken all the same: good for trying a recipe that is meant for one GPU"
        )
    return notes
