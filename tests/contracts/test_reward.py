"""The contract of a reward (`rewards.functions.RewardFunction`), held against every built-in that needs no model."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.rewards.resolve import BUILT_IN
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec

ASSERTS = ["assert double(2) == 4", "assert double(0) == 0"]
NEEDS_A_MODEL = {"model", "pair_model", "process_model", "implicit", "judge"}


@dataclass(frozen=True)
class Case:
    """A reward with answers it tells apart: the first is at least as good as the second."""

    use: str
    answers: tuple[str, str]
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    columns: dict[str, Any] = field(default_factory=dict[str, Any])


PROGRAM = "```python\ndef double(x):\n    return {} * x\n```"
CASES = [
    Case("exact", ("so #4", "so #5"), {"after": "#"}, {"answer": "4"}),
    Case("regex", ("#4", "four"), {"pattern": r"#\d+"}),
    Case("format", ("<answer>b</answer>", "b"), {"pattern": r"<answer>.*</answer>"}),
    Case("choice", ("The answer is (B).", "The answer is (C)."), {}, {"answer": "B"}),
    Case("json_schema", ('{"n": 1}', '{"n": "x"}'), {"schema": {"properties": {"n": {"type": "number"}}}}),
    Case("maths", (r"\boxed{1/2}", r"\boxed{0.4}"), {}, {"answer": "0.5"}),
    Case("code", (PROGRAM.format(2), PROGRAM.format(3)), {}, {"tests": ASSERTS}),
    Case("length", ("short", "long " * 40), {"limit": 20}),
    Case("overlong", ("short", "long " * 40), {"limit": 40, "cache": 10}),
    Case("repetition", ("one two three four five six seven eight", "one two " * 20), {"ngram": 3}),
]


def groups(case: Case, answers: Sequence[str]) -> list[Group]:
    """Two prompts with these answers each."""
    both = tuple(Completion(tuple(map(ord, text)), text) for text in answers)
    return [Group(Prompt(str(i), "q", case.columns.get("answer"), case.columns, (1, 2)), both) for i in range(2)]


def scores(case: Case, answers: Sequence[str]) -> list[list[float | None]]:
    rewards = Rewards.of((RewardSpec(case.use, args=case.args),))
    scored = asyncio.run(rewards.score(groups(case, answers)))
    return [[completion.reward for completion in group.completions] for group in scored.groups]


@pytest.fixture(params=CASES, ids=lambda case: case.use)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


def test_every_built_in_without_a_model_is_here() -> None:
    assert {case.use for case in CASES} == BUILT_IN.keys() - NEEDS_A_MODEL


def test_there_is_a_finite_number_for_every_answer_and_the_better_one_has_more(case: Case) -> None:
    for better, worse in scores(case, case.answers):
        assert better is not None and worse is not None and math.isfinite(better) and math.isfinite(worse)
        assert better > worse


def test_an_answer_has_its_number_whatever_stands_beside_it(case: Case) -> None:
    forwards, backwards = scores(case, case.answers), scores(case, case.answers[::-1])
    assert [row[::-1] for row in backwards] == forwards
    assert [row[0] for row in scores(case, [case.answers[0]])] == [row[0] for row in forwards]


def test_nothing_is_changed_by_scoring(case: Case) -> None:
    columns = copy.deepcopy(case.columns)
    scores(case, case.answers)
    assert case.columns == columns


def test_an_empty_answer_is_no_accident(case: Case) -> None:
    for row in scores(case, ["", case.answers[0]]):
        assert row[0] is None or math.isfinite(row[0])
        assert row[1] is not None
