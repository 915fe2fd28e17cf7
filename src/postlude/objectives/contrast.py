"""Objectives over scores of whole completions: the DPO family and reward models.

A score per completion, a link from scores to a loss, weights set once per update. Which completion is preferred
follows from the rewards of the group; equal rewards make no pair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from postlude.batch import Batch
from postlude.bounds import Bounds, Finite, NotNegative, Positive, hold
from postlude.lazy import F, torch
from postlude.objectives.along import action_rows
from postlude.objectives.terms import Loss, Need, Outputs, weighted_sum

if TYPE_CHECKING:
    from torch import Tensor

ScoreKind = Literal["implicit", "implicit_mean", "mean_logprob", "log_odds", "head", "pair_head"]
"""`pair_head` is `head` of a model that reads both answers, one behind the other, and judges the first."""


def _policy(outputs: Outputs) -> Tensor:
    assert outputs.logprobs is not None
    return torch.where(outputs.logprobs == -float("inf"), 0, outputs.logprobs)


def _log_ratio(batch: Batch, outputs: Outputs) -> Tensor:
    assert batch.ref_logprobs is not None, "an implicit reward needs the reference's log-probs"
    return _policy(outputs) - torch.where(batch.mask, batch.ref_logprobs, 0)


def log_odds(mean_logprob: Tensor) -> Tensor:
    """log(p/(1-p)) with p = e^mean_logprob, mean_logprob held at or below -1e-6 (ORPO, 2403.07691 eq. 4)."""
    x = mean_logprob.clamp(max=-1e-6)
    small = x > -math.log(2)
    log1m = torch.where(small, (-torch.expm1(torch.where(small, x, -1.0))).log(), torch.log1p(-x.exp()))
    return x - log1m


def sequence_scores(kind: ScoreKind, batch: Batch, outputs: Outputs) -> Tensor:
    """[S] score of each completion, in nats (`head`: in logits, read at the last trained token)."""
    if kind == "implicit":
        return batch.sum_by_sequence(_log_ratio(batch, outputs))
    if kind == "implicit_mean":
        return batch.mean_by_sequence(_log_ratio(batch, outputs))
    if kind in ("head", "pair_head"):
        assert outputs.scores is not None, "this objective needs a scalar head"
        table = action_rows(batch)
        last = table.max(dim=1).values if table.shape[1] else table.new_full((batch.n_sequences,), -1)
        return torch.where(last >= 0, outputs.scores[last.clamp(min=0)], 0)
    mean = batch.mean_by_sequence(_policy(outputs))
    return log_odds(mean) if kind == "log_odds" else mean


# ---------------------------------------------------------------------------------------------------- pairs


@dataclass(frozen=True)
class Logistic:
    """-log sigmoid(z), z = beta (s_w - s_l) - margin: Bradley-Terry, DPO (2305.18290 eq. 7), SimPO (2405.14734).

    `smoothing` e: -(1-e) log sigmoid(z) - e log sigmoid(-z) (conservative DPO); with `robust` the unbiased form
    [-(1-e) log sigmoid(z) + e log sigmoid(-z)]/(1-2e) (2403.00409). `margin` is added to a margin of the data
    (Llama 2, 2307.09288). `center` adds center (s_w + s_l)^2 (2312.09244).
    """

    beta: Positive = 0.1
    """Scale of the scores' difference: the higher, the closer to the reference the policy stays."""
    smoothing: Annotated[float, Bounds(0, 0.5, below=True)] = 0.0
    """Share of pairs that are labelled the wrong way round."""
    robust: bool = False
    margin: Finite = 0.0
    """By how much the better score must lead."""
    center: NotNegative = 0.0
    kind: Literal["logistic"] = "logistic"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, preferred: Tensor, other: Tensor, margin: Tensor) -> Tensor:
        z = self.beta * (preferred - other) - self.margin - margin
        e = self.smoothing
        against = F.logsigmoid(-z)
        loss = -(1 - e) * F.logsigmoid(z) + (e * against if self.robust else -e * against)
        loss = loss / (1 - 2 * e) if self.robust else loss
        return loss + self.center * (preferred + other).square() if self.center else loss


