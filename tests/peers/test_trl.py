"""The catalogue against TRL's own losses, on the golden batch in float64.

TRL's code runs unchanged: its collators pad, `_generate_and_score_completions` makes advantages, masks and
importance weights, `_compute_loss` makes the loss. Only what surrounds them is replaced: a trainer is made without
`__init__`, sampling and scoring return the golden completions and rewards, and a model looks the log-prob of a token
up by its id. Every token of the golden batch has an id of its own, so both libraries read the same leaf and their
gradients compare number by number. Where the two differ on purpose, a test says by which factor.

Needs `trl>=1.16` (extra `peers`); the whole file is skipped without it.
"""

# ruff: noqa: E402 (imports stand below the skip)

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

trl = pytest.importorskip("trl", minversion="1.16")

from accelerate import Accelerator
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer, SFTTrainer
from trl.trainer import dpo_trainer, kto_trainer, reward_trainer, sft_trainer
from trl.trainer.utils import add_fused_lm_head, selective_log_softmax_and_entropy

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack, select
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.head import logprobs_and_entropy
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.objectives import ContrastObjective, Objective, Outputs, TokenObjective
from postlude.objectives.advantages import GroupBaseline, LeaveOneOut
from postlude.objectives.contrast import KTO, Logistic
from postlude.objectives.divergence import KL
from postlude.objectives.surrogates import Cispo, Clip
from postlude.objectives.weights import Aggregate, Correction, CorrectionKind, OffPolicyMask
from tests.conftest import build
from tests.golden.run import flat, objective_loss

pytestmark = pytest.mark.peers

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "golden.json").read_text())["batch"]
LENGTHS: list[int] = GOLDEN["lengths"]
IDS = [list(range(1 + sum(LENGTHS[:s]), 1 + sum(LENGTHS[: s + 1]))) for s in range(len(LENGTHS))]
"""Token ids of each golden completion, 1 .. N; 0 is padding and every prompt token."""
PROMPTS = [[0], [0, 0, 0]]
"""Of different lengths, so that TRL pads on the left."""
SIZE = len(IDS) // len(PROMPTS)
REWARD: list[float | None] = GOLDEN["reward"]
ROLLOUT: list[list[float]] = GOLDEN["rollout_logp"]
Ragged = Sequence[Sequence[float | None]]
TRL_EPS = 1e-4
"""What TRL adds to a standard deviation; the catalogue adds 1e-6."""
LOSS_REL, GRAD_ABS = 1e-10, 1e-12


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """TRL makes tensors of lists in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def table(name: str) -> Tensor:
    """[1 + N] a field of the golden batch by token id."""
    return torch.tensor([0.0, *flat(GOLDEN[name])])


def leaf(name: str) -> Tensor:
    return table(name).requires_grad_()


@dataclass
class Result:
    """Loss, gradient with respect to the live log-probs (or scores) by token id, and what else a side reports."""

    loss: float
    grad: Tensor
    figures: dict[str, float] = field(default_factory=dict)
    advantages: Tensor | None = None
    """[S]"""
    entropy_grad: Tensor | None = None


def agree(mine: Result, other: Result, factor: float = 1.0, rel: float = LOSS_REL, grad: float = GRAD_ABS) -> None:
    """mine == factor * other, in value and gradient."""
    assert other.grad.abs().max() > 1e-6, "nothing to compare"
    assert mine.loss == pytest.approx(factor * other.loss, rel=rel, abs=0)
    torch.testing.assert_close(mine.grad, factor * other.grad, rtol=0, atol=grad)


# --------------------------------------------------------------------------------------------------- TRL's side


class Lookup(torch.nn.Module):
    """A language model whose log-prob (and entropy) of a token depends on the token's id alone."""

    is_gradient_checkpointing = False

    def __init__(self, logprobs: Tensor, entropy: Tensor | None = None) -> None:
        super().__init__()
        self.logprobs = logprobs
        self.entropy = torch.zeros_like(logprobs) if entropy is None else entropy

    def forward(self, input_ids: Tensor, labels: Tensor, **_: Any) -> SimpleNamespace:
        """What TRL's fused head returns: [B, L - 1], 0 where the label is -100."""
        target = labels[:, 1:]
        kept = target != -100
        rows = target.clamp(min=0)
        return SimpleNamespace(
            log_probs=torch.where(kept, self.logprobs[rows], 0),
            entropy=torch.where(kept, self.entropy[rows], 0),
            mean_logits=torch.zeros(kept.shape),
            is_top1=kept,
            label_mask=kept,
        )


