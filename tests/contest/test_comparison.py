"""Comparisons as a user meets them: run, stopped, gone on with, looked at, refused."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import postlude
from postlude.cli.app import app
from postlude.cli.compare_view import curve
from postlude.contest.arms import Arm, arm_of
from postlude.contest.comparison import Comparison
from postlude.contest.plan import Allowance, Contest, Entry, Job
from postlude.contest.results import Result as RunResult
from postlude.contest.results import Used, by_prompt
from postlude.contest.running import is_end
from postlude.contest.setup import set_up
from postlude.contest.verdicts import Difference, bounds, differences, summaries
from postlude.errors import ConfigError
from postlude.models.tiny import save_tiny_model
from postlude.plain_yaml import dump
from postlude.recipe.opening import document_of
from postlude.runs import read
from postlude.runs.events import Event, Step


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, prompts, held-out prompts in two parts, and a recipe."""
    folder = tmp_path_factory.mktemp("contest")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    prompts = [f"{a}{b}>" for a in "abcd" for b in "abcd"]
    for name, some in (("prompts", prompts[:8]), ("report", prompts[8:12]), ("choose", prompts[12:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in some))
    recipe = {
        "method": "grpo",
        "model": {"path": "model", "dtype": "float64"},
        "data": {"path": "prompts.jsonl", "eval": "report.jsonl"},
        "reward": {"use": "regex", "args": {"pattern": "[a-m]$"}},
        "prompts_per_step": 4,
        "group_size": 4,
        "steps": 3,
        "sampling": {"max_tokens": 4},
        "schedule": {"lr": 1e-3},
        "objective": {"kl": None},
        "evaluate": {"every": 1, "samples": 2},
    }
    (folder / "recipe.yaml").write_text(dump(recipe))
    return folder


def command(*words: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, words)])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def done(place: Path) -> Path:
    """A comparison of two methods with two seeds."""
    out = place / "done"
    result = command(
        *(place / "recipe.yaml", "--arm", "grpo", "--arm", "short: drpo lam=0.3", "--seeds", 2),
        *("--budget", "tokens=400", "--out", out),
    )
    assert result.exit_code == 0, result.output
    return out


def test_every_run_ends_with_the_first_step_at_or_beyond_the_budget(done: Path) -> None:
    rows = Comparison.of(done).rows()
    assert [(row["arm"], row["seed"], row["state"]) for row in rows] == [
        *(("grpo", seed, "finished") for seed in (0, 1)),
        *(("short", seed, "finished") for seed in (0, 1)),
    ]
    for row in rows:
        history = read(row["folder"])
        tokens = [a + b for a, b in zip(history["tokens"].values, history["passed_tokens"].values, strict=True)]
        assert row["sampled_tokens"] + row["passed_tokens"] == sum(tokens) >= 400 > sum(tokens[:-1])
        assert row["steps"] == history.steps == len(tokens)
        assert history.recipe["evaluate"]["samples"] == 2 and history.recipe["seed"] == row["seed"]
    drpo = read(done / "runs/short/seed-0").recipe
    assert drpo["method"] == "drpo" and drpo["objective"]["advantage"]["lam"] == 0.3


def test_the_table_says_what_the_runs_say(done: Path) -> None:
    result = command(done, "--json", "--metric", "sampled/accuracy")
    said = json.loads(result.stdout)
    assert result.exit_code == 0 and said["done"] and said["budget"] == {"tokens": 400}
    last = {(r["arm"], r["seed"]): read(r["folder"]).evals[-1]["sampled/accuracy"] for r in said["runs"]}
    summary = {s["arm"]: s for s in said["summaries"]}
    for arm in ("grpo", "short"):
        assert summary[arm]["value"] == pytest.approx((last[arm, 0] + last[arm, 1]) / 2)
    (difference,) = said["differences"]
    assert difference["value"] == pytest.approx(summary["grpo"]["value"] - summary["short"]["value"])
    assert (difference["seeds"], difference["prompts"], difference["differs"]) == (2, 4, False)
    assert "'schema'" in str(command(done, "--metric", "schema").exception)
    shown = flat(command(done).output)
    assert "paired over 2 seeds and 4 prompts" in shown and difference["words"] in shown
    assert "method: grpo (grpo), drpo (short)" in shown


