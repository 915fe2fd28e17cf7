"""Objectives that are a weighted sum over tokens: SFT and every policy-gradient method of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field

from postlude.batch import Batch
from postlude.bounds import NotNegative, hold
from postlude.lazy import no_grad, torch
from postlude.objectives.advantages import Advantage, DecoupledReward, equal_steps, group_moments
from postlude.objectives.divergence import KL, KLHinge, k3
from postlude.objectives.surrogates import RATIOS, LogProb, Ratio, Surrogate, Terms
from postlude.objectives.terms import CLAMP, Loss, Need, Outputs, log_ratio, per_token, weighted_sum
from postlude.objectives.value import ValueLoss, explained_variance
from postlude.objectives.weights import Aggregate, Correction, OffPolicyMask, mismatch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenObjective:
    """advantage -> ratio -> surrogate -> aggregate, plus regularisers. A method of section 15 is one value of it.

    `behaviour` names the policy the ratio divides by: the rollout snapshot as the trainer sees it (`old`), or the
    sampler's own log-probs (`rollout`). `entropy` is the coefficient of the bonus; `mask_truncated` takes
    completions cut by the length limit out of the loss (their reward still counts in their group).
    """

    advantage: Annotated[Advantage, Field(discriminator="kind")]
    """How much better than expected each token was."""
    surrogate: Annotated[Surrogate, Field(discriminator="kind")] = LogProb()
    """What is minimised of ratio and advantage."""
    ratio: Ratio = "none"
    """The ratio to the old policy: of tokens, of whole answers, or none."""
    aggregate: Aggregate = Aggregate("token_mean")
    behaviour: Literal["old", "rollout"] = "old"
    correction: Correction | None = None
    off_policy_mask: OffPolicyMask | None = None
    kl: KL | None = None
    hinge: KLHinge | None = None
    entropy: NotNegative = 0.0
    """Coefficient of the bonus on entropy."""
    value: ValueLoss | None = None
    mask_truncated: bool = False
    kind: Literal["token"] = "token"

    def __post_init__(self) -> None:
        hold(self)
        uses_ratio = not isinstance(self.surrogate, LogProb)
        if uses_ratio and self.ratio == "none":
            raise ValueError(f'surrogate {self.surrogate.kind} needs a ratio; set ratio to "token"')
        if not uses_ratio and self.ratio != "none":
            raise ValueError(f'surrogate logprob uses no ratio; set ratio to "none", not "{self.ratio}"')
        if self.kl and self.hinge:
            raise ValueError("kl and hinge both hold the policy back; set one of them to null")

    @property
    def decoupled(self) -> DecoupledReward | None:
        """The advantage, where it is recomputed from live scores before every update."""
        return self.advantage if isinstance(self.advantage, DecoupledReward) else None

    @property
    def keeps_groups(self) -> bool:
        """Whether an update must hold whole groups."""
        return self.decoupled is not None

    @property
    def splits_groups(self) -> bool:
        """Whether a micro-batch may hold a part of a group: weights are set by then, and the loss is a sum."""
        return True

    @property
    def live(self) -> frozenset[str]:
        """What `weigh` needs from the current policy, once per optimiser step."""
        return frozenset({"policy"} if self.decoupled or self.hinge else ())

    @property
    def needs(self) -> frozenset[Need]:
        """What the method cannot do without, however a draw is cut into updates."""
        needs = {Need(name) for name in self.advantage.needs}
        if self.kl:
            needs.add(Need(self.kl.against))
        if self.hinge:
            needs.add(Need.OLD)
        if self.behaviour == "rollout" or self.off_policy_mask:
            needs.add(Need.ROLLOUT)
        if self.value:
            needs.add(Need.VALUES)
        return frozenset(needs)

    def wants(self, passes: int) -> frozenset[Need]:
        """What must be known of a draw before `advantages`, when it is gone through in so many optimiser steps.

        In a single one the policy that trains is the one that was drawn from, and its log-probs come with the loss.
        """
        compares = (self.ratio != "none" and self.behaviour == "old") or self.correction is not None
        return self.needs | {Need.OLD} if compares and passes > 1 else self.needs

    @property
    def kl_coef(self) -> float:
        """Coefficient of the KL term in the loss, else of the KL penalty in the reward; 0 without either."""
        return self.kl.coef if self.kl else float(getattr(self.advantage, "kl_coef", 0.0))

    def with_kl_coef(self, coef: float) -> TokenObjective:
        """The same objective with another coefficient at the place where it has one."""
        if self.kl:
            return replace(self, kl=replace(self.kl, coef=coef))
        return replace(self, advantage=replace(self.advantage, kl_coef=coef))  # type: ignore[call-arg]

    def advantages(self, batch: Batch) -> Batch:
        """Fix everything that stays the same for all updates on a drawn batch."""
        batch = self._masked(batch)
        if self.decoupled:
            right, _ = self.decoupled.classes(batch)
            mixed = batch.by_group(right.to(batch.dtype)) > 0
            useless = 1 - float(mixed.to(batch.dtype).mean()) if batch.n_groups else 0.0
            return replace(batch, report={**_group_report(batch), "frac_zero_std_groups": useless})
        tokens = batch.tokens.shape[0]
        advantages = per_token(self.advantage(batch), tokens, f"advantage {name_of(self.advantage)}")  # type: ignore[call-arg]
        returns = cast("Tensor | None", self.advantage.returns(batch) if self.value else None)  # type: ignore[union-attr]
        report = {**_group_report(batch), **_advantage_report(batch, advantages)}
        if returns is not None and batch.old_values is not None:
            report |= _value_report(batch, returns)
        return replace(batch, advantages=advantages, returns=returns, report=report)

    def _masked(self, batch: Batch) -> Batch:
        mask = batch.mask
        if self.mask_truncated:
            mask = mask & ~batch.truncated[batch.sequence.clamp(min=0)]
        corrupt = 0
        if batch.old_logprobs is not None:
            finite = torch.isfinite(batch.old_logprobs)
            corrupt = int((mask & ~finite).sum())
            mask = mask & finite
        report = {**batch.report, **({"corrupt_tokens": float(corrupt)} if corrupt else {})}
        return replace(batch, mask=mask, report=report)

    def weigh(self, update: Batch, live: Outputs | None = None) -> Batch:
        """Set the [T] weights of one optimiser step, with denominators over the whole update."""
        if self.live:
            assert live is not None and live.logprobs is not None, "weigh needs the live log-probs"
            update = _without_infinite(update, live.logprobs)
        weight = per_token(self.aggregate(update), update.tokens.shape[0], f"aggregate {name_of(self.aggregate)}")
        new = replace(
            update,
            policy_weight=weight,
            entropy_weight=weight if self.entropy else None,
            kl_weight=weight * self.kl.coef if self.kl else None,
            value_weight=self.value.aggregate(update) * self.value.coef if self.value else None,
        )
        if live is None or live.logprobs is None or not self.live:
            return new
        return self._weigh_live(new, live.logprobs.detach())

    def _weigh_live(self, update: Batch, live: Tensor) -> Batch:
        report = dict(update.report)
        loss = live.new_zeros(())
        if self.decoupled:
            advantages = self.decoupled(update, live)
            loss = self.decoupled.value(update, live)
            report |= _drpo_report(self.decoupled, update, live)
            update = replace(update, advantages=advantages)
        if self.hinge:
            old = update.old_logprobs
            assert old is not None, "the KL hinge needs old log-probs"
            estimate = self.hinge(live, old)
            mean = Aggregate("token_mean")(update)
            kl = weighted_sum(mean, estimate)
            loss = loss + self.hinge.penalty(kl)
            update = replace(update, kl_weight=mean * self.hinge.coefficient(kl))
            report |= {
                "drpo/kl": float(kl),
                "drpo/penalty": float(self.hinge.penalty(kl)),
                "drpo/constraint_active": float(kl > self.hinge.delta),
            }
        return replace(update, report={**report, "drpo/loss": float(loss)})

    def idle(self, update: Batch) -> Tensor:
        """[G] bool: no token of the group gives a gradient, because its advantages are 0 (or its weights) and nothing
        else pulls at it. Its tokens still count in every figure and denominator."""
        none = torch.zeros(update.n_groups, dtype=torch.bool, device=update.tokens.device)
        if self.entropy or self.value or not _is_ours(self.surrogate):  # one's own may pull at 0 too
            return none
        assert update.policy_weight is not None and update.advantages is not None
        pull = update.mask & (update.policy_weight * update.advantages != 0)
        if update.kl_weight is not None:
            pull = pull | (update.mask & (update.kl_weight != 0))
        return ~none.index_put((update.group[pull],), torch.ones_like(none[:1]))

    def loss(self, micro: Batch, outputs: Outputs) -> Loss:
        """The weighted sum over one micro-batch. Only here is there a gradient."""
        logp = outputs.logprobs
        assert logp is not None and micro.policy_weight is not None and micro.advantages is not None
        old = micro.old_logprobs if micro.old_logprobs is not None else logp.detach()
        behaviour = micro.rollout_logprobs if self.behaviour == "rollout" else old
        assert behaviour is not None, "this objective needs the sampler's log-probs"
        keep = micro.mask & (logp != -float("inf"))  # a NaN stays in, for the trainer to stop at
        safe = torch.where(keep, logp, logp.new_zeros(()))
        ratio, counted = torch.ones_like(logp), keep
        if self.ratio != "none":
            counted = micro.mask  # a log-prob of -inf has the clamped ratio e^-20, without gradient
            ratio = RATIOS[self.ratio](micro, log_ratio(logp, behaviour, counted))
        weight = torch.where(counted, micro.policy_weight * self._importance(micro, logp, old), 0)
        terms = Terms(ratio, micro.advantages, safe, torch.where(keep, behaviour, 0))
        parts = {"policy": weighted_sum(weight, self.surrogate(terms))}
        parts |= self._regularisers(micro, outputs, safe, ratio, keep)
        total = torch.stack(list(parts.values())).sum() + 0 * safe.sum()
        return Loss(total, *self._figures(micro, parts, outputs, terms, old, keep))

    def _importance(self, micro: Batch, logp: Tensor, old: Tensor) -> Tensor:
        """[T] detached weight of the policy term; 1 where no correction is asked for."""
        weight = torch.ones_like(logp)
        if micro.rollout_logprobs is None:
            return weight
        if self.correction:
            weight = weight * self.correction(micro, old)
        if self.off_policy_mask:
            assert micro.advantages is not None
            weight = weight * self.off_policy_mask(micro, logp.detach(), micro.advantages)
        return weight

    def _regularisers(
        self, micro: Batch, outputs: Outputs, logp: Tensor, ratio: Tensor, keep: Tensor
    ) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        if self.kl:
            other = self._other(micro, logp)
            to_old = ratio if self.ratio != "none" else torch.ones_like(ratio)
            estimate = self.kl(logp, torch.where(keep, other, 0), to_old)
            parts["kl"] = weighted_sum(_kept(micro.kl_weight, keep), estimate)
        if self.hinge:
            assert micro.old_logprobs is not None
            estimate = self.hinge(logp, torch.where(keep, micro.old_logprobs, 0))
            parts["hinge"] = weighted_sum(_kept(micro.kl_weight, keep), estimate)
        if self.entropy:
            assert outputs.entropy is not None
            parts["entropy"] = -self.entropy * weighted_sum(_kept(micro.entropy_weight, keep), outputs.entropy)
        if self.value:
            assert outputs.values is not None and micro.returns is not None
            error = self.value(outputs.values, micro.returns, micro.old_values)
            parts["value"] = weighted_sum(_kept(micro.value_weight, micro.mask), error)
        return parts

    def _other(self, micro: Batch, logp: Tensor) -> Tensor:
        assert self.kl is not None
        by_name = {
            "reference": micro.ref_logprobs,
            "old": micro.old_logprobs if micro.old_logprobs is not None else logp.detach(),
            "rollout": micro.rollout_logprobs,
        }
        other = by_name[self.kl.against]
        assert other is not None, f"the KL term needs log-probs of the {self.kl.against} policy"
        return other

    @no_grad
    def _figures(
        self,
        micro: Batch,
        parts: dict[str, Tensor],
        outputs: Outputs,
        terms: Terms,
        old: Tensor,
        keep: Tensor,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Sums over trained tokens; names after `token/` are divided by their number when a step is reported."""
        logp, ratio, a = terms.logprobs.detach(), terms.ratio.detach(), terms.advantages
        sums = {f"loss/{name}": value.detach() for name, value in parts.items()}
        per_token = {"trained": torch.ones_like(logp)}
        if outputs.entropy is not None:
            per_token["entropy"] = outputs.entropy.detach()
        if self.ratio != "none":
            low, high = self.surrogate.bounds
            difference = log_ratio(logp, old, keep)
            per_token |= {
                "ratio/mean": ratio,
                "clip_frac_low": ((ratio < low) & (a < 0)).to(logp.dtype),
                "clip_frac_high": ((ratio > high) & (a > 0)).to(logp.dtype),
                "ratio/clamped_frac": (difference.abs() > CLAMP).to(logp.dtype),
                "kl_old/k1": -difference.clamp(-CLAMP, CLAMP),
                "kl_old/k3": k3(-difference, torch.zeros_like(difference)),
            }
        if self.value and self.value.clip is not None and micro.old_values is not None and outputs.values is not None:
            moved = (outputs.values.detach() - micro.old_values).abs() > self.value.clip
            per_token["value/clip_frac"] = moved.to(logp.dtype)
        if micro.ref_logprobs is not None:
            reference = torch.where(keep, micro.ref_logprobs, 0)
            per_token |= {"kl_ref/k1": logp - reference, "kl_ref/k3": k3(logp, reference)}
            sums["sequence/kl_ref/sequence"] = torch.where(keep, logp - reference, 0).sum()
            sums["sequence/count"] = (micro.lengths > 0).sum()
        if micro.rollout_logprobs is not None:
            d = mismatch(micro, torch.where(keep, old, 0)).clamp(-CLAMP, CLAMP)
            weight = d.exp()
            per_token |= {"mismatch/k1": -d, "mismatch/k3": weight - d - 1}
            per_token |= {"mismatch/w": weight, "mismatch/w2": weight.square()}
        sums |= {f"token/{name}": torch.where(keep, x, 0).sum() for name, x in per_token.items()}
        sums["masked_infinite"] = (micro.mask & ~keep).sum().to(logp.dtype)
        largest = {"ratio/max": torch.where(keep, ratio, 0).max()} if logp.numel() else {}
        if micro.rollout_logprobs is not None and logp.numel():
            largest["mismatch/max"] = mismatch(micro, torch.where(keep, old, 0)).abs().max()
        return sums, largest


