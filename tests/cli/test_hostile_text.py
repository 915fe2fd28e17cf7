"""Whatever a user's value holds, no command lets it steer the terminal, and none ends in a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from postlude.cli.app import app, console_error
from postlude.errors import PostludeError
from postlude.recipe import import_file

STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
HOSTILE = "\x1b[2J\x1b]0;x\x07\u202e\x9b31m[bold]x[/nope]\u2028\r"
COMMANDS = (
    ["train", "X"], ["train", "--X"], ["train", "grpo", "output=X", "model=X", "data=X", "reward=X"], ["train", "grpo", "X=1"],
    ["train", "X.py:X", "model=m"], ["config", "show", "X"], ["config", "show", "grpo", "reward=[{use: 'X', args: {X: 1}}]"],
    ["config", "import", "X"], ["config", "recipes", "X"], ["methods", "X"], ["status", "X"], ["stop", "X"],
    ["data", "check", "X"], ["data", "check", "rows.jsonl", "--for", "X"], ["data", "check", "rows.jsonl", "--for", "grpo"],
    ["data", "check", "rows.jsonl", "--for", "dpo"], ["data", "check", "rows.jsonl", "--columns", "X"],
    ["data", "check", "rows.jsonl", "--for", "sft", "--columns", "{prompt: 'X'}"], ["data", "convert", "X", "X", "--to", "X"],
    ["data", "convert", "rows.jsonl", "out", "--to", "pairs"], ["sample", "X", "--prompt", "X"], ["eval", "X", "--data", "X", "--reward", "X"],
    ["audit", "--data", "X", "--reward", "X"], ["label", "X", "X"], ["export", "X", "X"], ["constitution", "revise", "X"], ["X"],
)  # fmt: skip
"""Commands with a user's value in the place of X."""


def output_of(arguments: list[str]) -> str:
    """All that a command prints, as `main` shows its errors."""
    runner = CliRunner()
    result = runner.invoke(app, arguments, env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "500"})
    text = result.output
    if isinstance(result.exception, PostludeError):
        with pytest.MonkeyPatch.context() as patch, runner.isolation() as streams:
            patch.setenv("NO_COLOR", "1")
            console_error(result.exception)
            text += b"".join(s.getvalue() for s in streams[:2] if s is not None).decode()
    elif result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": HOSTILE, "answer": HOSTILE, HOSTILE: 1}) + "\n")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nothing_steers(command: list[str], folder: Path) -> None:
    text = output_of([part.replace("X", HOSTILE) for part in command])
    assert text.strip() and not STEERS.search(text)


@settings(max_examples=25, deadline=None, suppress_health_check=[*HealthCheck], derandomize=True, database=None)
@given(st.sampled_from(COMMANDS[:11]), st.text(alphabet="[]{}'\"\\/=:.,-x\x1b\x9b\u202e\u2028\r\n\x00%$", max_size=20))
def test_any_text_in_any_place(command: list[str], value: str) -> None:
    assert not STEERS.search(output_of([part.replace("X", value) for part in command]))


def test_a_comment_of_an_imported_recipe_stays_one(tmp_path: Path) -> None:
    """A foreign key that holds a line end writes no line of the recipe."""
    file = tmp_path / "trl-grpo.yaml"
    file.write_text('learning_rate: 1e-6\nnum_generations: 4\nbeta: 0.1\n"x\\nmethod: dpo\\u2028#\\e[2J": 1\n')
    text = import_file(file).text
    assert not STEERS.search(text) and "\nmethod: dpo" not in text and "# not translated: x\\nmethod: dpo" in text