@dataclass(frozen=True)
class Squared:
    """(s_w - s_l - 1/(2 beta))^2: IPO (2310.12036 eq. 17)."""

    beta: Positive = 0.1
    kind: Literal["squared"] = "squared"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, preferred: Tensor, other: Tensor, margin: Tensor) -> Tensor:
        return (preferred - other - 1 / (2 * self.beta) - margin).square()


@dataclass(frozen=True)
class Hinge:
    """max(0, 1 - beta (s_w - s_l)): SLiC (2305.10425)."""

    beta: Positive = 0.1
    kind: Literal["hinge"] = "hinge"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, preferred: Tensor, other: Tensor, margin: Tensor) -> Tensor:
        return (1 + margin - self.beta * (preferred - other)).clamp(min=0)


@dataclass(frozen=True)
class SoftLogistic:
    """-q log sigmoid(d) - (1-q) log sigmoid(-d) for the two completions of a group, q the first one's reward.

    For labels that are probabilities, as AI feedback gives them (2309.00267).
    """

    kind: Literal["soft_logistic"] = "soft_logistic"

    def __call__(self, first: Tensor, second: Tensor, q: Tensor) -> Tensor:
        d = first - second
        return -q * F.logsigmoid(d) - (1 - q) * F.logsigmoid(-d)


# ------------------------------------------------------------------------------ single completions, lists, steps


@dataclass(frozen=True)
class KTO:
    """desirable: lam_d (1 - sigmoid(beta (s - z0))); undesirable: lam_u (1 - sigmoid(beta (z0 - s))) (2402.01306).

    z0 = max(0, mean of s over mismatched prompt and completion), detached, over the whole update.
    """

    beta: Positive = 0.1
    """As for pairs: the higher, the closer to the reference."""
    lam_desirable: NotNegative = 1.0
    lam_undesirable: NotNegative = 1.0
    kind: Literal["kto"] = "kto"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, score: Tensor, reward: Tensor, offset: float) -> Tensor:
        good = self.lam_desirable * (1 - torch.sigmoid(self.beta * (score - offset)))
        bad = self.lam_undesirable * (1 - torch.sigmoid(self.beta * (offset - score)))
        return torch.where(reward > 0.5, good, bad)


@dataclass(frozen=True)
class Binary:
    """-y log sigmoid(s - b) - (1-y) log sigmoid(b - s), y the reward in [0, 1]: thumbs up or down, soft labels too.

    `shift` is the offset b (BCO, 2404.04656). Also the pair model that reads both answers and outputs one logit.
    """

    shift: Finite = 0.0
    kind: Literal["binary"] = "binary"

    def __call__(self, score: Tensor, reward: Tensor, offset: float) -> Tensor:
        z = score - self.shift
        return -reward * F.logsigmoid(z) - (1 - reward) * F.logsigmoid(-z)


@dataclass(frozen=True)
class PlackettLuce:
    """sum over k < K of LSE(s_k..s_K) - s_k along the ranking, mean over prompts (Plackett 1975; Luce 1959).

    Higher reward ranks first; ties cannot be represented and keep the order of the data.
    """

    kind: Literal["plackett_luce"] = "plackett_luce"


@dataclass(frozen=True)
class Steps:
    """Cross-entropy of the step labels at the last token of each labelled step, mean over steps (2305.20050)."""

    kind: Literal["steps"] = "steps"


PairLink = Logistic | Squared | Hinge | SoftLogistic
PointLink = KTO | Binary
Link = PairLink | PointLink | PlackettLuce | Steps


