"""The runs of a comparison, one after the other or several in processes of their own: what is finished is not run
again, what was stopped goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from postlude.contest.plan import Contest, Job
from postlude.contest.results import PEAKS, Result, peaks_in, result_of
from postlude.errors import PostludeError, TrainingError
from postlude.launch import launch
from postlude.runs.events import Event
from postlude.runs.figures import lookup
from postlude.statistics import mean

POLL = 0.2
"""Seconds between looks at processes."""
STOPPED, FAILED = 3, 2
"""How a worker ends whose run was stopped, or failed."""

Listen = Callable[[Job, str], Callable[[Event], None]]
"""(job, `2 of 9`) -> who hears of its events."""
Say = Callable[[str], None]


@dataclass
class Work:
    """What is done of a comparison, and who hears of it."""

    contest: Contest
    folder: Path
    listen: Listen | None = None
    say: Say = lambda text: None
    processes: int = 1
    stopped: int = 0
    """The signal that stopped it; what there is stays, and can be gone on from."""
    failed: dict[str, str] = field(default_factory=dict[str, str])
    """Place of a run -> why it failed."""

    def run(self) -> None:
        """The runs that choose settings, then those that are reported."""
        self.run_trials()
        if self.stopped:
            return
        chosen, jobs = self.chosen(), list[Job]()
        for job in self.contest.runs(chosen):
            if self.contest.tuning is None or job.arm in chosen:
                jobs.append(job)
            else:  # untuned it must not stand beside tuned ones
                self._fail(job, "no value of the sweep could be tried for its arm")
        self._all(jobs)

    def run_trials(self) -> None:
        """Those that choose settings, alone."""
        self._all([*self.contest.trials()])

    def chosen(self) -> dict[str, dict[str, str]]:
        """Arm -> the settings that were best by the data to choose by; empty before all values were tried."""
        if self.contest.tuning is None:
            return {}
        return {arm: best.settings for arm, best in choices(self.contest, self.folder).items()}

    def _all(self, jobs: Sequence[Job]) -> None:
        todo = [job for job in jobs if result_of(job, self.folder, {}).state != "finished"]
        if len(todo) < len(jobs):
            self.say(f"{len(jobs) - len(todo)} of {len(jobs)} runs are finished already")
        if self.processes > 1:
            self._side_by_side(todo)
            return
        for number, job in enumerate(todo, 1):
            if self.stopped:
                return
            self._one(job, f"{number} of {len(todo)}")

    def _one(self, job: Job, place: str) -> None:
        listeners = [self.listen(job, place)] if self.listen else []
        try:
            self.stopped = run_job(self.contest, self.folder, job, listeners)
        except PostludeError as error:
            self._fail(job, str(error))

    def _fail(self, job: Job, why: str) -> None:
        self.failed[job.place] = why
        self.say(f"{job.place} failed: {why}")

    # ------------------------------------------------------------------------------------------- in processes

    def _side_by_side(self, todo: Sequence[Job]) -> None:
        """Each run in a process of its own, so many at a time. The first signal lets all finish their step and save,
        the second ends them."""
        waiting, at_work = [*todo], dict[str, tuple[Job, subprocess.Popen[str]]]()
        with self._heard(), _ended_with(at_work):
            while waiting or at_work:
                while waiting and len(at_work) < self.processes and not self.stopped:
                    job = waiting.pop(0)
                    at_work[job.place] = job, _begin(self.folder, job)
                    self.say(f"{job.place} begins")
                if self.stopped:
                    waiting.clear()
                    for _, process in at_work.values():
                        _ask_to_stop(process)
                for place, (job, process) in [*at_work.items()]:
                    if process.poll() is not None:
                        del at_work[place]
                        self._end(job, process)
                time.sleep(POLL)

    def _end(self, job: Job, process: subprocess.Popen[str]) -> None:
        said = process.stderr.read().strip() if process.stderr else ""
        if process.returncode == 0:
            self.say(f"{job.place} is finished")
        elif process.returncode == STOPPED or self.stopped:
            self.say(f"{job.place} was stopped")
        else:
            self._fail(job, said.splitlines()[-1] if said else f"its process ended with {process.returncode}")

    @contextmanager
    def _heard(self) -> Generator[None]:
        """Signals stop what is at work, and are heard of here alone: each process is in a session of its own."""

        def ask(signum: int, frame: object) -> None:
            if self.stopped:
                raise KeyboardInterrupt
            self.stopped = signum

        before = {signum: signal.signal(signum, ask) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)


@contextmanager
def _ended_with(at_work: Mapping[str, tuple[Job, subprocess.Popen[str]]]) -> Generator[None]:
    """No process outlives what began it, whatever ends that."""
    try:
        yield
    finally:
        for _, process in at_work.values():
            process.kill()
            process.wait()


def run_job(contest: Contest, folder: Path, job: Job, listeners: Iterable[Callable[[Event], None]] = ()) -> int:
    """Run or go on with a job in this process; the signal that stopped it, or 0. Raises TrainingError where an alarm
    halted it."""
    began = (folder / job.place / "events.jsonl").is_file()
    (folder / job.place).parent.mkdir(parents=True, exist_ok=True)
    with _peak(folder, job.place):
        run = launch(contest.document(job, folder), began, [*listeners])
    if run.halted is not None:  # of this run alone: the others go on
        raise TrainingError(run.halted, code="alarm")
    return int(run.signal or signal.SIGINT) if run.stop else 0


@contextmanager
def _peak(folder: Path, place: str) -> Generator[None]:
    """Note the most memory that the process held within: of the GPU where one was used, else of the process, which
    holds libraries and what earlier runs left to it."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    try:
        yield
    finally:
        most = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else _resident()
        if most:
            with (folder / PEAKS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"place": place, "bytes": most}) + "\n")


