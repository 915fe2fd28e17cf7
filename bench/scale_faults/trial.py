"""One run with servers that fail on purpose, and what became of it."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from bench.faults.families import ONLINE, make_world
from bench.scale_faults.judging import Expected, Judge
from bench.scale_faults.table import CALLS, WAYS, Planted, Trial
from postlude.check import check
from postlude.engines.servers import fleet, pool, shares, wire
from postlude.errors import PostludeError
from postlude.launch import launch
from postlude.recipe import serving
from postlude.recipe.documents import Document
from tests.fake_vllm import FakeServer, Fault

Kind = Literal["whole", "in words", "flawed", "traceback", "hangs"]
STEPS, GROUPS, ANSWERS, TEMPERATURE = 3, 3, 2, 0.9
HANGS = 90.0
"""Seconds after which a run hangs."""
DEADLINE = 3.0
"""Seconds that a call to a server may take."""
PATIENCE = fleet.Patience(look=0.1, health=1.5, silence=4.0, busy=6.0, again=0.2, restart=0.05, nobody=20.0)
DEAD = 0.3
"""Seconds until a server that died is there again."""


@dataclass(frozen=True)
class Outcome:
    """What became of a trial."""

    trial: Trial
    kind: Kind
    text: str
    """What the run ended with, or what is wrong with it."""
    asked: bool
    """Whether every fault came to pass at all."""
    seconds: float
    """Of the processor."""

    @property
    def right(self) -> bool:
        """Whether it may be so."""
        must_finish = all(one.must_finish for one in self.trial)
        return self.asked and (self.kind == "whole" or (self.kind == "in words" and not must_finish))


class Hangs(BaseException):
    """A run that takes too long; no code of the run catches it."""


class World:
    """A model, prompts and a reward in a folder, for any number of trials."""

    def __init__(self, place: Path) -> None:
        self.place = place
        make_world(place)
        self.judge = Judge(place / "model", check(Document(self.recipe(place / "none", ()))).prompts)

    def recipe(self, output: Path, servers: Sequence[FakeServer], planted: Planted | None = None) -> dict[str, Any]:
        reward = {**ONLINE["reward"][0], "use": f"{self.place}/mine.py:parity"}
        held: dict[str, Any] = {"threads": 1}
        if planted is not None:
            urls = [server.url for server in servers]
            wanted = {"urls": urls, "timeout": DEADLINE, "start_timeout": 10, "colocate": planted.colocated > 0}
            held |= {"publish": planted.publish, "servers": wanted}
        adapter = {"lora": {"rank": 1}} if planted is not None and planted.publish == "lora" else {}
        return {
            "method": "grpo",
            "model": {"path": str(self.place / "model"), **adapter},
            "data": {"path": str(self.place / "prompts.jsonl")},
            "reward": [reward],
            "output": str(output),
            "steps": STEPS,
            "prompts_per_step": GROUPS,
            "group_size": ANSWERS,
            "sampling": {"max_tokens": 6, "temperature": TEMPERATURE},
            "schedule": {"lr": 0.01},
            "checkpoints": {"every": 1, "keep": STEPS + 1},
            "max_lag": planted.lag if planted is not None else 0,
            **(
                {"objective": {"correction": {"mode": "token_truncate"}}} if planted is not None and planted.lag else {}
            ),
            "engine": held,
        }

    def tried(self, *trial: Planted) -> Outcome:
        """A run under some faults; where it ends in words, goes on without them, and must be whole then."""
        began, output, planted = time.process_time(), self.place / "run", trial[0]
        shutil.rmtree(output, ignore_errors=True)
        with ExitStack() as stack, short_deadlines(), shared_by_any(planted.colocated):
            servers = [stack.enter_context(FakeServer(self.place / "model")) for _ in range(planted.servers)]
            plant(servers[0], trial)
            stack.enter_context(revived(servers))
            recipe = self.recipe(output, servers, planted)
            kind, text = ended(recipe, resume=False)
            asked = all(servers[0].calls.count(CALLS[one.call]) >= one.at for one in trial)
            if kind == "in words" and not any(server.url in text for server in servers):
                kind, text = "flawed", f"no server is named: {text}"
            if kind == "in words":
                heal(servers)
                again, more = ended(recipe, resume=True)
                kind, text = (kind, text) if again == "whole" else ("flawed", f"{text}\nand without the fault: {more}")
        if kind in ("whole", "in words"):  # no server is left that could load a model in its thread meanwhile
            expected = Expected(STEPS, GROUPS, ANSWERS, planted.lag, TEMPERATURE)
            lines = self.judge.flaws(output, expected)
            kind, text = ("flawed", "; ".join(lines)) if lines else (kind, text)
        return Outcome(trial, kind, text, asked, time.process_time() - began)


def plant(server: FakeServer, trial: Trial) -> None:
    """Tell a server what it will do wrong."""
    for planted in sorted(trial, key=lambda one: one.at):
        path, fault = CALLS[planted.call], WAYS[planted.way]
        server.next(path, *[Fault()] * (planted.at - 1 - len(server.at.faults[path])))
        if planted.lasts:
            server.at.always[path] = fault
        else:
            server.next(path, fault)


def heal(servers: Sequence[FakeServer]) -> None:
    """From now on they do as they are asked."""
    for server in servers:
        server.at.faults.clear()
        server.at.always.clear()


@contextmanager
def revived(servers: Sequence[FakeServer]) -> Generator[None]:
    """Whoever dies within is started again after a moment, at the same address."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for server in servers:
                if not server.listener.server.is_serving():
                    time.sleep(DEAD)
                    before = server.at.calls
                    server.restart()
                    server.at.calls[:0] = before

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def short_deadlines() -> Generator[None]:
    """What takes minutes with real servers takes moments here."""
    before = wire.QUICK, wire.SLOW, pool.PAUSE, fleet.PATIENCE
    wire.QUICK = wire.SLOW = DEADLINE
    pool.PAUSE, fleet.PATIENCE = 0.02, PATIENCE
    try:
        yield
    finally:
        wire.QUICK, wire.SLOW, pool.PAUSE, fleet.PATIENCE = before


@contextmanager
def shared_by_any(level: int) -> Generator[None]:
    """Servers that nobody starts may share the trainer's device: those of a bench hold none of it. At level 2 host
    memory is said to have no room."""
    before = serving._shares, shares.LEAST_SPARE  # pyright: ignore[reportPrivateUsage]
    serving._shares = lambda recipe, servers, wrong: iter(())  # pyright: ignore[reportPrivateUsage]
    shares.LEAST_SPARE = 1 << 60 if level == 2 else before[1]
    try:
        yield
    finally:
        serving._shares, shares.LEAST_SPARE = before  # pyright: ignore[reportPrivateUsage]


@contextmanager
def within(seconds: float) -> Generator[None]:
    """Raises Hangs in this thread, the main one, when the time is over."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def ended(recipe: dict[str, Any], resume: bool) -> tuple[Kind, str]:
    """How a run ended, quietly."""
    try:
        with within(HANGS), contextlib.redirect_stdout(io.StringIO()):
            launch(Document(recipe), resume)
    except PostludeError as error:
        return "in words", str(error)
    except Hangs:
        return "hangs", f"nothing after {HANGS:.0f} s"
    except Exception:
        return "traceback", traceback.format_exc()
    return "whole", ""
