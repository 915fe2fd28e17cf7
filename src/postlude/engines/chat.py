"""A language model behind an OpenAI-compatible server, asked in words: for judges and critics, never for a policy.

Every request has a limit, every failure a bounded number of further tries, and a server that fails again and again is
left alone.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from postlude.engines.protocol import ChatSpec, Reply, Sampling, Talk, Tell
from postlude.errors import ConfigError, EngineError

LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 120.0
"""Seconds: no longer, even where a server asks for it."""
RETRIED = {408, 409, 429}
"""Statuses that are tried again, beside every one from 500 on."""
TOP = 20
"""Most likely first tokens that servers list."""
SEEDS = 1 << 63
T = TypeVar("T")


class _Failed(Exception):
    """A request that may be tried again."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds, where the server said how many."""


@dataclass
class ServedChat:
    """A `Chat` over HTTP. Failures in a row are counted over all requests; at `spec.breaker` it gives up."""

    spec: ChatSpec
    failures: int = 0
    requests: int = 0
    """Sent so far, further tries included."""
    _model: str | None = None
    _random: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        parts = urlsplit(self.spec.url or "")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"url must look like http://localhost:8000/v1, got {self.spec.url!r}.")
        if parts.username or parts.password:
            raise ConfigError(f"url must not hold a user or password; put the key into {self.spec.key}.")

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
        """The name on the server; where the recipe gives one, nothing is asked."""
        async with self._client() as client:
            return await self._name(client)

    async def replies(
        self, talks: Sequence[Talk], sampling: Sampling, seeds: Sequence[int], tell: Tell | None = None
    ) -> list[Reply]:
        """One reply to each talk, at most `spec.concurrency` under way."""

        def body(talk: Talk, seed: int) -> dict[str, Any]:
            return {
                "messages": _messages(talk),
                "max_tokens": sampling.max_tokens,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "seed": seed % SEEDS,
            } | ({"stop": [*sampling.stop]} if sampling.stop else {})

        return await self._each([body(t, s) for t, s in zip(talks, seeds, strict=True)], _reply, _no_reply, tell)

    async def likelihoods(self, talks: Sequence[Talk], options: Sequence[str]) -> list[tuple[float | None, ...] | None]:
        """From the most likely first tokens that the server lists. Options must be one token each."""
        bodies = [
            {"messages": _messages(t), "max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": TOP}
            for t in talks
        ]
        return await self._each(bodies, lambda answer: _first_token(answer, options), lambda reason: None)

    # ------------------------------------------------------------------------------------------------ asking

    async def _each(
        self,
        bodies: Sequence[dict[str, Any]],
        read: Callable[[Any], T],
        failed: Callable[[str], T],
        tell: Callable[[int, T], None] | None = None,
    ) -> list[T]:
        """What `read` makes of each answer; what cannot be asked at all cancels the rest."""
        gate = asyncio.Semaphore(self.spec.concurrency)
        async with self._client() as client:
            model = await self._name(client)

            async def one(place: int, body: dict[str, Any]) -> T:
                async with gate:
                    create = client.chat.completions.create
                    try:
                        found = await self._tried(lambda: create(model=model, **body), read)
                    except _Failed as error:
                        found = failed(str(error))
                    if tell is not None:
                        tell(place, found)
                    return found

            tasks = [asyncio.create_task(one(place, body)) for place, body in enumerate(bodies)]
            try:
                return [await task for task in tasks]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _tried(self, call: Callable[[], Awaitable[Any]], read: Callable[[Any], T]) -> T:
        """What `read` makes of the answer, after as many tries as are allowed. _Failed: they are used up."""
        for attempt in range(self.spec.retries + 1):
            if self.failures >= self.spec.breaker:
                raise EngineError(f"{self.spec.url}: {self.failures} requests in a row have failed; no more are sent.")
            try:
                answer = read(await self._once(call))
            except _Failed as error:
                self.failures += 1
                if attempt == self.spec.retries:
                    tries = f" in {attempt + 1} tries" if attempt else ""
                    raise _Failed(f"{self.spec.url}: {error}{tries}") from error
                await asyncio.sleep(self._pause(attempt, error.wait))
            else:
                self.failures = 0
                return answer
        raise AssertionError

    def _pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before the next try."""
        if asked is not None:
            return min(asked, LONGEST_RETRY_AFTER)
        return min(LONGEST_PAUSE, self.spec.pause * 2**attempt) * self._random.uniform(0.5, 1.5)

    async def _once(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The JSON of one answer. _Failed: worth another try; EngineError: it is not."""
        openai = _library()
        self.requests += 1
        try:
            async with asyncio.timeout(self.spec.timeout):  # the client's own limit does not see a body that drips
                answer = await call()
        except openai.APIStatusError as error:
            reason = f"status {error.status_code}: {self._clean(_said(error))}"
            if error.status_code in RETRIED or error.status_code >= 500:
                raise _Failed(reason, _seconds(error.response.headers.get("retry-after"))) from error
            raise EngineError(f"{self.spec.url}: {reason}.{self._hint(error.status_code)}") from error
        except (openai.APITimeoutError, TimeoutError) as error:
            raise _Failed(f"no answer within {self.spec.timeout:g} s") from error
        except openai.APIConnectionError as error:
            raise _Failed(f"no connection: {error.__cause__ or error}") from error
        except openai.APIResponseValidationError as error:
            raise _Failed(f"not what this endpoint returns: {error}") from error
        except ValueError as error:  # what the client makes of a body that is no JSON
            raise _Failed(f"not JSON: {error}") from error
        if not hasattr(answer, "model_dump"):
            raise _Failed(f"not JSON: {_short(str(answer))!r}")
        return answer.model_dump()

    async def _name(self, client: Any) -> str:
        """The model's name on the server, looked up once where none was given."""
        if self._model is None and self.spec.model:
            self._model = self.spec.model
        if self._model is None:
            try:
                listed = await self._tried(client.models.list, dict[str, Any])
            except _Failed as error:
                raise EngineError(f"{error}. Is the server running?") from error
            names = [str(row["id"]) for row in listed.get("data") or [] if isinstance(row, Mapping) and "id" in row]
            if len(names) != 1:
                raise EngineError(
                    f"{self.spec.url}: which model? Served: {', '.join(names) or 'nothing'}. Give `model`."
                )
            self._model = names[0]
        return self._model

    def _client(self) -> Any:
        """A fresh client: its connections belong to one event loop."""
        key = os.environ.get(self.spec.key) or "none"  # the client insists on one, local servers do not
        return _library().AsyncOpenAI(base_url=self.spec.url, api_key=key, timeout=self.spec.timeout, max_retries=0)

    def _clean(self, text: str) -> str:
        """Without the key, which some servers repeat."""
        key = os.environ.get(self.spec.key)
        return _short(text.replace(key, "***") if key else text).rstrip(".")

    def _hint(self, status: int) -> str:
        hints = {401: f" Set {self.spec.key}.", 403: f" Is the key in {self.spec.key} the right one?"}
        hints[404] = f" Is {self.spec.model or 'the model'!r} served there, and does the URL end in /v1?"
        return hints.get(status, "")


