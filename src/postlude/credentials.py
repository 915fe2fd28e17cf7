"""Keys of services: known by their form or from the environment, so that none is written where others may read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

VEIL = "***"
LEAST = 8
"""Characters of a value of the environment that is looked for in texts."""
_ENDINGS = re.compile(r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)S?$|(?:PASSWD|PASSPHRASE)$|_(?:AUTH|PAT)$")
"""Of names of variables whose values are secret."""
_TAKEN: set[str] = set()
"""Names of variables that settings take keys from, whatever they are called."""
_FORMS = re.compile(
    r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bxox[abp]-[A-Za-z0-9-]{10,}"
    r"|\bAKIA[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"
)
"""Keys as services make them."""
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}")
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}:/{1,3})[^\s/@]{1,300}@", re.IGNORECASE)
_PASSWORD = re.compile(r"(?i)((?<![\w@.+-])(?!mailto:)[\w.+-]{1,60}:)[^\s/@:'\"]{1,300}(?=@\w)")
"""Of a URL without its scheme."""
_QUERY = re.compile(r"(?i)([?&](?:[a-z_-]{0,30})(?:key|token|secret|password|signature|sig)=)[^\s&#'\"]+")
_NAMED = re.compile(r"(?i)^(?:[a-z]+_)?(?:api_?key|api_?token|access_?token|auth_?token|password|secret|secret_key)$")
"""Names of settings that would hold a key."""


def veiled(text: str) -> str:
    """The text without the keys in it: those of the environment, and what has the form of one."""
    for secret in _of_environment():
        if secret in text:
            text = text.replace(secret, VEIL)
    if "@" in text:
        text = _PASSWORD.sub(rf"\1{VEIL}", _USER.sub(rf"\1{VEIL}@", text))
    if "=" in text:
        text = _QUERY.sub(rf"\1{VEIL}", text)
    return _BEARER.sub(rf"\1{VEIL}", _FORMS.sub(VEIL, text))


def veiled_in(value: Any) -> Any:
    """The same of every text in lists, tuples and mappings; other values stay as they are."""
    if isinstance(value, str):
        return veiled(value)
    if isinstance(value, Mapping):
        return {veiled_in(name): veiled_in(inner) for name, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if type(value) in (list, tuple):
        return type(value)(map(veiled_in, value))
    return value


def take_from(variable: str) -> None:
    """Know that a variable of the environment holds a key, though its name may not tell."""
    _TAKEN.add(variable)


def _of_environment() -> list[str]:
    """The longest first: one may begin as another does."""
    values = [os.environ.get(name, "").strip() for name in os.environ if name in _TAKEN or _is_secret(name)]
    return sorted((value for value in values if len(value) >= LEAST), key=len, reverse=True)


@lru_cache(1024)
def _is_secret(name: str) -> bool:
    return bool(_ENDINGS.search(name))


def is_key(text: str) -> bool:
    """Whether a text is, or holds, a key."""
    return bool(_FORMS.search(text)) or any(secret in text for secret in _of_environment())


def in_url(url: str) -> bool:
    """Whether a URL holds a user, a password or a key."""
    return is_key(url) or bool(_USER.search(url) or _PASSWORD.search(url) or _QUERY.search(url))


def keys_in(values: object, path: str = "") -> Iterator[str]:
    """Dotted paths of settings that hold a key: by their own form, or by their name."""
    if isinstance(values, Mapping):
        for name, inner in values.items():  # pyright: ignore[reportUnknownVariableType]
            below = f"{path}.{name}" if path else str(name)  # pyright: ignore[reportUnknownArgumentType]
            if isinstance(inner, str) and inner and _NAMED.search(str(name)):  # pyright: ignore[reportUnknownArgumentType]
                yield below
            else:
                yield from keys_in(inner, below)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(values, list | tuple):
        for i, inner in enumerate(values):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            yield from keys_in(inner, f"{path}.{i}")  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(values, str) and (is_key(values) or _USER.search(values) or _QUERY.search(values)):
        yield path
