"""verl's names (configuration of 2026) as full dotted paths, and what their values are here.

Names marked `short` are also known by their last part. Batch sizes of verl are prompts, over all devices.
"""

from __future__ import annotations

from functools import partial
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
    kl_loss_weight,
    lacking,
    lora_rank,
    no_top_k,
    of_critic,
    share_of_steps,
)

_a = partial(Alias, "verl")
ACTOR, ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
MODEL = "actor_rollout_ref.model"

ESTIMATORS = {
    "grpo": "group_baseline",
    "grpo_vectorized": "group_baseline",
    "rloo": "leave_one_out",
    "rloo_vectorized": "leave_one_out",
    "reinforce_plus_plus": "reward_to_go",
    "reinforce_plus_plus_baseline": "whitened_group_baseline",
    "gae": "gae",
}
LOSSES: dict[str, Outputs] = {
    "vanilla": {"objective.surrogate.kind": "clip", "objective.ratio": "token"},
    "gspo": {
        "objective.surrogate.kind": "clip",
        "objective.ratio": "sequence_token",
        "objective.aggregate.mode": "seq_mean_token_mean",
    },
    "cispo": {"objective.surrogate.kind": "cispo", "objective.ratio": "token"},
}
AGGREGATES = {
    "token-mean": "token_mean",
    "seq-mean-token-sum": "seq_mean_token_sum",
    "seq-mean-token-mean": "seq_mean_token_mean",
    "seq-mean-token-sum-norm": "seq_mean_token_sum_norm",
}
ESTIMATES = {
    "kl": "k1",
    "k1": "k1",
    "mse": "k2",
    "k2": "k2",
    "low_var_kl": "k3",
    "k3": "k3",
    "kl+": "k1_straight",
    "k1+": "k1_straight",
    "low_var_kl+": "k3_straight",
    "k3+": "k3_straight",
}


def _loss_mode(value: Any, view: View) -> Outputs:
    if value not in LOSSES:
        raise Untranslatable(f"there is no loss {value!r} here; known: {', '.join(LOSSES)}")
    return LOSSES[value]


def _aggregate(value: Any, view: View) -> Outputs:
    if view.theirs(f"{ACTOR}.policy_loss.loss_mode") == "gspo":
        raise Ineffective("the loss gspo aggregates by itself: seq-mean-token-mean")
    if value not in AGGREGATES:
        raise Untranslatable(f"no such mean here; known: {', '.join(AGGREGATES)}")
    return {"objective.aggregate.mode": AGGREGATES[value]}


def _scale_factor(value: Any, view: View) -> Outputs:
    if view.ours("objective.aggregate.mode") != "seq_mean_token_sum_norm":
        raise Ineffective("only seq-mean-token-sum-norm reads it")
    return {"objective.aggregate.length": value}


def _clip(value: Any, view: View) -> Outputs:
    if view.theirs(f"{ACTOR}.clip_ratio_low") is not None and view.theirs(f"{ACTOR}.clip_ratio_high") is not None:
        raise Ineffective("verl reads clip_ratio_low and clip_ratio_high (0.2 by default) before it")
    return clip_both(value, view)


def _clip_low(value: Any, view: View) -> Outputs:
    """Under cispo verl's bounds are distances from 1."""
    if view.ours("objective.surrogate.kind") == "cispo":
        return {"objective.surrogate.ratio_min": 1 - value}
    return {"objective.surrogate.low": value}


def _clip_high(value: Any, view: View) -> Outputs:
    if view.ours("objective.surrogate.kind") == "cispo":
        return {"objective.surrogate.ratio_max": 1 + value}
    return {"objective.surrogate.high": value}


def _dual(value: Any, view: View) -> Outputs:
    mode = view.theirs(f"{ACTOR}.policy_loss.loss_mode", "vanilla")
    if mode != "vanilla":
        raise Ineffective(f"the loss {mode} has no dual clip")
    return {"objective.surrogate.dual": value}


def _kl_loss(value: Any, view: View) -> Outputs:
    if not value:
        return {"objective.kl": None}
    coefficient = view.theirs(f"{ACTOR}.kl_loss_coef", 0.001)
    return kl_loss_weight(coefficient, view)


