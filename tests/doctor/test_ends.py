"""What `postlude doctor` says of how runs ended, and that the commands which it prints run as they stand."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import RewardError
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.folder import Run
from postlude.runs.history import History
from tests.learning import write

REWARD = """
from pathlib import Path

def paid(completions):
    here = Path(__file__).parent
    if (here / "broken").exists() and (here / "run/rollouts/step-000002.jsonl").exists():
        raise ConnectionError("no answer for the key sk-proj-abcdefghijklmnop1234567890")
    return [float(c.count("a")) for c in completions]

def silent(completions):
    gone = (Path(__file__).parent / "back/rollouts/step-000003.jsonl").exists()
    return [None if gone and i % 2 else float("a" in c) for i, c in enumerate(completions)]
"""
SICK: dict[str, float] = {
    "samples": 8, "unscored": 0, "sampled_accuracy": 0, "grad_norm": 0.0, "reward/mean": 0.0, "reward/std": 0.0,
    "reward/min": 0, "reward/max": 0, "truncated_frac": 0.99, "completion_length/mean": 9, "entropy": 1.0,
    "mismatch/ess": 0.1, "mismatch/k3": 1.0, "ratio/max": 900.0, "kl_ref/k3": 12.0,
}  # fmt: skip
runner = CliRunner()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("my ends")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    write(folder / "rows.jsonl", [{"prompt": f"{a}{b}>", "answer": a} for a in "abcd" for b in "ab"])
    (folder / "mine.py").write_text(REWARD)
    return folder


def train(home: Path, name: str, resume: bool = False, **changes: Any) -> History:
    return trained(home, name, resume, **changes).history()


def trained(home: Path, name: str, resume: bool = False, **changes: Any) -> Run:
    base = {
        "method": "grpo", "model": {"path": str(home / "model")}, "data": str(home / "rows.jsonl"),
        "reward": f"{home}/mine.py:paid", "steps": 1, "prompts_per_step": 2, "group_size": 4,
        "sampling": {"max_tokens": 4}, "schedule": {"lr": 1e-3}, "engine": {"token_budget": 512, "cache_gib": 0.1},
        "output": str(home / name), "checkpoints": {"every": 1},
    }  # fmt: skip
    return launch(Document({**base, **changes}), resume)


def printed(*words: str | Path, code: int = 0) -> str:
    result = runner.invoke(app, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_the_commands_for_a_finished_run_run_as_they_stand(home: Path) -> None:
    run = train(home, "done").folder
    start, *_, end = (run / "events.jsonl").read_text().splitlines()
    steps = [json.dumps({"kind": "step", "step": step, **SICK}) for step in range(1, 41)]
    (run / "events.jsonl").write_text("\n".join([start, *steps, end, ""]))
    (one,) = json.loads(printed("doctor", run, "--json"))["runs"]
    commands = sorted({found["command"] for found in one["findings"]} - {None})
    settings = " ".join(commands)
    assert all(key in settings for key in ("sampling.max_tokens=8", "schedule.lr=")), settings
    assert all(shlex.split(line)[-1] == f"output={run}-again" for line in commands), "a name with a space, in quotes"
    for number, line in enumerate(commands, 1):
        words = shlex.split(line)
        words[-1] += f"-{number}" if number > 1 else ""
        printed(*words[1:])
        assert read(words[-1].removeprefix("output=")).finished, line


def test_an_error_is_the_end_that_is_told_and_a_run_that_goes_on_takes_it_back(home: Path) -> None:
    (home / "broken").touch()
    with pytest.raises(RewardError):
        train(home, "run", steps=3)
    end = read(home / "run").end
    assert end is not None
    assert (end["reason"], end["code"]) == ("error", "reward-raised") and "ConnectionError" in end["text"]
    assert "sk-proj" not in (home / "run/events.jsonl").read_text() + (home / "run/live.json").read_text()
    text = printed("doctor", home / "run", "--strict", code=1)
    assert "✓" not in text and "ConnectionError" in " ".join(text.split()[:60]) and "[reward-raised]" in text
    assert text.count("not seen") == 1 and len(text.splitlines()) < 20
    assert printed("doctor", home / "run", "--details").count("not seen") > 5
    assert "ConnectionError" in printed("status", home / "run")
    (home / "broken").unlink()
    train(home, "run", resume=True, steps=3)
    whole = train(home, "whole", steps=3)
    events = [(home / name / "events.jsonl").read_text() for name in ("run", "whole")]
    assert events[0] == events[1] and whole.end == {"schema": 1, "kind": "end", "step": 3, "reason": "done"}
    (one,) = json.loads(printed("doctor", home / "run", "--json", "--strict"))["runs"]
    assert (one["state"], one["error"], one["steps"], one["planned"]) == ("done", None, 3, 3)


def test_more_steps_are_what_is_planned(home: Path) -> None:
    train(home, "longer")
    train(home, "longer", resume=True, steps=2)
    (one,) = json.loads(printed("doctor", home / "longer", "--json"))["runs"]
    assert (one["steps"], one["planned"]) == (2, 2)


def test_what_an_alarm_put_aside_names_its_run_and_is_no_run_to_train(home: Path) -> None:
    rollback = {"alarms": {"on": {"unscored": "rollback"}}, "checkpoints": {"every": 1, "keep": 16}}
    run = train(home, "back", steps=16, reward=f"{home}/mine.py:silent", **rollback)
    (aside,) = (run.folder / "taken-back").iterdir()
    assert run.steps == 3, "all that was sound"
    whole, part = json.loads(printed("doctor", run.folder, aside, "--json", "--strict", code=1))["runs"]
    assert (whole["steps"], whole["serious"], part["state"], part["aside_of"]) == (
        3,
        True,
        "put aside",
        str(run.folder),
    )
    commands = [found["command"] for found in part["findings"] if found["command"]]
    assert all(f"train '{run.folder}' " in line for line in commands), "never one inside taken-back"
    text = " ".join(printed("doctor", run.folder).split())
    assert "an alarm took the run back from step" in text and "got no reward" in text and "✓" not in text
    text = " ".join(printed("doctor", aside).split())
    assert (
        f"put aside by the alarm unscored of the run {run.folder}" in text
        and "killed" not in text
        and "of 16" not in text
    )


def test_where_no_checkpoint_is_sound_the_run_is_to_begin_anew(home: Path) -> None:
    changes = {"alarms": {"on": {"cut-off": "rollback"}}, "sampling": {"max_tokens": 1}, "steps": 4}
    run = trained(home, "from-the-first", **changes)
    assert run.halted is not None and "There is no checkpoint before step 1" in run.halted
    anew = f"train '{run.folder}' sampling.max_tokens=2 'output={run.folder}-again'"
    assert anew in run.halted and "--resume" not in run.halted
