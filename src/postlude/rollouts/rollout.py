"""The policy answering prompts under a reward, as a source of groups."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postlude.data import Completion, Group, Prompt, groups_from_json, groups_to_json
from postlude.engines.protocol import Request, Sampler
from postlude.engines.settings import Sampling
from postlude.errors import EngineError, RewardError
from postlude.exhausted import out_of_memory
from postlude.rewards.call import pad_and_extend
from postlude.rewards.combine import Scored
from postlude.rewards.member import Reward
from postlude.rewards.rewards import RewardFigures, Rewards, Scoring
from postlude.rollouts.filters import Accepted, Extremes, Filter, Mixed, refill
from postlude.rollouts.hacking import patterns
from postlude.rollouts.shaping import HistoryLength, Shaping
from postlude.runs.stats import mean
from postlude.sources.order import Cursor, Mixture
from postlude.sources.source import Drawn
from postlude.words import Once


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
    again: Callable[[], None] | None = None,
) -> list[Group]:
    """`count` completions of each prompt, in the order of the prompts; `on_group` hears of each once it is complete.

    Where memory runs out, they are sampled again under the smaller limits that the sampler then takes, all of them once
    `again` was called; without it the groups that `on_group` heard of stay as they are.
    """
    requests = [
        Request(p.tokens, completion_seed(seed, tag, place, p.id, i))
        for place, p in enumerate(prompts)
        for i in range(count)
    ]
    groups: dict[int, Group] = {}
    while True:
        try:
            await _answer(sampler, prompts, requests, count, sampling, groups, on_group)
            return [groups[place] for place in range(len(prompts))]
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error) or not sampler.give_way(requests, sampling):
                raise
        if again is not None:
            groups = {}
            again()


async def _answer(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    requests: Sequence[Request],
    count: int,
    sampling: Sampling,
    groups: dict[int, Group],
    on_group: Callable[[int, Group], None],
) -> None:
    """Fill in the groups that are not there yet."""
    completions: dict[int, Completion] = {}
    async for index, completion in sampler.sample(requests, sampling):
        completions[index] = completion
        place = index // count
        answers = [completions.get(place * count + i) for i in range(count)]
        if None not in answers and place not in groups:
            groups[place] = Group(prompts[place], tuple(c for c in answers if c is not None))
            on_group(place, groups[place])


MOST_UNSCORED = 3
"""Steps in a row that a reward could not score, after which the run stops."""


@dataclass
class RolloutSource:
    """Draws prompts, samples a group for each, scores, shapes and selects.

    State: the cursor over the prompts, groups left over by dynamic sampling, the history of a shaping factor, the steps
    in a row that could not be scored. After a draw that a reward stopped, `state` is that of before the draw together
    with what was sampled in it: a resumed run scores the same answers.
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
    needs_correct: bool = False
    """Whether an answer is of no use while nobody knows if it is correct."""
    carried: list[Group] = field(default_factory=list[Group])
    history: dict[str, Any] = field(default_factory=dict[str, Any])
    unscored: int = 0
    """Steps in a row that were not trained on because a reward abstained too often."""
    waiting: list[list[Group]] = field(default_factory=list[list[Group]])
    """Answers of a draw that a reward stopped, round by round: they are scored again before any are sampled."""
    stopped: dict[str, Any] | None = None
    """The state to save after such a draw."""

    async def draw(self, step: int, steps: int) -> Drawn:
        """The groups of one step; also everything that was sampled for it.

        Raises RewardError where a reward stops the run; `state` is then that of before, as it is where memory ran out
        or a sampler failed.
        """
        before, self.stopped = self.state(), None
        logged = Logged()
        counts = self.cursor.counts()

        async def fresh() -> Sequence[Group]:
            return [self._shape(g) for g in await self._round(step, steps, logged)]

        try:
            drawn = await self._select(fresh, step)
            self._give_up(drawn)
            self._tell_of_neither(drawn)
        except (RewardError, EngineError, MemoryError, RuntimeError) as error:
            if not isinstance(error, RewardError | EngineError) and not out_of_memory(error):
                raise
            self.stopped = before | {"waiting": groups_to_json(*logged.sampled, *self.waiting)}
            raise
        self.waiting = []
        drawn.extra = logged.extra
        drawn.report |= self.cursor.figures(counts) | logged.figures() | patterns(drawn.sampled, self._programs)
        drawn.logged = logged.chosen()
        drawn.notes += dict.fromkeys(logged.notes)
        for shaping in self.shaping:
            if isinstance(shaping, HistoryLength):
                for group in drawn.groups:
                    self.history = shaping.remember(group, self.history)
        return drawn

    async def _round(self, step: int, steps: int, logged: Logged) -> list[Group]:
        """Answers to the next prompts, sampled and scored."""
        chosen = [self.prompts[i] for i in self.cursor.take(self.size)]
        self.on_phase("sample")
        scoring = Scoring(self.rewards, step, steps)
        tag = f"{step}.{len(logged.sampled) + 1}"
        try:
            if self.waiting:
                groups = self.waiting.pop(0)
            else:
                groups = await answer(
                    self.sampler, chosen, self.group_size, self.sampling, self.seed, tag, scoring.add, scoring.restart
                )
            logged.sampled.append(groups)
            self.on_phase("score")
            scored = await scoring.finish(groups)
        finally:
            scoring.cancel()
        logged.add(scored)
        return scored.groups

    @property
    def _programs(self) -> bool:
        """Whether a reward runs what the policy writes."""
        return any(member.spec.use == "code" for member in self.rewards.members)

    def _give_up(self, drawn: Drawn) -> None:
        """Train on nothing of a step that a reward could not score; stop after too many such steps in a row."""
        notes = [n for n in (_abstained(m, drawn.sampled) for m in self.rewards.members) if n]
        remedy = "raise `abstain` of this reward if so much is usual"
        if self.needs_correct and not notes:
            notes, remedy = _undecided(self.rewards, drawn.sampled), "set correct_above"
        self.unscored = self.unscored + 1 if notes else 0
        if not notes:
            return
        drawn.groups, self.carried = [], []
        drawn.notes += [f"{note}: nothing of this step is trained on" for note in notes]
        if self.unscored >= MOST_UNSCORED:
            raise RewardError(
                f"{'; '.join(notes)}. That was so in {self.unscored} steps in a row: look at what it is asked "
                f"(rollouts/ has the answers), or {remedy}.",
                code="reward-abstains",
            )

    def _tell_of_neither(self, drawn: Drawn) -> None:
        """To a method that goes by right and wrong, how many answers are neither; in words once a run."""
        scored = [c for g in drawn.sampled for c in g.scored]
        neither = sum(c.correct is None for c in scored)
        if not self.needs_correct or neither in (0, len(scored)):  # all of them: that was told
            return
        drawn.report["neither_frac"] = neither / len(scored)
        text = (
            f"{neither} of {len(scored)} answers are neither right (1 or more) nor wrong (0 or less), and the method "
            "goes by that: nothing is learnt from them as right or wrong answers. correct_above decides (an answer is "
            "correct if its reward lies above it)"
        )
        drawn.notes.append(Once("neither right nor wrong", text))

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
            notes: list[str] = []
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
            chosen = [g for g in map(self.keep, groups) if g is not None]
            report["kept_frac"] = len(chosen) / max(len(groups), 1)
            notes = [] if chosen else ["all answers of each prompt were equally good: no pair to train on in this step"]
            return Drawn(chosen, groups, report, notes)
        if isinstance(self.keep, Accepted):
            chosen = [g for g in map(self.keep, groups) if g is not None]
            good = sum(len(g.completions) for g in chosen)
            report["acceptance_rate"] = good / max(sum(len(g.completions) for g in groups), 1)
            report["solved_prompts_frac"] = len(chosen) / max(len(groups), 1)
            report["accepted_per_prompt"] = good / max(len(chosen), 1)
            notes = [] if chosen else ["no answer was accepted: nothing to train on in this step"]
            return Drawn(chosen, groups, report, notes)
        return Drawn(groups, groups, report)

    async def settle(self) -> None:
        """Nothing is sampled between draws."""

    def close(self) -> None:
        """Nothing to stop."""

    def state(self) -> dict[str, Any]:
        return self.stopped or {
            **self.cursor.state(),
            "carried": groups_to_json(self.carried),
            "history": self.history,
            "unscored": self.unscored,
            "waiting": groups_to_json(*self.waiting),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self.cursor.restore(state)
        (self.carried,) = groups_from_json(state["carried"], self.prompts)
        self.history = dict(state["history"])
        self.unscored = int(state.get("unscored", 0))
        self.waiting = groups_from_json(state["waiting"], self.prompts) if "waiting" in state else []


@dataclass
class Logged:
    """What was sampled in the rounds of one draw, and what its rewards logged."""

    sampled: list[list[Group]] = field(default_factory=list[list[Group]])
    """Before scoring, round by round."""
    extra: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"])
    notes: list[str] = field(default_factory=list[str])
    _metrics: dict[str, list[float]] = field(default_factory=dict[str, "list[float]"])
    _counts: dict[str, float] = field(default_factory=dict[str, float])
    _chosen: set[str] = field(default_factory=set[str])
    _rows: int = 0

    def add(self, scored: Scored) -> None:
        """One more round."""
        rows = sum(len(g.completions) for g in scored.groups)
        pad_and_extend(self.extra, scored.extra, self._rows, rows)
        self._rows += rows
        self.notes += scored.notes
        for name, value in scored.counts.items():
            self._counts[name] = self._counts.get(name, 0.0) + value
        for name, value in scored.metrics.items():
            self._metrics.setdefault(name, []).append(value)
        self._chosen |= scored.chosen

    def figures(self) -> dict[str, float]:
        """Means over the rounds, and sums of what is counted."""
        return self._means(self._metrics.keys() - self._chosen) | self._counts

    def chosen(self) -> dict[str, float]:
        """The same of figures whose names a reward function chose."""
        return self._means(self._chosen)

    def _means(self, names: Collection[str]) -> dict[str, float]:
        return {name: mean(values) for name, values in self._metrics.items() if name in names}


def _abstained(member: Reward, sampled: Sequence[Group]) -> str | None:
    """What a reward abstained on, where that is more than it may."""
    label = member.spec.label
    values = [c.scores[label] for g in sampled for c in g.completions if label in c.scores]
    missing = sum(value is None for value in values)
    decides = member.spec.weight != 0 and not member.is_gate
    if not values or (missing / len(values) <= member.most_abstained and not (decides and missing == len(values))):
        return None
    if missing == len(values):
        return f"reward {label} could score none of {missing} answers"
    return (
        f"reward {label} could not score {missing} of {len(values)} answers, more than the share of "
        f"{member.most_abstained:g} that it may abstain on (`abstain`)"
    )


def _undecided(rewards: Rewards, sampled: Sequence[Group]) -> list[str]:
    """That nothing said of any answer whether it is correct, to a method that must know."""
    scored = [c for g in sampled for c in g.scored]
    if not scored or any(c.correct is not None for c in scored):
        return []
    judge = next((m.spec.label for m in rewards.members if m.outcome), "none")
    return [
        f"reward {judge} called none of {len(scored)} answers right (1 or more) or wrong (0 or less), which the method "
        "must know (with `correct_above` an answer is correct if its reward lies above that)"
    ]


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
        report["undecided"] = float(sum(c.correct is None for c in completions))
        report["sampled_accuracy"] = sum(known) / len(known)
        right = [c.length for c in completions if c.correct]
        wrong = [c.length for c in completions if c.correct is False]
        if right:
            report["completion_length/correct"] = sum(right) / len(right)
        if wrong:
            report["completion_length/wrong"] = sum(wrong) / len(wrong)
    return report
