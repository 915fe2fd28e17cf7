"""What comes back from a reward function, what it logs, and what it may not change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from postlude.data import Prompt
from postlude.errors import ConfigError, RewardError
from postlude.rewards.adapters import from_openrlhf, from_verl
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.words import Once, first_of_each
from tests.scoring import given, group, reward, rewards_of, score

HUGE = 10**400

# ----------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "values",
    [
        [np.float32(1.0), np.int64(0)],
        [torch.tensor(1.0), torch.tensor([0])],
        [True, False],
        np.array([[1.0], [0.0]])[:, 0],
        (1, 0),
    ],
)
def test_numbers_of_any_library_are_numbers(values: Any) -> None:
    assert rewards_of(score([group(["a", "b"])], reward(lambda completions: values))) == [1.0, 0.0]


@pytest.mark.parametrize(
    "value",
    [HUGE, -HUGE, float("nan"), float("-inf"), "1.0", b"1", [1.0], {}, 1j, torch.tensor([1.0, 2.0]), object()],
)
def test_what_is_no_finite_number_names_reward_and_answer(value: Any) -> None:
    with pytest.raises(RewardError, match=r"reward mine returned .* for prompt p \('q'\), answer 'b'"):
        score([group(["a", "b"])], reward(given(1.0, value), "mine"))
    with pytest.raises(RewardError, match=r"reward mine returned .* for step 2 of 2 of prompt p \('q'\), answer 'b'"):
        score([group(["a", "b"])], reward(given([1.0], [1.0, value]), "mine", steps="\n"))


@pytest.mark.parametrize("values", [None, 3.0, "ab", b"ab", {0: 1.0, 1: 0.0}, range(2), {1.0, 0.0}, iter([1.0, 0.0])])
def test_what_is_no_list_says_what_it_is(values: Any) -> None:
    with pytest.raises(RewardError, match=f"returned {type(values).__name__}; it must return a list"):
        score([group(["a", "b"])], reward(lambda completions: values))
    with pytest.raises(
        RewardError, match=f"returned {type(values).__name__}; with `steps` or `tokens` it returns a list of lists"
    ):
        score([group(["a", "b"])], reward(lambda completions: values, steps="\n"))


@pytest.mark.parametrize("row", [1.0, "ab", None])
def test_step_rewards_are_a_list_for_each_answer_or_none(row: Any) -> None:
    one = reward(given([1.0], row), steps="\n")
    if row is None:
        with pytest.raises(RewardError, match="2 values for 1 completions"):
            score([group(["a"])], one)
    else:
        with pytest.raises(RewardError, match="with `steps` or `tokens` it gives a list"):
            score([group(["a", "b"])], one)


def test_a_missing_step_reward_is_told_by_its_place() -> None:
    with pytest.raises(RewardError, match=r"returned None for step 2 of 2 .* or None for the whole answer"):
        score([group(["a", "b"])], reward(given([1.0, None], [1.0]), steps="\n"))


# ----------------------------------------------------------------------------------------------------- logging


def test_only_finite_numbers_are_in_a_logged_figure_and_the_rest_is_counted_once() -> None:
    def logs(completions: Any, log_metric: Any) -> list[float]:
        for value in (1.0, np.float32(3.0), torch.tensor(5.0), float("nan"), None, "7", HUGE, torch.ones(2)):
            log_metric("x", value)
        log_metric("only", None)
        return [1.0] * len(completions)

    rewards = Rewards([reward(logs, "mine")])
    first = asyncio.run(rewards.score([group(["a"])]))
    assert first.metrics == {"mine/x": 3.0}
    assert "5 of 8 values of log_metric('x') are no finite numbers (the first: nan)" in first.notes[0]
    assert "1 of 1 values of log_metric('only')" in first.notes[1]
    names = [note.name for note in first.notes if isinstance(note, Once)]
    assert first_of_each(asyncio.run(rewards.score([group(["a"])])).notes, names) == []


def test_the_mean_of_large_numbers_is_finite() -> None:
    def logs(completions: Any, log_metric: Any) -> list[float]:
        for _ in range(4):
            log_metric("x", 1.5e308)
        return [1.0] * len(completions)

    assert score([group(["a"])], reward(logs)).metrics == {"fn/x": 1.5e308}


@pytest.mark.parametrize("name", ["reward", "tokens", "prompt", "completion", "trained", "step", "prompt_id", "answer"])
def test_a_column_of_the_rollouts_is_never_replaced(name: str) -> None:
    def logs(completions: Any, log_extra: Any) -> list[float]:
        log_extra(name, ["mine"])
        log_extra(f"mine/{name}", ["too"])
        return [1.0]

    scored = score([group(["a"])], reward(logs, "mine"))
    assert scored.extra == {f"mine/{name}": ["mine"], f"mine/mine/{name}": ["too"]}
    assert f"log_extra({name!r}) stands in rollouts/ as mine/{name}" in scored.notes[0]


def test_what_is_logged_is_what_json_can_hold_then_and_there() -> None:
    circle: list[Any] = []
    circle.append(circle)
    changing = ["before"]

    def logs(completions: Any, log_extra: Any) -> list[float]:
        log_extra("odd", [float("nan"), circle, {(1, 2): 3}, np.float32(0.5), torch.tensor([1, 2]), HUGE, changing])
        log_extra("array", np.arange(7))
        changing.append("after")
        return [1.0] * 7

    columns = score([group("abcdefg")], reward(logs)).extra
    assert columns["odd"][0] == "nan" and columns["odd"][1] == "[[...]]" and columns["odd"][2] == "{(1, 2): 3}"
    assert columns["odd"][3:5] == [0.5, [1, 2]] and columns["odd"][6] == ["before"]
    assert columns["array"] == [*range(7)]
    json.dumps(columns["odd"][:5], allow_nan=False)


@pytest.mark.parametrize("values", [None, 3, "ab", {}])
def test_a_logged_column_is_a_list(values: Any) -> None:
    def logs(completions: Any, log_extra: Any) -> list[float]:
        log_extra("x", values)
        return [1.0, 0.0]

    with pytest.raises(RewardError, match=r"called log_extra\('x', .*\); it takes a list"):
        score([group(["a", "b"])], reward(logs))


# ------------------------------------------------------------------------------------------------------ copies

ROW = {"tags": ["a", {"b": [1]}], "answer": [3, 1, 2], "info": {"k": ["v"]}, "extra_info": {"n": [1]}}
MESSAGES = [{"role": "user", "content": "q"}]


def spoils(prompts: Any, completions: Any, tags: Any, answer: Any, info: Any, completion_ids: Any, **rest: Any) -> Any:
    count = len(completions)
    for tag, gold, one, prompt, said, ids in zip(tags, answer, info, prompts, completions, completion_ids, strict=True):
        assert (tag, gold, one) == (ROW["tags"], ROW["answer"], ROW["info"]), "as the row has it, in every call"
        assert prompt == MESSAGES and said[0]["content"] in ("x", "y")
        tag[1]["b"].append(2)
        tag.pop(0)
        gold.sort()
        one["k"].clear()
        one.update(new=1)
        prompt[0]["content"] = "changed"
        said[0].update(content="forged")
        said.append(1)
        for values in (prompt, ids):
            values.clear()
    for column in (tags, answer, info, prompts, completions, completion_ids):
        column.clear()
    rest["trainer_state"].global_step = 99
    return [1.0] * count


async def spoils_later(prompts: Any, completions: Any, tags: Any, answer: Any, info: Any, completion_ids: Any,
                       **rest: Any) -> Any:  # fmt: skip
    return spoils(prompts, completions, tags, answer, info, completion_ids, **rest)


def verl_spoils(data_source: Any, solution_str: Any, ground_truth: Any, extra_info: Any) -> float:
    assert (ground_truth, extra_info) == (ROW["answer"], ROW["extra_info"])
    ground_truth.sort()
    extra_info.clear()
    return 1.0


def openrlhf_spoils(queries: Any, prompts: Any, labels: Any) -> list[float]:
    count = len(queries)
    assert labels == [ROW["answer"]] * count
    for label in labels:
        label.clear()
    queries.clear()
    labels.clear()
    return [1.0] * count


def members() -> list[Any]:
    return [
        reward(spoils, "gate", gate=0.5), reward(spoils, "one"), reward(spoils_later, "two"),
        reward(from_verl(verl_spoils), "verl"), reward(from_openrlhf(openrlhf_spoils), "openrlhf"),
        reward(spoils, "again"),
    ]  # fmt: skip


def test_nothing_a_reward_does_to_its_arguments_reaches_the_run_or_another_reward() -> None:
    columns = json.loads(json.dumps({**ROW, "data_source": "d"}))
    messages = json.loads(json.dumps(MESSAGES))
    groups = [group(["x", "y"], messages, **columns), group(["x"], messages, "p2", **columns)]
    for _ in range(2):  # the next epoch
        scored = score(groups, *members(), step=4)
        assert rewards_of(scored) == [6.0] * 3
    assert messages == MESSAGES and columns == {**ROW, "data_source": "d"}
    assert [c.text for g in scored.groups for c in g.completions] == ["x", "y", "x"]


def test_a_check_of_rows_gets_copies_too() -> None:
    def one(completions: Any, tags: Any) -> list[float]:
        return [1.0]

    one.check_row = lambda columns: columns["tags"].clear() or columns.clear()  # type: ignore[attr-defined]
    columns = {"tags": ["a"]}
    assert Rewards([reward(one)]).problems_of_rows([Prompt("1", "q", columns=columns)]) == [None]
    assert columns == {"tags": ["a"]}


# ------------------------------------------------------------------------------------------- what can be called

FILE = """
import sys
class Plain:
    def __call__(self, completions):
        return [1.0] * len(completions)
