"""Other libraries' names: every row lands where it says, conversions keep the meaning, conflicts name both places."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from postlude.algorithms import ALGORITHMS
from postlude.engines.settings import Servers
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.foreign.alias import Alias
from postlude.recipe.foreign.tables import ALIASES, NAMES, REFUSED
from postlude.recipe.importing import _at
from postlude.recipe.resolution import in_order, resolve, resolve_with_problems
from postlude.recipe.schema import Recipe
from tests.refusals import refused

ACTOR = "actor_rollout_ref.actor"
ROLLOUT = "actor_rollout_ref.rollout"


def document(method: str = "grpo", **values: Any) -> Document:
    base = {"method": method, "model": "m", "data": "d.jsonl"}
    if ALGORITHMS[method].source == "rollout":
        base["reward"] = "exact"
    return Document(base | {name.replace("__", "."): value for name, value in values.items()})


def resolved(method: str = "grpo", settings: dict[str, Any] | None = None) -> Recipe:
    return resolve(Document(document(method).values | (settings or {})))


def problems(method: str, settings: dict[str, Any]) -> str:
    return "\n".join(resolve_with_problems(Document(document(method).values | settings))[1])


# ------------------------------------------------------------------------------------------------------ the table

BY_PATH: dict[str, tuple[str, Any]] = {
    "objective.advantage.kind": ("rloo", "grpo"),
    "objective.advantage.scale": ("grpo", False),
    "objective.advantage.kl_coef": ("rloo", 0.5),
    "objective.advantage.gamma": ("ppo", 0.5),
    "objective.advantage.lam": ("ppo", 0.5),
    "objective.aggregate.mode": ("grpo", "dapo"),
    "objective.aggregate.length": ("dr_grpo", 77),
    "objective.correction.mode": ("grpo", "token_mask"),
    "objective.entropy": ("grpo", 0.25),
    "objective.kl.coef": ("grpo", 0.5),
    "objective.kl.estimator": ("grpo", True),
    "objective.link.beta": ("dpo", 0.5),
    "objective.link.center": ("reward_model", 0.5),
    "objective.link.lam_desirable": ("kto", 1.5),
    "objective.link.lam_undesirable": ("kto", 1.5),
    "objective.link.margin": ("simpo", 1.5),
    "objective.link.smoothing": ("dpo", 0.25),
    "objective.mask_truncated": ("grpo", True),
    "objective.off_policy_mask.delta": ("grpo", 0.25),
    "objective.ratio": ("grpo", "sequence"),
    "objective.surrogate.dual": ("grpo", 5.0),
    "objective.surrogate.high": ("grpo", 0.3),
    "objective.surrogate.kind": ("grpo", "cispo"),
    "objective.surrogate.low": ("grpo", 0.3),
    "objective.value.clip": ("ppo", 0.5),
    "objective.value.coef": ("ppo", 0.25),
    "checkpoints.every": ("grpo", 20),
    "data.eval": ("grpo", "held.jsonl"),
    "data.path": ("grpo", "other.jsonl"),
    "data.split": ("grpo", "test"),
    "epochs": ("grpo", 3),
    "evaluate.every": ("grpo", 30),
    "evaluate.prompts": ("grpo", 64),
    "evaluate.samples": ("grpo", 4),
    "group_size": ("grpo", 4),
    "critic.lr": ("ppo", 3e-5),
    "critic.path": ("ppo", "rm"),
    "critic.warmup": ("ppo", 2),
    "keep": ("grpo", True),
    "checkpoints.keep": ("grpo", 5),
    "model.chat_template": ("grpo", "chat.jinja"),
    "engine.dtype": ("grpo", "bfloat16"),
    "engine.gradient_checkpointing": ("grpo", True),
    "engine.trainers": ("grpo", 4),
    "model.lora.alpha": ("grpo", 64),
    "model.lora.rank": ("grpo", 4),
    "model.lora.targets": ("grpo", ["q_proj"]),
    "model.path": ("grpo", "other"),
    "model.reference.every": ("grpo", 20),
    "optimizer.beta1": ("grpo", 0.8),
    "optimizer.beta2": ("grpo", 0.9),
    "optimizer.eps": ("grpo", 1e-6),
    "optimizer.max_grad_norm": ("grpo", 0.5),
    "optimizer.weight_decay": ("grpo", 0.5),
    "output": ("grpo", "out"),
    "prompts_per_step": ("grpo", 32),
    "reward": ("grpo", ["a.b.fn"]),
    "sampling.max_tokens": ("grpo", 99),
    "sampling.temperature": ("grpo", 0.5),
    "sampling.top_k": ("rft", 5),
    "sampling.top_p": ("rft", 0.5),
    "schedule.decay": ("grpo", "cosine"),
    "schedule.final": ("grpo", 0.5),
    "schedule.lr": ("grpo", 0.125),
    "schedule.warmup": ("grpo", 7),
    "seed": ("grpo", 5),
    "shaping": ("grpo", True),
    "steps": ("grpo", 12),
    "updates": ("grpo", 4),
}
"""A method that has the key, and a value of theirs for it."""
ADAPTIVE = {"algorithm.kl_ctrl.type": "adaptive", "algorithm.use_kl_in_reward": True}
MODEL_REWARDS: dict[str, dict[str, Any]] = {
    "reward_model.model.path": {"reward_model.enable": True},
    "reward_model.enable": {"reward_model.model.path": "rm"},
    "reward.reward_model.model_path": {"reward.reward_model.enable": True},
    "reward.reward_model.enable": {"reward.reward_model.model_path": "rm"},
    "custom_reward_function.path": {},
    "custom_reward_function.name": {"custom_reward_function.path": "score.py"},
    "reward.custom_reward_function.path": {},
    "reward.custom_reward_function.name": {"reward.custom_reward_function.path": "score.py"},
    "reward_model_path": {},
    "reward_model_name_or_path": {},
}
"""Names of rewards that are a model or a file -> what must stand beside them."""
VLLM = {f"{ROLLOUT}.name": "vllm"}
SPECIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "adv_estimator": ("rloo", {"algorithm.adv_estimator": "grpo"}),
    "loss_agg_mode": ("grpo", {f"{ACTOR}.loss_agg_mode": "token-mean"}),
    "use_kl_loss": ("dapo", {f"{ACTOR}.use_kl_loss": True}),
    "kl_loss_type": ("grpo", {f"{ACTOR}.kl_loss_type": "mse"}),
    "use_kl_in_reward": ("rloo", {"algorithm.use_kl_in_reward": True}),
    "max_num_gen_batches": ("grpo", {"algorithm.filter_groups.max_num_gen_batches": 3}),
    "rollout_is": ("drpo", {"algorithm.rollout_correction.rollout_is": "sequence"}),
    "rollout_is_threshold": (
        "grpo",
        {"algorithm.rollout_correction.rollout_is_threshold": 3.0, "algorithm.rollout_correction.rollout_is": "token"},
    ),
    "tis_imp_ratio_cap": ("grpo", {"tis_imp_ratio_cap": 3.0}),
    "betas": ("grpo", {f"{ACTOR}.optim.betas": [0.8, 0.9]}),
    "lr_warmup_steps_ratio": ("grpo", {f"{ACTOR}.optim.lr_warmup_steps_ratio": 0.1}),
    "min_lr_ratio": ("grpo", {f"{ACTOR}.optim.min_lr_ratio": 0.5}),
    "ppo_mini_batch_size": ("grpo", {f"{ACTOR}.ppo_mini_batch_size": 4}),
    "vllm_importance_sampling_correction": ("grpo", {"vllm_importance_sampling_correction": False}),
    "vllm_importance_sampling_clip_max": ("grpo", {"vllm_importance_sampling_clip_max": 5.0}),
    "vllm_importance_sampling_clip_min": ("grpo", {"vllm_importance_sampling_clip_min": 0.5}),
    "vllm_importance_sampling_cap": ("grpo", {"vllm_importance_sampling_cap": 5.0}),
    "use_vllm": ("grpo", {"use_vllm": True}),
    "vllm_mode": ("grpo", {"vllm_mode": "server", "use_vllm": True}),
    "vllm_tensor_parallel_size": ("grpo", {"vllm_tensor_parallel_size": 2, "use_vllm": True}),
    "vllm_gpu_memory_utilization": ("grpo", {"vllm_gpu_memory_utilization": 0.4, "use_vllm": True}),
    "name": ("grpo", {f"{ROLLOUT}.name": "vllm"}),
    "nnodes": ("grpo", {"trainer.nnodes": 2, "trainer.n_gpus_per_node": 4}),
    "actor_num_nodes": ("grpo", {"actor_num_nodes": 2, "actor_num_gpus_per_node": 4}),
    "tensor_model_parallel_size": ("grpo", {f"{ROLLOUT}.tensor_model_parallel_size": 2, **VLLM}),
    "gpu_memory_utilization": ("grpo", {f"{ROLLOUT}.gpu_memory_utilization": 0.5, **VLLM}),
    "max_num_seqs": ("grpo", {f"{ROLLOUT}.max_num_seqs": 64, **VLLM}),
    "max_num_batched_tokens": ("grpo", {f"{ROLLOUT}.max_num_batched_tokens": 8192, **VLLM}),
    "bf16": ("grpo", {"bf16": True}),
    "type": ("ppo", {"algorithm.kl_ctrl.type": "adaptive", "algorithm.use_kl_in_reward": True}),
    "horizon": ("ppo", {"algorithm.kl_ctrl.horizon": 500, **ADAPTIVE}),
    "target_kl": ("ppo", {"algorithm.kl_ctrl.target_kl": 0.2, **ADAPTIVE}),
    "fp16": ("grpo", {"fp16": False, "bf16": True}),
    "use_peft": ("grpo", {"use_peft": True}),
    "reward_weights": ("grpo", {"reward_weights": [0.5], "reward_funcs": "a.b.fn"}),
    "eval_strategy": ("grpo", {"eval_strategy": "steps", "dataset_name": "o/n"}),
    "dataset_test_split": ("grpo", {"dataset_test_split": "dev", "eval_strategy": "steps", "dataset_name": "o/n"}),
    "save_strategy": ("grpo", {"save_strategy": "no"}),
    "warmup_ratio": ("grpo", {"warmup_ratio": 0.1}),
    "gradient_accumulation_steps": ("grpo", {"gradient_accumulation_steps": 8}),
    "steps_per_generation": ("grpo", {"steps_per_generation": 8}),
    "generation_batch_size": ("grpo", {"generation_batch_size": 64}),
    "per_device_train_batch_size": ("grpo", {"per_device_train_batch_size": 64}),
    "num_mini_batches": ("ppo", {"num_mini_batches": 2}),
    "gae_lambda": ("ppo", {"gae_lambda": 0.5}),
    "sync_ref_model": ("grpo", {"sync_ref_model": True}),
    "ref_model_sync_steps": ("grpo", {"ref_model_sync_steps": 64, "sync_ref_model": True}),
    "ref_model_mixup_alpha": ("grpo", {"ref_model_mixup_alpha": 0.5, "sync_ref_model": True}),
    "dataset_name": ("grpo", {"dataset_name": "owner/name"}),
    "dataset_text_field": ("sft", {"dataset_text_field": "body"}),
    "dataset_prompt_column": ("grpo", {"dataset_prompt_column": "query"}),
    "prompt_key": ("grpo", {"data.prompt_key": "query"}),
    "messages_key": ("sft", {"data.messages_key": "turns"}),
    "reward_fn_key": ("grpo", {"data.reward_fn_key": "origin"}),
    "use_cpu": ("grpo", {"use_cpu": True}),
    "lr_scheduler_kwargs": ("grpo", {"lr_scheduler_kwargs": {"min_lr_rate": 0.2}}),
    "total_episodes": ("ppo", {"total_episodes": 640}),
}


def sample(alias: Alias) -> tuple[str, dict[str, Any]]:
    last = alias.name.rpartition(".")[2]
    if "val_kwargs" in alias.name:
        return "grpo", {alias.name: 4, alias.only_with: True}
    if alias.name in MODEL_REWARDS:
        return "grpo", {alias.name: "score.py", **MODEL_REWARDS[alias.name]}
    if alias.name == "critic.loss_agg_mode":
        return "ppo", {alias.name: "token-mean"}
    if last in SPECIAL:
        method, settings = SPECIAL[last]
        return method, {alias.name if k.rpartition(".")[2] == last else k: v for k, v in settings.items()}
    method, value = BY_PATH[alias.ours[0]]
    settings = {alias.name: value}
    if "overlong" in alias.name:
        prefix = alias.name.rpartition(".")[0]
        settings = {f"{prefix}.enable": True, alias.name: True if last == "enable" else 64}
    return method, settings


@pytest.mark.parametrize(
    "alias", [a for a in ALIASES if a.ours and not a.only_imported and a.name not in a.ours], ids=lambda a: a.name
)
def test_every_name_lands_in_a_key_it_names(alias: Alias) -> None:
    method, settings = sample(alias)
    values = document(method).values
    if alias.ours[0] in ("model.path", "data.path") or "dataset_name" in settings:
        del values[alias.ours[0].partition(".")[0]]
    if "reward_funcs" in settings or alias.ours == ("reward",):
        del values["reward"]
    given = Document(values | settings)
    found, said = resolve_with_problems(given)
    assert found and not said, said
    mine = [p for p in given.set_by_user if any(p == o or p.startswith(f"{o}.") for o in alias.ours)]
    assert mine, f"none of {alias.ours} is set: {given.set_by_user}"
    assert any(line.startswith(f"{alias.name} -> ") for line in given.renamed), given.renamed
    plain = alias.convert is None and alias.values is None
    if plain:
        assert _at(asdict(found), mine[0])[1] == settings[alias.name]


def test_names_are_told_apart() -> None:
    names = [name for alias in ALIASES for name in alias.names]
    assert len(names) == len(set(names))
    assert not {name for row in REFUSED for name in row.names} & set(NAMES)


# ----------------------------------------------------------------------------------------------------- conversions


def test_the_example_of_the_readme() -> None:
    given = document()
    words = "num_generations=16 epsilon_high=0.28 max_completion_length=512 learning_rate=1e-6 beta=0.05"
    documents.override(given, words.split())
    found = resolve(given)
    assert found.group_size == 16 and found.sampling.max_tokens == 512 and found.schedule.lr == 1e-6
    assert found.objective.surrogate.high == 0.28 and found.objective.kl.coef == 0.05  # type: ignore[union-attr]
    assert "num_generations -> group_size (TRL)" in given.renamed
    assert "beta -> objective.kl.coef (TRL)" in given.renamed


def test_beta_goes_where_the_method_has_it() -> None:
    assert resolved("grpo", {"beta": 0}).objective.kl is None  # type: ignore[union-attr]
    assert resolved("dapo", {"beta": 0.1}).objective.kl.coef == 0.1  # type: ignore[union-attr]
    assert resolved("rloo", {"beta": 0.1}).objective.advantage.kl_coef == 0.1  # type: ignore[union-attr]
    assert resolved("reinforce_pp", {"beta": 0.1}).objective.advantage.kl_coef == 0.1  # type: ignore[union-attr]
    for method, path in (("dpo", "objective.link.beta"), ("orpo", "objective.link_coef")):
        found, _ = resolve_with_problems(Document({"method": method, "model": "m", "data": "d", "beta": 0.3}))
        assert _at(asdict(found), path) == (True, 0.3)  # type: ignore[call-overload]
    assert "holds the policy back with objective.hinge" in problems("drpo", {"beta": 0.04})


@pytest.mark.parametrize(
    ("loss", "mode"),
    [
        ("grpo", "seq_mean_token_mean"),
        ("dapo", "token_mean"),
        ("bnpo", "token_mean"),
        ("dr_grpo", "seq_mean_token_sum_norm"),
        ("luspo", "seq_mean_token_sum"),
        ("cispo", "token_mean"),
    ],
)
def test_loss_types_are_aggregations(loss: str, mode: str) -> None:
    found = resolved("grpo", {"loss_type": loss}).objective
    assert found.aggregate.mode == mode  # type: ignore[union-attr]
    assert found.advantage.scale == "group", "TRL's loss_type leaves scale_rewards alone"  # type: ignore[union-attr]
    assert found.surrogate.kind == ("cispo" if loss == "cispo" else "clip")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "scale"), [("group", "group"), ("batch", "batch"), ("none", "none"), (True, "group"), (False, "none")]
)
def test_scale_rewards(value: Any, scale: str) -> None:
    assert resolved("grpo", {"scale_rewards": value}).objective.advantage.scale == scale  # type: ignore[union-attr]


def test_a_clip_of_one_number_is_both_sides_unless_the_upper_is_given() -> None:
    for settings, bounds in (
        ({"epsilon": 0.1}, (0.1, 0.1)),
        ({"epsilon": 0.1, "epsilon_high": 0.3}, (0.1, 0.3)),
        ({"clip_ratio": 0.1}, (0.1, 0.1)),
        ({"clip_ratio": 0.1, "clip_ratio_high": 0.3}, (0.1, 0.3)),
        ({"epsilon": 0.1, "objective": {"surrogate": {"high": 0.4}}}, (0.1, 0.4)),
    ):
        clip = resolved("grpo", settings).objective.surrogate  # type: ignore[union-attr]
        assert (clip.low, clip.high) == bounds, settings  # type: ignore[union-attr]


def test_under_cispo_the_upper_clip_is_the_cap() -> None:
    assert resolved("cispo", {"epsilon_high": 4.0}).objective.surrogate.ratio_max == 4.0  # type: ignore[union-attr]
    found = resolved("cispo", {"clip_ratio_high": 4.0, "clip_ratio_low": 1.0}).objective.surrogate  # type: ignore[union-attr]
    assert (found.ratio_min, found.ratio_max) == (0.0, 5.0)  # type: ignore[union-attr]
    assert "cispo caps the ratio itself" in problems("cispo", {"epsilon": 0.2})


def test_dual_clip() -> None:
    assert resolved("grpo", {"delta": 4.0}).objective.surrogate.dual == 4.0  # type: ignore[union-attr]
    assert resolved("grpo", {"clip_ratio_c": 10.0}).objective.surrogate.dual == 10.0  # type: ignore[union-attr]
    assert "no dual clip does that" in problems("grpo", {"delta": 1.1})


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"per_device_train_batch_size": 16, "num_generations": 8}, (2, 1)),
        ({"per_device_train_batch_size": 16, "gradient_accumulation_steps": 4, "num_generations": 16}, (4, 1)),
        ({"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "steps_per_generation": 8}, (16, 4)),
        ({"per_device_train_batch_size": 16, "generation_batch_size": 128}, (16, 8)),
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "steps_per_generation": 1}, (4, 1)),
        ({"per_device_train_batch_size": 16, "num_processes": 4}, (8, 1)),
        ({"data.train_batch_size": 64, "ppo_mini_batch_size": 16}, (64, 4)),
    ],
)
def test_batches_are_counted_in_prompts(settings: dict[str, Any], sizes: tuple[int, int]) -> None:
    found = resolved("grpo", settings)
    assert (found.prompts_per_step, found.updates) == sizes


def test_batches_that_cannot_be_are_errors() -> None:
    assert "not whole groups of 8" in problems("grpo", {"per_device_train_batch_size": 12})
    assert "whole number of mini-batches of 5" in problems("grpo", {"ppo_mini_batch_size": 5})
    assert "not a whole number of updates" in problems(
        "grpo", {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "steps_per_generation": 3}
    )


def test_optimiser_steps_become_draws() -> None:
    sizes = {"per_device_train_batch_size": 16, "steps_per_generation": 2, "num_iterations": 2, "num_generations": 8}
    found = resolved("grpo", {**sizes, "max_steps": 100, "warmup_steps": 8, "save_steps": 40})
    assert (found.steps, found.schedule.warmup, found.checkpoints.every) == (25, 2, 10)
    assert resolved("grpo", {"max_steps": 100, "warmup_steps": 0.1}).schedule.warmup == 10
    assert resolved("grpo", {"trainer.total_training_steps": 30, "ppo_epochs": 3}).steps == 30


def test_a_sequence_ratio_is_gspos() -> None:
    assert resolved("grpo", {"importance_sampling_level": "sequence"}).objective.ratio == "sequence_mean"  # type: ignore[union-attr]
    assert resolved("grpo", {"loss_mode": "gspo"}).objective.ratio == "sequence_token"  # type: ignore[union-attr]


def test_reward_functions_of_trl_keep_their_weights() -> None:
    found = resolve(
        Document(
            {"method": "grpo", "model": "m", "data": "d", "reward_weights": [1, 0.5],
             "reward_funcs": ["accuracy_reward", "my.mod.fn"]}
        )
    )  # fmt: skip
    assert [(r.use, r.weight) for r in found.reward] == [("trl.rewards:accuracy_reward", 1.0), ("my.mod:fn", 0.5)]


def test_a_rank_of_0_is_no_adapter() -> None:
    assert resolved("grpo", {"lora_rank": 0, "lora_alpha": 16}).model.lora is None
    found = resolved("grpo", {"lora_r": 8, "lora_alpha": 16}).model.lora
    assert found and (found.rank, found.alpha) == (8, 16)


def test_schedules_fall_to_0_as_theirs_do() -> None:
    assert resolved("grpo", {"lr_scheduler_type": "linear"}).schedule.final == 0.0
    assert resolved("grpo", {"lr_scheduler_type": "linear", "schedule": {"final": 0.2}}).schedule.final == 0.2
    assert "no schedule 'polynomial' here" in problems("grpo", {"lr_scheduler_type": "polynomial"})

    found = resolved("grpo", {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.2}})
    assert (found.schedule.decay, found.schedule.final) == ("cosine", 0.2)
    found = resolved("grpo", {"learning_rate": 1e-5, "lr_scheduler_kwargs": {"min_lr": 2e-6}})
    assert found.schedule.final == pytest.approx(0.2)
    assert "no counterpart of num_cycles here" in problems("grpo", {"lr_scheduler_kwargs": {"num_cycles": 2}})


def test_columns_are_named_together() -> None:
    found = resolved("grpo", {"data.prompt_key": "query", "data.reward_fn_key": "origin"})
    assert dict(found.data.columns or {}) == {"prompt": "query", "data_source": "origin"}
    given = Document(document("sft").values | {"dataset_text_field": "text"})
    assert resolve(given).data.columns == resolve(document("sft")).data.columns
    assert given.renamed == ["dataset_text_field: no effect, as it is here anyway (TRL)"]


def test_held_out_samples_are_those_of_the_training_temperature() -> None:
    prefix = "actor_rollout_ref.rollout.val_kwargs"
    drawn = {f"{prefix}.do_sample": True, f"{prefix}.n": 8}
    assert resolved("grpo", {**drawn, f"{prefix}.temperature": 1.0}).evaluate.samples == 8
    assert "at the training temperature here" in problems("grpo", {**drawn, f"{prefix}.temperature": 0.6})
    assert resolved("grpo", {f"{prefix}.do_sample": False, f"{prefix}.n": 8}).evaluate.samples == 1, "greedily"
    assert resolved("grpo", {"num_generations_eval": 4}).evaluate.samples == 4


def test_episodes_are_draws() -> None:
    sizes = {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 2, "num_mini_batches": 2}
    assert resolved("ppo", {**sizes, "total_episodes": 640}).steps == 640 / 64


@pytest.mark.parametrize("prefix", ["reward.reward_kwargs", "reward_model.reward_kwargs"])
def test_the_overlong_penalty_of_verl_is_kept_in_old_and_new_configurations(prefix: str) -> None:
    cut = {f"{prefix}.overlong_buffer_cfg.{name}": value for name, value in (("enable", True), ("len", 64))}
    (shaping,) = resolved("dapo", {**cut, "data.max_response_length": 256}).shaping
    assert shaping.kind == "overlong" and shaping.cache == 64  # type: ignore[union-attr]


def test_several_validation_files_of_verl_are_several_held_out_sets() -> None:
    data = resolved("grpo", {"data.val_files": ["gsm8k/test.parquet", "math/test.parquet", "aime.parquet"]}).data
    assert data.eval_names == ("gsm8k-test", "math-test", "aime")
    assert [one.path for one in data.eval_files] == ["gsm8k/test.parquet", "math/test.parquet", "aime.parquet"]


# ---------------------------------------------------------------------------------------------- conflicts, errors


def recipe_file(folder: Path, text: str) -> Document:
    (folder / "r.yaml").write_text("method: grpo\nmodel: m\ndata: d.jsonl\nreward: exact\n" + text)
    return documents.read(folder / "r.yaml")


def test_two_names_with_different_values_are_an_error_naming_both_places(tmp_path: Path) -> None:
    _, found = resolve_with_problems(recipe_file(tmp_path, "group_size: 8\nnum_generations: 16\n"))
    assert found == [
        "r.yaml line 6: num_generations asks for group_size = 16, but r.yaml line 5 sets group_size to 8. "
        "Keep one of the two."
    ]
    _, found = resolve_with_problems(recipe_file(tmp_path, "objective: {kl: null}\nbeta: 0.04\n"))
    assert "line 6: beta asks for objective.kl.coef = 0.04, but r.yaml line 5 sets objective.kl to null" in found[0]
    nested = "num_generations: 8\nactor_rollout_ref:\n  rollout:\n    n: 4\n"
    _, found = resolve_with_problems(recipe_file(tmp_path, nested))
    assert found[0].startswith("r.yaml line 5: num_generations asks for group_size = 8, but r.yaml line 8: actor_roll")


def test_two_names_with_one_value_are_not_a_conflict(tmp_path: Path) -> None:
    assert resolve(recipe_file(tmp_path, "group_size: 16\nnum_generations: 16\n")).group_size == 16


@pytest.mark.parametrize(
    ("text", "word"),
    [("group_size: 8\n", "num_generations=16"), ("num_generations: 8\n", "group_size=16"),
     ("num_generations: 8\n", "actor_rollout_ref.rollout.n=16")],
)  # fmt: skip
def test_the_command_line_wins_whichever_name_it_uses(tmp_path: Path, text: str, word: str) -> None:
    given = recipe_file(tmp_path, text)
    documents.override(given, [word])
    assert resolve(given).group_size == 16


def test_what_gives_way_in_a_file_does_not_on_the_command_line(tmp_path: Path) -> None:
    given = recipe_file(tmp_path, "objective: {surrogate: {low: 0.2, high: 0.28}}\n")
    documents.override(given, ["epsilon=0.1"])
    clip = resolve(given).objective.surrogate  # type: ignore[union-attr]
    assert (clip.low, clip.high) == (0.1, 0.1)  # type: ignore[union-attr]


def test_messages_point_at_the_users_line_and_word(tmp_path: Path) -> None:
    text = "num_generations: many\nactor_rollout_ref:\n  actor: {clip_ratio_c: 0.5}\nactor_rollout_ref.rollout.n: 1\n"
    _, found = resolve_with_problems(recipe_file(tmp_path, text.replace("actor_rollout_ref.rollout.n: 1\n", "")))
    assert 'r.yaml line 5: num_generations: group_size must be a whole number, found "many".' in found
    assert any("objective.surrogate.dual must be above 1" in p for p in found)
    _, found = resolve_with_problems(recipe_file(tmp_path, "num_generations: 1\n"))
    assert found[0].startswith("r.yaml line 5: num_generations: group_size is 1, but grpo compares")


def test_a_dotted_name_can_stand_at_the_top_of_a_recipe(tmp_path: Path) -> None:
    found = resolve(recipe_file(tmp_path, "data.train_batch_size: 4\nactor_rollout_ref.rollout.n: 2\n"))
    assert (found.prompts_per_step, found.group_size, found.data.path) == (4, 2, "d.jsonl")


def test_what_the_method_cannot_have_is_an_error_with_the_reason(tmp_path: Path) -> None:
    found = in_order(resolve_with_problems(recipe_file(tmp_path, "gae_lambda: 1\nvalue_coef: 0.5\nlam: 0.9\n"))[1])
    assert found[0] == (
        "r.yaml line 5: gae_lambda (common): it is objective.advantage.lam, which method grpo does not have "
        "(its objective.advantage is group_baseline)."
    )
    assert "line 6: value_coef" in found[1] and "line 7: lam" in found[2]
    assert "lam" in problems("drpo", {"gae_lambda": 0.9}), "DRPO's lam is not GAE's"


def test_names_without_a_counterpart_say_why(tmp_path: Path) -> None:
    text = "vllm_server_port: 8000\nnum_train_epochs: 2\nactor_rollout_ref: {rollout: {load_format: auto}}\n"
    _, found = resolve_with_problems(recipe_file(tmp_path, text))
    assert found[0].startswith("r.yaml line 5: unknown key 'vllm_server_port' (TRL): the server there is TRL's own")
    assert "steps = epochs x rows / prompts_per_step" in found[1]
    assert "line 7: unknown key 'actor_rollout_ref.rollout.load_format' (verl)" in found[2]
    assert len(found) == 3


def test_vllm_of_other_libraries_is_a_server_of_ours() -> None:
    """TRL's and verl's share the trainer's GPU unless TRL's is its server; what is not vLLM is not translated."""
    for settings in ({"use_vllm": True}, {f"{ROLLOUT}.name": "vllm"}):
        assert resolved("grpo", settings).engine.servers == Servers(1, python=".venv-vllm/bin/python", colocate=True)
    given = {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_tensor_parallel_size": 4,
        "vllm_gpu_memory_utilization": 0.4,
    }
    servers = resolved("grpo", given).engine.servers
    assert servers and not servers.colocate and servers.gpus == 4
    assert servers.args == ("--gpu-memory-utilization", "0.4")
    given = {**VLLM, f"{ROLLOUT}.max_num_seqs": 64, f"{ROLLOUT}.gpu_memory_utilization": 0.5}
    servers = resolved("grpo", given).engine.servers
    assert servers and servers.args == ("--gpu-memory-utilization", "0.5", "--max-num-seqs", "64")
    assert resolved("grpo", {f"{ROLLOUT}.name": "hf", f"{ROLLOUT}.max_num_seqs": 64}).engine.servers is None
    assert resolved("grpo", {"use_vllm": False, "vllm_tensor_parallel_size": 4}).engine.servers is None
    assert "no counterpart of 'sglang' here; known: vllm, hf" in problems("grpo", {f"{ROLLOUT}.name": "sglang"})


def test_typing_mistakes_in_our_names_still_get_a_suggestion(tmp_path: Path) -> None:
    _, found = resolve_with_problems(recipe_file(tmp_path, "stepz: 3\nsampling: {max_token: 3}\n"))
    assert any("did you mean 'steps'" in p for p in found) and any("'sampling.max_tokens'" in p for p in found)


def test_an_entry_of_a_list_can_be_set_by_its_number() -> None:
    document = Document(
        {"reward": ["exact", {"use": "judge", "args": {"mode": "pairs"}}], "data": ["a.jsonl", "b.jsonl"]}
    )
    documents.override(document, ["reward.1.args.model=m", "reward.0.weight=2", "data.mix.1.weight=3"])
    assert document.values["reward"] == [
        {"use": "exact", "weight": 2},
        {"use": "judge", "args": {"mode": "pairs", "model": "m"}},
    ]
    assert document.values["data"] == {"mix": [{"path": "a.jsonl"}, {"path": "b.jsonl", "weight": 3}]}
    with refused("no-such-entry", said="there are 2 entries, counted from 0, and '2' is none of them"):
        documents.override(document, ["reward.2.weight=1"])
