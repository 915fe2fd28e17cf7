"""Metrics, held-out sets and the sheet in runs: what is written, what is refused, what goes on."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.check import check
from postlude.cli.app import app
from postlude.errors import ConfigError, RewardError
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.preflight.run import Options, preflight
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Event, Step
from tests.learning import write
from tests.refusals import refused

MINE = """
from pathlib import Path

def dots(completions):
    return [float(c.count("a")) for c in completions]

def first(completions, answer):
    if Path(__file__).with_name("broken").exists():
        raise ConnectionError("the metric is gone")
    return [float(c[:1] == a) for c, a in zip(completions, answer)]

def size(completions):
    return [len(c) / 2 if c[:1] < "s" else None for c in completions]
"""
METRICS = ["mine.py:first", {"use": "mine.py:size", "name": "brief", "scale": -1}]
CLOCKED = ("timings.jsonl", "lock", "live.json")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    letters = "abcdefgh"
    write(folder / "train.jsonl", [{"prompt": f"{a}{b}>", "answer": a} for a in letters for b in "ab"])
    write(folder / "easy.jsonl", [{"prompt": f"{a}c>", "answer": a} for a in letters])
    write(folder / "hard.jsonl", [{"prompt": f"{a}d>", "answer": a} for a in letters])
    write(folder / "more.jsonl", [{"prompt": f"{a}e>", "answer": a} for a in letters[:3]])
    write(folder / "sft.jsonl", [{"prompt": f"{a}f>", "completion": a, "answer": a} for a in letters])
    write(folder / "held-sft.jsonl", [{"prompt": f"{a}g>", "completion": a, "answer": a} for a in letters])
    return folder


@pytest.fixture
def place(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    (home / "mine.py").write_text(MINE)
    (home / "broken").unlink(missing_ok=True)
    return home


SETS = {"easy": "easy.jsonl", "hard": ["hard.jsonl", "more.jsonl"]}


def values(output: str = "run", **changes: Any) -> dict[str, Any]:
    evaluate = {"every": 2, "prompts": 5, "samples": 4, "metrics": METRICS, "sheet": {"every": 3, "prompts": 3}}
    base = {
        "method": "grpo",
        "model": "model",
        "data": {"path": "train.jsonl", "eval": SETS},
        "reward": "mine.py:dots",
        "output": output,
        "steps": 4,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 4},
        "schedule": {"lr": 1e-2},
        "evaluate": evaluate,
        "checkpoints": {"every": 1, "keep": 9},
    }
    return {**base, **changes}


def content(folder: Path) -> dict[str, bytes]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink() and p.name not in CLOCKED]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


# ------------------------------------------------------------------------------------------------ what is written


@pytest.fixture(scope="module")
def whole(home: Path) -> Path:
    """A run of two sets, of which one has two files, with two metrics and a sheet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        (home / "mine.py").write_text(MINE)
        launch(Document(values("whole")))
    return home / "whole"


def test_figures_are_those_of_the_answers_in_eval_jsonl(whole: Path) -> None:
    history = read(whole)
    for row in history.evals:
        answers = [a for a in history.answers if a["step"] == row["step"]]
        assert len(answers) == (5 + 5) * (1 + 4)
        for name in SETS:
            sampled = [a for a in answers if a["set"] == name and a["drawn"] == "sampled"]
            greedy = [a for a in answers if a["set"] == name and a["drawn"] == "greedy"]
            assert len(sampled) == 20 and len(greedy) == 5
            assert row[f"truth/{name}/first"] == pytest.approx(fmean(a["metrics"]["first"] for a in sampled))
            assert row[f"truth/{name}/first/greedy"] == pytest.approx(fmean(a["metrics"]["first"] for a in greedy))
            assert row[f"truth/{name}/reward"] == pytest.approx(fmean(a["reward"] for a in sampled))
            missing = sum(a["metrics"]["brief"] is None for a in sampled)
            assert row.get(f"truth/{name}/brief/unscored", 0.0) == missing
            sizes = [-len(a["completion"]) / 2 for a in sampled if a["metrics"]["brief"] is not None]
            assert sizes == [a["metrics"]["brief"] for a in sampled if a["metrics"]["brief"] is not None]
        both = [a["reward"] for a in answers if a["drawn"] == "sampled"]
        assert row["sampled/reward"] == pytest.approx(fmean(both)), "of the prompts of all sets together"
    assert history.evals[0]["truth/hard/first/divergence"] == 0.0
    assert all("first" not in row["scores"] for row in history.rollouts.all()), "no metric is trained on"


