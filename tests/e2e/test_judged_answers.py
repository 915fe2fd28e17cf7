"""Whole runs on judged answers, with critics, and with reward models, judged by what the model then writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.cases import CRITICS, FOLLOWED, GOLD, JUDGED, SCORERS, TEXT_BESIDE, train_scorer
from tests.learning import Case, chosen, figures, keeps, run, weights


def on(world: Path, data: str, **values: Any) -> dict[str, Any]:
    """Settings for a method on judged answers."""
    files = {"path": str(world / f"{data}.jsonl"), "eval": str(world / "eval.jsonl")}
    return {"data": files, "steps": 60, "prompts_per_step": 16, "schedule": {"lr": 2e-4}, **values}


@pytest.mark.parametrize("case", chosen(JUDGED, "dpo", "kto"))
def test_judged_answers_leave_generation_better_not_ruined(judged: Path, case: Case) -> None:
    keeps(case, judged)


def test_the_dpo_recipe_says_what_the_test_does() -> None:
    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "dpo.yaml").read_text())
    assert recipe["method"] == "dpo" and recipe["objective"] == {"nll": 0.5}


@pytest.mark.parametrize("case", chosen(CRITICS, "ppo", "online_dpo"))
def test_online_methods_raise_held_out_accuracy(judged: Path, case: Case) -> None:
    done = keeps(case, judged).run
    if case.name.startswith("ppo"):
        assert "value/explained_variance" in figures(done, "step")[-1]


@pytest.mark.slow
def test_text_beside_ppo_is_not_forgotten(judged: Path) -> None:
    assert "pretrain/loss/policy" in figures(keeps(TEXT_BESIDE, judged).run, "step")[0]


@pytest.mark.parametrize("case", chosen(SCORERS, "reward_model", "reward_model_process"))
def test_reward_models_tell_right_from_wrong(judged: Path, case: Case) -> None:
    keeps(case, judged)


def test_a_reward_model_is_followed(judged: Path) -> None:
    first = figures(keeps(FOLLOWED, judged).run, "step")[0]
    assert first["model/disagreement"] == 0.0, "an ensemble of one model twice"


def test_a_process_model_rewards_steps(judged: Path) -> None:
    path = train_scorer(judged, "reward_model_process", "steps", steps=4)
    steps = {"use": "process_model", "args": {"path": path, "separator": "#", "dtype": "float64"}}
    done = run(judged, "grpo_process", "sft/model", reward=[steps, GOLD], objective={"kl": None}, steps=2)
    assert 0 < figures(done)[-1]["sampled/reward/process_model"] < 1
    assert all(event["grad_norm"] > 0 for event in figures(done, "step"))


def test_a_pair_model_is_measured_as_one_and_is_no_other_reward(judged: Path) -> None:
    path = train_scorer(judged, "reward_model_pair", "pairs", steps=4)
    words = ["eval", path, "--data", str(judged / "pairs-held.jsonl"), "--out", str(judged / "pair.json")]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    figures_ = json.loads((judged / "pair.json").read_text())
    assert 0 <= figures_["figures"]["accuracy"] <= 1
    first, second = figures_["scores"][0]["scores"]
    assert first == -second, "it says a chance, and nothing of one answer"
    with pytest.raises(ConfigError, match="reads two answers at once; as a reward it is `pair_model`"):
        Rewards.of([RewardSpec("model", args={"path": path})])
    Rewards.of([RewardSpec("pair_model", args={"path": path})])
    with pytest.raises(ConfigError, match="and this model reads two answers"):
        CliRunner().invoke(app, [*words[:3], str(judged / "labels.jsonl")], catch_exceptions=False)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("dpo", {"data": "pairs", "prompts_per_step": 200}),  # goes through the file more than once
        ("kto", {"data": "labels", "prompts_per_step": 200}),
        ("ppo", {"kl_control": {"target": 0.5, "horizon": 500}, "prompts_per_step": 24}),
        ("ppo_ptx", {"pretrain": "text", "critic": {"form": "trunk"}, "prompts_per_step": 24, "epochs": 2}),
    ],
)
def test_a_resumed_run_is_the_same_run(judged: Path, method: str, settings: dict[str, Any]) -> None:
    settings = dict(settings)
    if "data" in settings:
        settings = (
            on(judged, settings["data"]) | settings | {"data": {"path": str(judged / f"{settings['data']}.jsonl")}}
        )
        settings["reward"] = []
    if "pretrain" in settings:
        settings["pretrain"] = {"path": str(judged / "text.jsonl"), "rows": 8}
    whole = run(judged, method, "sft/model", output=f"{method}-whole", **{**settings, "steps": 6})
    run(judged, method, "sft/model", output=f"{method}-cut", **{**settings, "steps": 3})
    again = run(judged, method, "sft/model", True, output=f"{method}-cut", **{**settings, "steps": 6})
    steps = [list(figures(r, "step")) for r in (whole, again)]
    assert steps[0] == steps[1]
    for key, value in weights(whole.folder).items():
        assert torch.equal(value, weights(again.folder)[key]), key


def test_what_moves_too_far_is_left_out_and_said(judged: Path) -> None:
    settings = {
        "updates": 8,
        "epochs": 2,
        "stop_kl": 1e-4,
        "prompts_per_step": 32,
        "steps": 2,
        "schedule": {"lr": 3e-3},
    }
    done = run(judged, "ppo", "sft/model", output="stopped", **settings)
    notes = [n["text"] for n in figures(done, "note")]
    assert any("beyond stop_kl 0.0001: the rest of this draw's updates was left out" in n for n in notes)


def test_displacement_is_said_once(judged: Path) -> None:
    settings = on(judged, "pairs", steps=30, schedule={"lr": 3e-3})
    done = run(judged, "dpo", "sft/model", output="displaced", **settings)
    notes = [n["text"] for n in figures(done, "note") if "displacement" in n["text"]]
    assert len(notes) == 1 and "objective.nll" in notes[0]
