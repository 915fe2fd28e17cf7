"""What a reward function is called with: copies, so that nothing it does to them changes the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from types import NoneType, SimpleNamespace
from typing import Any

from postlude.data import Completion, Group
from postlude.models.steps import pieces
from postlude.rewards.member import Reward

Answers = Sequence[tuple[Group, Completion]]
"""Completions, each with the group it belongs to."""
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
    mine = reward.supplied(columns)
    if reward.memory is not None:  # what is kept must not depend on them
        mine -= {"trainer_state", "completion_ids"}
    _, named, anything = reward.parameters
    result = {name: available[name]() for name in available if name in mine}
    for name in columns - mine:
        if anything or name in named:
            result[name] = [copied(g.prompt.columns.get(name)) for g, _ in answers]
    return result


def _as_given(group: Group, completion: Completion) -> Any:
    """An answer in the form of its prompt."""
    if isinstance(group.prompt.messages, str):
        return completion.text
    return [{"role": "assistant", "content": completion.text}]
