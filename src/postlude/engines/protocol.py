"""The two contracts of an engine. The loop, the sources and the rewards know these and nothing concrete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlsplit

from postlude.batch import Batch
from postlude.bounds import Bounds, Count, CountOrZero, NotNegative, Seconds, Small, hold
from postlude.data import Completion, Message
from postlude.lazy import torch
from postlude.models.dtypes import Dtype
from postlude.objectives import Objective, Outputs, Want
from postlude.runs.stats import Stats


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn."""

    temperature: Annotated[float, Bounds(0, 100)] = 1.0
    top_p: Annotated[float, Bounds(0, 1, above=True)] = 1.0
    """Sample from the smallest set of tokens with this much probability; 1 is off, and right for training."""
    top_k: CountOrZero = 0
    """Sample from this many most likely tokens; 0 is off."""
    max_tokens: Annotated[int, Bounds(1, 2**24)] = 256
    """The longest completion, in tokens."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; they stay part of it."""

    def __post_init__(self) -> None:
        hold(self)
        if "" in self.stop:
            raise ValueError("stop must not hold an empty string")

    @property
    def truncates(self) -> bool:
        """Whether some tokens are never sampled: log-probs are then of the part that is kept."""
        return self.top_p < 1 or self.top_k > 0


@dataclass(frozen=True)
class Optimizer:
    """AdamW and what surrounds it. The rate comes with every step."""

    beta1: Annotated[float, Bounds(0, 1, below=True)] = 0.9
    beta2: Annotated[float, Bounds(0, 1, below=True)] = 0.95
    eps: Small = 1e-8
    weight_decay: Annotated[float, Bounds(0, 100)] = 0.0
    max_grad_norm: NotNegative = 1.0
    """Gradients are scaled down to this norm; 0 is off."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Request:
    """One completion to sample: the prompt's ids, and a seed that fixes its randomness.

    A turn of a conversation is a request whose prompt is every token so far.
    """

    prompt: tuple[int, ...]
    seed: int
    multi_turn: bool = False
    """Whether it is one turn of several: a sampler may then keep what it computes for the next turn to begin with, and
    take what the turn before has left. That changes no answer beyond rounding."""


@dataclass
class Progress:
    """What a sampler has done so far in one call."""

    tokens: int = 0
    finished: int = 0
    total: int = 0


class Sampler(Protocol):
    """Prompts to completions, with log-probs and the policy version. Never trains."""

    on_progress: Callable[[Progress], None] | None
    """Called now and then while sampling, for people to watch."""

    def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """(index of the request, completion), in the order they finish; batches are composed deterministically."""
        ...


class Trainer(Protocol):
    """Owns weights and optimiser; knows no algorithm."""

    references: int
    """How often the reference was refreshed: what was computed under an earlier one is out of date."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that it gives and that a batch for it holds: float32, or float64 for a model in that."""
        ...

    def refresh_reference(self, mix: float = 1.0) -> None:
        """The reference becomes the policy as it is now, or mix x policy + (1 - mix) x reference."""
        ...

    def forward(self, batch: Batch, want: Want) -> Outputs:
        """Without gradient, [T] each: log-probs of the `policy` or the `reference`, `values`, or `scores`."""
        ...

    def forward_backward(self, batch: Batch, objective: Objective, coef: float = 1.0) -> Stats:
        """Add the gradient of coef * loss to what is accumulated."""
        ...

    def step(self, lr: float, critic_lr: float | None = None) -> Stats:
        """One optimiser step with what is accumulated, then forget it; a part whose rate is 0 stays as it is.

        A non-finite gradient is skipped and counted.
        """
        ...

    def save(self, folder: Path) -> None:
        """The weights as a Hugging Face folder, with the optimiser's state in `trainer/`."""
        ...

    def load(self, folder: Path, reference: bool = True) -> None:
        """The inverse of `save`; without a refreshed reference where `reference` is False."""
        ...


@dataclass(frozen=True)
class ScorerSpec:
    """A reward model: where it is and how it is held."""

    path: str
    dtype: Dtype = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    separator: str = "\n"
    """Between the steps of an answer, for a process model."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The models it is made of."""
        return (self.path,)


@dataclass(frozen=True)
class ImplicitSpec(ScorerSpec):
    """A policy as a reward model, against the policy it was trained from: beta (log policy(y|x) - log reference(y|x)).

    `path` is the policy.
    """

    reference: str = ""
    beta: float = 0.1
    per_token: bool = False
    """The mean over the answer's tokens instead of the sum, as of a length-normalised DPO."""

    @property
    def folders(self) -> tuple[str, ...]:
        return (self.path, self.reference)


