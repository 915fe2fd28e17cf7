"""Which GPUs this process sees, counted without torch where the system shows them as files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

OTHER = ("kfd", "dxg")
"""Devices behind which torch alone knows how many GPUs there are: AMD's, and those of a Windows host."""


def gpus_here(outer: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> int:
    """What `torch.cuda.device_count` would say, from the devices there and CUDA_VISIBLE_DEVICES."""
    count = sum(re.fullmatch(r"nvidia\d+", name) is not None for name in os.listdir(devices))
    if not count and any((devices / name).exists() for name in OTHER):
        import torch

        return torch.cuda.device_count()
    visible = outer.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return count
    named = takewhile(lambda name: _is_there(name.strip(), count), visible.split(","))
    return min(count, sum(1 for _ in named))


def visible_devices(count: int, outer: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs of this process, `count` in number, by the names that CUDA_VISIBLE_DEVICES takes."""
    names = [name.strip() for name in outer.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return names[:count] if names else [str(index) for index in range(count)]


def _is_there(name: str, count: int) -> bool:
    """CUDA takes names up to the first that it does not know; others than numbers (GPU-..., MIG-...) are believed."""
    return int(name) < count if name.isdigit() else re.match(r"(?:GPU|MIG)-", name) is not None