def _messages(talk: Talk) -> list[dict[str, Any]]:
    return [{"role": "user", "content": talk}] if isinstance(talk, str) else [dict(m) for m in talk]


def _reply(answer: Mapping[str, Any]) -> Reply:
    choice = _choice(answer)
    text = (choice.get("message") or {}).get("content")
    if not isinstance(text, str):
        raise _Failed(f"an answer without text: {_short(str(answer))}")
    used = answer.get("usage") or {}
    return Reply(text, int(used.get("prompt_tokens") or 0), int(used.get("completion_tokens") or 0))


def _no_reply(reason: str) -> Reply:
    return Reply(problem=reason)


def _first_token(answer: Mapping[str, Any], options: Sequence[str]) -> tuple[float | None, ...]:
    """The log-prob of each option among the first tokens listed; spaces around a token do not count."""
    content = (_choice(answer).get("logprobs") or {}).get("content")
    if not isinstance(content, list) or not content:
        raise EngineError(
            "the server lists no log-probs of first tokens (logprobs, top_logprobs). Read replies instead: read: reply."
        )
    listed: dict[str, float] = {}
    for entry in content[0].get("top_logprobs") or []:
        token, logprob = str(entry.get("token")).strip(), entry.get("logprob")
        if isinstance(logprob, int | float):
            listed[token] = max(float(logprob), listed.get(token, float("-inf")))
    return tuple(listed.get(option) for option in options)


def _choice(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise _Failed(f"an answer without choices: {_short(str(answer))}")
    return choices[0]


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date is not read, and the usual pause is taken."""
    try:
        return max(float(text), 0.0) if text else None
    except ValueError:
        return None


def _said(error: Any) -> str:
    said = error.body.get("message") if isinstance(error.body, Mapping) else None
    return str(said or error.response.text)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300] + "..."


def _library() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ConfigError("a model over HTTP needs the openai client: pip install 'postlude[openai]'.") from error
    return openai
