"""What a reward function gave back, as numbers; whatever is none is told with the answer it was given for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from postlude.data import Completion, Group
from postlude.errors import RewardError, shown
from postlude.rewards.member import Answers, Reward


def finite(value: Any) -> float | None:
    """A finite number (also of numpy, or a tensor of one element) as a float; None for anything else, text too."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # 10**400; a tensor of several elements
        return None
    return number if math.isfinite(number) else None


def listed(value: Any) -> list[Any] | None:
    """A list, a tuple, an array or a tensor as a list; None for anything else, such as text, a dict or a generator."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    return [*plain] if isinstance(plain, Sequence) and not isinstance(plain, str | bytes | bytearray | range) else None


def plain_json(value: Any) -> Any:
    """As a file of JSON lines holds it; what JSON cannot hold becomes text."""
    if value is None or type(value) in (str, bool):
        return value
    try:
        return json.loads(json.dumps(value, default=_plainer, allow_nan=False))
    except (TypeError, ValueError, OverflowError, RecursionError):  # keys that are no text, nan, circles
        return shown(value, 1000)


def _plainer(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def numbers(reward: Reward, given: Any, answers: Answers) -> list[float | None]:
    """A number, or None, for each answer. Raises RewardError where that is not what was given."""
    values = listed(given)
    label = reward.spec.label
    if values is None:
        raise RewardError(
            f"reward {label} returned {type(given).__name__}; it must return a list of float or None, one for each "
            "completion.",
            code="bad-reward-value",
        )
    if len(values) != len(answers):
        raise RewardError(
            f"reward {label} returned {len(values)} values for {len(answers)} completions.", code="bad-reward-value"
        )
    return [_number(label, value, answer) for value, answer in zip(values, answers, strict=True)]


def step_numbers(reward: Reward, given: Any, answers: Answers) -> tuple[list[list[float]], list[float | None]]:
    """Step rewards of each answer, and a number for the whole; an answer it abstained on has no steps."""
    label = reward.spec.label
    values = listed(given)
    if values is None:
        raise RewardError(
            f"reward {label} returned {type(given).__name__}; with `steps` or `tokens` it returns a list of lists.",
            code="bad-reward-value",
        )
    if len(values) != len(answers):
        raise RewardError(
            f"reward {label} returned {len(values)} values for {len(answers)} completions.", code="bad-reward-value"
        )
    rows = [None if v is None else _steps(reward, v, answer) for v, answer in zip(values, answers, strict=True)]
    wholes = [None if row is None else _whole(reward, row, answer) for row, answer in zip(rows, answers, strict=True)]
    return [row or [] for row in rows], wholes


def _whole(reward: Reward, row: list[float], answer: tuple[Group, Completion]) -> float:
    number = finite(reward.whole(row))
    if number is None:
        raise RewardError(
            f"reward {reward.spec.label}: the rewards of {len(row)} {reward.kind} of {_where(answer)} make no finite "
            "number together.",
            code="bad-reward-value",
        )
    return number


def _steps(reward: Reward, value: Any, answer: tuple[Group, Completion]) -> list[float]:
    label, row = reward.spec.label, listed(value)
    if row is None:
        raise RewardError(
            f"reward {label} returned {shown(value)} for {_where(answer)}; with `steps` or `tokens` it gives a list "
            "of numbers, or None for the whole answer.",
            code="bad-reward-value",
        )
    finite_steps = [finite(step) for step in row]
    bad = next((i for i, number in enumerate(finite_steps) if number is None), None)
    if bad is not None:
        raise RewardError(
            f"reward {label} returned {shown(row[bad])} for step {bad + 1} of {len(row)} of {_where(answer)}. Return a "
            "finite number for each step, or None for the whole answer.",
            code="bad-reward-value",
        )
    return [number for number in finite_steps if number is not None]


def _number(label: str, value: Any, answer: tuple[Group, Completion]) -> float | None:
    if value is None:
        return None
    number = finite(value)
    if number is not None:
        return number
    raise RewardError(
        f"reward {label} returned {shown(value)} for {_where(answer)}. Return a finite number, or None where it cannot "
        "score.",
        code="bad-reward-value",
    )


def _where(answer: tuple[Group, Completion]) -> str:
    group, completion = answer
    return f"prompt {group.prompt.id} ({group.prompt.text[:60]!r}), answer {completion.text[:60]!r}"
