"""The reward `code` as a recipe uses it: columns, scores, what is logged, abstention, and its errors."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from postlude.code.compare import Comparison
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError, RewardError
from postlude.rewards.code import Code, Faults, Verdict
from postlude.rewards.combine import Scored
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.sandbox.pool import Pool
from postlude.sandbox.settings import Backend, Limits

GOOD, BAD, HARD = (f"```python\ndef solve(n): return {body}\n```" for body in ("n * n", "n", "{2: 4, 3: 9}.get(n, 0)"))
COLUMNS = {"tests": ["assert solve(2) == 4", "assert solve(3) == 9"], "hidden_tests": ["assert solve(5) == 25"]}


def rewards(**args: Any) -> Rewards:
    return Rewards.of([RewardSpec("code", args={"seconds": 1, "workers": 2, **args})])


def score(rewards: Rewards, texts: list[str], step: int = 0, **columns: Any) -> Scored:
    completions = tuple(Completion((1,), text=t) for t in texts)
    return asyncio.run(rewards.score([Group(Prompt("p", "q", columns=columns), completions)], step=step))


def values(scored: Scored) -> list[float | None]:
    return [c.reward for g in scored.groups for c in g.completions]


@pytest.fixture(autouse=True)
def _needs_a_sandbox(backend: Backend) -> None:
    """Skips where there is none."""


def test_all_tests_count_and_each_kind_is_logged() -> None:
    scored = score(rewards(), [GOOD, BAD, HARD, "I do not know."], **COLUMNS)
    assert values(scored) == [1, 0, 0, 0]
    assert [c.correct for c in scored.groups[0].completions] == [True, False, False, False]
    assert scored.extra["code/verdict"] == ["passed", "failed", "failed", "no program"]
    assert scored.extra["code/visible"] == ["2/2", "0/2", "2/2", "0/2"]
    assert scored.extra["code/hidden"] == ["1/1", "0/1", "0/1", "0/1"]
    assert scored.extra["code/detail"][2] == "test 3: solve gave 0"
    assert scored.metrics["code/visible"] == 0.5 and scored.metrics["code/no_program"] == 0.25
    assert "code/unsafe" not in scored.metrics


def test_the_share_of_tests_passed() -> None:
    assert values(score(rewards(score="share"), [GOOD, BAD, HARD, "?"], **COLUMNS)) == [1, 0, 2 / 3, 0]


def test_messages_are_answers_too() -> None:
    prompt = Prompt("p", [{"role": "user", "content": "q"}], columns=COLUMNS)
    scored = asyncio.run(rewards().score([Group(prompt, (Completion((1,), text=GOOD),))]))
    assert values(scored) == [1]


def test_rows_without_tests_abstain() -> None:
    scored = score(rewards(), [GOOD], tests=None, hidden_tests=None)
    assert values(scored) == [None] and scored.extra["code/verdict"] == ["no tests"]


def test_data_without_a_column_of_tests_are_refused() -> None:
    [problem] = rewards().missing_columns({"prompt", "answer"})
    assert "one of the columns 'tests', 'test_list'" in problem
    assert not rewards().missing_columns({"test_list"})


def test_tests_that_cannot_be_read_stop_the_run_with_the_column() -> None:
    with pytest.raises(RewardError, match=r"column tests: test 2: .*invalid syntax"):
        score(rewards(), [GOOD], tests=["assert solve(1) == 1", "assert solve(1) =="])


def test_a_timeout_is_0_and_counted() -> None:
    scored = score(rewards(), ["```python\nwhile True: pass\n```", GOOD], **COLUMNS)
    assert values(scored) == [0, 1] and scored.metrics["code/timeout"] == 0.5


def test_scores_from_many_threads_and_loops_at_once() -> None:
    shared, results = rewards(), []
    threads = [
        threading.Thread(target=lambda: results.append(values(score(shared, [GOOD, BAD] * 4, **COLUMNS))))
        for _ in "123"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[1, 0] * 4] * 3


@pytest.mark.parametrize(
    "args",
    [
        {"score": "some"},
        {"profile": "open"},
        {"seconds": 0},
        {"memory": 1},
        {"types": "any"},
        {"tolerance": -1},
        {"workers": 0},
        {"sandbox": "none"},
        {"fence": "no"},
        {"colour": 1},
    ],
)
def test_wrong_arguments_are_errors_of_the_recipe(args: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="reward code"):
        rewards(**args)


def test_the_run_is_told_what_isolates_programs() -> None:
    [line] = rewards().notes
    assert line.startswith("reward code: sandbox: ") and "canaries 9/9 held" in line


def test_without_a_sandbox_only_by_name_and_never_in_silence() -> None:
    unsafe = rewards(sandbox="unsafe-none")
    scored = score(unsafe, [GOOD, BAD], **COLUMNS)
    assert values(scored) == [1, 0] and scored.metrics["code/unsafe"] == 1
    assert "NO sandbox" in unsafe.notes[0]


# ------------------------------------------------------------------------------------------------------------ faults


def broken() -> Code:
    """A reward whose workers cannot start: the program they are started by is not there."""
    backend = Backend("broken", bubblewrap=True)
    return Code(Pool(backend, Limits(), 1), "", Comparison(), "all", "required", 1)


def test_a_fault_of_the_sandbox_abstains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    verdict = broken().verdict(GOOD, COLUMNS)
    assert verdict.word == "fault" and verdict.score("all") is None and verdict.score("share") is None


def test_many_faults_stop_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    from postlude.rewards.member import Reward

    members = Rewards([Reward(RewardSpec("code"), broken(), True)])
    assert values(score(members, [GOOD] * 2, **COLUMNS)) == [None, None]
    with pytest.raises(RewardError, match="failed on 3 of 3 answers of step 0"):
        score(members, [GOOD], **COLUMNS)
    assert values(score(members, [GOOD], step=1, **COLUMNS)) == [None]


def test_few_faults_among_many_answers_do_not_stop_the_run() -> None:
    faults = Faults()
    faults.count(0, [Verdict("passed")] * 397 + [Verdict("fault")] * 3)
    with pytest.raises(RewardError):
        faults.count(0, [Verdict("fault")] * 2)


# -------------------------------------------------------------------------------------------------------- data check


def check(columns: dict[str, Any], **args: Any) -> str | None:
    function = rewards(**args).members[0].function
    assert isinstance(function, Code)
    return function.check_row(columns)


def test_a_row_is_checked_with_its_solution() -> None:
    assert check(COLUMNS) is None
    assert check({**COLUMNS, "solution": "def solve(n): return n * n"}) is None
    assert check({**COLUMNS, "solution": GOOD}) is None
    said = check({**COLUMNS, "solution": "def solve(n): return n + 2"})
    assert said and "does not pass its own tests (failed; test 2: solve gave 5)" in said


def test_a_row_whose_tests_cannot_be_read_is_told_why() -> None:
    assert "column hidden_tests: test 1" in (check({**COLUMNS, "hidden_tests": ["assert f("]}) or "")
    assert "no tests" in (check({"prompt": "q"}) or "")
    assert "no tests" in (check({"tests": []}) or "")