def test_what_the_table_is_to_say_is_checked_before_anything_is_trained(place: Path, tmp_path: Path) -> None:
    start = (place / "recipe.yaml", "--arm", "grpo", "--arm", "rloo", "--out", tmp_path / "c")
    error = command(*start, "--baseline", "rlo").exception
    assert isinstance(error, ConfigError) and "there is no arm 'rlo'. Did you mean 'rloo'?" in str(error)
    wrong = {
        "schema": "'schema' is no figure of this run's evaluations (greedy/..., sampled/...)",
        "sampled/acuracy": "there is no figure 'sampled/acuracy'. Did you mean 'sampled/accuracy'?",
        "sampled/pass@4": "'sampled/pass@4' is not measured: evaluate.samples is 2, so that k may be 2",
        "greedy/pass@2": "greedy answers are one each, so that k may be none",
        "truth/held_out/right": "'truth/held_out/right' is no figure",
    }
    error = command(*start, *(word for name in wrong for word in ("--metric", name))).exception
    assert isinstance(error, ConfigError) and len(error.problems) == len(wrong)
    assert all(text in str(error) for text in wrong.values()), error
    sweep = ("--sweep", "lr=1e-4,1e-3", "--choose-on", place / "choose.jsonl", "--choose-by", "sampled/length")
    assert "--choose-by: 'sampled/length' has no better direction" in str(command(*start, *sweep).exception)
    assert not (tmp_path / "c").exists()


def test_finished_runs_are_not_run_again_and_arms_and_seeds_can_be_added(done: Path, place: Path) -> None:
    before = (done / "runs/grpo/seed-0/events.jsonl").stat().st_mtime_ns
    result = command(
        *(place / "recipe.yaml", "--arm", "rloo: rloo_lp", "--arm", "grpo", "--seeds", "0,", "--budget", "tokens=400"),
        *("--out", done),
    )
    assert result.exit_code == 0, result.output
    assert "4 of 6 runs are finished already" in result.output
    assert (done / "runs/grpo/seed-0/events.jsonl").stat().st_mtime_ns == before
    comparison = Comparison.of(done)
    assert comparison.done and [*comparison.runs] == ["grpo", "short", "rloo"]
    assert len([d for d in comparison.differences if d.figure == "sampled/length"]) == 3
    against = Comparison.of(done, baseline="short").differences
    assert {(d.first, d.second) for d in against} == {("grpo", "short"), ("rloo", "short")}


def test_a_changed_recipe_budget_or_arm_is_refused_by_name(done: Path, place: Path) -> None:
    same = (place / "recipe.yaml", "--arm", "grpo", "--arm", "short: drpo lam=0.3", "--out", done)
    for words, what in (
        (("group_size=8", "--budget", "tokens=400"), "arm grpo: group_size was 4 and is 8"),
        (("--budget", "tokens=500"), "the budget was 400 tokens and is 500 tokens"),
        (("--budget", "steps=400"), "the budget was 400 tokens and is 400 steps"),
    ):
        result = command(*same, *words)
        assert result.exit_code != 0 and isinstance(result.exception, ConfigError)
        assert what in str(result.exception) and "Leave it as it was" in str(result.exception)
    with pytest.raises(ConfigError, match=r"arm short: objective\.advantage\.lam was 0\.3 and is 0\.2"):
        postlude.compare(
            place / "recipe.yaml", ["grpo", "short: drpo lam=0.2"], out=done, budget="tokens=400", show=False
        )


def test_changed_data_are_refused_before_runs_of_two_kinds_stand_side_by_side(place: Path, tmp_path: Path) -> None:
    for name in ("prompts", "report"):
        shutil.copy(place / f"{name}.jsonl", tmp_path)
    here = {"model": {"path": str(place / "model")}, "data": str(tmp_path / "prompts.jsonl")}
    settings: dict[str, Any] = {"out": tmp_path / "c", "budget": "steps=1", "show": False, **here}
    arms = ["grpo", "fast: lr=1e-2"]
    assert postlude.compare(place / "recipe.yaml", arms, seeds=1, **settings).done
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "zz>"}\n')
    with pytest.raises(ConfigError, match=r"data: its rows differ \(8 then, 1 now\) since the comparison began"):
        postlude.compare(place / "recipe.yaml", arms, seeds=2, **settings)
    assert isinstance(command(tmp_path / "c", "--resume").exception, ConfigError)
    assert Comparison.of(tmp_path / "c").done  # it can be looked at


