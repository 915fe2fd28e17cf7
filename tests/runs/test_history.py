"""One reader for runs: what it gives, and what it makes of runs that are going on, broken, or none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import ConfigError
from postlude.runs import read
from postlude.runs.folder import Run


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of two steps, as it lies on the disk."""
    events = [
        {"kind": "start", "step": 0, "method": "grpo", "steps": 2},
        {"kind": "eval", "step": 0, "sampled/accuracy": 0.25},
        {"kind": "step", "step": 1, "reward/mean": 0.5, "grad_norm": 2.0},
        {"kind": "note", "step": 1, "text": "a word"},
        {"kind": "step", "step": 2, "reward/mean": 0.75},
        {"kind": "eval", "step": 2, "sampled/accuracy": 0.5},
        {"kind": "end", "step": 2, "reason": "done"},
    ]
    write(tmp_path / "events.jsonl", *({"schema": 1, **event} for event in events))
    write(tmp_path / "timings.jsonl", {"step": 1, "total": 1.5}, {"step": 2, "total": 3.0})
    write(tmp_path / "eval.jsonl", {"step": 0, "completion": "a\u2028b"}, {"step": 2, "completion": "c"})
    for step in (1, 2):
        write(tmp_path / "rollouts" / f"step-{step:06d}.jsonl", {"completion": f"of {step}"})
        (tmp_path / "checkpoints" / f"step-{step:06d}" / "trainer").mkdir(parents=True)
    (tmp_path / "checkpoints/step-000002/trainer/state.json").write_text("{}")  # the first was never finished
    (tmp_path / "config.yaml").write_text("# resolved\nmethod: grpo\nschedule: {lr: 1e-3}\n")
    (tmp_path / "manifest.json").write_text('{"seed": 7}')
    return tmp_path


def test_a_run_is_read(folder: Path) -> None:
    run = read(folder)
    column = run["reward/mean"]
    assert (column.steps, column.values, [*column]) == ((1, 2), (0.5, 0.75), [(1, 0.5), (2, 0.75)])
    assert (column.first, column.last, len(column)) == (0.5, 0.75, 2)
    assert column.figure is not None and column.figure.better == "up"
    assert run.names == ("reward/mean", "grad_norm", "sampled/accuracy") and "lr" not in run
    assert run["grad_norm"].steps == (1,) and run["sampled/accuracy"].steps == (0, 2)
    assert [e["step"] for e in run.evals] == [0, 2] and run.notes == ("a word",)
    assert run.start is not None and run.start["method"] == "grpo"
    assert run.end is not None and run.steps == 2 and run.finished and not run.running
    assert [p.name for p in run.checkpoints] == ["step-000002"]
    assert [*run.rollouts] == [1, 2] and run.rollouts[2] == [{"completion": "of 2"}]
    assert [row["completion"] for row in run.answers] == ["a\u2028b", "c"]
    assert run.timings[-1]["total"] == 3 and run.recipe["schedule"] == {"lr": 1e-3} and run.manifest == {"seed": 7}
    assert run.warnings == ()


def test_a_misspelt_figure_is_told_of(folder: Path) -> None:
    with pytest.raises(KeyError, match=r"no figure 'reward/men'\. Did you mean 'reward/mean'"):
        read(folder)["reward/men"]


def test_a_run_that_goes_on(folder: Path) -> None:
    """Its lock is held, its last line is half written, and most of its files are not there yet."""
    other = folder / "other"
    writer = Run.open(other, resume=False)
    write(other / "events.jsonl", {"kind": "start", "step": 0}, {"kind": "step", "step": 1, "lr": 1.0})
    with (other / "events.jsonl").open("a") as out:
        out.write('{"kind": "step", "st')
    run = read(other)
    assert run.running and not run.finished and run.end is None and run.steps == 1 and len(run.events) == 2
    assert run.warnings == ("events.jsonl: the last line is not whole and was left out (20 bytes)",)
    assert (run.answers, run.timings, [*run.rollouts], run.checkpoints, run.recipe, run.manifest) == (
        [],
        [],
        [],
        [],
        {},
        {},
    )
    writer.close()
    assert not read(other).running


def test_a_last_line_that_was_cut_off_before_its_end(folder: Path) -> None:
    with (folder / "eval.jsonl").open("a") as out:
        out.write('{"step": 2, "comp\n')
    assert len(read(folder).answers) == 2
    with (folder / "eval.jsonl").open("a") as out:
        out.write('{"step": 2}\n')
    with pytest.raises(ConfigError, match=r"eval.jsonl line 3 is no JSON object.*damaged"):
        _ = read(folder).answers


def test_what_is_no_run_is_refused(folder: Path) -> None:
    for path, why in ((folder / "none", "there is no such folder"), (folder / "rollouts", "it has no events.jsonl")):
        with pytest.raises(ConfigError, match=f"{re.escape(repr(str(path)))} is no run: {why}"):
            read(path)


def test_a_run_of_a_later_version_is_refused(folder: Path) -> None:
    write(folder / "events.jsonl", {"kind": "start", "step": 0}, {"schema": 2, "kind": "new", "step": 0})
    with pytest.raises(ConfigError, match="line 2 has schema 2; this postlude reads up to 1"):
        read(folder)


def test_rollouts_of_old_runs_are_numbered_like_their_steps(folder: Path) -> None:
    for step in (1, 2):
        (folder / f"rollouts/step-{step:06d}.jsonl").rename(folder / f"rollouts/step-{step - 1:06d}.jsonl")
    assert read(folder).rollouts[1] == [{"completion": "of 1"}]


def test_reading_runs_needs_no_torch() -> None:
    code = "import sys, postlude.runs; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
