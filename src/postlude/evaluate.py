"""Measuring a policy on held-out prompts: accuracy, pass@k, reward, length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postlude.data import Group, Prompt
from postlude.engines.protocol import Sampler
from postlude.engines.settings import Sampling
from postlude.rewards.rewards import RewardFigures, Rewards
from postlude.rollouts.hacking import agree
from postlude.rollouts.rollout import answer
from postlude.statistics import BEST_OF, best_of_n_gold, clustered, kl_best_of_n

EVAL_SEED = 20_251
"""Held-out answers are sampled with seeds of their own, the same at every evaluation."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Unbiased chance that one of k of n samples is right (Codex, 2107.03374): 1 - C(n-c, k)/C(n, k)."""
    if not 0 < k <= n:
        raise ValueError(f"need 0 < k <= n, got k {k} and n {n}")
    if n - correct < k:
        return 1.0
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


@dataclass(frozen=True)
class Report:
    """Figures and the answers behind them."""

    figures: dict[str, float]
    groups: list[Group]
    notes: list[str] = field(default_factory=list[str])
    """What the rewards noted while they scored them."""
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict[str, "Sequence[Any]"])
    """What a row of eval.jsonl says beside the answer, an entry per answer."""
    each: Mapping[str, Sequence[float | None]] = field(default_factory=dict[str, "Sequence[float | None]"])
    """Figure -> what it is the mean of, an entry per prompt; of the figures whose prompts are kept."""


async def measure(
    sampler: Sampler, rewards: Rewards, prompts: Sequence[Prompt], sampling: Sampling, count: int, prefix: str
) -> Report:
    """Sample `count` answers to each prompt and score them; figures are named `prefix/...`.

    Rewards are not normalised here, so that they can be compared from one measurement to the next.
    """
    groups = await answer(sampler, prompts, count, sampling, EVAL_SEED, prefix)
    scored = await rewards.score(groups, measuring=True)
    ours = {k: v for k, v in scored.metrics.items() if k not in scored.chosen} | scored.counts
    own = {k: v for k, v in ours.items() if k.startswith(("gate/", "reward/"))}
    found = {**figures(scored.groups, count), **own}
    if not rewards.members:  # nobody was to score them
        found = {k: v for k, v in found.items() if k not in ("unscored", "undecided")}
    return Report({f"{prefix}/{k}": v for k, v in found.items()}, scored.groups, scored.notes)


def figures(groups: Sequence[Group], count: int) -> dict[str, float]:
    """Accuracy with its interval, which counts prompts and not answers; pass@k, mean reward of each function, length,
    truncation."""
    completions = [c for g in groups for c in g.completions]
    rewards = [c.reward for c in completions if c.reward is not None]
    lengths = [c.length for c in completions]
    result: dict[str, float] = {
        "length": sum(lengths) / len(lengths),
        "truncated_frac": sum(c.truncated for c in completions) / len(completions),
        "answers": float(len(completions)),
        "unscored": float(len(completions) - len(rewards)),
        "undecided": float(sum(c.correct is None for c in completions)),
    }
    if rewards:
        result["reward"] = sum(rewards) / len(rewards)
    result |= RewardFigures.of(groups).by_name
    agreeing = agree(groups)
    if agreeing is not None:
        result["agree"] = agreeing
    known = [float(c.correct) for c in completions if c.correct is not None]
    if known:
        low, high = clustered(known, [i for i, g in enumerate(groups) for c in g.completions if c.correct is not None])
        result |= {"accuracy": sum(known) / len(known), "accuracy_low": low, "accuracy_high": high}
    judged = [g for g in groups if all(c.correct is not None for c in g.completions)]
    for k in (k for k in BEST_OF if k <= count and judged):
        rates = [pass_at_k(count, sum(bool(c.correct) for c in g.completions), k) for g in judged]
        result[f"pass@{k}"] = sum(rates) / len(rates)
    return result | best_of(groups, count)


def best_of(groups: Sequence[Group], count: int) -> dict[str, float]:
    """Best of k by the reward: mean reward and accuracy of the answer it would pick, and its KL to the policy in nats.

    Unbiased from `count` answers to each prompt; KL = log k - (k-1)/k, an upper bound where rewards tie (section 13).
    Nothing where the reward only says right or wrong: that is pass@k.
    """
    scored = [g for g in groups if len(g.scored) == count and count > 1]
    if not scored or all(c.reward in (0.0, 1.0) for g in scored for c in g.completions):
        return {}
    result: dict[str, float] = {}
    for k in (k for k in BEST_OF if k <= count):
        rewards = [[c.reward or 0.0 for c in g.completions] for g in scored]
        result[f"best_of_{k}/reward"] = sum(best_of_n_gold(r, r, k) for r in rewards) / len(scored)
        judged = [(r, [float(bool(c.correct)) for c in g.completions]) for r, g in zip(rewards, scored, strict=True)]
        if all(c.correct is not None for g in scored for c in g.completions):
            result[f"best_of_{k}/accuracy"] = sum(best_of_n_gold(r, gold, k) for r, gold in judged) / len(scored)
        result[f"best_of_{k}/kl"] = kl_best_of_n(k)
    return result


async def greedy_and_sampled(
    sampler: Sampler, rewards: Rewards, prompts: Sequence[Prompt], sampling: Sampling, samples: int
) -> Report:
    """The two measurements a run takes: the most likely answer, and answers at the training temperature."""
    greedy = await measure(sampler, rewards, prompts, replace(sampling, temperature=0.0), 1, "greedy")
    drawn = await measure(sampler, rewards, prompts, sampling, samples, "sampled")
    notes = list(dict.fromkeys([*greedy.notes, *drawn.notes]))
    return Report({**greedy.figures, **drawn.figures}, [*greedy.groups, *drawn.groups], notes)
