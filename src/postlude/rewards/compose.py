"""All rewards of a run: what they need of the data, and how they score groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from postlude.data import Group, Prompt
from postlude.errors import ConfigError
from postlude.rewards.calls import Prefixes, Scores
from postlude.rewards.combining import Combining, Ends, Scored
from postlude.rewards.member import RESERVED, Reward
from postlude.rewards.recall import Memory
from postlude.rewards.scoring import Scoring
from postlude.rewards.spec import RewardSpec, resolve


@dataclass
class Rewards:
    """All rewards of a run."""

    members: list[Reward]
    ends: Ends | None = None
    prefixes: Prefixes | None = None
    """Both are set by whoever knows the tokenizer."""
    correct_above: float | None = None
    """Where no reward says whether an answer is correct, it is if its reward lies above this."""
    warned: bool = False
    """Whether there was a note on a gate that pays."""

    @classmethod
    def of(cls, specs: Sequence[RewardSpec]) -> Rewards:
        """Resolve every spec; collects all problems."""
        problems: list[str] = []
        members: list[Reward] = []
        for spec in specs:
            try:
                members.append(_member(spec))
                problems += members[-1].problems()
            except ConfigError as error:
                problems += error.problems
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

    def missing_columns(self, columns: set[str]) -> list[str]:
        """A problem for each reward whose required arguments the data do not have."""
        problems = []
        for reward in self.members:
            required, _, _ = reward.parameters
            missing = sorted(required - RESERVED - columns)
            wanted = [f"column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"] if missing else []
            one_of = reward.traits.one_of
            if one_of and not columns & set(one_of):
                wanted.append(f"one of the columns {', '.join(map(repr, one_of))}")
            if wanted:
                problems.append(
                    f"reward {reward.spec.label} needs {' and '.join(wanted)}, which the data lack. "
                    f"They have: {', '.join(sorted(columns))}."
                )
        return problems

    def problems_of_rows(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """What a reward says against the row of each prompt before anything is sampled; None where nothing is wrong.

        Asked are the functions with a `check_row(columns) -> str | None`, where the rows have the columns they need.
        """
        columns = {name for p in prompts for name in p.columns} | RESERVED
        members = [m for m in self.members if hasattr(m.function, "check_row") and m.parameters[0] <= columns]
        return [next(filter(None, (_problem_of_row(m, p) for m in members)), None) for p in prompts]

    @property
    def notes(self) -> list[str]:
        """What a reward function says of how it works here (its attribute `note`), a line each."""
        lines = [(r.spec.label, r.traits.note) for r in self.members]
        return [f"reward {label}: {note}" for label, note in lines if isinstance(note, str)]

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
        notes, warning = all_of_it.notes(), all_of_it.warning()
        if warning and not self.warned:
            self.warned = True
            notes.append(warning)
        return Scored(result, all_of_it.metrics(), all_of_it.extra(), all_of_it.counts(), notes)


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
    return replace(member, memory=Memory.of(member))


def _problem_of_row(reward: Reward, prompt: Prompt) -> str | None:
    try:
        return reward.function.check_row(prompt.columns)  # type: ignore[attr-defined]  # its caller has looked
    except Exception as error:  # a user's function can raise anything
        return f"check_row of reward {reward.spec.label} raised {type(error).__name__}: {error}"


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
        means = {f"reward/{name}": sum(v) / len(v) for name, v in columns.items()}
        return cls(means, sum(c.reward is None for c in completions))
