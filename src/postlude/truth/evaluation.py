"""What an evaluation of a run takes: answers to the prompts of every held-out set, scored by rewards and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postlude.data import Group, Prompt
from postlude.engines.protocol import Sampler
from postlude.engines.settings import Sampling
from postlude.errors import RewardError
from postlude.evaluate import EVAL_SEED, Report, greedy_and_sampled
from postlude.rewards.numbers import used
from postlude.rewards.rewards import Rewards
from postlude.rollouts.rollout import answer
from postlude.statistics import mean, mean_of_known
from postlude.truth.meter import REWARD, First, Rows, truth_of

Measures = Mapping[str, Sequence[float | None]]
"""Metric -> its number for each answer, in order."""


@dataclass
class Evaluation:
    """What is measured of a policy while it is trained, and what it was at first."""

    sets: Mapping[str, Sequence[Prompt]]
    """Held-out set -> the prompts that are answered."""
    rewards: Rewards
    metrics: Rewards
    sampling: Sampling
    samples: int
    """Sampled answers per prompt, beside the greedy one."""
    trained: bool
    """Whether the rewards are trained on: a method that learns from written answers only measures by them."""
    first: First = field(default_factory=First)

    @property
    def of_truth(self) -> bool:
        """Whether there are figures of truth: of a metric, or of several sets."""
        return bool(self.metrics.members) or len(self.sets) > 1

    async def take(self, sampler: Sampler) -> Report:
        """Greedy and sampled answers to the prompts of all sets together, then each set by itself."""
        prompts = [prompt for some in self.sets.values() for prompt in some]
        report = await greedy_and_sampled(sampler, self.rewards, prompts, self.sampling, self.samples)
        report = replace(report, each=_of_all(report.groups))
        if not self.of_truth:
            return report
        measures, notes = await measured(self.metrics, report.groups)
        if self.rewards.members:
            measures = {**measures, REWARD: [c.reward for g in report.groups for c in g.completions]}
        figures, each, others = self._figures(report.groups, measures)
        return replace(
            report,
            figures={**report.figures, **figures},
            notes=[*dict.fromkeys([*report.notes, *notes, *others])],
            columns={**self._columns(report.groups), **columns_of(measures)},
            each={**report.each, **each},
        )

    def _figures(
        self, groups: Sequence[Group], measures: Measures
    ) -> tuple[dict[str, float], dict[str, list[float | None]], list[str]]:
        """(figures, the number of each prompt behind those of truth/SET/METRIC, what to note)."""
        half = len(groups) // 2
        rows = {label: _by_group(groups, values) for label, values in measures.items()}
        figures: dict[str, float] = {}
        each: dict[str, list[float | None]] = {}
        notes: list[str] = []
        start = 0
        for name, prompts in self.sets.items():
            sampled = slice(half + start, half + start + len(prompts))
            of_set = {label: some[sampled] for label, some in rows.items()}
            of_metrics, note = truth_of(name, [p.id for p in prompts], of_set, self.first, self.trained)
            figures |= of_metrics | _greedy(name, {label: some[start:][: len(prompts)] for label, some in rows.items()})
            figures |= _right(name, groups[sampled]) if self.rewards.members else {}
            each |= {f"truth/{name}/{label}": [mean_of_known(row) for row in some] for label, some in of_set.items()}
            notes += [note] if note else []
            start += len(prompts)
        return figures, each, notes

    def _columns(self, groups: Sequence[Group]) -> dict[str, list[Any]]:
        """Which set an answer of eval.jsonl is to, and how it was sampled."""
        names = [name for name, prompts in self.sets.items() for _ in prompts] * 2
        ways = ["greedy"] * (len(groups) // 2) + ["sampled"] * (len(groups) // 2)
        each = [len(group.completions) for group in groups]
        return {"set": _repeated(names, each), "drawn": _repeated(ways, each)}


async def measured(metrics: Rewards, groups: Sequence[Group]) -> tuple[Measures, list[str]]:
    """(metric -> its numbers after clip, shift, scale and squash; notes). Raises RewardError."""
    if not metrics.members:
        return {}, []
    try:
        scored = await metrics.score(groups, measuring=True)
    except RewardError as error:
        raise RewardError(f"evaluate.metrics: {error}", code=error.code) from error
    completions = [c for g in scored.groups for c in g.completions]
    sizes, shut = [len(g.completions) for g in groups], [False] * len(completions)
    numbers = {
        m.spec.label: used(m.spec, [c.scores.get(m.spec.label) for c in completions], shut, sizes, measuring=True)
        for m in metrics.members
    }
    return numbers, [f"evaluate.metrics: {note}" for note in scored.notes]


def columns_of(measures: Measures) -> dict[str, list[Any]]:
    """The metrics of each answer, for a row of eval.jsonl or sheet.jsonl."""
    labels = [label for label in measures if label != REWARD]
    if not labels:
        return {}
    rows = zip(*(measures[label] for label in labels), strict=True)
    return {"metrics": [dict(zip(labels, row, strict=True)) for row in rows]}


@dataclass(frozen=True)
class SheetOf:
    """A fixed sheet of prompts: answered with the same seed again and again."""

    prompts: Sequence[Prompt]
    answers: int
    rewards: Rewards
    metrics: Rewards
    sampling: Sampling

    async def take(self, sampler: Sampler) -> Report:
        """The answers of the policy as it is; no figure."""
        groups = await answer(sampler, self.prompts, self.answers, self.sampling, EVAL_SEED, "sheet")
        scored = await self.rewards.score(groups, measuring=True)
        measures, notes = await measured(self.metrics, groups)
        numbers = [number for group in groups for number in range(1, len(group.completions) + 1)]
        return Report({}, scored.groups, [*scored.notes, *notes], {"number": numbers, **columns_of(measures)})


def _of_all(groups: Sequence[Group]) -> dict[str, list[float | None]]:
    """Reward and correctness of each prompt, of greedy and of sampled answers, under the names of their figures."""
    half = len(groups) // 2
    parts = {"greedy": groups[:half], "sampled": groups[half:]}
    rewards = {
        f"{n}/reward": [mean_of_known([c.reward for c in g.completions]) for g in some] for n, some in parts.items()
    }
    rates = {
        f"{n}/accuracy": [None if g.solve_rate is None else float(g.solve_rate) for g in some]
        for n, some in parts.items()
    }
    return {**rewards, **rates}


def _by_group(groups: Sequence[Group], values: Sequence[float | None]) -> Rows:
    rows: list[Sequence[float | None]] = []
    start = 0
    for group in groups:
        rows.append(values[start:][: len(group.completions)])
        start += len(group.completions)
    return rows


def _greedy(name: str, rows: Mapping[str, Rows]) -> dict[str, float]:
    """Of the most likely answers; a metric by which none has a score is left out."""
    known = {label: [v for row in one for v in row if v is not None] for label, one in rows.items()}
    return {f"truth/{name}/{label}/greedy": mean(values) for label, values in known.items() if values}


def _right(name: str, groups: Sequence[Group]) -> dict[str, float]:
    known = [float(c.correct) for g in groups for c in g.completions if c.correct is not None]
    return {f"truth/{name}/{REWARD}/accuracy": mean(known)} if known else {}


def _repeated(values: Sequence[str], times: Sequence[int]) -> list[Any]:
    return [value for value, count in zip(values, times, strict=True) for _ in range(count)]
