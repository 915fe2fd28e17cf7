"""Alarms in whole runs: noted once, the same after a resume; a run that pauses, and one that goes back."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import ConfigError, PostludeError, TrainingError
from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs import taken_back as going_back
from postlude.runs.durable import Disk
from postlude.runs.events import Event, Step
from postlude.runs.folder import Listener, Run
from tests.refusals import refused

REWARD = """
def fades(completions, trainer_state):
    known = trainer_state.global_step < 4
    return [float(sum(map(ord, c)) % 3) / 2 if known else 0.0 for c in completions]
"""


@pytest.fixture
def place(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}="}) + "\n" for i in range(8)))
    (tmp_path / "mine.py").write_text(REWARD)
    (tmp_path / "m").symlink_to(model_folder)
    return tmp_path


def run(output: str = "run", resume: bool = False, listeners: Sequence[Listener] = (), **values: Any) -> Run:
    """Answers of one token are all cut off: an alarm after three steps."""
    base = {
        "method": "grpo",
        "model": {"path": "m"},
        "data": {"path": "p.jsonl"},
        "reward": [{"use": "mine.py:fades"}],
        "output": output,
        "steps": 6,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 1},
        "schedule": {"lr": 1e-3},
        "objective": {"kl": None},
        "checkpoints": {"every": 2, "keep": 9},
    }
    return launch(Document({**base, **values}), resume, listeners)


def events(folder: str | Path) -> bytes:
    return Path(folder, "events.jsonl").read_bytes()


def alarms(folder: str | Path) -> list[tuple[int, str]]:
    return [(row["step"], row["data"]["rule"]) for row in read(folder).of("note") if row["code"] == "alarm"]


class Killed(BaseException):
    """A process that ends there and then."""


# ------------------------------------------------------------------------------------------------------- noted


def test_an_alarm_is_noted_once_and_a_killed_run_has_the_same(place: Path) -> None:
    run("whole")
    assert alarms("whole") == [(3, "cut-off")]
    (note,) = [row for row in read("whole").of("note") if row["code"] == "alarm"]
    assert note["data"]["steps"] == [1, 2, 3] and note["data"]["value"] == 1.0 and note["data"]["threshold"] == 0.9
    assert note["text"].startswith("cut-off: 100% of the answers of the last 3 steps were cut off")
    for step in (3, 5):  # before and after the checkpoint that knows of it
        cut(f"cut-{step}", step)
        run(f"cut-{step}", resume=True)
        assert events(f"cut-{step}") == events("whole")


def cut(output: str, step: int) -> None:
    """A run whose process ends as a step's event is written."""

    def end(event: Event) -> None:
        if isinstance(event, Step) and event.step == step:
            raise Killed

    with pytest.raises(Killed):
        run(output, listeners=[end])


def test_what_is_ignored_is_not_noted(place: Path) -> None:
    run(alarms={"ignore": ["cut-off"]})
    assert alarms("run") == []


def test_a_rule_that_there_is_not_is_refused(place: Path) -> None:
    with refused("unknown-name", "alarms.ignore", said="there is no rule 'cut-of'. Did you mean 'cut-off'?"):
        run(alarms={"ignore": ["cut-of"], "on": {"kl-explosions": "pause"}})
    with pytest.raises(ConfigError, match=r"alarms\.action"):
        run(alarms={"action": "panic"})


# ------------------------------------------------------------------------------------------------------- pause


def test_a_pause_saves_says_how_to_go_on_and_does_not_come_again(place: Path) -> None:
    run("logged")
    done = run(alarms={"on": {"cut-off": "pause"}})
    assert (done.step, done.stop, done.checkpoints[-1].name) == (3, True, "step-000003")
    assert done.halted is not None and "The run is paused at step 3, and saved." in done.halted
    assert "postlude train run sampling.max_tokens=2 --resume" in done.halted
    assert read("run").end == {"schema": 1, "kind": "end", "step": 3, "reason": "interrupted"}
    again = run(resume=True, alarms={"on": {"cut-off": "pause"}})
    assert (again.step, again.halted) == (6, None)
    assert events("run") == events("logged")


def test_the_command_says_it_as_an_error_and_the_next_goes_on(place: Path) -> None:
    words = ["model=m", "data=p.jsonl", "reward=mine.py:fades", "steps=4", "prompts_per_step=2", "output=run"]
    words += ["sampling.max_tokens=1", "alarms.on.cut-off=pause"]
    result = CliRunner().invoke(app, ["train", "grpo", *words])
    assert isinstance(result.exception, TrainingError) and result.exception.code == "alarm"
    assert result.exception.exit_code == 2 and "paused at step 3" in str(result.exception)
    assert CliRunner().invoke(app, ["train", "run", "--resume"], catch_exceptions=False).exit_code == 0


def test_only_what_is_grave_pauses_by_the_action_of_all(place: Path) -> None:
    assert run(alarms={"action": "pause"}).halted is None, "cut-off is a warning"


# ---------------------------------------------------------------------------------------------------- rollback

