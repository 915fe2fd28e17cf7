"""`postlude doctor` on folders of runs: whole, at work, killed, damaged, of before, and what is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.recipe.remedies import command
from postlude.runs.lock import acquire

runner = CliRunner()
START = {"method": "grpo", "steps": 20, "sizes": "", "counts": {}, "data": [], "engine": {}}
FINE: dict[str, float] = {
    "samples": 8, "unscored": 0, "grad_norm": 0.1, "reward/mean": 0.5, "reward/std": 0.5, "reward/min": 0,
    "reward/max": 1, "truncated_frac": 0, "completion_length/mean": 9, "completion_length/min": 4,
    "completion_length/max": 12, "entropy": 1.0, "mismatch/ess": 1.0, "ratio/max": 1.0,
}  # fmt: skip
CUT = FINE | {"truncated_frac": 0.95}


def folder(place: Path, steps: list[Mapping[str, float]], end: str | None = "done", recipe: str = "") -> Path:
    """A run's folder, written by hand."""
    (place / "rollouts").mkdir(parents=True)
    rows: list[dict[str, Any]] = [{"kind": "start", "step": 0, **START}]
    rows += [{"kind": "step", "step": number, **figures} for number, figures in enumerate(steps, 1)]
    rows += [{"kind": "end", "step": len(steps), "reason": end}] if end else []
    (place / "events.jsonl").write_text("".join(json.dumps({"schema": 1, **row}) + "\n" for row in rows))
    (place / "config.yaml").write_text(recipe or "schedule:\n  lr: 1.0e-5\nsampling:\n  max_tokens: 12\n")
    said = ["short", "a longer one [bold]", "\x1b[31mthe longest of all, which goes on and on"]
    answers = [
        {"prompt_id": str(i), "prompt": [{"role": "user", "content": "2+2="}], "completion": text, "reward": i / 2}
        for i, text in enumerate(said)
    ]
    for number in range(1, len(steps) + 1):
        text = "".join(json.dumps(row) + "\n" for row in answers)
        (place / "rollouts" / f"step-{number:06d}.jsonl").write_text(text)
    return place


