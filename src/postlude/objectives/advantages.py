"""Advantages: `Batch -> [T]`, detached, computed once per drawn batch (DRPO's: once per update, from live scores).

An unscored completion takes no part in any statistic and gets 0; so does a group whose scored rewards are equal
or number fewer than two (specification 0.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from postlude.batch import Batch
from postlude.bounds import Bounds, Count, NotNegative, Positive, Share, Small, hold
from postlude.lazy import torch
from postlude.objectives.along import (
    action_rows,
    at_actions,
    discounted,
    known_reward,
    next_action,
    reference_k1,
    required,
    rewarded,
    token_rewards,
)
from postlude.objectives.terms import Need
from postlude.objectives.weights import indicator

if TYPE_CHECKING:
    from torch import Tensor

STD_EPS = 1e-6
"""Added to a standard deviation (verl's value; TRL 1e-4, OpenRLHF 1e-9)."""
Discount = Annotated[float, Bounds(0, 1, above=True)]
Sharpness = Annotated[float, Bounds(0, 1e9, above=True, infinite=True)]
"""Of DRPO's weights by length; infinity weighs all right answers alike."""


@dataclass(frozen=True)
class Moments:
    """[G] statistics of one number per sequence (or step) over the scored members of each group."""

    count: Tensor
    mean: Tensor
    std: Tensor
    """Divisor count - 1."""
    constant: Tensor
    """True where all values are equal or fewer than two: tested by max == min, not by a small std."""


def moments(values: Tensor, member: Tensor, keep: Tensor, groups: int) -> Moments:
    """Moments of `values` [K] of the groups `member` [K], over entries where `keep` [K]."""
    zero = values.new_zeros(groups)
    masked = torch.where(keep, values, torch.zeros_like(values))
    count = zero.index_add(0, member, keep.to(values.dtype))
    mean = zero.index_add(0, member, masked) / count.clamp(min=1)
    square = torch.where(keep, (values - mean[member]).square(), torch.zeros_like(values))
    std = (zero.index_add(0, member, square) / (count - 1).clamp(min=1)).sqrt()
    infinity = torch.full_like(zero, float("inf"))
    low = infinity.scatter_reduce(0, member, torch.where(keep, values, float("inf")), "amin")
    high = (-infinity).scatter_reduce(0, member, torch.where(keep, values, -float("inf")), "amax")
    return Moments(count, mean, std, (count < 2) | (low == high))


def group_moments(batch: Batch) -> Moments:
    """Moments of the rewards of each group."""
    return moments(known_reward(batch), batch.sequence_group, batch.scored, batch.n_groups)


def equal_steps(batch: Batch) -> Tensor:
    """[G] bool: no rewards of steps that stand at their own tokens, or equal ones."""
    if batch.whole_reward is None or batch.step_reward is None:
        return torch.ones(batch.n_groups, dtype=torch.bool, device=batch.tokens.device)
    return _step_moments(batch, batch.step_reward).constant


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """(A - mean)/sqrt(var + 1e-8) over the masked tokens [T] of the whole batch, divisor N - 1; 0 elsewhere.

    Every token counts once, so a long sequence weighs more than a short one (as in TRL and verl).
    """
    chosen = values[mask]
    if chosen.numel() <= 1:
        return torch.zeros_like(values)
    return torch.where(mask, (values - chosen.mean()) / (chosen.var() + 1e-8).sqrt(), torch.zeros_like(values))


@dataclass(frozen=True)
class Constant:
    """A = 1 on every trained token: SFT, and RFT on accepted completions."""

    kind: Literal["constant"] = "constant"
    needs = frozenset[Need]()

    def __call__(self, batch: Batch) -> Tensor:
        return batch.mask.to(batch.dtype)


@dataclass(frozen=True)
class Reward:
    """A = R - b with b = 0 or the mean reward of the batch: plain REINFORCE."""

    baseline: Literal["none", "batch"] = "none"
    """What is taken off the reward: the batch's mean, or nothing."""
    kind: Literal["reward"] = "reward"
    needs = frozenset[Need]()

    def __call__(self, batch: Batch) -> Tensor:
        reward = known_reward(batch)
        if self.baseline == "batch":
            reward = reward - reward.sum() / batch.scored.sum().clamp(min=1)
        return batch.to_tokens(reward)


@dataclass(frozen=True)
class Indicator:
    """A = 1 for an accepted completion, else 0, without baseline: online RFT (2308.01825)."""

    kind: Literal["indicator"] = "indicator"
    needs = frozenset[Need]()

    def __call__(self, batch: Batch) -> Tensor:
        return batch.to_tokens(indicator(batch))


@dataclass(frozen=True)
class GroupBaseline:
    """A = (R - mean of the group) / (scale + eps), the same on every token.

    `scale`: `group` standard deviation (GRPO, 2402.03300 eq. 3), that of the `batch`, or `none` (Dr. GRPO,
    2503.20783). Divisor n - 1.
    """

    scale: Literal["group", "batch", "none"] = "group"
    """What the difference to the mean is divided by."""
    eps: Small = STD_EPS
    """Added to the deviation."""
    kind: Literal["group_baseline"] = "group_baseline"
    needs = frozenset({Need.GROUP})

    def __call__(self, batch: Batch) -> Tensor:
        return batch.to_tokens(self.per_sequence(batch))

    def per_sequence(self, batch: Batch) -> Tensor:
        """[S]"""
        stats = group_moments(batch)
        centred = known_reward(batch) - stats.mean[batch.sequence_group]
        live = batch.scored & ~stats.constant[batch.sequence_group]
        return torch.where(live, centred / self._scale(batch, stats), torch.zeros_like(centred))

    def _scale(self, batch: Batch, stats: Moments) -> Tensor:
        if self.scale == "none":
            return torch.ones_like(batch.reward)
        if self.scale == "group":
            return stats.std[batch.sequence_group] + self.eps
        scored = batch.reward[batch.scored]
        std = scored.std() if scored.numel() > 1 else scored.new_zeros(())
        return (std + self.eps).expand(batch.n_sequences)


@dataclass(frozen=True)
class LeaveOneOut:
    """A = R - mean of the other scored rewards of the group = n/(n-1) (R - mean) (RLOO, 2402.14740 eq. 7).

    With `kl_coef`, R is first reduced by kl_coef times the sequence's summed k1 to the reference.
    """

    kl_coef: NotNegative = 0.0
    """Of the KL to the reference that is taken off the answer's reward."""
    kind: Literal["leave_one_out"] = "leave_one_out"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"group", "old", "reference"} if self.kl_coef else {"group"})

    def shaped_reward(self, batch: Batch) -> Tensor:
        """[S] reward minus the KL penalty."""
        reward = known_reward(batch)
        if not self.kl_coef:
            return reward
        return reward - self.kl_coef * batch.sum_by_sequence(reference_k1(batch))

    def __call__(self, batch: Batch) -> Tensor:
        reward = self.shaped_reward(batch)
        stats = moments(reward, batch.sequence_group, batch.scored, batch.n_groups)
        factor = stats.count / (stats.count - 1).clamp(min=1)
        member = batch.sequence_group
        advantage = factor[member] * (reward - stats.mean[member])
        return batch.to_tokens(torch.where(batch.scored & ~stats.constant[member], advantage, 0))


