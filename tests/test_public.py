"""The public Python: its names, runs inside and outside of an event loop, a process left as it was, runs steered from
another process."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import postlude
from bench.docs import line_of
from postlude import events, runs
from postlude.cli.app import app
from postlude.models.tiny import save_tiny_model
from tests.underway import HANGS

STEPS = 4
REWARD = """
def sevens(completions, **columns):
    return [c.count("7") / max(len(c), 1) for c in completions]

def lazy(completions, **columns):
    import beside_it  # only now, as it is called
    return beside_it.score(completions)

def broken(completions, **columns):
    raise ValueError("no such luck")
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("public")
    save_tiny_model(place / "model", layers=1, width=32, heads=2, spread=0.2)
    rows = [{"prompt": f"{i}=", "answer": str(i)} for i in range(12)]
    (place / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:8]))
    (place / "held-out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[8:]))
    (place / "mine.py").write_text(REWARD)
    (place / "beside_it.py").write_text("def score(completions):\n    return [1.0 + len(c) for c in completions]\n")
    return place


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(world)
    return world


def settings(output: str | Path, **more: Any) -> dict[str, Any]:
    return {
        "model": "model",
        "data": {"path": "prompts.jsonl", "eval": "held-out.jsonl"},
        "reward": "mine.py:sevens",
        "output": str(output),
        "steps": STEPS,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 5},
        "schedule": {"lr": 1e-3},
        "evaluate": {"every": 0},
        "checkpoint_every": 0,
        "keep_checkpoints": 9,
        **more,
    }


def train(output: str | Path, *listeners: Any, resume: bool = False, **more: Any) -> postlude.Run:
    return postlude.train("grpo", show=False, resume=resume, listeners=listeners, **settings(output, **more))


def content(folder: Path) -> dict[str, bytes]:
    """What a run must repeat: its events, answers and weights."""
    names = ["events.jsonl", "eval.jsonl", *(p.relative_to(folder) for p in sorted(folder.glob("rollouts/*")))]
    names += ["model/model.safetensors", "model/trainer/optimizer.safetensors"]
    return {str(name): (folder / name).read_bytes() for name in names if (folder / name).exists()}


# ------------------------------------------------------------------------------------------------------- the names


@pytest.mark.parametrize("name", postlude.PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    where, _, inside = postlude.PUBLIC[name].partition(":")
    module = importlib.import_module(where)
    assert getattr(postlude, name) is (getattr(module, inside) if inside else module)
    assert line_of(name).endswith(".") and len(line_of(name)) > 20
    value = getattr(postlude, name)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        assert value.__doc__ and not value.__doc__.startswith(f"{value.__name__}("), "a dataclass's own has no words"


def test_about_forty_names_are_public() -> None:
    assert 35 <= len(postlude.PUBLIC) <= 50
    assert dir(postlude) == sorted(["__version__", *postlude.PUBLIC])
    with pytest.raises(AttributeError, match="no public name 'trian'"):
        postlude.trian  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_a_type_checker_knows_the_same_names() -> None:
    source = Path(postlude.__file__).read_text()
    assert [name for name in postlude.PUBLIC if f" as {name}" not in source] == []


@pytest.mark.parametrize("use", ["postlude", "postlude.methods['drpo']", "postlude.runs.status", "dir(postlude)"])
def test_what_needs_no_torch_loads_none(use: str) -> None:
    heavy = "{'torch', 'transformers', 'numpy'}"
    code = f"import sys, postlude; {use}; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "set()\n"


# ------------------------------------------------------------------------------------------------ with and without


def test_a_run_is_the_same_with_and_without_an_event_loop(here: Path, tmp_path: Path) -> None:
    plain = train(tmp_path / "plain")

    async def within() -> postlude.Run:
        return train(tmp_path / "within")

    async def awaited() -> postlude.Run:
        return await postlude.train_async("grpo", show=False, **settings(tmp_path / "awaited"))

    for run in (asyncio.run(within()), asyncio.run(awaited())):
        assert content(run.folder) == content(plain.folder)
    assert plain.history()["reward/mean"].steps == (1, 2, 3, 4) and plain.model.is_dir()


def test_two_runs_do_not_share_a_process(here: Path, tmp_path: Path) -> None:
    def again(event: events.Event) -> None:
        if isinstance(event, events.Step):
            train(tmp_path / "second")

    with pytest.raises(postlude.TrainingError, match="another run is at work in this process"):
        train(tmp_path / "first", again)
    assert not (tmp_path / "second").exists()
    train(tmp_path / "second", steps=1)


@pytest.mark.parametrize("awaited", [True, False])
def test_ctrl_c_in_a_notebook_finishes_the_step(here: Path, tmp_path: Path, awaited: bool) -> None:
    """Awaited in its loop, and in a thread beside it: there the main thread hears of it and waits."""
    heard = threading.Event()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Stopping):
            heard.set()
        if isinstance(event, events.Step) and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.wait(HANGS)

    async def notebook() -> postlude.Run:
        if awaited:
            return await postlude.train_async("grpo", show=False, listeners=[listen], **settings(tmp_path / "run"))
        return train(tmp_path / "run", listen)

    before = signal.getsignal(signal.SIGINT)
    run = asyncio.run(notebook())
    assert run.step == 2 and runs.status(run.folder).phase == "interrupted"
    assert [place.name for place in run.checkpoints] == ["step-000002"] and signal.getsignal(signal.SIGINT) is before