class Scores(torch.nn.Module):
    """A reward model whose score of a text depends on its last token alone."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SimpleNamespace:
        last = input_ids.gather(1, attention_mask.sum(1, keepdim=True) - 1)
        return SimpleNamespace(logits=self.scores[last])


def bare(kind: type, **attributes: Any) -> Any:
    """A trainer of TRL with these attributes and no `__init__`."""
    trainer = object.__new__(kind)
    common = dict(
        accelerator=Accelerator(cpu=True),
        aux_loss_enabled=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    trainer.__dict__.update({**common, **attributes})
    return trainer


def figures(trainer: Any) -> dict[str, float]:
    return {name: sum(v) / len(v) for name, v in trainer._metrics["train"].items()}


def online(
    kind: type,
    models: dict[str, Any],
    rewards: Sequence[float | None] = REWARD,
    actions: bool = False,
    steps: int = 1,
    rollout: Ragged = ROLLOUT,
    **settings: Any,
) -> Any:
    """A GRPO or RLOO trainer that samples the golden completions and scores them with `rewards`."""
    texts = ["c"] * len(IDS)
    prompts = [PROMPTS[g] for g in GOLDEN["group"]]
    tools = GOLDEN["loss_mask"] if actions else None
    drawn = (prompts, IDS, tools, texts, rollout, {}, None, None)
    args = dict(
        per_device_train_batch_size=len(IDS),
        gradient_checkpointing_kwargs=None,
        gradient_accumulation_steps=steps,
        steps_per_generation=steps,
        use_bias_correction_kl=False,
        delta=None,
    )
    defaults = dict(
        args=SimpleNamespace(**{**args, **settings.pop("args", {})}),
        current_gradient_accumulation_steps=steps,
        num_iterations=2,  # so that TRL measures the old log-probs
        _tokenizer=SimpleNamespace(pad_token_id=0),
        eos_token_ids=[ids[-1] for ids, cut in zip(IDS, GOLDEN["truncated"], strict=True) if not cut],
        pad_to_multiple_of=None,
        environment_factories=None,
        environments=None,
        tools=None,
        mask_truncated_completions=False,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        num_generations=SIZE,
        reward_funcs=[None],
        reward_func_names=["golden"],
        reward_weights=torch.ones(1),
        reward_clip_range=None,
        multi_objective_aggregation="sum_then_normalize",
        scale_rewards="group",
        normalize_advantages=False,
        beta=0.0,
        epsilon_low=0.2,
        epsilon_high=0.2,
        loss_type="grpo",
        importance_sampling_level="token",
        off_policy_mask_threshold=None,
        top_entropy_quantile=1.0,
        max_completion_length=10,
        _entropy_bonus_enabled=False,
        use_adaptive_entropy=False,
        log_multimodal=False,
        _logs=defaultdict(list, rewards=defaultdict(list), extra=defaultdict(list)),
        _pending_extra_logs={},
        _pending_metrics={},
        _generate=lambda _: drawn if kind is GRPOTrainer else (prompts, IDS, texts),
        _calculate_rewards=lambda *_: torch.tensor([[math.nan if r is None else r] for r in rewards]),
    )
    return bare(kind, **{**defaults, **models, **settings})


def theirs(kind: type = GRPOTrainer, steps: int = 1, **settings: Any) -> Result:
    """One update by TRL on the golden batch, accumulated over `steps` slices of it."""
    models = dict(model=Lookup(table("old_logp")), ref_model=Lookup(table("ref_logp")))
    trainer = online(kind, models, steps=steps, **settings)
    drawn = trainer._generate_and_score_completions([{"prompt": "p"} for _ in IDS])
    live, entropy = leaf("logp"), leaf("entropy")
    loss = torch.zeros(())
    for rows in torch.arange(len(IDS)).chunk(steps):
        part = {name: x[rows] if x.ndim else x for name, x in drawn.items()}
        loss = loss + trainer._compute_loss(Lookup(live, entropy), part)
    loss.backward()
    return Result(float(loss.detach()), live.grad, figures(trainer), drawn["advantages"], entropy.grad)


# ----------------------------------------------------------------------------------------------------- our side


def golden(rewards: Sequence[float | None] = REWARD, actions: bool = False, rollout: Ragged | None = None) -> Batch:
    """The same completions, packed."""

    def completion(s: int) -> Completion:
        return Completion(
            tokens=tuple(IDS[s]),
            sampled=tuple(bool(m) for m in GOLDEN["loss_mask"][s]) if actions else (),
            logprobs=tuple(math.nan if x is None else x for x in rollout[s]) if rollout else None,
            reward=rewards[s],
            stop="length" if GOLDEN["truncated"][s] else "eos",
        )

    groups = [
        Group(
            Prompt(str(k), "p", tokens=tuple(prompt)),
            tuple(completion(s) for s, g in enumerate(GOLDEN["group"]) if g == k),
        )
        for k, prompt in enumerate(PROMPTS)
    ]
    batch = pack(groups, dtype=torch.float64)
    look = lambda name: table(name)[batch.tokens]
    return replace(batch, old_logprobs=look("old_logp"), ref_logprobs=look("ref_logp"))


def ours(objective: Objective, batch: Batch | None = None) -> Result:
    """One update by the catalogue on the golden batch."""
    batch = golden() if batch is None else batch
    live, entropy = leaf("logp"), leaf("entropy")
    outputs = Outputs(live[batch.tokens], entropy[batch.tokens])
    loss, weighed, stats = objective_loss(objective, batch, outputs)
    loss.backward()
    advantages = None if weighed.advantages is None else weighed.mean_by_sequence(weighed.advantages)
    return Result(float(loss.detach()), live.grad, stats.summary(), advantages, entropy.grad)


def method(name: str, **changes: Any) -> Any:
    """A token objective of the catalogue with TRL's epsilon in its advantage."""
    objective = ALGORITHMS[name].objective
    assert isinstance(objective, TokenObjective)
    if isinstance(objective.advantage, GroupBaseline):
        objective = replace(objective, advantage=replace(objective.advantage, eps=TRL_EPS))
    return replace(objective, **changes)


