"""The built-in rewards by name."""

from __future__ import annotations

from collections.abc import Callable

from postlude.rewards.choice import choice
from postlude.rewards.code import code
from postlude.rewards.implicit import implicit
from postlude.rewards.json_schema import json_schema
from postlude.rewards.judge import judge
from postlude.rewards.learned import pair_model, process_model, reward_model
from postlude.rewards.maths import maths
from postlude.rewards.text import RewardFunction, exact, format_, length, overlong, regex, repetition

BUILT_IN: dict[str, Callable[..., RewardFunction]] = {
    "exact": exact,
    "regex": regex,
    "format": format_,
    "choice": choice,
    "json_schema": json_schema,
    "maths": maths,
    "code": code,
    "length": length,
    "overlong": overlong,
    "repetition": repetition,
    "model": reward_model,
    "pair_model": pair_model,
    "process_model": process_model,
    "implicit": implicit,
    "judge": judge,
}
"""Name in a recipe -> factory; the recipe's `args` are its arguments."""