def test_the_sheet_is_answered_before_after_and_in_between(whole: Path) -> None:
    rows = read(whole).sheet
    assert [row["step"] for row in rows] == [0] * 3 + [3] * 3 + [4] * 3
    assert [row["prompt"] for row in rows[:3]] == ["ac>", "ad>", "bc>"], "the first of each set in turn"
    assert all(row["metrics"].keys() == {"first", "brief"} and row["reward"] is not None for row in rows)


@pytest.mark.parametrize("stopped", [1, 3])
def test_a_killed_run_ends_as_one_that_never_was(place: Path, whole: Path, stopped: int) -> None:
    def kill(event: Event) -> None:
        if isinstance(event, Step) and event.step == stopped + 1:
            raise KeyboardInterrupt

    name = f"killed-{stopped}"
    with pytest.raises(KeyboardInterrupt):
        launch(Document(values(name)), listeners=[kill])
    launch(Document(values(name)), resume=True)
    assert content(place / name) == content(whole)


@pytest.mark.parametrize("broken_after", [1, 3], ids=["between", "at the end"])
def test_an_evaluation_in_which_a_metric_failed_is_made_up(place: Path, whole: Path, broken_after: int) -> None:
    """The run stops, and says so; going on makes the evaluation of that very step."""

    def breaks(event: Event) -> None:
        if isinstance(event, Step) and event.step == broken_after + 1:
            (place / "broken").touch()

    name = f"failed-{broken_after}"
    with pytest.raises(RewardError, match=r"^evaluate\.metrics: reward first raised ConnectionError") as error:
        launch(Document(values(name)), listeners=[breaks])
    assert f"The weights after step {broken_after + 1} are saved." in str(error.value)
    (place / "broken").unlink()
    launch(Document(values(name)), resume=True)
    assert content(place / name) == content(whole)


def test_one_path_is_what_it_was(place: Path) -> None:
    """Without a metric and with one set nothing is written that was not before; a metric adds figures and columns."""
    data = {"path": "train.jsonl", "eval": "easy.jsonl"}
    plain = launch(Document(values("plain", data=data, steps=1, evaluate={"prompts": 5}))).history()
    metered = launch(
        Document(values("metered", data=data, steps=1, evaluate={"prompts": 5, "metrics": METRICS}))
    ).history()
    for one, other in zip(plain.evals, metered.evals, strict=True):
        assert {k: v for k, v in other.items() if not k.startswith("truth/")} == one
        assert "truth/held_out/first" in other and "sheet.jsonl" not in {p.name for p in plain.folder.iterdir()}
    assert [{k: v for k, v in row.items() if k not in ("set", "drawn", "metrics")} for row in metered.answers] == (
        plain.answers
    )


def test_written_answers_keep_their_loss_beside_a_metric(place: Path) -> None:
    data = {"path": "sft.jsonl", "eval": "held-sft.jsonl"}
    settings = {"method": "sft", "data": data, "reward": [], "steps": 1, "prompts_per_step": 4}
    history = launch(
        Document(values("sft", **settings, evaluate={"prompts": 5, "metrics": ["mine.py:first"]}))
    ).history()
    row = history.evals[-1]
    assert "held_out/loss/policy" in row and "truth/held_out/first" in row
    assert not [name for name in row if "divergence" in name or "unscored" in name]


