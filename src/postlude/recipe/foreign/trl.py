"""TRL's names (1.16; PPO: the last releases that had it) and what their values are here.

The order matters: what fixes the shape of the objective first, then sizes, then what is counted in steps.
"""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path
from typing import Any

from postlude.recipe.foreign.alias import (
    Alias,
    Ineffective,
    Outputs,
    Untranslatable,
    View,
    clip_both,
    decay,
    gae_lambda,
    kl_weight,
    lora_rank,
    no_top_k,
    of_critic,
    share_of_steps,
)

_a = partial(Alias, "TRL")

TOKEN_LOSSES: dict[str, Outputs] = {
    "grpo": {"objective.aggregate.mode": "seq_mean_token_mean"},
    "dapo": {"objective.aggregate.mode": "token_mean"},
    "bnpo": {"objective.aggregate.mode": "token_mean"},
    "dr_grpo": {"objective.aggregate.mode": "seq_mean_token_sum_norm"},
    "luspo": {"objective.aggregate.mode": "seq_mean_token_sum"},
    "cispo": {
        "objective.surrogate.kind": "cispo",
        "objective.ratio": "token",
        "objective.aggregate.mode": "token_mean",
    },
    "nll": {"objective.aggregate.mode": "token_mean"},
    "chunked_nll": {"objective.aggregate.mode": "token_mean"},
}
CONTRAST_LOSSES: dict[str, Outputs] = {
    "sigmoid": {"objective.score": "implicit", "objective.link.kind": "logistic"},
    "sigmoid_norm": {"objective.score": "implicit_mean", "objective.link.kind": "logistic"},
    "hinge": {"objective.score": "implicit", "objective.link.kind": "hinge"},
    "ipo": {"objective.score": "implicit_mean", "objective.link.kind": "squared"},
    "robust": {
        "objective.score": "implicit",
        "objective.link.kind": "logistic",
        "objective.link.robust": True,
    },
    "kto": {"objective.score": "implicit", "objective.link.kind": "kto"},
}


def only(value: Any) -> Any:
    """The one entry of a list of loss types."""
    if isinstance(value, list):
        if len(value) != 1:
            raise Untranslatable("a mixture of losses has no counterpart here")
        return value[0]
    return value


def _loss_type(value: Any, view: View) -> Outputs:
    contrast = view.ours("objective.kind") == "contrast"
    losses = CONTRAST_LOSSES if contrast else TOKEN_LOSSES
    name = only(value)
    if name not in losses:
        raise Untranslatable(f"there is no loss {name!r} here; known: {', '.join(losses)}")
    return losses[name]


def _delta(value: Any, view: View) -> Outputs:
    high = view.ours("objective.surrogate.high", 0.0)
    if value <= 1 + high:
        raise Untranslatable(f"delta {value} does not exceed 1 + epsilon_high ({1 + high:g}): no dual clip does that")
    return {"objective.surrogate.dual": value}


def _epsilon(value: Any, view: View) -> Outputs:
    if view.ours("objective.surrogate.kind") == "cispo" and view.theirs("epsilon_high") is not None:
        raise Ineffective("the loss cispo reads epsilon_high only")
    return clip_both(value, view)


def _bias_correction(value: Any, view: View) -> Outputs:
    if view.ours("objective.kl") is None:
        raise Ineffective("there is no KL term")
    return {"objective.kl.estimator": "k3_ratio" if value else "k3"}


