"""Recipes as text: whatever stands in one, and whatever is set on the command line, is a value or a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import ConfigError, PostludeError
from postlude.plain_yaml import Loader, dump, load, parse
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.resolution import resolve_with_problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("-2.5E+3", -2500.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("0x1f", 31),
        ("yes", True),
        ("'yes'", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("1:30", "1:30"),
        ("010", "010"),
        ("~", None),
        ("", None),
        ("{1: a, on: b, null: c}", {"1": "a", "on": "b", "null": "c"}),
        ("&a {x: 1, y: &b [1, 2]}", {"x": 1, "y": [1, 2]}),
        ("{a: &x {p: 1, q: 2}, b: {<<: *x, q: 3}}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("!!str 3", "3"),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_plain_values(text: str, value: Any) -> None:
    assert load(text) == value


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("&a [*a]", "holds itself by an alias"),
        ("a: &a {b: *a}", "a.b holds itself by an alias"),
        ("[" * 1000, "more than 50 deep"),
        ("[" * 100_000 + "]" * 100_000, "more than 50 deep"),
        (BOMB, "more than 100,000 values"),
        ("a: !!python/object/apply:os.system [ls]", "has the tag !!python/object/apply:os.system"),
        ("a: !!binary aGk=", "has the tag !!binary"),
        ("a: !!set {x}", "has the tag !!set"),
        ("a: 1\nb: 2\na: 3", "line 3: a is given twice, first in line 1"),
        ("{a: {b: 1, b: 2}}", "a.b is given twice"),
        ("? [1, 2]\n: x", "a key of the document is a list or mapping"),
        ("a: 1\n---\nb: 2", "not YAML: but found another document"),
        ("a:\n\t- b", "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: " + "9" * 5000, "a is a number of 5000 digits"),
        ("<<: 3", "<< in the document takes a mapping"),
        ('a: "\\ud800"', "a holds text that is not Unicode"),
    ],
)
def test_what_is_no_plain_value_is_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        load(text)
    assert said in str(error.value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists))
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    text = dump({"a": value})
    assert parse(text).problems or load(text) == {"a": value}


def test_text_that_looks_like_a_number_comes_back_as_text() -> None:
    for text in ("1e5", "0o17", "1_0", "2024-01-01", "yes", "~", "1:30", "010", ".5"):
        assert load(dump({"a": text})) == {"a": text}
    assert issubclass(Loader, object)


WORDS = [
    *("method", "model", "data", "reward", "output", "schedule.lr", "steps", "objective.kl", "shaping", "keep"),
    *("reward.0.args", "data.mix.0.weight"),
]
AWKWARD = [
    *("&a [*a]", "[" * 1000, "{a: {b", "2024-01-01", "!!python/x y", "\x00", "a\nb", "[/INST]", "\x1b[31m", "- 1", "'"),
    *("1e999", "{use: {a: 1}}", "[[[1]]]", "{kind: 3}", "*x", "%", "\ud800"),
]


def told(document: Document, words: list[str]) -> None:
    """Resolves, or says what is wrong."""
    try:
        documents.override(document, words)
        resolve_with_problems(document)
    except PostludeError as error:
        assert str(error)


@given(st.sampled_from(WORDS) | st.text(max_size=20), st.sampled_from(AWKWARD) | st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_setting_of_the_command_line_is_a_value_or_a_sentence(key: str, value: str) -> None:
    told(Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact"}), [f"{key}={value}"])


@given(st.text(max_size=200) | st.sampled_from(AWKWARD).map(lambda t: f"method: grpo\nshaping: {t}\n"))
@settings(max_examples=300, deadline=None)
def test_any_text_as_a_recipe_is_a_value_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        told(documents.read(path), [])
    except ConfigError as error:
        assert str(error)


KEYS = ["use", "kind", "path", "mix", "0", "["]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*WORDS, "epsilon", "num_generations", "dataset_name", "a[b", "critic"]), JSON))
@settings(max_examples=300, deadline=None)
def test_any_document_is_a_value_or_a_sentence(values: dict[str, Any]) -> None:
    told(Document({"method": "grpo", **values}), [])


@pytest.mark.parametrize(
    "text",
    [
        "num_generations: 0\nloss_type: grpo",
        "dataset_name: [a, b]\nnum_generations: 8",
        "loss_type: [a, b]\nnum_generations: 8",
        "loss_type: {a: b}\nnum_generations: 8\nbeta: 1",
        "num_generations: 8\nper_device_train_batch_size: x\nlearning_rate: [1]",
        "num_generations: 8\nreward_funcs: 3\nwarmup_ratio: x",
        "algorithm: {adv_estimator: [a]}\nactor_rollout_ref: {rollout: {n: 0}}",
        "algorithm: {adv_estimator: gae}\ndata: {train_files: {a: 1}, train_batch_size: 0}",
        '{"num_generations": 8, "beta": null, "max_steps": "ten"}',
        "[tool]\nnum_generations = 8",
        "import x\nGRPOConfig(num_generations=8)",
        'python -m verl algorithm.adv_estimator=grpo \'data.train_files=["a b.parquet"]\' trainer.n="x',
        "",
        "\ufeffnum_generations: 8\nloss_type: grpo",
    ],
)
def test_any_file_to_import_is_a_recipe_or_a_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    found = CliRunner().invoke(app, ["config", "import", str(tmp_path / "x.yaml")])
    assert found.exit_code == 0 or isinstance(found.exception, PostludeError), found.exception