# ----------------------------------------------------------------------------------------- rewards that are functions


def test_a_file_may_import_what_lies_beside_it_as_it_runs(here: Path, tmp_path: Path) -> None:
    before = [*sys.path]
    run = train(tmp_path / "run", reward="mine.py:lazy", steps=1)
    assert run.history()["reward/mean"].last >= 1.0 and sys.path == before


def test_a_function_is_told_by_the_name_that_finds_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("notebook")
    exec(
        textwrap.dedent("""
        import functools
        def plain(completions, **columns):
            return [0.0 for _ in completions]
        @functools.wraps(plain)
        def other(completions, **columns):
            return [1.0 for _ in completions]
        class Kind:
            def __call__(self, completions, **columns):
                return [1.0 for _ in completions]
        thing = Kind()
        """),
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "notebook", module)
    checked = postlude.check_recipe("grpo", **settings("run", reward=module.plain))
    assert checked["reward"][0]["use"] == "notebook:plain"
    for wrong in (module.other, module.thing, lambda completions: [0.0]):
        with pytest.raises(postlude.ConfigError, match="the run could find it again"):
            postlude.check_recipe("grpo", **settings("run", reward=wrong))


def test_what_a_decorator_says_of_a_reward_is_checked() -> None:
    @postlude.reward(says_right=False, summed=["calls"])
    def mine(completions: list[str]) -> list[float]:
        return [0.0 for _ in completions]

    assert vars(mine) == {"says_right": False, "compares": False, "abstain": 1.0, "summed": frozenset({"calls"})}
    with pytest.raises(postlude.ConfigError, match="between 0 and 1"):
        postlude.reward(abstain=1.5)


# --------------------------------------------------------------------------------------- the process, left as it was

