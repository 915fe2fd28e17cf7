"""Run the golden cases of a file through the catalogue: `python -m tests.golden.run FILE`.

An objective case is packed, its log-probs (values, scores) are made leaves, and the catalogue's own `advantages`,
`weigh` and `loss` are called, in float64. What is checked is what trains.
"""

from __future__ import annotations

import asyncio
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from postlude import statistics as gao
from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.head import logprobs_and_entropy
from postlude.judge import labels
from postlude.models import lora
from postlude.objectives import ContrastObjective, Objective, Outputs, TokenObjective, along
from postlude.objectives import advantages as adv
from postlude.objectives import divergence as div
from postlude.objectives.contrast import KTO, Logistic
from postlude.objectives.divergence import KL, KLHinge
from postlude.objectives.surrogates import Cispo, Clip, ProbabilityMask
from postlude.objectives.value import ValueLoss
from postlude.objectives.weights import Aggregate, Correction, OffPolicyMask
from postlude.rewards.numbers import ensemble_score, pair_preference, solution_score
from postlude.rollouts import shaping
from postlude.rollouts.filters import Mixed, refill
from postlude.runs.stats import Stats

DOUBLE = torch.float64
Ragged = list[list[float]]


def flat(ragged: Ragged) -> list[float]:
    return [x for row in ragged for x in row]


class Case:
    """One case over the file's batch: packed once, with a leaf per golden token."""

    def __init__(self, data: dict[str, Any], name: str) -> None:
        self.data, self.name = data, name
        self.b, self.case = data["batch"], data["cases"][name]
        self.p: dict[str, Any] = self.case["params"]
        self.aux: dict[str, Any] = self.case.get("aux") or {}

    def ragged(self, field: str) -> Ragged:
        return self.b[field]

    def leaf(self, field: str) -> Tensor:
        return torch.tensor(flat(self.ragged(field)), dtype=DOUBLE, requires_grad=True)

    def rows(self, sequences: list[int]) -> Tensor:
        """Golden token index of every token of these sequences, in order."""
        starts = [sum(self.b["lengths"][:i]) for i in range(len(self.b["lengths"]))]
        return torch.tensor([starts[s] + t for s in sequences for t in range(self.b["lengths"][s])])

    def masked(self) -> bool:
        return self.p.get("mask") == "loss_mask"

    def pack(self, sequences: list[list[int]] | None = None, rewards: list[float | None] | None = None) -> Batch:
        """The batch as groups of sequences (default: its own groups) with one token of prompt each."""
        b = self.b
        if sequences is None:
            sequences = [[i for i, g in enumerate(b["group"]) if g == k] for k in sorted(set(b["group"]))]
        groups = []
        for k, members in enumerate(sequences):
            completions = [self._completion(s, (rewards or b["reward"])[s]) for s in members]
            groups.append(Group(Prompt(str(k), "p", tokens=(0,)), tuple(completions)))
        batch = pack(groups, dtype=DOUBLE)
        used = self.rows([s for members in sequences for s in members])
        return self._attach(batch, used)

    def _completion(self, s: int, reward: float | None) -> Completion:
        b, n = self.b, self.b["lengths"][s]
        mask = [bool(m) for m in b["loss_mask"][s]] if self.masked() else [True] * n
        truncated = bool(b["truncated"][s]) if "truncated" in b else False
        correct = self.p.get("correct", b["correct"])[s]
        steps = tuple(zip(b["step_end"][s], b["step_reward"][s], strict=True)) if "step_end" in b else ()
        if self.p.get("rewards") == "tokens":
            steps = tuple(enumerate(b["token_reward"][s]))
        return Completion(
            tokens=(1,) * n,
            sampled=tuple(mask),
            reward=reward,
            correct=bool(correct),
            stop="length" if truncated else "eos",
            steps=steps,
            whole=reward if "rewards" in self.p else None,
        )

    def _attach(self, batch: Batch, used: Tensor) -> Batch:
        self.used, self.where = used, batch.sequence >= 0
        column = self.column
        return replace(
            batch,
            old_logprobs=column(self.p.get("old", "old_logp")),
            ref_logprobs=column("ref_logp"),
            old_values=column("old_values"),
            rollout_logprobs=column("rollout_logp") if self.needs_rollout() else None,
        )

    def column(self, field: str) -> Tensor:
        """[T] a field of the file's batch."""
        return self.spread(torch.tensor(flat(self.ragged(field)), dtype=DOUBLE))

    def needs_rollout(self) -> bool:
        return self.case["section"] == "12"

    def spread(self, leaf: Tensor) -> Tensor:
        """Leaf per golden token -> [T] of the packed batch."""
        full = torch.zeros(self.where.shape[0], dtype=DOUBLE)
        return full.masked_scatter(self.where, leaf[self.used])

    def advantages(self, batch: Batch) -> Batch:
        """Named advantages, computed by the catalogue's own factors on the same batch."""
        named = {
            "outcome_ddof1": adv.GroupBaseline("group"),
            "no_std": adv.GroupBaseline("none"),
            "rloo": adv.LeaveOneOut(),
            "process_token": adv.ProcessSteps(),
            "ppo_gae.advantage_whitened": adv.GAE(**self.gae()),
        }
        given = self.p["advantage"]
        if given in named:
            # the advantage of an unmasked batch, also where the loss is masked
            factor = named[given]
            full = replace(batch, mask=batch.sequence >= 0, old_logprobs=self.column("old_logp"))
            return replace(batch, advantages=factor(full))
        case, _, field = given.partition(".")
        values = (
            self.data["cases"][case]["aux"][field] if field else self.data["cases"]["group_advantages"]["aux"][case]
        )
        return replace(batch, advantages=self._spread_aux(batch, values))

    def _spread_aux(self, batch: Batch, values: Any) -> Tensor:
        if isinstance(values[0], list):
            return self.spread(torch.tensor(flat(values), dtype=DOUBLE))
        return replace(batch, mask=batch.sequence >= 0).to_tokens(torch.tensor(values, dtype=DOUBLE))

    def gae(self) -> dict[str, float]:
        p = self.data["cases"]["ppo_gae"]["params"]
        return {"gamma": p["gamma"], "lam": p["lam"], "kl_coef": p["kl_coef"]}


