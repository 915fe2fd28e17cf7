"""Scores that are kept: what makes two answers the same, and that only others are asked for."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import Any

import pytest

from postlude.cache import Cache
from postlude.data import Group
from postlude.errors import ConfigError, RewardError
from postlude.rewards.combine import Scored
from postlude.rewards.learned import PairReward
from postlude.rewards.member import Reward
from postlude.rewards.recall import memory_of
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.scoring import group, rewards_of

BODY = """
calls = []

def plain(completions, answer, log_extra, log_metric, log_note):
    calls.append(list(completions))
    log_extra("seen", [f"{c}/{a}" for c, a in zip(completions, answer)])
    log_metric("asked", len(completions))
    return [None if c == "?" else float(len(c)) for c in completions]

async def later(completions, answer, log_extra):
    calls.append(list(completions))
    log_extra("seen", [f"{c}/{a}" for c, a in zip(completions, answer)])
    return [None if c == "?" else float(len(c)) for c in completions]

def anything(completions, **columns):
    assert "trainer_state" not in columns and "completion_ids" not in columns
    calls.append(list(completions))
    return [float(len(c)) for c in completions]

def by_step(steps):
    calls.append(list(steps))
    return [[float(len(s)) for s in row] for row in steps]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(BODY)
    return tmp_path


def made(place: Path, function: str, **settings: Any) -> Rewards:
    """A reward that is opened anew, as a second process would."""
    cache = settings.pop("cache", str(place / "scores.sqlite"))
    rewards = Rewards.of([RewardSpec(f"{place}/mine.py:{function}", cache=cache, **settings)])
    rewards.ends = lambda completion, separator: list(range(len(completion.text.split(separator))))
    return rewards


def score(rewards: Rewards, *groups: Group) -> Scored:
    return asyncio.run(rewards.score(groups))


def calls(rewards: Rewards) -> list[Any]:
    return rewards.members[0].function.__globals__["calls"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["plain", "later"])
def test_only_answers_that_are_not_kept_are_asked_for(place: Path, name: str) -> None:
    groups = [group(["a", "bb"], answer=1), group(["ccc"], answer=2)]
    first = made(place, name)
    assert score(first, *groups).metrics[f"reward/{name}/cached"] == 0.0
    again = made(place, name)
    scored = score(again, group(["bb", "a", "dddd"], answer=1), groups[1])
    assert calls(again) == [["dddd"]]
    assert rewards_of(scored) == [2.0, 1.0, 4.0, 3.0]
    assert scored.extra == {"seen": ["bb/1", "a/1", "dddd/1", "ccc/2"]}
    assert scored.metrics[f"reward/{name}/cached"] == 0.75


def test_the_prompt_and_the_columns_it_reads_make_another_answer(place: Path) -> None:
    rewards = made(place, "plain")
    score(rewards, group(["a"], "q", answer=1, other=1))
    for same in (group(["a"], "q", answer=1, other=2), group(["a"], "q", "another id", answer=1)):
        score(rewards, same)
    assert len(calls(rewards)) == 1
    score(rewards, group(["a"], "q2", answer=1))
    score(rewards, group(["a"], "q", answer=2))
    assert len(calls(rewards)) == 3


def test_a_function_that_takes_anything_is_asked_again_where_any_column_differs(place: Path) -> None:
    rewards = made(place, "anything")
    for other in (1, 1, 2):
        score(rewards, group(["a"], other=other))
    assert len(calls(rewards)) == 2


def test_equal_answers_of_a_draw_are_asked_for_once(place: Path) -> None:
    rewards = made(place, "plain")
    assert rewards_of(score(rewards, group(["a", "a", "bb"], answer=1))) == [1.0, 1.0, 2.0]
    assert calls(rewards) == [["a", "bb"]]


def test_an_abstention_is_not_kept(place: Path) -> None:
    rewards = made(place, "plain")
    for _ in range(2):
        assert rewards_of(score(rewards, group(["?", "a"], answer=1))) == [None, 1.0]
    assert calls(rewards) == [["?", "a"], ["?"]]


def test_step_rewards_are_kept(place: Path) -> None:
    rewards = made(place, "by_step", steps="|")
    first, again = (score(rewards, group(["a|bbb", "cc"])) for _ in range(2))
    assert first.groups == again.groups
    assert first.groups[0].completions[0].steps == ((0, 1.0), (1, 3.0))
    assert len(calls(rewards)) == 1


def test_another_source_args_or_separator_is_another_reward(place: Path) -> None:
    answer = group(["a|b"], answer=1)
    score(made(place, "by_step", steps="|"), answer)
    other = made(place, "by_step", steps="/")
    score(other, answer)
    assert len(calls(other)) == 1
    (place / "mine.py").write_text(BODY + "# changed\n")
    changed = made(place, "by_step", steps="|")
    score(changed, answer)
    assert len(calls(changed)) == 1