SURROUNDINGS = """
import asyncio, gc, json, logging, os, random, signal, sys, threading, warnings
import numpy, peft, torch, transformers, accelerate
import postlude
from transformers.utils import logging as chatter

def now():
    state = {
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch": torch.get_rng_state().tolist(), "random": random.getstate(),
        "numpy": [str(part) for part in numpy.random.get_state()],
        "dtype": str(torch.get_default_dtype()), "device": str(torch.get_default_device()),
        "gradients": torch.is_grad_enabled(), "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(), "mkldnn": torch.backends.mkldnn.enabled,
        "signals": [str(signal.getsignal(s)) for s in signal.valid_signals()],
        "environment": dict(os.environ), "folder": os.getcwd(), "mask": str(signal.pthread_sigmask(0, [])),
        "warnings": [str(f) for f in warnings.filters], "gc": (gc.get_threshold(), gc.isenabled()),
        "levels": {name: one.level for name, one in logging.root.manager.loggerDict.items()
                   if isinstance(one, logging.Logger) and one.level},
        "root": (logging.root.level, len(logging.root.handlers), logging.root.manager.disable),
        "chatter": (chatter.get_verbosity(), chatter.is_progress_bar_enabled()),
        "path": list(sys.path), "hooks": (str(sys.excepthook), str(threading.excepthook), sys.getrecursionlimit()),
        "exits": [str(getattr(os, name)) for name in ("_exit", "execv", "execve", "fork")],
        # a pool in which transformers read weights ends when it is collected, at any time
        "running": sorted(t.name for t in threading.enumerate() if "Pool" not in t.name),
        "out": (str(sys.stdout), str(sys.stderr)),
    }
    return json.loads(json.dumps(state))

def one(output, **more):
    return {**json.loads(sys.argv[1]), "output": output, **more}

def within():
    async def train():
        return postlude.train("grpo", show=False, **one("within"))
    asyncio.run(train())

def interrupted():
    def listener(event):
        if isinstance(event, postlude.events.Step):
            raise KeyboardInterrupt
    postlude.train("grpo", show=False, listeners=[listener], **one("interrupted"))

CASES = {
    "whole": lambda: postlude.train("grpo", show=False, **one("whole")),
    "drawn": lambda: postlude.train("grpo", **one("drawn", max_lag=1, objective={"kl": None})),
    "lora": lambda: postlude.train("grpo", show=False, **one("lora", model={"path": "model", "lora": {"rank": 2}})),
    "awaited": lambda: asyncio.run(postlude.train_async("grpo", show=False, **one("awaited"))),
    "within": within,
    "checked": lambda: postlude.check_recipe("grpo", **one("checked")),
    "a broken reward": lambda: postlude.train("grpo", show=False, **one("broken", reward="mine.py:broken")),
    "a bad recipe": lambda: postlude.train("grpo", show=False, **one("bad", stepz=3)),
    "an interrupted run": interrupted,
}
random.seed(1), numpy.random.seed(2), torch.manual_seed(3), torch.set_num_threads(2)
changed = {}
for name, case in CASES.items():
    before, raised = now(), None
    try:
        case()
    except (postlude.PostludeError, KeyboardInterrupt) as error:
        raised = type(error).__name__
    after = now()
    changed[name] = [raised, {k: [before[k], after[k]] for k in before if before[k] != after[k]}]
print("\\n" + json.dumps(changed))
"""


def test_a_run_leaves_the_process_as_it_was(here: Path, tmp_path: Path) -> None:
    """Whether it ends well or not. A process of its own, since what is set once was set by other tests here."""
    (tmp_path / "model").symlink_to(here / "model")
    for name in ("prompts.jsonl", "held-out.jsonl", "mine.py"):
        (tmp_path / name).write_text((here / name).read_text())
    values = json.dumps(settings("", steps=2))
    command = [sys.executable, "-c", SURROUNDINGS, values]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert not result.returncode, result.stderr
    changed = json.loads(result.stdout.splitlines()[-1])
    assert {name: what for name, (_, what) in changed.items() if what} == {}
    assert {name: raised for name, (raised, _) in changed.items() if raised} == {
        "a broken reward": "RewardError",
        "a bad recipe": "ConfigError",
        "an interrupted run": "KeyboardInterrupt",
    }


# ------------------------------------------------------------------------------------------------ watched and steered


def test_a_run_says_how_it_stands(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postlude.runs.live.EVERY", 0.0)  # a tiny model is faster than the pause between writes
    seen: list[runs.Live] = []
    before = time.time()
    run = train(tmp_path / "run", lambda event: seen.append(runs.status(tmp_path / "run")), sampling={"max_tokens": 20})
    assert {"load", "sample", "score", "train", "evaluate", "save"} <= {one.phase for one in seen}
    assert {one.pid for one in seen} == {os.getpid()} and all(one.running for one in seen)
    assert all(before <= one.heartbeat <= time.time() for one in seen) and not any(one.silent for one in seen)
    sampled = [one for one in seen if one.phase == "sample" and one.done is not None]
    assert {one.total for one in sampled} == {8} and all(0 <= (one.done or 0) <= 8 for one in sampled)
    trained = [one for one in seen if one.phase == "train" and one.done is not None]
    assert all(0 < (one.done or 0) <= (one.total or 0) for one in trained)
    assert [one.step for one in seen] == sorted(one.step for one in seen) and seen[-1].step == STEPS
    last = runs.status(run.folder)
    assert (last.phase, last.steps, last.running) == ("done", STEPS, False)


def ask(folder: Path, what: str) -> Callable[[events.Event], None]:
    """A listener that asks something of the run after its second step, from another process."""

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Step) and event.step == 2:
            code = f"import sys, postlude; postlude.runs.{what}(sys.argv[1])"
            subprocess.run([sys.executable, "-c", code, str(folder)], check=True)

    return listen