def objective_loss(
    objective: Objective, batch: Batch, outputs: Outputs, prepared: bool = False
) -> tuple[Tensor, Batch, Stats]:
    """The catalogue's path: advantages, weigh (with the live outputs), loss."""
    batch = batch if prepared else objective.advantages(batch)
    if prepared and isinstance(objective, TokenObjective) and objective.value and batch.returns is None:
        batch = replace(batch, returns=objective.advantage.returns(batch))
    batch = objective.weigh(batch, outputs if objective.live else None)
    result = objective.loss(batch, outputs)
    stats = Stats.of(result)
    return result.total, batch, stats


Check = Iterator[tuple[str, Any, Any, float]]
"""(what, got, expected, absolute tolerance)"""

LOSS_REL, GRAD_ABS, AUX = 1e-10, 1e-9, 1e-9


def loss_check(expected: float, got: float) -> tuple[str, float, float, float]:
    return "loss", got, expected, max(abs(expected) * LOSS_REL, 1e-12)


def token_case(case: Case, objective: TokenObjective, reported: bool = False) -> Check:
    """Value and gradient of a token objective wrt log-probs, and the aux numbers that go with it."""
    logp = case.leaf(case.p.get("logp", "logp"))
    batch = case.pack()
    prepared = "advantage" in case.p
    if prepared:
        batch = case.advantages(batch)
    entropy = case.spread(case.leaf("entropy").detach())
    values = case.spread(case.leaf("values").detach())
    outputs = Outputs(logprobs=case.spread(logp), entropy=entropy, values=values)
    loss, weighed, stats = objective_loss(objective, batch, outputs, prepared)
    loss.backward()
    value = weighed.report["drpo/loss"] if reported else float(loss.detach())
    yield loss_check(case.case["loss"], value)
    yield "grad", logp.grad.tolist(), flat(case.case["grad"]), GRAD_ABS
    yield from token_aux(case, objective, batch, weighed, stats)


def token_aux(case: Case, objective: TokenObjective, batch: Batch, weighed: Batch, stats: Stats) -> Check:
    summary = stats.summary()
    for name in ("clip_low_frac", "clip_high_frac"):
        if name in case.aux:
            mine = {"clip_low_frac": "clip_frac_low", "clip_high_frac": "clip_frac_high"}[name]
            yield name, summary[mine], case.aux[name], AUX
    if "kl" in case.aux:
        yield "kl", weighed.report["drpo/kl"], case.aux["kl"], AUX
        yield "penalty", weighed.report["drpo/penalty"], case.aux["penalty"], 1e-8
    factor = objective.advantage
    if "score" in case.aux:
        live = case.spread(case.leaf("logp").detach())
        yield "score", factor.scores(batch, live).tolist(), case.aux["score"], AUX
        right, _ = factor.classes(batch)
        yield "weight", factor.length_weights(batch, right).tolist(), case.aux["weight"], AUX
    if "seq_ratio" in case.aux:
        difference = batch.mean_by_sequence(case.spread(case.leaf("logp").detach()) - batch.old_logprobs)
        yield "seq_ratio", difference.exp().tolist(), case.aux["seq_ratio"], AUX
    if "shaped_reward" in case.aux:
        yield "shaped_reward", factor.shaped_reward(batch).tolist(), case.aux["shaped_reward"], AUX
    if "advantage" in case.aux:
        yield "advantage", *per_token_or_sequence(case, weighed, case.aux["advantage"]), AUX
    if "weight" in case.aux and isinstance(case.aux["weight"][0], list):
        weight = objective.correction(batch, batch.old_logprobs)[case.where]
        yield "weight", weight.tolist(), flat(case.aux["weight"]), AUX
    if "max_abs_difference_from_minus_A_over_n" in case.aux:
        n = int(case.where.sum())
        logp = case.leaf("old_logp")
        again, _, _ = objective_loss(objective, batch, Outputs(logprobs=case.spread(logp)), True)
        again.backward()
        expected = (-weighed.advantages[case.where] / n).tolist()
        yield "at old policy", logp.grad.tolist(), expected, 1e-12


def per_token_or_sequence(case: Case, batch: Batch, expected: Any) -> tuple[Any, Any]:
    tokens = batch.advantages[case.where]
    if isinstance(expected[0], list):
        return tokens.tolist(), flat(expected)
    return batch.mean_by_sequence(batch.advantages).tolist(), expected


# ------------------------------------------------------------------------------------------- token objectives

entry = lambda name: ALGORITHMS[name].objective


def clip_of(case: Case) -> Clip:
    p = case.p
    low = p.get("lo", p.get("eps_low", p.get("eps", 0.2)))
    high = p.get("hi", p.get("eps_high", p.get("eps", 0.2)))
    return Clip(low, high, p.get("dual_clip_c"))


def aggregate_of(case: Case, default: str) -> Aggregate:
    mode = case.p.get("mode", case.p.get("aggregation", default))
    mode = mode if mode in ALL_MODES else default
    return Aggregate(mode, case.p.get("lmax") if mode == "seq_mean_token_sum_norm" else None)


ALL_MODES = (
    "token_mean",
    "group_token_mean",
    "seq_mean_token_mean",
    "seq_mean_token_sum",
    "seq_mean_token_sum_norm",
)


def sft(case: Case) -> Check:
    return token_case(case, replace(entry("sft"), aggregate=aggregate_of(case, "token_mean")))


def grpo_like(case: Case, name: str, default: str, estimator: str = "k3", **changes: Any) -> Check:
    beta = case.p.get("beta")
    objective = replace(
        entry(name),
        surrogate=clip_of(case),
        aggregate=aggregate_of(case, default),
        kl=KL(estimator, beta) if beta else None,
        correction=None,
        value=None,
        **changes,
    )
    return token_case(case, objective)


def ppo_clip(case: Case) -> Check:
    case.p.setdefault("advantage", "ppo_gae.advantage_whitened")
    return grpo_like(case, "ppo", "token_mean")


def ppo_total(case: Case) -> Check:
    case.p.setdefault("advantage", "ppo_gae.advantage_whitened")
    objective = replace(
        entry("ppo"),
        advantage=adv.GAE(**case.gae()),
        surrogate=clip_of(case),
        value=ValueLoss(case.p["value_coef"], clip=None),
        entropy=case.p["entropy_coef"],
    )
    return token_case(case, objective)


