"""Right answers that a reward can compare only by their own text, and those it cannot compare at all, by the reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from postlude.data import Prompt
from postlude.maths.verify import Verifier
from postlude.rewards.maths import Maths
from postlude.rewards.rewards import Rewards
from postlude.words import counted

PLACES = 10
"""Rows that are named of each reason."""
REASONS = 6
"""Reasons that are named, the most frequent first."""


@dataclass(frozen=True)
class Remark:
    """What is said of one row's right answer."""

    place: str
    """FILE:LINE."""
    gold: str
    reason: str


@dataclass(frozen=True)
class Reason:
    """Right answers with one reason; where it quotes other parts of each, dots stand for them."""

    text: str
    remarks: tuple[Remark, ...]

    @property
    def sentence(self) -> str:
        rows = [one.place.rpartition(":")[2] for one in self.remarks]
        more = ", ..." if len(rows) > PLACES else ""
        first = self.remarks[0].gold
        shown = first if len(first) <= 30 else first[:30] + "..."
        return f"{self.text} ({counted(len(rows), 'row')}: {', '.join(rows[:PLACES])}{more}; first {shown!r})"


def text_only(rewards: Rewards, prompts: Sequence[Prompt]) -> list[Remark]:
    """The right answers that nothing but their own words or notation equals. Only `maths` knows other ways."""
    return [one for v in _verifiers(rewards) for one in _remarks(prompts, v.only_text)]


def unreadable(rewards: Rewards, prompts: Sequence[Prompt]) -> list[Remark]:
    """The right answers of which `maths` says that no answer could be compared with them."""
    return [one for v in _verifiers(rewards) for one in _remarks(prompts, v.problem_of_gold)]


def _verifiers(rewards: Rewards) -> list[Verifier]:
    """One: all read right answers alike."""
    return [m.function.verifier for m in rewards.members if isinstance(m.function, Maths)][:1]


def _remarks(prompts: Sequence[Prompt], ask: Callable[[object], str | None]) -> list[Remark]:
    asked = [(p.place, p.columns.get("answer")) for p in prompts]
    return [Remark(place, str(gold), reason) for place, gold in asked if gold is not None and (reason := ask(gold))]


def by_reason(remarks: Iterable[Remark]) -> list[Reason]:
    """Rows of one reason together, the most frequent first; what a reason quotes may differ."""
    groups: dict[str, list[Remark]] = {}
    for one in remarks:
        groups.setdefault(re.sub(r"'[^']*'|\\\w+|\d+", "...", one.reason), []).append(one)
    alike = [(common, {one.reason for one in some}, some) for common, some in groups.items()]
    reasons = [Reason(common if len(said) > 1 else some[0].reason, tuple(some)) for common, said, some in alike]
    return sorted(reasons, key=lambda reason: -len(reason.remarks))


def sentence(reasons: Sequence[Reason]) -> str:
    """The reasons in one line."""
    left = sum(len(reason.remarks) for reason in reasons[REASONS:])
    rest = [f"{counted(left, 'row')} for {counted(len(reasons) - REASONS, 'other reason')}"] if left else []
    return "; ".join([*(reason.sentence for reason in reasons[:REASONS]), *rest])
