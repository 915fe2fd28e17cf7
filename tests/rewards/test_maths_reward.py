"""The reward function: scores, what is logged, wrong arguments, golds that cannot be read, faults of our own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from postlude.check import check
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError, DataError, RewardError
from postlude.launch import launch
from postlude.maths import verify, workers
from postlude.maths.verify import Verifier
from postlude.maths.workers import Limits, Pool, WorkerError
from postlude.recipe.documents import Document
from postlude.rewards.maths import maths
from postlude.rewards.member import Reward
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.runs import read


def test_a_batch_is_scored_and_its_verdicts_logged() -> None:
    answers = [r"\boxed{\frac12}", r"\boxed{0.6}", r"\boxed{0.5\text{ or }0.6}", "???"]
    figures: dict[str, float] = {}
    columns: dict[str, list[Any]] = {}
    values = maths()(answers, ["0.5"] * 4, log_metric=figures.__setitem__, log_extra=columns.__setitem__)
    assert values == [1.0, 0.0, 0.0, 0.0]
    assert figures == {"ambiguous": 0.25, "unparsable": 0.25, "timeout": 0.0, "error": 0.0}
    assert columns["maths_verdict"] == ["equal", "different", "ambiguous", "unparsable"]
    assert columns["maths_extracted"][0] == r"\frac12"
    assert columns["maths_rule"][0] == "box, exact"


def test_verdicts_reach_the_rollouts_and_the_step() -> None:
    completions = (Completion((1,), text=r"\boxed{1/2}"), Completion((1,), text=r"\boxed{2}"))
    group = Group(Prompt("p", "q", "0.5", {"answer": "0.5"}), completions)
    scored = asyncio.run(Rewards.of([RewardSpec("maths")]).score([group]))
    assert [c.correct for c in scored.groups[0].completions] == [True, False]
    assert scored.extra["maths_verdict"] == ["equal", "different"]
    assert scored.metrics["maths/error"] == 0.0


def test_only_what_follows_after_is_read() -> None:
    assert maths(after="FINAL")([r"\boxed{7} FINAL \boxed{8}", r"\boxed{7}"], ["7", "7"]) == [0.0, 0.0]
    assert maths(after="FINAL")([r"\boxed{8} FINAL \boxed{7}"], ["7"]) == [1.0]


def test_a_tolerance_is_only_used_where_it_is_set() -> None:
    answers, golds = (
        [r"\boxed{3.14}", r"\boxed{0.333}", r"\boxed{100.5}", r"\boxed{101.5}"],
        [r"\pi", "1/3", "100", "100"],
    )
    assert maths()(answers, golds) == [0.0] * 4
    assert maths(tolerance=0.01)(answers, golds) == [1.0, 1.0, 1.0, 0.0]
    assert maths(tolerance="1/1000")(answers, golds) == [1.0, 1.0, 0.0, 0.0]


def test_the_rules_say_where_an_answer_may_stand() -> None:
    text = ["I count 3 and then 7 of them in all, I think"]
    assert maths()(text, ["7"]) == [0.0]
    assert maths(rules=["box", "number"])(text, ["7"]) == [1.0]
    assert maths(rules=["box"])(["The answer is 7."], ["7"]) == [0.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tolerance": -1}, "tolerance must be at least 0 and below 1, got -1"),
        ({"tolerance": "much"}, "tolerance must be at least 0 and below 1, got 'much'"),
        ({"tolerance": True}, "args: tolerance must be a number or text, found true"),
        ({"rules": ["boxes"]}, "rules must be a list of tags, box, hashes, stated, sentence, math, whole, number, got"),
        ({"rules": "box"}, "args: rules must be a list, found"),
        ({"rules": []}, "rules must be a list of"),
        ({"rules": 3}, "args: rules must be a list, found"),
        ({"seconds": 0}, "seconds must be positive, got 0"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"workers": "two"}, "workers must be a whole number"),
        ({"speed": 1}, "has no argument 'speed'"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Rewards.of([RewardSpec("maths", args=arguments)])
    assert said in str(error.value)


# ------------------------------------------------------------------------------------------------------- faults


def broken(self: Pool, job: Any) -> dict[str, Any]:
    raise WorkerError("a worker died with exit status -9")


def test_a_number_without_figures_is_no_error() -> None:
    assert Verifier().verify("7", r"\pi!!").verdict == "different"


HARD = (r"\boxed{\sin^2 x+\cos^2 x}", "1")


def test_a_fault_of_ours_abstains_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "ask", broken)
    figures: dict[str, float] = {}
    answers, golds = zip(HARD, *[(r"\boxed{7}", "7")] * 99, strict=True)
    values = maths()(answers, golds, log_metric=figures.__setitem__)
    assert values == [None] + [1.0] * 99
    assert figures["error"] == 0.01


def test_many_faults_stop_with_the_first_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(verify.Comparison, "same", fails)
    with pytest.raises(RewardError) as error:
        maths()([r"\boxed{7}"] * 8, ["7"] * 8)
    assert "could not judge 8 of 8" in str(error.value)
    assert "RuntimeError: a bug of ours" in str(error.value)
    assert maths()([r"\boxed{7}"] * 2, ["7"] * 2) == [None, None]  # too few to stop for


def test_it_works_without_math_verify(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "has_math_verify", lambda: False)
    verifier = Verifier()
    assert verifier.verify("1", HARD[0]).verdict == "equal"
    found = verifier.verify(r"a\perp b", r"\boxed{a\perp c}")
    assert (found.verdict, found.rule) == (
        "unparsable",
        r"box: '\\perp' is not expected there (math-verify is not installed)",
    )
    assert "pip install 'postlude[maths]'" in str(verifier.problem_of_gold(r"\frac{d}{dt}\hat{x}"))


def test_another_notation_is_left_to_math_verify() -> None:
    pytest.importorskip("math_verify")
    found = Verifier().verify(r"\sqrt12", r"\boxed{2\sqrt{3}}")
    assert "math-verify" in found.rule


# -------------------------------------------------------------------------------------------------------- golds


@pytest.mark.parametrize(
    ("gold", "said"),
    [
        (None, "missing or null"),
        ("", "it is empty"),
        ("  ", "it is empty"),
        ("nan", "it is 'nan'"),
        (float("nan"), "it is nan"),
        (float("inf"), "it is inf"),
        (True, "it is a bool"),
        (["7"], "it is a list"),
        (r"\frac{1}{0}", "it divides by zero"),
        (r"\frac{1}{2", "a bracket that is not closed"),
        ("9" * 1001, "more than 1,000 digits"),
        ("10^{10^{10}}", "a power has more than 3,000 digits"),
        (r"\sum_{d|n}d", r"\sum"),
        ("First we add the two numbers and then we see that it is large", "more than 8 words"),
        (r"so \boxed{7", "it holds a box that is not closed"),
        ("so\n####", "it holds an empty #### line"),
        ("x = 2 = 3", "the sides of an equation differ"),
    ],
)
def test_a_gold_that_cannot_be_read_is_told(gold: Any, said: str) -> None:
    problem = maths().check_row({"answer": gold})
    assert problem and said in problem
    assert problem.startswith('"answer"')


SOUND = ["7", 7, 0.5, r"\frac12", "x=1, x=2", "[0,1)", "A", r"\text{Friday}", "3 + 4 = 7\n#### 7", "DNE",
         r"Thus the answer to the question that was asked is \boxed{7}."]  # fmt: skip


@pytest.mark.parametrize("gold", SOUND)
def test_a_sound_gold_is_no_problem(gold: Any) -> None:
    assert maths().check_row({"answer": gold}) is None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(model: Path, **data: Any) -> Document:
    values = {"method": "grpo", "model": str(model), "reward": "maths", "sampling": {"max_tokens": 4}}
    return Document({**values, "data": {"path": "q.jsonl", **data}})


GOLDS = ["7", "", r"\frac{1}{0}", "8", None]


def write(name: str, golds: list[Any]) -> None:
    Path(name).write_text("".join(json.dumps({"prompt": f"{i}=", "answer": g}) + "\n" for i, g in enumerate(golds)))


def test_golds_that_cannot_be_read_are_listed_by_line_before_training(place: Path, model_folder: Path) -> None:
    write("q.jsonl", GOLDS)
    with pytest.raises(ConfigError) as error:
        check(document(model_folder))
    problems = error.value.problems
    assert (
        problems[0]
        == 'q.jsonl:2: "answer" \'\' is no gold for the reward maths: it is empty: {"prompt": "1=", "answer": ""}'
    )
    assert r":3: " in problems[1] and "divides by zero" in problems[1]
    assert ":5: " in problems[2] and "missing or null" in problems[2]
    assert "5 rows read, 2 good, 3 bad" in problems[3] and "on_bad_row=skip" in problems[3]


def test_bad_golds_can_be_skipped_and_are_counted(place: Path, model_folder: Path) -> None:
    write("q.jsonl", GOLDS)
    write("held.jsonl", ["", "9"])
    found = check(document(model_folder, on_bad_row="skip"))
    assert [p.answer for p in found.prompts] == ["7", "8"]
    assert found.counts == {"q.jsonl read": 5, "q.jsonl used": 2, "q.jsonl rejected": 3}
    assert len(found.rejected) == 3
    with pytest.raises(ConfigError, match=r"held\.jsonl:1"):
        write("q.jsonl", ["7"])
        check(document(model_folder, eval="held.jsonl"))


def test_a_missing_column_is_told_once_and_not_for_every_row(place: Path, model_folder: Path) -> None:
    Path("q.jsonl").write_text('{"prompt": "1="}\n{"prompt": "2="}\n')
    with pytest.raises(ConfigError) as error:
        check(document(model_folder))
    assert error.value.problems == ["reward maths needs column 'answer', which the data lack. They have: ."]


def test_any_reward_can_check_rows() -> None:
    def levels(completions: Any, level: Any) -> list[float]:
        return []

    levels.check_row = lambda columns: None if columns["level"] < 3 else f"level {columns['level']}"  # type: ignore
    rewards = Rewards([Reward(RewardSpec("levels"), levels, True)])
    prompts = [Prompt(str(i), "q", columns={"level": i}) for i in (1, 5)]
    assert rewards.problems_of_rows(prompts) == [None, "level 5"]
    assert rewards.problems_of_rows([Prompt("1", "q", columns={"other": 1})]) == [None]
    prompts = [Prompt("1", "q", columns={"level": "high"}), Prompt("2", "q", columns={"level": 1})]
    assert "check_row of reward levels raised TypeError" in str(rewards.problems_of_rows(prompts)[0])


def test_a_run_writes_verdicts_to_its_rollouts_and_counts_to_its_events(place: Path, model_folder: Path) -> None:
    write("q.jsonl", ["7", "8"])
    found = document(model_folder)
    found.values |= {"steps": 1, "prompts_per_step": 2, "group_size": 2, "output": "run"}
    launch(found)
    rows = read("run").rollouts[1]
    assert len(rows) == 4
    assert {r["maths_verdict"] for r in rows} <= {"equal", "different", "unparsable", "ambiguous"}
    assert all(r["maths_rule"] for r in rows)
    assert {"maths/unparsable", "maths/error"} <= {*read("run").names}


def test_eval_refuses_bad_golds(place: Path, model_folder: Path) -> None:
    from postlude.cli.scoring import require_good_rows

    prompts = [Prompt(str(i), "q", columns={"answer": ""}, place=f"e.jsonl:{i}") for i in range(30)]
    with pytest.raises(DataError) as error:
        require_good_rows(Rewards.of([RewardSpec("maths")]), prompts)
    assert "e.jsonl:0" in error.value.problems[0]
    assert error.value.problems[-1] == "... and 10 more rows like these."


def test_a_worker_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.sys, "executable", "/nowhere/python")
    found = Verifier(limits=Limits(size=3)).verify(HARD[1], HARD[0])
    assert found.verdict == "error"
    assert "/nowhere/python" in found.trace
