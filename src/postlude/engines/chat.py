"""A language model behind an OpenAI-compatible server, asked in words: for judges and critics, never for a policy.

Every request has a limit, every failure a bounded number of further tries, and a server that fails again and again is
left alone.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from postlude.engines.http import SEEDS, Asking, Failure, key_in, library, short
from postlude.engines.protocol import Likely, Meter, Reply, Talk, Tell, Usage, unmetered
from postlude.engines.settings import ChatSpec, Sampling
from postlude.errors import EngineError

OWN_FAULT = {400, 413, 422}
"""Statuses that speak of one question: too long, filtered. It fails, the others go on."""
TOP = 20
"""Most likely first tokens that servers list."""
FLOOR = 1.0
"""Nats below the least likely token listed, for an option that is not (section 10.1)."""
BYTES = 3
"""Of a token, for estimates: rather too many tokens than too few."""
LONG = 16
"""Characters of a key that is none by chance: servers on this machine take `none`, or any other word, for one."""


@dataclass
class ServedChat:
    """A `Chat` over HTTP. Questions that failed in a row are counted over all; at `spec.breaker` it gives up."""

    spec: ChatSpec
    failures: int = 0
    last: str = ""
    """Why the last of them failed."""
    _model: str | None = None
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
                    except Failure as failure:
                        self._require_own(failure)
                        self.failures += 1
                        self.last = str(failure)
                        result = failed(f"{self.spec.url}: {failure}")
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
        """What `read` makes of the answer, after as many tries as are allowed. Failure: there is none."""
        asking = Asking(str(self.spec.url), self.spec.timeout, self.spec.retries, self.spec.pause, self._key)

        async def once() -> Any:
            self._require_patience()
            with meter(_estimate(body), int(body.get("max_tokens", 0))) as usage:
                try:
                    answer = await asking.once(call)
                except Failure as failure:
                    if not failure.spent:
                        usage.read = usage.written = 0
                    raise
                if not hasattr(answer, "model_dump"):
                    raise Failure("answer", f"not JSON: {asking.clean(str(answer))!r}")
                fields = answer.model_dump()
                _settle(usage, fields.get("usage"))
                if len(self._key) >= LONG and self._key in str(fields):
                    raise Failure("question", f"the answer repeats the key of {self.spec.key}, and is not kept")
                return read(fields)

        return await asking.tried(once)

    def _require_patience(self) -> None:
        """Raise EngineError where so many questions have failed that no more are sent."""
        if self.failures >= self.spec.breaker:
            raise EngineError(
                f"{self.spec.url}: {self.failures} questions in a row have failed, and no more are sent. The last: "
                f"{self.last}. Mend the server or the connection, then go on: what was answered is kept.",
                code="server-unreachable",
            )

    def _require_own(self, failure: Failure) -> None:
        """Raise EngineError for what would be refused to every question."""
        if failure.kind == "status" and not failure.passes and failure.status not in OWN_FAULT:
            hint = self._hint(failure.status)
            raise EngineError(f"{self.spec.url}: {failure}.{hint}", code="server-refused") from failure

    async def _name(self, client: Any) -> str:
        """The model's name on the server, looked up once where none was given."""
        if self._model is None and self.spec.model:
            self._model = self.spec.model
        if self._model is None:
            try:
                listed = await self._tried(client.models.list, dict[str, Any], {}, unmetered)
            except Failure as failure:
                self._require_own(failure)
                raise EngineError(
                    f"{self.spec.url}: {failure}. Is the server running?", code="server-unreachable"
                ) from failure
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

    def _hint(self, status: int | None) -> str:
        hints: dict[int | None, str] = {
            401: f" Set {self.spec.key}.",
            403: f" Is the key in {self.spec.key} the right one?",
        }
        hints[404] = f" Is {self.spec.model or 'the model'!r} served there, and does the URL end in /v1?"
        return hints.get(status, "")


def _messages(talk: Talk) -> list[dict[str, Any]]:
    return [{"role": "user", "content": talk}] if isinstance(talk, str) else [dict(m) for m in talk]


def _reply(answer: Mapping[str, Any]) -> Reply:
    choice = _choice(answer)
    text, cut = (choice.get("message") or {}).get("content"), choice.get("finish_reason") == "length"
    if cut and not isinstance(text, str):  # a model that thinks apart, and was cut before it came to an answer
        raise Failure("question", "no text within max_tokens; raise it, or take a judge that thinks less")
    if not isinstance(text, str):
        raise Failure("answer", f"an answer without text: {short(str(answer))}")
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
        raise Failure("answer", f"an answer without choices: {short(str(answer))}")
    return choices[0]


def _estimate(body: Mapping[str, Any]) -> int:
    return sum(len(str(m.get("content")).encode()) // BYTES + 8 for m in body.get("messages", ()))


def _settle(usage: Usage, counts: Any) -> None:
    """What the server says it took; without a word of it, the estimate stays."""
    if isinstance(counts, Mapping):
        usage.read = int(counts.get("prompt_tokens") or 0)
        usage.written = int(counts.get("completion_tokens") or 0)