@dataclass(frozen=True)
class ContrastObjective:
    """score -> link, plus an optional likelihood term on the preferred answers (`nll`, ORPO's).

    A group is one element: with K ranked answers its pairs weigh 1/C each, C their number, and groups weigh
    equally (InstructGPT, 2203.02155 eq. 1); for groups of two this is the mean over pairs. `link_coef` multiplies
    the link's part.
    """

    score: ScoreKind
    """What is compared: log-ratios to the reference, log-probs, or the output of a head."""
    link: Annotated[Link, Field(discriminator="kind")]
    """What is made of two scores."""
    nll: NotNegative = 0.0
    """Coefficient of the likelihood of the preferred answers, beside the comparison."""
    link_coef: NotNegative = 1.0
    """Coefficient of the comparison."""
    kind: Literal["contrast"] = "contrast"

    def __post_init__(self) -> None:
        if self.nll < 0 or (self.nll and self.score in ("head", "pair_head")):
            raise ValueError(f"nll must not be negative, and reward models write nothing: got {self.nll:g}")

    @property
    def keeps_groups(self) -> bool:
        return True

    @property
    def splits_groups(self) -> bool:
        """A pair needs both of its scores in one micro-batch."""
        return False

    @property
    def live(self) -> frozenset[str]:
        """KTO's reference point is measured on the current policy."""
        return frozenset({"policy"} if isinstance(self.link, KTO) else ())

    @property
    def needs(self) -> frozenset[Need]:
        """What the method cannot do without."""
        needs = {Need.REFERENCE} if self.score.startswith("implicit") else set[Need]()
        if self.score in ("head", "pair_head"):
            needs.add(Need.SCORES)
        if isinstance(self.link, KTO):
            needs.add(Need.MISMATCHED)
        return frozenset(needs)

    def wants(self, passes: int) -> frozenset[Need]:
        """What must be known of a draw before `advantages`: the same for any number of optimiser steps."""
        return self.needs

    @property
    def learns_from(self) -> tuple[Literal["pair", "rated", "binary", "steps"], ...]:
        """Kinds of rows whose rewards mean what the link takes them for."""
        if isinstance(self.link, Steps):
            return ("steps",)
        if self.score == "pair_head":
            return ("pair",)
        if isinstance(self.link, KTO | Binary):
            return ("binary", "pair")
        return ("pair",) if isinstance(self.link, SoftLogistic) else ("pair", "rated")

    def advantages(self, batch: Batch) -> Batch:
        """Nothing to prepare: the rewards themselves say who is preferred."""
        return batch

    def weigh(self, update: Batch, live: Outputs | None = None) -> Batch:
        """Find the pairs (or single elements) of an update and give each its weight."""
        if isinstance(self.link, Steps):
            return _weigh_steps(update)
        if isinstance(self.link, PlackettLuce):
            return _weigh_lists(update)
        if isinstance(self.link, KTO | Binary):
            return self._weigh_points(update, live)
        return self._weigh_pairs(update)

    def _weigh_points(self, update: Batch, live: Outputs | None) -> Batch:
        used = _usable(update) & ~update.mismatched
        weight = used.to(update.dtype) / used.sum().clamp(min=1)
        offset = 0.0
        if live is not None and isinstance(self.link, KTO):
            extra = update.mismatched & (update.lengths > 0)
            scores = sequence_scores(self.score, update, live).detach()
            offset = float(scores[extra].mean().clamp(min=0)) if bool(extra.any()) else 0.0
        good = (used & (update.reward > 0.5)).to(update.dtype)
        return replace(
            update, sequence_weight=weight * self.link_coef, offset=offset, policy_weight=self._nll(update, good)
        )

    def _nll(self, update: Batch, preferred: Tensor) -> Tensor | None:
        """[T] weights of the likelihood term: `nll` over the tokens of preferred answers, each as often as it is."""
        if not self.nll:
            return None
        trained = torch.where(update.mask, preferred[update.sequence.clamp(min=0)], 0)
        return self.nll * trained / trained.sum().clamp(min=1)

    def _weigh_pairs(self, update: Batch) -> Batch:
        pairs = _soft_pairs(update) if isinstance(self.link, SoftLogistic) else _ranked_pairs(update)
        member = update.sequence_group[pairs[:, 0]]
        count = torch.bincount(member, minlength=update.n_groups).to(update.dtype)
        weight = 1 / (count[member].clamp(min=1) * (count > 0).sum().clamp(min=1))
        chosen = torch.zeros_like(update.reward).index_add(0, pairs[:, 0], torch.ones_like(weight))
        nll = self._nll(update, chosen)
        return replace(update, pairs=pairs, pair_weight=weight * self.link_coef, policy_weight=nll)

    def loss(self, micro: Batch, outputs: Outputs) -> Loss:
        """The weighted sum over the pairs, elements or steps of one micro-batch."""
        if isinstance(self.link, Steps):
            return _steps_loss(micro, outputs)
        scores = sequence_scores(self.score, micro, outputs)
        if isinstance(self.link, PlackettLuce):
            return _lists_loss(micro, scores)
        if isinstance(self.link, KTO | Binary):
            assert micro.sequence_weight is not None
            weight = torch.where(_infinite(micro, outputs), 0, micro.sequence_weight)
            reward = torch.where(micro.scored, micro.reward, 0)
            total = weighted_sum(weight, self.link(scores, reward, micro.offset))
            sums = {"loss/points": total.detach(), **self._point_figures(micro, scores.detach(), weight)}
            return self._with_nll(micro, outputs, Loss(total, sums))
        return self._pairs_loss(micro, outputs, scores)

    def _with_nll(self, micro: Batch, outputs: Outputs, loss: Loss) -> Loss:
        if micro.policy_weight is None:
            return loss
        nll = weighted_sum(micro.policy_weight, -_policy(outputs))
        return Loss(loss.total + nll, {**loss.sums, "loss/nll": nll.detach()})

    def _point_figures(self, micro: Batch, scores: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Sums over judged answers: how many, and those whose score is on the side of their label."""
        counted, zero = weight > 0, self.link.shift if isinstance(self.link, Binary) else micro.offset
        good = micro.reward > 0.5
        sums = {
            "sequence/count": counted.sum(),
            "sequence/rewards/accuracy": (counted & ((scores > zero) == good)).sum(),
        }
        if isinstance(self.link, KTO):
            sums |= {"sequence/rewards/mean": self.link.beta * torch.where(counted, scores, 0).sum()}
        return {name: x.to(scores.dtype) for name, x in sums.items()}

    def _pairs_loss(self, micro: Batch, outputs: Outputs, scores: Tensor) -> Loss:
        assert micro.pairs is not None and micro.pair_weight is not None
        first, second = micro.pairs[:, 0], micro.pairs[:, 1]
        infinite = _infinite(micro, outputs)
        dropped = infinite[first] | infinite[second]
        weight = torch.where(dropped, 0, micro.pair_weight)
        third = torch.zeros_like(weight) if micro.margin is None else micro.margin[micro.sequence_group[first]]
        if isinstance(self.link, SoftLogistic):
            third = micro.reward[first]
        total = weighted_sum(weight, self.link(scores[first], scores[second], third))  # type: ignore[operator]
        sums = {"loss/pairs": total.detach()}
        sums |= self._figures(micro, outputs, scores.detach(), dropped)
        return self._with_nll(micro, outputs, Loss(total + 0 * scores.sum(), sums))

    def _figures(self, micro: Batch, outputs: Outputs, scores: Tensor, dropped: Tensor) -> dict[str, Tensor]:
        assert micro.pairs is not None
        first, second = micro.pairs[~dropped, 0], micro.pairs[~dropped, 1]
        beta = 1.0 if isinstance(self.link, SoftLogistic | PlackettLuce | Steps | Binary) else self.link.beta
        chosen, rejected = beta * scores[first], beta * scores[second]
        right = (chosen > rejected).to(scores.dtype) + 0.5 * (chosen == rejected).to(scores.dtype)
        per_pair = {
            "count": torch.ones_like(chosen),
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margin": chosen - rejected,
            "rewards/accuracy": right,
        }
        if outputs.logprobs is not None:
            logp = micro.sum_by_sequence(_policy(outputs).detach())
            per_pair |= {"logps/chosen": logp[first], "logps/rejected": logp[second]}
        if self.score.startswith("implicit"):
            per_pair["displaced_frac"] = ((chosen < 0) & (chosen > rejected)).to(scores.dtype)
        sums = {f"pair/{name}": x.sum() for name, x in per_pair.items()}
        return sums | {"dropped_pairs": dropped.sum().to(scores.dtype)}


def _usable(batch: Batch) -> Tensor:
    return batch.scored & (batch.lengths > 0)


def _infinite(batch: Batch, outputs: Outputs) -> Tensor:
    """[S] bool: a trained token has log-prob -inf, so the completion's score means nothing."""
    if outputs.logprobs is None:
        return torch.zeros(batch.n_sequences, dtype=torch.bool, device=batch.reward.device)
    return batch.sum_by_sequence((outputs.logprobs == -float("inf")).to(batch.dtype)) > 0


def _ranked_pairs(batch: Batch) -> Tensor:
    """[M, 2] every (better, worse) pair of usable completions of one group; equal rewards make none."""
    usable = _usable(batch)
    reward, member = batch.reward, batch.sequence_group
    better = (member[:, None] == member[None, :]) & (reward[:, None] > reward[None, :])
    return (better & usable[:, None] & usable[None, :]).nonzero()


def _soft_pairs(batch: Batch) -> Tensor:
    """[M, 2] (first, second) of each group of two usable completions."""
    usable = _usable(batch)
    count = torch.bincount(batch.sequence_group[usable], minlength=batch.n_groups)
    index = torch.arange(batch.n_sequences, device=usable.device)[usable & (count[batch.sequence_group] == 2)]
    return index[torch.argsort(batch.sequence_group[index], stable=True)].reshape(-1, 2)


def _weigh_lists(update: Batch) -> Batch:
    usable = _usable(update)
    ranked = torch.bincount(update.sequence_group[usable], minlength=update.n_groups) > 1
    used = usable & ranked[update.sequence_group]
    return replace(update, sequence_weight=used.to(update.dtype) / ranked.sum().clamp(min=1))


def _lists_loss(micro: Batch, scores: Tensor) -> Loss:
    assert micro.sequence_weight is not None
    total = 0 * scores.sum()
    pairs, right = scores.new_zeros(()), scores.new_zeros(())
    for g in range(micro.n_groups):
        members = ((micro.sequence_group == g) & (micro.sequence_weight > 0)).nonzero().squeeze(1)
        if not members.numel():
            continue
        members = members[torch.argsort(micro.reward[members], descending=True, stable=True)]
        s = scores[members]
        rest = torch.logcumsumexp(s.flip(0), dim=0).flip(0)
        total = total + (micro.sequence_weight[members] * (rest - s))[:-1].sum()
        apart = micro.reward[members][:, None] > micro.reward[members]
        gap = torch.sign(s.detach()[:, None] - s.detach())[apart]
        pairs, right = pairs + apart.sum(), right + (0.5 * (1 + gap)).sum()
    return Loss(total, {"loss/lists": total.detach(), "pair/count": pairs, "pair/rewards/accuracy": right})


def _weigh_steps(update: Batch) -> Batch:
    assert update.step_reward is not None, "a process reward model needs step labels"
    labelled = ~torch.isnan(update.step_reward) & update.mask
    return replace(update, policy_weight=labelled.to(update.dtype) / labelled.sum().clamp(min=1))


def _steps_loss(micro: Batch, outputs: Outputs) -> Loss:
    assert outputs.scores is not None and micro.step_reward is not None and micro.policy_weight is not None
    label = torch.nan_to_num(micro.step_reward)
    loss = -label * F.logsigmoid(outputs.scores) - (1 - label) * F.logsigmoid(-outputs.scores)
    total = weighted_sum(micro.policy_weight, loss)
    labelled = micro.policy_weight > 0
    right = labelled & ((outputs.scores.detach() > 0) == (label > 0.5))
    figures = {"sequence/count": labelled.sum(), "sequence/rewards/accuracy": right.sum()}
    return Loss(total, {"loss/steps": total.detach(), **{k: x.to(total.dtype) for k, x in figures.items()}})