class Later:
    async def __call__(self, completions):
        return [1.0] * len(completions)
class Needs(Plain):
    def __init__(self, path): ...
class Raises(Plain):
    def __init__(self): sys.exit(0)
class Nothing: ...
def none(): return []
def stars(*args): return []
def by_place(completions, /): return []
def yields(completions): yield 1.0
async def yields_later(completions): yield 1.0
number = 3
"""


@pytest.fixture
def mine(tmp_path: Path) -> Callable[[str], RewardSpec]:
    (tmp_path / "mine.py").write_text(FILE)
    return lambda name: RewardSpec(f"{tmp_path}/mine.py:{name}")


@pytest.mark.parametrize("name", ["Plain", "Later"])
def test_of_a_class_an_instance_is_made(mine: Callable[[str], RewardSpec], name: str) -> None:
    rewards = Rewards.of([mine(name)])
    assert rewards.members[0].early == (name == "Later")
    assert rewards_of(asyncio.run(rewards.score([group(["a", "b"])]))) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Needs", "is a class, and its __init__ needs arguments .*'path'.*name an instance"),
        ("Raises", r"Raises\(\) raised SystemExit"),
        ("Nothing", "has no __call__"),
        ("none", "takes no argument by name, so it sees no answer"),
        ("stars", "takes no argument by name"),
        ("by_place", "takes 'completions' by its place only"),
        ("yields", "is a generator"),
        ("yields_later", "is a generator"),
        ("number", "is a int, not a function"),
    ],
)
def test_what_could_not_be_called_is_told_before_anything_is_sampled(
    mine: Callable[[str], RewardSpec], name: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Rewards.of([mine(name)])


def test_a_file_that_ends_the_process_is_told(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    with pytest.raises(ConfigError, match="raised SystemExit while being imported"):
        Rewards.of([RewardSpec(f"{tmp_path}/leaves.py:fn")])


# ------------------------------------------------------------------------------------------------------- names


def named(completions: Any, steps: Any, log_metric: Any) -> list[float]:
    return [1.0] * len(completions)


def anything(completions: Any, **columns: Any) -> list[float]:
    assert columns["steps"] == [["one", "two"]]
    return [1.0]


def test_a_column_that_a_reward_could_not_see_is_refused_by_name() -> None:
    rewards = Rewards([reward(named, "named"), reward(anything, "any")])
    columns = {"answer", "prompts", "completions", "completion_ids", "steps", "log_metric", "log_note", "id"}
    found = rewards.taken_columns(columns, "rows.jsonl")
    said = {t.split("'")[1]: t.split("to reward ")[1].split(", which")[0] for t in found}
    assert said == {
        "completions": "named, any", "steps": "named", "log_metric": "named, any", "prompts": "any",
        "completion_ids": "any",
    }  # fmt: skip
    assert all(t.startswith("rows.jsonl: column ") and "data.columns={" in t for t in found)


def test_where_trl_has_no_such_argument_a_function_of_anything_gets_the_column() -> None:
    assert rewards_of(score([group(["a"], steps=["one", "two"])], reward(anything))) == [1.0]
