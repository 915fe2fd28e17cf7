"""What a reward function is, and the kinds of built-in ones that need something which only a run has.

Whoever builds a run tells a kind by these classes; the modules of the built-in functions are loaded where one is named.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from postlude.engines.protocol import Chat, Scorer
from postlude.engines.settings import ChatSpec, ScorerSpec

RewardFunction = Callable[..., Any]
"""In TRL's form: called by name with lists of prompts, completions and columns; a number or None for each answer."""
Mode = Literal["score", "pairs", "list"]
"""How a judge reads answers: one by one, two at a time, or all of a prompt."""


def text_of(completion: Any) -> str:
    """The answer's text: a string, or the last message of a chat completion."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def is_asynchronous(function: Any) -> bool:
    """Whether calling it gives something to await: a coroutine function, or an object whose call is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


class Adapter(ABC):
    """Around a function of another library's form."""

    @property
    @abstractmethod
    def wrapped(self) -> RewardFunction:
        """The function it calls."""


class StepwiseReward(ABC):
    """A built-in that rewards the steps of an answer, or its tokens, and says how they make one number."""

    @property
    @abstractmethod
    def separator(self) -> str | None:
        """What stands between its steps; None where it rewards tokens."""

    @abstractmethod
    def whole(self, parts: Sequence[float]) -> float:
        """One number for an answer, of which there is at least one step or token."""


class Referenced(ABC):
    """A built-in that finds a whole right answer in the columns of a row, where there is one."""

    @abstractmethod
    def good_answer(self, columns: Mapping[str, Any]) -> str | None:
        """As a model should write it; None where the row has none."""


@dataclass
class LearnedReward:
    """What its models say of an answer. They load when they are first asked; `open` says how."""

    specs: tuple[ScorerSpec, ...]
    says_right = False  # a score says nothing of right or wrong
    compares = False
    open: Callable[[ScorerSpec], Scorer] | None = None
    """Set by whoever builds a run: rewards know no engine."""
    _scorers: list[Scorer] = field(default_factory=list[Scorer])

    @property
    def scorers(self) -> list[Scorer]:
        if not self._scorers:
            assert self.open is not None, "a reward model was asked before anything could load it"
            self._scorers = [self.open(spec) for spec in self.specs]
        return self._scorers


class Asked(Protocol):
    """A language model that can be asked, as whoever builds a run sees it."""

    open: Callable[[ChatSpec], Chat] | None

    @property
    def spec(self) -> ChatSpec: ...
    @property
    def questions(self) -> int:
        """Requests that were sent in this process."""
        ...


class JudgedReward(ABC):
    """What a language model says of answers."""

    mode: Mode
    warning: str
    """Of its model and the policy's, for the first lines of a run."""

    @property
    @abstractmethod
    def asker(self) -> Asked: ...

    @property
    @abstractmethod
    def compares(self) -> bool:
        """Whether a reward is of an answer among others."""

    @abstractmethod
    def plan(self, steps: int, prompts: int, group: int, answer_tokens: int, what: str = ...) -> None:
        """Say before the start what the run may ask: `what` it is that asks, so many times."""

    @abstractmethod
    def begin(self, folder: Path, name: str = ...) -> None:
        """Keep verdicts in a run's folder, unless another place was named."""