# --------------------------------------------------------------------------------------------------- advantages

REWARDS: dict[str, list[float | None]] = {
    "golden": REWARD,
    "one_unscored": [r if s != 1 else None for s, r in enumerate(REWARD)],
    "equal_group": [0.3] * SIZE + REWARD[SIZE:],
    "one_scored_in_group": [0.3, None, None, None, *REWARD[SIZE:]],
}


@pytest.mark.parametrize("rewards", REWARDS)
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_group_advantages_are_trls(scale: Any, rewards: str) -> None:
    expected = theirs(rewards=REWARDS[rewards], scale_rewards=scale).advantages
    got = GroupBaseline(scale, TRL_EPS).per_sequence(golden(REWARDS[rewards]))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rewards", REWARDS)
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_leave_one_out_advantages_are_trls(beta: float, rewards: str) -> None:
    expected = theirs(RLOOTrainer, rewards=REWARDS[rewards], beta=beta).advantages
    batch = golden(REWARDS[rewards])
    got = batch.mean_by_sequence(LeaveOneOut(beta)(batch))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


# --------------------------------------------------------------------------------------------- token objectives

SEQUENCE = dict(importance_sampling_level="sequence", epsilon_low=0.1, epsilon_high=0.12)
HIGHER = dict(epsilon_low=0.2, epsilon_high=0.28)

ONLINE: dict[str, tuple[Any, dict[str, Any]]] = {
    "grpo": (method("grpo", kl=None), {}),
    "grpo_kl": (method("grpo"), dict(beta=0.04)),
    "grpo_kl_ratio_weighted": (
        method("grpo", kl=KL("k3_ratio", 0.04)),
        dict(beta=0.04, args=dict(use_bias_correction_kl=True)),
    ),
    "grpo_batch_scale": (
        method("grpo", kl=None, advantage=GroupBaseline("batch", TRL_EPS)),
        dict(scale_rewards="batch"),
    ),
    "dr_grpo": (
        method("dr_grpo", aggregate=Aggregate("seq_mean_token_sum_norm", 10)),
        dict(loss_type="dr_grpo", scale_rewards="none"),
    ),
    "dapo": (method("dapo"), dict(loss_type="dapo", **HIGHER)),
    "dapo_kl": (method("dapo", kl=KL("k3", 0.04)), dict(loss_type="dapo", beta=0.04, **HIGHER)),
    "bnpo": (method("dapo"), dict(loss_type="bnpo", **HIGHER)),
    "luspo": (
        method("gspo", surrogate=Clip(0.1, 0.12), aggregate=Aggregate("seq_mean_token_sum")),
        dict(loss_type="luspo", **SEQUENCE),
    ),
    "dual_clip": (
        method("dapo", surrogate=Clip(0.2, 0.28, dual=1.4)),
        dict(loss_type="dapo", args=dict(delta=1.4), **HIGHER),
    ),
    "cispo": (method("cispo", surrogate=Cispo(1.2)), dict(loss_type="cispo", epsilon_high=1.2)),
    "cispo_kl": (
        method("cispo", surrogate=Cispo(1.2), kl=KL("k3", 0.04)),
        dict(loss_type="cispo", epsilon_high=1.2, beta=0.04),
    ),
    "gspo": (method("gspo", surrogate=Clip(0.1, 0.12)), SEQUENCE),
    "gspo_paper_eps": (
        method("gspo"),
        dict(importance_sampling_level="sequence", epsilon_low=3e-4, epsilon_high=4e-4),
    ),
    "gspo_kl": (method("gspo", surrogate=Clip(0.1, 0.12), kl=KL("k3", 0.04)), dict(beta=0.04, **SEQUENCE)),
}  # fmt: skip


