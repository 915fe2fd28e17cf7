"""Who wrote the chosen and the rejected answer (`chosen_source`, `rejected_source`) is metadata: carried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app

ROWS = [
    {
        "prompt": "1+1?",
        "chosen": "It is 2.",
        "rejected": "It is 7.",
        "chosen_source": "human",
        "rejected_source": "model",
    },
    {"prompt": "2+1?", "chosen": "It is 3.", "rejected": "It is 9.", "chosen_source": None, "rejected_source": "model"},
]
SOURCES = ("chosen_source", "rejected_source")


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["data", *words])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("kind", ["pairs", "ranks", "labels"])
def test_they_stay_with_the_rows(kind: str, tmp_path: Path) -> None:
    file, out = tmp_path / "pairs.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert "rows read 2 converted 2" in run("convert", str(file), str(out), "--to", kind)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    of_prompts = {row["prompt"]: row for row in ROWS}
    assert len(written) == (4 if kind == "labels" else 2)
    assert [[row[name] for name in SOURCES] for row in written] == [
        [of_prompts[row["prompt"]][name] for name in SOURCES] for row in written
    ]


def test_rows_with_them_are_pairs_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    said = run("check", str(file))
    assert "good as pairs for dpo" in said and "used 2" in said
    assert "columns that no format reads, which rewards may ask for: chosen_source, rejected_source" in said
