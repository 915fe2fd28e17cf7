"""Calling one reward function once: its arguments, its limit in time, and checks of what it gave."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from postlude.data import Completion, Group
from postlude.errors import RewardError
from postlude.models.steps import pieces
from postlude.rewards.failures import CallFailed, Failure
from postlude.rewards.member import RESERVED, Reward

Answers = Sequence[tuple[Group, Completion]]
"""Completions, each with the group it belongs to."""
Prefixes = Callable[[Completion], list[str]]
"""The text of an answer up to and with each of its tokens."""


@dataclass
class Scores:
    """What one reward gave for a list of completions, and what it logged. Lists have one entry per completion."""

    values: list[float | None] = field(default_factory=list["float | None"])
    """Of whole answers; None where it abstained or was not asked."""
    steps: list[list[float]] = field(default_factory=list[list[float]])
    """Of the steps of each answer, from a function that rewards those."""
    asked: list[bool] = field(default_factory=list[bool])
    """False where a gate kept the answer from it."""
    extra: dict[str, list[Any]] = field(default_factory=dict[str, "list[Any]"])
    metrics: dict[str, list[float]] = field(default_factory=dict[str, "list[float]"])
    notes: list[str] = field(default_factory=list[str])
    calls: int = 0
    failures: list[Failure] = field(default_factory=list[Failure])
    kept: int = 0
    """How many came out of the cache."""

    @classmethod
    def nothing(cls, count: int, asked: bool = True) -> Scores:
        """For answers that got no number."""
        return cls([None] * count, [[] for _ in range(count)], [asked] * count)

    def add(self, part: Scores) -> None:
        """Append what was given for further completions."""
        pad_and_extend(self.extra, part.extra, len(self.values), len(part.values))
        self.values += part.values
        self.steps += part.steps
        self.asked += part.asked
        self.log(part)

    def log(self, part: Scores) -> None:
        """Take over what is not of single completions."""
        for name, values in part.metrics.items():
            self.metrics.setdefault(name, []).extend(values)
        self.notes += part.notes
        self.failures += part.failures
        self.calls += part.calls
        self.kept += part.kept

    def at(self, places: Sequence[int], count: int) -> Scores:
        """The same among `count` completions, of which only those at `places` were shown to the function."""
        result = Scores.nothing(count, asked=False)
        result.extra = {name: [None] * count for name in self.extra}
        for mine, place in enumerate(places):
            result.values[place], result.steps[place] = self.values[mine], self.steps[mine]
            result.asked[place] = self.asked[mine]
            for name, values in self.extra.items():
                result.extra[name][place] = values[mine]
        result.log(self)
        return result


def pad_and_extend(columns: dict[str, list[Any]], more: Mapping[str, Sequence[Any]], before: int, new: int) -> None:
    """Add `new` rows to columns of `before` rows; a column that one side lacks is None there."""
    for name in {*columns, *more}:
        column = columns.setdefault(name, [None] * before)
        column += more.get(name, [None] * new)


async def call(reward: Reward, answers: Answers, step: int, steps: int, prefixes: Prefixes | None = None) -> Scores:
    """What the function gives for some answers. Raises CallFailed where it raised or took too long, RewardError where
    what it gave is no list of finite numbers."""
    result = Scores(asked=[True] * len(answers), calls=1)
    arguments = _arguments(reward, answers, result, SimpleNamespace(global_step=step, max_steps=steps), prefixes)
    given = await _ask(reward, arguments, len(answers))
    if reward.stepwise:
        result.steps, given = _by_steps(reward, given)
    result.values = _checked(reward, given, answers)
    result.steps = result.steps or [[] for _ in answers]
    for name, values in result.extra.items():
        if len(values) != len(answers):
            raise RewardError(
                f"reward {reward.spec.label} logged {len(values)} values of {name!r} for {len(answers)} completions."
            )
    return result


async def _ask(reward: Reward, arguments: Mapping[str, Any], answers: int) -> Any:
    """Anything a user's function raises becomes one clear failure; our own cancellation passes through."""
    clock = asyncio.timeout(reward.timeout)
    try:
        async with clock:
            given = reward.function(**arguments)
            return await given if inspect.isawaitable(given) else given
    except RewardError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # we were asked to stop; else it is the function's own doing
            raise
        raise CallFailed(Failure.of(error, answers)) from error
    except (Exception, SystemExit) as error:
        if isinstance(error, TimeoutError) and clock.expired():
            text = f"took longer than {reward.timeout:g} seconds for {answers} answers (`timeout`)"
            raise CallFailed(Failure(text, (), answers)) from error
        raise CallFailed(Failure.of(error, answers)) from error


