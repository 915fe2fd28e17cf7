"""Answers that must be JSON of a schema: which part counts, what JSON is, and schemas that are wrong."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import ConfigError
from postlude.rewards.json_schema import json_schema
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
ANN = '{"name": "Ann", "age": 3}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANN, 1.0),
        (f"\n  {ANN}\n", 1.0),
        ('{"name": "Ann"}', 1.0),
        ('{"age": 3}', 0.0),
        ('{"name": 3}', 0.0),
        ('{"name": "Ann", "age": 3.0}', 1.0),
        ('{"name": "Ann", "age": 3.5}', 0.0),
        ('{"name": "Ann", "more": 1}', 0.0),
        ("[]", 0.0),
        ("", 0.0),
        ("null", 0.0),
        # what is no JSON
        ("{'name': 'Ann'}", 0.0),
        ('{"name": "Ann",}', 0.0),
        ('{"name": "Ann", "name": "Bob"}', 0.0),
        ('{"name": "Ann", "age": NaN}', 0.0),
        ('{"name": "Ann", "age": 1e999}', 0.0),
        ('{"name": "Ann", "age": ' + "9" * 5000 + "}", 0.0),
        ("[" * 100_000, 0.0),
        (ANN + ANN, 0.0),
        (f"Here you are: {ANN}", 0.0),
        # blocks
        (f"```json\n{ANN}\n```", 1.0),
        (f"```\n{ANN}\n```", 1.0),
        (f"```JSON\r\n{ANN}\r\n```\r\n", 1.0),
        (f"Here you are:\n\n```json\n{ANN}\n```\nAnything else?", 1.0),
        (f"  ```json\n  {ANN}\n  ```", 1.0),
        (f"```json\n{ANN}\n```\n```json\n{ANN}\n```", 0.0),
        (f"```python\nprint(1)\n```\n```json\n{ANN}\n```", 1.0),
        (f"```python\n{ANN}\n```", 0.0),
        (f"```json\n{ANN}", 0.0),
        ("```json\n```", 0.0),
        (f"{ANN}\n```json\n[]\n```", 0.0),
        ('{"name": "```"}', 1.0),
    ],
)
def test_which_answers_the_schema_allows(text: str, expected: float) -> None:
    chat = [{"role": "assistant", "content": text}]
    assert json_schema(PERSON)(completions=[text, chat]) == [expected, expected]


def test_a_schema_can_be_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("person.json").write_text(json.dumps(PERSON))
    assert json_schema("person.json")(completions=[ANN, "{}"]) == [1.0, 0.0]


def test_references_inside_a_schema_are_followed() -> None:
    tree = {
        "$defs": {"node": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        "$ref": "#/$defs/node",
    }
    assert json_schema(tree)(completions=["[[], [[]]]", "[1]", "[" * 3000 + "]" * 3000]) == [1.0, 0.0, 0.0]


def test_a_schema_is_read_by_its_own_draft() -> None:
    pair = {"items": [{"type": "integer"}, {"type": "string"}]}  # a tuple up to 2019-09, no schema since
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **pair}
    assert json_schema(old)(completions=['[1, "a"]', '["a", 1]']) == [1.0, 0.0]
    with pytest.raises(ConfigError, match="wrong at items"):
        json_schema(pair)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "the schema is wrong at type: 'objekt'"),
        ({"properties": {"a": {"minimum": "0"}}}, "the schema is wrong at properties/a/minimum"),
        ({"pattern": "(a"}, "the schema is wrong at pattern"),
        ({"$ref": "#/$defs/gone"}, "refers to '#/$defs/gone', which is not in it"),
        ({"items": {"$ref": "http://127.0.0.1:9/schema.json"}}, "which is not in it (nothing is fetched)"),
        (3, "args: schema must be a mapping or true or false or text, found 3"),
        ("nowhere.json", "cannot read the schema 'nowhere.json': No such file"),
    ],
)
def test_a_bad_schema_is_found_at_the_start(schema: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Rewards.of([RewardSpec("json_schema", args={"schema": schema})])
    assert said in str(error.value)


def test_a_schema_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text("{type: object}")
    with pytest.raises(ConfigError, match=r"bad.json' is not JSON: Expecting property name"):
        json_schema(str(path))


def test_nothing_is_fetched_while_scoring() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        inner = {"$id": "urn:inner", "$ref": url}  # below an $id, so not seen at the start
        scored = json_schema({"properties": {"a": inner}})
        with pytest.raises(Exception, match="Unresolvable"):
            scored(completions=['{"a": 1}'])
        with pytest.raises(TimeoutError):
            server.accept()


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)  # what Python does where a package is not installed
    with pytest.raises(ConfigError, match=r"pip install 'postlude\[json\]'"):
        json_schema(PERSON)