@pytest.mark.parametrize("actions", [False, True], ids=["all_tokens", "tool_tokens_masked"])
@pytest.mark.parametrize("name", ONLINE)
def test_policy_loss_and_gradient_are_trls(name: str, actions: bool) -> None:
    objective, settings = ONLINE[name]
    agree(ours(objective, golden(actions=actions)), theirs(actions=actions, **settings))


@pytest.mark.parametrize("name", ["grpo_kl", "dr_grpo", "cispo", "gspo"])
def test_without_old_log_probs_the_ratio_is_one_as_in_trl(name: str) -> None:
    objective, settings = ONLINE[name]
    agree(ours(objective, replace(golden(), old_logprobs=None)), theirs(num_iterations=1, **settings))


@pytest.mark.parametrize("name", ["grpo_kl", "dapo_kl", "dr_grpo"])
def test_reported_clip_fractions_and_kl_are_trls(name: str) -> None:
    """To 1e-6: TRL counts clipped tokens in float32."""
    objective, settings = ONLINE[name]
    mine, other = ours(objective).figures, theirs(**settings).figures
    assert mine["clip_frac_low"] == pytest.approx(other["clip_ratio/low_mean"], abs=1e-6)
    assert mine["clip_frac_high"] == pytest.approx(other["clip_ratio/high_mean"], abs=1e-6)
    assert mine["clip_frac_low"] > 0 and mine["clip_frac_high"] > 0
    assert mine["entropy"] == pytest.approx(other["entropy"], rel=1e-10)
    if "kl" in other:
        assert mine["kl_ref/k3"] == pytest.approx(other["kl"], rel=1e-10)


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize("name", ["grpo_kl", "dapo_kl", "dr_grpo", "cispo_kl", "gspo_kl"])
def test_summed_micro_batches_are_trls_accumulated_ones(name: str, steps: int) -> None:
    """`bnpo` is left out: TRL divides it by the tokens of each slice."""
    objective, settings = ONLINE[name]
    live = leaf("logp")
    batch = objective.weigh(objective.advantages(golden()))
    loss = torch.zeros(())
    for rows in torch.arange(len(IDS)).chunk(steps):
        part = select(batch, rows)
        loss = loss + objective.loss(part, Outputs(live[part.tokens], table("entropy")[part.tokens])).total
    loss.backward()
    agree(Result(float(loss.detach()), live.grad), theirs(steps=steps, **settings))


KEPT = len(IDS) - sum(GOLDEN["truncated"])


@pytest.mark.parametrize(
    ("name", "factor"),
    [("dapo_kl", 1.0), ("dr_grpo", 1.0), ("cispo", 1.0), ("grpo_kl", len(IDS) / KEPT), ("gspo", len(IDS) / KEPT)],
)
def test_masked_truncated_completions_leave_the_loss_as_in_trl(name: str, factor: float) -> None:
    """A mean over sequences is over those that have a trained token; TRL's counts the masked ones too."""
    objective, settings = ONLINE[name]
    other = theirs(mask_truncated_completions=True, **settings)
    agree(ours(replace(objective, mask_truncated=True)), other, factor)


TOKENS = sum(LENGTHS)


@pytest.mark.parametrize(
    ("name", "factor"),
    [("dapo", TOKENS / (TOKENS - LENGTHS[1])), ("grpo", len(IDS) / (len(IDS) - 1)), ("dr_grpo", 1.0)],
)
def test_an_unscored_completion_leaves_the_denominators_and_stays_in_trls(name: str, factor: float) -> None:
    objective, settings = ONLINE[name]
    rewards = REWARDS["one_unscored"]
    agree(ours(objective, golden(rewards)), theirs(rewards=rewards, **settings), factor)