class Scorer(Protocol):
    """A model that gives numbers to answers. It reads text, which it turns into its own tokens."""

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
        """A number for each answer, in logits; prompts are text or lists of messages."""
        ...

    def prefer(self, prompts: Sequence[Any], pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        """Of a model that reads two answers: logits that its first one is better, in the order given and swapped."""
        ...

    def score_steps(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[list[float]]:
        """A number for each step of each answer, in logits."""
        ...


Talk = str | Sequence[Message]
"""What a language model is asked: text as it is, or chat messages."""


@dataclass(frozen=True)
class ChatSpec:
    """A language model that is asked in words: in this process, or behind an OpenAI-compatible server."""

    model: str = ""
    """A folder, run or hub id; with `url` its name on the server (default: the only one there)."""
    url: str | None = None
    """Such as http://localhost:8000/v1. The key, where one is needed, is read from the environment."""
    key: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrency: Annotated[int, Bounds(1, 4096)] = 16
    """Requests under way at once."""
    timeout: Seconds = 60.0
    """Seconds for one request."""
    retries: Annotated[int, Bounds(0, 1000)] = 5
    """Further tries after 408, 409, 429, 5xx and broken connections."""
    pause: Annotated[float, Bounds(0, 3600)] = 1.0
    """Seconds before the first retry; they double up to 60, times 0.5 to 1.5 at random. Retry-After goes first."""
    breaker: Count = 20
    """So many questions in a row that failed for good, and no more are sent."""
    dtype: Dtype = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if not self.model and not self.url:
            raise ValueError("give `model` (a folder, run or hub id), or the `url` of a server")
        parts = urlsplit(self.url or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url must look like http://localhost:8000/v1, got {self.url!r}")
        if parts.username or parts.password:
            raise ValueError(f"url must not hold a user or password; put the key into {self.key}")
        hold(self)


@dataclass(frozen=True)
class Reply:
    """What a language model said; or why it said nothing."""

    text: str = ""
    cut: bool = False
    """Whether the length limit ended it."""
    problem: str | None = None
    """Why there is no text; the question has then failed for good."""


@dataclass(frozen=True)
class Likely:
    """Log-probs, in nats, of each option as the whole answer; or why there are none."""

    values: tuple[float, ...] = ()
    floored: int = 0
    """Options that the model did not report: they are put a nat below the least likely that it did."""
    problem: str | None = None


@dataclass
class Usage:
    """Tokens of one request: an estimate before it is sent, the truth after."""

    read: int
    written: int


Meter = Callable[[int, int], AbstractContextManager[Usage]]
"""(tokens read, tokens written, both at most) -> a context for one request; raises where it would pass a cap."""
Tell = Callable[[int, Any], None]
"""(place of the question, Reply or Likely): hears of each answer at once, so that none is lost where the rest fails."""


@contextmanager
def unmetered(read: int, written: int) -> Iterator[Usage]:
    """A meter that counts nothing."""
    yield Usage(read, written)


class Chat(Protocol):
    """A language model that is asked in words, and never trained."""

    @property
    def name(self) -> str:
        """For records: a path, a hub id, or the name on the server."""
        ...

    @property
    def talks(self) -> bool:
        """Whether it takes chat messages; else everything is one text."""
        ...

    @property
    def special(self) -> frozenset[str]:
        """Texts that its tokenizer reads as control tokens."""
        ...

    async def identify(self) -> str:
        """What verdicts are kept under: another model, another text."""
        ...

    async def replies(
        self, talks: Sequence[Talk], sampling: Sampling, seeds: Sequence[int], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """Tell one Reply to each."""
        ...

    async def likelihoods(
        self, talks: Sequence[Talk], options: Sequence[str], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """Tell one Likely to each."""
        ...


class Engine(Protocol):
    """A sampler and a trainer that share a policy."""

    @property
    def sampler(self) -> Sampler: ...
    @property
    def trainer(self) -> Trainer: ...

    @property
    def token_budget(self) -> int:
        """Tokens per micro-batch."""
        ...

    @property
    def version(self) -> int:
        """How many times the policy was published."""
        ...

    @version.setter
    def version(self, number: int) -> None: ...

    @property
    def shares_prompts(self) -> bool:
        """Whether a group's prompt is computed once, however many answers it has."""
        ...

    def save(self, folder: Path) -> None:
        """A checkpoint folder that any Hugging Face tool can open: weights and tokenizer, `trainer/` inside."""
        ...

    def load(self, folder: Path) -> None:
        """The inverse of `save`, for weights and optimiser."""
        ...

    def sync(self) -> None:
        """Let the sampler see the trainer's weights."""
        ...

    def fingerprint(self) -> list[int]:
        """Of the policy's trained weights: another list where any of them is another number."""
        ...

    def settings(self) -> Mapping[str, Any]:
        """What was chosen where the recipe left it open, as keys of a recipe: they decide how sums are rounded."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Facts for the manifest: parameters, paths taken, device."""
        ...
