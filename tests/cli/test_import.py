"""postlude config import: TRL's and verl's configurations become recipes, and nothing is dropped in silence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from postlude.check import check
from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.plain_yaml import Loader
from postlude.recipe import documents
from postlude.recipe.importing import Imported, import_file
from postlude.recipe.resolution import resolve
from postlude.recipe.schema import Recipe
from tests.fake_vllm import interpreter
from tests.refusals import refused

FIXTURES = Path(__file__).parent.parent / "fixtures"
FILES = ("trl-grpo.yaml", "trl-rloo.json", "trl-sft.yaml", "trl-dpo.yaml", "verl-dapo.sh", "verl-ppo.yaml")


def recipe_of(found: Imported, folder: Path) -> Recipe:
    """The written text, read again as a user's recipe."""
    (folder / "r.yaml").write_text(found.text)
    document = documents.read(folder / "r.yaml")
    for key, value in (("model", "m"), ("data", "d.jsonl"), ("reward", "exact")):
        there = document.values.get(key)
        if there is None or (isinstance(there, dict) and "path" not in there):
            documents.override(document, [f"{key}={value}"])
    return resolve(document)


def from_text(folder: Path, text: str, name: str = "theirs.yaml", **options: Any) -> Imported:
    (folder / name).write_text(text)
    return import_file(folder / name, **options)


@pytest.mark.parametrize("name", FILES)
def test_every_key_that_was_read_is_accounted_for(name: str) -> None:
    found = import_file(FIXTURES / name)
    read = set(found.source.settings)
    assert found.count + len(found.left) == len(read)
    told = {n for names in found.translated.values() for n in names} | set(found.left)
    assert told == read
    text = found.text
    assert all(re.search(rf"(?<![\w.]){re.escape(key)}(?![\w.])", text) for key in read)
    assert f"{len(read)} keys read = {found.count} translated + {len(found.left)} not translated" in text