@pytest.fixture(scope="module")
def never_stopped(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(world)
    yield train(tmp_path_factory.mktemp("whole") / "run").folder
    os.chdir(before)


def test_a_run_that_was_asked_to_stop_goes_on_as_if_it_had_not(here: Path, tmp_path: Path, never_stopped: Path) -> None:
    heard: list[events.Event] = []
    run = train(tmp_path / "run", ask(tmp_path / "run", "stop"), heard.append)
    assert run.step == 2 and run.stop and run.history().end == {**(run.history().end or {}), "reason": "interrupted"}
    assert any(isinstance(event, events.Stopping) for event in heard)
    assert runs.status(run.folder).phase == "interrupted" and not (run.folder / "control.json").exists()
    again = train(run.folder, resume=True)
    assert again.step == STEPS and content(again.folder) == content(never_stopped)


def test_a_run_that_was_asked_for_a_checkpoint_is_repeated_from_it(
    here: Path, tmp_path: Path, never_stopped: Path
) -> None:
    def fail(event: events.Event) -> None:
        if isinstance(event, events.Step) and event.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", ask(tmp_path / "run", "checkpoint"), fail)
    history = runs.read(tmp_path / "run")
    assert [place.name for place in history.checkpoints] == ["step-000002"] and history.steps == 4
    assert [row["name"] for row in history.of("checkpoint")] == ["step-000002"]
    again = train(tmp_path / "run", resume=True)
    assert content(again.folder) == content(never_stopped)


def test_a_checkpoint_that_is_asked_for_changes_nothing_else(here: Path, tmp_path: Path, never_stopped: Path) -> None:
    run = train(tmp_path / "run", ask(tmp_path / "run", "checkpoint"))
    ours, whole = content(run.folder), content(never_stopped)
    lines = ours.pop("events.jsonl").splitlines()
    assert [line for line in lines if b'"step-000002"' not in line] == whole["events.jsonl"].splitlines()
    assert len(lines) == len(whole["events.jsonl"].splitlines()) + 1
    assert ours == {name: one for name, one in whole.items() if name != "events.jsonl"}


@pytest.mark.parametrize("text", ["{", "[]", '{"pause": true}', '{"stop": 1}', "\xff\xfe", ""])
def test_a_control_file_that_says_nothing_is_told_and_removed(
    text: str, here: Path, tmp_path: Path, never_stopped: Path
) -> None:
    heard: list[str] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Step) and event.step == 1:
            (tmp_path / "run" / "control.json").write_bytes(text.encode("latin-1"))
        if isinstance(event, events.Said):
            heard.append(event.text)

    run = train(tmp_path / "run", listen, steps=2)
    assert run.step == 2 and not (run.folder / "control.json").exists()
    assert len([line for line in heard if line.startswith("control.json was not understood")]) == 1


def test_nothing_is_asked_of_a_run_that_nobody_is_at(never_stopped: Path, tmp_path: Path) -> None:
    for what in (runs.stop, runs.checkpoint):
        with pytest.raises(postlude.ConfigError, match="no process is at work"):
            what(never_stopped)
        with pytest.raises(postlude.ConfigError, match=r"live\.json"):
            what(tmp_path)
    assert not (never_stopped / "control.json").exists()


def test_the_commands_watch_and_steer(here: Path, tmp_path: Path) -> None:
    folder, said = tmp_path / "run", list[str]()

    def listen(event: events.Event) -> None:
        if isinstance(event, events.Step) and event.step in (1, 2):
            for verb in ("status", "checkpoint" if event.step == 1 else "stop"):
                result = CliRunner().invoke(app, [verb, str(folder)])
                assert result.exit_code == 0, result.output
                said.append(" ".join(result.output.split()))

    run = train(folder, listen)
    assert run.step == 2 and [p.name for p in run.checkpoints] == ["step-000001", "step-000002"]
    assert "train step 1/4" in said[0] and f"process {os.getpid()}" in said[0]
    result = CliRunner().invoke(app, ["status", str(folder)])
    assert "interrupted step 2/4" in " ".join(result.output.split())


def test_a_function_of_a_module_that_is_gone_is_refused() -> None:
    def lost(completions: list[str]) -> list[float]:
        return [0.0 for _ in completions]

    lost.__module__, lost.__qualname__ = "a_module_that_is_gone", "lost"
    with pytest.raises(postlude.ConfigError, match="has no name at the top of a module"):
        postlude.check_recipe("grpo", model="m", data="d.jsonl", reward=lost)