@dataclass(frozen=True)
class WhitenedGroupBaseline:
    """A = whiten(R - mean of the group) over the tokens of the batch: REINFORCE++-baseline (2501.03262)."""

    kind: Literal["whitened_group_baseline"] = "whitened_group_baseline"
    needs = frozenset({Need.GROUP})

    def __call__(self, batch: Batch) -> Tensor:
        return whiten(GroupBaseline(scale="none")(batch), batch.mask)


@dataclass(frozen=True)
class RewardToGo:
    """A_t = whiten(sum over k >= t of gamma^(k-t) r_k), r as in `token_rewards` (REINFORCE++, 2501.03262)."""

    gamma: Discount = 1.0
    kl_coef: NotNegative = 0.01
    kind: Literal["reward_to_go"] = "reward_to_go"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"old", "reference"} if self.kl_coef else ())

    def __call__(self, batch: Batch) -> Tensor:
        reward = token_rewards(batch, self.kl_coef)
        return whiten(discounted(batch, reward, self.gamma), batch.mask)


@dataclass(frozen=True)
class GAE:
    """Generalised advantage estimation over action tokens (1506.02438 eq. 16), finite horizon, then whitened.

    delta_t = r_t + gamma V_{t+1} - V_t with V = 0 after the last action token; A_t = sum (gamma lam)^l delta_{t+l}.
    r is that of `token_rewards`. Other tokens are skipped, not discounted across.
    """

    gamma: Discount = 1.0
    """Discount per token: 1, as rewards come at the end."""
    lam: Share = 0.95
    """0 trusts the critic after one token, 1 waits for the reward."""
    kl_coef: NotNegative = 0.05
    """Of the KL to the reference that is taken off each token's reward."""
    whitened: bool = True
    """To mean 0 and deviation 1 over the batch."""
    kind: Literal["gae"] = "gae"

    def __post_init__(self) -> None:
        hold(self)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"values", "old", "reference"} if self.kl_coef else {"values"})

    def unwhitened(self, batch: Batch) -> Tensor:
        """[T] advantages in reward units."""
        values = required(batch.old_values, "values of the critic")
        following = next_action(batch, values)
        delta = token_rewards(batch, self.kl_coef) + self.gamma * following - values
        return discounted(batch, delta, self.gamma * self.lam)

    def __call__(self, batch: Batch) -> Tensor:
        advantages = self.unwhitened(batch)
        return whiten(advantages, batch.mask) if self.whitened else advantages

    def returns(self, batch: Batch) -> Tensor:
        """[T] A_t + V_t before whitening: the critic's target."""
        values = required(batch.old_values, "values of the critic")
        return torch.where(batch.mask, self.unwhitened(batch) + values, torch.zeros_like(values))


