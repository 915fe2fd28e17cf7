"""Selection: which groups, and which completions of a group, are trained on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from postlude.bounds import Count, CountOrZero, NotNegative, hold
from postlude.data import Completion, Group


@dataclass(frozen=True)
class Mixed:
    """Dynamic sampling (DAPO, 2503.14476 section 3.2): keep a prompt only if some answers are right, some wrong.

    Judged by correctness, before shaping; where that is unknown, by rewards (of answers, or of their steps) that
    differ by more than `tolerance`. The batch is refilled for at most `max_rounds` draws (0: no bound); what is left
    over after a full batch is carried to the next step unless `carry` is off.
    """

    tolerance: NotNegative = 1e-6
    max_rounds: CountOrZero = 10
    """Draws after which a step goes on with what there is; 0 is no limit."""
    carry: bool = True
    kind: Literal["mixed"] = "mixed"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, group: Group) -> Group | None:
        rate = group.solve_rate
        if rate is not None:
            return group if 0 < rate < 1 else None
        steps = [reward for c in group.scored if c.whole is not None for _, reward in c.steps]
        for rewards in ([c.reward for c in group.scored if c.reward is not None], steps):
            if rewards and max(rewards) - min(rewards) > self.tolerance:
                return group
        return None


@dataclass(frozen=True)
class Accepted:
    """Rejection sampling (RFT, 2308.01825): keep accepted completions, without repeats, at most `per_prompt`.

    Accepted: correct, or with a positive reward where correctness is unknown. Repeats are equal texts up to
    white space. The shortest are not preferred: the order of sampling decides.
    """

    per_prompt: Count = 4
    """Most accepted answers of one prompt."""
    unique: bool = True
    """Leave out repeats."""
    kind: Literal["accepted"] = "accepted"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, group: Group) -> Group | None:
        distinct, seen = list[Completion](), set[str]()
        for completion in group.completions:
            good = completion.correct if completion.correct is not None else (completion.reward or 0) > 0
            text = " ".join(completion.text.split())
            if not good or not completion.tokens or (self.unique and text in seen):
                continue
            seen.add(text)
            distinct.append(completion)
        return replace(group, completions=tuple(distinct[: self.per_prompt])) if distinct else None


@dataclass(frozen=True)
class Extremes:
    """Pairs out of groups: the completion with the highest reward and the one with the lowest, the first of equals.

    A group whose rewards differ by `margin` or less gives none.
    """

    margin: NotNegative = 0.0
    kind: Literal["extremes"] = "extremes"

    def __post_init__(self) -> None:
        hold(self)

    def __call__(self, group: Group) -> Group | None:
        usable = [c for c in group.scored if c.tokens]
        if not usable:
            return None
        best, worst = (pick(usable, key=lambda c: c.reward or 0.0) for pick in (max, min))
        if (best.reward or 0.0) - (worst.reward or 0.0) <= self.margin:
            return None
        return replace(group, completions=(best, worst))


Filter = Mixed | Accepted | Extremes


@dataclass(frozen=True)
class Refill:
    """What a refilled draw gave, with counts that add up: drawn = batch + surplus + rejected - carried in."""

    batch: list[Group]
    surplus: list[Group]
    rounds: int
    drawn: list[Group] = field(default_factory=list[Group])
    gave_up: bool = False


async def refill(
    draw: Callable[[], Awaitable[Sequence[Group]]], keep: Mixed, need: int, carried: Sequence[Group] = ()
) -> Refill:
    """Draw until `need` groups pass `keep` or the bound on rounds is reached; the first `need` make the batch."""
    accepted = list(carried)
    drawn: list[Group] = []
    rounds = 0
    while len(accepted) < need and (keep.max_rounds == 0 or rounds < keep.max_rounds):
        fresh = await draw()
        if not fresh:
            break
        rounds += 1
        drawn += fresh
        accepted += [group for group in map(keep, fresh) if group is not None]
    surplus = accepted[need:] if keep.carry else []
    return Refill(accepted[:need], surplus, rounds, drawn, gave_up=len(accepted) < need)