def _arguments(
    reward: Reward, answers: Answers, result: Scores, state: SimpleNamespace, prefixes: Prefixes | None
) -> dict[str, Any]:
    required, named, anything = reward.parameters

    def as_given(group: Group, completion: Completion) -> Any:
        if isinstance(group.prompt.messages, str):
            return completion.text
        return [{"role": "assistant", "content": completion.text}]

    available: dict[str, Callable[[], Any]] = {
        "prompts": lambda: [g.prompt.messages for g, _ in answers],
        "completions": lambda: [as_given(g, c) for g, c in answers],
        "completion_ids": lambda: [list(c.tokens) for _, c in answers],
        "trainer_state": lambda: state,
        "steps": lambda: [pieces(c.text, reward.separator or "\n") for _, c in answers],
        "prefixes": lambda: [prefixes(c) for _, c in answers] if prefixes else None,
        "log_extra": lambda: lambda column, values: result.extra.__setitem__(column, list(values)),
        "log_metric": lambda: lambda name, value: result.metrics.setdefault(name, []).append(float(value)),
        "log_note": lambda: lambda text: result.notes.append(str(text)),
    }
    if not reward.per_token:
        del available["prefixes"]
    if "log_note" not in named:  # TRL's functions do not expect it among their `**kwargs`
        del available["log_note"]
    if reward.memory is not None:  # what is kept must not depend on them
        del available["trainer_state"], available["completion_ids"]
    # a column that only some rows have may be missing from all of these
    columns = ({name for g, _ in answers for name in g.prompt.columns} | required) - RESERVED
    for name in columns:
        available[name] = lambda name=name: [g.prompt.columns.get(name) for g, _ in answers]
    return {name: make() for name, make in available.items() if anything or name in named}


def _by_steps(reward: Reward, given: Any) -> tuple[list[list[float]], list[float | None]]:
    """Step rewards of each answer, and a number for the whole; an answer it abstained on has no steps."""
    label = reward.spec.label
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise RewardError(
            f"reward {label} returned {type(given).__name__}; with `steps` or `tokens` it returns a list of lists."
        )
    rows: list[list[float]] = []
    for row in given:
        if row is not None and (not isinstance(row, Sequence) or isinstance(row, str)):
            raise RewardError(
                f"reward {label} returned {row!r} for an answer; with `steps` or `tokens` it gives a list of numbers."
            )
        values = [float(x) for x in row or ()]
        if not all(map(math.isfinite, values)):
            raise RewardError(f"reward {label} returned step rewards {values}; return finite numbers.")
        rows.append(values)
    return rows, [None if row is None else reward.whole(r) for row, r in zip(given, rows, strict=True)]


def _checked(reward: Reward, given: Any, answers: Answers) -> list[float | None]:
    label = reward.spec.label
    values = given.tolist() if hasattr(given, "tolist") else given  # arrays and tensors
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise RewardError(f"reward {label} returned {type(given).__name__}; it must return a list of float or None.")
    if len(values) != len(answers):
        raise RewardError(f"reward {label} returned {len(values)} values for {len(answers)} completions.")
    return [_number(reward, value, answer) for value, answer in zip(values, answers, strict=True)]


def _number(reward: Reward, value: Any, answer: tuple[Group, Completion]) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isfinite(number):
        return number
    group, completion = answer
    raise RewardError(
        f"reward {reward.spec.label} returned {value!r} for prompt {group.prompt.id} ({group.prompt.text[:60]!r}), "
        f"answer {completion.text[:60]!r}. Return a finite number, or None where it cannot score."
    )
