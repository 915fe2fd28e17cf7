"""Sampling over HTTP, from a server with OpenAI's completions endpoint: for a policy that stays as it is.

Prompts go out as token ids, and token ids with log-probs must come back: text is never tokenised again.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from postlude.data import Completion
from postlude.engines.answers import Reader, Unsound, as_they_end, check_numbers
from postlude.engines.http import SEEDS, Asking, Failure, key_in, library, short
from postlude.engines.protocol import Progress, Request, Weights
from postlude.engines.settings import Sampling, Served
from postlude.errors import EngineError

PAUSE = 0.5
"""Seconds before the first retry."""
NAMED_ID = re.compile(r"token_id:\d{1,9}")
HOW_TO = (
    "postlude needs the id and the log-prob of every sampled token and never guesses them from text. It asks for them "
    "by itself (return_token_ids, logprobs): vLLM returns them from 0.10.2 on, or when started with "
    "--return-tokens-as-token-ids; SGLang from July 2026 on; llama.cpp in logprobs.content. Update the server, and "
    "reach it without a proxy that drops these fields."
)


class OpenAISampler:
    """A `Sampler` over an OpenAI-compatible server. Every completion is a request of its own, with its own seed."""

    def __init__(
        self,
        served: Served,
        tokenizer: Any,
        stop_ids: frozenset[int],
        vocabulary: int,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.served, self.reader = served, Reader(tokenizer, stop_ids, vocabulary)
        self.version = 0
        self.on_progress = on_progress
        self.on_smaller: Callable[[str], None] = lambda text: None
        self.model: str | None = None
        """The name on the server, once `check` has seen it there."""

    async def load(self, weights: Weights) -> None:
        """A server's weights are its own: EngineError."""
        raise EngineError("a policy behind a server stays as it is: it cannot be trained", code="not-supported")

    async def check(self) -> str:
        """The served model's name; an error where the server has no such model, or is not there."""
        async with self._client() as client:
            return await self._check(client)

    def give_way(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        """Nothing: the memory is the server's."""
        return False

    async def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """Completions as they finish, at most `concurrency` at a time. The first failure cancels the rest."""
        progress = Progress(total=len(requests))
        gate = asyncio.Semaphore(self.served.concurrency)
        async with self._client() as client:
            model = self.model or await self._check(client)

            async def one(index: int) -> tuple[int, Completion]:
                async with gate:
                    body = self._body(model, requests[index], sampling)
                    answer = await self._ask("completions", lambda: client.completions.with_raw_response.create(**body))
                return index, self._completion(answer, requests[index], sampling)

            async with aclosing(as_they_end([one(i) for i in range(len(requests))])) as answers:
                async for index, completion in answers:
                    progress.tokens += completion.length
                    progress.finished += 1
                    if self.on_progress:
                        self.on_progress(progress)
                    yield index, completion

    # ------------------------------------------------------------------------------------------------ asking

    def _client(self) -> Any:
        """A fresh client: its connections belong to one event loop."""
        openai = library()
        key = key_in("OPENAI_API_KEY") or "none"  # the client insists on one, local servers do not
        return openai.AsyncOpenAI(base_url=self.served.url, api_key=key, timeout=self.served.timeout, max_retries=0)

    async def _check(self, client: Any) -> str:
        listed = await self._ask("models", client.models.with_raw_response.list)
        rows = listed.get("data") if isinstance(listed, dict) else None
        names = [str(row["id"]) for row in rows or [] if isinstance(row, dict) and "id" in row]
        wanted = self.served.model or (names[0] if len(names) == 1 else None)
        if wanted not in names or wanted is None:
            asked = f"no model {wanted!r} here" if wanted else "which model is meant? Give its name"
            raise self._error(f"{asked}. Served: {', '.join(names) or 'nothing'}.")
        self.model = wanted
        return wanted

    def _body(self, model: str, request: Request, sampling: Sampling) -> dict[str, Any]:
        """What is asked for. Every setting is said: servers take what is left out from the model's own defaults."""
        return {
            "model": model,
            "prompt": list(request.prompt),
            "seed": request.seed % SEEDS,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "stop": list(sampling.stop),
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "logprobs": 1,
            "extra_body": {
                "top_k": sampling.top_k or -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "stop_token_ids": sorted(self.reader.stop_ids),
                "skip_special_tokens": False,  # else a stop string of special tokens is never seen
                "include_stop_str_in_output": True,
                "no_stop_trim": True,
                "return_token_ids": True,
                "return_tokens_as_token_ids": True,
            },
        }

    async def _ask(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """The JSON of an answer; anything else is an EngineError that names the URL and what the server said."""
        served = self.served
        where = f"{served.url.rstrip('/')}/{what}"
        asking = Asking(served.url, served.timeout, served.retries, PAUSE, key_in("OPENAI_API_KEY"))
        try:
            raw = await asking.tried(lambda: asking.once(call))
        except Failure as failure:
            code = "server-refused" if failure.kind == "status" else "server-unreachable"
            raise EngineError(f"{where}: {failure}.{_advice(failure, what)}", code=code) from failure
        try:
            return json.loads(raw.http_response.content)
        except (ValueError, RecursionError) as error:
            seen = short(raw.http_response.text)
            raise EngineError(
                f"{where}: not JSON: {seen!r}. Is this an OpenAI-compatible server?", code="server-answer"
            ) from error

    def _error(self, problem: str) -> EngineError:
        return EngineError(f"{self.served.url}: {problem}", code="server-answer")

    # ----------------------------------------------------------------------------------------------- reading

    def _completion(self, answer: Any, request: Request, sampling: Sampling) -> Completion:
        reply = Reply.read(answer)
        if reply.lacks:
            raise self._error(reply.lacks)
        sent, used = tuple(request.prompt), reply.prompt
        try:
            check_numbers(reply.tokens, reply.logprobs, sampling, reply.counted)
            self.reader.check_ids(reply.tokens)
            if used is not None and tuple(used) != sent:
                raise Unsound(f"another prompt was answered: {len(sent)} token ids were sent, {len(used)} were used.")
            completion = self.reader.completion(reply.tokens, reply.logprobs, reply.finish, sampling)
        except Unsound as unsound:
            raise self._error(str(unsound)) from None
        return replace(completion, policy_version=self.version)


def _advice(failure: Failure, what: str) -> str:
    """What may help, behind a space; empty where nothing is known to."""
    if failure.kind == "timeout":
        return " Raise sampler.timeout, or ask for less at once: sampler.concurrency, max_tokens."
    if failure.kind == "connection":
        return " Is the server running?"
    if failure.status == 401:
        return " Set OPENAI_API_KEY."
    return " The URL usually ends in /v1." if failure.status == 404 and what == "models" else ""


@dataclass(frozen=True)
class Reply:
    """One answer as a server gave it, in any of the documented forms."""

    tokens: list[Any]
    logprobs: list[Any]
    finish: str | None = None
    prompt: list[Any] | None = None
    """The prompt's ids as the server says it used them."""
    counted: int | None = None
    """How many tokens the server says it made, where it may leave some out of the list."""
    lacks: str | None = None
    """What is missing from the answer, and what to do."""

    @classmethod
    def read(cls, answer: Any) -> Reply:
        """From the JSON of an answer."""
        choices = answer.get("choices") if isinstance(answer, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return cls([], [], lacks=f"an answer without choices: {short(json.dumps(answer))}")
        details = choice["logprobs"] if isinstance(choice.get("logprobs"), dict) else {}
        tokens, logprobs = _ids(choice, details), _logprobs(details)
        if tokens is None or logprobs is None:
            seen = sorted([k for k, v in choice.items() if v is not None] + [f"logprobs.{k}" for k in details])
            missing = "token ids" if tokens is None else "log-probs"
            return cls([], [], lacks=f"an answer without {missing} (it has {', '.join(seen)}). {HOW_TO}")
        prompt, usage = choice.get("prompt_token_ids"), answer.get("usage")
        # llama.cpp has no entry for a token that holds only part of a character
        counted = usage.get("completion_tokens") if isinstance(usage, dict) and "content" in details else None
        return cls(tokens, logprobs, choice.get("finish_reason"), prompt if isinstance(prompt, list) else None, counted)


def _ids(choice: Mapping[str, Any], details: Mapping[str, Any]) -> list[Any] | None:
    """`token_ids` (vLLM, SGLang), tokens written as `token_id:N` (vLLM), or entries with an `id` (llama.cpp)."""
    ids, content, names = choice.get("token_ids"), details.get("content"), details.get("tokens")
    if isinstance(ids, list):
        return ids
    if isinstance(names, list) and all(isinstance(n, str) and NAMED_ID.fullmatch(n) for n in names):
        return [int(n.partition(":")[2]) for n in names]
    return _entries(content, "id")


def _logprobs(details: Mapping[str, Any]) -> list[Any] | None:
    values = details.get("token_logprobs")
    return values if isinstance(values, list) else _entries(details.get("content"), "logprob")


def _entries(content: Any, key: str) -> list[Any] | None:
    if isinstance(content, list) and all(isinstance(c, dict) and key in c for c in content):
        return [c[key] for c in content]
    return None