def trpo(case: Case, estimator: str) -> Check:
    objective = replace(
        entry("ppo_penalty"), value=None, kl=KL(estimator, case.p["beta"], against="old"), correction=None
    )
    return token_case(case, objective)


def kl_case(case: Case, estimator: str) -> Check:
    """The KL term alone: advantages are 0, the coefficient is 1."""
    objective = replace(
        entry("grpo"),
        advantage=adv.Reward(),
        aggregate=Aggregate("token_mean"),
        kl=KL(estimator, 1.0),
    )
    case.b = {**case.b, "reward": [0.0] * len(case.b["reward"])}
    return token_case(case, objective)


def rft(case: Case) -> Check:
    mode = {"all": "seq_mean_token_mean", "accepted": "accepted_mean_token_mean"}[case.p["denominator"]]
    return token_case(case, replace(entry("rft_online"), aggregate=Aggregate(mode), correction=None))


def gspo(case: Case, name: str) -> Check:
    return token_case(case, replace(entry(name), surrogate=clip_of(case), correction=None))


def rloo(case: Case, name: str) -> Check:
    objective = replace(entry(name), advantage=adv.LeaveOneOut(case.p["kl_coef"]))
    if name == "rloo_clip":
        objective = replace(objective, surrogate=clip_of(case))
    return token_case(case, objective)


def reinforce_pp(case: Case) -> Check:
    factor = adv.RewardToGo(case.p["gamma"], case.p["kl_coef"])
    return token_case(case, replace(entry("reinforce_pp"), advantage=factor, surrogate=clip_of(case)))


def reinforce_pp_baseline(case: Case) -> Check:
    kl = KL("k2", case.p["kl_loss_coef"])
    return token_case(case, replace(entry("reinforce_pp_baseline"), kl=kl, surrogate=clip_of(case)))


def cispo(case: Case) -> Check:
    surrogate = Cispo(case.p["ratio_max"], case.p["ratio_min"])
    return token_case(case, replace(entry("cispo"), surrogate=surrogate))


def overlong_filtered(case: Case) -> Check:
    return grpo_like(case, "dapo", "token_mean", mask_truncated=True)


def drpo(case: Case) -> Check:
    p = case.p
    ratio = p.get("score") == "lratio"
    lam = math.inf if p["lam"] == "inf" else p["lam"]
    factor = adv.DecoupledReward(lam, p["tau"], p["cap"], "ratio" if ratio else "likelihood")
    estimator = {"kl": "reverse_k1", "low_var_kl": "reverse_k3"}[p.get("kl_type", "kl")]
    hinge = KLHinge(p["beta"], p.get("delta", 1e-4), estimator)
    objective = replace(entry("disco_ratio" if ratio else "drpo"), advantage=factor, hinge=hinge)
    return token_case(case, objective, reported=True)


def drpo_value_form(case: Case) -> Check:
    p, b = case.p, case.b
    objective = replace(
        entry("drpo_value"),
        advantage=adv.DecoupledValue(p["lam"], p["cap"]),
        surrogate=clip_of(case),
        value=replace(entry("drpo_value").value, coef=p["value_coef"]),
        entropy=p["entropy_coef"],
    )
    logp = case.leaf("logp")
    prompt_value = torch.tensor(b["prompt_value"], dtype=DOUBLE, requires_grad=True)
    batch = case.pack(rewards=[float(c) for c in b["correct"]])
    values = replace(batch, mask=case.where).group_to_tokens(prompt_value)
    batch = replace(batch, old_values=values.detach())
    outputs = Outputs(case.spread(logp), case.spread(case.leaf("entropy").detach()), values)
    loss, weighed, _ = objective_loss(objective, batch, outputs)
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", logp.grad.tolist(), flat(case.case["grad"]), GRAD_ABS
    yield "grad_prompt_value", prompt_value.grad.tolist(), flat(case.aux["grad_prompt_value"]), GRAD_ABS
    yield "advantage", *per_token_or_sequence(case, weighed, case.aux["advantage"]), AUX


def value_case(case: Case) -> Check:
    """The value term alone, wrt values: the policy's log-probs get advantage 0."""
    values = case.leaf("values")
    batch = case.pack()
    factor = adv.GAE(**case.gae())
    batch = replace(batch, advantages=torch.zeros_like(batch.old_values), returns=factor.returns(batch))
    objective = replace(entry("ppo"), value=ValueLoss(1.0, case.p["cliprange_value"]))
    outputs = Outputs(logprobs=case.spread(case.leaf("logp").detach()), values=case.spread(values))
    loss, _, _ = objective_loss(objective, batch, outputs, prepared=True)
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", values.grad.tolist(), flat(case.case["grad"]), GRAD_ABS


def ppo_ptx(case: Case) -> Check:
    """Two streams: PPO's, and pretraining text under `sft` times its coefficient."""
    base = Case(case.data, "ppo_clip_token_mean")
    first = replace(entry("ppo"), value=None, correction=None, surrogate=clip_of(base))
    logp = base.leaf("logp")
    batch = base.advantages(base.pack())
    policy, _, _ = objective_loss(first, batch, Outputs(logprobs=base.spread(logp)), prepared=True)
    text = case.p["pretrain_logp"]
    rows = [
        Group(Prompt(str(i), "t", tokens=(0,)), (Completion((1,) * len(r), reward=1.0),)) for i, r in enumerate(text)
    ]
    packed = pack(rows, dtype=DOUBLE)
    leaf = torch.tensor(flat(text), dtype=DOUBLE, requires_grad=True)
    spread = torch.zeros_like(packed.tokens, dtype=DOUBLE).masked_scatter(packed.mask, leaf)
    text_loss, _, _ = objective_loss(entry("sft"), packed, Outputs(logprobs=spread))
    total = policy + case.p["gamma_ptx"] * text_loss
    total.backward()
    yield loss_check(case.case["loss"], float(total.detach()))
    yield "grad", leaf.grad.tolist(), flat(case.case["grad"]), GRAD_ABS


def tis(case: Case) -> Check:
    p = case.p
    correction = Correction(p["kind"], p["low"], p["high"])
    objective = replace(entry("dapo"), surrogate=clip_of(case), correction=correction)
    return token_case(case, objective)


def dppo(case: Case) -> Check:
    p = case.p
    kl = KL("k2", 2 * p["kl_tau"], against="rollout")
    surrogate = ProbabilityMask(p["mask_low"], p["mask_high"])
    return token_case(case, replace(entry("dppo"), surrogate=surrogate, kl=kl))


