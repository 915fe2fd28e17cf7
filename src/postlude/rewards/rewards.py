"""All rewards of a run: what they need of the data, and how they score the groups of a draw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postlude.data import RESERVED, Group, Prompt
from postlude.errors import ConfigError, Problem
from postlude.rewards.call import CallFailed, Prefixes, Scores, call, copied, stopped, too_many
from postlude.rewards.combine import Combining, Ends, Scored, doors
from postlude.rewards.guard import Guard
from postlude.rewards.member import Answers, Reward
from postlude.rewards.recall import memory_of, recalled
from postlude.rewards.resolve import resolve
from postlude.rewards.spec import RewardSpec
from postlude.runs.stats import beside, mean
from postlude.words import Once, counted

TOGETHER = ("mean", "std", "min", "max")
"""Figures reward/... of the weighted sum, which no single reward may be called like."""


@dataclass
class Rewards:
    """All rewards of a run."""

    members: list[Reward]
    ends: Ends | None = None
    prefixes: Prefixes | None = None
    """Both are set by whoever knows the tokenizer."""
    correct_above: float | None = None
    """Where no reward says whether an answer is correct, it is if its reward lies above this."""
    guard: Guard = field(default_factory=Guard)
    """Around every call."""
    rows: int = 0
    """How many were checked."""
    lacking: Counter[str] = field(default_factory=Counter[str])
    """Reward -> rows that have nothing in a column it needs, and are used."""

    @classmethod
    def of(cls, specs: Sequence[RewardSpec]) -> Rewards:
        """Resolve every spec; collects all problems."""
        problems: list[Problem] = []
        members: list[Reward] = []
        for spec in specs:
            try:
                members.append(_member(spec))
                problems += members[-1].problems()
            except ConfigError as error:
                problems += error.problems
        problems += [
            Problem(
                "reserved-name",
                f"reward {spec.label}: its figure would be reward/{spec.label}, which is that of all rewards together. "
                "Give it another `name`.",
            )
            for spec in specs
            if spec.label in TOGETHER
        ]
        if problems:
            raise ConfigError(problems)
        return cls(_with_judge(members))

    def keep_in(self, folder: Path) -> None:
        """A run begins whose folder this is: caches of `cache: true` lie there. Raises ConfigError where one cannot be.

        A function with a `begin(folder)` hears of it too.
        """
        for member in self.members:
            if member.memory is not None:
                member.memory.open_in(folder)
            if hasattr(member.function, "begin"):
                member.function.begin(folder)  # type: ignore[attr-defined]

    def missing_columns(self, columns: set[str]) -> list[Problem]:
        """A problem for each reward whose required arguments the data do not have."""
        problems: list[Problem] = []
        for reward in self.members:
            required, _, _ = reward.parameters
            missing = sorted(required - reward.reserved - columns)
            wanted = [f"column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"] if missing else []
            one_of = reward.traits.one_of
            if one_of and not columns & set(one_of):
                wanted.append(f"one of the columns {', '.join(map(repr, one_of))}")
            if wanted:
                problems.append(
                    Problem(
                        "missing-column",
                        f"reward {reward.spec.label} needs {' and '.join(wanted)}, which the data lack. "
                        f"They have: {', '.join(sorted(columns))}.",
                    )
                )
        return problems

    def taken_columns(self, columns: Collection[str], where: str, key: str = "data.columns") -> list[Problem]:
        """A problem for each column that no reward can see, since it gets something else under that name."""
        taken: dict[str, list[str]] = {}
        for reward in self.members:
            for name in sorted({*columns} & reward.supplied(columns)):
                taken.setdefault(name, []).append(reward.spec.label)
        return [
            Problem(
                "reserved-name",
                f"{where}: column {name!r} has the name of an argument that postlude itself gives to reward "
                f"{', '.join(labels)}, which would never see the column. Give it another name: "
                f"{key}={{{name}_of_row: {name}}}.",
                key=name,
            )
            for name, labels in taken.items()
        ]

    def problems_of_rows(self, prompts: Sequence[Prompt]) -> list[Problem | None]:
        """What a reward says against the row of each prompt before anything is sampled; None where nothing is wrong.

        Asked are the functions with a `check_row(columns) -> str | None`, where the rows have the columns they need;
        `prompt` is there too. A row that merely lacks what one needs is counted, and is none too few where another
        reward can score it.
        """
        columns = {name for p in prompts for name in p.columns} | RESERVED
        members = [m for m in self.members if m.parameters[0] <= columns]
        self.rows += len(prompts)
        return [self._problem_of_row(members, p) for p in prompts]

    def _problem_of_row(self, members: Sequence[Reward], prompt: Prompt) -> Problem | None:
        answers = [(m, _told_of_row(m, prompt), _lacks(m, prompt)) for m in members]
        able = any(m.spec.weight and not m.is_gate and not problem and not lacks for m, problem, lacks in answers)
        for member, problem, lacks in answers:
            if problem and not (lacks and able and not member.is_gate):
                return problem
        self.lacking.update(m.spec.label for m, _, lacks in answers if lacks)
        return None

    @property
    def columns_read(self) -> set[str]:
        """Columns that these rewards are known to read, where a row has them."""
        return {name for m in self.members for name in (*m.parameters[0], *m.traits.one_of, *m.traits.reads)}

    @property
    def notes(self) -> list[str]:
        """What reward functions say of how they work here (their attribute `note`), for how many rows they have nothing
        to go by, and who decides what is correct."""
        lines = [(r.spec.label, r.traits.note) for r in self.members]
        said = [f"reward {label}: {note}" for label, note in lines if isinstance(note, str)]
        said += [f"reward {r.spec.label}: {remark}" for r in self.members for remark in r.traits.remarks]
        needs = {m.spec.label: ", ".join(m.needs) for m in self.members}
        said += [
            f"reward {label}: {count} of {counted(self.rows, 'row')} have nothing in what it needs ({needs[label]})"
            for label, count in self.lacking.items()
        ]
        if self.correct_above is None:
            return said
        where = "where no reward says it, " if any(r.outcome for r in self.members) else ""
        return [*said, f"{where}an answer is correct if its reward lies above {self.correct_above:g} (correct_above)"]

    async def score(self, groups: Sequence[Group], step: int = 0, steps: int = 0, measuring: bool = False) -> Scored:
        """The groups with reward, scores and correctness filled in.

        The reward is the weighted sum of what did not abstain; it is None (the completion is unscorable) where a gate
        abstained, or every reward that is no gate and has a weight. `measuring` leaves `normalise` out.
        """
        return await Scoring(self, step, steps, measuring).finish(groups)

    def combine(self, groups: Sequence[Group], given: Sequence[Scores], measuring: bool = False) -> Scored:
        """`given`: what each member gave for all completions of the groups, in order."""
        sizes = [len(g.completions) for g in groups]
        all_of_it = Combining(self.members, given, sizes, self.ends, measuring, self.correct_above)
        completions = [all_of_it.completion(i, c) for i, c in enumerate(c for g in groups for c in g.completions)]
        result, start = [], 0
        for group in groups:
            end = start + len(group.completions)
            result.append(replace(group, completions=tuple(completions[start:end])))
            start = end
        figures, logged = all_of_it.metrics(), all_of_it.logged()
        notes = [*all_of_it.notes(), *_once(all_of_it), *self.guard.take_notes()]
        chosen = frozenset(logged) - {*figures}
        return Scored(result, beside(figures, logged), all_of_it.extra(), all_of_it.counts(), notes, chosen)


def _once(draw: Combining) -> list[Once]:
    """Notes that a run gives once."""
    warning = draw.warning()
    every = {**draw.unfit(), **draw.renamed(), **({"gate": warning} if warning else {})}
    return [Once(name, text) for name, text in every.items()]


def _with_judge(members: list[Reward]) -> list[Reward]:
    """Where none is marked to say what is correct, the first that can does: one that is no gate, if there is one."""
    if any(m.outcome for m in members):
        return members
    gates_only = all(m.is_gate for m in members)
    able = [i for i, m in enumerate(members) if m.traits.says_right and (gates_only or not m.is_gate)]
    return [replace(m, outcome=i in able[:1] and m.spec.outcome is None) for i, m in enumerate(members)]


def _member(spec: RewardSpec) -> Reward:
    """A spec with its function. Raises ConfigError."""
    member = Reward(spec, resolve(spec), bool(spec.outcome))
    return replace(member, memory=memory_of(member))


def _lacks(reward: Reward, prompt: Prompt) -> bool:
    """Whether the row has nothing where the reward needs something."""
    empty = [prompt.columns.get(name) is None for name in reward.needs]
    return all(empty) and bool(empty) if reward.traits.one_of else any(empty)


def _told_of_row(reward: Reward, prompt: Prompt) -> Problem | None:
    if not hasattr(reward.function, "check_row"):
        return None
    try:
        columns = {"prompt": prompt.messages, **prompt.columns}
        problem = reward.function.check_row(copied(columns))  # type: ignore[attr-defined]  # its caller has looked
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's function can raise anything
        sentence = f"check_row of reward {reward.spec.label} raised {type(error).__name__}: {error}"
        return Problem("reward-raised", sentence)
    if problem is None or isinstance(problem, Problem):
        return problem
    said = problem if isinstance(problem, str) else f"check_row of reward {reward.spec.label}: {problem!r}"
    return Problem("row-refused", said) if said else None


@dataclass(frozen=True)
class RewardFigures:
    """Means of each reward by itself over a list of groups."""

    by_name: dict[str, float]
    abstained: int

    @classmethod
    def of(cls, groups: Sequence[Group]) -> RewardFigures:
        columns: dict[str, list[float]] = {}
        completions = [c for g in groups for c in g.completions]
        for completion in completions:
            for name, value in completion.scores.items():
                if value is not None:
                    columns.setdefault(name, []).append(value)
        means = {f"reward/{name}": mean(v) for name, v in columns.items()}
        return cls(means, sum(c.reward is None for c in completions))


# -------------------------------------------------------------------------------------------------------- one draw


class Scoring:
    """The scoring of one draw, which may begin before all of it is there.

    An asynchronous reward gets each group as soon as its answers are finished, while others are being generated; a
    plain function gets the whole draw at once. A gate comes before the rewards that are none, and what it stops never
    reaches them; where one of those is asynchronous, gates are called for each group as well.
    """

    def __init__(self, rewards: Rewards, step: int, steps: int, measuring: bool = False) -> None:
        self._rewards, self._step, self._steps, self._measuring = rewards, step, steps, measuring
        self._tasks: dict[int, asyncio.Task[dict[int, Scores]]] = {}
        """Place of the group -> what each reward that is called for single groups gave."""
        members = rewards.members
        self._slots = [asyncio.Semaphore(m.spec.concurrency) for m in members]
        self._gates = [i for i, m in enumerate(members) if m.is_gate]
        behind = any(m.early and not m.is_gate for m in members)
        self._alone = [m.early or (m.is_gate and behind) for m in members]
        """Whether it is called for each group by itself."""

    def add(self, place: int, group: Group) -> None:
        """Group number `place` of the draw is complete: start the rewards that need not wait."""
        if any(self._alone) and group.completions:
            self._tasks[place] = asyncio.ensure_future(self._one(group))

    async def finish(self, groups: Sequence[Group]) -> Scored:
        """All groups of the draw, scored. Raises RewardError where a function fails more often than it may."""
        if not any(g.completions for g in groups):
            return Scored(list(groups))
        for place, group in enumerate(groups):
            if place not in self._tasks:
                self.add(place, group)
        gated = asyncio.ensure_future(together(*(self._all(i, groups, None) for i in self._gates)))
        rest = [i for i in range(len(self._alone)) if i not in self._gates]
        try:
            others = await together(*(self._all(i, groups, gated) for i in rest))
            by_member = dict(zip([*self._gates, *rest], [*await gated, *others], strict=True))
        finally:
            gated.cancel()
            self.cancel()
        scores_of = [by_member[i] for i in range(len(by_member))]
        for member, scores in zip(self._rewards.members, scores_of, strict=True):
            error = too_many(member.spec.label, scores.failures, scores.calls, member.spec.errors)
            if error is not None:
                raise error
        return self._rewards.combine(groups, scores_of, self._measuring)

    def cancel(self) -> None:
        """Stop what is still under way; after `finish` there is nothing."""
        for task in self._tasks.values():
            task.cancel()

    def restart(self) -> None:
        """The groups so far are sampled again."""
        self.cancel()
        self._tasks.clear()

    async def _one(self, group: Group) -> dict[int, Scores]:
        """What can be known of one group by itself: its gates, and then the asynchronous rewards behind them."""
        answers = [(group, c) for c in group.completions]
        gates = [i for i in self._gates if self._alone[i]]
        rest = [i for i, alone in enumerate(self._alone) if alone and i not in gates]
        passed = await together(*(self._call(i, answers) for i in gates))
        shown = self._shown(passed, len(answers)) if rest else []
        others = await together(*(self._shown_to(i, answers, shown) for i in rest))
        return dict(zip([*gates, *rest], [*passed, *others], strict=True))

    async def _all(self, member: int, groups: Sequence[Group], gated: Awaitable[list[Scores]] | None) -> Scores:
        """What one reward gives for the whole draw; `gated`: what the gates before it give."""
        if self._alone[member]:
            total = Scores()
            for part in await asyncio.gather(*(task for _, task in sorted(self._tasks.items()))):
                total.add(part[member])
            return total
        answers = [(g, c) for g in groups for c in g.completions]
        if gated is None:
            return await self._call(member, answers)
        return await self._shown_to(member, answers, self._shown(await gated, len(answers)))

    def _shown(self, gated: Sequence[Scores], count: int) -> list[bool]:
        """Which answers the gates let through."""
        gates = [self._rewards.members[i] for i in self._gates]
        return [door is True for door in doors(gates, gated, count)]

    async def _shown_to(self, member: int, answers: Answers, shown: Sequence[bool]) -> Scores:
        """What a reward gives for the answers it is shown, in the place of each."""
        places = [i for i, s in enumerate(shown) if s]
        if not places:
            return Scores.nothing(len(answers), asked=False)
        if len(places) == len(answers):
            return await self._call(member, answers)
        return (await self._call(member, [answers[i] for i in places])).at(places, len(answers))

    async def _call(self, member: int, answers: Answers) -> Scores:
        reward = self._rewards.members[member]
        if reward.memory is None:
            return await self._ask(member, answers)
        return await recalled(reward, answers, lambda new: self._ask(member, new))

    async def _ask(self, member: int, answers: Answers) -> Scores:
        """One call. One that fails is an error at once, or where some may fail, answers without a score."""
        reward = self._rewards.members[member]
        async with self._slots[member]:
            try:
                return await call(reward, answers, self._step, self._steps, self._rewards.guard, self._rewards.prefixes)
            except CallFailed as error:
                if not reward.spec.errors:
                    raise stopped(reward.spec.label, error.failure, reward.early) from error.__cause__
                lost = Scores.nothing(len(answers))
                lost.calls, lost.failures = 1, [error.failure]
                return lost


async def together(*work: Awaitable[Any]) -> list[Any]:
    """The results of all, in order; where one raises, the others are stopped."""
    tasks = [asyncio.ensure_future(w) for w in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