def doctor(*words: str | Path, code: int = 0) -> str:
    result = runner.invoke(app, ["doctor", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == code
    return result.stdout


def plain(*words: str | Path, code: int = 0) -> Any:
    return json.loads(doctor(*words, "--json", code=code))["runs"]


def test_it_says_what_is_wrong_with_its_evidence_and_the_command_to_go_on(tmp_path: Path) -> None:
    run = folder(tmp_path / "r", [FINE, CUT, CUT, CUT], end="interrupted")
    (one,) = plain(run)
    (finding,) = one["findings"]
    assert (finding["rule"], finding["gravity"], finding["lasts"], finding["first_step"]) == (
        "cut-off", "warning", True, 4,
    )  # fmt: skip
    assert (finding["steps"], finding["values"], finding["threshold"]) == ([2, 3, 4], [0.95] * 3, 0.9)
    assert finding["settings"] == ["sampling.max_tokens=24"]
    assert finding["command"] == f"postlude train {run} sampling.max_tokens=24 --resume"
    assert [s["answer"][:6] for s in finding["samples"]] == ["\x1b[31mt", "a long", "short"], "the longest first"
    assert one["unseen"]["endless"] == "it needs 10 values of truncated_frac, and there are 4"
    assert "ratio" in one["fine"] and "dead-critic" not in {*one["fine"], *one["unseen"]}
    text = " ".join(doctor(run).split())
    assert "95% of the answers of the last 3 steps were cut off by the length limit (12 tokens)" in text
    assert "\x1b[31m" not in text and "\\x1b[31mthe longest" in text and "a longer one [bold]" in text
    assert "fine, 1 wrong" in text and f"postlude train {run} sampling.max_tokens=24 --resume" in text


def test_what_has_passed_is_said_so_and_strict_fails_on_what_is_serious(tmp_path: Path) -> None:
    passed = folder(tmp_path / "passed", [CUT, CUT, CUT, FINE])
    lasts = folder(tmp_path / "lasts", [CUT, CUT, CUT])
    grave = folder(tmp_path / "grave", [FINE | {"mismatch/ess": 0.1}, FINE])
    assert "no more" in doctor(passed, "--strict")
    doctor(lasts, "--strict", code=1)
    assert [run["serious"] for run in plain(passed, lasts, grave, "--strict", code=1)] == [False, True, True]
    doctor(lasts)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_nothing_is_wider_than_the_terminal(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = doctor(folder(tmp_path / "r", [CUT, CUT, CUT]))
    lines = [line for line in text.splitlines() if "postlude train" not in line]  # which is copied in one piece
    assert max(map(len, lines)) <= width


def test_a_finished_run_is_done_again_and_one_at_work_is_only_read(tmp_path: Path) -> None:
    run = folder(tmp_path / "r", [CUT, CUT, CUT])
    (one,) = plain(run)
    assert (one["state"], one["findings"][0]["command"]) == (
        "done",
        f"postlude train {run} sampling.max_tokens=24 output={run}-again",
    )
    at_work = folder(tmp_path / "w", [CUT, CUT, CUT], end=None)
    assert plain(at_work)[0]["state"] == "killed"
    lock = acquire(at_work)
    before = sorted((p, p.stat().st_mtime_ns) for p in at_work.rglob("*") if p.is_file())
    assert plain(at_work)[0]["state"] == "running"
    assert sorted((p, p.stat().st_mtime_ns) for p in at_work.rglob("*") if p.is_file()) == before
    lock.close()


def test_before_the_first_step_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    assert "no step is finished yet" in doctor(folder(tmp_path / "r", [], end=None))


def test_a_run_of_before_says_what_it_lacks(tmp_path: Path) -> None:
    old = folder(tmp_path / "r", [{"samples": 8.0, "reward/mean": 0.5, "grad_norm": 0.1}] * 12)
    (one,) = plain(old)
    assert one["unseen"]["template-marks"].endswith("runs of earlier versions did not log it")
    assert one["unseen"]["entropy-collapse"] == "there is no entropy"


def test_damage_is_told_and_what_can_be_read_is_looked_at(tmp_path: Path) -> None:
    run = folder(tmp_path / "r", [CUT, CUT, CUT], end=None, recipe="[1, 2")
    with (run / "events.jsonl").open("a") as file:
        file.write('{"schema": 1, "kind": "st')
    (run / "rollouts" / "step-000003.jsonl").write_text("no json\n{}\n")
    (one,) = plain(run)
    assert len(one["warnings"]) == 2 and one["findings"][0]["settings"] == []
    assert [s["step"] for s in one["findings"][0]["samples"]] == [2, 2, 2]
    lines = (run / "events.jsonl").read_text().splitlines()[:4]
    (run / "events.jsonl").write_text("\n".join([*lines, '{"kind": "step", "step": "4"}', "no json", lines[3], ""]))
    (one,) = plain(run)
    assert (one["state"], one["steps"], one["findings"][0]["rule"]) == ("damaged", 3, "cut-off")
    assert "line 6 is no JSON object" in one["warnings"][0] and "up to step 3" in one["warnings"][0]
    assert "✓" not in doctor(run)
    (run / "events.jsonl").write_text("no json\n{}\n")
    with pytest.raises(ConfigError, match=r"line 1 is no JSON object"):
        doctor(run)


def test_what_is_no_run_is_an_error_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("method: grpo\n")
    named = {".": "it has no events", "none": "there is no such folder", "recipe.yaml": "it is a file, and a run is a"}
    for name, why in named.items():
        with pytest.raises(ConfigError, match=f"is no run: {why}"):
            doctor(tmp_path / name)


def test_the_command_fits_what_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path("runs/my run")
    anew = "postlude train 'runs/my run' schedule.lr=1e-6 'output=runs/my run-again"
    assert command(place, ["schedule.lr=1e-6"]) == "postlude train 'runs/my run' schedule.lr=1e-6 --resume"
    assert command(place, ["max_lag=0"]) == "postlude train 'runs/my run' max_lag=0 'output=runs/my run-again'"
    assert command(place, ["group_size=16"]).endswith("group_size=16 --resume --accept-changes settings")
    assert command(place, ["schedule.lr=1e-6"], finished=True) == f"{anew}'"
    Path("runs/my run-again").mkdir(parents=True)
    assert command(place, ["schedule.lr=1e-6"], finished=True) == f"{anew}-2'", "what is there is left alone"
    assert command(Path("a: b"), ["max_lag=0"]).endswith("""'output="a: b-again"'""")
    assert command(Path(), ["max_lag=0"]).endswith(f"output={tmp_path}-again")
