"""What TRL's values are here: the conversions that `trl.toml` names, and the methods of its trainers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from postlude.recipe.foreign.alias import Ineffective, Outputs, Untranslatable, View, listed
from postlude.recipe.foreign.conversions import clip_both, conversion, server_args, server_of_our_own, share_of_steps

Settings = Mapping[str, Any]


def only(value: Any) -> Any:
    """The one entry of a list of loss types."""
    losses = listed(value)
    if len(losses) != 1:
        raise Untranslatable("a mixture of losses has no counterpart here")
    return losses[0]


@conversion
def trl_loss_type(value: Any, view: View) -> Outputs:
    """Losses of tokens, or of comparisons, by the kind of the method."""
    kind = "contrast" if view.ours("objective.kind") == "contrast" else "token"
    losses: dict[str, Outputs] = view.row.looked_up(kind)
    name = only(value)
    if name not in losses:
        raise Untranslatable(f"there is no loss {name!r} here; known: {', '.join(losses)}")
    return losses[name]


@conversion
def trl_delta(value: Any, view: View) -> Outputs:
    high = view.ours("objective.surrogate.high", 0.0)
    if value <= 1 + high:
        raise Untranslatable(f"delta {value} does not exceed 1 + epsilon_high ({1 + high:g}): no dual clip does that")
    return {"objective.surrogate.dual": value}


@conversion
def trl_epsilon(value: Any, view: View) -> Outputs:
    if view.ours("objective.surrogate.kind") == "cispo" and view.theirs("epsilon_high") is not None:
        raise Ineffective("the loss cispo reads epsilon_high only")
    return clip_both(value, view)


@conversion
def trl_batch(_: Any, view: View) -> Outputs:
    """Prompts per draw and updates. TRL counts completions, on every process, and slices a generation batch."""
    processes = view.theirs("processes", view.theirs("num_processes", 1))
    rows = view.theirs("per_device_train_batch_size", 8) * processes
    parts, whole = view.theirs("steps_per_generation"), view.theirs("generation_batch_size")
    if parts and whole:  # a dump of a whole configuration has both, and with them the number of processes
        rows = whole // parts
    accumulated = view.theirs("gradient_accumulation_steps", 1)
    if view.ours("objective.kind") == "contrast" or view.method == "sft":
        return {"prompts_per_step": rows * accumulated, "updates": 1}
    if view.ours("objective.advantage.kind") == "gae":
        parts = view.theirs("num_mini_batches", 1)
        return {"prompts_per_step": rows * accumulated * parts // view.ours("group_size"), "updates": parts}
    return _generation(rows * view.theirs("steps_per_generation", accumulated), rows * accumulated, view)


def _generation(default: int, per_update: int, view: View) -> Outputs:
    """Sizes of online methods, from completions per draw and per optimiser step."""
    generated = view.theirs("generation_batch_size", default)
    if generated % per_update and per_update % generated:
        raise Untranslatable(f"{generated} completions per draw are not a whole number of updates of {per_update}")
    if generated < per_update and view.ours("epochs", 1) > 1:
        raise Untranslatable("num_iterations beyond 1 with several draws per optimiser step has no counterpart here")
    completions = max(generated, per_update)
    group = view.ours("group_size")
    if completions % group:
        raise Untranslatable(f"{completions} completions per draw are not whole groups of {group}")
    return {"prompts_per_step": completions // group, "updates": completions // per_update}


@conversion
def trl_max_steps(value: Any, view: View) -> Outputs:
    if value <= 0:
        raise Ineffective("off: num_train_epochs decides")
    return {"steps": math.ceil(value / view.passes)}


@conversion
def trl_episodes(value: Any, view: View) -> Outputs:
    """Answers in all as draws."""
    return {"steps": math.ceil(value / (view.ours("prompts_per_step", 16) * view.ours("group_size", 1)))}


@conversion
def trl_last_rate(value: Any, view: View) -> Outputs:
    """The last rate of a schedule, as a share of the peak or as a rate."""
    others = sorted(set(value) - {"min_lr_rate", "min_lr"})
    if others:
        raise Untranslatable(f"no counterpart of {', '.join(others)} here; the last rate is schedule.final")
    if not value:
        raise Ineffective("empty")
    share = value.get("min_lr_rate")
    if share is None and view.theirs("learning_rate") is None:
        raise Untranslatable("min_lr is a rate; give schedule.final, its share of the peak")
    return {"schedule.final": share if share is not None else value["min_lr"] / view.theirs("learning_rate")}


@conversion
def trl_warmup(value: Any, view: View) -> Outputs:
    if 0 < value < 1:
        return share_of_steps(value, view)
    return {"schedule.warmup": math.ceil(value / view.passes)}


@conversion
def trl_dtype(_: Any, view: View) -> Outputs:
    named = str(view.theirs("dtype", view.theirs("torch_dtype")))
    if view.theirs("fp16") or named in ("float16", "half"):
        raise Untranslatable("there is no float16 training here; bf16 is engine.dtype=bfloat16")
    if view.theirs("bf16") is True or named == "bfloat16":
        return {"engine.dtype": "bfloat16"}
    return {"engine.dtype": "float64" if named == "float64" else "float32"}


@conversion
def trl_reference_sync(_: Any, view: View) -> Outputs:
    """The reference follows the policy. TRL counts optimiser steps, and keeps 0.4 of the old reference by default."""
    steps = int(view.theirs("ref_model_sync_steps", 512))
    if steps % view.passes:
        raise Untranslatable(
            f"{steps} optimiser steps are no whole number of draws of {view.passes}; give model.reference.every"
        )
    mix = float(view.theirs("ref_model_mixup_alpha", 0.6))
    return {"model.reference.every": steps // view.passes, "model.reference.mix": mix}


@conversion
def trl_use_peft(value: Any, view: View) -> Outputs:
    return {"model.lora.rank": 16} if value else {"model.lora": None}


def data_path(value: str) -> str:
    """A data set's name as a path here: `hf:` before a hub id."""
    local = value.startswith((".", "/", "~", "hf:")) or Path(value).exists() or value.count("/") != 1
    return value if local else f"hf:{value}"


