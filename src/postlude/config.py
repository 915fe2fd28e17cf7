"""Recipes as text: reading YAML with line numbers, overriding keys, and turning every mistake into a sentence.

The schema is the dataclasses themselves (`recipe.Recipe` and the factors of the objectives), validated by pydantic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from postlude.bounds import KIND
from postlude.errors import ConfigError
from postlude.plain_yaml import parse
from postlude.spelling import closest, meant

MAX_PASSES = 10
"""How often wrong keys are set aside to find what else is wrong."""
COMMAND_LINE = "command line"
"""Where a setting of it comes from."""


@dataclass
class Document:
    """Nested values of a recipe, and where each came from (dotted path -> `recipe.yaml line 3`, `command line`)."""

    values: dict[str, Any]
    origin: dict[str, str] = field(default_factory=dict[str, str])
    given: set[str] = field(default_factory=set[str])
    """Dotted paths of the leaves that the user gave, short forms written out."""
    renamed: list[str] = field(default_factory=list[str])
    """Settings given under another library's name, each as a line for the user: what it became."""
    folder: Path | None = None
    """Where the recipe's file is: its paths are read from there."""
    notes: list[str] = field(default_factory=list[str])
    """What else the user should know about how the recipe was read."""

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
    """A recipe file. Raises ConfigError with the line of each mistake in the YAML itself."""
    shown = str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"recipe {shown!r} does not exist.{_nearby(path)}") from error
    except (OSError, ValueError) as error:  # UnicodeDecodeError and a NUL in the name are ValueErrors
        raise ConfigError(f"cannot read recipe {shown!r}: {error}") from error
    parsed = parse(text)
    problems = [f"{path.name} line {line}: {sentence}." for line, sentence in parsed.problems]
    values = {} if parsed.values is None else parsed.values
    if not isinstance(values, dict):
        problems.append(f"{path.name}: a recipe is a mapping of keys to values, found {_shown(values)}.")
    if problems:
        raise ConfigError(problems)
    origin = {key: f"{path.name} line {line}" for key, line in parsed.lines.items()}
    return Document(values, origin, folder=path.parent)


def _nearby(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path()
    close = closest(path.name, [p.name for p in folder.glob("*.y*ml")])
    return f" Did you mean {str(folder / close)!r}?" if close else ""


# -------------------------------------------------------------------------------------------------- command line


def override(document: Document, assignments: Sequence[str]) -> None:
    """Apply `key.sub=value` from the command line; values are YAML.

    The order does not matter: a key comes before those inside it, and one that is given twice must be the same twice.
    """
    problems: list[str] = []
    given: dict[str, Any] = {}
    skip = False
    for i, text in enumerate(assignments):
        key, equals, value = text.partition("=")
        key = key.strip()
        if skip:
            skip = False
        elif text.startswith("-"):
            following = assignments[i + 1] if i + 1 < len(assignments) and not equals else value
            skip = not equals and bool(following) and "=" not in following
            problems.append(_flag(key.lstrip("-").replace("-", "_"), following))
        elif not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key) or ".." in key or key.endswith("."):
            problems.append(f"command line: {text!r} is not KEY=VALUE (for example group_size=16).")
        else:
            parsed, wrong = _value_of(key, value)
            problems += wrong
            if key in given and _json(given[key]) != _json(parsed):
                problems.append(f"command line: {key} is given as {_shown(given[key])} and as {_shown(parsed)}.")
            given[key] = parsed
    problems += _contradictions(given)
    for key in sorted(given, key=lambda k: k.count(".")):
        try:
            assign(document, key, given[key], COMMAND_LINE)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def _flag(key: str, value: str) -> str:
    wanted = key or "KEY"
    return f"command line: --{key} is no option; settings are KEY=VALUE: {wanted}={value or 'VALUE'}."


def _value_of(key: str, text: str) -> tuple[Any, list[str]]:
    """A value of the command line: YAML, or the text itself where it is none."""
    parsed = parse(text)
    if not parsed.is_yaml:
        return text, []
    return parsed.values, [f"command line: {key}: {sentence}." for _, sentence in parsed.problems]


