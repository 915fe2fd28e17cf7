"""`python -m bench.scale_ranks`: each part prints a table and whether it holds. Exit 1 where one does not.

Parts are processes of their own, some at the same time: most of each is one process after another that starts.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import cast

from bench.scale_servers.processes import below
from postlude.engines.logs import last_lines
from postlude.errors import PostludeError

PARTS: Mapping[str, str] = {
    "together": "ranks and a vLLM server, both killed on the way",
    "driver": "the driver killed at ten instants",
    "kills": "a rank killed in forward, backward, step and save",
    "gradients": "the gradient of one process, by method, model and path",
    "cluster": "three nodes, one killed",
    "recipes": "the tiny recipes with 1 and 2 ranks",
    "resumed": "2 ranks resumed with 1 and 3",
}
"""Modules of this package, those that take longest first. Each has `run(folder) -> bool`: prints, and says whether it
holds."""
LANES = 3
"""Parts at the same time."""
LOOK = 0.25
"""Seconds between two looks at what every process has used: Ray does not count its own. What one uses after the last
look at it is missing."""
TAIL = 12
"""Lines of what a part said on stderr, where it does not hold."""
PR_SET_CHILD_SUBREAPER = 36
Run = Callable[[Path], bool]


@dataclass(frozen=True)
class Result:
    """Of one part."""

    name: str
    holds: bool
    text: str
    """What it printed."""
    seconds: float
    processor: float
    """Seconds of processor time, of everything that it started."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.scale_ranks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--folder", type=Path, default=Path("scale-ranks"), help="where runs go")
    parser.add_argument("--lanes", type=int, default=LANES, help="parts at the same time")
    parser.add_argument("--here", action="store_true", help="one part, in this process")
    asked = parser.parse_args(words)
    folder = asked.folder.absolute()
    if asked.here:
        return 0 if _holds(asked.only[0], folder / asked.only[0]) else 1
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return _all(asked.only, folder, asked.lanes)


def _all(names: Sequence[str], folder: Path, lanes: int) -> int:
    started, results = time.monotonic(), list[Result]()
    with ProcessPoolExecutor(lanes, get_context("fork")) as pool:
        for done in as_completed([pool.submit(_measured, name, folder) for name in names]):
            results.append(done.result())
            print(_shown(results[-1]), flush=True)
    lost = [one.name for one in results if not one.holds]
    print(f"{len(results) - len(lost)} parts hold, {len(lost)} do not{': ' if lost else ''}{', '.join(lost)}")
    total = sum(one.processor for one in results)
    print(f"{time.monotonic() - started:.0f} s, {total:.0f} s of processor time")
    return 1 if lost else 0


def _shown(one: Result) -> str:
    verdict = "holds" if one.holds else "DOES NOT HOLD"
    figures = f"{one.seconds:.0f} s, {one.processor:.0f} s of processor time, load {os.getloadavg()[0]:.1f}"
    return f"\n{one.name}: {PARTS[one.name]}\n{one.text}{one.name}: {verdict}, {figures}"


def _measured(name: str, folder: Path) -> Result:
    """Run a part as a process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # so that what it leaves behind is below this one
    words = [sys.executable, "-m", "bench.scale_ranks", "--only", name, "--folder", str(folder), "--here"]
    started, used, log = time.monotonic(), dict[tuple[int, str], float](), folder / f"{name}.log"
    with log.open("wb") as file, log.with_suffix(".err").open("wb") as errors:
        part = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=errors)
    while part.poll() is None:
        used |= {(one.pid, one.started): one.processor for one in below(os.getpid())}
        time.sleep(LOOK)
    seconds = time.monotonic() - started
    text = log.read_text()
    if part.returncode:
        text += "\n".join([*last_lines(log.with_suffix(".err"))[-TAIL:], ""])
    return Result(name, part.returncode == 0, text, seconds, sum(used.values()))


def _holds(name: str, folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return cast("Run", import_module(f"bench.scale_ranks.{name}").run)(folder)
    except PostludeError as error:
        print(f"it did not come to its end: {error}")
        return False


if __name__ == "__main__":
    sys.exit(main())
