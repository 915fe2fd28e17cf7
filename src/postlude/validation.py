"""Values against a schema of dataclasses: everything wrong at once, each mistake a sentence with its key.

The schema is the dataclasses themselves (`recipe.Recipe` and the factors of the objectives), validated by pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import PurePath
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from postlude.bounds import KIND
from postlude.errors import ConfigError, Problem
from postlude.words import closest, meant

MAX_PASSES = 10
"""How often wrong keys are set aside to find what else is wrong."""
MISSING = ("missing", "missing_argument")
"""What pydantic calls a key that is not there."""


def validate(
    schema: Any,
    values: Any,
    place_of: Callable[[str], str] = lambda path: "",
    elsewhere: Mapping[str, str] | None = None,
    owner: str = "",
) -> tuple[Any, list[Problem]]:
    """(value, problems): everything wrong at once, and the value with wrong keys left at their defaults.

    The value is for the rules that look across fields; it is None where not even that parses. `place_of`: the file and
    line of a dotted key, empty where there is none. `elsewhere`: names that are known in other places or to other
    libraries -> what to write. `owner`: whose values they are, such as a method.
    """
    adapter, trimmed = _adapter(schema), json.loads(as_json(values))
    problems: list[Problem] = []
    known: list[tuple[Any, ...]] = []
    for _ in range(MAX_PASSES):
        try:
            return adapter.validate_json(json.dumps(trimmed), strict=True), problems
        except ValidationError as error:
            mistakes = error.errors(include_url=False)
            # a complaint about what holds a part set aside before is a consequence, not a mistake
            fresh = [one for one in mistakes if not any(earlier[: len(one["loc"])] == one["loc"] for earlier in known)]
            for one in _one_per_key(_of_their_kind(fresh), trimmed):
                problems.append(_problem(one, trimmed, schema, place_of, elsewhere or {}, owner))
            for one in mistakes:
                _drop(trimmed, one["loc"])
            known += [one["loc"] for one in mistakes]
    return None, problems


def _of_their_kind(mistakes: Sequence[Any]) -> list[Any]:
    """Of a value that may be one of a few words or a mapping: what its own kind has to say."""
    words = {one["loc"][:-1] for one in mistakes if one["type"] == "literal_error"}
    inside = {one["loc"][: len(place)] for place in words for one in mistakes if one["type"] != "literal_error"}

    def other(one: Any) -> bool:
        place = one["loc"][:-1]
        if one["type"] == "literal_error":
            return isinstance(one["input"], dict) and place in inside
        return one["type"] == "dataclass_type" and place in words

    return [one for one in mistakes if not other(one)]


def _one_per_key(mistakes: Sequence[Any], values: Any) -> Iterable[Any]:
    """Of a value that fits none of several types: the complaint of the one it nearly fits, or all in one."""
    keys: dict[tuple[Any, ...], list[Any]] = {}
    for one in mistakes:
        keys.setdefault(tuple(_real_path(one["loc"], values, one["type"] in MISSING)), []).append(one)
    for path, several in keys.items():
        near = [one for one in several if one["type"] not in _WANTED]
        if near or len(several) == 1 or not path:
            yield from near or several
        else:
            wanted = " or ".join(dict.fromkeys(_WANTED[one["type"]] for one in several))
            yield {**several[0], "type": "several", "msg": wanted}


def as_json(values: Any) -> str:
    """Raises ConfigError for what no recipe can hold."""

    def plain(value: Any) -> Any:
        if isinstance(value, PurePath):
            return str(value)
        raise ConfigError(
            f"a recipe holds text, numbers, true and false, lists and mappings, found {type(value).__name__}: "
            f"{str(value)[:60]!r}.",
            code="wrong-type",
        )

    try:
        text = json.dumps(values, default=plain)
        text.encode()
        return text
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"the recipe holds values that cannot be written down: {error}.", code="wrong-type"
        ) from error


def shown(value: Any) -> str:
    return json.dumps(value, default=str)[:60]


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


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


def _problem(
    error: Any, values: Any, schema: Any, place_of: Callable[[str], str], elsewhere: Mapping[str, str], owner: str
) -> Problem:
    """One pydantic error as: where, key, what was seen, what is allowed."""
    real = _real_path(error["loc"], values, error["type"] in MISSING)
    path = ".".join(map(str, real))
    code, sentence = _sentence(error, real, path, schema, elsewhere, owner)
    return Problem(code, sentence, key=path).at(place_of(path))


def _sentence(
    error: Any, real: Sequence[Any], path: str, schema: Any, elsewhere: Mapping[str, str], owner: str
) -> tuple[str, str]:
    """(code, sentence) of one pydantic error at a key."""
    kind, seen = error["type"], error.get("input")
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return "unknown-key", f"unknown key {path!r}{_instead(real, schema, elsewhere, owner)}"
    if kind in MISSING:
        return "missing-key", f"{path!r} is missing."
    if kind == KIND:
        return "out-of-range", f"{path} {error['msg']}."
    if kind == "value_error":
        return "contradiction", f"{path + ': ' if path else ''}{str(error['msg']).removeprefix('Value error, ')}."
    if kind == "union_tag_invalid":
        allowed, tag = error["ctx"]["expected_tags"].replace("'", ""), error["ctx"]["tag"]
        return "not-a-choice", f"{path}.kind is {tag!r}; allowed: {allowed}.{meant(tag, allowed.split(', '))}"
    if kind == "union_tag_not_found":
        return "missing-key", f"{path}.kind is missing: it says which of them it is."
    if kind == "literal_error":
        return "not-a-choice", f"{path} is {shown(seen)}; {_allowed(error, seen, _type_at(schema, real))}"
    wanted = _WANTED.get(kind, str(error["msg"]).lower().removeprefix("input should be "))
    return "wrong-type", f"{path or 'the recipe'} must be {wanted}, found {shown(seen)}.{_advice(kind, seen)}"


def _allowed(error: Any, seen: Any, hint: Any) -> str:
    """The words that a key takes, the mappings it takes too, and which word was meant."""
    allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
    mappings = [m for m in members(hint) if is_dataclass(m)]
    more = "".join(f", or a mapping of {' and '.join(f.name for f in fields(m))}" for m in mappings)
    return f"allowed: {allowed}{more}.{meant(str(seen), allowed.split(', '))}"


def _advice(kind: str, seen: Any) -> str:
    if kind == "string_type" and isinstance(seen, bool):
        return " In YAML yes, no, on and off are true and false: put the word into quotes."
    return " Put it into quotes." if kind == "string_type" and isinstance(seen, int | float) else ""


def _instead(path: Sequence[Any], schema: Any, elsewhere: Mapping[str, str], owner: str) -> str:
    """What may be meant by an unknown key: one beside it, one elsewhere, or a name of another library."""
    name, above = str(path[-1]), ".".join(map(str, path[:-1]))
    known = _names(schema, path[:-1])
    if "." in name:
        nested = f"{name.replace('.', ': {')}: ...{'}' * name.count('.')}"
        return f"; in a recipe keys stand inside each other: {nested}."
    if name in known:  # of another member of a union
        return f": {owner or 'what is chosen here'} has no {'.'.join(map(str, path))}."
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
    "list_type": "a list",
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
    tags = [f.default for f in fields(kind) if f.name == "kind"]
    return str(tags[0]) if tags else None


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
        hints_there: list[Any] = []
        for option in members(schema):
            if is_dataclass(option):
                hints = get_type_hints(option, include_extras=True)
                hints_there += [hints[name]] if name in hints else []
        schema = Union[tuple(hints_there)] if hints_there else Any  # noqa: UP007
    return schema


def _names(schema: Any, path: Sequence[Any]) -> list[str]:
    return [f.name for option in members(_type_at(schema, path)) if is_dataclass(option) for f in fields(option)]