@pytest.mark.parametrize("actions", [False, True], ids=["all_tokens", "tool_tokens_masked"])
@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (0.9, 1.1), (0.97, 3.0)])
@pytest.mark.parametrize("mode", ["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"])
def test_importance_correction_of_the_sampler_is_trls(
    mode: CorrectionKind, low: float, high: float, actions: bool
) -> None:
    objective = method("dapo", correction=Correction(mode, low, high), kl=KL("k3", 0.04))
    settings = dict(
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        vllm_importance_sampling_mode=mode,
        vllm_importance_sampling_clip_min=low or None,
        vllm_importance_sampling_clip_max=high,
    )
    other = theirs(actions=actions, loss_type="dapo", beta=0.04, **HIGHER, **settings)
    agree(ours(objective, golden(actions=actions, rollout=ROLLOUT)), other)


def test_importance_correction_of_sequence_ratios_is_trls() -> None:
    objective = method("gspo", surrogate=Clip(0.1, 0.12), correction=Correction("sequence_mask", 0.0, 3.0))
    other = theirs(
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        vllm_importance_sampling_mode="sequence_mask",
        vllm_importance_sampling_clip_min=None,
        vllm_importance_sampling_clip_max=3.0,
        **SEQUENCE,
    )
    agree(ours(objective, golden(rollout=ROLLOUT)), other)


UNKNOWN: Ragged = [
    [None if (s, t) in ((1, 2), (3, 0)) else x for t, x in enumerate(row)] for s, row in enumerate(ROLLOUT)
]


@pytest.mark.parametrize("mode", ["token_truncate", "sequence_mask"])
def test_a_token_the_sampler_gave_no_log_prob_is_not_corrected_as_in_trl(mode: CorrectionKind) -> None:
    other = theirs(
        rollout=UNKNOWN,
        loss_type="dapo",
        use_vllm=True,
        vllm_importance_sampling_correction=True,
        vllm_importance_sampling_mode=mode,
        vllm_importance_sampling_clip_min=None,
        vllm_importance_sampling_clip_max=3.0,
        off_policy_mask_threshold=0.1,
        **HIGHER,
    )
    objective = method("dapo", correction=Correction(mode, 0.0, 3.0), off_policy_mask=OffPolicyMask(0.1))
    agree(ours(objective, golden(rollout=UNKNOWN)), other)


@pytest.mark.parametrize("delta", [-0.1, 0.0, 0.1])
def test_off_policy_mask_is_trls(delta: float) -> None:
    objective = method("dapo", correction=None, off_policy_mask=OffPolicyMask(delta), kl=KL("k3", 0.04))
    other = theirs(loss_type="dapo", beta=0.04, off_policy_mask_threshold=delta, **HIGHER)
    mine = ours(objective, golden(rollout=ROLLOUT))
    agree(mine, other)
    assert mine.loss != pytest.approx(ours(ONLINE["dapo_kl"][0]).loss), "the mask drops nothing"


def test_entropy_bonus_is_trls_where_the_loss_is_a_token_mean() -> None:
    """Elsewhere they differ: TRL's bonus is always a token mean, the catalogue's is aggregated like the loss."""
    other = theirs(loss_type="dapo", _entropy_bonus_enabled=True, entropy_coef=0.01, **HIGHER)
    mine = ours(method("dapo", entropy=0.01))
    agree(mine, other)
    torch.testing.assert_close(mine.entropy_grad, other.entropy_grad, rtol=0, atol=GRAD_ABS)
    assert mine.entropy_grad is not None and mine.entropy_grad.abs().max() > 0


@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize("epsilon", [0.2, 2.0])
def test_rloo_with_a_clipped_sequence_ratio_is_trls(epsilon: float, beta: float) -> None:
    objective = method("rloo_clip", advantage=LeaveOneOut(beta), surrogate=Clip(min(epsilon, 1.0), epsilon))
    agree(ours(objective), theirs(RLOOTrainer, beta=beta, epsilon_low=min(epsilon, 1.0), epsilon_high=epsilon))