def _resident() -> int:
    """Bytes that were resident at most, since that was set back; 0 where the system does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def _begin(folder: Path, job: Job) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "postlude.contest.worker", str(folder), job.place]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _ask_to_stop(process: subprocess.Popen[str]) -> None:
    """By the end of its input, which it also meets where this process is killed."""
    if process.stdin and not process.stdin.closed:
        process.stdin.close()


def stop_with_input() -> None:
    """End this process's run, as Ctrl-C does, once its standard input ends."""

    def wait() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


# ------------------------------------------------------------------------------------------------ what was chosen


@dataclass(frozen=True)
class Choice:
    """The values that an arm got, and those it was chosen among."""

    settings: dict[str, str]
    tried: Mapping[str, float]
    """Values as text -> the figure by which was chosen, mean over the trials' seeds."""
    edge: bool
    """Whether the best is the least or the most of a swept key's numbers: a better one may lie beyond."""


def choices(contest: Contest, folder: Path) -> dict[str, Choice]:
    """The best values of each arm for which all were tried. Of equal ones the first."""
    assert contest.tuning is not None
    results: dict[str, dict[str, list[Result]]] = {}
    peaks = peaks_in(folder)
    for job in contest.trials():
        result = result_of(job, folder, peaks)
        results.setdefault(job.arm, {}).setdefault(_text(job.settings), []).append(result)
    return {arm: choice for arm, by_value in results.items() if (choice := _choice(contest, by_value)) is not None}


def _text(settings: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())


def _choice(contest: Contest, by_value: Mapping[str, Sequence[Result]]) -> Choice | None:
    tuning = contest.tuning
    assert tuning is not None
    if any(result.state in ("waiting", "running", "stopped") for some in by_value.values() for result in some):
        return None
    values = {
        text: mean([result.figures[tuning.figure] for result in some])
        for text, some in by_value.items()
        if all(tuning.figure in result.figures for result in some)  # of a run that failed there is none
    }
    if not values:
        return None
    figure = lookup(tuning.figure)
    sign = -1 if figure is not None and figure.better == "down" else 1
    best = max(values, key=lambda text: sign * values[text])
    settings = next(dict(some[0].job.settings) for text, some in by_value.items() if text == best)
    edge = any(is_end(value, tuning.keys[key]) for key, value in settings.items())
    return Choice(settings, values, edge)


def is_end(value: str, tried: Sequence[str]) -> bool:
    """Whether a value is the least or the most of those that were tried; of words there is neither."""
    try:
        numbers = [float(one) for one in tried]
    except ValueError:
        return False
    return float(value) in (min(numbers), max(numbers))