def _kl_loss_part(path: str) -> Any:
    def convert(value: Any, view: View) -> Outputs:
        if view.theirs(f"{ACTOR}.use_kl_loss") is False:
            raise Ineffective("use_kl_loss is off")
        if path == "objective.kl.coef":
            return kl_loss_weight(value, view)
        if view.ours("objective.kl") is None:
            raise Ineffective("there is no KL term")
        if value not in ESTIMATES:
            raise Untranslatable(f"no estimator {value!r} here; known: {', '.join(ESTIMATES)}")
        return {path: ESTIMATES[value]}

    return convert


def _kl_reward(value: Any, view: View) -> Outputs:
    path = "objective.advantage.kl_coef"
    if not value:
        if not view.has(path):
            raise Ineffective("off, as here")
        return {path: 0.0}
    return {path: view.theirs("algorithm.kl_ctrl.kl_coef", 0.001)}


def _kl_reward_weight(value: Any, view: View) -> Outputs:
    if view.theirs("algorithm.use_kl_in_reward") is False:
        raise Ineffective("use_kl_in_reward is off")
    return {"objective.advantage.kl_coef": value}


def _kl_control(_: Any, view: View) -> Outputs:
    """verl's adaptive controller: proportional, on the mean over tokens, counted in answers."""
    if view.theirs("algorithm.use_kl_in_reward") is not True:
        raise Ineffective("use_kl_in_reward is off")
    kind = view.theirs("algorithm.kl_ctrl.type", "fixed")
    if kind == "fixed":
        return {"kl_control": None}
    if kind != "adaptive":
        raise Untranslatable(f"there is no controller {kind!r} here; there are fixed and adaptive")
    return {
        "kl_control": {
            "kind": "proportional",
            "unit": "token",
            "target": view.theirs("algorithm.kl_ctrl.target_kl", 0.1),
            "horizon": view.theirs("algorithm.kl_ctrl.horizon", 10_000),
        }
    }


def _of_own_critic(path: str) -> Any:
    def convert(value: Any, view: View) -> Outputs:
        if view.ours("critic") is None:
            raise lacking(view, path)
        return {path: value}

    return convert


def _value_aggregate(value: Any, view: View) -> Outputs:
    if view.ours("objective.value") is None:
        raise lacking(view, "objective.value.aggregate.mode")
    if value not in AGGREGATES:
        raise Untranslatable(f"no such mean here; known: {', '.join(AGGREGATES)}")
    return {"objective.value.aggregate.mode": AGGREGATES[value]}


def _reward_model(switch: str, path: str) -> Any:
    def convert(_: Any, view: View) -> Outputs:
        if not view.theirs(switch):
            raise Ineffective(f"{switch} is off")
        if not isinstance(view.theirs(path), str):
            raise Untranslatable(f"{path} does not say which model")
        return {"reward": [{"use": "model", "args": {"path": view.theirs(path)}}]}

    return convert


def _compute_score(prefix: str) -> Any:
    """verl's own scorer of a file runs here as it is."""

    def convert(_: Any, view: View) -> Outputs:
        path = view.theirs(f"{prefix}.path")
        if not path:
            raise Ineffective("no path is given")
        if not isinstance(path, str):
            raise Untranslatable(f"the path of a Python file is text, not {path!r}")
        return {"reward": [{"use": f"verl:{path}:{view.theirs(f'{prefix}.name', 'compute_score')}"}]}

    return convert


def _filter(value: Any, view: View) -> Outputs:
    if not value:
        return {"keep": None}
    rounds = view.theirs("algorithm.filter_groups.max_num_gen_batches", 0)
    return {"keep": {"kind": "mixed", "max_rounds": max(int(rounds), 0)}}


def _rounds(value: Any, view: View) -> Outputs:
    if view.theirs("algorithm.filter_groups.enable") is False:
        raise Ineffective("filter_groups.enable is off")
    return _filter(True, view)


