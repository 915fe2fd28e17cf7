"""Calls that raise or take too long, how many may, how many run at a time, and notes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import ConfigError, RewardError
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.scoring import by_own_clock, group, reward, rewards_of, score


async def fragile(completions: list[str], log_extra: Any, log_metric: Any) -> list[float]:
    """Cannot stand the letter x."""
    log_extra("upper", [c.upper() for c in completions])
    log_metric("calls", 1)
    if "x" in completions:
        raise ValueError("an x")
    return [1.0] * len(completions)


GROUPS = [group(["a", "b"]), group(["x", "y"]), group(["c"]), group(["d"])]


def test_a_share_of_the_calls_may_fail_and_their_answers_abstain() -> None:
    scored = score(GROUPS, reward(fragile, "fragile", errors=0.25))
    assert rewards_of(scored) == [1.0, 1.0, None, None, 1.0, 1.0]
    assert scored.extra == {"upper": ["A", "B", None, None, "C", "D"]}
    assert scored.counts == {"reward/fragile/errors": 2.0}
    (note,) = scored.notes
    assert "reward fragile: 1 of 4 calls failed, 2 answers were not scored; the first raised ValueError" in note


def test_more_failures_than_allowed_stop_the_run() -> None:
    with pytest.raises(RewardError) as error:
        score(GROUPS, reward(fragile, "fragile", errors=0.2))
    message = str(error.value)
    assert "failed in 1 of 4 calls of this draw (2 answers)" in message
    assert "The first raised ValueError at test_failures.py line" in message
    assert 'in fragile: raise ValueError("an x")' in message


def test_by_default_none_may_fail() -> None:
    with pytest.raises(RewardError, match=r"reward fragile raised ValueError at test_failures.py"):
        score(GROUPS, reward(fragile, "fragile"))


def test_a_plain_function_fails_as_a_whole() -> None:
    def broken(completions: Any) -> list[float]:
        raise OSError("no")

    with pytest.raises(RewardError, match="1 of 1 calls"):
        score(GROUPS, reward(broken, errors=0.5))
    assert rewards_of(score(GROUPS, reward(broken, errors=1.0))) == [None] * 6


def test_the_message_shows_the_users_own_frames_and_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import json\n\n\ndef inner(text):\n    return json.loads(text)\n\n\n"
        "async def fn(completions):\n    return [inner(c) for c in completions]\n"
    )
    with pytest.raises(RewardError) as error:
        asyncio.run(Rewards.of([RewardSpec(f"{path}:fn")]).score([group(["{oops"])]))
    message = str(error.value)
    assert "reward fn raised JSONDecodeError at mine.py line 5" in message
    assert f"{path} line 9, in fn: return [inner(c) for c in completions]" in message
    assert f"{path} line 5, in inner: return json.loads(text)" in message
    assert "calls.py" not in message and "decoder.py" not in message
    assert "it may return None for an answer that it cannot score" in message


def test_of_a_group_of_exceptions_the_first_is_told(tmp_path: Path) -> None:
    async def many(completions: list[str]) -> list[float]:
        async def one(text: str) -> float:
            raise KeyError(text)

        async with asyncio.TaskGroup() as tasks:
            found = [tasks.create_task(one(c)) for c in completions]
        return [f.result() for f in found]

    with pytest.raises(RewardError, match=r"raised KeyError at test_failures.py"):
        score([group(["a", "b"])], reward(many))


def test_a_call_that_takes_too_long_is_a_failure() -> None:
    async def slow(completions: list[str]) -> list[float]:
        await asyncio.sleep(30 if "x" in completions else 0)
        return [1.0] * len(completions)

    scored = by_own_clock(GROUPS, reward(slow, "slow", timeout=20, errors=0.5))
    assert rewards_of(scored) == [1.0, 1.0, None, None, 1.0, 1.0]
    assert "took longer than 20 seconds for 2 answers" in scored.notes[0]
    with pytest.raises(RewardError, match=r"reward slow took longer than 20 seconds"):
        by_own_clock(GROUPS, reward(slow, "slow", timeout=20))


def test_a_functions_own_timeout_error_is_told_as_its_own() -> None:
    async def gives_up(completions: list[str]) -> list[float]:
        raise TimeoutError("server")

    with pytest.raises(RewardError, match=r"raised TimeoutError at test_failures.py line .*: server"):
        score([group(["a"])], reward(gives_up, timeout=5.0))


def test_no_more_calls_are_under_way_than_allowed_and_waiting_is_not_timed() -> None:
    running: list[int] = []
    most = 0

    async def counted(completions: list[str]) -> list[float]:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await asyncio.sleep(20)
        running.pop()
        return [1.0] * len(completions)

    made = reward(counted, concurrency=3, timeout=30)
    assert rewards_of(by_own_clock([group([str(i)]) for i in range(20)], made)) == [1.0] * 20
    assert most == 3


def test_users_functions_get_five_minutes_and_built_ins_their_own_limits() -> None:
    async def fn(completions: list[str]) -> list[float]:
        return []

    assert reward(fn).timeout == 300.0
    assert reward(lambda completions: []).timeout is None
    assert Rewards.of([RewardSpec("length", args={"limit": 3})]).members[0].timeout is None


def test_limits_of_async_functions_are_refused_for_plain_ones() -> None:
    with pytest.raises(ConfigError, match="concurrency and timeout are for async functions"):
        Rewards.of([RewardSpec("exact", timeout=3.0)])


def test_what_is_cancelled_from_outside_is_no_failure() -> None:
    async def waits(completions: list[str]) -> list[float]:
        await asyncio.sleep(60)
        return []

    async def both() -> None:
        work = asyncio.ensure_future(Rewards([reward(waits, errors=1.0)]).score(GROUPS))
        await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(both())


def test_notes_are_said_once() -> None:
    async def notes(completions: list[str], log_note: Any) -> list[float]:
        log_note("the server is slow")
        return [1.0] * len(completions)

    def other(completions: list[str], **columns: Any) -> list[float]:
        assert "log_note" not in columns
        return [1.0] * len(completions)

    assert score(GROUPS, reward(notes), reward(notes, "again"), reward(other, "other")).notes == ["the server is slow"]
