"""Whether a suite's prompts are in what a run was trained on: then it measures memory, too."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude.data import Message, Prompt, message_text
from postlude.errors import ConfigError, DataError
from postlude.runs.history import History
from postlude.shapes import is_list, is_mapping
from postlude.sources import file as sources
from postlude.suites.template import Template

_SPACE = re.compile(r"\s+")
LEAST = 24
"""Letters of a text from which on it is looked for inside of others; a shorter one only as a whole."""


@dataclass(frozen=True)
class Leaks:
    """What was looked for, where, and what was seen."""

    prompts: tuple[str, ...]
    """Ids of the suite's prompts that are in there."""
    looked_at: tuple[str, ...]
    """In words; empty where nothing could be looked at."""
    not_seen: tuple[str, ...] = ()
    """What could not be, and why."""


def leaks(template: Template, prompts: Sequence[Prompt], history: History) -> Leaks:
    """A prompt is in there where its own wording, or the text of a column that the template names, is a training text,
    or a part of one (of `LEAST` letters and more); white space and case aside."""
    looked_at: list[str] = []
    not_seen: list[str] = []
    texts: set[str] = set()
    data: Any = history.recipe.get("data") or {}
    paths = [data.get("path"), *(one.get("path") for one in data.get("mix") or () if is_mapping(one))]
    for path in (str(path) for path in paths if path):
        try:
            texts |= {_plain(text) for text in _texts_of(path)}
            looked_at.append(path)
        except (ConfigError, DataError, OSError) as error:
            not_seen.append(f"{path}: {str(error).splitlines()[0]}")
    asked = {
        _plain(text) for step in history.rollouts for row in history.rollouts[step] for text in _said(row.get("prompt"))
    }
    if asked:
        looked_at.append("the prompts it answered while training")
    texts |= asked
    whole = "\0".join(sorted(texts))
    ids = [prompt.id for prompt in prompts if any(_is_in(key, texts, whole) for key in _keys(template, prompt))]
    return Leaks(tuple(ids), tuple(looked_at), tuple(not_seen))


def _keys(template: Template, prompt: Prompt) -> Iterator[str]:
    """What would be remembered of a prompt: the whole of it without examples, and the longer texts it is made of."""
    columns = prompt.columns
    whole = template.with_what_is_there(columns)
    texts = [str(columns.get(name, "")) for name in template.names]
    yield from dict.fromkeys(_plain(text) for text in (whole, *(t for t in texts if len(t) >= LEAST)))


def _is_in(key: str, texts: set[str], whole: str) -> bool:
    return key in texts or (len(key) >= LEAST and key in whole)


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip().casefold()


def _texts_of(path: str) -> Iterator[str]:
    """Everything that is said in a file of data: a leak may stand in any column."""
    if path.startswith("hf:"):
        raise ConfigError("a data set of the hub is not asked for again", code="cannot-read")
    if not Path(path).expanduser().exists():
        raise ConfigError("it is not there any more", code="no-such-file")
    for row in sources.read(path).rows:
        for value in row.values.values():
            yield from _said(value)


def _said(value: Any) -> Iterator[str]:
    """The texts in a value: of messages each, and lists of them."""
    if isinstance(value, str):
        yield value
    elif is_list(value):
        for one in value:
            yield from _said(one)
    elif is_mapping(value):
        message: Mapping[str, Any] | Message = value
        if "content" in message:
            yield message_text(message)
        else:
            for one in message.values():
                yield from _said(one)
