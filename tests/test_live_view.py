"""What the terminal says of a run: how it ends, and what is left of it."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from postlude.runs.events import End, Opened, Start, Step, Timed
from postlude.runs.stats import Clock
from postlude.terminal import Screen
from postlude.watch import live

FACTS = dict.fromkeys(("architecture", "device", "dtype", "path", "path_reason"), "x") | {"parameters": 1}


@pytest.mark.parametrize(("reason", "said"), [("done", "done"), ("interrupted", "stopped"), ("error", "failed")])
def test_an_end_is_called_what_it_was(reason: str, said: str) -> None:
    view = live.LiveView(Screen(file=io.StringIO(), width=120))
    view(End(0, reason))
    assert str(view.__rich__()) == "", "nothing is under way"
    assert view._left(5).startswith(f"{said} in ")  # pyright: ignore[reportPrivateUsage]


def test_seconds_of_a_restart_and_of_the_first_step_are_no_other_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: clock.now))
    view = live.LiveView(Screen(file=io.StringIO(), width=120))
    start = Start(0, "dpo", 9, "s", {}, [], {**FACTS, "trainable": 1})
    view(Opened(0, start, "f", source="preference", lr=1e-6, stop_at=None, resumed=False))
    for step, clock.now, restart in ((1, 20.0, 0.0), (2, 22.0, 0.0), (3, 64.0, 40.0)):
        view(Step(step, {}))
        view(Timed(step, {"restart": restart}))
    assert view._left(9) == "12s left"  # pyright: ignore[reportPrivateUsage]


def test_a_clock_stands_while_trainers_are_started_again() -> None:
    apart = [5.0]
    clock = Clock(lambda: apart[0])
    apart[0] += 1000.0
    clock.lap("publish")
    assert clock.laps["publish"] < -900.0 and clock.apart == 1000.0, "of a thousand seconds none has gone by here"
