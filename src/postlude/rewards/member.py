"""A reward function with its settings, ready to be called, and what its signature says."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from postlude.data import RESERVED
from postlude.errors import Problem
from postlude.rewards.adapters import FromOpenRLHF, FromVerl, is_asynchronous
from postlude.rewards.learned import PrefixReward, StepReward
from postlude.rewards.model import whole_of
from postlude.rewards.spec import CONCURRENCY, RewardSpec
from postlude.rewards.text import RewardFunction

if TYPE_CHECKING:
    from postlude.rewards.recall import Memory

OURS = {"log_note", "steps", "prefixes"}
"""Those of them that TRL does not know. A function that takes anything means a column by them, where there is one."""

Parameters = tuple[set[str], set[str], bool]
"""(required, all, takes anything) names of a function's parameters."""


TIMEOUT = 300.0
"""Seconds for one call of a user's async function."""


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
    note: str | None = None
    """How it works here, for the first lines of a run."""

    @classmethod
    def of(cls, function: Any) -> Traits:
        return cls(**{f.name: getattr(function, f.name) for f in fields(cls) if hasattr(function, f.name)})


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
        if isinstance(self.function, StepReward):
            return self.spec.steps or self.function.specs[0].separator
        return self.spec.steps

    @property
    def per_token(self) -> bool:
        """Whether it rewards every token."""
        return self.spec.tokens or isinstance(self.function, PrefixReward)

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
        return self.spec.whole is not None or (isinstance(self.function, StepReward) and "combine" in self.spec.args)

    def whole(self, steps: Sequence[float]) -> float:
        """One number for an answer whose steps were rewarded: as the recipe or the function says, else their mean."""
        if not steps:
            return 0.0
        if self.spec.whole is None and isinstance(self.function, StepReward | PrefixReward):
            return self.function.whole(steps)
        return whole_of(steps, self.spec.whole or "mean")

    @property
    def users(self) -> Any:
        """What the recipe named: without the adapter around a function of verl's or OpenRLHF's form."""
        return self.function.wrapped if isinstance(self.function, FromVerl | FromOpenRLHF) else self.function

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
        found = inspect.signature(self.function).parameters.values()
        named = {p.name for p in found if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        required = {p.name for p in found if p.name in named and p.default is p.empty}
        return required, named, any(p.kind is p.VAR_KEYWORD for p in found)

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
