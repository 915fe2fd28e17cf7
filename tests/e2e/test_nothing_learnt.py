"""Runs in which nothing could be learnt: said early, and no model offered as if it were trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import TrainingError
from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Step
from postlude.runs.folder import Run
from tests.refusals import refused

BODY = """
def constant(completions):
    return [0.5] * len(completions)

def wrong(completions):
    return [0.0] * len(completions)

def right(completions):
    return [float(len(c.strip()) > 1) for c in completions]

def even(prompts, completions):
    return [float(len(p)) / 8 for p in prompts]

def late(completions, trainer_state):
    return [float(i % 2) if trainer_state.global_step == 4 else 0.0 for i in range(len(completions))]

def silent(completions):
    return [None] * len(completions)

def length(completions):
    return [float(sum(map(ord, c)) % 3) / 4 for c in completions]
"""


@pytest.fixture
def place(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{i}=" + "+" * (i % 3), "answer": str(i)} for i in range(8)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "mine.py").write_text(BODY)
    (tmp_path / "m").symlink_to(model_folder)
    return tmp_path


def run(
    function: str, steps: int = 4, method: str = "grpo", resume: bool = False, accepted: str = "", **values: Any
) -> Run:
    base = {
        "method": method,
        "model": {"path": "m"},
        "data": {"path": "p.jsonl"},
        "reward": [{"use": f"mine.py:{function}"}],
        "output": "run",
        "steps": steps,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 4},
        "schedule": {"lr": 1e-3},
    }
    return launch(Document({**base, **values}), resume, accepted=accepted)


def notes(folder: str = "run") -> list[tuple[int, str]]:
    return [(e["step"], e["text"]) for e in read(folder).of("note")]


@pytest.mark.parametrize(
    ("function", "method", "cause"),
    [
        ("wrong", "grpo", "every answer was wrong"),
        ("right", "grpo", "every answer was right"),
        ("wrong", "dapo", "every answer was wrong"),
        ("even", "grpo", "all answers to each prompt got the same reward"),
        ("wrong", "rft", "every answer was wrong"),
    ],
)
def test_it_is_said_after_three_steps_and_at_the_end_with_its_cause(
    place: Path, function: str, method: str, cause: str
) -> None:
    few: dict[str, Any] = {"keep": {"kind": "mixed", "max_rounds": 2}} if method == "dapo" else {}
    done = run(function, method=method, **few)
    said = [(step, text) for step, text in notes() if "nothing" in text and "learn" in text]
    assert [step for step, _ in said] == [3, 4]
    assert said[0][1].startswith(f"no-signal: nothing to learn from in the last 3 steps: {cause}")
    assert done.failed and done.conclusion == said[1][1]
    assert said[1][1].startswith(f"nothing was learnt in 4 steps: {cause}")
    assert said[1][1].endswith("The weights are as they were.")


@pytest.mark.parametrize("method", ["grpo", "reinforce", "ppo"])
def test_a_reward_that_is_the_same_for_anything_stops_the_run_at_its_first_draw(place: Path, method: str) -> None:
    with refused("reward-not-telling", said="the reward is 0.5 for everything that was tried"):
        run("constant", method=method)
    assert not any(event["kind"] == "step" for event in read(Path("run")).events)


def test_the_command_is_an_error_and_offers_no_model(place: Path) -> None:
    words = ["model=m", "data=p.jsonl", "reward=mine.py:wrong", "steps=3", "prompts_per_step=2", "output=run"]
    found = CliRunner().invoke(app, ["train", "grpo", *words, "sampling.max_tokens=4"])
    assert isinstance(found.exception, TrainingError) and found.exception.exit_code == 2
    assert "nothing was learnt in 3 steps" in str(found.exception) and "postlude sample" not in found.output
    assert "nothing was learnt" not in found.output, "the error says it, and once is enough"
    assert [text for _, text in notes() if text.startswith("nothing was learnt")], "the run's events say it too"
    again = CliRunner().invoke(app, ["train", "run", "--resume"])
    assert isinstance(again.exception, TrainingError), "a finished run is what it was"


def test_a_trial_of_a_step_or_two_says_so_and_is_no_error(place: Path) -> None:
    words = ["model=m", "data=p.jsonl", "reward=mine.py:wrong", "steps=2", "prompts_per_step=2", "output=run"]
    found = CliRunner().invoke(app, ["train", "grpo", *words, "sampling.max_tokens=4"], catch_exceptions=False)
    assert found.exit_code == 0
    assert "nothing was learnt in 2 steps" in found.output.splitlines()[-1]
    assert found.output.count("nothing was learnt") == 1 and "postlude sample" not in found.output


def test_one_step_with_a_signal_is_enough(place: Path) -> None:
    done = run("late", steps=6)
    assert not done.failed and done.conclusion is None
    assert [step for step, text in notes() if "nothing to learn from" in text] == [3]


def test_a_resumed_run_remembers_what_it_learnt_before(place: Path) -> None:
    assert not run("length", steps=2, checkpoint_every=2).failed
    done = run("wrong", steps=12, resume=True, accepted="reward")
    assert not done.failed and done.conclusion is None
    assert any("nothing to learn from in the last 10 steps" in text for _, text in notes())


def test_weights_that_moved_before_a_resume_have_moved(place: Path) -> None:
    """The second part moves none, at a rate beyond float32: the run as a whole is not one that moved nothing."""
    assert run("length", steps=2, schedule={"lr": 1e-3}).conclusion is None
    assert run("length", steps=3, schedule={"lr": 1e-30}, resume=True).conclusion is None


def test_a_resumed_run_goes_on_counting(place: Path) -> None:
    assert not run("wrong", steps=2).failed
    assert run("wrong", steps=3, resume=True).failed


def test_a_goal_that_was_reached_is_no_failure(place: Path) -> None:
    (place / "held.jsonl").write_text('{"prompt": "9=", "answer": "9"}\n')
    data = {"path": "p.jsonl", "eval": "held.jsonl"}
    done = run("right", steps=6, data=data, evaluate={"every": 3, "stop_at": 0.5})
    assert done.step == 3 and not done.failed and done.conclusion is None


@pytest.mark.parametrize("stop", [lambda run: setattr(run, "stop", True)])
def test_a_run_that_was_asked_to_stop_is_no_failure(place: Path, stop: Callable[[Run], None]) -> None:
    made: list[Run] = []

    def listen(event: Any) -> None:
        if isinstance(event, Step) and event.step == 3:
            stop(made[0])

    opened = Run.open

    def remember(folder: Path, resume: bool) -> Run:
        made.append(opened(folder, resume))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "open", remember)
        done = launch(
            Document(
                {
                    "method": "grpo", "model": {"path": "m"}, "data": {"path": "p.jsonl"}, "output": "run",
                    "reward": [{"use": "mine.py:wrong"}], "steps": 6, "prompts_per_step": 2, "group_size": 4,
                    "sampling": {"max_tokens": 4},
                }
            ),
            listeners=[listen],
        )  # fmt: skip
    assert done.step == 3 and not done.failed


@pytest.mark.parametrize(("lr", "said"), [(1e-30, "no weight is another than before"), (1e-3, None)])
def test_weights_that_did_not_move_at_all_are_told(place: Path, lr: float, said: str | None) -> None:
    done = run("length", steps=3, schedule={"lr": lr})
    assert not done.failed
    assert (done.conclusion or "").startswith(said or "") and bool(done.conclusion) == bool(said)