def _overlong(prefix: str) -> Any:
    def convert(_: Any, view: View) -> Outputs:
        if not view.theirs(f"{prefix}.enable"):
            raise Ineffective("overlong_buffer.enable is off")
        penalty: dict[str, Any] = {"kind": "overlong"}
        for theirs, ours in (("len", "cache"), ("penalty_factor", "factor")):
            if view.theirs(f"{prefix}.{theirs}") is not None:
                penalty[ours] = view.theirs(f"{prefix}.{theirs}")
        return {"shaping": [penalty]}

    return convert


def _rollout_correction(_: Any, view: View) -> Outputs:
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


def _threshold(value: Any, view: View) -> Outputs:
    if view.theirs("algorithm.rollout_correction.rollout_is") is None:
        raise Ineffective("rollout_is is off")
    return _rollout_correction(value, view)


def _mini_batch(value: Any, view: View) -> Outputs:
    prompts = view.ours("prompts_per_step", 16)
    if prompts % value:
        raise Untranslatable(f"{prompts} prompts per draw are not a whole number of mini-batches of {value}")
    return {"updates": prompts // value}


def _warmup_ratio(value: Any, view: View) -> Outputs:
    if next((v for p in OPTIM if (v := view.theirs(f"{p}.lr_warmup_steps", -1)) > 0), 0):
        raise Ineffective("lr_warmup_steps is given")
    return share_of_steps(value, view)


def _warmup(value: Any, view: View) -> Outputs:
    if value < 0:
        raise Ineffective("off: the ratio decides")
    return {"schedule.warmup": value}


def _decay(value: Any, view: View) -> Outputs:
    final = next((v for p in OPTIM if (v := view.theirs(f"{p}.min_lr_ratio")) is not None), 0.0)
    return decay(value, final)


def _betas(value: Any, view: View) -> Outputs:
    return {"optimizer.beta1": value[0], "optimizer.beta2": value[1]}


def _dtype(_: Any, view: View) -> Outputs:
    names = [view.theirs(f"{ACTOR}.fsdp_config.{n}", "") for n in ("dtype", "model_dtype")]
    return {"engine.dtype": "bfloat16" if {"bf16", "bfloat16"} & set(names) else "float32"}


def _lora_part(path: str, rank: str) -> Any:
    def convert(value: Any, view: View) -> Outputs:
        if view.theirs(rank) == 0:
            raise Ineffective("lora_rank is 0")
        return {path: value}

    return convert


def _file(path: str) -> Any:
    def convert(value: Any, view: View) -> Outputs:
        files = value if isinstance(value, list) else [value]
        if len(files) != 1:
            raise Untranslatable("several files: give them as data.mix, each with a weight; see docs/data.md")
        return {path: files[0]}

    return convert


def _save_freq(value: Any, view: View) -> Outputs:
    return {"checkpoint_every": max(int(value), 0)}


def _ref_update_freq(value: Any, view: View) -> Outputs:
    if value <= 0:
        raise Ineffective("off: the reference stays the start")
    return {"model.reference.every": value}


def _test_freq(value: Any, view: View) -> Outputs:
    if value <= 0:
        raise Ineffective("off; without data.eval nothing is evaluated here either")
    return {"evaluate.every": value}


OPTIM = (f"{ACTOR}.optim", "optim")
"""Where PPO and SFT keep the same settings."""
REWARD_MODELS = (
    ("reward_model.enable", "reward_model.model.path"),
    ("reward.reward_model.enable", "reward.reward_model.model_path"),
)
"""The switch of a reward model and where it is, in older and newer configurations."""
_OVERLONG = ("reward_model.overlong_buffer", "reward_model.reward_kwargs.overlong_buffer_cfg")
_CORRECTION = ("objective.correction.mode", "objective.correction.high", "objective.correction")
_KL = ("objective.kl.coef", "objective.kl")


def _optimiser(prefix: str) -> tuple[Alias, ...]:
    return (
        _a(f"{prefix}.lr", ("schedule.lr",), short=prefix != "optim"),
        *(_a(f"{prefix}.{name}", ("schedule.decay", "schedule.final"), _decay, weak=("schedule.final",))
          for name in ("lr_scheduler_type", "warmup_style", "lr_scheduler")),
        _a(f"{prefix}.min_lr_ratio", ("schedule.final",)),
        _a(f"{prefix}.lr_warmup_steps", ("schedule.warmup",), _warmup, short=prefix != "optim"),
        _a(f"{prefix}.lr_warmup_steps_ratio", ("schedule.warmup",), _warmup_ratio, short=prefix != "optim"),
        _a(f"{prefix}.weight_decay", ("optimizer.weight_decay",)),
        _a(f"{prefix}.betas", ("optimizer.beta1", "optimizer.beta2"), _betas),
        _a(f"{prefix}.clip_grad", ("optimizer.max_grad_norm",)),
    )  # fmt: skip


def _model(prefix: str) -> tuple[Alias, ...]:
    rank = f"{prefix}.lora_rank"
    return (
        _a(f"{prefix}.path", ("model.path",)),
        _a(rank, ("model.lora.rank", "model.lora"), lora_rank, short=prefix == MODEL, note="0 is no adapter"),
        _a(f"{prefix}.lora_alpha", ("model.lora.alpha",), _lora_part("model.lora.alpha", rank)),
        _a(f"{prefix}.target_modules", ("model.lora.targets",), _lora_part("model.lora.targets", rank)),
        _a(f"{prefix}.enable_gradient_checkpointing", ("engine.gradient_checkpointing",)),
    )


ALIASES = (
    # ------------------------------------------------------------------------------------------- the objective
    _a("algorithm.adv_estimator", ("objective.advantage.kind",), values=ESTIMATORS, short=True),
    _a(f"{ACTOR}.policy_loss.loss_mode", ("objective.surrogate.kind", "objective.ratio"), _loss_mode, short=True,
       note="vanilla, gspo (its token form), cispo"),
    _a(f"{ACTOR}.loss_agg_mode", ("objective.aggregate.mode",), _aggregate, short=True),
    _a(f"{ACTOR}.loss_scale_factor", ("objective.aggregate.length",), _scale_factor, short=True),
    _a("algorithm.norm_adv_by_std_in_grpo", ("objective.advantage.scale",), short=True,
       values={True: "group", False: "none"}),
    _a(f"{ACTOR}.clip_ratio", ("objective.surrogate.low", "objective.surrogate.high"), _clip, short=True,
       weak=("objective.surrogate.low", "objective.surrogate.high"), note="both sides"),
    _a(f"{ACTOR}.clip_ratio_low", ("objective.surrogate.low", "objective.surrogate.ratio_min"), _clip_low, short=True,
       note="with cispo 1 minus it"),
    _a(f"{ACTOR}.clip_ratio_high", ("objective.surrogate.high", "objective.surrogate.ratio_max"), _clip_high,
       short=True, note="with cispo 1 plus it"),
    _a(f"{ACTOR}.clip_ratio_c", ("objective.surrogate.dual",), _dual, short=True, note="3 by default in verl"),
    _a(f"{ACTOR}.entropy_coeff", ("objective.entropy",), short=True),
    _a(f"{ACTOR}.use_kl_loss", _KL, _kl_loss, short=True, weak=("objective.kl.coef",)),
    _a(f"{ACTOR}.kl_loss_coef", _KL, _kl_loss_part("objective.kl.coef"), short=True),
    _a(f"{ACTOR}.kl_loss_type", ("objective.kl.estimator",), _kl_loss_part("objective.kl.estimator"), short=True),
    _a("algorithm.use_kl_in_reward", ("objective.advantage.kl_coef",), _kl_reward, short=True,
       weak=("objective.advantage.kl_coef",)),
    _a("algorithm.kl_ctrl.kl_coef", ("objective.advantage.kl_coef",), _kl_reward_weight),
    _a("algorithm.gamma", ("objective.advantage.gamma",)),
    _a("algorithm.lam", ("objective.advantage.lam",), gae_lambda),
    *(_a(f"algorithm.kl_ctrl.{name}", ("kl_control",), _kl_control) for name in ("type", "horizon", "target_kl")),
    _a("critic.optim.lr", ("critic.lr",), _of_own_critic("critic.lr")),
    _a("critic.model.path", ("critic.path",), _of_own_critic("critic.path")),
    _a("trainer.critic_warmup", ("critic.warmup",), _of_own_critic("critic.warmup"), note="draws, as here"),
    _a("critic.loss_agg_mode", ("objective.value.aggregate.mode",), _value_aggregate),
    _a("critic.cliprange_value", ("objective.value.clip",), of_critic("objective.value.clip")),
    _a("algorithm.filter_groups.enable", ("keep",), _filter, note="dynamic sampling: keep: {kind: mixed}"),
    _a("algorithm.filter_groups.max_num_gen_batches", ("keep",), _rounds),
    *(_a(f"{prefix}.{name}", ("shaping",), _overlong(prefix)) for prefix in _OVERLONG
      for name in ("enable", "len", "penalty_factor")),
    _a("algorithm.rollout_correction.rollout_is", _CORRECTION, _rollout_correction),
    _a("algorithm.rollout_correction.rollout_is_threshold", _CORRECTION, _threshold),
    _a(f"{ACTOR}.tis_imp_ratio_cap", _CORRECTION, _rollout_correction, short=True),
    # -------------------------------------------------------------------------------------------------- sizes
    _a(f"{ROLLOUT}.n", ("group_size",)),
    _a("data.train_batch_size", ("prompts_per_step",), short=True, note="prompts"),
    _a(f"{ACTOR}.ppo_mini_batch_size", ("updates",), _mini_batch, short=True,
       note="prompts: updates = train_batch_size / ppo_mini_batch_size"),
    _a(f"{ACTOR}.ppo_epochs", ("epochs",), short=True),
    _a("trainer.total_training_steps", ("steps",), short=True, note="draws, as here"),
    # ------------------------------------------------------------------------------------------------ sampling
    _a(f"{ROLLOUT}.temperature", ("sampling.temperature",)),
    _a(f"{ROLLOUT}.top_p", ("sampling.top_p",), note="below 1 only without an importance correction"),
    _a(f"{ROLLOUT}.top_k", ("sampling.top_k",), no_top_k, note="-1 is off there, 0 here"),
    _a("data.max_response_length", ("sampling.max_tokens",), short=True),
    _a(f"{ROLLOUT}.response_length", ("sampling.max_tokens",)),
    # ------------------------------------------------------------------------- optimiser, schedule, model, run
    *(alias for prefix in OPTIM for alias in _optimiser(prefix)),
    _a(f"{ACTOR}.grad_clip", ("optimizer.max_grad_norm",), short=True),
    *(alias for prefix in (MODEL, "model") for alias in _model(prefix)),
    _a("model.partial_pretrain", ("model.path",)),
    *(_a(f"{ACTOR}.fsdp_config.{name}", ("engine.dtype",), _dtype) for name in ("dtype", "model_dtype")),
    *(_a(name, ("reward",), _reward_model(switch, path), note=f"with {switch}: the built-in reward `model`")
      for switch, path in REWARD_MODELS for name in (switch, path)),
    *(_a(f"{prefix}.{name}", ("reward",), _compute_score(prefix), note="verl:FILE.py:FUNCTION")
      for prefix in ("custom_reward_function", "reward.custom_reward_function") for name in ("path", "name")),
    _a("data.train_files", ("data.path",), _file("data.path"), note="one file; several become data.mix"),
    _a("data.val_files", ("data.eval",), _file("data.eval"), note="one file; several become data.mix"),
    _a("trainer.save_freq", ("checkpoint_every",), _save_freq),
    _a("trainer.test_freq", ("evaluate.every",), _test_freq),
    _a("trainer.ref_update_freq", ("model.reference.every",), _ref_update_freq, note="of the recipe SPIN; draws"),
    _a("trainer.max_actor_ckpt_to_keep", ("keep_checkpoints",)),
    _a("trainer.default_local_dir", ("output",)),
    _a("trainer.seed", ("seed",)),
)  # fmt: skip