def _is_ours(surrogate: object) -> bool:
    return isinstance(surrogate, Surrogate)


def _without_infinite(update: Batch, live: Tensor) -> Batch:
    """Losses in log pi itself leave out tokens of log-prob -inf, and count them (specification 0.6)."""
    infinite = update.mask & (live == -float("inf"))
    count = int(infinite.sum())
    if not count:
        return update
    return replace(update, mask=update.mask & ~infinite, report={**update.report, "masked_infinite_live": float(count)})


def name_of(part: object) -> str:
    """What a part of an objective is called: its `kind`, or of one's own the name of its class or function."""
    name = getattr(part, "kind", None) or getattr(part, "mode", None) or getattr(part, "__name__", None)
    return str(name or type(part).__name__)


def _kept(weight: Tensor | None, keep: Tensor) -> Tensor:
    assert weight is not None
    return torch.where(keep, weight, weight.new_zeros(()))


def _group_report(batch: Batch) -> dict[str, float]:
    stats = group_moments(batch)
    known = batch.reward[batch.scored]
    report = dict(batch.report)
    if known.numel():
        report |= {
            "reward/mean": float(known.mean()),
            "reward/std": float(known.std()) if known.numel() > 1 else 0.0,
            "reward/min": float(known.min()),
            "reward/max": float(known.max()),
        }
    if batch.n_groups and batch.n_sequences > batch.n_groups:  # groups of one have no spread to speak of
        constant = stats.constant & equal_steps(batch)
        report["frac_zero_std_groups"] = float(constant.to(batch.dtype).mean())
    right = batch.by_group((batch.correct == 1).to(batch.dtype))
    judged = batch.by_group((batch.correct >= 0).to(batch.dtype))
    if bool((judged > 0).any()):
        rate = right[judged > 0] / judged[judged > 0]
        report |= {
            "accuracy": float(right.sum() / judged.sum()),
            "group/all_correct_frac": float((rate == 1).to(batch.dtype).mean()),
            "group/all_wrong_frac": float((rate == 0).to(batch.dtype).mean()),
        }
    report["empty_completions"] = float((batch.lengths == 0).sum())
    return report


