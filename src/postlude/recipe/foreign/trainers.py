"""The kinds of configuration files: what holds where one is silent, and which method it is here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postlude.recipe.foreign.alias import Trainer, Untranslatable
from postlude.recipe.foreign.trl import only
from postlude.recipe.foreign.verl import ACTOR, LOSSES, MODEL, ROLLOUT

Settings = Mapping[str, Any]

# --------------------------------------------------------------------------------------------------------------- TRL


def _trl_grpo(force: Settings, given: Settings) -> str:
    loss = force["loss_type"]
    if loss not in ("grpo", "dapo", "bnpo", "dr_grpo", "luspo", "cispo"):
        raise Untranslatable(f"loss_type: there is no loss {loss!r} here")
    if loss == "cispo":
        return "cispo"
    if force["importance_sampling_level"] == "sequence":
        return "gspo"
    if loss == "dr_grpo" or given.get("loss_type") == "dapo":
        return loss
    return "grpo"  # TRL's default loss is dapo's mean over tokens, without the rest of DAPO


def _trl_dpo(force: Settings, given: Settings) -> str:
    loss = only(force["loss_type"])
    smoothed = bool(force.get("label_smoothing"))
    names = {
        "sigmoid": "cdpo" if smoothed else "dpo",
        "sigmoid_norm": "dpo_length_normalised",
        "hinge": "hinge",
        "ipo": "ipo_mean",
        "robust": "dpo_robust",
    }
    if loss not in names:
        raise Untranslatable(f"loss_type: there is no loss {loss!r} here; known: {', '.join(names)}")
    return names[loss]


def _always(method: str) -> Any:
    return lambda force, given: method


_TRAINING = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "linear",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "bf16": True,
    "gradient_checkpointing": True,
    "use_peft": False,
}
_SAMPLING = {
    "num_iterations": 1,
    "epsilon": 0.2,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "max_completion_length": 512,
    "mask_truncated_completions": False,
    "learning_rate": 1e-6,
    "use_vllm": False,
}
_PLAIN = {"keep": None, "shaping": []}

TRL = (
    Trainer(
        "TRL",
        "grpo",
        "GRPOConfig",
        _trl_grpo,
        {
            **_TRAINING,
            **_SAMPLING,
            "loss_type": "dapo",
            "importance_sampling_level": "token",
            "scale_rewards": "group",
            "beta": 0.0,
            "use_bias_correction_kl": True,
            "entropy_coef": 0.0,
            "num_generations": 8,
        },
        {**_PLAIN, "objective.advantage.eps": 1e-4},
        marks=(
            "importance_sampling_level", "scale_rewards", "delta", "use_bias_correction_kl",
            "entropy_coef", "top_entropy_quantile", "off_policy_mask_threshold", "multi_objective_aggregation",
            "vllm_importance_sampling_*", "sapo_*", "vespo_*", "steps_per_generation", "generation_batch_size",
            "num_generations", "max_completion_length", "reward_funcs", "reward_weights", "num_iterations",
            "epsilon", "epsilon_high", "mask_truncated_completions",
        ),
        losses=("grpo", "dapo", "bnpo", "dr_grpo", "luspo", "cispo", "sapo", "vespo"),
        differs=(
            "with loss_type grpo TRL divides by all completions, postlude by those that are not empty",
            "TRL's warm-up starts at 0, postlude's at one step's worth",
        ),
    ),
    Trainer(
        "TRL",
        "rloo",
        "RLOOConfig",
        _always("rloo_clip"),
        {**_TRAINING, **_SAMPLING, "beta": 0.05, "num_generations": 2},
        _PLAIN,
        marks=(
            "normalize_advantages", "reward_clip_range", "num_generations", "max_completion_length", "reward_funcs",
            "reward_weights", "num_iterations", "epsilon", "epsilon_high", "mask_truncated_completions",
            "steps_per_generation", "generation_batch_size",
        ),
    ),
    Trainer(
        "TRL",
        "sft",
        "SFTConfig",
        _always("sft"),
        {**_TRAINING, "learning_rate": 2e-5, "loss_type": "nll"},
        marks=(
            "packing", "packing_strategy", "eval_packing", "completion_only_loss", "assistant_only_loss",
            "dataset_text_field", "dataset_kwargs", "max_length", "padding_free",
        ),
        losses=("nll", "chunked_nll", "dft"),
        differs=(
            "TRL trains every token of `messages` rows unless assistant_only_loss is on; here it is the assistant's",
            "TRL cuts rows at max_length (1024); here a row that does not fit the model is an error",
        ),
    ),
    Trainer(
        "TRL",
        "dpo",
        "DPOConfig",
        _trl_dpo,
        {**_TRAINING, "learning_rate": 1e-6, "loss_type": "sigmoid", "beta": 0.1, "label_smoothing": 0.0},
        marks=(
            "label_smoothing", "precompute_ref_*", "loss_weights", "f_divergence_type", "f_alpha_*", "ld_alpha",
            "use_weighting", "discopop_tau", "max_length", "padding_free",
        ),
        losses=(
            "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
            "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
        ),
    ),
    Trainer(
        "TRL",
        "kto",
        "KTOConfig",
        _always("kto"),
        {**_TRAINING, "learning_rate": 1e-6, "beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
        marks=("desirable_weight", "undesirable_weight", "max_length"),
        losses=("kto", "apo_zero_unpaired"),
    ),
    Trainer(
        "TRL",
        "reward",
        "RewardConfig",
        _always("reward_model"),
        {**_TRAINING, "learning_rate": 1e-4},
        marks=("center_rewards_coefficient", "max_length"),
    ),
    Trainer(
        "TRL",
        "ppo",
        "PPOConfig",
        _always("ppo"),
        {
            **_TRAINING,
            "learning_rate": 3e-6,
            "num_ppo_epochs": 4,
            "num_mini_batches": 1,
            "kl_coef": 0.05,
            "cliprange": 0.2,
            "vf_coef": 0.1,
            "cliprange_value": 0.2,
            "gamma": 1.0,
            "lam": 0.95,
            "temperature": 0.7,
            "response_length": 53,
        },
        {"objective.correction": None},
        marks=("num_ppo_epochs", "num_mini_batches", "cliprange", "vf_coef", "cliprange_value", "whiten_rewards",
               "missing_eos_penalty", "total_episodes", "reward_model_path", "sft_model_path"),
    ),
)  # fmt: skip

# -------------------------------------------------------------------------------------------------------------- verl

_MODE = f"{ACTOR}.policy_loss.loss_mode"


def _verl(force: Settings, given: Settings) -> str:
    estimator = str(force["algorithm.adv_estimator"]).removesuffix("_vectorized")
    methods = {
        "gae": "ppo",
        "reinforce_plus_plus": "reinforce_pp",
        "reinforce_plus_plus_baseline": "reinforce_pp_baseline",
        "rloo": "rloo",
        "grpo": _verl_grpo(force),
    }
    if estimator not in methods:
        raise Untranslatable(f"algorithm.adv_estimator: there is no {estimator!r} here; known: {', '.join(methods)}")
    if force[_MODE] not in LOSSES:
        raise Untranslatable(f"{_MODE}: there is no loss {force[_MODE]!r} here; known: {', '.join(LOSSES)}")
    return methods[estimator]


def _verl_grpo(force: Settings) -> str:
    special = {"gspo": "gspo_token", "cispo": "cispo"}.get(force[_MODE])
    if special:
        return special
    if force.get("algorithm.filter_groups.enable"):
        return "dapo"
    plain = not force["algorithm.norm_adv_by_std_in_grpo"]
    return "dr_grpo" if plain and force[f"{ACTOR}.loss_agg_mode"] == "seq-mean-token-sum-norm" else "grpo"


VERL = (
    Trainer(
        "verl",
        "ppo",
        "main_ppo",
        _verl,
        {
            "algorithm.adv_estimator": "gae",
            "algorithm.norm_adv_by_std_in_grpo": True,
            "algorithm.use_kl_in_reward": False,
            "algorithm.gamma": 1.0,
            "algorithm.lam": 1.0,
            "algorithm.filter_groups.enable": False,
            _MODE: "vanilla",
            f"{ACTOR}.loss_agg_mode": "token-mean",
            f"{ACTOR}.clip_ratio": 0.2,
            f"{ACTOR}.clip_ratio_low": 0.2,
            f"{ACTOR}.clip_ratio_high": 0.2,
            f"{ACTOR}.clip_ratio_c": 3.0,
            f"{ACTOR}.entropy_coeff": 0.0,
            f"{ACTOR}.use_kl_loss": False,
            f"{ACTOR}.kl_loss_type": "low_var_kl",
            f"{ACTOR}.ppo_epochs": 1,
            f"{ACTOR}.ppo_mini_batch_size": 256,
            f"{ACTOR}.fsdp_config.dtype": "bfloat16",
            f"{ACTOR}.optim.lr": 1e-6,
            f"{ACTOR}.optim.weight_decay": 0.01,
            f"{ACTOR}.optim.betas": [0.9, 0.999],
            f"{ACTOR}.optim.lr_scheduler_type": "constant",
            f"{ACTOR}.grad_clip": 1.0,
            f"{ROLLOUT}.n": 1,
            f"{ROLLOUT}.temperature": 1.0,
            f"{ROLLOUT}.top_p": 1.0,
            f"{ROLLOUT}.top_k": -1,
            f"{MODEL}.enable_gradient_checkpointing": True,
            f"{MODEL}.lora_rank": 0,
            f"{MODEL}.lora_alpha": 16,
            "data.train_batch_size": 1024,
            "data.max_response_length": 512,
            "critic.cliprange_value": 0.5,
            "critic.optim.lr": 1e-5,
            "trainer.critic_warmup": 0,
        },
        {**_PLAIN, "objective.correction": None, "objective.mask_truncated": False},
        differs=(
            "verl clamps the value of the k3 estimator to 10, postlude clamps its exponent to 20",
            "DAPO's rewards of +1 and -1 come from verl's scorer; here from your reward, or shaping plus_minus_one",
        ),
    ),
    Trainer(
        "verl",
        "sft",
        "SFT",
        _always("sft"),
        {
            "data.train_batch_size": 256,
            "optim.lr": 1e-3,
            "optim.weight_decay": 0.01,
            "optim.betas": [0.9, 0.999],
            "optim.clip_grad": 1.0,
            "model.enable_gradient_checkpointing": True,
            "model.lora_rank": 0,
        },
    ),
)

TRAINERS = (*TRL, *VERL)
