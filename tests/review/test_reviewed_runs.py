"""A run that is reviewed is the run it was: verdicts lie beside what its checkpoints seal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import postlude
from postlude.cli.app import app
from postlude.models.tiny import save_tiny_model
from postlude.review import store
from postlude.review.report import report
from postlude.runs import read
from postlude.runs.folder import Run

WALL_CLOCK = {"timings.jsonl", "lock", "live.json", "review.lock", "state.json"}
"""`state.json` holds the seconds that were spent."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviewed")
    save_tiny_model(folder / "m", layers=1, width=32, heads=2)
    (folder / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}>"}) + "\n" for i in range(6)))
    train(folder, "run", steps=2)
    return folder


def train(folder: Path, name: str, **settings: Any) -> Run:
    values: dict[str, Any] = {
        "model": str(folder / "m"), "data": str(folder / "p.jsonl"), "output": str(folder / name),
        "reward": {"use": "regex", "args": {"pattern": "[a-m]$"}}, "prompts_per_step": 3, "group_size": 4,
        "sampling": {"max_tokens": 4}, "checkpoints": {"every": 1}, "show": False,
    }  # fmt: skip
    return postlude.train("grpo", **{**values, **settings})


def review(folder: Path, keys: str, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["review", str(folder), *arguments], input=keys)
    assert result.exit_code == 0, result.output
    return result.output


def content(folder: Path) -> dict[str, bytes]:
    sealed = folder / "checkpoints"
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in WALL_CLOCK)
    files = (path for path in files if path.name != "manifest.json" or not path.is_relative_to(sealed))  # its hash
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_resume_goes_on_as_if_nobody_had_looked_and_verdicts_stay(world: Path) -> None:
    shutil.copytree(world / "run", world / "seen", symlinks=True)
    review(world / "seen", "g\n" * 24, "--count", "24")
    verdicts = (world / "seen" / store.FILE).read_bytes()
    shutil.rmtree(world / "seen/checkpoints/step-000002")  # as if the run had been killed before it was saved
    (world / "seen/model").unlink()
    history = postlude.train(world / "seen", resume=True, show=False).history()
    assert (world / "seen" / store.FILE).read_bytes() == verdicts
    assert {k: v for k, v in content(world / "seen").items() if k != store.FILE} == content(world / "run")
    assert report(history).lost == 0  # step 2 was sampled again, with the same answers
    assert "24 verdicts" in review(world / "seen", "", "--report")


def test_verdicts_on_what_a_resume_took_back_are_named(world: Path) -> None:
    shutil.copytree(world / "run", world / "back", symlinks=True)
    review(world / "back", "g\n" * 24, "--count", "24")
    run = Run.open(world / "back", resume=True)
    shutil.rmtree(world / "back/checkpoints/step-000002")
    run.restore()
    run.rewind()
    run.close()
    said = " ".join(review(world / "back", "", "--report").split())
    assert "12 verdicts not counted: on answers that the run no longer has" in said and "12 verdicts, 0 skipped" in said
    assert "12 of the 12" not in review(world / "back", "q\n") and len(read(world / "back").rollouts) == 1


def test_thumbs_train_kto_and_a_reward_model(world: Path) -> None:
    review(world / "run", "g\nb\n" * 4, "--count", "8")
    review(world / "run", "", "--export", str(world / "thumbs.jsonl"))
    for method in ("kto", "reward_model_binary"):
        run = postlude.train(
            method, model=str(world / "m"), data=str(world / "thumbs.jsonl"), output=str(world / method), steps=1,
            prompts_per_step=4, show=False,
        )  # fmt: skip
        assert run.history().finished
