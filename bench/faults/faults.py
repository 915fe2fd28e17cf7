"""Every operation on the files of a run, and of a resume, fails once."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.faults.folder import bytes_of
from bench.faults.outcome import Bench, Outcome
from bench.faults.shim import SPACE, Fault, Shim
from bench.faults.trial import RESUME, START, Ended, command, start

RECORDING = 600.0
"""Seconds that a command may take whose folder is copied at every operation."""
Chosen = Callable[[int], bool]
"""Whether a trial, by its number, is to be made."""


def every(number: int) -> bool:
    """All of them."""
    return True


@dataclass
class Recorder:
    """Keeps, at every operation of a command, what a process killed there leaves, and what a power failure leaves.

    Folders that are the same are kept once. Nothing of a killed process outlives it but its files, so that resuming
    such a copy is resuming after a kill.
    """

    shim: Shim
    target: Path
    known: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def __call__(self, number: int) -> None:
        with self.shim.paused():
            self._keep("kill", number, {})
            lost = {p: n for p, n in self.shim.synced.items() if os.path.isfile(p) and os.stat(p).st_size > n}
            if lost:
                self._keep("power", number, lost)

    def _keep(self, fault: str, number: int, lost: dict[str, int]) -> None:
        folder = Path(self.shim.folder)
        if not folder.is_dir():
            return
        copy = self.target / f"{fault}-{number}"
        shutil.copytree(folder, copy, symlinks=True)
        for path, size in lost.items():
            os.truncate(copy / Path(path).relative_to(folder), size)
        digest = json.dumps(sorted(bytes_of(copy).items()))
        if (fault, digest) in self.known or (fault == "power" and ("kill", digest) in self.known):
            shutil.rmtree(copy)
        else:
            self.known[fault, digest] = number

    def write(self) -> None:
        """The operations, beside the folders."""
        with self.shim.paused():
            facts = {"log": self.shim.log, "unsteady": self.shim.unsteady}
            (self.target / "log.json").write_text(json.dumps(facts))


@dataclass(frozen=True)
class Recorded:
    """What a command does to its folder."""

    log: Sequence[str]
    unsteady: int
    folders: Sequence[tuple[str, int, Path]]
    """(kill or power, number of the operation, what is left), in order."""


def record(bench: Bench, arguments: Sequence[str], target: Path) -> Recorded:
    """Run a command, and keep its folder at every operation."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shim = Shim(str(bench.run))
    recorder = Recorder(shim, target)
    shim.on_operation = recorder
    ended = start(bench.place, arguments, shim.install, recorder.write).wait(RECORDING)
    if ended.code != bench.family.code:
        raise RuntimeError(f"{bench.family.name}: {ended.text[-2000:]}")
    facts = json.loads((target / "log.json").read_text())
    parts = [(*p.name.split("-"), p) for p in target.iterdir() if p.is_dir()]
    folders = sorted(((fault, int(number), p) for fault, number, p in parts), key=lambda one: (one[1], one[0]))
    return Recorded(facts["log"], facts["unsteady"], folders)


def failing(bench: Bench, arguments: Sequence[str], fault: Fault) -> Ended:
    """A command with an operation that fails as on a full disk."""
    return command(bench.place, arguments, Shim(str(bench.run), fault).install)


def trials(bench: Bench, store: Path, chosen: Chosen = every) -> Iterator[Outcome]:
    """Each operation of a run, then each of a resume from the middle of it: killed, power lost, disk full."""
    middle = middle_of(bench, store / "middle")
    bench.clear()
    run = record(bench, START, store / "run")
    yield from _of_command(bench, "run", START, run, None, chosen)
    bench.put(middle)
    resume = record(bench, RESUME, store / "resume")
    yield from _of_command(bench, "resume", RESUME, resume, middle, chosen)


def middle_of(bench: Bench, target: Path) -> Path:
    """A copy of a run that was killed as its third checkpoint was begun."""
    bench.clear()
    shim = Shim(str(bench.run))
    shim.on_operation = lambda number: _kill() if ".step-000003" in shim.log[number - 1] else None
    ended = command(bench.place, START, shim.install)
    if not ended.killed:
        raise RuntimeError(f"{bench.family.name}: {ended.text[-2000:]}")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(bench.run, target, symlinks=True)
    return target


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _of_command(
    bench: Bench, part: str, arguments: Sequence[str], recorded: Recorded, before: Path | None, chosen: Chosen
) -> Iterator[Outcome]:
    number = 0
    for fault, at, folder in recorded.folders:
        number += 1
        if chosen(number):
            bench.put(folder)
            kind, detail = bench.judged(bench.continued())
            yield Outcome(bench.family.name, part, fault, recorded.log[at - 1], kind, detail)
    places = list(enumerate(recorded.log, 1))
    faults = [Fault(n) for n, _ in places]
    faults += [Fault(n, stays=True) for n, operation in places if operation.rpartition(" ")[0] in SPACE]
    faults += [Fault(n, unsteady=True) for n in range(1, recorded.unsteady + 1, 4)]
    for fault in faults:
        number += 1
        if not chosen(number):
            continue
        if before is None:
            bench.clear()
        else:
            bench.put(before)
        ended = failing(bench, arguments, fault)
        commands = [ended] if ended.code == bench.family.code else [ended, *bench.continued()]
        kind, detail = bench.judged(commands)
        where = "live.json" if fault.unsteady else recorded.log[fault.at - 1]
        yield Outcome(bench.family.name, part, "stays full" if fault.stays else "full once", where, kind, detail)