@dataclass(frozen=True)
class ProcessSteps:
    """GRPO with process supervision (2402.03300 section 4.1.3): A_t = sum of the standardised rewards of steps
    that end at or after t, the step in progress included.

    All step rewards of a group's scored completions are pooled; fewer than two, or equal ones, give 0.
    """

    eps: Small = STD_EPS
    kind: Literal["process_steps"] = "process_steps"
    needs = frozenset({Need.GROUP, Need.STEPS})

    def standardised(self, batch: Batch) -> Tensor:
        """[T] the standardised reward at each step's last token, 0 elsewhere."""
        reward = required(batch.step_reward, "step rewards")
        here = rewarded(batch, reward)
        value = torch.where(here, reward, torch.zeros_like(reward))
        stats = _step_moments(batch, reward)
        scaled = (value - stats.mean[batch.group]) / (stats.std[batch.group] + self.eps)
        return torch.where(here & ~stats.constant[batch.group], scaled, torch.zeros_like(scaled))

    def __call__(self, batch: Batch) -> Tensor:
        return discounted(batch, at_actions(batch, self.standardised(batch)), 1.0)


@dataclass(frozen=True)
class DecoupledReward:
    """DRPO (2510.04474): +w_i for correct, -p_j for wrong completions, as a detached advantage of a linear surrogate.

    w = softmax over the correct of r_l/lam with r_l = 1 - length/cap; p = softmax over the wrong of s/tau with
    the current scores s: mean log-prob (`likelihood`) or mean ratio to the old policy (`ratio`). Groups with one
    class only get 0. lam = inf is DisCO (2505.12366). The gradient equals that of the boxed loss in the paper.
    """

    lam: Sharpness = 0.1
    tau: Positive = 10.0
    cap: Count | None = None
    """C, the longest response in tokens; filled with the generation limit where it is None."""
    score: Literal["likelihood", "ratio"] = "likelihood"
    kind: Literal["decoupled_reward"] = "decoupled_reward"

    def __post_init__(self) -> None:
        hold(self)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"group", "correct", "old"})

    def classes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[S] bool each: usable correct and wrong completions, of groups that have both."""
        usable = (batch.lengths > 0) & batch.scored
        right, wrong = usable & (batch.correct == 1), usable & (batch.correct == 0)
        both = (batch.by_group(right.to(batch.dtype)) > 0) & (batch.by_group(wrong.to(batch.dtype)) > 0)
        mixed = both[batch.sequence_group]
        return right & mixed, wrong & mixed

    def length_weights(self, batch: Batch, right: Tensor) -> Tensor:
        """[S] w_i, summing to 1 over the `right` completions of each group."""
        if self.cap is None:
            raise ValueError("decoupled_reward needs `cap`, the longest response in tokens")
        length_reward = 1 - batch.lengths / self.cap
        return group_softmax(batch, length_reward / self.lam, right)

    def scores(self, batch: Batch, live: Tensor) -> Tensor:
        """[S] s_i from detached log-probs [T] of the current policy."""
        if self.score == "likelihood":
            return batch.mean_by_sequence(torch.where(torch.isfinite(live), live, torch.zeros_like(live)))
        old = required(batch.old_logprobs, "old log-probs")
        return batch.mean_by_sequence((live - old).clamp(-20, 20).exp())

    def __call__(self, batch: Batch, live: Tensor) -> Tensor:
        right, wrong = self.classes(batch)
        push_down = group_softmax(batch, self.scores(batch, live) / self.tau, wrong)
        return batch.to_tokens(self.length_weights(batch, right) - push_down)

    def value(self, batch: Batch, live: Tensor) -> Tensor:
        """The true value of the boxed loss without its penalty: -(1/P) sum of [sum w s - tau log mean e^(s/tau)]."""
        right, wrong = self.classes(batch)
        s = self.scores(batch, live)
        gain = batch.by_group(self.length_weights(batch, right) * s)
        count = batch.by_group(wrong.to(s.dtype))
        scaled = torch.where(wrong, s / self.tau, torch.full_like(s, -float("inf")))
        top = torch.full_like(gain, -float("inf")).scatter_reduce(0, batch.sequence_group, scaled, "amax")
        top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
        total = batch.by_group(torch.where(wrong, (scaled - top[batch.sequence_group]).exp(), 0))
        mixed = count > 0
        mean_log = torch.where(mixed, top + total.clamp(min=1e-300).log() - count.clamp(min=1).log(), 0)
        return -(gain - self.tau * mean_log).sum() / max(batch.n_groups, 1)


@dataclass(frozen=True)
class DecoupledValue:
    """The critic form of DRPO (specification 9.1): A = omega (R - V(x)) for a correct completion above the
    baseline, R - V(x) otherwise.

    omega = n+ softmax over the correct of r_l/lam, mean 1 and positive, so that length never decides the sign.
    V(x) is the value at the first completion token.
    """

    lam: Sharpness = 0.1
    cap: Count | None = None
    kind: Literal["decoupled_value"] = "decoupled_value"
    needs = frozenset({Need.GROUP, Need.CORRECT, Need.VALUES})

    def __call__(self, batch: Batch) -> Tensor:
        if self.cap is None:
            raise ValueError("decoupled_value needs `cap`, the longest response in tokens")
        right = (batch.correct == 1) & batch.scored & (batch.lengths > 0)
        count = batch.by_group(right.to(batch.dtype))[batch.sequence_group]
        omega = count * group_softmax(batch, (1 - batch.lengths / self.cap) / self.lam, right)
        gap = known_reward(batch) - self._prompt_value(batch)
        return batch.to_tokens(torch.where(right & (gap > 0), omega * gap, gap))

    def _prompt_value(self, batch: Batch) -> Tensor:
        values = required(batch.old_values, "values of the critic")
        rows = action_rows(batch)
        first = rows[:, 0] if rows.shape[1] else rows.new_full((batch.n_sequences,), -1)
        return torch.where(first >= 0, values[first.clamp(min=0)], torch.zeros_like(batch.reward))

    def returns(self, batch: Batch) -> Tensor:
        """[T] the reward: the target of V(x)."""
        return batch.to_tokens(known_reward(batch))


Advantage = (
    Constant
    | Reward
    | Indicator
    | GroupBaseline
    | LeaveOneOut
    | WhitenedGroupBaseline
    | RewardToGo
    | GAE
    | ProcessSteps
    | DecoupledReward
    | DecoupledValue
)


def group_softmax(batch: Batch, x: Tensor, member: Tensor) -> Tensor:
    """[S] softmax of x over the members of each group, in log space; 0 outside."""
    masked = torch.where(member, x, torch.full_like(x, -float("inf")))
    top = torch.full((batch.n_groups,), -float("inf"), dtype=x.dtype, device=x.device)
    top = top.scatter_reduce(0, batch.sequence_group, masked, "amax")[batch.sequence_group]
    weight = torch.where(member, (x - torch.where(member, top, x)).exp(), torch.zeros_like(x))
    total = batch.by_group(weight)[batch.sequence_group]
    return torch.where(member, weight / total.clamp(min=1e-300 if x.dtype == torch.float64 else 1e-30), 0)


def _step_moments(batch: Batch, step_reward: Tensor) -> Moments:
    """Moments of the step rewards of each group, pooled over its completions."""
    here = rewarded(batch, step_reward)
    return moments(torch.where(here, step_reward, 0), batch.group, here, batch.n_groups)
