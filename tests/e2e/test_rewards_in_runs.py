"""Rewards in whole runs: what survives a crash, a function that breaks, and steps that nothing could score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from postlude.errors import RewardError
from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Event, Step
from postlude.runs.folder import Run
from tests.refusals import refused

BODY = """
from pathlib import Path

HERE = Path(__file__).parent

def note(completions, trainer_state=None):
    with (HERE / "asked.txt").open("a") as out:
        out.writelines(repr(c) + "\\n" for c in completions)

async def slow(prompts, completions, log_extra):
    note([p + c for p, c in zip(prompts, completions)])
    log_extra("why", [c[::-1] for c in completions])
    return [float(sum(map(ord, c)) % 3) - 1 for c in completions]

def breaks(completions, trainer_state):
    if trainer_state.global_step == 3 and (HERE / "broken").exists():
        raise ConnectionError("the judge is gone")
    return [float(sum(map(ord, c)) % 2) for c in completions]

def mute(completions, trainer_state):
    silent = trainer_state.global_step in range(*map(int, (HERE / "mute").read_text().split()))
    return [None if silent and i % 2 else float(len(c)) for i, c in enumerate(completions)]

def form(completions):
    return [float(sum(map(ord, c)) % 2) for c in completions]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows = [{"prompt": f"{i}=", "answer": str(i)} for i in range(40)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[:36]))
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows[36:]))
    (tmp_path / "mine.py").write_text(BODY)
    return tmp_path


def run(place: Path, model: Path, function: str, output: str, resume: bool = False, **values: Any) -> Run:
    """Six small steps; `reward` goes into the entry of the function, a listener `at_step` hears of finished steps."""
    settings, at_step = values.pop("reward", {}), values.pop("at_step", lambda step: None)
    base = {
        "method": "grpo",
        "model": {"path": str(model)},
        "data": {"path": str(place / "prompts.jsonl"), "eval": str(place / "eval.jsonl")},
        "evaluate": {"every": 3},
        "reward": [*values.pop("first", []), {"use": f"{place}/mine.py:{function}", **settings}],
        "output": str(place / output),
        "steps": 6,
        "prompts_per_step": 4,
        "group_size": 4,
        "sampling": {"max_tokens": 5},
        "schedule": {"lr": 1e-3},
        "checkpoint_every": 0,
    }

    def listen(event: Event) -> None:
        if isinstance(event, Step):
            at_step(event.step)

    return launch(Document({**base, **values}), resume, [listen])


