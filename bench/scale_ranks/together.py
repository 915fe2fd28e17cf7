"""Part `together`: two ranks train, a vLLM server samples, and a process of each is killed on the way.

The run's folder is judged by itself: every step is there, no group was trained twice, none was dropped, and every token
has the log-prob that the version it names gives it.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.scale_faults.judging import Expected, Judge
from bench.scale_ranks.material import Rows, table
from bench.scale_servers.failures import Watched
from bench.scale_servers.material import learning_recipe, recipe
from bench.scale_servers.processes import Process, named
from postlude.check import check
from postlude.cli.demo import prepare_demo
from postlude.recipe.documents import read as document
from postlude.runs import read

VLLM = Path(".venv-vllm/bin/python")
STEPS, GROUPS, ANSWERS, LAG = 14, 4, 4, 1
RANK = ("postlude.engines.ranks.rank:Rank",)
WORKER = ("VLLM::Worker", "VLLM::EngineCore", "vllm.entrypoints.openai.api_server")
PATIENCE = 900.0
"""Seconds of a run."""


@dataclass(frozen=True)
class Kill:
    """Which process dies, in which step, and what the run says once it is back."""

    name: str
    parts: tuple[str, ...]
    step: int
    noticed: str


KILLS = (Kill("a rank", RANK, 4, "was lost in"), Kill("the server's worker", WORKER, 9, "is killed and started again"))


def run(folder: Path, python: Path = VLLM) -> bool:
    """14 steps with both."""
    if not python.exists():
        print(f"there is no {python}: `make vllm-env` makes it, in five minutes")
        return False
    demo = folder / "demo"
    if not (demo / "prompts.jsonl").exists():
        prepare_demo(demo, 0)
    file = _recipe(folder, demo, python.absolute())
    with Watched.of(file) as watched:
        rows: Rows = [[one.name, f"step {one.step}", *_struck(watched, one)] for one in KILLS]
        code = watched.ended()
    file.with_suffix(".log").write_text("".join(f"{line}\n" for _, line in watched.lines))
    table(("killed", "in", "noticed after"), rows)
    history = read(file.with_suffix(""))
    expected = Expected(STEPS, GROUPS, ANSWERS, LAG, 1.0)
    flaws = Judge(demo / "model", check(document(file)).prompts).flaws(file.with_suffix(""), expected)
    print(f"exit code {code}, {history.steps} of {STEPS} steps; {len(flaws)} flaws", *flaws[:5], sep="; ")
    time.sleep(1.0)
    left = [one for one in watched.seen if one.lives]
    print(f"{len(left)} of {len(watched.seen)} processes left{''.join(f'; {one.words[:80]}' for one in left)}")
    if code:
        print("\n".join(line for _, line in watched.lines[-8:]))
    return not code and history.finished and not flaws and not left and all(row[-1] != "never" for row in rows)


def _recipe(folder: Path, demo: Path, python: Path) -> Path:
    shutil.rmtree(folder / "run", ignore_errors=True)
    values = learning_recipe(
        demo,
        model=str(demo / "model"),
        reward=[{"use": "regex", "args": {"pattern": "[0-4]$"}}],
        steps=STEPS,
        prompts_per_step=GROUPS,
        group_size=ANSWERS,
        max_lag=LAG,
        objective={"kl": None, "correction": {"mode": "token_truncate"}},
        engine={"trainers": 2, "device": "cpu", "servers": {"count": 1, "python": str(python)}},
        evaluate={"every": 0, "prompts": 8},
        checkpoints={"every": 1, "keep": STEPS + 1},
        sampling={"max_tokens": 24},
    )
    return recipe(folder, "run", values)


def _struck(watched: Watched, kill: Kill) -> tuple[str]:
    """Kill it once its step has begun; seconds until the run says so, or `never`."""
    published = f'"kind": "publish", "step": {kill.step - 1},'
    events = watched.folder / "events.jsonl"
    if not _until(watched, lambda: events.exists() and published in events.read_text()):
        return ("never",)
    victim: Process | None = named(watched.look(), *kill.parts)
    if victim is None:
        return ("never",)
    at = time.monotonic()
    os.kill(victim.pid, signal.SIGKILL)
    _until(watched, lambda: watched.said(kill.noticed, at) is not None)
    seconds = watched.said(kill.noticed, at)
    return ("never" if seconds is None else f"{seconds:.1f} s",)


def _until(watched: Watched, what: Callable[[], object]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and watched.process.poll() is None:
        if what():
            return True
        time.sleep(0.02)
        if not int(time.monotonic() * 50) % 50:
            watched.look()
    return bool(what())