def test_all_arms_are_checked_before_any_runs(place: Path, tmp_path: Path) -> None:
    arms = [
        "a: group_sise=3",
        "b: grpo lr=7",
        "c: seed=3",
        "d: evaluate.samples=1",
        "e: data.eval=x.jsonl",
        "f: steps=9",
    ]
    with pytest.raises(ConfigError) as error:
        postlude.compare(place / "recipe.yaml", arms, out=tmp_path / "x", show=False)
    text = str(error.value)
    assert not (tmp_path / "x").exists()
    assert "arm c: seed is set by the comparison (--seeds)" in text and "arm f: steps is set" in text
    assert "arm d: evaluate.samples says how arms are measured" in text and "arm e: data.eval says how" in text
    with pytest.raises(ConfigError) as error:
        postlude.compare(place / "recipe.yaml", arms[:2], out=tmp_path / "x", show=False)
    assert "arm a: " in str(error.value) and "group_size" in str(error.value) and "arm b: " in str(error.value)
    for bad, what in (
        (["grpo"], "two arms at least"),
        (["a: grpo", "b: grpo"], "arms a and b have the same settings"),
        (["a: grpo", "a: drpo"], "two arms are called 'a'"),
    ):
        with pytest.raises(ConfigError, match=what):
            postlude.compare(place / "recipe.yaml", bad, out=tmp_path / "x", show=False)
    with pytest.raises(ConfigError, match="stop_at ends a run before its budget"):
        postlude.compare(place / "recipe.yaml", ["grpo", "drpo"], out=tmp_path / "x", evaluate={"stop_at": 0.5})


