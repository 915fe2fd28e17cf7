"""`python -m bench.scale`: a table of each part, with the machine and its load at that moment."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import cast

from postlude.models.quiet import quiet

PARTS: Mapping[str, str] = {
    "driver": "the driver's share of a step, CPU seconds on one core",
    "answers": "answers of a server, read and checked, on one core",
    "weights": "a version of the weights on its way, seconds",
    "ranks": "updates on one process and on ranks, tokens a second",
    "pool": "runs with a server, tokens a second",
}
"""Modules of this package. Each has `run(folder) -> bool`: prints, and says whether what is promised holds."""
PACKAGES = ("torch", "transformers", "numpy", "ray")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scale", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, default=Path("bench-scale"), help="where models and runs go")
    asked = parser.parse_args(words)
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}")
    lost = [name for name in asked.only if not _measured(name, asked.folder.absolute() / name)]
    return 1 if lost else 0


def _measured(name: str, folder: Path) -> bool:
    print(f"\n{name}: {PARTS[name]} (load {os.getloadavg()[0]:.1f})", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    with quiet():
        holds = cast("Callable[[Path], bool]", import_module(f"bench.scale.{name}").run)(folder)
    print(f"({time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f})", flush=True)
    return holds


if __name__ == "__main__":
    sys.exit(main())
