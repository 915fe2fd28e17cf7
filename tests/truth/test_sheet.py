"""What changed between two answers, and how a sheet is shown whatever stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.truth.sheet import changes, steps_shown
from tests.refusals import refused


def told(before: str, now: str) -> str | None:
    pieces = changes(before, now)
    marks = {"same": "{}", "new": "+{}+", "gone": "-{}-"}
    return None if pieces is None else "".join(marks[piece.kind].format(piece.text) for piece in pieces)


@pytest.mark.parametrize(
    ("before", "now", "seen"),
    [
        ("4 + 12 is 15.", "4 + 12 is 16.", "4 + 12 is -15-+16+."),
        ("one two three four", "one zwei drei four", "one -two three-+zwei drei+ four"),
        ("the sum is 4", "the sum is 4, I think", "the sum is 4+, I think+"),
        ("well, the sum is 4", "the sum is 4", "-well, -the sum is 4"),
        ("a\nb", "a\nb", "a\nb"),
        ("", "", ""),
        ("", "new", None),
        ("nothing of this", "stays over there", None),
    ],
)
def test_changes_are_told_word_by_word(before: str, now: str, seen: str | None) -> None:
    assert told(before, now) == seen


def test_what_is_marked_is_both_answers() -> None:
    before, now = "a b c d e f g", "a x c d y z g h"
    pieces = changes(before, now) or []
    assert "".join(p.text for p in pieces if p.kind != "new") == before
    assert "".join(p.text for p in pieces if p.kind != "gone") == now


def test_the_first_the_last_and_some_between_are_shown() -> None:
    assert steps_shown([0, 10, 20], None, 6) == [0, 10, 20]
    assert steps_shown(range(0, 1001, 10), None, 6) == [0, 200, 400, 600, 800, 1000]
    assert steps_shown([0, 10, 20], [20, 0, 20], 6) == [0, 20]
    with refused("no-such-entry", key="--steps", said=r"after 1 step of them \(5\); it was after 0, 10, 20"):
        steps_shown([0, 10, 20], [0, 5], 6)


# ----------------------------------------------------------------------------------------------------- hostile text


def row(step: int, completion: str, **more: Any) -> dict[str, Any]:
    return {"step": step, "prompt_id": "p", "prompt": "[bold]\x1b[31m2 + 2?", "answer": "4", "completion": completion,
            "reward": None, "scores": {}, "correct": None, "stop": "eos", "policy_version": 0, **more}  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "events.jsonl").write_text('{"schema": 1, "kind": "step", "step": 1}\n')
    return tmp_path


def lines_of(run: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["sheet", str(run), *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def write(run: Path, *rows: Any) -> None:
    (run / "sheet.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))


def test_no_text_of_a_model_drives_the_terminal(run: Path) -> None:
    metrics = {"m\x1b[2J": 0.5, "none": None}
    write(run, row(0, "four\x1b]0;x\x07 \u202egnihton"), row(5, "[red]four[/red] \x1b[2J", metrics=metrics))
    shown = lines_of(run)
    assert "\x1b" not in shown and "\u202e" not in shown and "\x07" not in shown
    assert "[bold]" in shown and "[red]" in shown and "none no score" in shown and "reward" not in shown


def test_long_answers_are_cut_aloud(run: Path) -> None:
    write(run, row(0, "word " * 500))
    assert "lines more (--full)" in lines_of(run) and "lines more" not in lines_of(run, "--full")
    assert all(len(line) <= 80 for line in lines_of(run, "--full").splitlines())


def test_a_run_without_a_sheet_or_with_a_damaged_one_is_told(run: Path) -> None:
    with refused("no-effect", said="has no sheet.*evaluate.sheet=true"):
        lines_of(run)
    for damaged in ({"step": 0}, {**row(0, "x"), "completion": 3}, {**row(0, "x"), "metrics": {"m": "high"}}):
        write(run, row(0, "x"), damaged)
        with refused("damaged-run", said=r"sheet\.jsonl line 2 is no answer of a sheet"):
            lines_of(run)