# ---------------------------------------------------------------------------------------------- contrast


def pair_case(case: Case, objective: ContrastObjective) -> Check:
    chosen, rejected = case.p["chosen"], case.p["rejected"]
    members = [list(pair) for pair in zip(chosen, rejected, strict=True)]
    batch = case.pack(members)
    first = torch.arange(batch.n_sequences) % 2 == 0
    batch = replace(batch, reward=first.to(DOUBLE))
    logp = case.leaf("logp")
    loss, _, stats = objective_loss(objective, batch, Outputs(logprobs=case.spread(logp)))
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", logp.grad.tolist(), flat(case.case["grad"]), GRAD_ABS
    if "accuracy" not in case.aux:
        return
    summary, m = stats.summary(), len(members)
    yield "accuracy", summary["rewards/accuracy"], case.aux["accuracy"], AUX
    yield "margin", summary["rewards/margin"], case.aux["margin"], AUX
    yield "reward_chosen", summary["rewards/chosen"], sum(case.aux["reward_chosen"]) / m, AUX
    yield "reward_rejected", summary["rewards/rejected"], sum(case.aux["reward_rejected"]) / m, AUX


def preference(case: Case, name: str, **link: Any) -> Check:
    objective = entry(name)
    return pair_case(case, replace(objective, link=replace(objective.link, **link)))


def dpo(case: Case, name: str) -> Check:
    return preference(case, name, beta=case.p["beta"], smoothing=case.p["label_smoothing"])


def orpo(case: Case) -> Check:
    return pair_case(case, replace(entry("orpo"), link_coef=case.p["lambda"]))


def kto(case: Case) -> Check:
    p = case.p
    objective = replace(entry("kto"), link=KTO(p["beta"], p["lambda_d"], p["lambda_u"]))
    n = len(case.b["lengths"])
    own = case.pack([[i] for i in range(n)], rewards=[float(y) for y in p["label"]])
    extra = pack(
        [Group(Prompt(str(i), "p", tokens=(0,)), (Completion((1,), reward=0.0),)) for i in range(len(p["kl_logp"]))],
        dtype=DOUBLE,
    )
    logp = case.leaf("logp")
    live_own, where_extra = case.spread(logp), extra.sequence >= 0
    live_extra = torch.zeros(where_extra.shape[0], dtype=DOUBLE).masked_scatter(
        where_extra, torch.tensor(p["kl_logp"], dtype=DOUBLE)
    )
    ref_extra = torch.zeros_like(live_extra).masked_scatter(where_extra, torch.tensor(p["kl_ref_logp"], dtype=DOUBLE))
    t, g = own.tokens.shape[0], own.n_groups

    def join(a: Tensor, b: Tensor, shift: int = 0) -> Tensor:
        return torch.cat([a, torch.where(b >= 0, b + shift, b) if shift else b])

    batch = replace(
        own,
        tokens=join(own.tokens, extra.tokens),
        position=join(own.position, extra.position),
        group=join(own.group, extra.group, g),
        sequence=join(own.sequence, extra.sequence, n),
        predictor=join(own.predictor, extra.predictor, t),
        mask=join(own.mask, extra.mask),
        sequence_group=join(own.sequence_group, extra.sequence_group, g),
        reward=join(own.reward, extra.reward),
        correct=join(own.correct, extra.correct),
        truncated=join(own.truncated, extra.truncated),
        mismatched=torch.cat([own.mismatched, ~extra.mismatched]),
        n_groups=g + extra.n_groups,
        ref_logprobs=join(own.ref_logprobs, ref_extra),
        old_logprobs=None,
        old_values=None,
        step_reward=None,
    )
    outputs = Outputs(logprobs=torch.cat([live_own, live_extra]))
    loss, weighed, _ = objective_loss(objective, batch, outputs)
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", logp.grad.tolist(), flat(case.case["grad"]), GRAD_ABS
    yield "z0", weighed.offset, case.aux["z0"], AUX


def score_batch(scores: Ragged, rewards: list[list[float | None]]) -> tuple[Batch, Tensor, Tensor]:
    """Groups of one-token completions whose scalar head gives `scores`; returns batch, leaf and [T] scores."""
    groups = [
        Group(Prompt(str(k), "p", tokens=(0,)), tuple(Completion((1,), reward=r) for r in row))
        for k, row in enumerate(rewards)
    ]
    batch = pack(groups, dtype=DOUBLE)
    leaf = torch.tensor(flat(scores), dtype=DOUBLE, requires_grad=True)
    spread = torch.zeros(batch.tokens.shape[0], dtype=DOUBLE).masked_scatter(batch.sequence >= 0, leaf)
    return batch, leaf, spread


def score_case(
    case: Case, objective: Objective, scores: Ragged, rewards: Any, expected: list[float], **extra: Any
) -> Check:
    batch, leaf, spread = score_batch(scores, rewards)
    loss, _, stats = objective_loss(objective, replace(batch, **extra), Outputs(scores=spread))
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", leaf.grad.tolist(), expected, GRAD_ABS
    if "accuracy" in case.aux:
        yield "accuracy", stats.summary()["rewards/accuracy"], case.aux["accuracy"], AUX


def rm_pairs(case: Case) -> Check:
    p = case.p
    scores = [list(pair) for pair in zip(p["chosen"], p["rejected"], strict=True)]
    chosen_grad, rejected_grad = case.case["grad"]
    expected = flat([list(pair) for pair in zip(chosen_grad, rejected_grad, strict=True)])
    if "soft" in p:
        rewards = [[q, 1 - q] for q in p["soft"]]
        return score_case(case, entry("reward_model_soft"), scores, rewards, expected)
    objective = replace(entry("reward_model"), link=Logistic(1.0, center=p.get("center", 0.0)))
    margin = {"margin": torch.tensor(p["margin"], dtype=DOUBLE)} if "margin" in p else {}
    return score_case(case, objective, scores, [[1.0, 0.0]] * len(scores), expected, **margin)


def rm_ranked(case: Case, name: str) -> Check:
    rewards = [[-float(r) for r in row] for row in case.p["rank"]]
    return score_case(case, entry(name), case.p["scores"], rewards, flat(case.case["grad"]))


