"""A language model behind an OpenAI-compatible server, asked in words: for judges and critics, never for a policy.

Every request has a limit, every failure a bounded number of further tries, and a server that fails again and again is
left alone.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from postlude.engines.http import RETRIED, SEEDS, key_in, library, place_of, said, short, without
from postlude.engines.protocol import Likely, Meter, Reply, Talk, Tell, Usage, unmetered
from postlude.engines.settings import LONGEST_RETRY_AFTER, ChatSpec, Sampling
from postlude.errors import EngineError
from postlude.waits import waiting

LONGEST_PAUSE = 60.0
OWN_FAULT = {400, 413, 422}
"""Statuses that speak of one question: too long, filtered. It fails, the others go on."""
TOP = 20
"""Most likely first tokens that servers list."""
FLOOR = 1.0
"""Nats below the least likely token listed, for an option that is not (section 10.1)."""
BYTES = 3
"""Of a token, for estimates: rather too many tokens than too few."""


class _Again(Exception):
    """A request that may be tried again."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds, where the server said how many."""


class _Failed(Exception):
    """A question that has failed for good."""


@dataclass
class ServedChat:
    """A `Chat` over HTTP. Questions that failed in a row are counted over all; at `spec.breaker` it gives up."""

    spec: ChatSpec
    failures: int = 0
    last: str = ""
    """Why the last of them failed."""
    _model: str | None = None
    _random: random.Random = field(default_factory=random.Random)
    _gates: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = field(default_factory=WeakKeyDictionary)

    def __post_init__(self) -> None:
        key_in(self.spec.key)

    @property
    def name(self) -> str:
        return self._model or self.spec.model or str(self.spec.url)

    @property
    def talks(self) -> bool:
        return True

    @property
    def special(self) -> frozenset[str]:
        return frozenset()  # its tokenizer is not known here

    async def identify(self) -> str:
        """URL and name on the server; where the recipe gives the name, nothing is asked."""
        if not self.spec.model and self._model is None:
            async with self._client() as client:
                await self._name(client)
        return f"{self.spec.url} {self._model or self.spec.model}"

    async def replies(
        self, talks: Sequence[Talk], sampling: Sampling, seeds: Sequence[int], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """One reply to each talk, at most `spec.concurrency` under way."""

        def body(talk: Talk, seed: int) -> dict[str, Any]:
            return {
                "messages": _messages(talk),
                "max_tokens": sampling.max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed % SEEDS,
            } | ({"stop": [*sampling.stop]} if sampling.stop else {})

        bodies = [body(t, s) for t, s in zip(talks, seeds, strict=True)]
        await self._each(bodies, _reply, lambda reason: Reply(problem=reason), tell, meter)

    async def likelihoods(
        self, talks: Sequence[Talk], options: Sequence[str], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """From the most likely first tokens that the server lists. Options must be one token each."""
        bodies = [
            {"messages": _messages(t), "max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": TOP}
            for t in talks
        ]
        read = lambda answer: _first_token(answer, options)
        await self._each(bodies, read, lambda reason: Likely(problem=reason), tell, meter)

    # ------------------------------------------------------------------------------------------------ asking

    async def _each(
        self,
        bodies: Sequence[dict[str, Any]],
        read: Callable[[Any], Any],
        failed: Callable[[str], Any],
        tell: Tell,
        meter: Meter,
    ) -> None:
        """What `read` makes of each answer; what stops all of them cancels the rest."""
        async with self._client() as client:
            model = await self._name(client)

            async def one(place: int, body: dict[str, Any]) -> None:
                create = client.chat.completions.create
                async with self._gate():
                    try:
                        result = await self._tried(lambda: create(model=model, **body), read, body, meter)
                        self.failures = 0
                    except _Failed as error:
                        self.failures += 1
                        self.last = str(error).removeprefix(f"{self.spec.url}: ")
                        result = failed(str(error))
                tell(place, result)

            tasks = [asyncio.create_task(one(place, body)) for place, body in enumerate(bodies)]
            try:
                for task in tasks:
                    await task
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _gate(self) -> asyncio.Semaphore:
        """One for all that is asked in an event loop, however many calls ask."""
        loop = asyncio.get_running_loop()
        return self._gates.setdefault(loop, asyncio.Semaphore(self.spec.concurrency))

    async def _tried(
        self, call: Callable[[], Awaitable[Any]], read: Callable[[Any], Any], body: Mapping[str, Any], meter: Meter
    ) -> Any:
        """What `read` makes of the answer, after as many tries as are allowed. _Failed: there is none."""
        for attempt in range(self.spec.retries + 1):
            if self.failures >= self.spec.breaker:
                raise EngineError(
                    f"{self.spec.url}: {self.failures} questions in a row have failed, and no more are sent. The last: "
                    f"{self.last}. Mend the server or the connection, then go on: what was answered is kept.",
                    code="server-unreachable",
                )
            try:
                with meter(_estimate(body), int(body.get("max_tokens", 0))) as usage:
                    return read(await self._once(call, usage))
            except _Again as error:
                if error.wait is not None and error.wait > LONGEST_RETRY_AFTER:
                    asked = f"{self._clean(str(error))}; the server asks to wait {error.wait:g} s"
                    raise _Failed(
                        f"{self.spec.url}: {asked}, and {LONGEST_RETRY_AFTER:g} are waited at most"
                    ) from error
                if attempt == self.spec.retries:
                    tries = f" in {attempt + 1} tries" if attempt else ""
                    raise _Failed(f"{self.spec.url}: {self._clean(str(error))}{tries}") from error
                await asyncio.sleep(self._pause(attempt, error.wait))
        raise AssertionError

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before the next try."""
        if asked is not None:
            return asked
        return min(LONGEST_PAUSE, self.spec.pause * 2**attempt) * self._random.uniform(0.5, 1.5)

    async def _once(self, call: Callable[[], Awaitable[Any]], usage: Usage | None = None) -> Any:
        """The JSON of one answer. _Again: worth another try; _Failed: it is not; EngineError: nor is any other."""
        openai = library()
        try:
            # the client's own limit does not see a body that drips
            with waiting(f"the server {place_of(str(self.spec.url))}", verb="asked"):
                async with asyncio.timeout(self.spec.timeout):
                    answer = await call()
        except openai.APIStatusError as error:
            self._refuse(error, usage)
        except (openai.APITimeoutError, TimeoutError) as error:
            raise _Again(f"no answer within {self.spec.timeout:g} s") from error
        except openai.APIConnectionError as error:
            _nothing_spent(usage)
            raise _Again(f"no connection: {error.__cause__ or error}") from error
        except openai.APIResponseValidationError as error:
            raise _Again(f"not what this endpoint returns: {error}") from error
        except ValueError as error:  # what the client makes of a body that is no JSON
            raise _Again(f"not JSON: {error}") from error
        if not hasattr(answer, "model_dump"):
            raise _Again(f"not JSON: {short(str(answer))!r}")
        fields = answer.model_dump()
        _settle(usage, fields.get("usage"))
        return fields

    def _refuse(self, error: Any, usage: Usage | None) -> None:
        """What a status means for the question and for all others."""
        _nothing_spent(usage)
        status = error.status_code
        reason = f"status {status}: {self._clean(said(error))}"
        if status in RETRIED or status >= 500:
            raise _Again(reason, _seconds(error.response.headers.get("retry-after"))) from error
        if status in OWN_FAULT:
            raise _Failed(f"{self.spec.url}: {reason}") from error
        raise EngineError(f"{self.spec.url}: {reason}.{self._hint(status)}", code="server-refused") from error

    async def _name(self, client: Any) -> str:
        """The model's name on the server, looked up once where none was given."""
        if self._model is None and self.spec.model:
            self._model = self.spec.model
        if self._model is None:
            try:
                listed = await self._tried(client.models.list, dict[str, Any], {}, unmetered)
            except _Failed as error:
                raise EngineError(f"{error}. Is the server running?", code="server-unreachable") from error
            names = [str(row["id"]) for row in listed.get("data") or [] if isinstance(row, Mapping) and "id" in row]
            if len(names) != 1:
                raise EngineError(
                    f"{self.spec.url}: which model? Served: {', '.join(names) or 'nothing'}. Give `model`.",
                    code="unknown-name",
                )
            self._model = names[0]
        return self._model

    @property
    def _key(self) -> str:
        return key_in(self.spec.key)

    def _client(self) -> Any:
        """A fresh client: its connections belong to one event loop."""
        key = self._key or "none"  # the client insists on one, local servers do not
        return library().AsyncOpenAI(base_url=self.spec.url, api_key=key, timeout=self.spec.timeout, max_retries=0)

    def _clean(self, text: str) -> str:
        return without(self._key, text)

    def _hint(self, status: int) -> str:
        hints = {401: f" Set {self.spec.key}.", 403: f" Is the key in {self.spec.key} the right one?"}
        hints[404] = f" Is {self.spec.model or 'the model'!r} served there, and does the URL end in /v1?"
        return hints.get(status, "")


def _messages(talk: Talk) -> list[dict[str, Any]]:
    return [{"role": "user", "content": talk}] if isinstance(talk, str) else [dict(m) for m in talk]


def _reply(answer: Mapping[str, Any]) -> Reply:
    choice = _choice(answer)
    text, cut = (choice.get("message") or {}).get("content"), choice.get("finish_reason") == "length"
    if cut and not isinstance(text, str):  # a model that thinks apart, and was cut before it came to an answer
        raise _Failed("no text within max_tokens; raise it, or take a judge that thinks less")
    if not isinstance(text, str):
        raise _Again(f"an answer without text: {short(str(answer))}")
    return Reply(text, cut)


def _first_token(answer: Mapping[str, Any], options: Sequence[str]) -> Likely:
    """The log-prob of each option among the first tokens listed; spaces around a token do not count."""
    content = (_choice(answer).get("logprobs") or {}).get("content")
    if not isinstance(content, list) or not content:
        raise EngineError(
            "the server lists no log-probs of first tokens (logprobs, top_logprobs). Read replies instead: read: "
            "reply.",
            code="server-answer",
        )
    listed: dict[str, float] = {}
    for entry in content[0].get("top_logprobs") or []:
        token, logprob = str(entry.get("token")).strip(), entry.get("logprob")
        if isinstance(logprob, int | float) and math.isfinite(logprob):
            listed[token] = max(float(logprob), listed.get(token, -math.inf))
    missing = [option for option in options if option not in listed]
    if len(missing) == len(options):
        return Likely(problem=f"none of {', '.join(options)} is among the likeliest first tokens")
    floor = min(listed.values()) - FLOOR
    return Likely(tuple(listed.get(option, floor) for option in options), len(missing))


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise _Again(f"an answer without choices: {short(str(answer))}")
    return choices[0]


def _estimate(body: Mapping[str, Any]) -> int:
    return sum(len(str(m.get("content")).encode()) // BYTES + 8 for m in body.get("messages", ()))


def _settle(usage: Usage | None, counts: Any) -> None:
    """What the server says it took; without a word of it, the estimate stays."""
    if usage is not None and isinstance(counts, Mapping):
        usage.read = int(counts.get("prompt_tokens") or 0)
        usage.written = int(counts.get("completion_tokens") or 0)


def _nothing_spent(usage: Usage | None) -> None:
    if usage is not None:
        usage.read = usage.written = 0


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date is not read, and the usual pause is taken."""
    try:
        return max(float(text), 0.0) if text else None
    except ValueError:
        return None
