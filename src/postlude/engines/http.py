"""What asking OpenAI-compatible servers has in common: the client library, the key, and short texts without it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from postlude.errors import ConfigError

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


def short(text: str) -> str:
    """One line of at most 300 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300] + "..."
