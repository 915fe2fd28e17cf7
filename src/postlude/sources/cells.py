"""Lists that a table keeps as text: as JSON, as Python writes them, or as numpy does, without commas.

`DataFrame.to_csv` makes such cells of every list. They are read where a list is wanted, and nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from postlude import plain_json
from postlude.errors import DataError

LISTS = ("completions", "ranks", "scores", "labels", "tools", "documents", "images", "audios", "videos")
"""Columns that hold lists, or nothing that is read."""
OBJECTS = ("reward_model", "chat_template_kwargs")
"""Columns that hold objects."""
_TOKEN = re.compile(
    r"""\s+|(?P<text>'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")|(?P<call>[A-Za-z_][\w.]*\()|(?P<kind>,\s*dtype=)"""
    r"""|(?P<open>[\[{(])|(?P<close>[\]})])|(?P<between>[,:])|(?P<word>[^\s\[\]{}(),:'"]+)""",
    re.DOTALL,
)
_SPEAKER = re.compile(r"""['"](?:role|from)['"]\s*:""")
_BEGINS = re.compile(r"""\s*(array\()?[\[(]\s*\{\s*['"](?:role|from|content|value)['"]\s*:""")
_CLOSED = re.compile(r"\}\s*,?\s*[\])]")
_NOTHING = {"nan", "NaN", "NaT", "null", "<NA>", "inf", "-inf", "Infinity"}
_SAID = {"true": "True", "false": "False", "True": "True", "False": "False", "None": "None"} | dict.fromkeys(
    _NOTHING, "None"
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WRAPPER = re.compile(r"(array|(np|numpy)\.\w+)\(")
_BRACKETS = {"(": "[", ")": "]"}
"""Tuples are lists too."""


def literal(text: str) -> Any:
    """The value that a text writes down. Raises ValueError where it writes none."""
    try:
        return plain_json.loads(text, parse_constant=lambda name: None)
    except ValueError:
        pass
    try:
        return ast.literal_eval("".join(_python(text)))
    except (SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(str(error)) from error


def _python(text: str) -> Iterator[str]:
    """The text as Python source: commas where numpy leaves them out, no wrappers such as array(..., dtype=object)."""
    place, ended, skip, wrapped = 0, False, False, list[bool]()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"character {place} of {text[:40]!r} fits nowhere")
        place, kind, token = match.end(), match.lastgroup, match.group()
        if kind is None:
            continue
        if skip or kind == "kind":
            skip = kind == "kind"
            continue
        if ended and kind in ("text", "call", "open", "word"):
            yield ","
        if (kind == "call" and not _WRAPPER.fullmatch(token)) or (kind == "word" and not _is_value(token)):
            raise ValueError(f"{token[:40]!r} is neither a number nor a name of one")
        if kind in ("call", "open"):
            wrapped.append(kind == "call")
        bare = kind == "call" or (kind == "close" and bool(wrapped) and wrapped.pop())
        ended = kind in ("text", "word", "close")
        if not bare:
            yield _SAID.get(token, token) if kind == "word" else _BRACKETS.get(token, token)


def _is_value(word: str) -> bool:
    return word in _SAID or bool(_NUMBER.fullmatch(word))


def conversation(value: Any, name: str) -> Any:
    """Messages where a text is a list of them written down; every other value as it is.

    Raises DataError for what looks like such a list and cannot be read.
    """
    if not isinstance(value, str) or not (_looks_like_messages(value.strip()) or _is_cut_off(value)):
        return value
    try:
        messages = literal(value.strip())
    except ValueError as error:
        raise DataError(
            f'"{name}" looks like a list of messages written as text, and it is neither JSON nor as Python or numpy '
            "write a list (numpy leaves the middle out of long ones, and some editors cut long cells); write it as "
            "JSON, or keep the table as Parquet or JSON lines",
            code="not-json",
        ) from error
    messages = [messages] if isinstance(messages, dict) else messages
    return messages if isinstance(messages, list) and all(map(_is_message, _flat(messages))) else value


def _looks_like_messages(text: str) -> bool:
    return text.startswith(("[", "{", "(", "array(")) and text.endswith(("]", "}", ")")) and bool(_SPEAKER.search(text))


def _is_cut_off(text: str) -> bool:
    """Whether a text begins as a list of messages that nothing ends."""
    return bool(_BEGINS.match(text)) and not _CLOSED.search(text)


def _flat(messages: list[Any]) -> Iterator[Any]:
    for one in messages:
        yield from one if isinstance(one, list) else [one]


def _is_message(item: Any) -> bool:
    """Whether an object says something as somebody; other JSON may have such keys too."""
    if not isinstance(item, dict):
        return False
    said = "content" in item or "value" in item or "tool_calls" in item or "function_call" in item
    return said and ("role" in item or "from" in item)


def read_cells(row: Mapping[str, Any], conversations: set[str]) -> dict[str, Any]:
    """The row with lists and objects where text writes them down: messages in the columns named, `LISTS`, `OBJECTS`.

    Text of a list column that is no list stays, for the checks to say so.
    """
    values = dict(row)
    for name, value in row.items():
        if name in conversations or name == "completions":
            values[name] = value = conversation(value, name)
        starts = ("[", "(", "array(") if name in LISTS else ("{",) if name in OBJECTS else ()
        if starts and isinstance(value, str) and value.strip().startswith(starts):
            try:
                values[name] = literal(value.strip())
            except ValueError:
                continue
    if isinstance(values.get("completions"), list):
        values["completions"] = [conversation(one, "completions") for one in values["completions"]]
    return values