def _contradictions(given: Mapping[str, Any]) -> list[str]:
    """A key switched off, with another that sets a part of it."""
    return [
        f"command line: {above} is {_shown(given[above])}, and {key} sets a part of it. Keep one of the two."
        for key in given
        for above in given
        if key.startswith(f"{above}.") and (given[above] is None or isinstance(given[above], bool | int | float))
    ]


def long_form(values: Mapping[str, Any]) -> dict[str, Any]:
    """Short forms written out: `model: path`, `data: path` or a list of sets, `reward: name` or a list of them."""
    result = dict(values)
    for key in ("model", "data", "pretrain"):
        if isinstance(result.get(key), str):
            result[key] = {"path": result[key]}
    if isinstance(result.get("data"), list):
        result["data"] = {"mix": result["data"]}
    data = result.get("data")
    if isinstance(data, dict) and isinstance(data.get("mix"), list):
        result["data"] = {**data, "mix": [{"path": s} if isinstance(s, str) else s for s in data["mix"]]}
    sampling = result.get("sampling")
    if isinstance(sampling, dict) and isinstance(sampling.get("stop"), str):
        result["sampling"] = {**sampling, "stop": [sampling["stop"]]}
    reward = result.get("reward")
    if isinstance(reward, str | dict):
        reward = [reward]
    if isinstance(reward, list):
        result["reward"] = [{"use": r} if isinstance(r, str) else r for r in reward]
    if isinstance(result.get("shaping"), dict):
        result["shaping"] = [result["shaping"]]
    return result


def assign(document: Document, path: str, value: Any, origin: str) -> None:
    """Set one key, mappings above it made where they are missing, and note where it came from.

    `data=X` leaves data.eval alone, `data.columns=...` a `data: X`. Raises ConfigError where a list has no such entry.
    """
    if "." in path or isinstance(document.values.get(path), dict):
        document.values.update(long_form(document.values))
    if path in ("model", "data", "pretrain") and isinstance(document.values.get(path), dict):
        if not isinstance(value, dict) and value is not None:
            path = f"{path}.{'mix' if isinstance(value, list) else 'path'}"
    *parents, last = _numbered(document.values, path)
    place: Any = document.values
    for name in parents:
        at = _index(place, name, path) if isinstance(place, list) else name
        inner = place[at] if isinstance(place, list) else place.get(name)
        place[at] = inner if isinstance(inner, dict | list) else {}
        place = place[at]
    place[_index(place, last, path) if isinstance(place, list) else last] = value
    path = ".".join([*parents, last])
    instead = {"data.path": "mix", "data.mix": "path"}.get(path)
    if instead and value:  # the command line's data replace the recipe's
        document.values["data"].pop(instead, None)
    for stale in [p for p in document.origin if p.startswith(path + ".")]:
        del document.origin[stale]
    document.origin[path] = origin


def _numbered(values: Any, path: str) -> list[str]:
    """The parts of a path; the only entry of a list needs no number: `reward.errors` is `reward.0.errors`."""
    parts: list[str] = []
    place: Any = values
    for name in path.split("."):
        if isinstance(place, list) and not name.isdigit():
            if len(place) != 1:
                above = ".".join(parts)
                raise ConfigError(f"{path}: {above} is a list of {len(place)}; say which, such as {above}.0.{name}.")
            parts.append("0")
            place = place[0]
        parts.append(name)
        if isinstance(place, list):
            place = place[int(name)] if len(name) < 10 and int(name) < len(place) else None
        else:
            place = place.get(name) if isinstance(place, dict) else None
    return parts


def _index(entries: list[Any], number: str, path: str) -> int:
    if not re.fullmatch(r"\d{1,9}", number) or int(number) >= len(entries):
        raise ConfigError(f"{path}: there are {len(entries)} entries, counted from 0, and {number!r} is none of them.")
    return int(number)


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


