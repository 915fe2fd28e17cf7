"""The column `answer` of every shape: right answers score, or the row is told before anything is sampled."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postlude.check import check
from postlude.data import Prompt
from postlude.errors import ConfigError, RewardError
from postlude.recipe.documents import Document
from postlude.rewards.golds import accepted
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.scoring import reward

SOLUTION = "She has 6 * 7 = <<6*7=42>>42 apples.\n#### 42"


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (42, ["42", " 42 ", "42.0", "+42", "42.00"], ["4", "042", "-42", "42.01", "4 2", "4_2", "٤٢"]),
        (42.0, ["42", "42.0", "42.00"], ["4", "42."]),
        ("42.0", ["42", "42.0"], ["43"]),
        ("-7.00", ["-7", "-7.00", "-7.0"], ["7", "+7"]),
        ("42", ["42", "42.0"], ["42.1", "42.0.0", "0x2a"]),
        (0.5, ["0.5", ".5", "0.50", "+.5"], ["1/2", "0", "5", "0,5"]),
        (1e-05, ["0.00001", "1e-05"], ["0"]),
        (1e22, ["10000000000000000000000", "1e+22"], ["1"]),
        (True, ["true", "True", "TRUE"], ["1", "yes", "false"]),
        (False, ["false", "False"], ["0", "true"]),
        (["Paris", "paris, France"], ["Paris", "paris, France"], ["paris"]),
        ([42.0, "forty-two"], ["42", "42.0", "forty-two"], ["forty"]),
        (("a",), ["a"], ["b"]),
        (SOLUTION, ["42", SOLUTION], ["apples"]),
        ("#### 3.0", ["3", "3.0"], ["4"]),
        ("so\n#### 1,080", ["1,080", "1080"], ["1", "080", "10,80"]),
        ("#### -1,234,567.00\n", ["-1,234,567.00", "-1234567.00", "-1234567"], ["1234567"]),
        ("#### 1,2", ["1,2"], ["12"]),
        ("1,080", ["1,080"], ["1080"]),
        (1080, ["1,080", "1080", "1080.0"], ["1,08", "10,80", "1 080", "1,0800"]),
        ("007", ["007"], ["7", "7.0"]),
        (0, ["0", "-0", "0.0"], ["", "00", "o"]),
        (np.int64(42), ["42"], ["43"]),
        (np.float64(42.0), ["42", "42.0"], ["43"]),
        (np.bool_(True), ["true"], ["1"]),
        (np.array(["a", "b"]), ["a", "b"], ["c"]),
        (np.array(42.0), ["42"], ["43"]),
        (np.str_("x"), ["x"], ["y"]),
        (Decimal("42.00"), ["42", "42.00"], ["43"]),
        ("a.b", ["a.b"], ["a"]),
        ("3.10", ["3.10"], ["3.1", "3"]),
        ("3.1", ["3.1", "3.10"], ["3.01", "31"]),
    ],
)
def test_right_answers_score(gold: Any, right: list[str], wrong: list[str]) -> None:
    for use, args, form in (("exact", {}, "{}"), ("exact", {"after": "A: "}, "so A: {}"), ("regex", GROUP, "<{}>")):
        (member,) = Rewards.of([RewardSpec(use, args=args)]).members
        texts = [form.format(text) for text in (*right, *wrong)]
        found = member.function(completions=texts, answer=[gold] * len(texts))
        assert found == [1.0] * len(right) + [0.0] * len(wrong), use
        assert member.function.check_row({"answer": gold}) is None  # type: ignore[attr-defined]


GROUP = {"pattern": "<(.*)>", "group": 1}
UNREADABLE = [
    ("", "it is empty"),
    (" \n", "it is empty"),
    (float("nan"), "it is nan"),
    (float("inf"), "it is inf"),
    ("nan", "it is nan"),
    ([], "empty list"),
    ([None], "it is null"),
    ([["a"]], "it is a list"),
    ({"a": 1}, "it is a dict"),
    ("work\n#### ", "nothing follows ####"),
    (np.float64("nan"), "it is nan"),
    (np.array([]), "empty list"),
    (b"42", "it is a bytes"),
    (10**5000, "more digits"),
]


@pytest.mark.parametrize(("gold", "said"), UNREADABLE, ids=[s for _, s in UNREADABLE])
def test_a_gold_that_says_no_answer_is_told_with_what_was_seen(gold: Any, said: str) -> None:
    (member,) = Rewards.of([RewardSpec("exact")]).members
    problem = member.function.check_row({"answer": gold})  # type: ignore[attr-defined]
    assert problem and said in problem and "data.columns" in problem
    with pytest.raises(RewardError, match="reward exact: the column answer holds"):
        member.function(completions=["42"], answer=[gold])


def test_what_follows_the_hashes_is_read_without_the_space_before_it() -> None:
    (member,) = Rewards.of([RewardSpec("exact", args={"strip": False})]).members
    assert member.function(completions=["42", " 42"], answer=[SOLUTION] * 2) == [1.0, 0.0]


def test_no_text_stands_twice() -> None:
    assert accepted("7") == ["7"] and accepted(7) == ["7"] and accepted(7.5) == ["7.5"]


@pytest.mark.parametrize("gold", [1, "1", "E", "", True, float("nan"), ["B"]])
def test_choice_tells_of_rows_whose_answer_is_no_letter(gold: Any) -> None:
    (member,) = Rewards.of([RewardSpec("choice")]).members
    assert "none of the letters ABCD" in str(member.function.check_row({"answer": gold}))  # type: ignore[attr-defined]
    assert member.function.check_row({"answer": "(b)"}) is None  # type: ignore[attr-defined]


def test_a_group_that_the_pattern_lacks_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match="has no group 2"):
        Rewards.of([RewardSpec("regex", args={"pattern": "(a)", "group": 2})])


# ------------------------------------------------------------------------------------------------- rows of files


def recipe(folder: Path, model: Path, rows: list[dict[str, Any]], *rewards: Any, **values: Any) -> Document:
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    base = {"method": "grpo", "model": {"path": str(model)}, "data": {"path": str(folder / "rows.jsonl")}}
    return Document({**base, "reward": [*rewards], "output": str(folder / "run"), "steps": 1, **values})


ROWS = [{"prompt": f"{i}=", "answer": a} for i, a in enumerate(["1", None, 42.0, {"a": 1}, "2"])]


def test_rows_without_an_answer_are_listed_by_line_and_can_be_skipped(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check(recipe(tmp_path, model_folder, ROWS, {"use": "exact"}))
    lines = str(error.value).split("\n")
    assert ':2: "answer" is missing or null, which the reward exact needs' in lines[0]
    assert ":4: \"answer\" {'a': 1} says no right answer for the reward exact: it is a dict" in lines[1]
    assert "5 rows read, 3 good, 2 bad" in lines[2]
    data = {"path": str(tmp_path / "rows.jsonl"), "on_bad_row": "skip"}
    prepared = check(recipe(tmp_path, model_folder, ROWS, {"use": "exact"}, data=data))
    assert len(prepared.prompts) == 3 and sorted(prepared.counts.values()) == [2, 3, 5]


def test_rows_that_another_reward_can_score_are_used_and_counted(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "mine.py").write_text("def fn(completions):\n    return [1.0] * len(completions)\n")
    other = {"use": f"{tmp_path}/mine.py:fn"}
    rows = [r for r in ROWS if not isinstance(r["answer"], dict)]
    prepared = check(recipe(tmp_path, model_folder, rows, {"use": "exact"}, other))
    assert len(prepared.prompts) == 4
    assert prepared.rewards.notes == ["reward exact: 1 of 4 rows have nothing in what it needs (answer)"]
    for lone in ({**other, "weight": 0}, {**other, "gate": 0.5}):
        with pytest.raises(ConfigError, match=':2: "answer" is missing or null'):
            check(recipe(tmp_path, model_folder, rows, {"use": "exact"}, lone))


def test_a_function_of_the_users_hears_of_rows_that_lack_its_column() -> None:
    def needs(completions: Any, answer: Any) -> list[float]:
        return []

    rewards = Rewards([reward(needs, "needs")])
    prompts = [Prompt(str(i), "q", columns={"answer": a}) for i, a in enumerate(["1", None, None])]
    assert rewards.problems_of_rows(prompts) == [None] * 3
    assert rewards.notes == ["reward needs: 2 of 3 rows have nothing in what it needs (answer)"]


def test_a_verl_row_without_a_ground_truth_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def fn(data_source, solution_str, ground_truth, extra_info):\n    return 1.0\n")
    rewards = Rewards.of([RewardSpec(f"verl:{tmp_path}/mine.py:fn")])
    columns = [{"data_source": "d", "ground_truth": g, "reward_model": r} for g, r in ((1, None), (None, {"x": 1}))]
    found = rewards.problems_of_rows([Prompt(str(i), "q", columns=c) for i, c in enumerate(columns)])
    assert found[0] is None and "without a ground truth" in str(found[1])


@pytest.mark.parametrize("name", ["prompts", "completions", "completion_ids", "trainer_state", "log_extra"])
def test_a_column_that_a_reward_could_not_see_is_refused_before_the_model_loads(
    tmp_path: Path, model_folder: Path, name: str
) -> None:
    (tmp_path / "mine.py").write_text("def fn(completions, **columns):\n    return [1.0] * len(completions)\n")
    rows = [{"prompt": f"{i}=", name: ["own"]} for i in range(3)]
    use = {"use": f"{tmp_path}/mine.py:fn"}
    with pytest.raises(ConfigError) as error:
        check(recipe(tmp_path, model_folder, rows, use))
    said = str(error.value)
    assert f"{tmp_path}/rows.jsonl: column {name!r}" in said and f"data.columns={{{name}_of_row: {name}}}" in said
    data = {"path": str(tmp_path / "rows.jsonl"), "columns": {f"{name}_of_row": name}}
    prepared = check(recipe(tmp_path, model_folder, rows, use, data=data))
    assert prepared.prompts[0].columns == {f"{name}_of_row": ["own"]}


def test_data_without_any_answer_is_told_once(tmp_path: Path, model_folder: Path) -> None:
    with pytest.raises(ConfigError, match="reward exact needs column 'answer', which the data lack"):
        check(recipe(tmp_path, model_folder, [{"prompt": "a"}, {"prompt": "b"}], {"use": "exact"}))