def test_a_comparison_that_is_stopped_goes_on_to_what_it_would_have_been(
    done: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postlude.contest import running

    launched: list[str] = []
    launch = running.launch

    def interrupting(document: Any, resume: bool, listeners: Any) -> Any:
        def stop(event: Event) -> None:
            if isinstance(event, Step) and len(launched) == 2:
                signal.raise_signal(signal.SIGINT)

        launched.append(document.values["output"])
        return launch(document, resume, [*listeners, stop])

    monkeypatch.setattr(running, "launch", interrupting)
    same = (place / "recipe.yaml", "--arm", "grpo", "--arm", "short: drpo lam=0.3", "--seeds", 2)
    result = command(*same, "--budget", "tokens=400", "--out", tmp_path / "c")
    assert result.exit_code == 130
    assert "runs/short/seed-0 is stopped: after step 1" in flat(result.output)
    assert "2 of 4 runs have not begun" in flat(result.output)
    monkeypatch.undo()
    assert command(tmp_path / "c", "--resume").exit_code == 0
    for run in ("grpo/seed-0", "short/seed-0", "short/seed-1"):
        assert (tmp_path / "c/runs" / run / "eval.jsonl").read_text() == (
            done / "runs" / run / "eval.jsonl"
        ).read_text()


def test_a_history_of_prompts_that_come_once_is_said_to_have_no_effect(place: Path, tmp_path: Path) -> None:
    """HAPO is GRPO then, and a comparison of the two would be one of a method with itself."""
    document = document_of(place / "recipe.yaml", ["keep=null"])
    arms = [arm_of("grpo"), arm_of("hapo")]
    for steps, told in ((2, True), (3, False)):  # of four prompts each; there are eight
        setup = set_up(document, "r", arms, 2, Allowance("steps", steps), None, tmp_path)
        assert any("history_length" in note and "no effect" in note for note in setup.notes) == told


def test_each_arm_gets_the_rate_that_was_best_by_data_apart(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs --choose-on"):
        postlude.compare(place / "recipe.yaml", ["grpo", "rloo"], out=tmp_path, sweep={"lr": [1e-5, 3e-3]}, show=False)
    sweep: dict[str, Any] = {"sweep": {"lr": [1e-5, 3e-3, 1e-2]}, "show": False, "seeds": 1, "budget": "steps=2"}
    with pytest.raises(ConfigError, match=r"4 of its prompts are in data\.eval too"):
        postlude.compare(
            place / "recipe.yaml", ["grpo", "rloo"], out=tmp_path, choose_on=place / "report.jsonl", **sweep
        )
    for _ in range(2):  # the second finds all of it done
        comparison = postlude.compare(
            place / "recipe.yaml", ["grpo", "rloo"], out=tmp_path, choose_on=place / "choose.jsonl", **sweep
        )
    for arm in ("grpo", "rloo"):
        trials = {p.parent.name: read(p) for p in (tmp_path / "tuning" / arm).glob("*/seed-0")}
        assert len(trials) == 3 and all(run.recipe["data"]["eval"].endswith("choose.jsonl") for run in trials.values())
        assert all(run.recipe["seed"] == 1_000_003 for run in trials.values())
        values = {name.partition("=")[2]: run.evals[-1]["sampled/accuracy"] for name, run in trials.items()}
        best = max(("1e-05", "0.003", "0.01"), key=values.__getitem__)
        assert comparison.chosen[arm].settings == {"lr": best}
        reported = read(tmp_path / "runs" / arm / "seed-0").recipe
        assert reported["schedule"]["lr"] == float(best) and reported["data"]["eval"].endswith("report.jsonl")
        assert f"{arm} got lr={best}" in " ".join(comparison.notes)
    assert any(note.startswith("one seed: nothing can be said of seeds") for note in comparison.notes)


def test_a_run_that_fails_is_said_and_the_others_go_on(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def broken(completions):\n    raise ValueError('no more')\n")
    result = command(
        *(place / "recipe.yaml", "--arm", f"bad: reward={tmp_path}/mine.py:broken", "--arm", "grpo", "--seeds", 1),
        *("--budget", "steps=1", "--out", tmp_path / "c"),
    )
    assert result.exit_code == 2
    assert "runs/bad/seed-0 failed" in result.output and "no more" in result.output
    assert "the arms differ in reward" in flat(result.output)
    assert [(r.job.arm, r.state) for r in Comparison.of(tmp_path / "c").results][1] == ("grpo", "finished")


def test_runs_in_processes_are_those_of_this_one(done: Path, tmp_path: Path) -> None:
    """One run is left, since a process takes seconds to begin."""
    shutil.copytree(done, tmp_path / "c", symlinks=True)
    shutil.rmtree(tmp_path / "c/runs/short/seed-1")
    result = command(tmp_path / "c", "--resume", "--jobs", 2)
    assert result.exit_code == 0, result.output
    assert "runs/short/seed-1 is finished" in result.output
    run = "runs/short/seed-1/eval.jsonl"
    assert (tmp_path / "c" / run).read_text() == (done / run).read_text()


# ------------------------------------------------------------------------------------------ what can be said


def results(arm: str, values: Mapping[int, Mapping[str, float]]) -> list[RunResult]:
    """Finished runs of an arm: seed -> prompt -> accuracy."""
    made = []
    for seed, by in values.items():
        result = RunResult(
            Job(Entry(Arm(arm), {}), seed, f"{arm}/{seed}"),
            "finished",
            Used(),
            figures={"sampled/accuracy": sum(by.values()) / len(by)},
        )
        result.__dict__["answers"] = {"sampled/accuracy": by}
        made.append(result)
    return made


def runs(**arms: Mapping[int, Mapping[str, float]]) -> dict[str, dict[int, RunResult]]:
    return {arm: {r.job.seed: r for r in results(arm, values)} for arm, values in arms.items()}


def words(**arms: Mapping[int, Mapping[str, float]]) -> str:
    (difference,) = differences(runs(**arms), ["sampled/accuracy"])
    return difference.words()


def accuracies(shift: float, seeds: int, wobble: float = 0.0) -> dict[int, dict[str, float]]:
    return {
        s: {str(p): 0.5 + shift + 0.05 * (-1) ** (p + s) + wobble * (s - 1) for p in range(40)} for s in range(seeds)
    }


def test_a_difference_of_one_seed_says_nothing_of_seeds() -> None:
    said = words(a=accuracies(0.3, 1), b={0: {str(p): 0.5 for p in range(40)}})
    assert said.endswith("over prompts), of one seed: nothing can be said of others") and said.startswith(
        "a - b: +0.300"
    )


def test_an_interval_that_holds_0_is_no_difference_to_be_seen() -> None:
    said = words(a=accuracies(0.02, 3, wobble=0.1), b=accuracies(0.0, 3, wobble=-0.1))
    assert said.startswith("a - b: no difference to be seen: -0.") and " to +0." in said


def test_a_clear_difference_names_the_better_one() -> None:
    flat_ = {s: {str(p): 0.5 for p in range(40)} for s in range(3)}
    assert words(a=accuracies(0.3, 3), b=flat_).startswith("a is better than b by 0.300 (0.2")
    assert words(a=flat_, b=accuracies(0.3, 3)).startswith("b is better than a by 0.300 (0.2")


def test_intervals_end_where_a_figure_does() -> None:
    apart = runs(a={0: {"x": 1.0, "y": 1.0}, 1: {"x": 0.0, "y": 0.5}}, b={0: {"x": 0.0, "y": 0.0}, 1: {"x": 1, "y": 1}})
    (difference,) = differences(apart, ["sampled/accuracy"])
    assert difference.estimate is not None and (difference.estimate.low, difference.estimate.high) == (-1.0, 1.0)
    first, _ = summaries(apart, ["sampled/accuracy"])
    assert first.over_seeds is not None and (first.over_seeds.low, first.over_seeds.high) == (0.0, 1.0)
    assert bounds("held_out/loss/policy", [0.5]) == (-math.inf, math.inf)  # which lies there by chance
    assert bounds("sampled/length", [0.5]) == (0.0, math.inf)
    assert bounds("truth/S/M", [0.5]) == (0.0, 1.0) and bounds("truth/S/M", [0.5, 1.5]) == (-math.inf, math.inf)


def test_two_seeds_are_named_beside_every_p() -> None:
    assert words(a=accuracies(0.3, 2, wobble=0.01), b={s: {str(p): 0.5 for p in range(40)} for s in range(2)}).endswith(
        ", of two seeds alone"
    )


def test_the_course_shows_what_was_measured() -> None:
    assert curve([(0.0, 0.0), (1.0, 1.0)], 0.0, 1.0) == "▁" + "·" * 30 + "█"
    assert curve([(n / 99, n) for n in range(100)], 0.0, 99.0).count("·") == 0


def test_the_least_and_the_most_of_what_was_tried_are_its_ends() -> None:
    assert [is_end(value, ("1e-3", "1e-5", "1e-4")) for value in ("1e-3", "1e-5", "1e-4")] == [True, True, False]
    assert is_end("2", ("1", "2")) and not is_end("adamw", ("adamw", "sgd"))


def test_equal_runs_are_no_difference_at_all() -> None:
    assert words(a=accuracies(0, 2), b=accuracies(0, 2)) == "a - b: no difference at all"


def test_what_is_not_beyond_chance_among_many_pairs_is_not_settled() -> None:
    d = Difference("sampled/accuracy", "a", "b", 0.1, 3, 40, None)
    from dataclasses import replace

    from postlude.inference import Estimate

    d = replace(d, estimate=Estimate(0.1, 0.01, 0.19, 0.03), adjusted=0.18, tests=6)
    assert d.words() == "a - b: +0.100 (+0.010 to +0.190), but p is 0.180 among 6 pairs (Holm): not settled"
    assert not d.differs


def test_only_seeds_and_prompts_that_both_have_are_paired() -> None:
    ours = {0: {"x": 1.0, "y": 0.0}, 1: {"x": 1.0, "y": 1.0}}
    theirs = {1: {"y": 0.0, "z": 1.0}, 2: {"x": 0.0}}
    (difference,) = differences(runs(a=ours, b=theirs), ["sampled/accuracy"])
    assert (difference.seeds, difference.prompts) == (1, 1)
    assert [s.seeds for s in summaries(runs(a=ours, b=theirs), ["sampled/accuracy"])] == [2, 2]


def test_answers_are_told_apart_by_how_they_were_drawn() -> None:
    """One greedy answer to each prompt, then the sampled ones; rows that say so themselves are believed."""
    rows = [
        {"step": 2, "prompt_id": p, "correct": right, "reward": float(right), "length": n}
        for p, right, n in (("x", True, 1), ("y", False, 2), ("x", True, 3), ("x", False, 5), ("y", True, 7))
    ]
    by = by_prompt([{"step": 1, "prompt_id": "x", "correct": False}, *rows], {"step": 2, "greedy/answers": 2.0})
    assert by["greedy/accuracy"] == {"/x": 1.0, "/y": 0.0}
    assert by["sampled/accuracy"] == {"/x": 0.5, "/y": 1.0}
    assert by["sampled/length"] == {"/x": 4.0, "/y": 7.0}
    marked = [{**row, "set": "S", "drawn": "sampled", "metrics": {"M": 0.25}} for row in rows]
    by = by_prompt(marked, {"step": 2, "greedy/answers": 2.0})
    assert by["truth/S/M"] == {"S/x": 0.25, "S/y": 0.25} and "greedy/accuracy" not in by


def test_a_comparison_is_written_and_read_again(tmp_path: Path) -> None:
    values = {"objective": {"advantage": {"lam": float("inf")}}, "data": {"path": "/x", "columns": {"prompt": "no"}}}
    contest = Contest("r.yaml", [Entry(Arm("a b", {"lam": ".inf"}), values)], [0, 1], Allowance("seconds", 1.5))
    contest.write(tmp_path)
    again = Contest.read(tmp_path)
    assert again == contest
    (tmp_path / "comparison.yaml").write_text("schema: 1\n")
    with pytest.raises(ConfigError, match="damaged"):
        Contest.read(tmp_path)
    with pytest.raises(ConfigError, match="holds no comparison"):
        Contest.read(tmp_path / "none")
