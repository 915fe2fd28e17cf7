"""What a reward may do to the process: hang, end it, fork it, change what all share."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from postlude.errors import ConfigError, RewardError
from postlude.rewards import guard
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from tests.scoring import group, reward, rewards_of, score

GROUPS = [group(["a", "b"])]


def sleeps(completions: list[str]) -> list[float]:
    time.sleep(60)
    return []


def backtracks(completions: list[str]) -> list[float]:
    re.match(r"(a+)+$", "a" * 60 + "b")  # no other thread runs while this does
    return []


def catches_everything(completions: list[str]) -> list[float]:
    while True:
        with suppress(Exception):
            time.sleep(60)


@pytest.mark.parametrize("function", [sleeps, backtracks, catches_everything])
def test_a_plain_function_that_hangs_is_left_at_its_time_limit(function: Callable[..., Any]) -> None:
    with pytest.raises(RewardError, match=r"reward fn took longer than 0.2 seconds for 2 answers") as error:
        score(GROUPS, reward(function, timeout=0.2))
    assert f"in {function.__name__}" in str(error.value)
    assert rewards_of(score(GROUPS, reward(sleeps, timeout=0.2, errors=1.0), reward(lambda completions: [1, 0], "b")))


def test_only_functions_of_users_have_a_time_limit(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def fn(completions):\n    return [1.0] * len(completions)\n")
    (member,) = Rewards.of([RewardSpec(f"{tmp_path}/mine.py:fn", timeout=3.0)]).members
    assert member.timeout == 3.0
    with pytest.raises(ConfigError, match="concurrency and timeout are for async functions"):
        Rewards.of([RewardSpec("exact", timeout=3.0)])
    with pytest.raises(ConfigError, match="Remove concurrency"):
        Rewards.of([RewardSpec(f"{tmp_path}/mine.py:fn", concurrency=3)])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_call_that_takes_long_is_said_and_once_noted(monkeypatch: pytest.MonkeyPatch, asynchronous: bool) -> None:
    monkeypatch.setattr(guard, "TICK", 0.02)
    monkeypatch.setattr(guard, "SAID_AFTER", 0.05)
    monkeypatch.setattr(guard, "NOTED", (0.1, 60.0))

    def plain(completions: list[str]) -> list[float]:
        time.sleep(0.3)
        return [1.0, 0.0]

    async def slow(completions: list[str]) -> list[float]:
        await asyncio.sleep(0.3)
        return [1.0, 0.0]

    heard: list[tuple[str, bool]] = []
    rewards = Rewards([reward(slow if asynchronous else plain, "slow")])
    rewards.guard.waits.tell = lambda text, noted: heard.append((text, noted))
    for _ in range(2):
        asyncio.run(rewards.score(GROUPS))
    assert sum(noted for _, noted in heard) == 1
    assert heard and all(text == "reward slow has been running for 0 s on 2 answers" for text, _ in heard)


def test_the_match_of_a_pattern_is_heard_of_though_no_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "SAID_AFTER", 0.05)

    def hear(text: str, noted: bool) -> None:
        raise LookupError(text)  # the only way out of the match

    rewards = Rewards([reward(backtracks)])
    rewards.guard.waits.tell = hear
    with pytest.raises(RewardError, match=r"raised LookupError .* has been running for \d+ s"):
        asyncio.run(rewards.score(GROUPS))


def leaves(how: Callable[[], Any]) -> Callable[..., Any]:
    def fn(completions: list[str]) -> list[float]:
        how()
        return [1.0, 0.0]

    return fn


EXITS: dict[str, Callable[[], Any]] = {
    "sys": lambda: sys.exit(0),
    "os": lambda: os._exit(0),
    "quit": lambda: quit(),
    "another program": lambda: os.execv("/bin/true", ["true"]),
    "one from the path": lambda: os.execlp("true", "true"),
    "with an environment": lambda: os.execle("/bin/true", "true", {}),
}


@pytest.mark.parametrize("how", EXITS.values(), ids=EXITS)
def test_a_reward_does_not_end_the_process(how: Callable[[], Any]) -> None:
    real = os._exit, os.execv, os.execve
    with pytest.raises(RewardError, match=r"reward fn raised SystemExit at test_guard.py"):
        score(GROUPS, reward(leaves(how)))
    assert (os._exit, os.execv, os.execve) == real


def test_a_child_may_become_another_program() -> None:
    def spawns(completions: list[str]) -> list[float]:
        return [float(os.spawnlp(os.P_WAIT, "false", "false")), 0.0]

    assert rewards_of(score(GROUPS, reward(spawns))) == [1.0, 0.0]


def test_what_is_no_exception_is_told_too() -> None:
    class Panic(BaseException):
        pass

    def panics(completions: list[str]) -> list[float]:
        raise Panic("called `Option::unwrap()` on a `None` value")

    with pytest.raises(RewardError, match=r"reward fn raised Panic at test_guard\.py"):
        score(GROUPS, reward(panics))


def test_a_child_that_comes_back_from_a_reward_ends_there(capfd: pytest.CaptureFixture[str]) -> None:
    children: list[int] = []

    def forks(completions: list[str]) -> list[float]:
        child = os.fork()
        children.append(child)
        if child == 0 and len(completions) > 1:
            raise ValueError("not even by an error")
        return [1.0, 0.0]

    assert rewards_of(score(GROUPS, reward(forks))) == [1.0, 0.0]
    _, status = os.waitpid(children[0], 0)
    assert os.waitstatus_to_exitcode(status) == 70
    assert "the child ends here" in capfd.readouterr().err


def test_a_child_may_leave_as_it_likes() -> None:
    def works_in_a_child(completions: list[str]) -> list[float]:
        child = os.fork()
        if child == 0:
            os._exit(3)
        _, status = os.waitpid(child, 0)
        return [float(os.waitstatus_to_exitcode(status)), 0.0]

    assert rewards_of(score(GROUPS, reward(works_in_a_child))) == [3.0, 0.0]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C does what it does in a terminal: a process that was started in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_what_the_process_shares_is_put_back_and_said_once(tmp_path: Path) -> None:
    def changes(completions: list[str]) -> list[float]:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(3)
        os.chdir(tmp_path)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        random.seed(0)
        np.random.seed(0)
        return [1.0, 0.0]

    before = (torch.get_default_dtype(), torch.get_num_threads(), Path.cwd(), signal.getsignal(signal.SIGINT))
    rewards = Rewards([reward(changes, "changes")])
    notes = asyncio.run(rewards.score(GROUPS)).notes
    assert (torch.get_default_dtype(), torch.get_num_threads(), Path.cwd(), signal.getsignal(signal.SIGINT)) == before
    assert torch.is_grad_enabled()
    assert [re.sub("reward changes changed (.*); it.*", r"\1", n) for n in notes] == [
        "the current folder", "torch's default dtype", "whether torch keeps gradients",
        "the number of torch's threads", "what Ctrl-C does",
    ]  # fmt: skip
    assert asyncio.run(rewards.score(GROUPS)).notes == []


def test_overlapping_calls_are_put_back_to_what_was_before_the_first() -> None:
    async def changes(completions: list[str]) -> list[float]:
        torch.set_default_dtype(torch.float64)
        await asyncio.sleep(0.01)
        return [1.0] * len(completions)

    scored = score([group(["a"]), group(["b"]), group(["c"])], reward(changes))
    assert rewards_of(scored) == [1.0] * 3 and torch.get_default_dtype() == torch.float32
