"""Calling one reward function once: its limit in time, and what it gave and logged."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from postlude.errors import RewardError, shown
from postlude.rewards.copies import Answers, Prefixes, arguments
from postlude.rewards.failures import CallFailed, Failure
from postlude.rewards.given import finite, listed, numbers, plain_json, step_numbers
from postlude.rewards.guard import Guard
from postlude.rewards.member import Reward
from postlude.rewards.waits import TooLong


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
    unfit: dict[str, list[str]] = field(default_factory=dict[str, "list[str]"])
    """What was logged as a metric and is no finite number, as it is shown."""
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
        for name, texts in part.unfit.items():
            self.unfit.setdefault(name, []).extend(texts)
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


async def call(
    reward: Reward, answers: Answers, step: int, steps: int, guard: Guard, prefixes: Prefixes | None = None
) -> Scores:
    """What the function gives for some answers. Raises CallFailed where it raised or took too long, RewardError where
    what it gave is no list of finite numbers."""
    result = Scores(asked=[True] * len(answers), calls=1)
    state = SimpleNamespace(global_step=step, max_steps=steps)
    asked = arguments(reward, answers, state, _loggers(reward, result), prefixes)
    given = await _ask(reward, asked, len(answers), guard)
    if reward.stepwise:
        result.steps, result.values = step_numbers(reward, given, answers)
    else:
        result.values = numbers(reward, given, answers)
        result.steps = [[] for _ in answers]
    for name, values in result.extra.items():
        if len(values) != len(answers):
            raise RewardError(
                f"reward {reward.spec.label} logged {len(values)} values of {name!r} for {len(answers)} completions.",
                code="bad-reward-value",
            )
    return result


async def _ask(reward: Reward, given: Mapping[str, Any], answers: int, guard: Guard) -> Any:
    """Anything a user's function raises becomes one clear failure; our own cancellation passes through."""
    clock = asyncio.timeout(reward.timeout if reward.early else None)
    label, limit = reward.spec.label, reward.timeout
    try:
        with guard.over(label, answers):
            async with clock:
                with guard.limited(None if reward.early else limit):
                    result = reward.function(**given)
                return await result if inspect.isawaitable(result) else result
    except RewardError:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # we were asked to stop; else it is the function's own doing
            raise
        raise CallFailed(Failure.of(error, answers)) from error
    except (KeyboardInterrupt, GeneratorExit):  # ours: somebody stops the run
        raise
    except BaseException as error:  # also what is no Exception: an exit, a panic of a library in Rust, pytest's skip
        if isinstance(error, TooLong) or (isinstance(error, TimeoutError) and clock.expired()):
            frames = Failure.of(error, answers).frames if isinstance(error, TooLong) else ()
            text = f"took longer than {limit:g} seconds for {answers} answers (`timeout`)"
            raise CallFailed(Failure(text, frames, answers)) from error
        raise CallFailed(Failure.of(error, answers)) from error


def _loggers(reward: Reward, result: Scores) -> dict[str, Callable[..., None]]:
    """What a function logs with, into `result`."""

    def log_extra(column: str, values: Any) -> None:
        found = listed(values)
        if found is None:
            raise RewardError(
                f"reward {reward.spec.label} called log_extra({column!r}, {shown(values)}); it takes a list with a "
                "value for each completion.",
                code="bad-reward-value",
            )
        result.extra[str(column)] = [plain_json(value) for value in found]

    def log_metric(name: str, value: Any) -> None:
        number = finite(value)
        if number is None:
            result.unfit.setdefault(str(name), []).append(shown(value))
        else:
            result.metrics.setdefault(str(name), []).append(number)

    def log_note(text: str) -> None:
        result.notes.append(str(text))

    return {"log_extra": log_extra, "log_metric": log_metric, "log_note": log_note}
