"""What verl's values are here: the conversions that `verl.toml` names, and the method of its trainer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from postlude.recipe.foreign.alias import Ineffective, Outputs, Untranslatable, View
from postlude.recipe.foreign.conversions import (
    clip_both,
    conversion,
    gpus_of_nodes,
    kl_loss_weight,
    server_args,
    server_of_our_own,
    share_of_steps,
)

Settings = Mapping[str, Any]
ACTOR = "actor_rollout_ref.actor"
MODE = f"{ACTOR}.policy_loss.loss_mode"
ROLLOUT = "actor_rollout_ref.rollout"
PASSED_ON = ("gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens")
"""Options of its rollout that are vLLM's own."""


@conversion
def verl_aggregate(value: Any, view: View) -> Outputs:
    if view.theirs(MODE) == "gspo":
        raise Ineffective("the loss gspo aggregates by itself: seq-mean-token-mean")
    return {"objective.aggregate.mode": view.row.looked_up(value)}


@conversion
def verl_scale_factor(value: Any, view: View) -> Outputs:
    if view.ours("objective.aggregate.mode") != "seq_mean_token_sum_norm":
        raise Ineffective("only seq-mean-token-sum-norm reads it")
    return {"objective.aggregate.length": value}


@conversion
def verl_clip(value: Any, view: View) -> Outputs:
    if view.theirs(f"{ACTOR}.clip_ratio_low") is not None and view.theirs(f"{ACTOR}.clip_ratio_high") is not None:
        raise Ineffective("verl reads clip_ratio_low and clip_ratio_high (0.2 by default) before it")
    return clip_both(value, view)


@conversion
def verl_clip_low(value: Any, view: View) -> Outputs:
    """Under cispo verl's bounds are distances from 1."""
    if view.ours("objective.surrogate.kind") == "cispo":
        return {"objective.surrogate.ratio_min": 1 - value}
    return {"objective.surrogate.low": value}


@conversion
def verl_clip_high(value: Any, view: View) -> Outputs:
    if view.ours("objective.surrogate.kind") == "cispo":
        return {"objective.surrogate.ratio_max": 1 + value}
    return {"objective.surrogate.high": value}


@conversion
def verl_dual(value: Any, view: View) -> Outputs:
    mode = view.theirs(MODE, "vanilla")
    if mode != "vanilla":
        raise Ineffective(f"the loss {mode} has no dual clip")
    return {"objective.surrogate.dual": value}


@conversion
def verl_rollout(value: Any, view: View) -> Outputs:
    """verl's actor and its vLLM take turns on the same GPUs."""
    if value == "hf":
        raise Ineffective("this process samples, as here")
    if value != "vllm":
        raise Untranslatable(f"no counterpart of {value!r} here; known: vllm, hf")
    return server_of_our_own(colocate=True)


def _served(view: View) -> None:
    if view.theirs(f"{ROLLOUT}.name") != "vllm":
        raise Ineffective(f"{ROLLOUT}.name is not vllm")


@conversion
def verl_gpus(value: Any, view: View) -> Outputs:
    """Devices of actor and vLLM together: the same ones, which only one trainer can share with servers here."""
    outputs = gpus_of_nodes(value, view)
    if outputs["engine.trainers"] > 1 and view.theirs(f"{ROLLOUT}.name") == "vllm":
        raise Untranslatable(
            f"there trainers and vLLM take turns on the same {outputs['engine.trainers']} GPUs, which here one trainer "
            "can do. Share them out: engine.trainers, engine.servers.count and gpus, and engine.servers.colocate=false"
        )
    return outputs


@conversion
def verl_server_gpus(value: Any, view: View) -> Outputs:
    _served(view)
    return {"engine.servers.gpus": value}


@conversion
def verl_server_args(_: Any, view: View) -> Outputs:
    """Each of the options gives the arguments of them all."""
    _served(view)
    return {"engine.servers.args": server_args({name.replace("_", "-"): view.beside(name) for name in PASSED_ON})}


@conversion
def verl_kl_loss(value: Any, view: View) -> Outputs:
    if not value:
        return {"objective.kl": None}
    return kl_loss_weight(view.beside("kl_loss_coef", 0.001), view)


@conversion
def verl_kl_reward(value: Any, view: View) -> Outputs:
    path = "objective.advantage.kl_coef"
    if not value:
        if not view.has(path):
            raise Ineffective("off, as here")
        return {path: 0.0}
    return {path: view.theirs("algorithm.kl_ctrl.kl_coef", 0.001)}


@conversion
def verl_kl_control(_: Any, view: View) -> Outputs:
    """verl's adaptive controller: proportional, on the mean over tokens, counted in answers."""
    kind = view.beside("type", "fixed")
    if kind == "fixed":
        return {"kl_control": None}
    if kind != "adaptive":
        raise Untranslatable(f"there is no controller {kind!r} here; there are fixed and adaptive")
    target, horizon = view.beside("target_kl", 0.1), view.beside("horizon", 10_000)
    return {"kl_control": {"kind": "proportional", "unit": "token", "target": target, "horizon": horizon}}


