"""Reward functions of verl and OpenRLHF: what they are called with, what they may return, which columns they need."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from postlude.check import check
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError, RewardError
from postlude.recipe import documents
from postlude.rewards.adapters import from_openrlhf, from_verl
from postlude.rewards.combine import Scored
from postlude.rewards.member import Reward
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec

VERL = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    right = solution_str == ground_truth
    return {"score": float(right), "acc": right, "pred": solution_str, "level": extra_info.get("level")}

async def later(data_source, solution_str, ground_truth, extra_info=None, scale=2.0):
    return scale * (solution_str == ground_truth)

def anything(**kwargs):
    return {"reward": 1.0}

def ours(completions, answer):
    return [0.0] * len(completions)
"""
OPENRLHF = """
import torch

def reward_func(queries, prompts, labels, **kwargs):
    right = torch.tensor([float(q == p + l) for q, p, l in zip(queries, prompts, labels)])
    return {"rewards": 2 * right, "scores": right, "extra_logs": {"length": torch.tensor([3, 5]), "beta": 0.5}}

async def later(queries, prompts, labels):
    return [float(len(q) - len(p)) for q, p in zip(queries, prompts)]

def wrong(queries, prompts, labels):
    return {"reward": [1.0]}

def two(queries, prompts):
    return []
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "v.py").write_text(VERL)
    (tmp_path / "o.py").write_text(OPENRLHF)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def group(texts: Sequence[str] = ("7", "8"), prompt: Any = "q", **columns: Any) -> Group:
    return Group(Prompt("p", prompt, columns=columns), tuple(Completion((1,), text=t) for t in texts))


def score(use: str, *groups: Group) -> Scored:
    return asyncio.run(Rewards.of([RewardSpec(use)]).score(groups))


def rewards_of(scored: Scored) -> list[float | None]:
    return [c.reward for g in scored.groups for c in g.completions]


# ---------------------------------------------------------------------------------------------------------- verl


@pytest.mark.parametrize(
    "columns",
    [
        {"ground_truth": "7"},
        {"reward_model": {"style": "rule", "ground_truth": "7"}},
        {"answer": "7"},
        {"ground_truth": "7", "reward_model": {"ground_truth": "8"}, "answer": "9"},
        {"reward_model": {"ground_truth": "7"}, "answer": "9"},
        {"reward_model": None, "answer": "7"},
    ],
)
def test_the_ground_truth_comes_from_the_first_column_that_has_one(place: Path, columns: dict[str, Any]) -> None:
    scored = score("verl:v.py:compute_score", group(data_source="math", **columns))
    assert rewards_of(scored) == [1.0, 0.0]
    assert [c.correct for c in scored.groups[0].completions] == [True, False]
    assert scored.groups[0].completions[0].scores == {"compute_score": 1.0}


def test_other_entries_of_a_dict_are_logged(place: Path) -> None:
    groups = (
        group(data_source="a", ground_truth="7", extra_info={"level": 3}),
        group(data_source="a", ground_truth="8"),
    )
    scored = score("verl:v.py:compute_score", *groups)
    assert scored.extra == {
        "verl/acc": [True, False, False, True],
        "verl/pred": ["7", "8", "7", "8"],
        "verl/level": [3, 3, None, None],
    }
    assert scored.metrics == {"compute_score/acc": 0.5, "compute_score/level": 3.0}


def test_verl_functions_get_text_and_keywords() -> None:
    seen: list[dict[str, Any]] = []

    def fn(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> float:
        seen.append(locals().copy())
        return 1

    messages = [{"role": "user", "content": "2+5"}]
    reward = Reward(RewardSpec("verl:x.py:fn"), from_verl(fn), True)
    asyncio.run(
        Rewards([reward]).score([group(["7"], messages, data_source="s", ground_truth=[7], extra_info={"i": 1})])
    )
    assert [{k: s[k] for k in ("data_source", "solution_str", "ground_truth", "extra_info")} for s in seen] == [
        {"data_source": "s", "solution_str": "7", "ground_truth": [7], "extra_info": {"i": 1}}
    ]


def test_an_asynchronous_function_is_awaited(place: Path) -> None:
    assert rewards_of(score("verl:v.py:later", group(data_source="a", ground_truth="8"))) == [0.0, 2.0]


def test_some_results_may_be_numbers_and_some_dicts() -> None:
    results = iter([0.5, {"score": None, "why": "unclear"}])
    adapted = from_verl(lambda data_source, solution_str, ground_truth, extra_info: next(results))
    scored = asyncio.run(
        Rewards([Reward(RewardSpec("verl:x.py:f"), adapted, False)]).score([group(data_source="a", answer="7")])
    )
    assert rewards_of(scored) == [0.5, None]
    assert scored.extra == {"verl/why": [None, "unclear"]}


def test_a_dict_without_a_score_is_named(place: Path) -> None:
    with pytest.raises(RewardError, match="dict without 'score': it has reward"):
        score("verl:v.py:anything", group(data_source="a", ground_truth="7"))


def test_a_row_without_a_ground_truth_is_an_error(place: Path) -> None:
    rows = group(data_source="a", ground_truth="7"), group(data_source="a", reward_model={"style": "rule"})
    with pytest.raises(RewardError, match=r"reward_model is \{'style': 'rule'\}"):
        score("verl:v.py:compute_score", *rows)


# ------------------------------------------------------------------------------------------------------ openrlhf


@pytest.mark.parametrize("column", ["label", "answer"])
def test_openrlhf_functions_get_queries_prompts_and_labels(place: Path, column: str) -> None:
    scored = score("openrlhf:o.py:reward_func", group(**{column: "7"}))
    assert rewards_of(scored) == [2.0, 0.0]
    assert scored.metrics == {"reward_func/scores": 0.5, "reward_func/length": 4.0, "reward_func/beta": 0.5}
    assert scored.extra["openrlhf/length"] == [3, 5]


def test_a_query_begins_with_its_prompt_in_chats_too() -> None:
    seen: list[Any] = []

    def fn(queries: list[str], prompts: list[str], labels: list[Any]) -> list[float]:
        seen.extend([queries, prompts, labels])
        return [0.0] * len(queries)

    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "2+5"}]
    reward = Reward(RewardSpec("openrlhf:x.py:fn"), from_openrlhf(fn), True)
    asyncio.run(Rewards([reward]).score([group(["7"], messages, label="a", answer="b"), group(["8"], label="c")]))
    before = "system: be brief\nuser: 2+5\nassistant: "
    assert seen == [[before + "7", "q8"], [before, "q"], ["a", "c"]]


def test_a_list_and_an_asynchronous_function_will_do(place: Path) -> None:
    assert rewards_of(score("openrlhf:o.py:later", group(["7", "88"], label=""))) == [1.0, 2.0]


def test_a_dict_without_rewards_is_named(place: Path) -> None:
    with pytest.raises(RewardError, match="dict without 'rewards': it has reward"):
        score("openrlhf:o.py:wrong", group(label="7"))


# --------------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize(
    ("use", "columns", "said"),
    [
        ("verl:v.py:compute_score", "prompt", "needs column 'data_source' and one of the columns 'ground_truth', "),
        ("verl:v.py:compute_score", "data_source", "needs one of the columns 'ground_truth', 'reward_model', 'answer'"),
        ("verl:v.py:compute_score", "reward_model", "needs column 'data_source', which the data lack"),
        ("openrlhf:o.py:reward_func", "level", "needs one of the columns 'label', 'answer', which the data lack"),
    ],
)
def test_missing_columns_are_named(place: Path, use: str, columns: str, said: str) -> None:
    (problem,) = Rewards.of([RewardSpec(use)]).missing_columns({columns})
    assert said in problem and f"They have: {columns}." in problem


@pytest.mark.parametrize(
    ("use", "columns"),
    [
        ("verl:v.py:compute_score", {"data_source", "reward_model"}),
        ("verl:v.py:compute_score", {"data_source", "ground_truth", "answer"}),
        ("openrlhf:o.py:reward_func", {"label"}),
    ],
)
def test_enough_columns_are_enough(place: Path, use: str, columns: set[str]) -> None:
    assert Rewards.of([RewardSpec(use)]).missing_columns(columns) == []


def test_columns_are_checked_before_a_model_loads(place: Path, model_folder: Path) -> None:
    Path("d.jsonl").write_text('{"prompt": "1=", "reward_model": {"ground_truth": "1"}}\n')
    values = {"method": "grpo", "model": str(model_folder), "data": "d.jsonl", "reward": "verl:v.py:compute_score"}
    with pytest.raises(ConfigError, match="reward compute_score needs column 'data_source'"):
        check(documents.Document({**values, "sampling": {"max_tokens": 4}}))


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("verl:v.py:ours", "cannot be called as verl does, with (data_source, solution_str, ground_truth, extra_info)"),
        ("openrlhf:o.py:two", "cannot be called as OpenRLHF does, with (queries, prompts, labels)"),
        ("verl:nowhere.py:fn", "file 'nowhere.py' does not exist"),
        ("verl:v.py:gone", "'v.py' has no 'gone'"),
        ("verl:compute_score", "cannot import 'verl'"),
    ],
)
def test_functions_that_do_not_fit_are_found_at_the_start(place: Path, use: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        Rewards.of([RewardSpec(use)])
    assert said in str(error.value)
