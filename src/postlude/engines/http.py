"""What asking OpenAI-compatible servers has in common: the client library, the key, trying again, and short texts.

A request has a limit of time and a bounded number of further tries; what it came to in the end is a `Failure`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeVar
from urllib.parse import urlsplit

from postlude.credentials import veiled
from postlude.engines.settings import LONGEST_RETRY_AFTER
from postlude.errors import ConfigError
from postlude.waits import waiting

R = TypeVar("R")
LONGEST_PAUSE = 60.0

RETRIED = {408, 409, 429}
"""Statuses that are tried again, beside every one from 500 on."""
SEEDS = 1 << 63
"""Servers take signed 64-bit seeds."""


def library() -> Any:
    """The openai client, an optional dependency."""
    try:
        import openai
    except ImportError as error:
        raise ConfigError(
            "a model over HTTP needs the openai client: pip install 'postlude[openai]'.", code="missing-package"
        ) from error
    return openai


def key_in(variable: str) -> str:
    """The key of an environment variable, empty where there is none. Raises ConfigError, without it, where no header
    can carry it."""
    key = os.environ.get(variable, "").strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"the key in {variable} holds characters that no header can carry.", code="wrong-type")
    return key


def place_of(url: str) -> str:
    """A server's URL without what may hold a key."""
    return urlsplit(url)._replace(query="", fragment="").geturl()


def without(key: str, text: str) -> str:
    """A short text in which no key stands: some servers repeat the one they refuse."""
    return short(text.replace(key, "***") if key else text).rstrip(".")


def said(error: Any) -> str:
    """What a server said beside a status."""
    message = error.body.get("message") if isinstance(error.body, Mapping) else None
    return str(message or error.response.text)


@dataclass
class Failure(Exception):
    """Why there is no answer."""

    kind: Literal["status", "timeout", "connection", "answer", "question"]
    """A status; no answer in time; no connection; an answer that cannot be read; a question that has none."""
    reason: str
    """Without the key."""
    status: int | None = None
    wait: float | None = None
    """Seconds until the next try, where the server said how many."""
    tries: int = 1
    """How often it was asked."""

    def __post_init__(self) -> None:
        super().__init__(self.reason)

    @property
    def passes(self) -> bool:
        """Whether another try may succeed."""
        if self.kind == "status":
            return self.status in RETRIED or (self.status or 0) >= 500
        return self.kind != "question"

    @property
    def spent(self) -> bool:
        """Whether the server may have worked on it."""
        return self.kind not in ("status", "connection")

    def __str__(self) -> str:
        return self.reason + (f" in {self.tries} tries" if self.tries > 1 else "")


@dataclass
class Asking:
    """How one server is asked: the limit of each try in seconds, how many more there are, and the pauses between."""

    url: str
    timeout: float
    retries: int
    pause: float
    """Seconds before the second try; they double up to `LONGEST_PAUSE`, times 0.5 to 1.5 at random."""
    key: str
    _random: random.Random = field(default_factory=random.Random)

    async def tried(self, once: Callable[[], Awaitable[R]]) -> R:
        """What `once` gives, after as many tries as are allowed. Raises its last Failure."""
        for attempt in range(self.retries + 1):
            try:
                return await once()
            except Failure as failure:
                failure.tries = attempt + 1
                if not failure.passes or attempt == self.retries:
                    raise
                if failure.wait is not None and failure.wait > LONGEST_RETRY_AFTER:
                    failure.tries = 1
                    failure.reason += (
                        f"; the server asks to wait {failure.wait:g} s, and {LONGEST_RETRY_AFTER:g} are waited at most"
                    )
                    raise
                await asyncio.sleep(self._before_next(attempt, failure.wait))
        raise AssertionError

    def _before_next(self, attempt: int, asked: float | None) -> float:
        if asked is not None:
            return asked
        return min(LONGEST_PAUSE, self.pause * 2**attempt) * self._random.uniform(0.5, 1.5)

    async def once(self, call: Callable[[], Awaitable[R]]) -> R:
        """What the client gives for one request. Raises Failure."""
        openai = library()
        try:
            # the client's own limit does not see a body that drips; below, no cause is told: it may repeat the key
            with waiting(f"the server {place_of(self.url)}", verb="asked"):
                async with asyncio.timeout(self.timeout):
                    return await call()
        except openai.APIStatusError as error:
            self._refused(error)
        except (openai.APITimeoutError, TimeoutError) as error:
            raise Failure("timeout", f"no answer within {self.timeout:g} s") from error
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            raise Failure(
                "connection", f"no connection: {type(cause).__name__} {veiled(str(cause))}".rstrip()
            ) from None
        except openai.APIResponseValidationError as error:
            raise Failure("answer", f"not what this endpoint returns: {self.clean(str(error))}") from None
        except ValueError as error:  # what the client makes of a body that is no JSON
            raise Failure("answer", f"not JSON: {self.clean(str(error))}") from None

    def _refused(self, error: Any) -> NoReturn:
        reason = f"status {error.status_code}: {self.clean(said(error))}"
        wait = _seconds(error.response.headers.get("retry-after"))
        raise Failure("status", reason, error.status_code, wait) from None

    def clean(self, text: str) -> str:
        """A short text without the key."""
        return without(self.key, text)


def _seconds(text: str | None) -> float | None:
    """Retry-After in seconds; a date is not read, and the usual pause is taken."""
    try:
        return max(float(text), 0.0) if text else None
    except ValueError:
        return None


def short(text: str) -> str:
    """One line of at most 300 characters, without keys."""
    text = " ".join(veiled(text).split())  # before it is cut: half a key is one too
    return text if len(text) <= 300 else text[:300] + "..."