@pytest.mark.parametrize("name", [f for f in FILES if f != "trl-dpo.yaml"])
def test_the_recipe_passes_the_check_once_model_data_and_reward_are_given(
    name: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sft = name == "trl-sft.yaml"
    rows = [{"prompt": f"{i}=", **({"completion": str(i)} if sft else {"answer": str(i)})} for i in range(80)]
    Path("d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    Path("held-out.jsonl").write_text('{"prompt": "99=", "answer": "99"}\n')
    written = CliRunner().invoke(app, ["config", "import", str(FIXTURES / name), "--output", "r.yaml"])
    assert written.exit_code == 0, written.output
    document = documents.read(Path("r.yaml"))
    words = [f"model={model_folder}", "data=d.jsonl", "data.split=train", "sampling.max_tokens=8"]
    if "targets" in str(document.values.get("model")):
        words.append("model.lora.targets=all-linear")
    if "shaping" in document.values:
        words.append("shaping.0.cache=4")
    if "servers" in document.values.get("engine", {}):
        words.append(f"engine.servers.python={interpreter(tmp_path / 'vllm')}")
    documents.override(document, words + ([] if sft else ["reward=exact"]))
    assert check(document).recipe.method == document.values["method"]


def test_a_trl_grpo_file_has_trls_effective_settings(tmp_path: Path) -> None:
    found = recipe_of(import_file(FIXTURES / "trl-grpo.yaml"), tmp_path)
    objective = found.objective
    assert (found.method, found.group_size, found.prompts_per_step, found.updates, found.epochs) == (
        "grpo",
        16,
        4,
        1,
        2,
    )
    assert found.steps == 200, "400 optimiser steps, two per draw"
    assert found.engine.dtype == "bfloat16" and found.model.lora and found.model.lora.alpha == 64
    assert found.schedule.lr == 2e-6, "not ten times that, although an adapter is trained"
    assert (found.schedule.decay, found.schedule.final, found.schedule.warmup) == ("cosine", 0.0, 5)
    assert objective.aggregate.mode == "token_mean", "TRL's default loss"  # type: ignore[union-attr]
    assert (objective.kl.estimator, objective.kl.coef) == ("k3_ratio", 0.04)  # type: ignore[union-attr]
    assert (objective.surrogate.low, objective.surrogate.high) == (0.2, 0.28)  # type: ignore[union-attr]
    assert objective.advantage.eps == 1e-4 and objective.mask_truncated  # type: ignore[union-attr]
    assert (objective.correction.mode, objective.correction.high) == ("sequence_mask", 3.0)  # type: ignore[union-attr]
    assert found.optimizer.beta2 == 0.999
    assert [(r.use, r.weight) for r in found.reward][1] == ("my_project.rewards:brief", 0.2)


def test_an_almost_empty_trl_file_still_has_trls_defaults(tmp_path: Path) -> None:
    found = recipe_of(from_text(tmp_path, "num_generations: 8\nscale_rewards: group\n"), tmp_path)
    objective = found.objective
    assert objective.kl is None, "TRL's beta is 0"  # type: ignore[union-attr]
    assert objective.aggregate.mode == "token_mean" and objective.correction is None  # type: ignore[union-attr]
    assert found.sampling.max_tokens == 512 and found.schedule.decay == "linear" and found.engine.dtype == "bfloat16"
    assert found.engine.gradient_checkpointing and found.keep is None and found.shaping == ()


def test_a_verl_script_has_its_variables_and_sums_filled_in(tmp_path: Path) -> None:
    found = import_file(FIXTURES / "verl-dapo.sh")
    recipe = recipe_of(found, tmp_path)
    objective = recipe.objective
    assert found.method == "dapo" and recipe.model.path == "Qwen/Qwen3-4B-Base"
    assert (recipe.prompts_per_step, recipe.group_size, recipe.updates, recipe.steps) == (64, 16, 2, 200)
    assert recipe.sampling.max_tokens == 8192
    assert recipe.keep and recipe.keep.kind == "mixed" and recipe.keep.max_rounds == 10  # type: ignore[union-attr]
    assert [(s.kind, s.cache) for s in recipe.shaping] == [("overlong", 2048)]  # type: ignore[union-attr]
    assert (objective.surrogate.dual, objective.correction, objective.kl) == (10.0, None, None)  # type: ignore[union-attr]
    assert recipe.optimizer.weight_decay == 0.1 and recipe.schedule.warmup == 10
    assert found.left["data.train_files"].startswith("its value refers to another setting or variable")
    assert "reward" in found.decisions and "steps" not in found.decisions


def test_a_resolved_verl_configuration_follows_its_references(tmp_path: Path) -> None:
    found = import_file(FIXTURES / "verl-ppo.yaml")
    recipe = recipe_of(found, tmp_path)
    objective = recipe.objective
    assert found.method == "gspo_token" and recipe.updates == 4 and recipe.sampling.max_tokens == 2048
    assert recipe.output == "checkpoints/demo"
    assert (objective.kl.estimator, objective.kl.coef) == ("k3", 0.001)  # type: ignore[union-attr]
    assert (objective.surrogate.low, objective.surrogate.dual) == (0.2, None)  # type: ignore[union-attr]
    assert objective.aggregate.mode == "seq_mean_token_mean"  # type: ignore[union-attr]
    assert (objective.correction.mode, objective.correction.high) == ("token_truncate", 3.0)  # type: ignore[union-attr]
    assert "before it" in found.left["actor_rollout_ref.actor.clip_ratio"]
    assert "steps" in found.decisions


def test_verls_silent_defaults_are_written_out(tmp_path: Path) -> None:
    text = "algorithm.adv_estimator=rloo\nactor_rollout_ref.rollout.n=4\n"
    found = recipe_of(from_text(tmp_path, text, "overrides.txt"), tmp_path)
    objective = found.objective
    assert found.method == "rloo" and (found.prompts_per_step, found.updates) == (1024, 4)
    assert (objective.surrogate.kind, objective.surrogate.dual) == ("clip", 3.0)  # type: ignore[union-attr]
    assert (objective.ratio, objective.aggregate.mode) == ("token", "token_mean")  # type: ignore[union-attr]
    assert objective.advantage.kl_coef == 0 and found.optimizer.weight_decay == 0.01  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("num_generations: 8\nscale_rewards: none\nloss_type: dr_grpo", "dr_grpo"),
        ("num_generations: 8\nloss_type: dapo", "dapo"),
        ("num_generations: 8\nloss_type: grpo", "grpo"),
        ("num_generations: 8\nloss_type: cispo\nepsilon_high: 5.0", "cispo"),
        ("num_generations: 8\nimportance_sampling_level: sequence", "gspo"),
        ("num_generations: 2\nnormalize_advantages: false", "rloo_clip"),
        ("packing: true\nlearning_rate: 1e-5", "sft"),
        ("beta: 0.1\nloss_type: ipo", "ipo_mean"),
        ("beta: 0.1\nlabel_smoothing: 0.1\nprecompute_ref_log_probs: true", "cdpo"),
        ("desirable_weight: 1.0\nbeta: 0.1", "kto"),
        ("loss_type: kto\nprecompute_ref_log_probs: false", "kto"),
        ("num_ppo_epochs: 4\nvf_coef: 0.1", "ppo"),
        ("algorithm: {adv_estimator: gae}", "ppo"),
        ("algorithm: {adv_estimator: grpo}\nactor_rollout_ref: {rollout: {n: 4}}", "grpo"),
        ("algorithm: {adv_estimator: reinforce_plus_plus}", "reinforce_pp"),
        (
            "algorithm: {adv_estimator: reinforce_plus_plus_baseline}\nactor_rollout_ref: {rollout: {n: 4}}",
            "reinforce_pp_baseline",
        ),
        (
            "algorithm: {adv_estimator: grpo, filter_groups: {enable: true}}\nactor_rollout_ref: {rollout: {n: 4}}",
            "dapo",
        ),
        (
            "algorithm: {adv_estimator: grpo, norm_adv_by_std_in_grpo: false}\n"
            "actor_rollout_ref: {rollout: {n: 4}, actor: {loss_agg_mode: seq-mean-token-sum-norm}}",
            "dr_grpo",
        ),
        ("model: {partial_pretrain: m}\ndata: {train_batch_size: 8, train_files: a.jsonl}", "sft"),
    ],
)
def test_the_method_follows_from_trainer_loss_and_estimator(tmp_path: Path, text: str, method: str) -> None:
    found = from_text(tmp_path, text + "\n")
    assert found.method == method
    recipe = [why for what, why in found.decisions.items() if what.startswith("recipe")]
    assert all("cannot be trained" in why or "no run can give it" in why for why in recipe), recipe


