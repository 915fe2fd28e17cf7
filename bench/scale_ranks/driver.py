"""`postlude train` killed at ten instants of one run: what is left of it, and whether it goes on exactly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.scale_ranks.runs import HANGS, LOOK, Training, start, steps_of, to_the_end, undisturbed, weights_of

GONE = 60.0
"""Seconds in which everything that was started has to end."""
Instant = Callable[[Path], bool]
"""Whether a run has come to it."""


def run(folder: Path) -> bool:
    """Prints a row for each kill; whether nothing was left and the weights are those of a run that nobody disturbed."""
    folder = folder.parent / "runs"
    before = undisturbed(folder)
    print(f"{'killed':<46}{'processes':>10}{'gone after':>12}{'at step':>9}")
    clean = True
    for name, instant in INSTANTS.items():
        process, row = _killed(folder, instant)
        clean = clean and row.seconds <= GONE
        print(f"{name:<46}{len(process.seen):>10}{row.seconds:>10.1f} s{row.step:>9}", flush=True)
        for words in process.left():
            print(f"    left: {words.words[:100]}")
    resumed = to_the_end(folder, "killed")
    equal = weights_of(folder / "killed") == before
    print(f"weights after {len(INSTANTS)} kills: {'the same bytes' if equal else 'OTHERS'} as undisturbed")
    return resumed and clean and equal


@dataclass(frozen=True)
class Row:
    """Of one kill."""

    seconds: float
    """Until nothing was left of it."""
    step: int
    """Of events.jsonl by then."""


def _logs(run_folder: Path, name: str) -> int:
    return len([*(run_folder / "ranks").glob(f"{name}*.log")])


def _after_log(name: str, seconds: float = 0.0) -> Callable[[Path], Instant]:
    """An instant some time after another log of this name is there."""

    def begin(run_folder: Path) -> Instant:
        known, since = _logs(run_folder, name), [0.0]

        def reached(place: Path) -> bool:
            if not since[0] and _logs(place, name) > known:
                since[0] = time.monotonic()
            return bool(since[0]) and time.monotonic() >= since[0] + seconds

        return reached

    return begin


def _after_step(more: int, seconds: float = 0.0) -> Callable[[Path], Instant]:
    """An instant some time after so many further steps."""

    def begin(run_folder: Path) -> Instant:
        known, since = steps_of(run_folder), [0.0]

        def reached(place: Path) -> bool:
            if not since[0] and steps_of(place) >= known + more:
                since[0] = time.monotonic()
            return bool(since[0]) and time.monotonic() >= since[0] + seconds

        return reached

    return begin


INSTANTS: dict[str, Callable[[Path], Instant]] = {
    "as Ray begins": _after_log("ray"),
    "while Ray starts": _after_log("ray", 1.0),
    "as the ranks begin": _after_log("rank-1"),
    "while the ranks import torch": _after_log("rank-1", 1.0),
    "after a step": _after_step(1),
    "after two steps, 0.01 s later": _after_step(2, 0.01),
    "after a step, 0.03 s later": _after_step(1, 0.03),
    "after three steps, 0.1 s later": _after_step(3, 0.1),
    "while the ranks meet": _after_log("rank-1", 3.0),
    "after a step, 0.2 s later": _after_step(1, 0.2),
}


def _killed(folder: Path, begin: Callable[[Path], Instant]) -> tuple[Training, Row]:
    """Go on with the run until that instant, and kill its process alone."""
    place = folder / "killed"
    reached = begin(place)
    process = start(folder, "killed")
    ends = time.monotonic() + HANGS
    while not reached(place) and process.running.poll() is None and time.monotonic() < ends:
        time.sleep(0.005)
    os.kill(process.running.pid, signal.SIGKILL) if process.running.poll() is None else None
    process.running.wait()
    since = time.monotonic()
    while process.left() and time.monotonic() < since + 2 * GONE:
        time.sleep(LOOK)
    return process, Row(time.monotonic() - since, steps_of(place))