def _advantage_report(batch: Batch, advantages: Tensor) -> dict[str, float]:
    chosen = advantages[batch.mask]
    if not chosen.numel():
        return {}
    std = float(chosen.std()) if chosen.numel() > 1 else 0.0
    return {"advantage/mean": float(chosen.mean()), "advantage/std": std}


def _value_report(batch: Batch, returns: Tensor) -> dict[str, float]:
    assert batch.old_values is not None
    values, goal = batch.old_values[batch.mask], returns[batch.mask]
    if not values.numel():
        return {}
    return {
        "value/mean": float(values.mean()),
        "value/explained_variance": float(explained_variance(values, goal)),
        "return/mean": float(goal.mean()),
    }


def _drpo_report(factor: DecoupledReward, batch: Batch, live: Tensor) -> dict[str, float]:
    right, wrong = factor.classes(batch)
    s, w = factor.scores(batch, live), factor.length_weights(batch, right)
    mixed = batch.by_group(right.to(batch.dtype)) > 0
    entropy = -torch.where(right, w * w.clamp(min=1e-30).log(), 0).sum() / mixed.sum().clamp(min=1)
    report = {
        "drpo/mixed_group_frac": float(mixed.to(batch.dtype).mean()),
        "drpo/weight_entropy": float(entropy),
    }
    if bool(right.any()):
        report |= {"drpo/pos_score": float(s[right].mean()), "drpo/neg_score": float(s[wrong].mean())}
    return report