def rm_points(case: Case) -> Check:
    p = case.p
    scores = p.get("scores", p.get("logit"))
    rewards = p.get("label", p.get("p_first"))
    expected = case.case["grad"]
    expected = flat(expected) if isinstance(expected[0], list) else expected
    yield from score_case(
        case, entry("reward_model_binary"), [[s] for s in scores], [[float(r)] for r in rewards], expected
    )
    if "debiased" in case.aux:
        inputs = case.aux["debiased_inputs"]
        got = [pair_preference(ab, ba) for ab, ba in zip(inputs["logit_ab"], inputs["logit_ba"], strict=True)]
        yield "debiased", got, case.aux["debiased"], AUX


def rm_steps(case: Case) -> Check:
    """Solutions whose steps are one token each."""
    p = case.p
    groups = []
    for k, labels_ in enumerate(p["label"]):
        steps = tuple((t, float(y)) for t, y in enumerate(labels_) if y is not None)
        groups.append(
            Group(Prompt(str(k), "p", tokens=(0,)), (Completion((1,) * len(labels_), reward=1.0, steps=steps),))
        )
    batch = pack(groups, dtype=DOUBLE)
    leaf = torch.tensor(flat(p["logit"]), dtype=DOUBLE, requires_grad=True)
    spread = torch.zeros(batch.tokens.shape[0], dtype=DOUBLE).masked_scatter(batch.sequence >= 0, leaf)
    loss, _, _ = objective_loss(entry("reward_model_process"), batch, Outputs(scores=spread))
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", leaf.grad.tolist(), flat(case.case["grad"]), GRAD_ABS
    for how in ("product", "min", "last"):
        yield how, [solution_score(row, how) for row in p["logit"]], case.aux[f"solution_{how}"], AUX


# --------------------------------------------------------------------------------------------- value only


def ensemble(case: Case) -> Check:
    rows, lam = case.p["scores"], case.p["uwo_lambda"]
    names = {"mean": "mean", "worst": "worst_case", "uncertainty": "uwo_population_variance"}
    for how, name in names.items():
        yield how, [ensemble_score(r, how, lam) for r in rows], case.aux[name], AUX


def gae(case: Case) -> Check:
    p = case.p
    batch = case.pack()
    factor = adv.GAE(p["gamma"], p["lam"], p["kl_coef"])
    here = batch.mask

    def tokens(x: Tensor) -> list[float]:
        return x[here].tolist()

    if "advantage_action_tokens_only" in case.aux:
        yield (
            "advantage",
            tokens(factor.unwhitened(batch)),
            flat(case.aux["advantage_action_tokens_only"]),
            AUX,
        )
        yield "returns", tokens(factor.returns(batch)), flat(case.aux["returns_action_tokens_only"]), AUX
        return
    yield "token_reward", tokens(along.token_rewards(batch, p["kl_coef"])), flat(case.aux["token_reward"]), AUX
    yield "advantage", tokens(factor.unwhitened(batch)), flat(case.aux["advantage"]), AUX
    yield "returns", tokens(factor.returns(batch)), flat(case.aux["returns"]), AUX
    yield "whitened", tokens(factor(batch)), flat(case.aux["advantage_whitened"]), AUX
    a = torch.tensor(flat(case.aux["advantage"]), dtype=DOUBLE)
    population = (a - a.mean()) / (a.var(unbiased=False) + 1e-8).sqrt()
    yield "population form", population.tolist(), flat(case.aux["advantage_whitened_population"]), 1e-6


def stepwise(case: Case, factor: adv.Advantage, name: str) -> Check:
    """Rewards of steps or prefixes: advantages, returns, loss of policy and critic, gradient wrt log-probs."""
    p, logp = case.p, case.leaf("logp")
    value = ValueLoss(p["value_coef"], p["clip_value"]) if "value_coef" in p else None
    changes = {"surrogate": clip_of(case), "aggregate": aggregate_of(case, "token_mean"), "value": value}
    objective = replace(entry(name), advantage=factor, correction=None, kl=None, **changes)
    batch = case.pack()
    outputs = Outputs(logprobs=case.spread(logp), values=case.spread(case.leaf("values").detach()))
    loss, weighed, _ = objective_loss(objective, batch, outputs)
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", logp.grad.tolist(), flat(case.case["grad"]), GRAD_ABS
    yield "advantages", weighed.advantages[case.where].tolist(), flat(case.aux["advantages"]), AUX
    if "return" in case.aux:
        got = factor.unwhitened(weighed)[case.where].tolist()
        yield "unwhitened", got, flat(case.aux["advantage_unwhitened"]), AUX
        yield "returns", weighed.returns[case.where].tolist(), flat(case.aux["return"]), AUX


def ppo_stepwise(case: Case) -> Check:
    return stepwise(case, adv.GAE(case.p["gamma"], case.p["lam"], case.p["kl_coef"]), "ppo")


def reinforce_pp_stepwise(case: Case) -> Check:
    return stepwise(case, adv.RewardToGo(case.p["gamma"], case.p["kl_coef"]), "reinforce_pp")


def group_advantages(case: Case) -> Check:
    batch, aux = case.pack(), case.aux
    eps = case.p["eps"]
    per_sequence = {
        "outcome_ddof1": adv.GroupBaseline("group", eps),
        "outcome_trl_eps1e4": adv.GroupBaseline("group", 1e-4),
        "no_std": adv.GroupBaseline("none"),
        "rloo": adv.LeaveOneOut(),
    }
    for name, factor in per_sequence.items():
        yield name, batch.mean_by_sequence(factor(batch)).tolist(), aux[name], AUX
    binary = case.pack(rewards=[float(c) for c in case.b["correct"]])
    got = binary.mean_by_sequence(adv.GroupBaseline("group", eps)(binary)).tolist()
    yield "binary_ddof1", got, aux["binary_ddof1"], AUX
    stats = adv.group_moments(batch)
    population = stats.std * ((stats.count - 1) / stats.count).sqrt()
    centred = batch.reward - stats.mean[batch.sequence_group]
    scaled = torch.where(stats.constant[batch.sequence_group], 0, centred / population[batch.sequence_group])
    yield "outcome_ddof0_eps0", scaled.tolist(), aux["outcome_ddof0_eps0"], AUX
    steps = adv.ProcessSteps(eps)
    yield "process_token", steps(batch)[case.where].tolist(), flat(aux["process_token"]), AUX
    at_ends = steps.standardised(batch)[~torch.isnan(batch.step_reward)]
    yield "process_step_normalised", at_ends.tolist(), flat(aux["process_step_normalised"]), AUX


