"""One call of a reward function: copies of what it is shown, its limit in time, what it gave, how it failed."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, SimpleNamespace
from typing import Any

from postlude.credentials import veiled, veiled_in
from postlude.data import Completion, Group
from postlude.errors import EngineError, RewardError, shown, visible
from postlude.frames import in_words, of_users
from postlude.models.steps import pieces
from postlude.rewards.guard import Guard, TooLong, interrupted, limited
from postlude.rewards.member import Answers, Reward
from postlude.rewards.values import finite, listed, numbers, plain_json, step_numbers
from postlude.words import Once, counted

Prefixes = Callable[[Completion], list[str]]
"""The text of an answer up to and with each of its tokens."""
_FIXED = (str, int, float, bool, NoneType, bytes)
"""Types whose values nobody can change."""


def copied(value: Any) -> Any:
    """A value of its own, lists and dicts throughout. JSON's types are copied by hand: `deepcopy` takes five times as
    long."""
    kind = type(value)
    if kind in _FIXED:
        return value
    if kind is dict:
        return {name: copied(inner) for name, inner in value.items()}
    if kind is list:
        return [copied(inner) for inner in value]
    return deepcopy(value)


def arguments(
    reward: Reward,
    answers: Answers,
    state: SimpleNamespace,
    loggers: Mapping[str, Callable[..., None]],
    prefixes: Prefixes | None,
) -> dict[str, Any]:
    """Those of one call, by name, one entry per answer; none is shared with the run, another call, or another row."""
    available: dict[str, Callable[[], Any]] = {
        "prompts": lambda: [copied(g.prompt.messages) for g, _ in answers],
        "completions": lambda: [_as_given(g, c) for g, c in answers],
        "completion_ids": lambda: [list(c.tokens) for _, c in answers],
        "trainer_state": lambda: state,
        "steps": lambda: [pieces(c.text, reward.separator or "\n") for _, c in answers],
        "prefixes": lambda: [prefixes(c) for _, c in answers] if prefixes else None,
        **{name: lambda log=log: log for name, log in loggers.items()},
    }
    # a column that only some rows have may be missing from all of these
    columns = {name for g, _ in answers for name in g.prompt.columns} | reward.parameters[0]
    reserved = reward.supplied(columns)
    if reward.memory is not None:  # what is kept must not depend on them
        reserved -= {"trainer_state", "completion_ids"}
    _, named, anything = reward.parameters
    result = {name: available[name]() for name in available if name in reserved}
    for name in columns - reserved:
        if anything or name in named:
            result[name] = [copied(g.prompt.columns.get(name)) for g, _ in answers]
    return result


def _as_given(group: Group, completion: Completion) -> Any:
    """An answer in the form of its prompt."""
    if isinstance(group.prompt.messages, str):
        return completion.text
    return [{"role": "assistant", "content": completion.text}]


# --------------------------------------------------------------------------------------------------------- failures


@dataclass(frozen=True)
class Failure:
    """One call that gave nothing."""

    what: str
    """`raised KeyError at my.py line 3: 'a'`, or how long it took."""
    frames: tuple[str, ...]
    """The last lines of the user's own code that were under way, outermost first."""
    answers: int

    @classmethod
    def of(cls, error: BaseException, answers: int) -> Failure:
        """Of what a function raised; of a group of exceptions the first."""
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        frames = of_users(traceback.extract_tb(error.__traceback__))
        where = f" at {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""
        return cls(f"raised {type(error).__name__}{where}: {error}", tuple(in_words(frames)), answers)

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  {line}" for line in self.frames)])


