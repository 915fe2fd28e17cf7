"""Several reward functions become one reward: weights, abstention, checks, and what each gave by itself."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import math
import re
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError, RewardError
from postlude.models.steps import pieces
from postlude.rewards.adapters import FORMS, FromOpenRLHF, FromVerl, is_asynchronous
from postlude.rewards.builtin import BUILT_IN
from postlude.rewards.learned import LearnedReward, StepReward
from postlude.rewards.text import RewardFunction

RESERVED = {
    "prompts",
    "completions",
    "completion_ids",
    "trainer_state",
    "log_extra",
    "log_metric",
    "steps",
}
"""Arguments postlude supplies (TRL's names); they are never looked up as columns."""


@dataclass(frozen=True)
class RewardSpec:
    """One reward of a recipe."""

    use: str
    """A built-in name, `my_rewards.py:fn` or `package.module:name`; with `verl:` or `openrlhf:` before it, theirs."""
    weight: float = 1.0
    outcome: bool | None = None
    """Whether it says if an answer is correct (1 right, 0 wrong). Default: the first reward does."""
    name: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of a built-in."""
    steps: str | None = None
    """Where it is set, the function gives a list for each answer, a number per step; steps stand between this text."""

    @property
    def label(self) -> str:
        return self.name or self.use.rpartition(":")[2]


@dataclass(frozen=True)
class Reward:
    """A reward function with its weight, ready to be called."""

    spec: RewardSpec
    function: RewardFunction
    outcome: bool

    @property
    def separator(self) -> str | None:
        """What stands between the steps it rewards; None where it rewards whole answers."""
        if isinstance(self.function, StepReward):
            return self.spec.steps or self.function.specs[0].separator
        return self.spec.steps

    def whole(self, steps: Sequence[float]) -> float:
        """One number for an answer whose steps were rewarded: their mean, unless the function has another way."""
        if not steps:
            return 0.0
        return self.function.whole(steps) if isinstance(self.function, StepReward) else sum(steps) / len(steps)

    @property
    def early(self) -> bool:
        """Whether it is called for each group by itself, as soon as that is finished: it is asynchronous."""
        inner = self.function.wrapped if isinstance(self.function, FromVerl | FromOpenRLHF) else self.function
        return is_asynchronous(inner)

    @property
    def parameters(self) -> tuple[set[str], set[str], bool]:
        """(required, all, takes anything) names of the function's parameters."""
        found = inspect.signature(self.function).parameters.values()
        named = {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        required = {p.name for p in found if p.name in named and p.default is p.empty}
        return required, named, any(p.kind is p.VAR_KEYWORD for p in found)


def resolve(spec: RewardSpec) -> RewardFunction:
    """The function a spec names. Raises ConfigError with what to do."""
    if ":" not in spec.use:
        if spec.use not in BUILT_IN and Path(spec.use).expanduser().is_dir():
            raise ConfigError(
                f"reward: {spec.use!r} is a folder. A reward model is {{use: model, args: {{path: {spec.use}}}}}, on "
                f"the command line `model` with the arguments '{{path: {spec.use}}}'."
            )
        if spec.use not in BUILT_IN:
            known = ", ".join(BUILT_IN)
            raise ConfigError(
                f"reward: {spec.use!r} is neither a built-in ({known}) nor a path such as my_rewards.py:fn."
            )
        try:
            return BUILT_IN[spec.use](**spec.args)
        except (TypeError, ValueError, re.error) as error:
            raise ConfigError(f"reward {spec.use}: args {dict(spec.args)} do not fit: {error}") from error
    if spec.args:
        raise ConfigError(f"reward {spec.use}: `args` are for built-ins; give your function defaults instead.")
    form, path = _form(spec.use)
    function = load_object(path, "reward")
    if not callable(function):
        raise ConfigError(f"reward: {path!r} is a {type(function).__name__}, not a function.")
    return FORMS[form](function) if form else function


def _form(use: str) -> tuple[str, str]:
    """(`verl` or `openrlhf`, the rest) of a path that starts so; the form is empty for one of our own."""
    form, _, rest = use.partition(":")
    return (form, rest) if form in FORMS and ":" in rest else ("", use)


def load_object(path: str, what: str) -> Any:
    """The object of `file.py:name` or `package.module:name`."""
    where, _, name = path.rpartition(":")
    try:
        module = _module_of_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except FileNotFoundError as error:
        raise ConfigError(f"{what}: file {where!r} does not exist.") from error
    except ImportError as error:
        raise ConfigError(f"{what}: cannot import {where!r}: {error}") from error
    except Exception as error:  # the user's file can raise anything while it is imported
        raise ConfigError(f"{what}: {where!r} raised {type(error).__name__} while being imported: {error}") from error
    if name not in vars(module):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ConfigError(f"{what}: {where!r} has no {name!r}; it has {', '.join(public) or 'no functions'}.")
    return vars(module)[name]


def _module_of_file(path: Path) -> Any:
    path = path.expanduser().resolve()
    if not path.exists():
        raise FileNotFoundError(path)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


@dataclass
class Scores:
    """What one reward function gave for a list of completions, and what it logged."""

    values: list[float | None]
    """Of whole answers."""
    metrics: dict[str, list[float]]
    extra: dict[str, list[Any]]
    steps: list[list[float]] = field(default_factory=list[list[float]])
    """Of the steps of each answer, from a function that rewards those."""


@dataclass(frozen=True)
class Scored:
    """Scored groups, with what the functions logged: means of their metrics, and extra columns per completion."""

    groups: list[Group]
    metrics: dict[str, float]
    extra: dict[str, list[Any]]


@dataclass
class Rewards:
    """All rewards of a run."""

    members: list[Reward]
    ends: Callable[[Completion, str], list[int]] | None = None
    """(answer, separator) -> index of the last token of each step; set by whoever knows the tokenizer."""

    @classmethod
    def of(cls, specs: Sequence[RewardSpec]) -> Rewards:
        """Resolve every spec; collects all problems."""
        problems: list[str] = []
        members: list[Reward] = []
        marked = any(s.outcome for s in specs)
        for i, spec in enumerate(specs):
            outcome = spec.outcome if spec.outcome is not None else (i == 0 and not marked)
            try:
                function = resolve(spec)
                judges = (
                    not isinstance(function, LearnedReward) or spec.outcome
                )  # a score says nothing of right or wrong
                members.append(Reward(spec, function, bool(outcome and judges)))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return cls(members)

    def missing_columns(self, columns: set[str]) -> list[str]:
        """A problem for each reward whose required arguments the data do not have."""
        problems = []
        for reward in self.members:
            required, _, _ = reward.parameters
            missing = sorted(required - RESERVED - columns)
            wanted = [f"column{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))}"] if missing else []
            one_of = getattr(reward.function, "one_of", ())
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
        lines = [(r.spec.label, getattr(r.function, "note", None)) for r in self.members]
        return [f"reward {label}: {note}" for label, note in lines if isinstance(note, str)]

    async def score(self, groups: Sequence[Group], step: int = 0, steps: int = 0) -> Scored:
        """The groups with reward, scores and correctness filled in.

        A completion is unscorable (reward None) when every reward abstained on it; otherwise its reward is the
        weighted sum of those that did not.
        """
        return await Scoring(self, step, steps).finish(groups)

    def combine(self, groups: Sequence[Group], given: Sequence[Scores]) -> Scored:
        """`given`: what each member gave for all completions of the groups, in order."""
        completions = [c for g in groups for c in g.completions]
        scored = [self._scored(c, i, given) for i, c in enumerate(completions)]
        result, start = [], 0
        for group in groups:
            n = len(group.completions)
            result.append(replace(group, completions=tuple(scored[start : start + n])))
            start += n
        logged = {
            f"{r.spec.label}/{k}": sum(v) / len(v)
            for r, s in zip(self.members, given, strict=True)
            for k, v in s.metrics.items()
        }
        extra: dict[str, list[Any]] = {}
        for reward, scores in zip(self.members, given, strict=True):
            for name, values in scores.extra.items():  # a second column of a name carries that of its reward
                extra[name if name not in extra else f"{reward.spec.label}/{name}"] = values
        return Scored(result, logged, extra)

    def _scored(self, completion: Completion, i: int, given: Sequence[Scores]) -> Completion:
        scores: dict[str, float | None] = {}
        total: float | None = None
        correct: bool | None = None
        for reward, column in zip(self.members, given, strict=True):
            value = column.values[i]
            scores[reward.spec.label] = value
            if value is None:
                continue
            total = (total or 0.0) + reward.spec.weight * value
            if reward.outcome and correct is None:
                correct = True if value >= 1 else (False if value <= 0 else None)
        steps = self._steps(completion, i, given)
        return replace(completion, reward=total, scores=scores, correct=correct, steps=steps)

    def _steps(self, completion: Completion, i: int, given: Sequence[Scores]) -> tuple[tuple[int, float], ...]:
        """(last token, reward) of each step; rewards of steps that end at the same token add up."""
        at: dict[int, float] = {}
        for reward, column in zip(self.members, given, strict=True):
            if not column.steps or column.values[i] is None:
                continue
            assert self.ends is not None and reward.separator is not None, "steps need to be found in tokens"
            places, values = self.ends(completion, reward.separator), column.steps[i]
            if len(places) != len(values):
                raise RewardError(
                    f"reward {reward.spec.label} gave {len(values)} step rewards for an answer of {len(places)} steps "
                    f"({completion.text[:60]!r}); steps stand between {reward.separator!r}, and the argument `steps` "
                    "holds them."
                )
            for place, value in zip(places, values, strict=True):
                at[place] = at.get(place, 0.0) + reward.spec.weight * value
        return tuple(sorted(at.items()))

    async def call(self, reward: Reward, flat: Sequence[tuple[Group, Completion]], step: int, steps: int) -> Scores:
        result = Scores([], {}, {})
        arguments = _arguments(reward, flat, result, SimpleNamespace(global_step=step, max_steps=steps))
        try:
            given = reward.function(**arguments)
            if inspect.isawaitable(given):
                given = await given
        except RewardError:
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # we were asked to stop; else it is the function's own doing
                raise
            raise RewardError(_raised(reward, error)) from error
        except (Exception, SystemExit) as error:  # anything a user's function raises becomes one clear error
            raise RewardError(_raised(reward, error)) from error
        if reward.separator is not None:
            result.steps, given = _by_steps(reward, given)
        result.values = _checked(reward, given, flat)
        for name, values in result.extra.items():
            if len(values) != len(flat):
                raise RewardError(
                    f"reward {reward.spec.label} logged {len(values)} values of {name!r} for {len(flat)} completions."
                )
        return result


class Scoring:
    """The scoring of one draw, which may begin before all of it is there.

    An asynchronous reward gets each group as soon as its answers are finished, while others are being generated; a
    plain function gets the whole draw at once.
    """

    def __init__(self, rewards: Rewards, step: int, steps: int) -> None:
        self._rewards, self._step, self._steps = rewards, step, steps
        self._early: dict[tuple[int, int], asyncio.Task[Scores]] = {}
        """(member, place of the group) -> its scores."""

    def add(self, place: int, group: Group) -> None:
        """Group number `place` of the draw is complete: start the rewards that need not wait."""
        for member, reward in enumerate(self._rewards.members):
            if reward.early and group.completions:
                self._early[member, place] = asyncio.ensure_future(self._call(reward, [group]))

    async def finish(self, groups: Sequence[Group]) -> Scored:
        """All groups of the draw, scored."""
        if not any(g.completions for g in groups):
            return Scored(list(groups), {}, {})
        known = {place for _, place in self._early}
        for place, group in enumerate(groups):
            if place not in known:
                self.add(place, group)
        try:
            members = range(len(self._rewards.members))
            given = await asyncio.gather(*(self._all(member, groups) for member in members))
        finally:
            self.cancel()
        return self._rewards.combine(groups, given)

    async def _all(self, member: int, groups: Sequence[Group]) -> Scores:
        """What one reward gives for the whole draw."""
        reward = self._rewards.members[member]
        if not reward.early:
            return await self._call(reward, groups)
        mine = [task for (who, _), task in sorted(self._early.items(), key=lambda item: item[0]) if who == member]
        total = Scores([], {}, {})
        for part in await asyncio.gather(*mine):
            pad_and_extend(total.extra, part.extra, len(total.values), len(part.values))
            total.values += part.values
            total.steps += part.steps
            for name, values in part.metrics.items():
                total.metrics.setdefault(name, []).extend(values)
        return total

    def cancel(self) -> None:
        """Stop what is still under way; after `finish` there is nothing."""
        for task in self._early.values():
            task.cancel()

    def _call(self, reward: Reward, groups: Sequence[Group]) -> Coroutine[Any, Any, Scores]:
        flat = [(g, c) for g in groups for c in g.completions]
        return self._rewards.call(reward, flat, self._step, self._steps)


def pad_and_extend(columns: dict[str, list[Any]], more: Mapping[str, Sequence[Any]], before: int, new: int) -> None:
    """Add `new` rows to columns of `before` rows; a column that one side lacks is None there."""
    for name in {*columns, *more}:
        column = columns.setdefault(name, [None] * before)
        column += more.get(name, [None] * new)


def _arguments(
    reward: Reward, flat: Sequence[tuple[Group, Completion]], result: Scores, state: SimpleNamespace
) -> dict[str, Any]:
    _, named, anything = reward.parameters

    def as_given(group: Group, completion: Completion) -> Any:
        if isinstance(group.prompt.messages, str):
            return completion.text
        return [{"role": "assistant", "content": completion.text}]

    available: dict[str, Callable[[], Any]] = {
        "prompts": lambda: [g.prompt.messages for g, _ in flat],
        "completions": lambda: [as_given(g, c) for g, c in flat],
        "completion_ids": lambda: [list(c.tokens) for _, c in flat],
        "trainer_state": lambda: state,
        "steps": lambda: [pieces(c.text, reward.separator or "\n") for _, c in flat],
        "log_extra": lambda: lambda column, values: result.extra.__setitem__(column, list(values)),
        "log_metric": lambda: lambda name, value: result.metrics.setdefault(name, []).append(float(value)),
    }
    required, _, _ = reward.parameters
    # a column that only some rows have may be missing from all of these
    columns = ({name for g, _ in flat for name in g.prompt.columns} | required) - RESERVED
    for name in columns:
        available[name] = lambda name=name: [g.prompt.columns.get(name) for g, _ in flat]
    return {name: make() for name, make in available.items() if anything or name in named}


def _problem_of_row(reward: Reward, prompt: Prompt) -> str | None:
    try:
        return reward.function.check_row(prompt.columns)  # type: ignore[attr-defined]  # its caller has looked
    except Exception as error:  # a user's function can raise anything
        return f"check_row of reward {reward.spec.label} raised {type(error).__name__}: {error}"


def _raised(reward: Reward, error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    where = f" at {Path(last.filename).name} line {last.lineno}" if last else ""
    return (
        f"reward {reward.spec.label} raised {type(error).__name__}{where}: {error}. Return None for an answer it "
        "cannot score; nothing of this step was trained."
    )


def _by_steps(reward: Reward, given: Any) -> tuple[list[list[float]], list[float | None]]:
    """Step rewards of each answer, and a number for the whole; an answer it abstained on has no steps."""
    label = reward.spec.label
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RewardError(f"reward {label} returned {type(given).__name__}; with `steps` it returns a list of lists.")
    rows: list[list[float]] = []
    for row in given:
        if row is not None and (not isinstance(row, Sequence) or isinstance(row, str)):
            raise RewardError(
                f"reward {label} returned {row!r} for an answer; with `steps` it gives a number per step."
            )
        values = [float(x) for x in row or ()]
        if not all(map(math.isfinite, values)):
            raise RewardError(f"reward {label} returned step rewards {values}; return finite numbers.")
        rows.append(values)
    return rows, [None if row is None else reward.whole(r) for row, r in zip(given, rows, strict=True)]


def _checked(reward: Reward, given: Any, flat: Sequence[tuple[Group, Completion]]) -> list[float | None]:
    label = reward.spec.label
    values = given.tolist() if hasattr(given, "tolist") else given  # arrays and tensors
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise RewardError(f"reward {label} returned {type(given).__name__}; it must return a list of float or None.")
    if len(values) != len(flat):
        raise RewardError(f"reward {label} returned {len(values)} values for {len(flat)} completions.")
    result: list[float | None] = []
    for value, (group, completion) in zip(values, flat, strict=True):
        if value is None:
            result.append(None)
            continue
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise RewardError(
                f"reward {label} returned {value!r} for prompt {group.prompt.id} ({group.prompt.text[:60]!r}), answer "
                f"{completion.text[:60]!r}. Return a finite number, or None where it cannot score."
            )
        result.append(number)
    return result


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
