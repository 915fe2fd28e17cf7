"""Part `failures`: a run's server killed at the worst moments, and what the run's folder says afterwards."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.scale_faults.judging import Expected, Judge
from bench.scale_servers.material import Place, command, environment, learning_recipe, recipe
from bench.scale_servers.processes import Process, below, kill, named
from bench.scale_servers.report import Report
from postlude.check import check
from postlude.recipe.documents import read as document
from postlude.runs import read
from tests.fake_vllm import FakeServer

STEPS, GROUPS, ANSWERS = 16, 8, 4
HEADS = ("killed", "when", "noticed after", "ready again after", "as the run says it", "steps", "answers trained")
SAID = re.compile(r"\): (.*)\. It is (?:killed|left out)")
LONGEST = 900.0
"""Seconds of a run."""
KILLED, READY, LEFT_OUT = "is killed and started again", "is ready again", "It is left out"
SERVER = "vllm.entrypoints.openai.api_server"


@dataclass(frozen=True)
class Kill:
    """Which process dies, and when."""

    name: str
    parts: tuple[str, ...]
    """Of its command line: the first that is there."""
    step: int
    when: str
    """`sampling` of the step, or `publishing` its weights."""


KILLS = (
    Kill("the worker", ("VLLM::Worker", "VLLM::EngineCore"), 5, "sampling"),
    Kill("the process that answers", (SERVER,), 9, "sampling"),
    Kill("the engine process", ("VLLM::EngineCore", SERVER), 13, "publishing"),
)
FAKED = tuple(Kill(one.name, (SERVER,), one.step, one.when) for one in KILLS)
"""The fake server is one process."""


@dataclass
class Watched:
    """A run in a process of its own, what it says, and every process that it was seen to have."""

    folder: Path
    process: subprocess.Popen[str]
    lines: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """When, and what."""
    seen: set[Process] = field(default_factory=set[Process])

    @classmethod
    def of(cls, file: Path) -> Watched:
        words = command("train", str(file))
        process = subprocess.Popen(
            words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        watched = cls(file.with_suffix(""), process)
        threading.Thread(target=watched._listen, daemon=True).start()
        return watched

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *reason: object) -> None:
        self.process.terminate()
        self.process.wait()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append((time.monotonic(), line.rstrip()))

    def look(self) -> list[Process]:
        """Its processes now."""
        there = below(self.process.pid)
        self.seen.update(there)
        return there

    def when(self, what: Callable[[], object]) -> bool:
        """Waits until that is so; False where the run ended before."""
        until = time.monotonic() + LONGEST
        while time.monotonic() < until and self.process.poll() is None:
            if what():
                return True
            time.sleep(0.002)
        return False

    def said(self, text: str, since: float) -> float | None:
        """Seconds from a moment to when it first said that."""
        return next((at - since for at, line in self.lines if at >= since and text in line), None)

    def why(self, text: str, since: float) -> str:
        """What a line gives as the reason, cut for a table."""
        line = next((line for at, line in self.lines if at >= since and text in line), "")
        reason = SAID.search(line)
        return reason[1][:44] if reason else ""

    def ended(self) -> int:
        """Its exit code, once it ends, or has to."""
        try:
            return self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def failures(place: Place) -> Report:
    """One run with three kills; one with two servers, of which one goes for good."""
    report = Report("failures", HEADS)
    demo = place.demo()
    file = recipe(place.folder / "failures", "killed", _values(demo, {"servers": place.started_here}))
    with Watched.of(file) as watched:
        struck = [*_struck(watched, FAKED if place.is_fake else KILLS)]
        code = watched.ended()
    file.with_suffix(".log").write_text("".join(f"{line}\n" for _, line in watched.lines))
    report.rows += [_row(watched, one, at) for one, at in struck]
    _judge(report, "killed three times", file, demo / "sft/model", code)
    noticed = [watched.said(KILLED, at) for _, at in struck]
    came_to_pass = len(struck) == len(KILLS) and None not in noticed
    report.claim("all kills came to pass, and were noticed", came_to_pass, f"{len(struck)} of {len(KILLS)}")
    time.sleep(0.5)
    left = [one for one in watched.seen if one.lives]
    said = f"{len(left)} of {len(watched.seen)} processes live" + "".join(f"; {one.words[:80]}" for one in left)
    report.claim("nothing that the run had started is left", not left, said)
    if code:
        report.claim("what it said last", False, " / ".join(line for _, line in watched.lines[-8:]))
    _without_one(place, report, demo)
    return report


def _struck(watched: Watched, kills: tuple[Kill, ...]) -> Iterator[tuple[Kill, float]]:
    for one in kills:
        if not watched.when(lambda one=one: _is_now(watched.folder, one)):
            return
        if one.when == "sampling":
            time.sleep(0.1)
        victim = named(watched.look(), *one.parts)
        if victim is None:
            continue
        at = time.monotonic()
        kill(victim)
        yield one, at
        watched.when(lambda at=at: watched.said(KILLED, at) is not None)
        watched.when(lambda at=at: watched.said(READY, at) is not None)
        watched.look()


def _is_now(folder: Path, one: Kill) -> bool:
    if one.when == "publishing":
        return (folder / f"served/v{one.step}").exists()
    if not (folder / "events.jsonl").exists():
        return False
    return f'"kind": "publish", "step": {one.step - 1},' in (folder / "events.jsonl").read_text()


def _row(watched: Watched, one: Kill, at: float) -> tuple[str, ...]:
    times = (watched.said(text, at) for text in (KILLED, READY))
    shown = ("never" if seconds is None else f"{seconds:.1f} s" for seconds in times)
    return one.name, f"step {one.step}, {one.when}", *shown, watched.why(KILLED, at), "", ""


def _values(demo: Path, engine: dict[str, Any]) -> dict[str, Any]:
    return learning_recipe(
        demo,
        steps=STEPS,
        prompts_per_step=GROUPS,
        group_size=ANSWERS,
        engine=engine,
        checkpoints={"every": 1, "keep": STEPS + 1},
    )


def _judge(report: Report, name: str, file: Path, model: Path, code: int) -> None:
    """By the run's folder alone."""
    folder = file.with_suffix("")
    prompts = check(document(file)).prompts
    flaws = Judge(model, prompts).flaws(folder, Expected(STEPS, GROUPS, ANSWERS, 0, 1.0))
    history = read(folder)
    trained = sum(row["trained"] for rows in history.rollouts.values() for row in rows)
    report.rows.append((name, "", "", "", "", f"{history.steps} of {STEPS}", str(trained)))
    report.claim(
        f"{name}: the run ends, with all steps",
        code == 0 and history.finished,
        f"exit code {code}, {history.steps} steps",
    )
    text = f"{name}: every trained span names a published version and has its log-probs, no group is trained twice"
    report.claim(text, not flaws, f"{trained} answers" if not flaws else "; ".join(flaws[:5]))


def _without_one(place: Place, report: Report, demo: Path) -> None:
    """Two servers that ran already; the one goes at step 6."""
    model = demo / "sft/model"
    with FakeServer(model) as one, FakeServer(model) as other:
        values = _values(demo, {"servers": {"urls": [one.url, other.url]}})
        file = recipe(place.folder / "failures", "without-one", values)
        with Watched.of(file) as watched:
            watched.when(lambda: _is_now(watched.folder, Kill("", (), 6, "sampling")))
            at = time.monotonic()
            one.loop.call_soon_threadsafe(one.at.die)
            code = watched.ended()
    noticed = watched.said(LEFT_OUT, at)
    shown = "never" if noticed is None else f"{noticed:.1f} s"
    report.rows.append(
        ("one of two urls (fake servers)", "step 6, for good", shown, "", watched.why(LEFT_OUT, at), "", "")
    )
    report.claim("the loss of one of two servers was noticed", noticed is not None, shown)
    _judge(report, "one of two lost for good", file, model, code)