@pytest.mark.parametrize("actions", [False, True], ids=["all_tokens", "some_tokens_masked"])
def test_sft_is_trls(actions: bool) -> None:
    live = leaf("logp")
    keep = GOLDEN["loss_mask"] if actions else [[1] * n for n in LENGTHS]
    rows = [
        {
            "input_ids": PROMPTS[g] + ids,
            "labels": [-100] * len(PROMPTS[g]) + [t if m else -100 for t, m in zip(ids, kept, strict=True)],
        }
        for g, ids, kept in zip(GOLDEN["group"], IDS, keep, strict=True)
    ]
    inputs = sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0)(rows)
    args = SimpleNamespace(loss_type="nll", average_tokens_across_devices=False)
    trainer = bare(SFTTrainer, model=Lookup(live), args=args, compute_loss_func=None, label_smoother=None)
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    agree(ours(ALGORITHMS["sft"].objective, golden(actions=actions)), Result(float(loss.detach()), live.grad))


# -------------------------------------------------------------------------------------------------- preferences

CHOSEN, REJECTED = [0, 2, 4, 5], [1, 3, 6, 7]


def pairs(margins: Sequence[float] = ()) -> Batch:
    """The golden completions as pairs, preferred first."""
    groups = []
    for k, (better, worse) in enumerate(zip(CHOSEN, REJECTED, strict=True)):
        columns = {"margin": margins[k]} if margins else {}
        completions = (Completion(tuple(IDS[better]), reward=1.0), Completion(tuple(IDS[worse]), reward=0.0))
        groups.append(Group(Prompt(str(k), "p", columns=columns, tokens=tuple(PROMPTS[k % 2])), completions))
    batch = pack(groups, dtype=torch.float64)
    return replace(batch, ref_logprobs=table("ref_logp")[batch.tokens])


def contrast(name: str, **link: Any) -> Any:
    objective = ALGORITHMS[name].objective
    assert isinstance(objective, ContrastObjective)
    return replace(objective, link=replace(objective.link, **link))


PREFERENCES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpo": (contrast("dpo", beta=0.1), dict(loss_types=["sigmoid"])),
    "dpo_length_normalised": (contrast("dpo_length_normalised", beta=2.0), dict(loss_types=["sigmoid_norm"], beta=2.0)),
    "hinge": (contrast("hinge", beta=0.1), dict(loss_types=["hinge"])),
    "hinge_with_satisfied_pairs": (contrast("hinge", beta=5.0), dict(loss_types=["hinge"], beta=5.0)),
    "ipo_mean": (contrast("ipo_mean", beta=0.1), dict(loss_types=["ipo"])),
    "dpo_robust": (contrast("dpo_robust", beta=0.1, smoothing=0.1), dict(loss_types=["robust"], label_smoothing=0.1)),
}  # fmt: skip


@pytest.mark.parametrize("name", PREFERENCES)
def test_preference_loss_and_gradient_are_trls(name: str) -> None:
    """TRL's `ipo` is the per-token form, our `ipo_mean`; our `ipo` sums log-ratios as the paper writes them."""
    objective, settings = PREFERENCES[name]
    live = leaf("logp")
    rows = [
        {"prompt_ids": PROMPTS[k % 2], "chosen_ids": IDS[better], "rejected_ids": IDS[worse]}
        for k, (better, worse) in enumerate(zip(CHOSEN, REJECTED, strict=True))
    ]
    inputs = dpo_trainer.DataCollatorForPreference(pad_token_id=0)(rows)
    defaults = dict(
        model=Lookup(live),
        ref_model=Lookup(table("ref_logp")),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        beta=0.1,
        label_smoothing=0.0,
        loss_weights=[1.0],
        ld_alpha=None,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        use_weighting=False,
    )
    trainer = bare(DPOTrainer, **{**defaults, **settings})
    loss = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    loss.backward()
    mine, other = ours(objective, pairs()), figures(trainer)
    agree(mine, Result(float(loss.detach()), live.grad))
    assert mine.figures["logps/chosen"] == pytest.approx(other["logps/chosen"], rel=1e-10)
    if objective.score == "implicit":  # TRL reports summed rewards for the normalised forms too
        for name_, its in (("chosen", "chosen"), ("rejected", "rejected"), ("margin", "margins")):
            assert mine.figures[f"rewards/{name_}"] == pytest.approx(other[f"rewards/{its}"], rel=1e-10)
        assert mine.figures["rewards/accuracy"] == pytest.approx(other["rewards/accuracies"], abs=1e-6)


