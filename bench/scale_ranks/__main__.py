"""`python -m bench.scale_ranks`: each part prints a table and whether it holds. Exit 1 where one does not."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from postlude.errors import PostludeError

PARTS: Mapping[str, str] = {
    "gradients": "the gradient of one process, by method, model and path",
    "recipes": "the tiny recipes with 1 and 2 ranks",
    "kills": "a rank killed in forward, backward, step and save",
    "resumed": "2 ranks resumed with 1 and 3",
    "cluster": "three nodes, one killed",
    "driver": "the driver killed at ten instants",
    "together": "ranks and a vLLM server, both killed on the way",
}
"""Modules of this package, in the order they run. Each has `run(folder) -> bool`: prints, and says whether it holds."""
Run = Callable[[Path], bool]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scale_ranks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, default=Path("scale-ranks"), help="where runs go")
    asked = parser.parse_args(words)
    folder = asked.folder.absolute()
    results = {name: _measured(name, folder / name) for name in asked.only}
    lost = [name for name, holds in results.items() if not holds]
    print(f"{len(results) - len(lost)} parts hold, {len(lost)} do not{': ' if lost else ''}{', '.join(lost)}")
    return 1 if lost else 0


def _measured(name: str, folder: Path) -> bool:
    print(f"\n{name}: {PARTS[name]}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    try:
        part = cast("Run", import_module(f"bench.scale_ranks.{name}").run)
        holds = part(folder)
    except PostludeError as error:
        print(f"it did not come to its end: {error}")
        holds = False
    print(f"{name}: {'holds' if holds else 'DOES NOT HOLD'}, {time.monotonic() - started:.0f} s", flush=True)
    return holds


if __name__ == "__main__":
    sys.exit(main())
