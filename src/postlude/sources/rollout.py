"""The policy answering prompts under a reward, as a source of groups."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postlude.data import Completion, Group, Prompt, groups_from_json, groups_to_json
from postlude.engines.protocol import Request, Sampler, Sampling
from postlude.rewards.compose import RewardFigures, Rewards, Scored, Scoring, pad_and_extend
from postlude.rewards.length import HistoryLength, Shaping
from postlude.sources.file import Drawn
from postlude.sources.filters import Accepted, Extremes, Filter, Mixed, refill
from postlude.sources.order import Cursor, Mixture


def completion_seed(run_seed: int, *parts: object) -> int:
    """A 64-bit seed from the run's seed and what names the completion (step, prompt, index)."""
    text = ":".join(map(str, (run_seed, *parts)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


async def answer(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    count: int,
    sampling: Sampling,
    seed: int,
    tag: object,
    on_group: Callable[[int, Group], None] = lambda place, group: None,
) -> list[Group]:
    """`count` completions of each prompt, in the order of the prompts; `on_group` hears of each once it is complete."""
    requests = [
        Request(p.tokens, completion_seed(seed, tag, place, p.id, i))
        for place, p in enumerate(prompts)
        for i in range(count)
    ]
    found: dict[int, Completion] = {}
    groups: dict[int, Group] = {}
    async for index, completion in sampler.sample(requests, sampling):
        found[index] = completion
        place = index // count
        mine = [found.get(place * count + i) for i in range(count)]
        if None not in mine:
            groups[place] = Group(prompts[place], tuple(c for c in mine if c is not None))
            on_group(place, groups[place])
    return [groups[place] for place in range(len(prompts))]


@dataclass
class RolloutSource:
    """Draws prompts, samples a group for each, scores, shapes and selects.

    State: the cursor over the prompts, groups left over by dynamic sampling, the history of a shaping factor.
    """

    prompts: list[Prompt]
    sampler: Sampler
    rewards: Rewards
    sampling: Sampling
    size: int
    """Prompts per step."""
    group_size: int
    cursor: Cursor | Mixture
    seed: int
    keep: Filter | None = None
    shaping: tuple[Shaping, ...] = ()
    on_phase: Callable[[str], None] = lambda phase: None
    carried: list[Group] = field(default_factory=list[Group])
    history: dict[str, Any] = field(default_factory=dict[str, Any])

    async def draw(self, step: int, steps: int) -> Drawn:
        """The groups of one step; also everything that was sampled for it."""
        extra: dict[str, list[Any]] = {}
        logged: list[dict[str, float]] = []
        sampled: list[int] = []
        rounds = 0
        before = self.cursor.counts()

        async def fresh() -> Sequence[Group]:
            nonlocal rounds
            rounds += 1
            chosen = [self.prompts[i] for i in self.cursor.take(self.size)]
            self.on_phase("sample")
            scoring = Scoring(self.rewards, step, steps)
            tag = f"{step}.{rounds}"
            try:
                groups = await answer(self.sampler, chosen, self.group_size, self.sampling, self.seed, tag, scoring.add)
                self.on_phase("score")
                scored: Scored = await scoring.finish(groups)
            finally:
                scoring.cancel()
            logged.append(scored.metrics)
            pad_and_extend(extra, scored.extra, sum(sampled), answers := sum(len(g.completions) for g in groups))
            sampled.append(answers)
            return [self._shape(g) for g in scored.groups]

        drawn = await self._select(fresh, step)
        drawn.extra = extra
        drawn.report |= self.cursor.figures(before)
        metrics = {name for row in logged for name in row}
        for name in metrics:
            values = [row[name] for row in logged if name in row]
            drawn.report[name] = sum(values) / len(values)
        for shaping in self.shaping:
            if isinstance(shaping, HistoryLength):
                for group in drawn.groups:
                    self.history = shaping.remember(group, self.history)
        return drawn

    def _shape(self, group: Group) -> Group:
        for shaping in self.shaping:
            group = shaping(group, self.history)
        return group

    async def _select(self, fresh: Callable[[], Any], step: int) -> Drawn:
        if isinstance(self.keep, Mixed):
            result = await refill(fresh, self.keep, self.size, self.carried)
            stale = len(self.carried)
            self.carried = result.surplus
            report = _figures(result.drawn) | {
                "gen_rounds": float(result.rounds),
                "kept_frac": (len(result.batch) + len(result.surplus) - stale) / max(len(result.drawn), 1),
                "stale_groups": float(min(stale, len(result.batch))),
            }
            notes = []
            if result.gave_up:
                rates = [g.solve_rate for g in result.drawn if g.solve_rate is not None]
                solved = f", mean solve rate {sum(rates) / len(rates):.2f}" if rates else ""
                notes.append(
                    f"dynamic sampling gave up after {result.rounds} draws with {len(result.batch)} of {self.size} "
                    f"mixed groups{solved}"
                )
            return Drawn(result.batch, result.drawn, report, notes)
        groups = list(await fresh())
        report = _figures(groups)
        if isinstance(self.keep, Extremes):
            kept = [g for g in map(self.keep, groups) if g is not None]
            report["kept_frac"] = len(kept) / max(len(groups), 1)
            notes = [] if kept else ["all answers of each prompt were equally good: no pair to train on in this step"]
            return Drawn(kept, groups, report, notes)
        if isinstance(self.keep, Accepted):
            kept = [g for g in map(self.keep, groups) if g is not None]
            good = sum(len(g.completions) for g in kept)
            report["acceptance_rate"] = good / max(sum(len(g.completions) for g in groups), 1)
            report["solved_prompts_frac"] = len(kept) / max(len(groups), 1)
            report["accepted_per_prompt"] = good / max(len(kept), 1)
            notes = [] if kept else ["no answer was accepted: nothing to train on in this step"]
            return Drawn(kept, groups, report, notes)
        return Drawn(groups, groups, report)

    async def settle(self) -> None:
        """Nothing is sampled between draws."""

    def close(self) -> None:
        """Nothing to stop."""

    def state(self) -> dict[str, Any]:
        return {
            **self.cursor.state(),
            "carried": groups_to_json(self.carried),
            "history": self.history,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.cursor.restore(state)
        (self.carried,) = groups_from_json(state["carried"], self.prompts)
        self.history = dict(state["history"])


def difficulty(groups: Sequence[Group]) -> dict[str, float]:
    """Shares of prompts solved never, rarely (up to a quarter), sometimes, often (three quarters on), always."""
    rates = [g.solve_rate for g in groups if len(g.completions) > 1 and g.solve_rate is not None]
    if not rates:
        return {}
    count = Counter(
        "never" if r == 0 else "always" if r == 1 else "rarely" if r <= 0.25 else "often" if r >= 0.75 else "sometimes"
        for r in rates
    )
    return {f"difficulty/{k}": count[k] / len(rates) for k in ("never", "rarely", "sometimes", "often", "always")}


def _figures(groups: Sequence[Group]) -> dict[str, float]:
    """What was sampled, before selection."""
    completions = [c for g in groups for c in g.completions]
    if not completions:
        return {}
    lengths = [c.length for c in completions]
    figures = RewardFigures.of(groups)
    known = [c.correct for c in completions if c.correct is not None]
    report = {
        **figures.by_name,
        "completion_length/mean": sum(lengths) / len(lengths),
        "completion_length/min": float(min(lengths)),
        "completion_length/max": float(max(lengths)),
        "truncated_frac": sum(c.truncated for c in completions) / len(completions),
        "samples": float(len(completions)),
        "tokens": float(sum(lengths)),
        "unscored": float(figures.abstained),
    }
    report |= difficulty(groups)
    if known:
        report["sampled_accuracy"] = sum(known) / len(known)
        right = [c.length for c in completions if c.correct]
        wrong = [c.length for c in completions if c.correct is False]
        if right:
            report["completion_length/correct"] = sum(right) / len(right)
        if wrong:
            report["completion_length/wrong"] = sum(wrong) / len(wrong)
    return report
