"""Reward functions: TRL's signature, weights, abstention, correctness, and errors that name the function."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from postlude.data import Prompt
from postlude.errors import ConfigError, RewardError
from postlude.rewards.combine import Scored
from postlude.rewards.rewards import RewardFigures, Rewards
from postlude.rewards.spec import RewardSpec
from tests.scoring import correct_of, given, group, reward, rewards_of, score
from tests.underway import HANGS

# -------------------------------------------------------------------------------------------------- signature


def test_a_function_gets_one_entry_per_completion_in_order() -> None:
    seen: dict[str, Any] = {}

    def fn(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        seen.update(columns, prompts=prompts, completions=completions)
        return [1.0, 2.0, 3.0]

    groups = [group(["a", "b"], "q1", answer="x", level=1), group(["c"], "q2", answer="y")]
    scored = score(groups, reward(fn), step=4, steps=9)
    assert (seen["prompts"], seen["completions"]) == (["q1", "q1", "q2"], ["a", "b", "c"])
    assert (seen["answer"], seen["level"]) == (["x", "x", "y"], [1, 1, None])
    assert seen["completion_ids"] == [[0], [0, 1], [0]]
    assert (seen["trainer_state"].global_step, seen["trainer_state"].max_steps) == (4, 9)
    assert callable(seen["log_metric"]) and callable(seen["log_extra"])
    assert [[c.reward for c in g.completions] for g in scored.groups] == [[1.0, 2.0], [3.0]]


def test_a_function_gets_only_what_it_names() -> None:
    def by_answer(completions: Any, answer: Any) -> list[float]:
        return [float(c == a) for c, a in zip(completions, answer, strict=True)]

    def by_ids(*, completion_ids: Any) -> list[float]:
        return [float(len(ids)) for ids in completion_ids]

    def by_step(completions: Any, trainer_state: Any, missing: str = "default") -> list[float]:
        assert missing == "default"
        return [float(trainer_state.global_step)] * len(completions)

    scored = score([group(["a", "b"], answer="b")], *map(reward, (by_answer, by_ids, by_step), "xyz"), step=5)
    assert [dict(c.scores) for c in scored.groups[0].completions] == [
        {"x": 0.0, "y": 1.0, "z": 5.0},
        {"x": 1.0, "y": 2.0, "z": 5.0},
    ]


def test_a_column_with_a_reserved_name_does_not_replace_the_argument() -> None:
    def fn(completions: Any, completion_ids: Any, **columns: Any) -> list[float]:
        assert completions == ["a"] and completion_ids == [[0]]
        return [1.0]

    scored = score([group(["a"], completions="other", completion_ids="other", log_metric=1)], reward(fn))
    assert rewards_of(scored) == [1.0]


def test_chat_answers_are_lists_of_messages() -> None:
    seen: list[Any] = []

    def fn(prompts: Any, completions: Any) -> list[float]:
        seen.extend([prompts, completions])
        return [0.0, 0.0]

    messages = [{"role": "user", "content": "hi"}]
    score([group(["yo"], messages), group(["plain"], "text")], reward(fn))
    assert seen[0] == [messages, "text"]
    assert seen[1] == [[{"role": "assistant", "content": "yo"}], "plain"]


def test_asynchronous_functions_run_beside_each_other() -> None:
    async def both() -> Scored:
        opened = asyncio.Event()

        async def waits(completions: Any) -> list[float]:
            await asyncio.wait_for(opened.wait(), HANGS)
            return [1.0] * len(completions)

        async def opens(completions: Any) -> list[float]:
            opened.set()
            return [2.0] * len(completions)

        members = [reward(waits, "waits"), reward(opens, "opens"), reward(given(4.0, 4.0), "plain")]
        return await Rewards(members).score([group(["a", "b"])])

    assert rewards_of(asyncio.run(both())) == [7.0, 7.0]


@pytest.mark.parametrize("values", [(1, 0), (True, False), np.array([1.0, 0.0]), torch.tensor([1.0, 0.0])])
def test_any_list_of_numbers_will_do(values: Any) -> None:
    found = rewards_of(score([group(["a", "b"])], reward(lambda completions: values)))
    assert found == [1.0, 0.0]
    assert all(type(v) is float for v in found)


def test_logged_metrics_are_means_under_the_rewards_name() -> None:
    def fn(completions: Any, log_metric: Any) -> list[float]:
        log_metric("share", 1)
        log_metric("share", 2)
        log_metric("other", 0.5)
        return [0.0] * len(completions)

    scored = score([group(["a"])], reward(fn, "one"), reward(fn, "two"))
    assert scored.metrics == {"one/share": 1.5, "one/other": 0.5, "two/share": 1.5, "two/other": 0.5}


def test_logged_extra_columns_are_kept() -> None:
    def fn(completions: Any, log_extra: Any) -> list[float]:
        log_extra("parsed", [c.upper() for c in completions])
        return [0.0] * len(completions)

    scored = score([group(["a", "b"])], reward(fn), reward(given(0.0, 0.0), "other"))
    assert scored.extra == {"parsed": ["A", "B"]}


def test_nothing_to_score_calls_nothing() -> None:
    def fn(completions: Any) -> list[float]:
        raise AssertionError("called")

    assert score([], reward(fn)).groups == []
    assert score([group([])], reward(fn)).groups == [group([])]


# ---------------------------------------------------------------------------------------------------- weights


def test_the_reward_is_the_weighted_sum() -> None:
    members = reward(given(1.0, 0.0), "x", 2.0), reward(given(0.5, -1.0), "y", -0.5)
    scored = score([group(["a", "b"])], *members)
    assert rewards_of(scored) == [1.75, 0.5]
    assert scored.groups[0].completions[0].scores == {"x": 1.0, "y": 0.5}


def test_scoring_keeps_everything_else() -> None:
    before = group(["a", "b"], answer="b")
    after = score([before], reward(given(1.0, 0.0))).groups[0]
    assert after.prompt == before.prompt
    assert [(c.tokens, c.text) for c in after.completions] == [(c.tokens, c.text) for c in before.completions]
    assert [c.reward for c in before.completions] == [None, None]


def test_an_abstaining_reward_is_left_out_of_the_sum() -> None:
    scored = score([group(["a", "b"])], reward(given(None, 1.0), "x", 2.0), reward(given(0.25, None), "y"))
    assert rewards_of(scored) == [0.25, 2.0]
    assert [dict(c.scores) for c in scored.groups[0].completions] == [
        {"x": None, "y": 0.25},
        {"x": 1.0, "y": None},
    ]


def test_an_answer_on_which_all_abstain_has_no_reward() -> None:
    scored = score([group(["a", "b"])], reward(given(None, 0.0), "x"), reward(given(None, None), "y"))
    assert rewards_of(scored) == [None, 0.0]
    assert [c.reward for c in scored.groups[0].scored] == [0.0]


def test_means_of_each_reward_leave_out_abstentions() -> None:
    some, none = given(1.0, None, 0.5), given(None, None, None)
    figures = RewardFigures.of(score([group("abc")], reward(some, "x"), reward(none, "y")).groups)
    assert figures.by_name == {"reward/x": 0.75}
    assert figures.abstained == 1


# ------------------------------------------------------------------------------------------------ correctness


def test_the_outcome_reward_says_what_is_correct() -> None:
    outcome = reward(given(1.0, 0.0, -1.0, 0.5, None), outcome=True)
    scored = score([group("abcde")], outcome, reward(given(0.0, 1.0, 1.0, 1.0, 1.0), "other"))
    assert correct_of(scored) == [True, False, False, None, None]


def test_correctness_does_not_depend_on_the_weight() -> None:
    scored = score([group("ab")], reward(given(1.0, 0.0), weight=-0.5, outcome=True))
    assert (rewards_of(scored), correct_of(scored)) == ([-0.5, 0.0], [True, False])


def test_without_an_outcome_reward_correctness_is_unknown() -> None:
    assert correct_of(score([group("ab")], reward(given(1.0, 0.0)))) == [None, None]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ((None, None), [True, False]),
        ((True, None), [True, False]),
        ((None, True), [False, True]),
        ((False, None), [False, False]),
        ((False, True), [False, True]),
    ],
)
def test_the_first_reward_is_the_outcome_unless_one_is_marked(marks: Any, expected: list[bool]) -> None:
    specs = [RewardSpec("regex", outcome=m, name=n, args={"pattern": n}) for n, m in zip("ab", marks, strict=True)]
    assert [m.outcome for m in Rewards.of(specs).members] == expected


# ---------------------------------------------------------------------------------------------------- columns


def test_missing_columns_are_found_before_the_first_call() -> None:
    def needs(prompts: Any, completions: Any, answer: Any, level: Any, optional: Any = None) -> list[float]:
        return []

    def anything(completions: Any, log_metric: Any, trainer_state: Any, **columns: Any) -> list[float]:
        return []

    rewards = Rewards([reward(needs, "needs"), reward(anything, "anything")])
    assert rewards.missing_columns({"answer", "level"}) == []
    (one,) = rewards.missing_columns({"level", "source"})
    assert "reward needs needs column 'answer'" in one
    assert "level, source" in one
    (two,) = rewards.missing_columns({"source"})
    assert "columns 'answer', 'level'" in two


def test_built_ins_that_compare_need_an_answer_column() -> None:
    rewards = Rewards.of([RewardSpec("exact"), RewardSpec("length", args={"limit": 4})])
    assert rewards.missing_columns({"answer"}) == []
    assert len(rewards.missing_columns({"question"})) == 1


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0], "1 values for 2 completions"),
        ([1.0, 2.0, 3.0], "3 values for 2 completions"),
        (None, "returned NoneType"),
        (1.0, "returned float"),
        ({0: 1.0, 1: 1.0}, "returned dict"),
        ("11", "must return a list"),
        (np.float64(1.0), "must return a list"),
        (torch.tensor(1.0), "must return a list"),
        ([1.0, float("nan")], "nan"),
        ([1.0, float("inf")], "inf"),
        ([1.0, "good"], "'good'"),
        ([1.0, [1.0]], "[1.0]"),
    ],
)
def test_what_is_no_list_of_finite_numbers_is_an_error_that_names_the_reward(values: Any, said: str) -> None:
    with pytest.raises(RewardError) as error:
        score([group(["a", "b"])], reward(lambda completions: values, "mine"))
    assert "reward mine" in str(error.value)
    assert said in str(error.value)


def test_a_value_that_is_not_finite_names_the_answer() -> None:
    groups = [group(["good"], name="p1"), group(["bad one"], "what?", name="p2")]
    with pytest.raises(RewardError, match="p2") as error:
        score(groups, reward(given(1.0, float("nan"))))
    assert "what?" in str(error.value) and "bad one" in str(error.value)


def test_what_a_function_raises_names_its_file_and_line() -> None:
    def fails(completions: Any) -> list[float]:
        return [1 / 0 for _ in completions]

    async def fails_later(completions: Any) -> list[float]:
        raise KeyError("gone")

    for function, kind in ((fails, "ZeroDivisionError"), (fails_later, "KeyError")):
        with pytest.raises(RewardError, match=rf"reward mine raised {kind} at test_compose.py line \d+"):
            score([group(["a"])], reward(function, "mine"))


# ---------------------------------------------------------------------------------------------------- finding


def test_functions_of_a_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "my_rewards.py"
    path.write_text(
        "def count(completions, **columns):\n    return [float(len(c)) for c in completions]\n"
        "async def one(completions):\n    return [1.0] * len(completions)\n"
    )
    specs = [RewardSpec(f"{path}:count", weight=0.5), RewardSpec(f"{path}:one", name="unit")]
    scored = asyncio.run(Rewards.of(specs).score([group(["abc", "d"])]))
    assert rewards_of(scored) == [2.5, 1.5]
    assert scored.groups[0].completions[0].scores == {"count": 3.0, "unit": 1.0}


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "a_helper_of_mine.py").write_text("def count(text):\n    return float(len(text))\n")
    path = tmp_path / "my_rewards.py"
    path.write_text(
        "import a_helper_of_mine as h\ndef fn(completions):\n    return [h.count(c) for c in completions]\n"
    )
    assert rewards_of(asyncio.run(Rewards.of([RewardSpec(f"{path}:fn")]).score([group(["abc"])]))) == [3.0]


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    specs = []
    for value in (1, 2):
        path = tmp_path / str(value) / "my_rewards.py"
        path.parent.mkdir()
        path.write_text(f"def fn(completions):\n    return [{value}.0] * len(completions)\n")
        specs.append(RewardSpec(f"{path}:fn", name=f"r{value}"))
    scored = asyncio.run(Rewards.of(specs).score([group(["a"])]))
    assert scored.groups[0].completions[0].scores == {"r1": 1.0, "r2": 2.0}


def problem(*specs: RewardSpec) -> str:
    with pytest.raises(ConfigError) as error:
        Rewards.of(specs)
    return str(error.value)


def test_every_reward_that_cannot_be_found_is_listed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def good(completions):\n    return []\n")
    (tmp_path / "broken.py").write_text("def broken(:\n")
    found = problem(
        RewardSpec("exactt"),
        RewardSpec(f"{tmp_path}/nowhere.py:fn"),
        RewardSpec(f"{tmp_path}/mine.py:bad"),
        RewardSpec(f"{tmp_path}/broken.py:fn"),
        RewardSpec("no_such_package_at_all:fn"),
        RewardSpec(f"{tmp_path}/mine.py:good", args={"limit": 3}),
        RewardSpec("length", args={"limits": 3}),
    ).split("\n")
    assert len(found) == 7
    parts = (
        "'exactt' is neither",
        "does not exist",
        "it has good",
        "SyntaxError",
        "cannot import",
        "`args`",
        "limits",
    )
    for line, part in zip(found, parts, strict=True):
        assert part in line


def test_a_name_that_is_no_function_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("LIMIT = 5\n")
    assert "LIMIT" in problem(RewardSpec(f"{tmp_path}/mine.py:LIMIT"))


@pytest.mark.parametrize("use", ["regex", "format"])
def test_a_pattern_that_is_no_regular_expression_is_refused(use: str) -> None:
    assert use in problem(RewardSpec(use, args={"pattern": "(a"}))


def test_asynchronous_rewards_start_while_answers_are_generated(tokenizer: Any) -> None:
    """Each group is scored as soon as it is complete; plain functions still see the whole draw at once."""
    from postlude.engines.local.cache import token_bytes
    from postlude.engines.local.decode import LocalSampler
    from postlude.engines.local.model import LocalModel
    from postlude.engines.settings import Sampling
    from postlude.rewards.rewards import Scoring
    from postlude.rollouts.rollout import answer
    from tests.conftest import build

    model = LocalModel(build("qwen3"))
    model.choose_path()
    sampler = LocalSampler(model, tokenizer, frozenset({1, 7, 9, 20}))
    sampler.cache_bytes = 60 * token_bytes(model)  # a few answers at a time
    seen: list[str] = []

    async def early(completions: Any, log_metric: Any) -> list[float]:
        seen.append(f"early {len(completions)}")
        await asyncio.sleep(0)
        log_metric("calls", 1)
        return [float(len(c)) for c in completions]

    def late(completions: Any) -> list[float]:
        seen.append(f"late {len(completions)}")
        return [0.5] * len(completions)

    rewards = Rewards([reward(early, "early"), reward(late, "late")])
    prompts = [Prompt(str(i), "x", tokens=(3 + i, 4, 5)) for i in range(5)]

    async def draw() -> Scored:
        scoring = Scoring(rewards, 0, 1)
        groups = await answer(sampler, prompts, 3, Sampling(max_tokens=12), 0, "t", scoring.add)
        seen.append("all sampled")
        return await scoring.finish(groups)

    scored = asyncio.run(draw())
    assert seen.count("early 3") == 5
    assert seen.index("all sampled") > 0 and seen[-1] == "late 15"
    for one in scored.groups:
        assert [c.reward for c in one.completions] == [len(c.text) + 0.5 for c in one.completions]
    assert scored.metrics["early/calls"] == 1.0


def test_an_error_in_an_early_reward_stops_the_draw_and_leaves_nothing_running() -> None:
    async def breaks(completions: Any) -> list[float]:
        raise ValueError("no")

    async def waits(completions: Any) -> list[float]:
        await asyncio.sleep(60)
        return [0.0] * len(completions)

    async def both() -> None:
        with pytest.raises(RewardError, match="breaks raised ValueError"):
            await Rewards([reward(breaks, "breaks"), reward(waits, "waits")]).score([group(["a"]), group(["b"])])
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(both())


def test_early_rewards_keep_columns_with_their_answers() -> None:
    """A column that some groups lack is None there, as an argument and in what is logged."""

    async def logs(completions: Any, level: Any, log_extra: Any) -> list[float]:
        if level[0] is not None:
            log_extra("seen", [f"{c}/{level[0]}" for c in completions])
        return [0.0] * len(completions)

    groups = [group(["a", "b"]), group(["c"], level="hard")]
    scored = asyncio.run(Rewards([reward(logs, "logs")]).score(groups))
    assert scored.extra == {"seen": [None, None, "c/hard"]}


def test_two_rewards_may_log_a_column_of_the_same_name() -> None:
    def one(completions: Any, log_extra: Any) -> list[float]:
        log_extra("why", ["one"] * len(completions))
        return [0.0] * len(completions)

    def other(completions: Any, log_extra: Any) -> list[float]:
        log_extra("why", ["other"] * len(completions))
        return [0.0] * len(completions)

    scored = score([group(["a"])], reward(one, "one"), reward(other, "other"))
    assert scored.extra == {"why": ["one"], "other/why": ["other"]}


def test_a_logged_column_of_the_wrong_length_is_an_error() -> None:
    def short(completions: Any, log_extra: Any) -> list[float]:
        log_extra("why", ["only one"])
        return [0.0] * len(completions)

    with pytest.raises(RewardError, match="logged 1 values of 'why' for 2 completions"):
        score([group(["a", "b"])], reward(short))


def test_a_cancelled_call_inside_a_reward_is_the_rewards_error() -> None:
    async def hangs_up(completions: Any) -> list[float]:
        raise asyncio.CancelledError

    with pytest.raises(RewardError, match="hangs_up raised CancelledError"):
        score([group(["a"])], reward(hangs_up, "hangs_up"))


def test_objects_with_an_asynchronous_call_start_early_too() -> None:
    class Judge:
        async def __call__(self, completions: Any) -> list[float]:
            return [1.0] * len(completions)

    assert reward(Judge()).early
    assert rewards_of(score([group(["a"]), group(["b", "c"])], reward(Judge()))) == [1.0, 1.0, 1.0]