@pytest.mark.parametrize("elsewhere", [("ref_logp", "old_logp"), ("old_logp", "ref_logp")], ids=["z0_a", "z0_b"])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.33, 0.8)])
def test_kto_loss_and_gradient_are_trls(weights: tuple[float, float], elsewhere: tuple[str, str]) -> None:
    """`elsewhere` names the policy's and the reference's log-probs of completions under another prompt."""
    desirable = [bool(c) for c in GOLDEN["correct"]]
    shift = sum(LENGTHS)
    policy = torch.cat([table("logp"), table(elsewhere[0])[1:]]).requires_grad_()
    reference = torch.cat([table("ref_logp"), table(elsewhere[1])[1:]])
    rotated = [[t + shift for t in IDS[s - 1]] for s in range(len(IDS))]
    prompts = [PROMPTS[g] for g in GOLDEN["group"]]
    rows = [
        {"prompt_ids": p, "completion_ids": own, "KL_completion_ids": other, "label": good}
        for p, own, other, good in zip(prompts, IDS, rotated, desirable, strict=True)
    ]
    trainer = bare(
        KTOTrainer,
        model=Lookup(policy),
        ref_model=Lookup(reference),
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        beta=0.1,
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        loss_type="kto",
        calculate_KL=True,
        precompute_ref_logps=False,
    )
    inputs = kto_trainer.DataCollatorForUnpairedPreference(pad_token_id=0)(rows)
    loss = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    loss.backward()
    z0 = figures(trainer)["kl"]

    groups = [
        Group(
            Prompt(str(k), "p", tokens=tuple(p)),
            (Completion(tuple(own), reward=float(good)), Completion(tuple(other), reward=0.0)),
        )
        for k, (p, own, other, good) in enumerate(zip(prompts, IDS, rotated, desirable, strict=True))
    ]
    batch = pack(groups, dtype=torch.float64)
    batch = replace(batch, mismatched=torch.arange(batch.n_sequences) % 2 == 1, ref_logprobs=reference[batch.tokens])
    live = policy.detach().clone().requires_grad_()
    objective = replace(ALGORITHMS["kto"].objective, link=KTO(0.1, *weights))
    mine, weighed, _ = objective_loss(objective, batch, Outputs(live[batch.tokens]))
    mine.backward()
    agree(Result(float(mine.detach()), live.grad), Result(float(loss.detach()), policy.grad))
    assert weighed.offset == pytest.approx(z0, rel=1e-10)
    assert (z0 > 0) == (elsewhere[0] == "ref_logp")


@pytest.mark.parametrize("margins", [(), (1.0, 0.0, 0.75, 0.25)], ids=["no_margin", "margin"])
@pytest.mark.parametrize("center", [0.0, 0.01])
def test_reward_model_loss_and_gradient_are_trls(center: float, margins: tuple[float, ...]) -> None:
    """The margins are exact in float32, in which TRL's collator keeps them."""
    scores = leaf("values")
    rows = [
        {"chosen_ids": PROMPTS[k % 2] + IDS[better], "rejected_ids": PROMPTS[k % 2] + IDS[worse]}
        | ({"margin": margins[k]} if margins else {})
        for k, (better, worse) in enumerate(zip(CHOSEN, REJECTED, strict=True))
    ]
    inputs = reward_trainer.DataCollatorForPreference(pad_token_id=0)(rows)
    args = SimpleNamespace(center_rewards_coefficient=center or None)
    model = Scores(scores)
    trainer = bare(RewardTrainer, model=model, args=args)
    # a margin is no argument of a model; transformers drops it on the way, as `Scores` does
    loss = trainer.compute_loss(model, dict(inputs))
    loss.backward()

    live, batch = leaf("values"), pairs(margins)
    objective = contrast("reward_model", center=center)
    mine, _, stats = objective_loss(objective, batch, Outputs(scores=live[batch.tokens]))
    mine.backward()
    agree(Result(float(mine.detach()), live.grad), Result(float(loss.detach()), scores.grad))
    other = figures(trainer)
    assert stats.summary()["rewards/accuracy"] == pytest.approx(other["accuracy"], abs=1e-6)
    assert stats.summary()["rewards/margin"] == pytest.approx(other["margin"], rel=1e-10)


def averaged(live: Tensor) -> tuple[Tensor, Tensor]:
    """Mean log-prob of each chosen and each rejected completion, as TRL's CPO and ORPO pass them to their losses."""
    mean = torch.stack([live[ids].mean() for ids in IDS])
    return mean[CHOSEN], mean[REJECTED]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_simpo_is_trls(smoothing: float) -> None:
    cpo = pytest.importorskip("trl.experimental.cpo")
    settings = dict(alpha=0.0, beta=2.0, simpo_gamma=0.5, loss_type="simpo", label_smoothing=smoothing)
    live = leaf("logp")
    loss = bare(cpo.CPOTrainer, **settings).cpo_loss(*averaged(live))[0].mean()
    loss.backward()
    agree(ours(contrast("simpo", smoothing=smoothing), pairs()), Result(float(loss.detach()), live.grad))


