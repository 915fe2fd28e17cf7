"""The short form that the suite runs: two kills in every family, and samples of everything else."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.faults.outcome import Bench
from bench.faults.parallel import Row
from bench.faults.shim import Shim
from bench.faults.trial import RESUME, START, Ended, command

AT = (230, 177, 204, 251, 190)
"""The operation at which a run is killed: families take these in turn."""
AGAIN = 23
"""That at which its resume is."""
MUTATED = ("hapo", "ppo, own critic")
"""Families whose every part of the state is left out."""


def killed_twice(bench: Bench, at: int) -> Iterator[Row]:
    """The process kills itself at an operation, and at another as it is resumed; then the run goes on to its end."""
    bench.clear()
    ended = [_killed(bench, START, at), _killed(bench, RESUME, AGAIN), *bench.continued()]
    kind, detail = bench.judged(ended)
    kills = sum(one.killed for one in ended)
    yield {"family": bench.family.name, "kills": kills, "kind": kind, "detail": detail}


def _killed(bench: Bench, arguments: Sequence[str], at: int) -> Ended:
    shim = Shim(str(bench.run))
    shim.on_operation = lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == at else None
    return command(bench.place, arguments, shim.install)


def folder_of(place: Path) -> Path:
    """Beside the place of a bench, for what is kept of its runs."""
    return place.with_name(place.name + "-store")