def shifted_cross_entropy(case: Case) -> Check:
    """Rows before their targets, through the engine's head and the sft objective."""
    p = case.p
    logits = torch.tensor(p["logits"], dtype=DOUBLE, requires_grad=True)
    ids, mask = p["input_ids"], [bool(m) for m in p["loss_mask"]]
    first = mask.index(True)
    completion = Completion(tuple(ids[first:]), sampled=tuple(mask[first:]), reward=1.0)
    batch = pack([Group(Prompt("0", "p", tokens=tuple(ids[:first])), (completion,))], dtype=DOUBLE)
    rows = batch.mask.nonzero().squeeze(1)
    logp, _ = logprobs_and_entropy(logits[batch.predictor[rows]], batch.tokens[rows])
    spread = torch.zeros(batch.tokens.shape[0], dtype=DOUBLE).masked_scatter(batch.mask, logp)
    loss, _, _ = objective_loss(entry("sft"), batch, Outputs(logprobs=spread))
    loss.backward()
    yield loss_check(case.case["loss"], float(loss.detach()))
    yield "grad", logits.grad.flatten().tolist(), flat(case.case["grad"]), GRAD_ABS


def entropy_case(case: Case) -> Check:
    logits = torch.tensor(case.p["logits"], dtype=DOUBLE, requires_grad=True)
    _, entropy = logprobs_and_entropy(logits, torch.zeros(logits.shape[0], dtype=torch.long))
    entropy.sum().backward()
    yield loss_check(case.case["loss"], float(entropy.sum().detach()))
    expected = case.case["grad"]
    yield (
        "grad",
        logits.grad.flatten().tolist(),
        flat(expected) if isinstance(expected[0], list) else expected,
        GRAD_ABS,
    )


def kl_expected_gradients(case: Case) -> Check:
    reference = torch.tensor(case.p["ref_probs"], dtype=DOUBLE).log()
    logits = torch.tensor(case.p["logits"], dtype=DOUBLE, requires_grad=True)

    def gradient(value: Callable[[Tensor], Tensor]) -> list[float]:
        (g,) = torch.autograd.grad(value(torch.log_softmax(logits, 0)), logits)
        return g.tolist()

    reverse = lambda logp: div.kl_categorical(logp, reference)
    forward = lambda logp: div.kl_categorical(reference, logp)
    new = torch.log_softmax(logits, 0).detach()
    yield "kl_reverse", float(reverse(new)), case.aux["kl_reverse"], AUX
    yield "kl_forward", float(forward(new)), case.aux["kl_forward"], AUX
    yield "grad_kl_reverse", gradient(reverse), case.aux["grad_kl_reverse"], GRAD_ABS
    yield "grad_kl_forward", gradient(forward), case.aux["grad_kl_forward"], GRAD_ABS
    for name in ("k1", "k2", "k3"):
        estimator = getattr(div, name)
        expected = lambda logp, f=estimator: (logp.detach().exp() * f(logp, reference)).sum()
        yield f"expected_grad_{name}", gradient(expected), case.aux[f"expected_grad_{name}"], GRAD_ABS


def trace(step: Callable[[float, float], float], beta: float, measured: list[float]) -> list[float]:
    result = []
    for d in measured:
        beta = step(beta, d)
        result.append(beta)
    return result


def controllers(case: Case) -> Check:
    p, q, z = case.p["ppo"], case.p["proportional"], case.p["ziegler"]
    doubling = lambda b, d: div.doubling_controller(b, d, p["d_target"])
    proportional = lambda b, d: div.proportional_controller(b, d, q["target"], q["n_steps"], q["horizon"])
    ziegler = lambda b, d: div.ziegler_controller(b, d, z["target"], z["K_beta"])
    yield "ppo", trace(doubling, p["beta0"], p["d"]), case.aux["ppo_beta_trace"], AUX
    yield "proportional", trace(proportional, q["beta0"], q["d"]), case.aux["proportional_beta_trace"], AUX
    yield "ziegler", trace(ziegler, z["beta0"], q["d"]), case.aux["ziegler_beta_trace"], AUX


def overlong_penalty(case: Case) -> Check:
    p = case.p
    got = [shaping.overlong_penalty(n, p["L_max"], p["L_cache"]) for n in case.aux["length"]]
    yield "penalty", got, case.aux["penalty"], AUX


def dynamic_sampling(case: Case) -> Check:
    p = case.p
    groups = [
        Group(Prompt(str(i), "p"), tuple(Completion((1,), reward=float(c), correct=bool(c)) for c in row))
        for i, row in enumerate(p["stream"])
    ]
    cursor = 0

    async def draw() -> list[Group]:
        nonlocal cursor
        fresh = groups[cursor : cursor + p["gen_batch"]]
        cursor += p["gen_batch"]
        return fresh

    result = asyncio.run(refill(draw, Mixed(), p["prompts_per_batch"]))
    ids = lambda part: [int(g.prompt.id) for g in part]
    yield "batch", ids(result.batch), case.aux["batch"], 0
    yield "carried_over", ids(result.surplus), case.aux["carried_over"], 0
    yield "generation_rounds", result.rounds, case.aux["generation_rounds"], 0
    kept = ids([g for g in groups if Mixed()(g) is not None])
    yield "kept_all", kept, case.aux["kept_all"], 0


def length_penalties(case: Case) -> Check:
    b, p, aux = case.b, case.p, case.aux
    members = [[i for i, g in enumerate(b["group"]) if g == k] for k in sorted(set(b["group"]))]
    n, right = b["lengths"], [bool(c) for c in b["correct"]]
    of = lambda values, m: [values[i] for i in m]
    lp = flat([shaping.rloo_length_rewards(of(right, m), of(n, m), p["alpha"]) for m in members])
    alp = flat([shaping.alp_rewards(of(right, m), of(n, m), p["beta"]) for m in members])
    history = p["history"]
    hapo = [shaping.hapo_reward(c, k, history[g], p["w"]) for c, k, g in zip(right, n, b["group"], strict=True)]
    yield "rloo_lp", lp, aux["rloo_lp"], AUX
    yield "alp", alp, aux["alp"], AUX
    yield "hapo", hapo, aux["hapo"], AUX
    for name, rewards, factor in (
        ("rloo_lp_advantage", lp, entry("rloo_lp").advantage),
        ("alp_advantage", alp, entry("alp").advantage),
    ):
        batch = case.pack(rewards=rewards)
        yield name, batch.mean_by_sequence(factor(batch)).tolist(), aux[name], AUX
    yield from flip_example(aux)


