"""A reward function with its settings, ready to be called: what its signature says, and what it remembers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from postlude.cache import Cache, key_of
from postlude.data import RESERVED, Completion, Group
from postlude.errors import ConfigError, Problem
from postlude.rewards.functions import Adapter, RewardFunction, StepwiseReward, is_asynchronous
from postlude.rewards.numbers import whole_of
from postlude.rewards.spec import CONCURRENCY, RewardSpec

OURS = {"log_note", "steps", "prefixes"}
"""Those of them that TRL does not know. A function that takes anything means a column by them, where there is one."""

Parameters = tuple[set[str], set[str], bool]
"""(required, all, takes anything) names of a function's parameters."""


FILE = "reward-cache.sqlite"
"""Of a run, in its folder."""
TIMEOUT = 300.0
"""Seconds for one call of a user's async function."""
Answers = Sequence[tuple[Group, Completion]]
"""Completions, each with the group it belongs to."""


@dataclass(frozen=True)
class Traits:
    """What a function may say of itself, by attributes of these names; any other has the defaults."""

    says_right: bool = True
    """Whether 1 means right and 0 wrong; a score that is mere liking says neither."""
    compares: bool = False
    """Whether a number is of an answer among the others to its prompt."""
    abstain: float = 1.0
    """The share of a step's answers that it may abstain on."""
    summed: frozenset[str] = frozenset()
    """Names of its metrics that are counts."""
    one_of: tuple[str, ...] = ()
    """Columns of which it needs one."""
    reads: tuple[str, ...] = ()
    """Columns that it reads where they are there."""
    note: str | None = None
    """How it works here, for the first lines of a run."""
    remarks: tuple[str, ...] = ()
    """What it saw in rows that it was asked about, and refused none for."""

    @classmethod
    def of(cls, function: Any) -> Traits:
        return cls(**{f.name: getattr(function, f.name) for f in fields(cls) if hasattr(function, f.name)})


@dataclass
class Memory:
    """The cache of one reward."""

    identity: Any
    """What the scores depend on beside the answer: plain JSON values."""
    path: Path | None
    """None until the run folder is known (`cache: true`)."""
    label: str
    names: frozenset[str] | None
    """The columns that the function reads; None is all."""

    @cached_property
    def cache(self) -> Cache:
        """The file, made where there is none. Raises ConfigError where it cannot be."""
        if self.path is None:
            raise ConfigError(
                f"reward {self.label}: `cache: true` keeps scores in the folder of a training run, and this is none. "
                "Give the path of a file: cache: scores.sqlite.",
                code="cannot-cache",
            )
        try:
            return Cache(self.path)
        except OSError as error:
            raise ConfigError(
                f"reward {self.label}: the cache {str(self.path)!r} cannot be made: {error.strerror}.",
                code="cannot-cache",
            ) from error

    def open_in(self, folder: Path) -> None:
        """Open the cache now; one without a path of its own lies in this folder."""
        self.path = self.path or folder / FILE
        _ = self.cache

    def key(self, group: Group, completion: Completion) -> str:
        """Of an answer: the same wherever reward, prompt, text and the columns it reads are."""
        columns = group.prompt.columns
        read = {k: v for k, v in columns.items() if self.names is None or k in self.names}
        return key_of(self.identity, plain(group.prompt.messages), completion.text, plain(read))


