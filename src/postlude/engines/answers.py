"""What an answer from a server must be before anybody learns from it, whichever endpoint gave it.

Ids and log-probs are held against each other and against the model; nothing is mended or guessed.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from postlude.data import Completion, Stop
from postlude.engines.settings import Sampling
from postlude.engines.stopping import completes_stop, until_stop
from postlude.models.said import answer_text

T = TypeVar("T")
ROUNDING = 1e-3
"""A log-prob, in nats, may be this far above 0."""
NO_NUMBER = -9999.0
"""What vLLM writes as a log-prob, in nats, where it has none or where it is NaN or minus infinity."""


class Unsound(Exception):
    """An answer that cannot be used, with a sentence why."""


def check_numbers(tokens: Sequence[Any], logprobs: Sequence[Any], sampling: Sampling, counted: object = None) -> None:
    """Raises Unsound where ids and log-probs are not one of each for every token of a possible answer. `counted` is how
    many tokens the server says it made; None where it does not say."""
    if len(tokens) != len(logprobs):
        raise Unsound(f"{len(tokens)} token ids but {len(logprobs)} log-probs in one answer.")
    if not tokens:
        raise Unsound("an answer without a single token; even an empty one ends with its stop token.")
    if len(tokens) > sampling.max_tokens:
        raise Unsound(f"{len(tokens)} tokens in an answer, but max_tokens is {sampling.max_tokens}.")
    wrong = [x for x in logprobs if type(x) not in (int, float) or not NO_NUMBER < x <= ROUNDING]
    if wrong:
        raise Unsound(f"{wrong[0]!r} is not a log-prob." + _of_none(wrong[0]))
    if counted not in (None, len(tokens)):
        raise Unsound(f"{len(tokens)} token ids for an answer of {counted} tokens: the server leaves some out.")


def _of_none(value: Any) -> str:
    if type(value) is float and math.isfinite(value) and value <= NO_NUMBER:
        return " That is what vLLM writes where it has none: the model's numbers are not finite there."
    return ""


@dataclass(frozen=True)
class Reader:
    """Answers as completions of one model, by the local sampler's rules of where an answer ends."""

    tokenizer: Any
    stop_ids: frozenset[int]
    vocabulary: int

    def check_ids(self, tokens: Sequence[Any]) -> None:
        """Raises Unsound where one is not of the vocabulary."""
        odd = [t for t in tokens if type(t) is not int or not 0 <= t < self.vocabulary]
        if odd:
            raise Unsound(
                f"token id {odd[0]!r} is not in the tokenizer's vocabulary of {self.vocabulary}. Is the server's model "
                "another than the one given here?"
            )

    def completion(
        self, tokens: Sequence[int], logprobs: Sequence[float], finish: str | None, sampling: Sampling
    ) -> Completion:
        """The answer up to where it ends; a stop string ends it within its last token. Raises Unsound."""
        count = until_stop(self.tokenizer, tokens, sampling.stop)
        tokens = tuple(tokens[:count])
        return Completion(
            tokens=tokens,
            text=answer_text(self.tokenizer, tokens, self.stop_ids),
            logprobs=tuple(map(float, logprobs[:count])),
            stop=self._stop(tokens, finish, sampling),
        )

    def _stop(self, tokens: Sequence[int], finish: str | None, sampling: Sampling) -> Stop:
        """Why it ended: the stop id is the last token, a stop string stays in."""
        *before, last = tokens
        if self.stop_ids.intersection(before):
            raise Unsound("an answer goes on after its stop token; serve the model without ignore_eos.")
        if last in self.stop_ids:
            return "eos"
        if sampling.stop and finish in ("stop", "length"):
            if completes_stop(self.tokenizer, tokens, sampling.stop):
                return "string"
        if finish == "length":
            return "length"
        raise Unsound(
            f"an answer ended with finish_reason {finish!r}, but its last token id {last} is no stop token of "
            f"the tokenizer ({', '.join(map(str, sorted(self.stop_ids)))}) and no stop string is in it. The server "
            "must return the stop token too, and stop where this model does: serve it from the folder given here."
        )


async def as_they_end(work: Sequence[Coroutine[Any, Any, T]]) -> AsyncGenerator[T]:
    """The results of tasks as they end. The first that fails, or whoever closes this, cancels the rest."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
