"""Options of TRL and verl that nothing here corresponds to, and why. First match wins."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from postlude.recipe.foreign.alias import Refused

ENGINE = "engine setting, not needed here"
SPREAD = "how work is spread over devices, not part of a recipe"
MEMORY = "micro-batches are cut by token_budget and do not change results"
LOGGING = "logging and publishing; a run writes events.jsonl and Hugging Face folders"
LOADING = "how data is loaded, not needed here"
CRITIC = (
    "the critic has the policy's batches, schedule and bound of the gradient; critic.form, path, lr, warmup are its own"
)
TURNS = "tools and several turns are not there yet"


def _trl(*names: str, why: str, neutral: tuple[Any, ...] = (), decide: bool = False) -> Refused:
    return Refused("TRL", names, why, neutral, decide)


def _verl(*names: str, why: str, neutral: tuple[Any, ...] = (), decide: bool = False) -> Refused:
    return Refused("verl", names, why, neutral, decide)


REFUSED = (
    # --------------------------------------------------------------------------------------------------- TRL
    _trl("num_train_epochs", why="a run is counted in draws: steps = epochs x rows / prompts_per_step", decide=True),
    _trl(
        "max_length",
        "max_prompt_length",
        "truncation_mode",
        why="nothing is ever truncated; rows that do not fit are errors",
    ),
    _trl(
        "packing",
        "packing_strategy",
        "padding_free",
        "eval_packing",
        "pad_to_multiple_of",
        why="rows are always packed, exactly",
    ),
    _trl(
        "completion_only_loss",
        why="only completions are trained; give `text` rows to train on everything",
        neutral=(True, None),
    ),
    _trl("assistant_only_loss", why="`messages` rows train the assistant's turns only", neutral=(True,)),
    _trl("dataset_text_field", why="rows that are trained whole have a column `text`", neutral=("text",)),
    _trl(
        "dataset_config",
        "datasets",
        "dataset_kwargs",
        "dataset_streaming",
        why="name one file or data set as data",
        decide=True,
    ),
    _trl(
        "eos_token",
        "pad_token",
        why="taken from the tokenizer",
        neutral=("<EOS_TOKEN>", "<PAD_TOKEN>"),
        decide=True,
    ),
    _trl("chat_template_kwargs", why="put the choice into the template given as model.chat_template", decide=True),
    _trl(
        "multi_objective_aggregation",
        why="rewards are summed before they are normalised; `normalise: group` in each reward is the other way",
        neutral=("sum_then_normalize",),
    ),
    _trl("normalize_advantages", "whiten_rewards", why="no such normalisation for this method", neutral=(False,)),
    _trl("reward_clip_range", why="`clip: [low, high]` in the reward", decide=True),
    _trl("missing_eos_penalty", why="do it in the reward function", decide=True),
    _trl("top_entropy_quantile", why="no selection of tokens by entropy here", neutral=(1.0, 1)),
    _trl(
        "use_adaptive_entropy",
        "entropy_coef_*",
        "entropy_target",
        why="the entropy coefficient is fixed here",
        neutral=(False,),
    ),
    _trl("ref_model_*", why="the reference is where the policy starts; another model cannot be one"),
    _trl("precompute_ref_*", why="reference log-probs are computed when needed"),
    _trl("sapo_*", "vespo_*", why="the losses sapo and vespo are not there"),
    _trl(
        "loss_weights",
        "ld_alpha",
        "f_divergence_type",
        "f_alpha_*",
        "use_weighting",
        "discopop_tau",
        why="no such variant here",
    ),
    _trl(
        "disable_dropout",
        why="only sft uses dropout, where the model's config asks for some; set it to 0 there to switch it off",
        decide=True,
    ),
    _trl("lora_dropout", why="adapters have no dropout here", neutral=(0, 0.0)),
    _trl("lora_*", "use_rslora", "use_dora", why="adapters are plain LoRA on named or all linear layers"),
    _trl("load_in_*", "*bnb*", why="no quantised training here"),
    _trl("optim", why="the optimiser is AdamW", neutral=("adamw_torch", "adamw_torch_fused", "adamw_hf")),
    _trl("optim_*", "lr_scheduler_kwargs", why="the schedule's last rate is schedule.final"),
    _trl(
        "min_p",
        "repetition_penalty",
        "generation_kwargs",
        why="sampling other than by a temperature would bias the ratio",
        neutral=(1.0, 1),
    ),
    _trl(
        "num_generations_eval",
        "eval_on_start",
        "eval_delay",
        "per_device_eval_batch_size",
        "eval_*",
        "*_full_eval",
        "do_eval",
        "prediction_loss_only",
        why="see evaluate.*",
    ),
    _trl("vllm_*", "use_vllm", "use_transformers_*", "transformers_*", "cache_implementation", "ds3_*", why=ENGINE),
    _trl(
        "use_liger_kernel",
        "liger_*",
        "torch_compile*",
        "attn_implementation",
        "use_cache",
        "tf32",
        "cast_lm_head_to_fp32",
        why=ENGINE,
    ),
    _trl(
        "model_init_kwargs",
        "trust_remote_code",
        "model_revision",
        "*gradient_checkpointing*",
        "activation_*",
        "use_cpu",
        why=ENGINE,
    ),
    _trl(
        "router_aux_loss_coef",
        "label_smoothing_factor",
        "neftune_noise_alpha",
        why="no such term here",
        neutral=(0, 0.0),
    ),
    _trl(
        "dataloader_*",
        "shuffle_dataset",
        "dataset_num_proc",
        "remove_unused_columns",
        "group_by_length",
        "length_column_name",
        why=LOADING,
    ),
    _trl(
        "train_sampling_strategy",
        "data_seed",
        "ignore_data_skip",
        "include_*",
        "label_names",
        "batch_eval_metrics",
        why=LOADING,
    ),
    _trl(
        "ddp_*",
        "fsdp*",
        "deepspeed",
        "accelerator_config",
        "parallelism_config",
        "local_rank",
        "average_tokens_*",
        why=SPREAD,
    ),
    _trl(
        "torch_empty_cache_steps",
        "auto_find_batch_size",
        "full_determinism",
        "debug",
        "skip_memory_metrics",
        why=ENGINE,
    ),
    _trl(
        "log_*",
        "logging_*",
        "num_completions_to_print",
        "report_to",
        "run_name",
        "project",
        "trackio_*",
        "disable_tqdm",
        why=LOGGING,
    ),
    _trl(
        "push_to_hub*",
        "hub_*",
        "save_only_model",
        "save_on_each_node",
        "save_safetensors",
        "enable_jit_*",
        "wandb_*",
        why=LOGGING,
    ),
    _trl(
        "load_best_model_at_end",
        "metric_for_best_model",
        "greater_is_better",
        why="evaluate.stop_at ends a run at an accuracy",
    ),
    _trl(
        "do_train",
        "do_predict",
        "overwrite_output_dir",
        "resume_from_checkpoint",
        "restore_*",
        why="see postlude train --resume",
    ),
    _trl("max_tool_calling_iterations", "environment_factory", "tools", why=TURNS),
    _trl(
        "env",
        "ignore_bias_buffers",
        "total_episodes",
        "local_rollout_forward_batch_size",
        "dataset_prompt_column",
        why=ENGINE,
    ),
    # -------------------------------------------------------------------------------------------------- verl
    _verl(
        "trainer.total_epochs", why="a run is counted in draws: steps = epochs x rows / prompts_per_step", decide=True
    ),
    _verl(
        "*custom_reward_function.reward_kwargs*",
        "reward_model.reward_manager*",
        "reward.reward_manager*",
        why="reward: verl:FILE.py:FUNCTION calls a compute_score as it is; see docs/rewards.md",
        decide=True,
    ),
    _verl(
        "reward_model.reward_kwargs.*",
        "reward.reward_kwargs.*",
        "reward.compute_score_kwargs*",
        why="arguments of verl's reward manager",
    ),
    _verl(
        "reward_model.*",
        "reward.*",
        "sandbox_fusion.*",
        why="a reward is a function, a reward model or a judge here; see docs/rewards.md",
    ),
    _verl(
        "data.prompt_key",
        "data.reward_fn_key",
        "data.messages_key",
        why="columns are prompt, answer, messages; see docs/data.md",
        neutral=("prompt", "messages"),
    ),
    _verl(
        "data.max_prompt_length",
        "data.max_length",
        "data.truncation",
        "data.filter_overlong_*",
        "*.rollout.prompt_length",
        why="nothing is ever truncated; rows that do not fit are errors",
    ),
    _verl("data.gen_batch_size", why="each round of dynamic sampling draws prompts_per_step prompts"),
    _verl(
        "algorithm.filter_groups.metric",
        why="groups are judged by correctness, or by their rewards where that is unknown",
        neutral=("acc",),
    ),
    _verl("algorithm.filter_groups.*", "*overlong_buffer*.log", "*max_resp_len", why=ENGINE),
    _verl("algorithm.kl_penalty", why="in the reward the KL estimate is k1", neutral=("kl", "k1")),
    _verl("algorithm.use_pf_ppo", "algorithm.pf_ppo.*", why="no such variant here", neutral=(False,)),
    _verl(
        "algorithm.rollout_correction.rollout_rs", why="set objective.correction.mode to one of the masks", decide=True
    ),
    _verl("algorithm.rollout_correction.*", why="no such variant here", neutral=(False,)),
    _verl(
        "actor_rollout_ref.actor.policy_loss.*",
        "actor_rollout_ref.actor.tau_*",
        why="belongs to a loss that is not there",
    ),
    _verl(
        "actor_rollout_ref.actor.*micro_batch*",
        "*.use_dynamic_bsz",
        "*max_token_len_per_gpu",
        "data.micro_batch*",
        why=MEMORY,
    ),
    _verl("actor_rollout_ref.actor.optim.*", "optim.*", why="no counterpart in optimizer or schedule"),
    _verl(
        "actor_rollout_ref.actor.fsdp_config.*",
        "actor_rollout_ref.actor.megatron.*",
        "*ulysses*",
        "*.strategy",
        why=SPREAD,
    ),
    _verl(
        "actor_rollout_ref.actor.shuffle",
        "actor_rollout_ref.actor.data_loader_seed",
        "data.seed",
        "data.shuffle",
        "data.validation_shuffle",
        why="order follows the recipe's seed",
    ),
    _verl(
        "actor_rollout_ref.rollout.val_kwargs.*",
        "trainer.val_*",
        "data.val_*",
        "trainer.validation_data_dir",
        why="see evaluate.*: greedy, and samples at the training temperature",
    ),
    _verl("actor_rollout_ref.rollout.multi_turn.*", "actor_rollout_ref.rollout.agent.*", "data.tool*", why=TURNS),
    _verl(
        "actor_rollout_ref.rollout.repetition_penalty",
        "actor_rollout_ref.rollout.do_sample",
        why="sampling other than by a temperature would bias the ratio",
        neutral=(True, 1, 1.0),
    ),
    _verl("actor_rollout_ref.model.*", "model.*", why=ENGINE),
    _verl(
        "actor_rollout_ref.actor.checkpoint.*",
        "checkpoint.*",
        "trainer.*ckpt*",
        "trainer.resume*",
        "trainer.default_*",
        why="see checkpoint_every, keep_checkpoints and --resume",
    ),
    _verl("actor_rollout_ref.*", "engine.*", "*profiler*", "skip.*", "transfer_queue.*", why=ENGINE),
    _verl("critic.*", why=CRITIC),
    _verl("data.*", why=LOADING),
    _verl(
        "trainer.logger",
        "trainer.project_name",
        "trainer.experiment_name",
        "trainer.log_*",
        "trainer.rollout_data_dir",
        why=LOGGING,
    ),
    _verl(
        "trainer.nnodes",
        "trainer.n_gpus_per_node",
        "trainer.device",
        "ray_*",
        "trainer.ray_*",
        "trainer.balance_batch",
        why=SPREAD,
    ),
    _verl("trainer.*", "hydra.*", "defaults*", "*_target_", "*@*", "distillation.*", "algorithm.*", why=ENGINE),
)


def refusal(name: str, library: str | None = None, exact: bool = False) -> Refused | None:
    """Why a name has no counterpart; None for an unknown one. `exact` passes over wildcards."""
    for row in REFUSED:
        if library in (None, row.library) and any(_matches(name, p, exact) for p in row.names):
            return row
    return None


def _matches(name: str, pattern: str, exact: bool) -> bool:
    return name == pattern if exact else fnmatchcase(name, pattern)


def reason(row: Refused, value: Any) -> str:
    """The reason, or that the value asks for what happens anyway."""
    if any(value == n and type(value) is type(n) for n in row.neutral):
        return "as it is here anyway"
    return row.why
