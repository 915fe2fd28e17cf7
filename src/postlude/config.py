"""Recipes as text: reading YAML with line numbers, overriding keys, and turning every mistake into a sentence.

The schema is the dataclasses themselves (`recipe.Recipe` and the factors of the objectives), validated by pydantic.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from postlude.errors import ConfigError

MAX_PASSES = 10
"""How often wrong keys are set aside to find what else is wrong."""


class Loader(yaml.SafeLoader):
    """YAML in which 1e-6 is a number (YAML 1.1 reads text) and a key may stand only once."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|\.inf|\.nan)$"),
    list("-+0123456789."),
)


@dataclass
class Document:
    """Nested values of a recipe, and where each came from (dotted path -> `recipe.yaml line 3`, `command line`)."""

    values: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict[str, str])
    given: set[str] = field(default_factory=set[str])
    """Dotted paths of the leaves that the user gave, short forms written out."""
    renamed: list[str] = field(default_factory=list[str])
    """Settings given under another library's name, each as a line for the user: what it became."""

    def source(self, path: str) -> str:
        """Where the value in force came from: a line, the command line, the method, or `default`."""
        if path in self.given:
            return self.where(path)
        return self.origin.get(path, "default")

    def where(self, path: str) -> str:
        """Where a dotted path was set, or its nearest parent; empty where nothing was."""
        while path:
            if path in self.origin:
                return self.origin[path]
            path = path.rpartition(".")[0]
        return ""


