"""What a run stands on: library versions, threads, device and processor. Another one of them changes how sums round."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from postlude import __version__

LIBRARIES = ("torch", "transformers", "tokenizers", "peft", "safetensors", "numpy")
Surroundings = Mapping[str, Any]
"""`versions` by name, `threads`, `device` and `platform`."""


def surroundings(device: str, threads: int) -> Surroundings:
    """Of this process. `device`: where the engine holds the model; `threads`: how many it computes with."""
    versions = {"postlude": __version__, "python": platform.python_version()}
    return {
        "versions": versions | {name: one for name in LIBRARIES if (one := _version(name))},
        "threads": threads,
        "device": device_name(device),
        "platform": {"system": platform.system(), "machine": platform.machine(), "processor": processor()},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device_name(device: str) -> str:
    """The device, of a GPU with the name of its kind."""
    import torch

    if torch.device(device).type != "cuda":
        return device
    return f"{device} ({torch.cuda.get_device_name(device)})"


def processor() -> str:
    """The processor's name and the widest instructions that torch uses of it."""
    import torch

    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.processor()} ({torch.backends.cpu.get_cpu_capability()})"


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What differs, each as `torch 2.12.0 -> 2.13.0`; what is not known of one of the two is left out."""
    for key in ("versions", "platform"):
        old, new = before.get(key, {}), now.get(key, {})
        yield from (f"{name} {old[name]} -> {new[name]}" for name in new if old.get(name, new[name]) != new[name])
    for key in ("threads", "device"):
        if before.get(key, now[key]) != now[key]:
            yield f"{key} {before[key]} -> {now[key]}"