def flip_example(aux: dict[str, Any]) -> Check:
    for rewards, name, population in (
        (aux["flip_example_rewards"], "flip_example_advantage_ddof1", False),
        (aux["flip_example_rewards"], "flip_example_advantage_ddof0", True),
        ([float(r > 0) for r in aux["flip_example_rewards"]], "flip_example_no_penalty", True),
    ):
        batch, _, _ = score_batch([[0.0] * len(rewards)], [rewards])
        got = adv.GroupBaseline("group", 0.0).per_sequence(batch)
        k = len(rewards)
        yield name, (got * (k / (k - 1)) ** 0.5 if population else got).tolist(), aux[name], AUX


PAPER = {  # rows of section 9.4: (accuracy, tokens) of the method and of its zero-penalty run
    "drpo_1_5b": (0.624, 1527, 0.649, 3493),
    "drpo_7b": (0.714, 1502, 0.733, 3053),
    "rloo_lp_1_5b": (0.567, 2531, 0.590, 3427),
    "rloo_lp_7b": (0.692, 2649, 0.702, 2975),
}


def efficiency(case: Case) -> Check:
    p = case.p
    for name, row in PAPER.items():
        got = gao.accuracy_efficiency(*row, p["alpha"], p["beta_up"], p["gamma_down"])
        yield name, got, case.aux[name], AUX


def rlaif(case: Case) -> Check:
    ab, ba = tuple(case.p["logp_order_ab"]), tuple(case.p["logp_order_ba"])
    yield "p_a_from_ab", labels.first_preferred(ab), case.aux["p_a_from_ab"], AUX
    yield "p_a_from_ba", 1 - labels.first_preferred(ba), case.aux["p_a_from_ba"], AUX
    yield "p_a_debiased", labels.preference_label(ab, ba), case.aux["p_a_debiased"], AUX
    score = labels.expected_score(case.p["score_token_logp"])
    yield "expected_score", score, case.aux["expected_score"], AUX
    yield "normalised_score", labels.normalised_score(score), case.aux["normalised_score"], AUX
    low, high = case.p["cai_clamp"]
    clamped = [labels.clamp_label(x, low, high) for x in case.aux["cai_clamped"]]
    yield "cai_clamped", clamped, case.aux["cai_clamped"], AUX


def lora_case(case: Case) -> Check:
    p, aux = case.p, case.aux
    yield "scale", [lora.scale(int(r), p["alpha"]) for r in aux["scale"]], list(aux["scale"].values()), AUX
    rates = [lora.lr_from_full(float(r), p["multiplier"]) for r in aux["lr_from_full"]]
    yield "lr_from_full", rates, list(aux["lr_from_full"].values()), AUX
    yield "lr_formula_llama_8b", lora.lr_from_width(4096, "llama"), aux["lr_formula_llama_8b"], AUX
    yield "lr_formula_qwen_8b", lora.lr_from_width(4096, "qwen"), aux["lr_formula_qwen_8b"], AUX
    yield "parameters", lora.parameters(4096, 14336, 8), aux["params_4096x14336_rank8"], 0


def off_policy(case: Case) -> Check:
    """Computed from the sampler's log-probs and the current policy's."""
    batch = case.pack()
    advantages = adv.GroupBaseline("group")(batch)
    logp = case.spread(case.leaf("logp").detach())
    keep = OffPolicyMask(case.p["delta"])(batch, logp, advantages)
    yield "keep", batch.mean_by_sequence(keep).tolist(), case.aux["keep"], AUX
    drift = batch.mean_by_sequence(batch.rollout_logprobs - logp)
    yield "mean_kl", drift.tolist(), case.aux["mean_kl"], AUX


def mismatch(case: Case) -> Check:
    batch = case.pack()
    logp = case.spread(case.leaf("logp"))
    _, _, stats = objective_loss(entry("cispo"), batch, Outputs(logprobs=logp))
    summary = stats.summary()
    yield "k1", summary["mismatch/k1"], case.aux["k1"], AUX
    yield "k3", summary["mismatch/k3"], case.aux["k3"], AUX
    yield "ess", summary["mismatch/ess"], case.aux["ess_token"], AUX


def overoptimisation(case: Case) -> Check:
    p, aux = case.p, case.aux
    kl = [gao.kl_best_of_n(n) for n in p["n"]]
    yield "kl_bon", kl, aux["kl_bon"], AUX
    gold = [gao.best_of_n_gold(p["proxy"], p["gold"], int(n)) for n in aux["bon_gold_unbiased"]]
    yield "bon_gold_unbiased", gold, list(aux["bon_gold_unbiased"].values()), AUX
    curve = [gao.reward_best_of_n(math.sqrt(d), p["alpha"], p["beta_bon"]) for d in kl]
    yield "r_bon", curve, aux["r_bon"], AUX
    rl = [gao.reward_rl(float(d), p["alpha"], p["beta_rl"]) for d in aux["r_rl"]]
    yield "r_rl", rl, list(aux["r_rl"].values()), AUX
    yield "d_peak_bon", gao.peak_best_of_n(p["alpha"], p["beta_bon"]), aux["d_peak_bon"], AUX
    yield "d_peak_rl", gao.peak_rl(p["alpha"], p["beta_rl"]), aux["d_peak_rl"], AUX


