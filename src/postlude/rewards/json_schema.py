"""Whether an answer is JSON of a given schema."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from postlude import plain_json
from postlude.errors import ConfigError, Problem
from postlude.rewards.functions import RewardFunction, text_of
from postlude.thinking import spoken

FENCE = "```"
META = ("http://json-schema.org/", "https://json-schema.org/")
"""The schemas of schemas, which the library brings along."""


def json_schema(schema: Mapping[str, Any] | bool | str) -> RewardFunction:
    """1 where the answer is JSON that the schema allows, else 0. `schema` is the schema itself, or a file with it.

    What a model thought before (`thinking.MARKS`) does not count. One block between lines of ``` (the first may say
    json) is the answer, whatever stands around it; two are none. Without a block the whole answer must be JSON. NaN,
    Infinity and a key given twice are not JSON.
    """
    validator = _validator(_read(schema) if isinstance(schema, str) else schema)

    def valid_json(completions: Sequence[Any]) -> list[float]:
        return [float(_valid(validator, text_of(c))) for c in completions]

    return valid_json


def payload(text: str) -> str | None:
    """The JSON text of an answer; None where several blocks compete."""
    blocks = list(_blocks(text))
    if len(blocks) > 1:
        return None
    return blocks[0] if blocks else text


def _blocks(text: str) -> Iterator[str]:
    """What stands in closed blocks between lines of three backticks, of those marked json or not at all."""
    inside: list[str] | None = None
    kind = ""
    for line in text.split("\n"):
        mark = line.strip()
        if inside is None and mark.startswith(FENCE) and "`" not in mark[3:]:
            inside, kind = [], mark[3:].strip().lower()
        elif inside is not None and mark == FENCE:
            if kind in ("", "json"):
                yield "\n".join(inside)
            inside = None
        elif inside is not None:
            inside.append(line)


def _valid(validator: Any, text: str) -> bool:
    answer = spoken(text)
    json_text = None if answer is None else payload(answer)
    try:
        return json_text is not None and validator.is_valid(_parsed(json_text))
    except (ValueError, ArithmeticError, RecursionError):  # not JSON, or a schema without end
        return False


def _parsed(text: str) -> Any:
    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    def number(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else constant(digits)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if any(n > 1 for n in Counter(k for k, _ in items).values()):
            raise ValueError("a key appears twice")
        return dict(items)

    return plain_json.loads(text, parse_constant=constant, parse_float=number, object_pairs_hook=pairs)


def _read(path: str) -> Any:
    place = Path(path).expanduser()
    try:
        return _parsed(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"reward json_schema: cannot read the schema {path!r}: {error.strerror}.", code="cannot-read"
        ) from error
    except ValueError as error:
        raise ConfigError(f"reward json_schema: {path!r} is not JSON: {error}.", code="not-json") from error


def _validator(schema: Any) -> Any:
    """A validator of the schema's own draft, the newest where it names none. It looks nothing up on the network."""
    try:
        import jsonschema
        import referencing
        from jsonschema.validators import validator_for
    except ImportError as error:
        raise ConfigError(
            "reward json_schema needs the jsonschema library: pip install 'postlude[json]'.", code="missing-package"
        ) from error
    if not isinstance(schema, Mapping | bool):
        raise ConfigError(
            f"reward json_schema: a schema is a mapping, found {type(schema).__name__}.", code="wrong-type"
        )
    kind: Any = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        at = "/".join(map(str, error.absolute_path)) or "its root"
        raise ConfigError(
            f"reward json_schema: the schema is wrong at {at}: {error.message}.", code="reward-arguments"
        ) from error
    _check_references(schema)
    return kind(schema, registry=referencing.Registry())  # the default registry would fetch what it does not know


def _check_references(schema: Any) -> None:
    """Follow every reference once, so that no answer has to be the first to do so."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, EMPTY_REGISTRY

    root = DRAFT202012.create_resource(schema)
    resolver = EMPTY_REGISTRY.resolver_with_root(root)
    lost: list[Problem] = []
    for ref in dict.fromkeys(_references(schema)):
        try:
            resolver.lookup(ref)
        except Unresolvable:
            lost.append(
                Problem(
                    "reward-arguments",
                    f"reward json_schema: the schema refers to {ref!r}, which is not in it (nothing is fetched).",
                )
            )
    if lost:
        raise ConfigError(lost)


def _references(schema: Any) -> Iterator[str]:
    """Every `$ref` that means what it says from the root: an `$id` further in would change that."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("$ref"), str) and not schema["$ref"].startswith(META):
            yield schema["$ref"]
        parts = [v for k, v in schema.items() if k not in ("const", "enum", "default", "examples")]
    else:
        parts = schema if isinstance(schema, list) else []
    for part in parts:
        if not (isinstance(part, Mapping) and "$id" in part):
            yield from _references(part)
