"""What a sandbox is asked for, and by what means it does it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("numpy",)
"""Those beyond the standard library that a sandbox can have, where they are installed."""


@dataclass(frozen=True)
class Limits:
    """Of one run of a program."""

    seconds: float = 5.0
    """Of processor time; by the clock it may take `inside.clock.CLOCK` times as long."""
    memory: int = 1024
    """MiB of address space."""
    output: int = 1 << 20
    """Bytes it may print; more ends it."""
    scratch: int = 0
    """MiB of files it may write in its folder; 0 is no files at all."""
    packages: tuple[str, ...] = ()
    """Of PACKAGES, that it may import."""


@dataclass(frozen=True)
class Backend:
    """Which layers a worker puts around a program."""

    name: str
    namespaces: bool = False
    landlock: bool = False
    bubblewrap: bool = False
    locked: bool = True
    """False only for `unsafe-none`: neither seccomp nor anything else."""


UNSAFE = Backend("unsafe-none", locked=False)
LADDER = (
    Backend("landlock + seccomp + namespaces", namespaces=True, landlock=True),
    Backend("landlock + seccomp", landlock=True),
    Backend("bubblewrap + seccomp", bubblewrap=True),
)
"""Strongest first."""


def folder_of(package: str) -> Path | None:
    """Where a package is installed; None where it is not."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parents[1] if spec is not None and spec.origin is not None else None