def validate(
    schema: Any, values: Any, document: Document, elsewhere: Mapping[str, str] | None = None
) -> tuple[Any, list[str]]:
    """(value, problems): everything wrong at once, and the value with wrong keys left at their defaults.

    The value is for the rules that look across fields; it is None where not even that parses. `elsewhere`: names that
    are known in other places or to other libraries -> what to write.
    """
    adapter, trimmed = _adapter(schema), json.loads(_json(values))
    problems: list[str] = []
    known: list[tuple[Any, ...]] = []
    for _ in range(MAX_PASSES):
        try:
            return adapter.validate_json(json.dumps(trimmed), strict=True), problems
        except ValidationError as error:
            found = error.errors(include_url=False)
            for one in found:
                loc = one["loc"]
                # a complaint about what holds a part set aside before is a consequence, not a mistake
                if not any(earlier[: len(loc)] == loc for earlier in known):
                    problems.append(_sentence(one, trimmed, schema, document, elsewhere or {}))
            for one in found:
                _drop(trimmed, one["loc"])
            known += [one["loc"] for one in found]
    return None, problems


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def _json(values: Any) -> str:
    """Raises ConfigError for what no recipe can hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, PurePath):
            return str(value)
        raise ConfigError(
            f"a recipe holds text, numbers, true and false, lists and mappings, found {type(value).__name__}: "
            f"{str(value)[:60]!r}."
        )

    try:
        text = json.dumps(values, default=plain)
        text.encode()
        return text
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"the recipe holds values that cannot be written down: {error}.") from error


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)[:60]


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
        last[0].pop(last[1], None)


def _sentence(error: Any, values: Any, schema: Any, document: Document, elsewhere: Mapping[str, str]) -> str:
    """One pydantic error as: where, key, what was seen, what is allowed."""
    kind, seen = error["type"], error.get("input")
    real = _real_path(error["loc"], values, kind in ("missing", "missing_argument"))
    path = ".".join(map(str, real))
    where = document.where(path)
    start = f"{where}: " if where else ""
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{start}unknown key {path!r}{_instead(real, schema, elsewhere)}"
    if kind in ("missing", "missing_argument"):
        return f"{start}{path!r} is missing."
    if kind == KIND:
        return f"{start}{path} {error['msg']}."
    if kind == "value_error":
        return f"{start}{path + ': ' if path else ''}{str(error['msg']).removeprefix('Value error, ')}."
    if kind == "union_tag_invalid":
        allowed, given = error["ctx"]["expected_tags"].replace("'", ""), error["ctx"]["tag"]
        return f"{start}{path}.kind is {given!r}; allowed: {allowed}.{meant(given, allowed.split(', '))}"
    if kind == "union_tag_not_found":
        return f"{start}{path}.kind is missing: it says which of them it is."
    if kind == "literal_error":
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"{start}{path} is {_shown(seen)}; allowed: {allowed}.{meant(str(seen), allowed.split(', '))}"
    wanted = _WANTED.get(kind, str(error["msg"]).lower().removeprefix("input should be "))
    return f"{start}{path or 'the recipe'} must be {wanted}, found {_shown(seen)}.{_advice(kind, seen)}"


def _advice(kind: str, seen: Any) -> str:
    if kind == "string_type" and isinstance(seen, bool):
        return " In YAML yes, no, on and off are true and false: put the word into quotes."
    return " Put it into quotes." if kind == "string_type" and isinstance(seen, int | float) else ""


def _instead(path: Sequence[Any], schema: Any, elsewhere: Mapping[str, str]) -> str:
    """What may be meant by an unknown key: one beside it, one elsewhere, or a name of another library."""
    name, above = str(path[-1]), ".".join(map(str, path[:-1]))
    known = _names(schema, path[:-1])
    if "." in name:
        top, _, rest = name.partition(".")
        return f"; in a recipe keys stand inside each other: {top}: {{{rest.replace('.', ': {')}: ..."
    if close := closest(name, known):
        return f"; did you mean {(above + '.' if above else '') + close!r}?"
    if close := closest(name, elsewhere):
        return f"; did you mean {elsewhere[close]}?"
    return f". Known: {', '.join(sorted(known))}." if known else "."


_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "dataclass_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
}


def _real_path(loc: Sequence[Any], values: Any, missing: bool) -> list[Any]:
    """The location without the names pydantic adds for members of unions: the keys that are there."""
    result: list[Any] = []
    for i, part in enumerate(loc):
        inside = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if inside or (isinstance(values, dict) and part in values):
            values = values[part]
        elif not (missing and i == len(loc) - 1):
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