def killed(at: int) -> Any:
    """A listener that ends the process, as far as a test can, after a step."""

    def listen(step: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    return listen


def events(folder: Path, kind: str = "step") -> list[dict[str, Any]]:
    return [*read(folder).of(kind)]


def same(whole: Run, again: Run) -> None:
    """Both runs ended alike: weights, figures, every answer."""
    one, other = (load_file(r.folder / "model" / "model.safetensors") for r in (whole, again))
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    for kind in ("step", "eval"):
        assert events(whole.folder, kind) == events(again.folder, kind)
    for file in sorted((whole.folder / "rollouts").iterdir()):
        assert file.read_text() == (again.folder / "rollouts" / file.name).read_text(), file.name


def test_a_run_that_crashed_asks_for_no_score_twice(place: Path, model_folder: Path) -> None:
    settings = {"checkpoint_every": 2, "reward": {"cache": True}}
    whole = run(place, model_folder, "slow", "whole", **settings)
    asked = (place / "asked.txt").read_text()
    (place / "asked.txt").unlink()
    with pytest.raises(KeyboardInterrupt):
        run(place, model_folder, "slow", "parts", at_step=killed(5), **settings)
    assert (place / "parts" / "reward-cache.sqlite").exists()
    again = run(place, model_folder, "slow", "parts", resume=True, **settings)
    lines = (place / "asked.txt").read_text().splitlines()
    assert len(set(lines)) == len(lines)
    assert sorted(lines) == sorted(asked.splitlines())
    repeated = events(again.folder)[4]
    assert repeated["reward/slow/cached"] == 1.0, "step 5 was scored before the crash"
    for event in (*events(whole.folder), *events(again.folder)):
        del event["reward/slow/cached"]
    for file in sorted((whole.folder / "rollouts").iterdir()):
        assert file.read_text() == (again.folder / "rollouts" / file.name).read_text(), file.name


@pytest.mark.parametrize("method", ["grpo", "dapo"])
@pytest.mark.parametrize("max_lag", [0, 1])
def test_a_reward_that_stops_the_run_loses_nothing(place: Path, model_folder: Path, method: str, max_lag: int) -> None:
    settings = {"method": method, "max_lag": max_lag}
    whole = run(place, model_folder, "breaks", "whole", **settings)
    (place / "broken").touch()
    with pytest.raises(RewardError) as error:
        run(place, model_folder, "breaks", "parts", **settings)
    message = str(error.value)
    assert "reward breaks raised ConnectionError at mine.py line" in message
    assert 'in breaks: raise ConnectionError("the judge is gone")' in message
    assert f"The weights after step 3 are saved. Once it is mended, go on with: postlude train {place}/parts" in message
    assert [p.name for p in Run(place / "parts").checkpoints] == ["step-000003"]
    (place / "broken").unlink()
    same(whole, run(place, model_folder, "breaks", "parts", resume=True, **settings))


def test_answers_that_wait_for_a_score_survive_a_second_failure(place: Path, model_folder: Path) -> None:
    whole = run(place, model_folder, "breaks", "whole", max_lag=1)
    (place / "broken").touch()
    for resume in (False, True):
        with refused("reward-raised", said="the judge is gone", kind=RewardError):
            run(place, model_folder, "breaks", "parts", resume, max_lag=1)
    (place / "broken").unlink()
    same(whole, run(place, model_folder, "breaks", "parts", True, max_lag=1))


def test_an_error_in_the_first_step_leaves_no_checkpoint(place: Path, model_folder: Path) -> None:
    (place / "mine.py").write_text("def fn(completions):\n    raise ValueError\n")
    with pytest.raises(RewardError) as error:
        run(place, model_folder, "fn", "run")
    assert "are saved" not in str(error.value)
    assert not Run(place / "run").checkpoints


def test_steps_that_could_not_be_scored_are_not_trained_and_three_in_a_row_stop(
    place: Path, model_folder: Path
) -> None:
    (place / "mute").write_text("1 3")
    done = run(place, model_folder, "mute", "some", reward={"abstain": 0.4})
    notes = [n for n in events(done.folder, "note") if "could not score 8 of 16 answers" in n["text"]]
    assert [n["step"] for n in notes] == [1, 2]
    assert "nothing of this step is trained on" in notes[0]["text"]
    assert ["grad_norm" in e for e in events(done.folder)] == [True, False, False, True, True, True]
    (place / "mute").write_text("1 9")
    with refused("reward-abstains", said="in 3 steps in a row", kind=RewardError):
        run(place, model_folder, "mute", "all", reward={"abstain": 0.4})
    assert [e["step"] for e in events(place / "all")] == [1, 2, 3]


def test_steps_in_a_row_are_counted_across_a_resume(place: Path, model_folder: Path) -> None:
    (place / "mute").write_text("1 9")
    settings = {"reward": {"abstain": 0.4}, "checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        run(place, model_folder, "mute", "run", at_step=killed(3), **settings)
    with refused("reward-abstains", said="in 3 steps in a row", kind=RewardError):
        run(place, model_folder, "mute", "run", resume=True, **settings)
    assert [e["step"] for e in events(place / "run")] == [
        1,
        2,
        3,
    ]  # without the count of the checkpoint of step 2 it would be one more
    (place / "mute").write_text("0 0")
    assert run(place, model_folder, "mute", "run", resume=True, **settings).step == 6


def test_a_function_may_say_itself_how_much_it_may_abstain(place: Path, model_folder: Path) -> None:
    with (place / "mine.py").open("a") as out:
        out.write("mute.abstain = 0.4\n")
    (place / "mute").write_text("1 2")
    done = run(place, model_folder, "mute", "own")
    assert any("could not score" in n["text"] for n in events(done.folder, "note"))
    done = run(place, model_folder, "mute", "recipe", reward={"abstain": 1.0})
    assert not any("could not score" in n["text"] for n in events(done.folder, "note"))


def test_shares_that_gates_stop_are_figures_of_steps_and_of_measurements(place: Path, model_folder: Path) -> None:
    gate = [{"use": f"{place}/mine.py:form", "gate": 1, "weight": 0}]
    done = run(place, model_folder, "slow", "gated", first=gate, reward={"clip": [0, 1]}, steps=2)
    for event in events(done.folder):
        assert 0 < event["gate/form"] < 1
        assert event["reward/slow"] != event["reward/slow/used"]
    rows = read(done.folder).rollouts.all()
    stopped = [r for r in rows if sum(map(ord, r["completion"])) % 2 == 0]
    assert stopped and all(r["scores"] == {"form": 0.0} and r["why"] is None and not r["correct"] for r in stopped)
    assert all(r["why"] == r["completion"][::-1] for r in rows if r not in stopped)
    measured = events(done.folder, "eval")[-1]
    assert 0 <= measured["sampled/gate/form"] <= 1