@conversion
def trl_dataset(value: Any, view: View) -> Outputs:
    return {"data.path": data_path(value)}


@conversion
def trl_evaluates(value: Any, view: View) -> Outputs:
    if value in ("no", False):
        raise Ineffective("off")
    if value != "steps":
        raise Untranslatable("evaluation is counted in steps here: evaluate.every, with held-out prompts in data.eval")
    return trl_held_out(value, view)


@conversion
def trl_held_out(_: Any, view: View) -> Outputs:
    if not view.theirs("dataset_name"):
        raise Untranslatable("needs held-out prompts: give data.eval")
    split = view.theirs("dataset_test_split", "test")
    return {"data.eval": data_path(view.theirs("dataset_name")), "data.eval_split": split}


@conversion
def trl_save_strategy(value: Any, view: View) -> Outputs:
    if value in ("no", False):
        return {"checkpoints.every": 0}
    if value != "steps":
        raise Untranslatable("checkpoints are counted in steps here: checkpoints.every")
    raise Ineffective("save_steps says how often")


@conversion
def trl_save_steps(value: Any, view: View) -> Outputs:
    if view.theirs("save_strategy", "steps") != "steps":
        raise Ineffective(f"save_strategy is {view.theirs('save_strategy')}")
    if 0 < value < 1:
        value = value * view.ours("steps", 100) * view.passes
    return {"checkpoints.every": math.ceil(value / view.passes)}


@conversion
def trl_rewards(_: Any, view: View) -> Outputs:
    named = view.theirs("reward_funcs")
    if not named:
        raise Untranslatable("give each reward its own: reward: [{use: ..., weight: ...}]")
    rewards = [_reward(name) for name in listed(named)]
    weights = view.theirs("reward_weights")
    if weights is None:
        return {"reward": rewards}
    if len(weights) != len(rewards):
        raise Untranslatable(f"{len(weights)} weights for {len(rewards)} rewards")
    return {"reward": [{**r, "weight": float(w)} for r, w in zip(rewards, weights, strict=True)]}


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


@conversion
def trl_reward_model(value: Any, view: View) -> Outputs:
    return {"reward": [{"use": "model", "args": {"path": str(value)}}]}


@conversion
def trl_template(value: Any, view: View) -> Outputs:
    if not str(value).endswith((".jinja", ".j2")):
        raise Untranslatable("a tokenizer: save its template to a Jinja file, and give that as model.chat_template")
    return {"model.chat_template": str(value)}


@conversion
def trl_vllm(value: Any, view: View) -> Outputs:
    """A server of our own where TRL has vLLM; of an imported file with what TRL does about its log-probs."""
    correction = trl_sampler_correction(value, view) if view.theirs("importing") else {}
    if value is False:
        return correction or {"engine.servers": None}
    if value is not True:
        raise Untranslatable("it is true or false")
    return server_of_our_own(colocate=view.theirs("vllm_mode", "colocate") == "colocate") | correction


@conversion
def trl_vllm_mode(value: Any, view: View) -> Outputs:
    if value not in ("colocate", "server"):
        raise Untranslatable(f"no counterpart of {value!r} here; known: colocate, server")
    return {"engine.servers.colocate": value == "colocate"}


@conversion
def trl_vllm_args(value: Any, view: View) -> Outputs:
    return {"engine.servers.args": server_args({"gpu-memory-utilization": value})}


@conversion
def trl_sampler_correction(_: Any, view: View) -> Outputs:
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


# --------------------------------------------------------------------------------------------- which method it is


def trl_grpo(force: Settings, written: Settings) -> str:
    loss = force["loss_type"]
    if loss not in ("grpo", "dapo", "bnpo", "dr_grpo", "luspo", "cispo"):
        raise Untranslatable(f"loss_type: there is no loss {loss!r} here")
    if loss == "cispo":
        return "cispo"
    if force["importance_sampling_level"] == "sequence":
        return "gspo"
    if loss == "dr_grpo" or written.get("loss_type") == "dapo":
        return loss
    return "grpo"  # TRL's default loss is dapo's mean over tokens, without the rest of DAPO


def trl_dpo(force: Settings, written: Settings) -> str:
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
