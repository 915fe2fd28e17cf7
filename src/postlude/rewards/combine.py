"""What several rewards gave becomes one reward, correctness and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from postlude.data import ROLLOUT_FIELDS, Completion, Group
from postlude.errors import RewardError
from postlude.rewards.call import Scores, lost
from postlude.rewards.member import Reward
from postlude.rewards.numbers import used, used_steps
from postlude.runs.stats import mean

Ends = Callable[[Completion, str], list[int]]
"""(answer, separator) -> index of the last token of each step."""


@dataclass(frozen=True)
class Scored:
    """Scored groups, with figures of the draw and what the functions logged."""

    groups: list[Group]
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    """Means and shares."""
    extra: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"])
    """Columns, one entry per completion."""
    counts: dict[str, float] = field(default_factory=dict[str, float])
    """Figures that add up over the draws of a step."""
    notes: list[str] = field(default_factory=list[str])
    chosen: frozenset[str] = frozenset()
    """Those of `metrics` whose names a function chose: ours go first where they meet."""


def doors(gates: Sequence[Reward], given: Sequence[Scores], count: int) -> list[bool | None]:
    """Of each completion: True where it passed every gate, False where one stopped it, None where one abstained."""
    return [_door(gates, [scores.values[i] for scores in given]) for i in range(count)]


def _door(gates: Sequence[Reward], values: Sequence[float | None]) -> bool | None:
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None
    return all(v >= (gate.spec.gate or 0.0) for v, gate in zip(known, gates, strict=True))


@dataclass
class Combining:
    """What each member gave for all completions of a draw, in order."""

    members: Sequence[Reward]
    given: Sequence[Scores]
    sizes: Sequence[int]
    """Completions of each group."""
    ends: Ends | None
    measuring: bool = False
    correct_above: float | None = None
    doors: list[bool | None] = field(init=False)
    used: list[list[float | None]] = field(init=False)
    """The number of each member for each completion that is weighed."""

    def __post_init__(self) -> None:
        pairs = list(zip(self.members, self.given, strict=True))
        gates = [(m, s) for m, s in pairs if m.is_gate]
        self.doors = doors([m for m, _ in gates], [s for _, s in gates], sum(self.sizes))
        shut = [door is False for door in self.doors]
        none = [False] * len(shut)
        self.used = [used(m.spec, s.values, none if m.is_gate else shut, self.sizes, self.measuring) for m, s in pairs]
        self._deciding = _deciding(self.members)
        self._named = [(m.spec.label, s) for m, s in pairs]
        self._stepwise = [
            (m, used_steps(m.spec, s.steps, none if m.is_gate else shut, self.sizes, self.measuring))
            for m, s in pairs
            if m.stepwise and m.spec.weight
        ]
        self._answerwise = [i for i, (m, _) in enumerate(pairs) if not m.stepwise]
        self._weights = [m.spec.weight for m in self.members]
        self._judges = [s.values for m, s in pairs if m.outcome]

    def completion(self, i: int, completion: Completion) -> Completion:
        """Completion `i` with its reward, scores, correctness and step rewards."""
        scores = {label: s.values[i] for label, s in self._named if s.asked[i]}
        reward = self.reward(i)
        scored = replace(completion, reward=reward, scores=scores, correct=self._correct(i, reward))
        if not self._stepwise or reward is None:
            return scored
        return replace(scored, steps=self._steps(completion, i), whole=self._sum(i, self._answerwise))

    def reward(self, i: int) -> float | None:
        """The weighted sum of those that did not abstain; None where a gate, or every reward that decides, did."""
        if self.doors[i] is None or all(self.used[m][i] is None for m in self._deciding):
            return None
        return self._sum(i, range(len(self.members)))

    def _sum(self, i: int, members: Iterable[int]) -> float:
        """The weighted sum of some members, without those that abstained."""
        total = 0.0
        for member in members:
            value = self.used[member][i]
            total += 0.0 if value is None else self._weights[member] * value
        return total

    def _correct(self, i: int, reward: float | None) -> bool | None:
        """By the number as it was given: 1 or more is right, 0 or less is wrong; what a gate stopped is wrong.

        Where that says nothing: by the reward, before any shaping, against the threshold, if there is one.
        """
        judged = bool(self._judges) or self.correct_above is not None
        if not judged or self.doors[i] is None:
            return None
        value = next((values[i] for values in self._judges if values[i] is not None), None)
        if self.doors[i] is False or (value is not None and value <= 0):
            return False
        if value is not None and value >= 1:
            return True
        return None if self.correct_above is None or reward is None else reward > self.correct_above

    def _steps(self, completion: Completion, i: int) -> tuple[tuple[int, float], ...]:
        """(last token, reward) of each step; rewards of steps that end at the same token add up."""
        at: dict[int, float] = {}
        for member, rows in self._stepwise:
            for place, value in zip(self._places(member, completion, rows[i], i), rows[i], strict=True):
                at[place] = at.get(place, 0.0) + member.spec.weight * value
        return tuple(sorted(at.items()))

    def _places(self, member: Reward, completion: Completion, values: Sequence[float], i: int) -> list[int]:
        """The last token of each step. An answer that a gate stopped is one step, if it is any."""
        if not values or (self.doors[i] is False and not member.is_gate):
            return [len(completion.tokens) - 1] * len(values)
        if member.per_token:
            return self._tokens(member, completion, values)
        assert self.ends is not None and member.separator is not None, "steps need to be found in tokens"
        places = self.ends(completion, member.separator)
        if len(places) == len(values):
            return places
        raise RewardError(
            f"reward {member.spec.label} gave {len(values)} step rewards for an answer of {len(places)} steps "
            f"({completion.text[:60]!r}); steps stand between {member.separator!r}, and the argument `steps` holds "
            "them.",
            code="bad-reward-value",
        )

    def _tokens(self, member: Reward, completion: Completion, values: Sequence[float]) -> list[int]:
        if len(values) == len(completion.tokens):
            return [*range(len(values))]
        raise RewardError(
            f"reward {member.spec.label} gave {len(values)} rewards for an answer of {len(completion.tokens)} tokens "
            f"({completion.text[:60]!r}); the arguments `completion_ids` and `prefixes` hold them, the end token too.",
            code="bad-reward-value",
        )

    # ------------------------------------------------------------------------------------------------- figures

    def logged(self) -> dict[str, float]:
        """Means of what the functions logged, under the reward's name."""
        figures: dict[str, float] = {}
        for member, scores in zip(self.members, self.given, strict=True):
            means = {k: v for k, v in scores.metrics.items() if k not in member.traits.summed}
            figures |= {f"{member.spec.label}/{k}": mean(v) for k, v in means.items()}
        return figures

    def metrics(self) -> dict[str, float]:
        """Shares that gates stopped, and what was changed or came out of a cache."""
        figures: dict[str, float] = {}
        for member, scores, column in zip(self.members, self.given, self.used, strict=True):
            label = member.spec.label
            if member.is_gate:
                below = [v is not None and v < (member.spec.gate or 0.0) for v in scores.values]
                figures[f"gate/{label}"] = sum(below) / len(below)
            known = [x for x, asked in zip(column, scores.asked, strict=True) if asked and x is not None]
            if member.spec.shapes and known:
                figures[f"reward/{label}/used"] = mean(known)
            sums = [sum(row) for row, asked in zip(scores.steps, scores.asked, strict=True) if asked and row]
            if member.stepwise and sums:
                figures[f"reward/{label}/sum"] = mean(sums)
            if member.memory is not None and any(scores.asked):
                figures[f"reward/{label}/cached"] = scores.kept / sum(scores.asked)
        return figures

    def counts(self) -> dict[str, float]:
        """Answers that failed calls left without a score, of rewards that may fail; and what functions count."""
        pairs = list(zip(self.members, self.given, strict=True))
        figures = {
            f"reward/{m.spec.label}/errors": float(sum(f.answers for f in s.failures))
            for m, s in pairs
            if m.spec.errors
        }
        for member, scores in pairs:
            sums = {k: v for k, v in scores.metrics.items() if k in member.traits.summed}
            figures |= {f"{member.spec.label}/{k}": float(sum(v)) for k, v in sums.items()}
        return figures

    def notes(self) -> list[str]:
        """What the functions noted, and what failed; each once."""
        pairs = list(zip(self.members, self.given, strict=True))
        failed = [lost(m.spec.label, s.failures, s.calls) for m, s in pairs if s.failures]
        return list(dict.fromkeys([*(note for _, s in pairs for note in s.notes), *failed]))

    def unfit(self) -> dict[str, str]:
        """What was left out of the metrics, by reward and name."""
        sentences: dict[str, str] = {}
        for member, scores in zip(self.members, self.given, strict=True):
            for name, texts in scores.unfit.items():
                many = len(texts) + len(scores.metrics.get(name, ()))
                sentences[f"{member.spec.label}/{name}"] = (
                    f"reward {member.spec.label}: {len(texts)} of {many} values of log_metric({name!r}) are no finite "
                    f"numbers (the first: {texts[0]}); the figure is the mean of the others. This is said once."
                )
        return sentences

    def renamed(self) -> dict[str, str]:
        """What log_extra was given under a name that a row of rollouts/ has already: where it stands."""
        return {
            f"{member.spec.label}/{name}": f"reward {member.spec.label}: log_extra({name!r}) stands in rollouts/ as "
            f"{member.spec.label}/{name}, since {name} is a field of its own there"
            for member, scores in zip(self.members, self.given, strict=True)
            for name in scores.extra
            if name in ROLLOUT_FIELDS
        }

    def warning(self) -> str | None:
        """Where being stopped by a gate pays: the rewards behind it go below the 0 that a stopped answer counts."""
        gate = next((m.spec.label for m in self.members if m.is_gate), None)
        for member, column in zip(self.members, self.used, strict=True):
            usual = member.is_gate or member.spec.normalise or member.spec.weight <= 0
            if gate and not usual and any(v is not None and v < 0 for v in column):
                return (
                    f"reward {member.spec.label} goes below 0 behind the gate {gate}: an answer that the gate stops "
                    "counts 0 there, which is more. Give it a `shift`, or clip it at 0."
                )
        return None

    def extra(self) -> dict[str, list[Any]]:
        """All columns; a second one of a name, or one of a name that rollouts have, carries that of its reward."""
        columns: dict[str, list[Any]] = {}
        for member, scores in zip(self.members, self.given, strict=True):
            for name, values in scores.extra.items():
                while name in columns or name in ROLLOUT_FIELDS:
                    name = f"{member.spec.label}/{name}"
                columns[name] = values
        return columns


def _deciding(members: Sequence[Reward]) -> list[int]:
    """The rewards of which one must have given a number: a gate, or what only measures, does not make a score."""
    for counts in (
        lambda m: m.spec.weight != 0 and not m.is_gate,
        lambda m: not m.is_gate,
        lambda m: True,
    ):
        places = [i for i, m in enumerate(members) if counts(m)]
        if places:
            return places
    return []
