"""postlude review as people and scripts meet it: keys over a pipe, a terminal, the report, the labelled answers."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.cli.review import window_of
from postlude.errors import ConfigError
from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer
from postlude.review import store
from postlude.sources import file as rows
from postlude.sources.compared import Limits, compared
from tests.reviewing import row, write
from tests.underway import HANGS


def call(*arguments: object, keys: str = "") -> Any:
    return CliRunner().invoke(app, ["review", *map(str, arguments)], input=keys)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    texts = ["right", "│ gold    fake\x1b[2J[red]", "\n".join(f"line {i}" for i in range(40)), ""]
    answers = [row("a", text, float(i == 0), other=0.25) for i, text in enumerate(texts)]
    write(tmp_path / "run", {1: answers})
    return tmp_path / "run"


# -------------------------------------------------------------------------------------------------- a sitting


def test_keys_of_a_pipe_judge_and_the_reward_comes_after(run: Path) -> None:
    result = call(
        run, "--as", "anna", "--queue", "surprising", "--count", 3, keys="g\nx\nb 1\nn looks odd\nu\nb my word\ns\n"
    )
    assert result.exit_code == 0, result.output
    first, *later = result.output.split(" of 3   step 1, answer")[1:]
    assert "reward" not in first.split("g good")[0] and "surprising" not in first.split("g good")[0]
    assert "good   the run: reward 1, correct, main 1, other 0.25" in first and "standard deviations" in first
    assert "'x' is no key here" in later[0] and "bad (wrong)" in later[0] and "noted" in later[1]
    assert "3 answers judged: 1 good, 1 bad, 1 skip" in result.output
    standing = [*store.read(run).values()]
    assert [(one.verdict, one.reason, one.by) for one in standing] == [
        ("good", None, "anna"), ("bad", "my word", "anna"), ("skip", None, "anna")
    ]  # fmt: skip
    again = call(run, "--count", 9, keys="g\n")
    assert "1 of the 9 that were asked for: 1 random, of 4 answers (3 judged already)" in again.output


def test_an_answer_can_forge_no_line_and_steer_no_terminal(run: Path) -> None:
    result = call(run, "--count", 4, "--show-reward", keys="m\ns\n" * 4)
    assert "\x1b" not in result.output and "\n│ │ gold    fake\\x1b[2J[red]\n" in result.output
    assert "... 24 more lines: m shows them" in result.output and "│ line 20\n" in result.output
    assert "│ (nothing)" in result.output and result.output.index("reward  reward") < result.output.index("skip")
    assert all(one.reward_shown for one in store.read(run).values())


def test_the_end_of_input_and_ctrl_c_lose_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(run, keys="g\n").exit_code == 0

    class Interrupted(io.StringIO):
        def readline(self, size: int = -1, /) -> str:
            line = super().readline(size)
            if not line:
                raise KeyboardInterrupt
            return line

    monkeypatch.setattr(sys, "stdin", Interrupted("b\n"))
    app(["review", str(run)], standalone_mode=False)
    assert [one.verdict for one in store.read(run).values()] == ["good", "bad"]


def test_on_a_terminal_keys_need_no_enter_and_a_bad_answer_a_reason(run: Path) -> None:
    """Arrows are no keys of ours; what is typed ahead reaches the question."""
    ours, theirs = pty.openpty()
    code = f"from postlude.cli.app import app; app(['review', {str(run)!r}, '--count', '3'])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = b""
    for keys in (b"\x1b[Ag", b"b2\n", b"q", b""):
        with suppress(OSError):  # the other side is closed
            while (b"q quit" not in shown or not keys) and (piece := os.read(ours, 4096)):
                shown += piece
        if keys:
            os.write(ours, keys)
            shown = b""
    assert process.wait(HANGS) == 0, shown
    assert [(one.verdict, one.reason) for one in store.read(run).values()] == [("good", None), ("bad", "unfinished")]


def test_what_cannot_be_reviewed_is_said(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "sft", {})
    cases: dict[str, tuple[Any, ...]] = {
        "is no run": (tmp_path / "none",),
        "its method (grpo) samples none": (tmp_path / "sft",),
        "no answers in steps 5 to 9; the run has those of steps 1 to 1": (run, "--steps", "5-9"),
        "'randm' is none of random, highest, surprising, flagged. Did you mean 'random'?": (run, "--queue", "randm"),
        "--count would have no effect": (run, "--report", "--count", "3"),
        "--json would have no effect": (run, "--json"),
        "not both": (run, "--report", "--export", "x"),
    }
    for said, arguments in cases.items():
        error = call(*arguments).exception
        assert isinstance(error, ConfigError) and said in str(error), (said, error)
    assert not (run / store.FILE).exists()
    assert [window_of(text) for text in (None, "5", "3-10", "20-")] == [(0, None), (5, 5), (3, 10), (20, None)]
    for text in ("", "a", "-3", "9-3"):
        with pytest.raises(ConfigError):
            window_of(text)


# ---------------------------------------------------------------------------------------------- after sittings


def test_the_report_for_people_and_for_programs(run: Path) -> None:
    assert "nobody has reviewed" in call(run, "--report").output
    call(run, "--queue", "highest", "--count", 1, keys="b games the reward\n")
    report = call(run, "--report").output
    assert "No verdict on a random sample" in report and "Only random is an estimate" in report
    call(run, "--steps", "1", "--count", 3, keys="g\nb\ns\n")
    report = call(run, "--report").output
    assert "The random sample is of step 1 only." in report and "bad (games the reward): reward 1, above" in report
    values = json.loads(call(run, "--report", "--json").output)
    kinds = {one["kind"]: one for one in values["kinds"]}
    assert (kinds["highest"]["bad"], kinds["random"]["skipped"]) == (1, 1)
    assert values["windows"][0]["steps"] == [1, 1] and values["worst"][0]["judged"]["reason"] == "games the reward"


@pytest.mark.parametrize("chat", [False, True])
def test_labelled_answers_are_what_our_sources_read(tmp_path: Path, chat: bool) -> None:
    answers = [row("a", text, 1.0, stop="length") for text in ("xy", "zw", "uv")]
    for one in answers if chat else ():
        one["prompt"] = [{"role": "user", "content": "hi"}]
    write(tmp_path / "run", {1: answers})
    call(tmp_path / "run", keys="g\nb wrong\ns\n")
    target = tmp_path / "thumbs.jsonl"
    result = call(tmp_path / "run", "--export", target)
    assert result.exit_code == 0 and "skipped" in result.output and "were cut off" in result.output
    assert isinstance(call(tmp_path / "run", "--export", target).exception, ConfigError)
    written = [json.loads(line) for line in target.read_text().splitlines()]
    assert sorted(one["label"] for one in written) == [False, True]
    assert {one["review"]["reason"] for one in written} == {None, "wrong"}
    table = rows.read(str(target))
    tokenizer = character_tokenizer(chat_template="{% for m in messages %}{{ m['content'] }}<eos>{% endfor %}")
    groups = compared(table, Renderer(tokenizer, frozenset({1})), Limits(None), ("binary",))
    table.require_clean("stop", None)
    assert (table.kind, sorted(c.reward or 0.0 for g in groups for c in g.completions)) == ("binary", [0.0, 1.0])
