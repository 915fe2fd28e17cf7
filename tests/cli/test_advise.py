"""`postlude advise` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import postlude
from postlude.cli.app import app
from postlude.errors import PostludeError
from tests.advice.rows import golds, pairs, save

runner = CliRunner()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def say(*words: str) -> tuple[int, str]:
    """Exit code and what people see."""
    done = runner.invoke(app, ["advise", *words])
    if isinstance(done.exception, PostludeError):
        return done.exception.exit_code, "\n".join(done.exception.problems)
    return done.exit_code, done.stdout


def values(*words: str) -> dict[str, Any]:
    done = runner.invoke(app, ["advise", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    return json.loads(done.stdout)


def test_the_answer_fits_one_screen_and_the_details_hold_the_rest() -> None:
    data = save(Path("pairs.jsonl"), pairs())
    code, text = say(data, "--model", "Qwen/Qwen2.5-7B-Instruct", "--gpu-memory", "24", "--goal", "friendlier")
    assert code == 0
    assert len(text.splitlines()) <= 45 and max(map(len, text.splitlines())) <= 80
    for said in ("dpo on preference pairs", "300 preference pairs", "memory", "rather not", "watch", "advised.yaml"):
        assert said in text
    _, more = say(data, "--details", "--out", "other.yaml")
    assert "What the recipe sets" in more and "unless" in more


def test_a_recipe_is_never_written_over_in_silence() -> None:
    data = save(Path("pairs.jsonl"), pairs(40))
    assert values(data)["recipe"] == "advised.yaml"
    assert values(data)["recipe"] == "advised-2.yaml"
    before = Path("advised.yaml").read_text()
    code, text = say(data, "--out", "advised.yaml")
    assert code == 2 and "exists already" in text and Path("advised.yaml").read_text() == before
    assert say(data, "--out", "advised.yaml", "--force")[0] == 0


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "0 rows"),
        (b"\x00\x01\x02\xff\xfe" * 50, "UTF-8"),
        (b"lorem ipsum\ndolor sit\n", "not JSON"),
        (b'{"zzz": 1}\n{"zzz": 2}\n', "none holds feedback"),
        (b"[1, 2, 3]", "a row must be"),
    ],
)
def test_garbage_and_empty_files_are_refused_in_a_sentence(content: bytes, said: str) -> None:
    Path("data.jsonl").write_bytes(content)
    code, text = say("data.jsonl")
    assert code == 2 and said in text and "Traceback" not in text
    assert not Path("advised.yaml").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (("nowhere.jsonl",), "does not exist"),
        (("pairs.jsonl", "--model", "./nowhere"), "is no folder here"),
        (("pairs.jsonl", "--gpu-memory", "-3"), "GiB of one GPU"),
        (("pairs.jsonl", "--reward", "my rewards.py:"), "does not exist"),
        (("pairs.jsonl", "--out", "no/where.yaml"), "does not exist"),
    ],
)
def test_what_is_wrong_with_the_call_is_said(words: tuple[str, ...], said: str) -> None:
    save(Path("pairs.jsonl"), pairs(40))
    code, text = say(*words)
    assert code == 2 and said in text


def test_where_nothing_is_to_be_trained_nothing_is_written() -> None:
    advice = values(save(Path("few.jsonl"), pairs(4)))
    assert (advice["verdict"], advice["method"], advice["recipe"]) == ("do not train", None, None)
    assert not Path("advised.yaml").exists()


def test_from_python_it_is_the_same() -> None:
    data = save(Path("golds.jsonl"), golds(60))
    advised = postlude.advise(data, model="7B", gpu_memory=8, goal="shorter answers")
    assert advised.advice.method == "drpo" and advised.path is None
    assert advised.advice.room is not None and not advised.advice.room.fits
    assert advised.recipe is not None and "method" in advised.recipe
    assert postlude.advise(data, out="mine.yaml").path == Path("mine.yaml")
