"""SIGKILL at random times, while a run goes on and while it is resumed; the folder ends as that of a whole run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.faults.outcome import Bench, Kind
from bench.faults.trial import RESUME, START, Ended, Started, start

MOST = 4
"""Kills in one trial."""


@dataclass(frozen=True)
class Killed:
    """What became of a run that was killed a few times."""

    family: str
    kills: int
    resumes: int
    """How many of the kills hit a resume."""
    kind: Kind
    detail: str


def whole_elsewhere(bench: Bench) -> None:
    """Let the run that is compared with be made by a process of its own, started cold, with other hashes of strings."""
    bench.clear()
    code = "from postlude.cli import main; main()"
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    done = subprocess.run(
        [sys.executable, "-c", code, *START], cwd=bench.place, env=environment, capture_output=True, text=True
    )
    if done.returncode != bench.family.code:
        raise RuntimeError(f"{bench.family.name}: {done.stderr[-2000:]}")
    bench.whole = bench.bytes()


def trial(bench: Bench, chance: random.Random) -> Killed:
    """Start, kill, resume, kill, ..., and resume to the end."""
    bench.clear()
    ended: list[Ended] = []
    kills = resumes = 0
    for _ in range(chance.randint(1, MOST)):
        arguments = RESUME if _begun(bench.run) else START
        after = _killed_after(start(bench.place, arguments), chance.uniform(0, 0.6 * bench.seconds))
        ended.append(after)
        kills += after.killed
        resumes += after.killed and arguments is RESUME
        if not after.killed:
            break
    if ended[-1].killed:
        ended += bench.continued()
    kind, detail = bench.judged(ended if not ended[-1].killed else ended[:-1])
    return Killed(bench.family.name, kills, resumes, kind, detail)


def _begun(run: Path) -> bool:
    """Whether postlude sees a run there: a step or a checkpoint."""
    return (run / "timings.jsonl").exists() or any(run.glob("checkpoints/step-*"))


def _killed_after(started: Started, seconds: float) -> Ended:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if started.ended():
            break
        time.sleep(0.002)
    else:
        started.kill()
    return started.wait()


@contextmanager
def judge() -> Generator[str]:
    """The address of a chat server in a process of its own, which judges answers for as long as this is open."""
    from tests.judging import ChatServer, Messages, between

    def reply(messages: Messages) -> str:
        return json.dumps({"score": 1 + sum(map(ord, between(messages[0]["content"], "answer"))) % 5})

    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        with ChatServer(reply) as server:
            os.write(writing, server.url.encode())
            os.close(writing)
            signal.pause()
        os._exit(0)
    os.close(writing)
    url = os.read(reading, 1000).decode()
    os.close(reading)
    try:
        yield url
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