def _batch(_: Any, view: View) -> Outputs:
    """Prompts per draw and updates. TRL counts completions, on every process, and slices a generation batch."""
    rows = view.theirs("per_device_train_batch_size", 8) * view.theirs("processes", 1)
    parts, whole = view.theirs("steps_per_generation"), view.theirs("generation_batch_size")
    if parts and whole:  # a dump of a whole configuration has both, and with them the number of processes
        rows = whole // parts
    accumulated = view.theirs("gradient_accumulation_steps", 1)
    if view.ours("objective.kind") == "contrast" or view.method == "sft":
        return {"prompts_per_step": rows * accumulated, "updates": 1}
    if view.ours("objective.advantage.kind") == "gae":
        parts = view.theirs("num_mini_batches", 1)
        return {"prompts_per_step": rows * accumulated * parts // view.ours("group_size"), "updates": parts}
    generated = view.theirs("generation_batch_size", rows * view.theirs("steps_per_generation", accumulated))
    per_update = rows * accumulated
    if generated % per_update and per_update % generated:
        raise Untranslatable(f"{generated} completions per draw are not a whole number of updates of {per_update}")
    if generated < per_update and view.ours("epochs", 1) > 1:
        raise Untranslatable("num_iterations beyond 1 with several draws per optimiser step has no counterpart here")
    completions = max(generated, per_update)
    group = view.ours("group_size")
    if completions % group:
        raise Untranslatable(f"{completions} completions per draw are not whole groups of {group}")
    return {"prompts_per_step": completions // group, "updates": completions // per_update}


def _max_steps(value: Any, view: View) -> Outputs:
    if value <= 0:
        raise Ineffective("off: num_train_epochs decides")
    return {"steps": math.ceil(value / view.passes)}


def _warmup(value: Any, view: View) -> Outputs:
    if 0 < value < 1:
        return share_of_steps(value, view)
    return {"schedule.warmup": math.ceil(value / view.passes)}


def _dtype(_: Any, view: View) -> Outputs:
    named = str(view.theirs("dtype", view.theirs("torch_dtype")))
    if view.theirs("fp16") or named in ("float16", "half"):
        raise Untranslatable("there is no float16 training here; bf16 is engine.dtype=bfloat16")
    if view.theirs("bf16") is True or named == "bfloat16":
        return {"engine.dtype": "bfloat16"}
    return {"engine.dtype": "float64" if named == "float64" else "float32"}


def _sync(_: Any, view: View) -> Outputs:
    """The reference follows the policy. TRL counts optimiser steps, and keeps 0.4 of the old reference by default."""
    if not view.theirs("sync_ref_model", False):
        raise Ineffective("sync_ref_model is off")
    steps = int(view.theirs("ref_model_sync_steps", 512))
    if steps % view.passes:
        raise Untranslatable(
            f"{steps} optimiser steps are no whole number of draws of {view.passes}; give model.reference.every"
        )
    mix = float(view.theirs("ref_model_mixup_alpha", 0.6))
    return {"model.reference.every": steps // view.passes, "model.reference.mix": mix}


def _use_peft(value: Any, view: View) -> Outputs:
    return {"model.lora.rank": 16} if value else {"model.lora": None}


def _lora(path: str) -> Any:
    def convert(value: Any, view: View) -> Outputs:
        if view.theirs("use_peft") is False:
            raise Ineffective("use_peft is off")
        if view.ours("model.lora", "unset") is None:
            raise Ineffective("there is no adapter")
        return lora_rank(value, view) if path == "model.lora.rank" else {path: value}

    return convert


def data_path(value: str) -> str:
    """A data set's name as a path here: `hf:` before a hub id."""
    local = value.startswith((".", "/", "~", "hf:")) or Path(value).exists() or value.count("/") != 1
    return value if local else f"hf:{value}"


def _dataset(value: Any, view: View) -> Outputs:
    return {"data.path": data_path(value)}


def _evaluates(value: Any, view: View) -> Outputs:
    if value in ("no", False):
        raise Ineffective("off")
    if value != "steps":
        raise Untranslatable("evaluation is counted in steps here: evaluate.every, with held-out prompts in data.eval")
    return _held_out(view)


def _test_split(value: Any, view: View) -> Outputs:
    if view.theirs("eval_strategy", "no") in ("no", False):
        raise Ineffective("eval_strategy is off")
    return _held_out(view)


def _held_out(view: View) -> Outputs:
    if not view.theirs("dataset_name"):
        raise Untranslatable("needs held-out prompts: give data.eval")
    split = view.theirs("dataset_test_split", "test")
    return {"data.eval": data_path(view.theirs("dataset_name")), "data.eval_split": split}


def _eval_steps(value: Any, view: View) -> Outputs:
    if view.theirs("eval_strategy") in ("no", False):
        raise Ineffective("eval_strategy is off")
    return {"evaluate.every": math.ceil(value / view.passes)}


def _save_strategy(value: Any, view: View) -> Outputs:
    if value in ("no", False):
        return {"checkpoint_every": 0}
    if value != "steps":
        raise Untranslatable("checkpoints are counted in steps here: checkpoint_every")
    raise Ineffective("save_steps says how often")


def _save_steps(value: Any, view: View) -> Outputs:
    if view.theirs("save_strategy", "steps") != "steps":
        raise Ineffective(f"save_strategy is {view.theirs('save_strategy')}")
    if 0 < value < 1:
        value = value * view.ours("steps", 100) * view.passes
    return {"checkpoint_every": math.ceil(value / view.passes)}


def _rewards(_: Any, view: View) -> Outputs:
    named = view.theirs("reward_funcs")
    if not named:
        raise Untranslatable("give each reward its own: reward: [{use: ..., weight: ...}]")
    found = [_reward(name) for name in ([named] if isinstance(named, str) else named)]
    weights = view.theirs("reward_weights")
    if weights is None:
        return {"reward": found}
    if len(weights) != len(found):
        raise Untranslatable(f"{len(weights)} weights for {len(found)} rewards")
    return {"reward": [{**r, "weight": float(w)} for r, w in zip(found, weights, strict=True)]}


def _reward(name: str) -> dict[str, Any]:
    """TRL's functions run here unchanged; its factory of a length penalty is our shaping `overlong`."""
    if name == "get_soft_overlong_punishment":
        raise Untranslatable("reward_funcs: get_soft_overlong_punishment is shaping here: [{kind: overlong}]")
    if re.search(r"\.py:\w+$", name):  # as it is written here
        return {"use": name}
    if "/" in name:
        return {"use": "model", "args": {"path": name}}
    if "." not in name:
        return {"use": f"trl.rewards:{name}"}
    module, _, function = name.rpartition(".")
    return {"use": f"{module}:{function}"}


def _reward_model(value: Any, view: View) -> Outputs:
    return {"reward": [{"use": "model", "args": {"path": str(value)}}]}


def _template(value: Any, view: View) -> Outputs:
    if not str(value).endswith((".jinja", ".j2")):
        raise Untranslatable("a tokenizer: save its template to a Jinja file, and give that as model.chat_template")
    return {"model.chat_template": str(value)}


def _sampler_correction(_: Any, view: View) -> Outputs:
    without = view.ours("objective.advantage.kind") == "leave_one_out"  # TRL's RLOO corrects nothing
    if without or view.theirs("use_vllm") is False or view.theirs("vllm_importance_sampling_correction") is False:
        return {"objective.correction": None}
    cap = view.theirs("vllm_importance_sampling_clip_max", view.theirs("vllm_importance_sampling_cap", 3.0))
    low = view.theirs("vllm_importance_sampling_clip_min", 0.0)
    return {
        "objective.correction.mode": view.theirs("vllm_importance_sampling_mode", "sequence_mask"),
        "objective.correction.low": low,
        "objective.correction.high": cap,
    }


_CORRECTION = (
    "objective.correction.mode",
    "objective.correction.low",
    "objective.correction.high",
    "objective.correction",
)
_CLIP = ("objective.surrogate.low", "objective.surrogate.high")
_SIZES = ("prompts_per_step", "updates")

ALIASES = (
    # ------------------------------------------------------------------------------------------- the objective
    _a(
        "loss_type",
        ("objective.aggregate.mode", "objective.surrogate.kind", "objective.link.kind", "objective.score"),
        _loss_type,
        note="grpo, dapo, bnpo, dr_grpo, luspo, cispo; dr_grpo leaves scale_rewards as it is; bnpo per update",
    ),
    _a(
        "importance_sampling_level",
        ("objective.ratio",),
        values={"token": "token", "sequence": "sequence_mean"},
    ),
    _a(
        "scale_rewards",
        ("objective.advantage.scale",),
        values={"group": "group", "batch": "batch", "none": "none", True: "group", False: "none"},
    ),
    _a("epsilon", _CLIP, _epsilon, weak=("objective.surrogate.high",), note="both sides, unless epsilon_high is given"),
    _a(
        "epsilon_high",
        ("objective.surrogate.high", "objective.surrogate.ratio_max"),
        note="with cispo it is the cap itself",
    ),
    _a("delta", ("objective.surrogate.dual",), _delta, note="above 1 + epsilon_high"),
    _a("cliprange", _CLIP, clip_both, note="PPO"),
    _a(
        "beta",
        (
            "objective.link.beta",
            "objective.link_coef",
            "objective.advantage.kl_coef",
            "objective.kl.coef",
            "objective.kl",
        ),
        kl_weight,
        note="where the method has it; 0 is no KL term. TRL 1.16 estimates k3 times the ratio (`k3_ratio`)",
    ),
    _a("use_bias_correction_kl", ("objective.kl.estimator",), _bias_correction),
    _a("entropy_coef", ("objective.entropy",)),
    _a("mask_truncated_completions", ("objective.mask_truncated",)),
    _a("vf_coef", ("objective.value.coef",), of_critic("objective.value.coef"), note="PPO"),
    _a("cliprange_value", ("objective.value.clip",), of_critic("objective.value.clip"), note="PPO"),
    _a("gamma", ("objective.advantage.gamma",), note="PPO"),
    _a("lam", ("objective.advantage.lam",), gae_lambda, note="PPO"),
    _a("label_smoothing", ("objective.link.smoothing",), note="DPO"),
    _a("simpo_gamma", ("objective.link.margin",)),
    _a("desirable_weight", ("objective.link.lam_desirable",)),
    _a("undesirable_weight", ("objective.link.lam_undesirable",)),
    _a("center_rewards_coefficient", ("objective.link.center",)),
    _a("off_policy_mask_threshold", ("objective.off_policy_mask.delta",)),
    *(
        _a(name, _CORRECTION, _sampler_correction, only_imported=name == "use_vllm")
        for name in (
            "use_vllm",
            "vllm_importance_sampling_correction",
            "vllm_importance_sampling_mode",
            "vllm_importance_sampling_clip_max",
            "vllm_importance_sampling_clip_min",
            "vllm_importance_sampling_cap",
        )
    ),
    # -------------------------------------------------------------------------------------------------- sizes
    _a("num_generations", ("group_size",)),
    _a("num_iterations", ("epochs",)),
    _a("num_ppo_epochs", ("epochs",), note="PPO"),
    _a("num_mini_batches", ("updates",), note="PPO"),
    _a(
        "per_device_train_batch_size",
        _SIZES,
        _batch,
        weak=("updates",),
        note="counts completions on each process: divided by num_generations; processes are taken as 1",
    ),
    _a("gradient_accumulation_steps", _SIZES, _batch, weak=("updates",), note="part of the same product"),
    _a("steps_per_generation", _SIZES, _batch, note="updates = steps_per_generation / gradient_accumulation_steps"),
    _a("generation_batch_size", _SIZES, _batch, note="completions per draw"),
    _a("max_steps", ("steps",), _max_steps, note="optimiser steps there, draws here"),
    # ------------------------------------------------------------------------------------------------ sampling
    _a("temperature", ("sampling.temperature",)),
    _a("top_p", ("sampling.top_p",), note="below 1 only without an importance correction"),
    _a("top_k", ("sampling.top_k",), no_top_k),
    _a("max_completion_length", ("sampling.max_tokens",)),
    _a("max_new_tokens", ("sampling.max_tokens",)),
    _a("response_length", ("sampling.max_tokens",), note="PPO"),
    # ------------------------------------------------------------------------------------- optimiser, schedule
    _a("learning_rate", ("schedule.lr",)),
    _a(
        "lr_scheduler_type",
        ("schedule.decay", "schedule.final"),
        lambda value, view: decay(value),
        weak=("schedule.final",),
        note="linear, cosine (to 0), constant",
    ),
    _a("warmup_steps", ("schedule.warmup",), _warmup, note="optimiser steps there, draws here"),
    _a("warmup_ratio", ("schedule.warmup",), share_of_steps),
    _a("adam_beta1", ("optimizer.beta1",)),
    _a("adam_beta2", ("optimizer.beta2",)),
    _a("adam_epsilon", ("optimizer.eps",)),
    _a("weight_decay", ("optimizer.weight_decay",)),
    _a("max_grad_norm", ("optimizer.max_grad_norm",)),
    # --------------------------------------------------------------------------------------------------- model
    _a("model_name_or_path", ("model.path",)),
    _a("sft_model_path", ("model.path",), note="PPO: where the policy starts"),
    _a("chat_template_path", ("model.chat_template",), _template, note="a Jinja file"),
    *(
        _a(name, ("engine.dtype",), _dtype, note="bf16 or dtype bfloat16 is bfloat16 with an fp32 master copy")
        for name in ("bf16", "dtype", "torch_dtype", "fp16")
    ),
    _a("gradient_checkpointing", ("engine.gradient_checkpointing",)),
    *(
        _a(name, ("model.reference.every", "model.reference.mix"), _sync, note="optimiser steps there, draws here")
        for name in ("sync_ref_model", "ref_model_sync_steps", "ref_model_mixup_alpha")
    ),
    _a("use_peft", ("model.lora.rank", "model.lora"), _use_peft, weak=("model.lora.rank",)),
    _a("lora_r", ("model.lora.rank", "model.lora"), _lora("model.lora.rank")),
    _a("lora_alpha", ("model.lora.alpha",), _lora("model.lora.alpha")),
    _a("lora_target_modules", ("model.lora.targets",), _lora("model.lora.targets")),
    # -------------------------------------------------------------------------------------------- data, the run
    _a("dataset_name", ("data.path",), _dataset, note="hub ids get hf: before them"),
    _a("dataset_train_split", ("data.split",)),
    _a("dataset_test_split", ("data.eval", "data.eval_split"), _test_split),
    _a("reward_funcs", ("reward",), _rewards, note="a.b.fn is a.b:fn here; TRL's own need trl installed"),
    _a("reward_weights", ("reward",), _rewards),
    *(
        _a(name, ("reward",), _reward_model, note="PPO: the built-in reward `model`")
        for name in ("reward_model_path", "reward_model_name_or_path")
    ),
    _a("eval_strategy", ("data.eval", "data.eval_split"), _evaluates),
    _a("eval_steps", ("evaluate.every",), _eval_steps, note="optimiser steps there, draws here"),
    _a("save_strategy", ("checkpoint_every",), _save_strategy),
    _a("save_steps", ("checkpoint_every",), _save_steps, note="optimiser steps there, draws here"),
    _a("save_total_limit", ("keep_checkpoints",)),
    _a("output_dir", ("output",)),
    _a("seed", ("seed",)),
)