@dataclass(frozen=True)
class Reward:
    """A reward function with its settings."""

    spec: RewardSpec
    function: RewardFunction
    outcome: bool
    memory: Memory | None = None
    """Where its scores are kept, of one with a cache."""

    @property
    def traits(self) -> Traits:
        return Traits.of(self.function)

    @property
    def is_gate(self) -> bool:
        return self.spec.gate is not None

    @property
    def separator(self) -> str | None:
        """What stands between the steps it rewards; None where it rewards whole answers."""
        if isinstance(self.function, StepwiseReward) and self.function.separator is not None:
            return self.spec.steps or self.function.separator
        return self.spec.steps

    @property
    def per_token(self) -> bool:
        """Whether it rewards every token."""
        built_in = self.function
        return self.spec.tokens or (isinstance(built_in, StepwiseReward) and built_in.separator is None)

    @property
    def stepwise(self) -> bool:
        """Whether it gives an answer a list of numbers, of its steps or tokens."""
        return self.separator is not None or self.per_token

    @property
    def kind(self) -> str:
        """What a list of its numbers is of."""
        return "tokens" if self.per_token else "steps"

    @property
    def says_whole(self) -> bool:
        """Whether the recipe says which one number stands for an answer whose steps are rewarded."""
        of_steps = isinstance(self.function, StepwiseReward) and self.function.separator is not None
        return self.spec.whole is not None or (of_steps and "combine" in self.spec.args)

    def whole(self, steps: Sequence[float]) -> float:
        """One number for an answer whose steps were rewarded: as the recipe or the function says, else their mean."""
        if not steps:
            return 0.0
        if self.spec.whole is None and isinstance(self.function, StepwiseReward):
            return self.function.whole(steps)
        return whole_of(steps, self.spec.whole or "mean")

    @property
    def users(self) -> Any:
        """What the recipe named: without the adapter around a function of verl's or OpenRLHF's form."""
        return self.function.wrapped if isinstance(self.function, Adapter) else self.function

    @property
    def early(self) -> bool:
        """Whether it is called for each group by itself, as soon as that is finished: it is asynchronous."""
        return is_asynchronous(self.users)

    @property
    def timeout(self) -> float | None:
        """Seconds for one call; None is no limit, as of a plain function by default: built-ins stop themselves."""
        return self.spec.timeout or (TIMEOUT if self.early and ":" in self.spec.use else None)

    @property
    def most_abstained(self) -> float:
        """The share of a step's answers that it may abstain on: the recipe's, else the function's own, else all."""
        return self.spec.abstain if self.spec.abstain is not None else self.traits.abstain

    @property
    def parameters(self) -> Parameters:
        """The names it can be called with."""
        parameters = inspect.signature(self.function).parameters.values()
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        required = {p.name for p in parameters if p.name in named and p.default is p.empty}
        return required, named, any(p.kind is p.VAR_KEYWORD for p in parameters)

    @property
    def reserved(self) -> set[str]:
        """The names of arguments that are no columns to it."""
        return RESERVED if self.per_token else RESERVED - {"prefixes"}

    def supplied(self, columns: Collection[str]) -> set[str]:
        """The reserved names under which it gets something of ours, beside data of these columns."""
        _, named, anything = self.parameters
        unnamed = self.reserved - {"log_note"} - (OURS & {*columns}) if anything else set[str]()
        return (self.reserved & named) | unnamed

    @property
    def needs(self) -> list[str]:
        """Columns it needs: one of those it says, else each that its signature requires."""
        return [*self.traits.one_of] or sorted(self.parameters[0] - self.reserved)

    def problems(self) -> list[Problem]:
        """Settings that this function has no use for."""
        spec = self.spec
        users = ":" in spec.use
        if spec.whole is not None and not self.stepwise:
            return [
                Problem(
                    "reward-kind",
                    f"reward {spec.label}: whole is for rewards of steps or tokens, and this one is of whole answers.",
                )
            ]
        if spec.tokens and self.separator is not None:
            return [
                Problem(
                    "reward-kind", f"reward {spec.label}: tokens is set, but this built-in rewards steps. Remove it."
                )
            ]
        if self.early or (spec.concurrency == CONCURRENCY and (users or spec.timeout is None)):
            return []
        return [
            Problem(
                "no-effect",
                f"reward {spec.label}: concurrency and timeout are for async functions, and this one is not: it is "
                f"called once per draw. {'Remove concurrency' if users else 'Remove them'}, or make it `async def`.",
            )
        ]


def plain(value: Mapping[str, Any] | Any) -> Any:
    """As JSON would give it back; what JSON cannot hold by its text."""
    return json.loads(json.dumps(value, default=str))