@conversion
def verl_reward_model(_: Any, view: View) -> Outputs:
    """A reward model, which older configurations name at `model.path`."""
    switch = view.row.only_with
    path = switch.replace(".enable", ".model_path" if switch.startswith("reward.") else ".model.path")
    if not isinstance(view.theirs(path), str):
        raise Untranslatable(f"{path} does not say which model")
    return {"reward": [{"use": "model", "args": {"path": view.theirs(path)}}]}


@conversion
def verl_compute_score(_: Any, view: View) -> Outputs:
    """verl's own scorer of a file runs here as it is."""
    path = view.beside("path")
    if not path:
        raise Ineffective("no path is given")
    if not isinstance(path, str):
        raise Untranslatable(f"the path of a Python file is text, not {path!r}")
    return {"reward": [{"use": f"verl:{path}:{view.beside('name', 'compute_score')}"}]}


@conversion
def verl_filter(value: Any, view: View) -> Outputs:
    """Dynamic sampling; a file without a bound of rounds has none."""
    if not value and view.row.name.endswith(".enable"):
        return {"keep": None}
    return {"keep": {"kind": "mixed", "max_rounds": max(int(view.beside("max_num_gen_batches", 0)), 0)}}


@conversion
def verl_overlong(_: Any, view: View) -> Outputs:
    sizes = {"cache": view.beside("len"), "factor": view.beside("penalty_factor")}
    return {"shaping": [{"kind": "overlong", **{key: size for key, size in sizes.items() if size is not None}}]}


@conversion
def verl_rollout_correction(_: Any, view: View) -> Outputs:
    """Truncated weights by token or sequence; the older cap is one by token."""
    cap = view.theirs(f"{ACTOR}.tis_imp_ratio_cap", -1)
    level = view.theirs("algorithm.rollout_correction.rollout_is")
    threshold = view.theirs("algorithm.rollout_correction.rollout_is_threshold", 2.0)
    if level is None and cap > 0:
        level, threshold = "token", cap
    if level is None:
        return {"objective.correction": None}
    if isinstance(threshold, str) and "_" in threshold:
        raise Untranslatable("bounds on both sides: set objective.correction.mode=token_mask with low and high")
    return {"objective.correction.mode": f"{level}_truncate", "objective.correction.high": float(threshold)}


@conversion
def verl_mini_batch(value: Any, view: View) -> Outputs:
    prompts = view.ours("prompts_per_step", 16)
    if prompts % value:
        raise Untranslatable(f"{prompts} prompts per draw are not a whole number of mini-batches of {value}")
    return {"updates": prompts // value}


@conversion
def verl_warmup_ratio(value: Any, view: View) -> Outputs:
    if view.beside("lr_warmup_steps", -1) > 0:
        raise Ineffective("lr_warmup_steps is given")
    return share_of_steps(value, view)


@conversion
def verl_warmup(value: Any, view: View) -> Outputs:
    if value < 0:
        raise Ineffective("off: the ratio decides")
    return {"schedule.warmup": value}


@conversion
def verl_dtype(_: Any, view: View) -> Outputs:
    names = {view.beside("dtype", ""), view.beside("model_dtype", "")}
    return {"engine.dtype": "bfloat16" if {"bf16", "bfloat16"} & names else "float32"}


@conversion
def verl_val_prompts(value: Any, view: View) -> Outputs:
    if value <= 0:
        raise Ineffective("all of them there; here the first evaluate.prompts")
    return {"evaluate.prompts": value}


@conversion
def verl_val_sampling(value: Any, view: View) -> Outputs:
    raise Ineffective("val_kwargs.n says how many" if value else "held-out prompts are always answered greedily too")


@conversion
def verl_val_temperature(value: Any, view: View) -> Outputs:
    if value != view.ours("sampling.temperature", 1.0):
        raise Untranslatable("held-out prompts are sampled at the training temperature here")
    raise Ineffective("as it is here anyway")


# --------------------------------------------------------------------------------------------- which method it is


def verl_ppo(force: Settings, written: Settings) -> str:
    estimator = str(force["algorithm.adv_estimator"]).removesuffix("_vectorized")
    methods = {
        "gae": "ppo",
        "reinforce_plus_plus": "reinforce_pp",
        "reinforce_plus_plus_baseline": "reinforce_pp_baseline",
        "rloo": "rloo",
        "grpo": _grpo(force),
    }
    if estimator not in methods:
        raise Untranslatable(f"algorithm.adv_estimator: there is no {estimator!r} here; known: {', '.join(methods)}")
    losses = ("vanilla", "gspo", "cispo")
    if force[MODE] not in losses:
        raise Untranslatable(f"{MODE}: there is no loss {force[MODE]!r} here; known: {', '.join(losses)}")
    return methods[estimator]


def _grpo(force: Settings) -> str:
    special = {"gspo": "gspo_token", "cispo": "cispo"}.get(force[MODE])
    if special:
        return special
    if force.get("algorithm.filter_groups.enable"):
        return "dapo"
    plain = not force["algorithm.norm_adv_by_std_in_grpo"]
    return "dr_grpo" if plain and force[f"{ACTOR}.loss_agg_mode"] == "seq-mean-token-sum-norm" else "grpo"
