"""Keys of services: refused in a recipe, left out of every sentence and every file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postlude.credentials import VEIL, keys_in, veiled
from postlude.errors import LONGEST, ConfigError, Problem, reason, shown
from postlude.recipe import documents, resolve
from postlude.recipe.documents import Document
from postlude.runs.folder import Run

KEY = "sk-proj-abcdefGHIJKL0123456789"
OF_SERVER = "wxyz-0123-secret-of-a-server"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        (f"Incorrect API key provided: {KEY}.", f"Incorrect API key provided: {VEIL}."),
        ("http://me:pass@host/v1 is down", f"http://{VEIL}@host/v1 is down"),
        ("got 'me:pass@host/v1' and mailto:me@host", f"got 'me:{VEIL}@host/v1' and mailto:me@host"),
        ("GET http://host/v1?api_key=abc&n=1", f"GET http://host/v1?api_key={VEIL}&n=1"),
        ("Authorization: Bearer abcdefgh12345678", f"Authorization: Bearer {VEIL}"),
        (f"says {OF_SERVER}", f"says {VEIL}"),
        ("hf_" + "a" * 34, VEIL),
        ("task-1 risk-free sk-1 a@b.c http://host/v1?n=1", "task-1 risk-free sk-1 a@b.c http://host/v1?n=1"),
    ],
)
def test_what_is_left_out(text: str, safe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_API_KEY", OF_SERVER)
    assert veiled(text) == safe
    assert Problem("other", text) == safe and safe in reason(ValueError(text)) + str(ConfigError(text, code="other"))


def test_a_rejected_row_is_one_line_that_steers_nothing(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", resume=False)
    run.write_config({}, ["rows.jsonl:3: no prompt \x1b[2J\nmethod: dpo"])
    run.close()
    assert (tmp_path / "run" / "rejected.txt").read_text() == "rows.jsonl:3: no prompt \\x1b[2J\\nmethod: dpo\n"


def test_a_key_that_begins_as_another_and_one_that_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", OF_SERVER)
    monkeypatch.setenv("SERVER_AUTH", f"{OF_SERVER}-longer")
    assert veiled(f"says {OF_SERVER}-longer") == f"says {VEIL}"
    cut = "x" * (LONGEST // 2 - 30) + f" {OF_SERVER}-longer " + "x" * LONGEST
    assert OF_SERVER[:8] not in Problem("other", cut) + shown(["x" * 30, OF_SERVER])


@given(st.text(max_size=40), st.text(max_size=40))
def test_wherever_a_key_stands(before: str, behind: str) -> None:
    assert KEY not in str(ConfigError(f"{before} {KEY} {behind}", code="other"))


@pytest.mark.parametrize(
    "setting",
    [
        f"reward=[{{use: judge, args: {{model: m, key: {KEY}}}}}]",
        "reward=[{use: judge, args: {model: m, url: 'http://me:pass@host/v1'}}]",
        "reward=[{use: judge, args: {model: m, url: 'http://host/v1?key=abcdef'}}]",
        "reward=[{use: my.py:f, args: {api_key: abcdefgh}}]",
        f"data={KEY}",
        f"model={{path: m, {KEY}: 1}}",
        f"output={OF_SERVER}",
        "sampler={url: 'http://me:pass@host/v1'}",
    ],
)
def test_a_recipe_with_a_key_is_refused_without_it(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", OF_SERVER)
    values: dict[str, Any] = {"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact"}
    with pytest.raises(ConfigError) as error:
        document = Document(values)
        documents.override(document, [setting])
        resolve(document)
    said = str(error.value)
    assert not any(secret in said for secret in (KEY, "pass@", "abcdef", OF_SERVER))


def test_names_of_variables_are_no_keys() -> None:
    assert not [*keys_in({"key": "OPENAI_API_KEY", "args": [{"eos_token": "</s>", "path": "runs/sk-1"}], "n": 1})]


def test_nothing_of_a_run_holds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", OF_SERVER)
    run = Run.open(tmp_path / "run", resume=False)
    heard: list[str] = []
    run.listeners.append(lambda event: heard.append(repr(event)))
    run.note(f"the server said: {OF_SERVER} and {KEY}")
    run.say(f"the server said: {OF_SERVER}")
    run.close()
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    for secret in (OF_SERVER, KEY):
        assert secret.encode() not in written and secret not in json.dumps(heard)