FADED: dict[str, Any] = {"steps": 15, "alarms": {"action": "rollback", "ignore": ["cut-off", "endless"]}}
"""The reward says nothing from step 5 on: `no-signal` after step 14, ten steps later."""
ASIDE = Path("run/taken-back/step-000014-no-signal")


def folder_of(place: Path) -> dict[str, bytes]:
    """What lies there, without wall-clock values."""
    clocks = {"live.json", "timings.jsonl", "lock"}
    return {
        path.relative_to(place).as_posix(): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name not in clocks
    }


def test_a_rollback_goes_to_the_last_good_checkpoint_and_loses_nothing(place: Path) -> None:
    done = run(**FADED)
    assert (done.step, done.stop) == (4, True) and done.halted is not None
    assert "taken back from step 14 to step 4" in done.halted and str(ASIDE) in done.halted
    history, aside = read("run"), read(ASIDE)
    assert history.steps == 4 and history.end is not None and [p.name[-2:] for p in history.checkpoints] == ["02", "04"]
    assert Path("run/model").resolve().name == "step-000004" and not Path("run/taking-back.json").exists()
    assert sorted(history.rollouts) == [1, 2, 3, 4] and sorted(aside.rollouts) == [*range(5, 15)]
    assert aside.steps == 14 and alarms(ASIDE) == [(14, "no-signal")]
    assert [p.name[-2:] for p in aside.checkpoints] == ["06", "08", "10", "12", "14"]
    looked = CliRunner().invoke(app, ["doctor", "run", str(ASIDE)], catch_exceptions=False)
    said = " ".join(looked.output.split())
    assert (
        looked.exit_code == 0 and f"Put aside: {ASIDE}" in said and "took the run back from step 14: no-signal" in said
    )
    again = run(resume=True, **FADED)  # the same settings: the same again, beside what there is
    assert again.step == 4 and Path(f"{ASIDE}-2").is_dir()
    assert run(resume=True, **{**FADED, "alarms": {"ignore": ["no-signal", "cut-off", "endless"]}}).step == 15
    assert list(read("run").of("step"))[:14] == list(aside.of("step"))


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> Path:
    """A run that is about to go back: everything is saved, and what is to be done written down."""
    folder = tmp_path_factory.mktemp("turned")
    here = os.getcwd()
    os.chdir(folder)
    try:
        (folder / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}="}) + "\n" for i in range(8)))
        (folder / "mine.py").write_text(REWARD)
        (folder / "m").symlink_to(model_folder)
        run(**{**FADED, "steps": 14, "alarms": {"ignore": ["cut-off", "endless"]}})
    finally:
        os.chdir(here)
    return folder


@pytest.mark.parametrize("count", range(12))
def test_a_kill_within_a_rollback_is_finished_by_the_next(
    turned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Ended before its n-th change of the folder, whatever that is."""
    whole, part = (shutil.copytree(turned / "run", tmp_path / name, symlinks=True) for name in ("whole", "part"))
    going_back.finish(Disk(whole, print), going_back.ask(Disk(whole, print), 4, 14, "no-signal"))
    back = going_back.ask(Disk(part, print), 4, 14, "no-signal")
    changes = 0

    def end(name: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if armed and name in ("os.rename", "os.truncate", "os.remove", "os.mkdir", "shutil.copyfile", "os.symlink"):
            changes += 1
            if changes > count * 3:
                raise Killed

    armed = True
    HOOKS.append(end)
    try:
        going_back.finish(Disk(part, print), back)
    except Killed:
        pass
    finally:
        armed = False
        HOOKS.clear()
    unfinished = going_back.asked(part)
    if unfinished is not None:
        going_back.finish(Disk(part, print), unfinished)
    assert folder_of(part) == folder_of(whole)
    assert going_back.asked(part) is None


HOOKS: list[Any] = []


def _hear(name: str, arguments: tuple[Any, ...]) -> None:
    for hook in HOOKS:
        hook(name, arguments)


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    """Python tells of every change of a file system; such a hook cannot be taken away, so there is one."""
    sys.addaudithook(_hear)


def test_a_resume_finishes_a_rollback_first(place: Path, turned: Path) -> None:
    shutil.copytree(turned / "run", place / "run", symlinks=True)
    going_back.ask(Disk(place / "run", print), 4, 14, "no-signal")
    done = run(resume=True, **{**FADED, "steps": 6})
    assert done.step == 6 and ASIDE.is_dir() and sorted(read("run").rollouts) == [1, 2, 3, 4, 5, 6]


def test_what_is_asked_and_cannot_be_read_is_a_sentence(place: Path, turned: Path) -> None:
    shutil.copytree(turned / "run", place / "run", symlinks=True)
    (place / "run" / "taking-back.json").write_text("{")
    with pytest.raises(PostludeError, match="does not say which"):
        run(resume=True, **FADED)


def test_without_a_checkpoint_before_it_a_rollback_is_a_pause(place: Path) -> None:
    done = run(alarms={"on": {"cut-off": "rollback"}})
    assert done.step == 3 and done.halted is not None and "no checkpoint before step 1" in done.halted
    assert run(resume=True, alarms={"on": {"cut-off": "rollback"}}).step == 6
