"""What trainer and servers may take of one GPU, and how deep servers sleep (`engine.servers.colocate`).

Arithmetic on what the trainer holds and the device has. It has not been measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor
from typing import Literal

import torch

from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.free import Free, free, give_back
from postlude.engines.servers.shelf import head_of
from postlude.engines.settings import Servers
from postlude.errors import EngineError
from postlude.models.tied import is_tied
from postlude.sizing.work import GIB
from postlude.words import counted

FLAG = "--gpu-memory-utilization"
Level = Literal[1, 2]
"""How deep servers sleep: 1 keeps their weights in host memory, 2 drops them; keys and values are dropped by both."""
SPARE = 0.1
"""Of the weights that sleep in host memory: the machine's other processes grow, too."""
LEAST_SPARE = 2 * GIB
CONTEXT = GIB
"""Bytes of a GPU that a process takes before it holds any tensor (context, libraries, graphs), asleep too."""
LEAST_CACHE = 0.2
"""Of a server's weights: what it takes for keys, values and one pass at the least."""
UNMEASURED = (
    "colocation was built and tested on CPUs; on a GPU nothing of it was measured: look at the first steps' memory"
)


@dataclass(frozen=True)
class Sharing:
    """What was chosen for servers on the trainer's device."""

    level: Level
    most: float | None
    """Of the GPU, that each server may take; None on a CPU."""


@dataclass(frozen=True)
class Device:
    """Bytes of a GPU: all, and those that nobody has now, with the trainer's cached blocks given back."""

    total: int
    free: int


def sharing(engine: LocalEngine, servers: Servers, adapters: bool, say: Callable[[str], None]) -> Sharing:
    """How servers share a device with what an engine holds there now; `say` hears of it. Raises EngineError where they
    cannot."""
    held, device = engine.held_bytes(), engine.model.device
    count = servers.count or len(servers.urls)
    head = head_of(engine.model.net)[1] if is_tied(engine.model.net) else None
    weights = held["weights"] + (head.numel() * head.element_size() if head is not None else 0)
    level, line = depth(weights, count, free(torch.device("cpu")), adapters)
    say(line)
    if device.type != "cuda":
        return Sharing(level, None)
    give_back()
    left, total = torch.cuda.mem_get_info(device)
    most = utilization(Device(total, left), held, torch.cuda.memory_allocated(device), weights, count)
    say(f"each server may take {most:.0%} of the GPU, beside what the trainer holds between its steps")
    if any(word.replace("_", "-").startswith(FLAG) for word in servers.args):
        say(f"engine.servers.args has a {FLAG} of its own, which stands")
    say(UNMEASURED)
    return Sharing(level, most)


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"


def depth(weights: int, count: int, room: Free, adapters: bool) -> tuple[Level, str]:
    """How deep `count` servers with so many bytes of weights each sleep, and a line that says so.

    Level 1 where host memory has room for all of them beside a margin. Under `adapters` always: a publication would
    bring back the adapter alone.
    """
    asked = count * weights
    fits = asked + max(SPARE * asked, LEAST_SPARE) <= room.bytes
    if fits or adapters:
        line = f"servers sleep at level 1: their weights ({gib(asked)}) wait in host memory"
        short = "" if fits else f", which may be too small ({gib(room.bytes)} are free, by {room.bound})"
        return 1, line + short
    return 2, (
        f"servers sleep at level 2: host memory has no room for their weights ({gib(asked)}; {gib(room.bytes)} are "
        f"free, by {room.bound}), which are dropped and come back with the next publication"
    )


def utilization(device: Device, held: Mapping[str, int], present: int, served: int, count: int) -> float:
    """What `--gpu-memory-utilization` says to each of `count` servers: the share of the device that it may take.

    `held`: bytes that the trainer holds between steps, once it has taken one, by name; `present`: those of them that
    it holds already; `served`: bytes of the weights of a server. Rounded down to a hundredth, so never more than is
    left. Raises EngineError where that is too little to serve with.
    """
    missing = max(0, sum(held.values()) - present)
    left = (device.free - missing - CONTEXT) / count
    share = floor(100 * left / device.total) / 100
    if share * device.total < (1 + LEAST_CACHE) * served + CONTEXT:
        parts = ", ".join(f"{name} {gib(size)}" for name, size in held.items())
        raise EngineError(
            f"engine.servers.colocate: of this GPU's {gib(device.total)} the trainer holds {gib(sum(held.values()))} "
            f"({parts}), which leaves {gib(max(0.0, left) * count)} for {counted(count, 'server')}; the weights of one "
            f"take {gib(served)}, keys and values come on top. Train an adapter (model.lora.rank=16), hold it in "
            "bfloat16, or give trainer and servers a GPU each: engine.servers.colocate=false",
            code="out-of-memory",
        )
    return share
