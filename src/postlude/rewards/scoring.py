"""The scoring of one draw: gates first, async functions while answers are still being generated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from postlude.data import Group
from postlude.rewards import failures
from postlude.rewards.calls import Scores, call
from postlude.rewards.combining import Scored, doors
from postlude.rewards.copies import Answers
from postlude.rewards.recall import recalled

if TYPE_CHECKING:
    from postlude.rewards.compose import Rewards


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
            found = dict(zip([*self._gates, *rest], [*await gated, *others], strict=True))
        finally:
            gated.cancel()
            self.cancel()
        given = [found[i] for i in range(len(found))]
        for member, scores in zip(self._rewards.members, given, strict=True):
            error = failures.too_many(member.spec.label, scores.failures, scores.calls, member.spec.errors)
            if error is not None:
                raise error
        return self._rewards.combine(groups, given, self._measuring)

    def cancel(self) -> None:
        """Stop what is still under way; after `finish` there is nothing."""
        for task in self._tasks.values():
            task.cancel()

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
            except failures.CallFailed as error:
                if not reward.spec.errors:
                    raise failures.stopped(reward.spec.label, error.failure, reward.early) from error.__cause__
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