def read(path: Path) -> Document:
    """A recipe file. Raises ConfigError with the line of a mistake in the YAML itself."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"recipe {str(path)!r} does not exist.{_nearby(path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read recipe {str(path)!r}: {error}") from error
    try:
        root = yaml.compose(text, Loader)
        values = yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise ConfigError(f"{path.name} line {line}: not YAML: {error.problem}") from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path.name}: a recipe is a mapping of keys to values, found {type(values).__name__}.")
    document = Document(values)
    problems: list[str] = []
    _note_lines(root, "", path.name, document, problems)
    if problems:
        raise ConfigError(problems)
    return document


def _nearby(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    names = [p.name for p in folder.glob("*.yaml")]
    close = get_close_matches(path.name, names, 1)
    return f" Did you mean {str(folder / close[0])!r}?" if close else ""


def _note_lines(node: Any, prefix: str, file: str, document: Document, problems: list[str]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            path = f"{prefix}.{name}" if prefix else name
            if name in seen:
                problems.append(f"{file} line {key.start_mark.line + 1}: {path} is given twice.")
            seen.add(name)
            document.origin[path] = f"{file} line {key.start_mark.line + 1}"
            _note_lines(value, path, file, document, problems)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            path = f"{prefix}.{i}"
            document.origin[path] = f"{file} line {value.start_mark.line + 1}"
            _note_lines(value, path, file, document, problems)


def override(document: Document, assignments: Iterable[str]) -> None:
    """Apply `key.sub=value` from the command line; values are YAML."""
    problems = []
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key.strip()):
            problems.append(f"command line: {text!r} is not KEY=VALUE (for example group_size=16).")
            continue
        try:
            parsed = yaml.load(value, Loader)
        except yaml.YAMLError:
            parsed = value
        assign(document, key.strip(), parsed, "command line")
    if problems:
        raise ConfigError(problems)


def _follows(path: str, name: str) -> bool:
    """Whether a number stands behind a name in a path: an entry of a list, such as reward.1.weight."""
    return re.search(rf"(?:^|\.){re.escape(name)}\.\d+(?:\.|$)", path) is not None


def _index(entries: list[Any], number: str, path: str) -> int:
    if not number.isdigit() or int(number) >= len(entries):
        raise ConfigError(f"{path}: there are {len(entries)} entries, counted from 0, and {number!r} is none of them.")
    return int(number)


def _member(entries: list[Any], number: str, path: str) -> Any:
    """An entry of a list to set a key of; a name alone becomes a mapping."""
    at = _index(entries, number, path)
    if isinstance(entries[at], str):
        entries[at] = {"use" if path.startswith("reward.") else "path": entries[at]}
    return entries[at]


def assign(document: Document, path: str, value: Any, origin: str) -> None:
    """Set one key, mappings above it made where they are missing, and note where it came from."""
    shorthand = {"model": "path", "data": "path", "pretrain": "path"}
    if path in shorthand and isinstance(document.values.get(path), dict) and not isinstance(value, dict):
        path = f"{path}.{'mix' if isinstance(value, list) else shorthand[path]}"  # `data=X` leaves data.eval alone
    *parents, last = path.split(".")
    place: Any = document.values
    for i, name in enumerate(parents):
        if isinstance(place, list):
            place = _member(place, name, path)
            continue
        inner = place.get(name) if isinstance(place, dict) else None
        if isinstance(inner, str) and i == 0 and name in shorthand:
            inner = {shorthand[name]: inner}
        if isinstance(inner, list) and i == 0 and name == "data":
            inner = {"mix": inner}
        if not isinstance(inner, dict) and not (isinstance(inner, list) and _follows(path, name)):
            inner = {}
        place[name] = inner
        place = inner
    place[_index(place, last, path) if isinstance(place, list) else last] = value
    instead = {"data.path": "mix", "data.mix": "path"}.get(path)
    if instead and value:  # the command line's data replace the recipe's
        document.values["data"].pop(instead, None)
    for stale in [p for p in document.origin if p.startswith(path + ".")]:
        del document.origin[stale]
    document.origin[path] = origin


def merge(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change` on top, mapping by mapping; another `kind` replaces a factor as a whole."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        same_kind = (
            isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind")
        )
        result[key] = merge(old, value) if same_kind else value  # type: ignore[arg-type]
    return result


# ----------------------------------------------------------------------------------------------------- validation


def validate(schema: Any, values: Any, document: Document) -> tuple[Any, list[str]]:
    """(value, problems): everything wrong at once, and the value with wrong keys left at their defaults.

    The value is for the rules that look across fields; it is None where not even that parses.
    """
    adapter, trimmed = TypeAdapter(schema), json.loads(json.dumps(values))
    problems: list[str] = []
    known: list[tuple[Any, ...]] = []
    for _ in range(MAX_PASSES):
        try:
            return adapter.validate_json(json.dumps(trimmed), strict=True), problems
        except ValidationError as error:
            for found in _telling(error.errors()):
                loc = found["loc"]
                # a complaint about what holds a part set aside before is a consequence, not a mistake
                if not any(earlier[: len(loc)] == loc for earlier in known):
                    problems.append(_sentence(found, schema, document))
                _drop(trimmed, loc)
            known += [found["loc"] for found in error.errors()]
    return None, problems


def _telling(errors: Sequence[Any]) -> list[Any]:
    """Of a value that may be one of a few words or a mapping: only what its own kind has to say."""
    places = Counter(e["loc"][:-1] for e in errors)
    words = {e["loc"][:-1] for e in errors if e["type"] == "literal_error"}

    def other(e: Any) -> bool:
        above = e["loc"][:-1]
        if e["type"] == "literal_error":
            return isinstance(e["input"], dict) and (places[above] > 1 or any(e2["loc"][:-2] == above for e2 in errors))
        return e["type"] == "dataclass_type" and above in words

    return [e for e in errors if not other(e)]


def _drop(values: Any, loc: Sequence[Any]) -> None:
    """Delete the deepest key of `loc` that exists (names of union members in between do not)."""
    last: tuple[dict[str, Any], Any] | None = None
    for key in loc:
        if isinstance(values, dict) and key in values:
            last = values, key
            values = values[key]
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
    if last:
        del last[0][last[1]]


def _sentence(error: Any, schema: Any, document: Document) -> str:
    """One pydantic error as: where, key, what was seen, what is allowed."""
    real = _real_path(error["loc"], schema)
    path = ".".join(map(str, real))
    where = document.where(path)
    start = f"{where}: " if where else ""
    kind, seen = error["type"], error.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _names(schema, real[:-1])
        close = get_close_matches(str(real[-1]), known, 1)
        parent = path.rpartition(".")[0]
        hint = (
            f"; did you mean {(parent + '.' if parent else '') + close[0]!r}?"
            if close
            else f". Known: {', '.join(sorted(known))}."
        )
        return f"{start}unknown key {path!r}{hint}"
    if kind in ("missing", "missing_argument"):
        return f"{start}{path!r} is missing."
    shown = json.dumps(seen, default=str)[:60]
    if kind == "value_error":
        return f"{start}{path + ': ' if path else ''}{str(error['msg']).removeprefix('Value error, ')}."
    if kind == "union_tag_invalid":
        allowed = error["ctx"]["expected_tags"].replace("'", "")
        tag = error["ctx"]["tag"]
        close = get_close_matches(tag, allowed.split(", "), 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{start}{path}.kind is {tag!r}; allowed: {allowed}.{hint}"
    if kind == "literal_error":
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        mappings = [m for m in members(_type_at(schema, real)) if is_dataclass(m)]
        allowed += "".join(f", or a mapping of {' and '.join(f.name for f in fields(m))}" for m in mappings)
        close = get_close_matches(str(seen), allowed.split(", "), 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{start}{path} is {shown}; allowed: {allowed}.{hint}"
    wanted = _WANTED.get(kind, str(error["msg"]).lower())
    return f"{start}{path} must be {wanted}, found {shown}."


_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _real_path(loc: Sequence[Any], schema: Any) -> list[Any]:
    """The location without the names pydantic adds for union members."""
    result: list[Any] = []
    for part in loc:
        options = members(_type_at(schema, result))
        tags = {t.__name__ for t in options if isinstance(t, type)} | {tag(t) for t in options}
        names = {f.name for t in options if is_dataclass(t) for f in fields(t)}
        if isinstance(part, str) and part not in names and (part in tags or "[" in part):
            continue
        result.append(part)
    return result


def tag(kind: Any) -> str | None:
    """The `kind` of a factor's class; None for classes without one."""
    if not is_dataclass(kind):
        return None
    found = [f.default for f in fields(kind) if f.name == "kind"]
    return str(found[0]) if found else None


def members(hint: Any) -> list[Any]:
    """The alternatives of a (possibly annotated) union; the type itself where it is none."""
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [m for arg in get_args(hint) for m in members(arg)]
    return [hint]


def _type_at(schema: Any, path: Sequence[Any]) -> Any:
    for name in path:
        if isinstance(name, int):
            args = [a for m in members(schema) for a in get_args(m)]
            schema = args[0] if args else Any
            continue
        found: list[Any] = []
        for option in members(schema):
            if is_dataclass(option):
                hints = get_type_hints(option, include_extras=True)
                found += [hints[name]] if name in hints else []
        schema = Union[tuple(found)] if found else Any  # noqa: UP007
    return schema


def _names(schema: Any, path: Sequence[Any]) -> list[str]:
    return [f.name for option in members(_type_at(schema, path)) if is_dataclass(option) for f in fields(option)]


def flat(values: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """(dotted path, value) of every leaf."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(values, list | tuple) and values and isinstance(values[0], Mapping):
        for i, value in enumerate(values):
            yield from flat(value, f"{prefix}.{i}")
    else:
        yield prefix, values