def test_built_ins_are_told_apart_by_their_arguments(place: Path) -> None:
    specs = [RewardSpec("exact", args={"after": after}, cache=True) for after in "#>"]
    one, two = (Rewards.of([s]).members[0].memory for s in specs)
    assert one and two
    answer = group(["a"], answer=1)
    assert one.key(answer, answer.completions[0]) != two.key(answer, answer.completions[0])


def test_files_that_arguments_name_are_part_of_the_reward(place: Path) -> None:
    schema = place / "s.json"

    def identity(text: str) -> Any:
        schema.write_text(text)
        spec = RewardSpec("json_schema", args={"schema": str(schema)}, cache=True)
        memory = Rewards.of([spec]).members[0].memory
        assert memory
        return memory.identity

    assert identity('{"type": "object"}') != identity('{"type": "array"}')


def test_a_gated_answer_is_neither_asked_for_nor_kept(place: Path) -> None:
    rewards = made(place, "plain")
    gate = Rewards.of([RewardSpec("format", gate=1, args={"pattern": "a+"})]).members[0]
    rewards.members.insert(0, gate)
    scored = asyncio.run(rewards.score([group(["a", "b"], answer=1)]))
    assert rewards.members[1].function.__globals__["calls"] == [["a"]]  # type: ignore[attr-defined]
    assert scored.metrics["reward/plain/cached"] == 0.0
    assert len(rewards.members[1].memory.cache) == 1  # type: ignore[union-attr]


def test_calls_that_fail_keep_nothing_and_lose_only_what_they_asked(place: Path) -> None:
    (place / "mine.py").write_text(
        "calls = []\n\nasync def fn(completions):\n    calls.append(completions)\n"
        "    if 'x' in completions:\n        raise ValueError\n    return [1.0] * len(completions)\n"
    )
    rewards = made(place, "fn", errors=1.0)
    score(rewards, group(["a"]))
    assert rewards_of(score(rewards, group(["a", "x"]))) == [1.0, None]
    assert len(rewards.members[0].memory.cache) == 1  # type: ignore[union-attr]


def problem(spec: RewardSpec) -> str:
    with pytest.raises(ConfigError) as error:
        Rewards.of([spec])
    return str(error.value)


def test_what_depends_on_more_than_the_answer_cannot_be_kept(place: Path) -> None:
    (place / "mine.py").write_text("def fn(completions, completion_ids, trainer_state):\n    return []\n")
    assert "takes trainer_state and completion_ids" in problem(RewardSpec(f"{place}/mine.py:fn", cache=True))
    assert "takes completion_ids" in problem(RewardSpec("length", args={"limit": 3}, cache=True))
    pair = Reward(RewardSpec("pair_model", cache=True), PairReward(()), False)
    with pytest.raises(ConfigError, match="against the others to its prompt"):
        memory_of(pair)


def test_without_a_run_a_cache_needs_a_path(place: Path) -> None:
    with pytest.raises(ConfigError, match="Give the path of a file"):
        score(made(place, "plain", cache=True), group(["a"], answer=1))
    rewards = made(place, "plain", cache=True)
    rewards.keep_in(place / "run")
    score(rewards, group(["a"], answer=1))
    assert (place / "run" / "reward-cache.sqlite").exists()


def test_a_cache_that_is_no_database_is_named(place: Path) -> None:
    (place / "scores.sqlite").write_text("not a database, but a text that is long enough to be taken for one" * 20)
    with pytest.raises(ConfigError, match=r"scores.sqlite.* cannot be used"):
        made(place, "plain").keep_in(place)


def test_two_rewards_share_a_file_and_not_their_scores(place: Path) -> None:
    rewards = made(place, "plain", name="one")
    rewards.members.append(made(place, "anything", name="two").members[0])
    rewards.keep_in(place)
    scored = asyncio.run(rewards.score([group(["a"], answer=1)]))
    assert rewards_of(scored) == [2.0]
    assert len(rewards.members[0].memory.cache) == 2  # type: ignore[union-attr]


def test_a_cache_that_the_disk_refuses_stops_a_run_as_a_reward_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between steps, with what is finished saved; what the cache holds is whole, and later writes are taken."""
    monkeypatch.setattr("postlude.cache.WAITS", (0.0,))
    cache = Cache(tmp_path / "scores.sqlite")
    cache.put("a", 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        with pytest.raises(RewardError, match=r"scores\.sqlite' cannot be read or written"):
            cache.put("b", "x" * 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    cache.put("c", 3)
    assert cache.get_all(["a", "b", "c"]) == {"a": 1, "c": 3}
