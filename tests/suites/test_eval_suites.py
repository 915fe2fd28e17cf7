"""postlude eval --suite on a run: kept in its folder, compared, and no harm to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import postlude
from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.models.tiny import save_tiny_model

SUITE = """name: mine
data: {path: rows.jsonl}
prompt: "{q}"
answer: null
reward: {use: regex, args: {pattern: "[a-m]$"}}
metrics: {use: length, args: {limit: 4}, name: short}
sampling: {temperature: 1, max_tokens: 4}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suites")
    save_tiny_model(folder / "m", layers=1, width=32, heads=2)
    (folder / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}>"}) + "\n" for i in range(6)))
    (folder / "rows.jsonl").write_text("".join(json.dumps({"q": f"{i}>"}) + "\n" for i in range(4, 12)))
    (folder / "mine.yaml").write_text(SUITE)
    values: dict[str, Any] = {
        "model": str(folder / "m"), "data": str(folder / "p.jsonl"), "prompts_per_step": 3, "group_size": 4,
        "reward": {"use": "regex", "args": {"pattern": "[a-m]$"}}, "sampling": {"max_tokens": 4},
        "checkpoints": {"every": 1}, "schedule": {"lr": 1e-2}, "show": False,
    }  # fmt: skip
    for name, steps in (("one", 1), ("two", 2)):
        postlude.train("grpo", **values, output=str(folder / name), steps=steps)
    return folder


def call(world: Path, model: str, *arguments: object) -> Any:
    return CliRunner().invoke(
        app, ["eval", str(world / model), "--suite", str(world / "mine.yaml"), *map(str, arguments)]
    )


def test_a_run_is_measured_compared_and_told_of_leaks(world: Path) -> None:
    first = call(world, "one", "-n", 4)
    assert first.exit_code == 0, first.output
    said = " ".join(first.output.split())
    assert "8 prompts as text x 4 answers" in said and "avg@4" in said and "pass@2" in said and "short" in said
    assert "2 of 8 prompts are in the run's training data" in said and "change" not in said
    again = json.loads(call(world, "one", "-n", 4, "--json").stdout)[0]
    assert again["changes"]["correct"] == {"value": 0.0, "low": 0.0, "high": 0.0, "prompts": 8}
    assert json.loads((world / "one/suites/mine.json").read_text())["figures"] == again["figures"]
    assert len((world / "one/suites/mine.jsonl").read_text().splitlines()) == 32
    other = json.loads(call(world, "two", "-n", 4, "--against", world / "one", "--json", "--limit", 5).stdout)[0]
    assert other["changes"]["correct"]["prompts"] == 5 and other["against"].endswith("one/checkpoints/step-000001")
    assert (other["prompts"], other["of"]) == (5, 8)


def test_a_run_with_results_goes_on(world: Path) -> None:
    shutil.copytree(world / "two", world / "more", symlinks=True)
    assert call(world, "more").exit_code == 0
    kept = (world / "more/suites/mine.jsonl").read_bytes()
    assert postlude.train(world / "more", resume=True, steps=3, show=False).history().steps == 3
    assert (world / "more/suites/mine.jsonl").read_bytes() == kept


def test_what_cannot_be_is_said_before_a_model_loads(world: Path, tmp_path: Path) -> None:
    cases: dict[str, tuple[str, tuple[object, ...]]] = {
        "at temperature 0 are all the same": ("one", ("-n", 2, "--temperature", 0)),
        "has no evaluation by suite mine": ("one", ("--against", world / "m")),
        "--reward, --columns would have no effect": ("one", ("--reward", "exact", "--columns", "{}")),
        "two suites have one name": ("one", ("--suite", world / "mine.yaml")),
        "--suites only lists": ("one", ("--suites",)),
    }
    for said, (model, arguments) in cases.items():
        error = call(world, model, *arguments).exception
        assert isinstance(error, ConfigError) and said in str(error), (said, error)
    (world / "linked").mkdir()
    shutil.copy(world / "one/config.yaml", world / "linked/config.yaml")
    (world / "linked/suites").symlink_to(tmp_path)
    assert "leads out of the run's folder" in str(call(world, "linked").exception)
    error = CliRunner().invoke(app, ["eval", str(world / "one"), "--data", "x", "--reward", "exact", "--against", "y"])
    assert "--against would have no effect" in str(error.exception)


def test_a_model_that_is_no_run_keeps_its_results_here(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(world, "m")
    assert result.exit_code == 0 and "not known: no run of postlude is behind this model" in result.output
    assert (tmp_path / "suites-m/mine.json").is_file()


def test_the_suites_of_the_package_are_listed() -> None:
    assert "sums of two numbers" in CliRunner().invoke(app, ["eval", "--suites"]).output
    assert len(json.loads(CliRunner().invoke(app, ["eval", "--suites", "--json"]).output)) == 6