@pytest.mark.filterwarnings("ignore")
def test_odds_ratio_term_of_orpo_is_trls() -> None:
    """To 1e-6: TRL computes the odds in float32. Its likelihood term covers the prompt too, so it is left out."""
    orpo = pytest.importorskip("trl.experimental.orpo")
    live = leaf("logp")
    loss = -bare(orpo.ORPOTrainer, beta=0.1).odds_ratio_loss(*averaged(live))[0].mean()
    loss.backward()
    objective = replace(ALGORITHMS["orpo"].objective, nll=0.0)
    agree(ours(objective, pairs()), Result(float(loss.detach()), live.grad), rel=1e-6, grad=1e-7)


def test_logistic_and_squared_links_of_mean_log_probs_are_trls() -> None:
    cpo = pytest.importorskip("trl.experimental.cpo")
    for kind, link in (("sigmoid", Logistic(0.3, smoothing=0.1)), ("ipo", contrast("ipo", beta=0.3).link)):
        live = leaf("logp")
        trainer = bare(cpo.CPOTrainer, alpha=0.0, beta=0.3, loss_type=kind, label_smoothing=0.1)
        loss = trainer.cpo_loss(*averaged(live))[0].mean()
        loss.backward()
        agree(ours(ContrastObjective("mean_logprob", link), pairs()), Result(float(loss.detach()), live.grad))


# -------------------------------------------------------------------------------------------- heads, whole models


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probs_and_entropy_of_logits_are_trls(temperature: float) -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 11), torch.randint(11, (5,))
    weights = torch.randn(2, 5)

    def gradient(compute: Any) -> tuple[Tensor, Tensor]:
        leaf_ = (3 * logits).requires_grad_()
        both = torch.stack(compute(leaf_, targets, temperature=temperature))
        (both * weights).sum().backward()
        return both.detach(), leaf_.grad

    got, expected = gradient(logprobs_and_entropy), gradient(selective_log_softmax_and_entropy)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_weight_gradients_of_a_packed_model_are_trls_of_a_padded_one(name: str) -> None:
    """Prompt sharing, packing and our head against TRL's left-padded batch and its fused head.

    To 1e-6: TRL's fused head gives float32 log-probs whatever the model's type, and left padding shifts the
    positions of the short prompt, whose sines transformers computes in float32.
    """
    live, old, ref = (build(name, seed).double() for seed in (0, 1, 2))
    with torch.no_grad():  # close to the live policy, so that ratios stay near 1
        for net in (old, ref):
            for other, p in zip(net.parameters(), live.parameters(), strict=True):
                other.copy_(p + 0.03 * (other - p))
    for net in (live, old, ref):
        without_dropout(net)
    packed, packed_old, packed_ref = (LocalModel(deepcopy(net).train()) for net in (live, old, ref))
    for net in (live, old, ref):
        add_fused_lm_head(net.train(), outputs=("log_probs", "entropy"))
    trainer = online(GRPOTrainer, dict(model=old, ref_model=ref), loss_type="dapo", beta=0.04, **HIGHER)
    drawn = trainer._generate_and_score_completions([{"prompt": "p"} for _ in IDS])
    loss = trainer._compute_loss(live, drawn)
    loss.backward()

    batch = golden()
    with torch.no_grad():
        parts = []
        for model in (packed_old, packed_ref):
            model.choose_path()
            assert model.packed, model.reason
            with model.running(batch) as outputs:
                parts.append(outputs(False).logprobs)
    packed.choose_path()
    objective = method("dapo", kl=KL("k3", 0.04))
    batch = replace(batch, old_logprobs=parts[0], ref_logprobs=parts[1])
    batch = objective.weigh(objective.advantages(batch))
    with packed.running(batch) as outputs:
        mine = objective.loss(batch, outputs(False)).total
        mine.backward()
    assert float(mine.detach()) == pytest.approx(float(loss.detach()), rel=1e-6)
    expected = dict(live.named_parameters())
    for key, p in packed.net.named_parameters():
        torch.testing.assert_close(p.grad, expected[key].grad, rtol=0, atol=1e-6, msg=lambda m, k=key: f"{k}: {m}")