def test_verls_cispo_bounds_are_distances_from_1(tmp_path: Path) -> None:
    text = (
        "algorithm: {adv_estimator: grpo}\nactor_rollout_ref: {rollout: {n: 4}, actor: {clip_ratio_low: 1.0, "
        "clip_ratio_high: 4.0, policy_loss: {loss_mode: cispo}}}\n"
    )
    found = from_text(tmp_path, text)
    assert recipe_of(found, tmp_path).objective.surrogate.ratio_max == 5.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour: red\nsize: 3\n", "is neither a TRL nor a verl configuration: its keys are colour, size"),
        ("just words\n", "no key of either was found in it"),
        ("method: grpo\nmodel: m\n", "is a postlude recipe already"),
        ("learning_rate: 1e-5\n", "nothing in it tells for which trainer. Say which with --trainer: grpo, rloo, sft"),
        ("num_generations: 4\nloss_type: sapo\n", "there is no loss 'sapo' here"),
        ("algorithm: {adv_estimator: remax}\n", "there is no 'remax' here; known: gae, reinforce_plus_plus"),
        (
            "algorithm: {adv_estimator: grpo}\nactor_rollout_ref: {actor: {policy_loss: {loss_mode: kl_cov}}}\n",
            "there is no loss 'kl_cov' here",
        ),
    ],
)
def test_files_that_cannot_be_read_are_errors(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_text(tmp_path, text)
    assert said in str(error.value) and error.value.exit_code == 2


def test_the_trainer_can_be_named(tmp_path: Path) -> None:
    assert from_text(tmp_path, "learning_rate: 1e-5\n", trainer="sft").method == "sft"
    assert from_text(tmp_path, "learning_rate: 1e-5\n", "my_rloo.yaml").method == "rloo_clip"
    guessed = from_text(tmp_path, "num_generations: 4\n")
    assert guessed.method == "grpo" and "read as GRPOConfig" in guessed.decisions["trainer"]
    with refused("unknown-name", said="no trainer 'bco' here"):
        from_text(tmp_path, "learning_rate: 1e-5\n", trainer="bco")


def test_sizes_count_every_process(tmp_path: Path) -> None:
    text = "num_generations: 8\nscale_rewards: none\nper_device_train_batch_size: 16\n"
    found = from_text(tmp_path, text, processes=4)
    assert found.values["prompts_per_step"] == 8 and "number of processes" not in found.decisions
    assert "4 are TRL's processes" in found.decisions["engine.trainers"]
    launched = from_text(tmp_path, text + "num_processes: 4\n")
    assert (launched.values["prompts_per_step"], launched.values["engine"]["trainers"]) == (8, 4)
    assert "engine.trainers" not in launched.decisions
    dumped = from_text(tmp_path, text + "steps_per_generation: 2\ngeneration_batch_size: 128\n")
    assert (dumped.values["prompts_per_step"], dumped.values["updates"]) == (16, 2)


def test_a_setting_without_a_counterpart_is_not_dropped(tmp_path: Path) -> None:
    text = (
        "num_generations: 8\nscale_rewards: none\nmin_p: 0.1\nnever_heard_of: 3\nlora_r: 8\ntop_entropy_quantile: 1.0\n"
    )
    left = from_text(tmp_path, text).left
    assert "would bias the ratio" in left["min_p"]
    assert left["never_heard_of"] == "no counterpart is known"
    assert left["lora_r"] == "use_peft is off"
    assert left["top_entropy_quantile"] == "as it is here anyway"


def test_the_command_prints_the_recipe_and_the_summary_apart(tmp_path: Path) -> None:
    runner = CliRunner()
    found = runner.invoke(app, ["config", "import", str(FIXTURES / "trl-rloo.json")])
    assert yaml.load(found.stdout, Loader)["method"] == "rloo_clip"
    assert "17 keys read = 12 translated + 5 not translated" in found.stderr
    assert "needs your decision: reward" in found.stderr
    (tmp_path / "there.yaml").write_text("")
    words = ["config", "import", str(FIXTURES / "trl-rloo.json"), "-o", str(tmp_path / "there.yaml")]
    with refused("exists-already"):
        runner.invoke(app, words, catch_exceptions=False)


def test_a_file_that_is_neither_exits_with_2_and_no_traceback(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "x.yaml").write_text("colour: red\n")
    code = "from postlude.cli import main; main()"
    words = [sys.executable, "-c", code, "config", "import", str(tmp_path / "x.yaml")]
    found = subprocess.run(words, capture_output=True, text=True)
    assert found.returncode == 2 and "neither a TRL nor a verl" in found.stderr and "Traceback" not in found.stderr


def test_the_version_is_printed() -> None:
    from postlude import __version__

    found = CliRunner().invoke(app, ["--version"])
    assert found.exit_code == 0 and found.output.strip() == f"postlude {__version__}"


def test_the_mapping_is_told_when_a_run_starts(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text('{"prompt": "1=", "answer": "1"}\n{"prompt": "2=", "answer": "2"}\n')
    sizes = ["max_steps=1", "max_completion_length=3", "data.train_batch_size=2", "num_generations=2"]
    words = ["train", "grpo", f"model={model_folder}", "data=p.jsonl", "reward=exact", *sizes]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert said.count("num_generations -> group_size (TRL)") == 1
    assert "data.train_batch_size -> prompts_per_step (verl)" in said
    shown = CliRunner().invoke(app, ["config", "show", "grpo", *words[2:]], catch_exceptions=False).output
    assert "num_generations" in shown and "max_steps -> steps (TRL)" in shown