# ----------------------------------------------------------------------------------------------- what is refused


def wrong(**changes: Any) -> None:
    check(Document(values(**changes)))


def measured_by(*metrics: Any, **more: Any) -> dict[str, Any]:
    return {"evaluate": {"metrics": [*metrics], **more}}


def test_sets_that_are_no_sets_are_refused(place: Path) -> None:
    write(place / "leak.jsonl", [{"prompt": "Aa>", "answer": "a"}, {"prompt": "zz>", "answer": "a"}])
    data = {"path": "train.jsonl"}
    with refused("held-out-overlap", said=r"^data\.eval, set 'leaky': 1 of 2 held-out prompts are also trained on"):
        wrong(data={**data, "eval": {"easy": "easy.jsonl", "leaky": "leak.jsonl"}})
    (place / "other").mkdir(exist_ok=True)
    write(place / "other" / "easy.jsonl", [{"prompt": "zy>", "answer": "a"}])
    with refused("duplicate-name", said=r"2 files of data.eval are called 'easy'; name the sets"):
        wrong(data={**data, "eval": ["easy.jsonl", "other/easy.jsonl"]})
    with refused("reserved-name", said="'a/b' is no name of a set"):
        wrong(data={**data, "eval": {"a/b": "easy.jsonl"}})
    with refused("duplicate-name", said="has 'easy.jsonl' 2 times"):
        wrong(data={**data, "eval": {"easy": ["easy.jsonl", "easy.jsonl"]}})
    with refused("missing-key", said="data.eval is an empty list"):
        wrong(data={**data, "eval": []})
    with refused("wrong-type", key="data.eval", said="must be text or a list"):
        wrong(data={**data, "eval": 3})
    with refused(
        "missing-column", said=r"^data\.eval, set 'bare': evaluate\.metrics: reward first needs column 'answer'"
    ):
        write(place / "bare.jsonl", [{"prompt": "zx>"}])
        wrong(data={**data, "eval": {"easy": "easy.jsonl", "bare": "bare.jsonl"}})


def test_metrics_that_measure_nothing_are_refused(place: Path) -> None:
    with refused("unknown-reward", said=r"^evaluate\.metrics: reward: 'exat' is neither"):
        wrong(**measured_by("exat"))
    with refused("no-effect", key="evaluate.metrics.0.weight", said="a metric is not trained on: it is in no sum"):
        wrong(**measured_by({"use": "mine.py:first", "weight": 0.5}))
    with refused("duplicate-name", said="two metrics are called 'first'"):
        wrong(**measured_by("mine.py:first", "mine.py:first"))
    with refused("reserved-name", said="'reward' cannot be a metric's name"):
        wrong(**measured_by({"use": "mine.py:first", "name": "reward"}))
    with refused("no-effect", said="evaluate.metrics measures held-out answers, and data.eval is not set"):
        wrong(**measured_by("mine.py:first"), data="train.jsonl")
    with refused("missing-key", said="evaluate.sheet has no prompts"):
        wrong(evaluate={"sheet": True}, data="train.jsonl")
    judge = {"use": "judge", "args": {"url": "http://localhost:1", "model": "m", "mode": "pairs"}}
    with refused("method-needs", said="judge compares the answers to a prompt with each other"):
        wrong(**measured_by(judge))


def test_a_metric_that_is_trained_on_is_no_second_opinion(place: Path) -> None:
    (note,) = [n for n in check(Document(values(**measured_by("mine.py:dots")))).notes if "second opinion" in n]
    assert note.startswith("evaluate.metrics: dots is trained on, too (reward dots)")
    assert not [n for n in check(Document(values())).notes if "second opinion" in n]


