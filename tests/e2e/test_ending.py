"""How runs are asked to end, and what user code leaves behind: the whole command, with the exit code it gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import postlude
from postlude.cli.app import app
from postlude.errors import TrainingError
from postlude.launch import launch
from postlude.process import Interrupted
from postlude.recipe.documents import Document
from postlude.runs import durable
from postlude.runs.events import Alive, Event, Phase, Said, Step, Stopping, Waiting
from postlude.runs.live import Pulse, status
from postlude.runs.lock import acquire, is_held
from tests.refusals import refused
from tests.underway import HANGS

REWARD = """
import os, shutil

def length(completions):
    return [float(len(c)) for c in completions]

def removes(completions):
    shutil.rmtree(os.environ["POSTLUDE_TEST_RUN"])
    return [float(len(c)) for c in completions]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}="}) + "\n" for i in range(8)))
    (tmp_path / "mine.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(model: Path, **more: Any) -> dict[str, Any]:
    base = {
        "method": "grpo", "model": {"path": str(model)}, "data": {"path": "p.jsonl"}, "output": "run", "steps": 3,
        "reward": [{"use": "mine.py:length"}], "prompts_per_step": 2, "group_size": 2, "sampling": {"max_tokens": 4},
    }  # fmt: skip
    return {**base, **more}


def after(step: int, signum: int) -> Callable[[Event], None]:
    """A listener that sends the process a signal once a step is finished."""

    def hear(event: Event) -> None:
        if isinstance(event, Step) and event.step == step:
            os.kill(os.getpid(), signum)

    return hear


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_after_its_step_and_it_goes_on_as_if_there_had_been_none(
    signum: signal.Signals, place: Path, model_folder: Path
) -> None:
    heard: list[Event] = []
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    run = launch(Document(values(model_folder)), listeners=[after(1, signum), heard.append])
    assert (run.step, run.stop, run.signal) == (1, True, signum)
    assert [p.name for p in run.checkpoints] == ["step-000001"]
    (stopping,) = [e for e in heard if isinstance(e, Stopping)]
    assert stopping.by == ("" if signum == signal.SIGINT else signum.name)
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
    launch(Document(values(model_folder)), resume=True)
    whole = launch(Document(values(model_folder, output="whole")))
    for name in ("events.jsonl", "model/model.safetensors", "rollouts/step-000003.jsonl"):
        assert (place / "run" / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_second_signal_ends_it_at_once(place: Path, model_folder: Path) -> None:
    with pytest.raises(Interrupted) as error:
        launch(Document(values(model_folder)), listeners=[after(1, signal.SIGTERM), after(1, signal.SIGTERM)])
    assert error.value.signum == signal.SIGTERM


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_with_the_code_that_schedulers_expect(
    signum: signal.Signals, place: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postlude.watch import live

    first = live.LiveView.__call__
    send = after(1, signum)
    monkeypatch.setattr(live.LiveView, "__call__", lambda view, event: (first(view, event), send(event)))
    words = ["train", "grpo", f"model={model_folder}", "data=p.jsonl", "reward=mine.py:length", "output=run", "steps=3"]
    small = ["prompts_per_step=2", "group_size=2", "sampling.max_tokens=4"]
    done = CliRunner().invoke(app, [*words, *small])
    assert done.exit_code == 128 + signum
    assert "stopped at step 1; go on with: postlude train run --resume" in done.output


def test_from_python_a_scheduler_ends_the_script_once_the_run_has_saved(place: Path, model_folder: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: heard.append(signum))
    try:
        run = postlude.train(values(model_folder), show=False, listeners=[after(2, signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] and [p.name for p in run.checkpoints] == ["step-000002"]


def test_who_is_waited_for_stands_in_live_json_until_something_happens(place: Path) -> None:
    pulse = Pulse(place, print)
    pulse(Phase(1, "score"))
    began = status(place).heartbeat
    pulse(Waiting(1, "reward slow has been running for 12 s"))
    pulse(Said(1, "note: reward slow has been running for 12 s"))
    waits = status(place)
    assert (waits.waiting, waits.heartbeat) == ("reward slow has been running for 12 s", began), "it has done nothing"
    pulse(Phase(1, "train"))
    assert status(place).waiting is None


def test_a_wait_that_ends_by_itself_is_a_sign_of_life_and_steps_are_known_before_the_first(place: Path) -> None:
    pulse = Pulse(place, print)
    pulse(Phase(0, "servers", 7))
    pulse(Waiting(0, "starting server 1: 24 s of at most 900 s [Loading weights]"))
    began = status(place)
    pulse(Alive(0))
    alive = status(place)
    assert (alive.phase, alive.steps, alive.waiting) == ("servers", 7, began.waiting)
    assert alive.heartbeat > began.heartbeat


def test_a_folder_that_goes_in_the_middle_of_a_run_is_a_sentence(
    place: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSTLUDE_TEST_RUN", str(place / "run"))
    monkeypatch.setattr(durable, "WAITS", (0.0,))
    with refused("cannot-write", kind=TrainingError):
        launch(Document(values(model_folder, reward=[{"use": "mine.py:removes"}])))


def test_threads_that_never_end_do_not_keep_the_process() -> None:
    child = (
        "import threading, time, sys\n"
        "from postlude import process\n"
        "process.PATIENCE = 0.1\n"
        "threading.Thread(target=time.sleep, args=(600,), name='poller').start()\n"
        "process.end_without_threads(3)\n"
        "sys.exit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 3 and "has left threads running: poller" in done.stderr


def test_a_child_does_not_hold_the_run_that_it_was_forked_off(place: Path) -> None:
    lock = acquire(place)
    (alive, born), (ended, go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(born, b"!")
        os.close(go)
        os.read(ended, 1)
        os._exit(0)
    os.read(alive, 1)
    lock.close()
    assert not is_held(place / "lock")
    os.close(go)
    os.waitpid(child, 0)