RUN: dict[str, Callable[[Case], Check]] = {
    **{f"sft_{m}_{k}": sft for m in ("seq_mean_token_mean", "token_mean") for k in ("full", "masked")},
    "sft_shifted_cross_entropy": shifted_cross_entropy,
    **dict.fromkeys(("rm_bradley_terry", "rm_bt_margin", "rm_bt_centered", "rm_bt_soft_labels"), rm_pairs),
    "rm_kwise": lambda c: rm_ranked(c, "reward_model"),
    "rm_kwise_with_tie": lambda c: rm_ranked(c, "reward_model"),
    "rm_plackett_luce": lambda c: rm_ranked(c, "reward_model_listwise"),
    "rm_binary_bce": rm_points,
    "rm_pair_model": rm_points,
    "rm_prm_bce": rm_steps,
    "rm_ensemble": ensemble,
    "ppo_gae": gae,
    "ppo_gae_masked": gae,
    **dict.fromkeys(
        (
            "ppo_clip_token_mean",
            "ppo_clip_seq_mean_token_mean",
            "ppo_clip_masked",
            "ppo_dual_clip",
            "ppo_at_old_policy",
        ),
        ppo_clip,
    ),
    "ppo_value_loss": value_case,
    "ppo_value_loss_clipped": value_case,
    "ppo_total": ppo_total,
    "entropy_from_logits": entropy_case,
    "kl_k1": lambda c: kl_case(c, "k1"),
    "kl_k2": lambda c: kl_case(c, "k2"),
    "kl_k3": lambda c: kl_case(c, "k3"),
    "kl_k3_ratio_weighted": lambda c: kl_case(c, "k3_ratio"),
    "kl_estimator_expected_gradients": kl_expected_gradients,
    "kl_controllers": controllers,
    "ppo_ptx": ppo_ptx,
    "trpo_penalty_ratio_weighted_k1": lambda c: trpo(c, "ratio_k1"),
    "ppo_penalty_old_to_new": lambda c: trpo(c, "reverse_k1"),
    "dpo": lambda c: dpo(c, "dpo"),
    "dpo_length_normalised": lambda c: dpo(c, "dpo_length_normalised"),
    "dpo_conservative": lambda c: dpo(c, "cdpo"),
    "dpo_robust": lambda c: dpo(c, "dpo_robust"),
    "dpo_hinge": lambda c: preference(c, "hinge", beta=c.p["beta"]),
    "ipo_sum": lambda c: preference(c, "ipo", beta=c.p["beta"]),
    "ipo_mean": lambda c: preference(c, "ipo_mean", beta=c.p["beta"]),
    "kto": kto,
    "orpo": orpo,
    "simpo": lambda c: preference(c, "simpo", beta=c.p["beta"], margin=c.p["gamma"]),
    "rft_per_all_sample": rft,
    "rft_per_accepted_sample": rft,
    "group_advantages": group_advantages,
    "grpo_outcome": lambda c: grpo_like(c, "grpo", "seq_mean_token_mean"),
    "grpo_outcome_no_kl": lambda c: grpo_like(c, "grpo", "seq_mean_token_mean"),
    "grpo_outcome_kl_ratio_weighted": lambda c: grpo_like(c, "grpo", "seq_mean_token_mean", "k3_ratio"),
    "grpo_process": lambda c: grpo_like(c, "grpo_process", "seq_mean_token_mean"),
    "dr_grpo": lambda c: grpo_like(c, "dr_grpo", "seq_mean_token_sum_norm"),
    "gspo_wide": lambda c: gspo(c, "gspo"),
    "gspo_paper_eps": lambda c: gspo(c, "gspo"),
    "gspo_token": lambda c: gspo(c, "gspo_token"),
    "rloo_reinforce": lambda c: rloo(c, "rloo"),
    "rloo_sequence_clip": lambda c: rloo(c, "rloo_clip"),
    "reinforce_pp": reinforce_pp,
    "reinforce_pp_baseline": reinforce_pp_baseline,
    "cispo": cispo,
    "dapo_clip_higher_token_mean": lambda c: grpo_like(c, "dapo", "token_mean"),
    "dapo_clip_higher_group_token_mean": lambda c: grpo_like(c, "dapo", "token_mean"),
    "dapo_overlong_filtered": overlong_filtered,
    "dapo_overlong_penalty": overlong_penalty,
    "dapo_dynamic_sampling": dynamic_sampling,
    **dict.fromkeys(
        (
            "drpo_kl1",
            "drpo_kl3",
            "drpo_no_penalty",
            "drpo_one_group_all_correct",
            "disco_logl",
            "disco_lratio",
        ),
        drpo,
    ),
    "drpo_value_form": drpo_value_form,
    "length_penalties": length_penalties,
    "accuracy_efficiency_score": efficiency,
    "rlaif": rlaif,
    "lora": lora_case,
    **{
        f"tis_{kind}": tis
        for kind in (
            "token_truncate",
            "token_mask",
            "sequence_truncate",
            "sequence_mask",
            "geo_mean_mask_token_tis",
        )
    },
    "dppo_binary_tv": dppo,
    "off_policy_sequence_mask": off_policy,
    "mismatch_metrics": mismatch,
    "overoptimisation": overoptimisation,
    **dict.fromkeys(
        ("ppo_steps", "ppo_steps_masked", "ppo_steps_discounted", "ppo_prefixes", "ppo_prefixes_masked"), ppo_stepwise
    ),
    **dict.fromkeys(
        ("reinforce_pp_steps", "reinforce_pp_steps_masked", "reinforce_pp_prefixes"), reinforce_pp_stepwise
    ),
    "grpo_process_masked": lambda c: stepwise(c, adv.ProcessSteps(), "grpo_process"),
}


def differs(got: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, list):
        return len(got) != len(expected) or any(differs(g, e, tolerance) for g, e in zip(got, expected, strict=True))
    return not abs(float(got) - float(expected)) <= max(tolerance, tolerance * abs(float(expected)))


def parsed(value: Any) -> Any:
    """Some files hold aux numbers as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def run_case(data: dict[str, Any], name: str) -> list[str]:
    """The failures of one case, a line each; empty when it passes."""
    if name not in RUN:
        return [f"no runner for case {name}"]
    data = {**data, "cases": {k: {**v, "params": dict(v["params"])} for k, v in data["cases"].items()}}
    case = Case(data, name)
    case.aux = {k: parsed(v) for k, v in case.aux.items()}
    lines = []
    for what, got, expected, tolerance in RUN[name](case):
        if differs(got, expected, tolerance):
            lines.append(f"{what}: got {str(got)[:120]} expected {str(expected)[:120]}")
    return lines


def main(path: str) -> int:
    data = json.loads(Path(path).read_text())
    failures = {name: run_case(data, name) for name in data["cases"]}
    for name, lines in failures.items():
        for line in lines:
            print(f"{name}: {line}")
    failed = sum(bool(lines) for lines in failures.values())
    print(f"{len(failures) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main(sys.argv[1]))