def test_check_says_what_is_measured_and_what_it_costs(place: Path) -> None:
    section = preflight(Document(values()), "r", Options(quick=True)).section("held_out")
    assert section.figures["evaluations"] == 3 and section.figures["answers"] == 50
    assert section.figures["answers_of_run"] == 3 * 50 + 3 * 3
    assert section.figures["sets"]["hard"] == {"rows": 11, "asked": 5} and section.figures["metrics"] == [
        "first",
        "brief",
    ]
    assert not [one for one in section.findings if one.code == "no-metric"]
    alone = preflight(Document(values(evaluate={"prompts": 5})), "r", Options(quick=True)).section("held_out")
    assert [one.code for one in alone.findings if one.code == "no-metric"]


# ------------------------------------------------------------------------------------------------ what goes on


def test_changed_metrics_and_sets_are_told_when_a_run_goes_on(place: Path) -> None:
    settings = values("changed", steps=2)
    launch(Document(settings))
    (place / "mine.py").write_text(MINE.replace("len(c) / 2", "len(c) / 3"))
    more = {**settings, "steps": 3}
    with refused("changed-metric", said=r"^metric: mine.py has changed since step 2"):
        launch(Document(more), resume=True)
    (place / "mine.py").write_text(MINE)
    others = {**more, "evaluate": {**settings["evaluate"], "metrics": METRICS[:1]}}
    with refused("changed-metric", said="evaluate.metrics"):
        launch(Document(others), resume=True)
    fewer = {**more, "data": {"path": "train.jsonl", "eval": {"easy": "easy.jsonl", "hard": "hard.jsonl"}}}
    with refused("changed-eval", said="hard: 3 were taken out"):
        launch(Document(fewer), resume=True)
    run = launch(Document(others), resume=True, accepted="metric")
    assert "truth/easy/first" in run.history().evals[-1] and "truth/easy/brief" not in run.history().evals[-1]


# ---------------------------------------------------------------------------------------------------- commands

cli = CliRunner()


def test_the_sheet_is_shown_step_by_step(place: Path, whole: Path) -> None:
    result = cli.invoke(app, ["sheet", str(whole)])
    assert result.exit_code == 0 and all(len(line) <= 80 for line in result.stdout.splitlines())
    assert [line[:13] for line in result.stdout.splitlines() if line.startswith("prompt ")] == [
        "prompt 1 of 3",
        "prompt 2 of 3",
        "prompt 3 of 3",
    ]
    one = json.loads(cli.invoke(app, ["sheet", str(whole), "--prompt", "2", "--steps", "0,4", "--json"]).stdout)
    (prompt,) = one["prompts"]
    assert prompt["number"] == 2 and [a["step"] for a in prompt["answers"]] == [0, 4]
    for arguments, said in (
        (["--prompt", "9"], "the sheet has 3 prompts"),
        (["--steps", "0,1"], "it was after 0, 3, 4"),
        (["--steps", "x"], "a list of numbers"),
    ):
        with refused_by_command(said):
            cli.invoke(app, ["sheet", str(whole), *arguments], catch_exceptions=False)


def refused_by_command(said: str) -> Any:
    return pytest.raises(ConfigError, match=said)


def test_a_run_is_measured_as_it_measured_itself(place: Path, whole: Path) -> None:
    result = cli.invoke(app, ["eval", str(whole), "--out", str(place / "again.json")], catch_exceptions=False)
    assert result.exit_code == 0 and "divergence" in result.stdout
    saved = json.loads((place / "again.json").read_text())
    last = read(whole).evals[-1]
    assert saved["figures"] == {name: last[name] for name in saved["figures"]}
    few = cli.invoke(
        app, ["eval", str(whole), "--limit", "2", "--out", str(place / "few.json")], catch_exceptions=False
    )
    assert "easy 2 prompts, hard 2 prompts" in " ".join(few.stdout.split())
    assert len(json.loads((place / "few.json").read_text())["answers"]) == 2 * 2 * 5
    with refused_by_command("--data"):
        cli.invoke(app, ["eval", "model"], catch_exceptions=False)
