"""What lies in a run's folder and is not what a run wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postlude import runs
from postlude.errors import ConfigError

END = {"schema": 1, "kind": "end", "step": 1, "reason": "done"}
GOOD = {"phase": "done", "step": 1, "steps": 1, "done": None, "total": None, "pid": 1, "heartbeat": 1.0}


def folder(place: Path, *lines: object) -> Path:
    (place / "checkpoints").mkdir()
    (place / "rollouts").mkdir()
    rows = [{"schema": 1, "kind": "step", "step": 1, "reward/mean": 0.5}, *lines]
    (place / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place


@pytest.mark.parametrize("line", [[1], 3, {"schema": 1, "kind": "step", "step": "x"}, {"schema": 1, "kind": "note"}])
def test_a_line_that_is_no_event_is_refused_wherever_it_stands(tmp_path: Path, line: object) -> None:
    with pytest.raises(ConfigError) as error:
        runs.read(folder(tmp_path, line))
    assert error.value.code == "damaged-run" and "line 2" in str(error.value)


def test_what_follows_the_end_is_told(tmp_path: Path) -> None:
    after = {"schema": 1, "kind": "step", "step": 2, "reward/mean": 1.0}
    assert runs.read(folder(tmp_path, END)).warnings == ()
    (tmp_path / "events.jsonl").open("a").write(json.dumps(after) + "\n")
    assert runs.read(tmp_path).warnings == ("events.jsonl: 1 lines follow the end of the run",)


def test_a_step_without_answers_says_which_there_are(tmp_path: Path) -> None:
    history = runs.read(folder(tmp_path, END))
    with pytest.raises(KeyError, match="no answers of step 9: there are none"):
        history.rollouts[9]
    (tmp_path / "rollouts" / "step-000001.jsonl").write_text("{}\n")
    with pytest.raises(KeyError, match="steps 1 to 1 are there"):
        runs.read(tmp_path).rollouts[9]


@pytest.mark.parametrize(
    "content", [[1, 2], None, {}, {**GOOD, "phase": 3}, {**GOOD, "pid": None}, {**GOOD, "done": "y"}]
)
def test_a_live_file_that_no_run_wrote_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / "live.json").write_text(json.dumps(content))
    for ask in (runs.status, runs.stop, runs.checkpoint):
        with pytest.raises(ConfigError) as error:
            ask(tmp_path)
        assert error.value.code == "damaged-run"


def test_a_good_one_is_read(tmp_path: Path) -> None:
    (tmp_path / "live.json").write_text(json.dumps(GOOD))
    assert runs.status(tmp_path).phase == "done"