class CallFailed(Exception):
    """A call that raised or timed out; whoever counts the calls of a draw decides what follows."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


def stopped(label: str, failure: Failure, many: bool) -> RewardError:
    """The error of a reward that may not fail at all, with its first failure. `many`: it is called more than once."""
    more = ", and `errors: 0.05` in the recipe lets one call in twenty fail" if many else ""
    return RewardError(
        f"reward {label} {failure}",
        f"Mend the function; it may return None for an answer that it cannot score{more}.",
        code="reward-raised",
    )


def too_many(label: str, failures: Sequence[Failure], calls: int, allowed: float) -> RewardError | None:
    """The error of a reward whose calls failed more often than `errors` allows; None where they did not."""
    if len(failures) <= allowed * calls:
        return None
    answers = sum(f.answers for f in failures)
    return RewardError(
        f"reward {label} failed in {len(failures)} of {calls} calls of this draw ({answers} answers), and errors "
        f"allows {allowed:g} of them. The first {failures[0]}",
        "Mend the function, or what it asks; raise `errors` only if so many failures are usual.",
        code="reward-raised",
    )


def lost(label: str, failures: Sequence[Failure], calls: int) -> str:
    """A note on failures that were allowed."""
    answers = sum(f.answers for f in failures)
    return (
        f"reward {label}: {len(failures)} of {calls} calls failed, {answers} answers were not scored; the first "
        f"{failures[0].what}"
    )


# ------------------------------------------------------------------------------------------------------------- a call


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
        for n, place in enumerate(places):
            result.values[place], result.steps[place] = self.values[n], self.steps[n]
            result.asked[place] = self.asked[n]
            for name, values in self.extra.items():
                result.extra[name][place] = values[n]
        result.log(self)
        return result


def pad_and_extend(columns: dict[str, list[Any]], more: Mapping[str, Sequence[Any]], before: int, new: int) -> None:
    """Add `new` rows to columns of `before` rows; a column that one side lacks is None there."""
    for name in dict.fromkeys([*columns, *more]):  # a set's order is another in every process
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
    returned = await _ask(reward, asked, answers, guard)
    if reward.stepwise:
        result.steps, result.values = step_numbers(reward, returned, answers)
    else:
        result.values = numbers(reward, returned, answers)
        result.steps = [[] for _ in answers]
    for name, values in result.extra.items():
        if len(values) != len(answers):
            raise RewardError(
                f"reward {reward.spec.label} logged {len(values)} values of {name!r} for {len(answers)} completions.",
                code="bad-reward-value",
            )
    return result


async def _ask(reward: Reward, given: Mapping[str, Any], shown_to: Answers, guard: Guard) -> Any:
    """Anything a user's function raises becomes one clear failure; our own cancellation passes through."""
    clock = asyncio.timeout(reward.timeout if reward.early else None)
    label, limit, answers = reward.spec.label, reward.timeout, len(shown_to)
    try:
        with guard.over(label, *_waited_for(reward, shown_to)):
            async with clock:
                with limited(None if reward.early else limit):
                    result = reward.function(**given)
                return await result if inspect.isawaitable(result) else result
    except RewardError:
        raise
    except EngineError as error:  # of a model that a built-in asks: no function is to be mended
        raise RewardError(f"reward {label}: {error}", code=error.code) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():  # we were asked to stop; else it is the function's own doing
            raise
        raise CallFailed(Failure.of(error, answers)) from error
    except BaseException as error:  # also what is no Exception: an exit, a panic of a library in Rust, pytest's skip
        if interrupted(error) or (isinstance(error, GeneratorExit) and not _at_work()):  # somebody stops the run
            raise
        if isinstance(error, TooLong) or (isinstance(error, TimeoutError) and clock.expired()):
            frames = Failure.of(error, answers).frames if isinstance(error, TooLong) else ()
            text = f"took longer than {limit:g} seconds for {answers} answers (`timeout`)"
            raise CallFailed(Failure(text, frames, answers)) from error
        raise CallFailed(Failure.of(error, answers)) from error


def _waited_for(reward: Reward, answers: Answers) -> tuple[str, str]:
    """(who, on what) a watchdog should say is waited for."""
    label, use = reward.spec.label, reward.spec.use
    prompts = list(dict.fromkeys(group.prompt.place or group.prompt.id for group, _ in answers))
    to = f" to {counted(len(prompts), 'prompt')}, the first {visible(prompts[0])}" if prompts else ""
    return f"reward {label}" + (f" ({use})" if use != label else ""), f"{counted(len(answers), 'answer')}{to}"


def _at_work() -> bool:
    """Whether the event loop runs us: a coroutine that is thrown away is closed from elsewhere."""
    try:
        return asyncio.current_task() is not None
    except RuntimeError:
        return False


def _loggers(reward: Reward, result: Scores) -> dict[str, Callable[..., None]]:
    """What a function logs with, into `result`: keys of services are left out."""

    def log_extra(column: str, values: Any) -> None:
        column_values = listed(values)
        if column_values is None:
            raise RewardError(
                f"reward {reward.spec.label} called log_extra({column!r}, {shown(values)}); it takes a list with a "
                "value for each completion.",
                code="bad-reward-value",
            )
        result.extra[veiled(str(column))] = [veiled_in(plain_json(value)) for value in column_values]

    def log_metric(name: str, value: Any) -> None:
        number = finite(value)
        if number is None:
            result.unfit.setdefault(veiled(str(name)), []).append(shown(value))
        else:
            result.metrics.setdefault(veiled(str(name)), []).append(number)

    def log_note(text: str) -> None:
        result.notes.append(Once(text.name, veiled(text)) if isinstance(text, Once) else veiled(str(text)))

    return {"log_extra": log_extra, "log_metric": log_metric, "log_note": log_note}
