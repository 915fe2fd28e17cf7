"""Whole runs on judged answers, with critics, and with reward models, judged by what the model then writes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.rewards.compose import Rewards
from postlude.rewards.spec import RewardSpec
from tests.e2e.test_methods import LETTERS, figures, run, weights
from tests.e2e.test_methods import world as world  # the fixture


@pytest.fixture(scope="module")
def judged(world: Path) -> Path:
    """Pairs, lists, labels and labelled steps about the task of `world`, and plain text."""
    rng = random.Random(1)
    kinds: dict[str, list[dict[str, Any]]] = {n: [] for n in ("pairs", "soft", "ranked", "labels", "steps", "text")}
    for row in map(json.loads, (world / "prompts.jsonl").read_text().splitlines()):
        for _ in range(12):
            dots = "." * rng.choice((1, 4))
            right, wrong = (
                f"{dots}#{x}" for x in (row["answer"], rng.choice([c for c in LETTERS if c != row["answer"]]))
            )
            p = {"prompt": row["prompt"]}
            good = rng.random() < 0.5
            kinds["pairs"].append({**p, "chosen": right, "rejected": wrong})
            kinds["soft"].append({**p, "chosen": right, "rejected": wrong, "probability": 0.9})
            kinds["ranked"].append({**p, "completions": [wrong, right, dots], "ranks": [2, 1, 3]})
            kinds["labels"].append({**p, "completion": right if good else wrong, "label": good})
            kinds["steps"].append({**p, "completions": [dots, (right if good else wrong)[-1]], "labels": [True, good]})
            kinds["text"].append({"text": row["prompt"] + right})
    for name, rows in kinds.items():
        rng.shuffle(rows)
        (world / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        held = [r for r in rows if random.Random(r.get("prompt") or r["text"][:3]).random() < 0.25]
        (world / f"{name}-train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows if r not in held))
        (world / f"{name}-held.jsonl").write_text("".join(json.dumps(r) + "\n" for r in held))
    return world


def on(world: Path, data: str, **values: Any) -> dict[str, Any]:
    """Settings for a method on judged answers."""
    files = {"path": str(world / f"{data}.jsonl"), "eval": str(world / "eval.jsonl")}
    return {"data": files, "steps": 60, "prompts_per_step": 16, "schedule": {"lr": 2e-4}, **values}


@pytest.mark.parametrize(
    ("method", "objective"),
    [
        ("dpo", {"nll": 0.5}),  # recipes/dpo.yaml
        ("cdpo", {"nll": 0.5}),
        ("dpo_robust", {"nll": 0.5}),
        ("dpo_length_normalised", {"nll": 0.5}),
        ("simpo", {"nll": 0.5}),
        ("hinge", {"nll": 1.0}),
        ("ipo", {"nll": 5.0}),  # its squares pull harder, so the likelihood term must too
        ("ipo_mean", {"nll": 10.0}),
        ("orpo", {}),
        ("kto", {"nll": 0.5}),
    ],
)
def test_judged_answers_leave_generation_better_not_ruined(
    judged: Path, method: str, objective: dict[str, Any]
) -> None:
    """Without a likelihood term the cheapest way to lower a wrong answer is not to end it: see docs/feedback.md."""
    data, rate = "labels" if method == "kto" else "pairs", 1e-3 if method == "orpo" else 3e-4
    settings = on(judged, data, steps=120, schedule={"lr": rate, "warmup": 10, "decay": "linear"}, objective=objective)
    settings["evaluate"] = {"every": 0, "prompts": 16, "samples": 16}
    first, last = figures(run(judged, method, "sft/model", **settings))
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.05
    assert last["greedy/accuracy"] >= first["greedy/accuracy"]
    assert last["sampled/truncated_frac"] <= first["sampled/truncated_frac"] + 0.2, "it still ends its answers"


def test_the_dpo_recipe_says_what_the_test_does() -> None:
    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "dpo.yaml").read_text())
    assert recipe["method"] == "dpo" and recipe["objective"] == {"nll": 0.5}


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ppo", {"prompts_per_step": 64, "steps": 40, "schedule": {"lr": 5e-4}, "critic": {"lr": 3e-3, "warmup": 2}}),
        ("ppo", {"prompts_per_step": 64, "critic": {"form": "trunk"}, "output": "ppo-trunk"}),
        ("ppo_penalty", {"prompts_per_step": 64, "critic": {"lr": 3e-3}}),
        ("drpo_value", {"schedule": {"lr": 5e-4}}),
        ("online_dpo", {"schedule": {"lr": 3e-4}}),
        ("expert_iteration", {"steps": 8, "prompts_per_step": 32, "updates": 4, "epochs": 1}),
    ],
)
def test_online_methods_raise_held_out_accuracy(judged: Path, method: str, settings: dict[str, Any]) -> None:
    done = run(judged, method, "sft/model", **settings)
    first, last = figures(done)
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.08
    assert last["greedy/accuracy"] >= 0.7
    if method.startswith("ppo"):
        assert "value/explained_variance" in figures(done, "step")[-1]


def test_text_beside_ppo_is_not_forgotten(judged: Path) -> None:
    text = {"path": str(judged / "text.jsonl"), "eval": str(judged / "text-held.jsonl"), "rows": 32}
    settings = {"prompts_per_step": 64, "critic": {"lr": 3e-3}}
    done = run(judged, "ppo_ptx", "sft/model", pretrain=text, **settings)
    first, last = figures(done)
    assert last["pretrain/held_out/loss/policy"] < first["pretrain/held_out/loss/policy"] - 0.1
    assert last["sampled/accuracy"] > first["sampled/accuracy"] + 0.05
    assert "pretrain/loss/policy" in figures(done, "step")[0]


@pytest.mark.parametrize(
    ("method", "data", "figure", "least"),
    [
        ("reward_model", "pairs", "held_out/rewards/accuracy", 0.8),
        ("reward_model_soft", "soft", "held_out/rewards/accuracy", 0.8),
        ("reward_model_binary", "labels", "held_out/rewards/accuracy", 0.7),
        ("reward_model_pair", "pairs", "held_out/rewards/accuracy", 0.75),
        ("reward_model_listwise", "ranked", "held_out/rewards/accuracy", 0.8),
        ("reward_model_process", "steps", None, 0.0),
    ],
)
def test_reward_models_tell_right_from_wrong(
    judged: Path, method: str, data: str, figure: str | None, least: float
) -> None:
    files = {
        "path": str(judged / f"{data}-train.jsonl"),
        "eval": str(judged / f"{data}-held.jsonl"),
        "step_separator": "#",
    }
    steps = {"reward_model_binary": 240, "reward_model_pair": 240}.get(method, 80)
    settings = {
        "data": files,
        "reward": [],
        "steps": steps,
        "prompts_per_step": 32,
        "schedule": {"lr": 5e-4, "warmup": 5, "decay": "linear"},
    }
    first, last = figures(run(judged, method, "sft/model", evaluate={"every": 0, "prompts": 128}, **settings))
    if figure is not None:  # the loss may rise all the same: some are sure of themselves where they err
        assert last[figure] >= least
        return
    loss = next(k for k in last if k.startswith("held_out/loss/"))
    assert last[loss] < 0.75 * first[loss]


def train_scorer(judged: Path, method: str, data: str) -> str:
    """The folder of a reward model trained for one test: others may run in another process."""
    files = {"path": str(judged / f"{data}.jsonl"), "step_separator": "#"}
    settings = {"data": files, "reward": [], "steps": 80, "prompts_per_step": 32, "schedule": {"lr": 5e-4, "warmup": 5}}
    return str(run(judged, method, "sft/model", output=f"{method}-whole", **settings).folder)


def test_a_reward_model_is_followed_and_a_process_model_rewards_steps(judged: Path) -> None:
    path = train_scorer(judged, "reward_model", "ranked")  # lists know answers without a letter as the worst
    learned = {"use": "model", "args": {"path": [path] * 2, "combine": "worst"}}
    gold = {"use": "exact", "weight": 0, "outcome": True, "args": {"after": "#"}}
    done = run(judged, "grpo", "sft/model", output="followed", reward=[learned, gold], schedule={"lr": 3e-4})
    first, last = figures(done)
    assert last["sampled/reward/model"] > first["sampled/reward/model"] + 0.3
    assert last["sampled/accuracy"] > first["sampled/accuracy"]
    assert figures(done, "step")[0]["model/disagreement"] == 0.0, "an ensemble of one model twice"
    path = train_scorer(judged, "reward_model_process", "steps")
    steps = {"use": "process_model", "args": {"path": path, "separator": "#"}}
    done = run(judged, "grpo_process", "sft/model", reward=[steps, gold], objective={"kl": None})
    first, last = figures(done)
    assert last["sampled/reward/process_model"] > first["sampled/reward/process_model"]


def test_a_pair_model_is_measured_as_one_and_is_no_other_reward(judged: Path) -> None:
    path = train_scorer(judged, "reward_model_pair", "pairs")
    words = ["eval", path, "--data", str(judged / "pairs-held.jsonl"), "--out", str(judged / "pair.json")]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    figures_ = json.loads((judged / "pair.json").read_text())
    assert figures_["figures"]["accuracy"] > 0.55
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
        ("dpo", {"data": "pairs", "prompts_per_step": 60}),  # goes through the file more than once
        ("kto", {"data": "labels", "prompts_per_step": 60}),
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
