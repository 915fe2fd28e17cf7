"""What a reward may do to the process: hang, end it, fork it, change what all share."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from postlude import waits
from postlude.errors import ConfigError, RewardError
from postlude.process import Interrupted
from postlude.rewards.guard import Guard
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.words import Once, first_of_each
from tests.scoring import group, reward, rewards_of, score
from tests.underway import eventually

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
def test_a_call_that_takes_long_is_shown_and_once_said(monkeypatch: pytest.MonkeyPatch, asynchronous: bool) -> None:
    monkeypatch.setattr(waits, "TICK", 0.02)
    monkeypatch.setattr(waits, "SHOWN_AFTER", 0.05)
    monkeypatch.setattr(waits, "NOTED", (0.1, 3600.0))
    said: list[str] = []
    shown: list[str] = []

    def heard() -> bool:
        """Of a first call the watchdog has said something; of every call it shows that it waits."""
        return bool(said) and len(shown) > before

    def plain(completions: list[str]) -> list[float]:
        assert eventually(heard)
        return [1.0, 0.0]

    async def slow(completions: list[str]) -> list[float]:
        await asyncio.to_thread(plain, completions)
        return [1.0, 0.0]

    rewards = Rewards([reward(slow if asynchronous else plain, "slow")])
    with waits.Watchdog(said.append, shown.append):
        for _ in range(2):
            before = len(shown)
            asyncio.run(rewards.score(GROUPS))
    assert len(said) == 1 and len({re.sub(r"\d+ s", "", text) for text in said + shown}) == 1
    assert re.fullmatch(
        r"reward slow \(.*\) has been running for \d+ s on 2 answers to 1 prompt, the first \S+", said[0]
    )


def test_the_match_of_a_pattern_is_heard_of_though_no_thread_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SHOWN_AFTER", 0.05)

    def hear(text: str) -> None:
        raise LookupError(text)  # the only way out of the match

    monkeypatch.setattr(waits, "TICK", 60.0)
    with (
        waits.Watchdog(hear, hear, silence=0.05),
        pytest.raises(RewardError, match=r"raised LookupError .* (has been running|nothing has moved) for \d+ s"),
    ):
        asyncio.run(Rewards([reward(backtracks)]).score(GROUPS))


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
    "abort": lambda: os.abort(),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "the group": lambda: os.killpg(os.getpgrp(), signal.SIGTERM),
    "everybody": lambda: os.kill(0, signal.SIGTERM),
    "raise": lambda: signal.raise_signal(signal.SIGTERM),
}


@pytest.mark.parametrize("how", EXITS.values(), ids=EXITS)
def test_a_reward_does_not_end_the_process(how: Callable[[], Any]) -> None:
    real = os._exit, os.execv, os.execve, os.abort, os.kill, os.killpg, signal.raise_signal
    with pytest.raises(RewardError, match=r"reward fn raised SystemExit at test_guard.py"):
        score(GROUPS, reward(leaves(how)))
    assert (os._exit, os.execv, os.execve, os.abort, os.kill, os.killpg, signal.raise_signal) == real


def test_signals_that_end_nothing_go_their_way() -> None:
    heard: list[int] = []

    def fn(completions: list[str]) -> list[float]:
        before = signal.signal(signal.SIGUSR1, lambda signum, frame: heard.append(signum))
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), 0)
        signal.signal(signal.SIGUSR1, before)
        with suppress(ProcessLookupError):
            os.kill(2**22 + 1, signal.SIGTERM)  # nobody's
        return [1.0, 0.0]

    assert rewards_of(score(GROUPS, reward(fn))) == [1.0, 0.0] and heard == [signal.SIGUSR1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration])
@pytest.mark.usefixtures("asked_by_us")
def test_what_stops_a_program_is_an_error_of_the_reward_that_raises_it(error: type[BaseException]) -> None:
    def fn(completions: list[str]) -> list[float]:
        raise error

    with pytest.raises(RewardError, match=rf"reward fn raised {error.__name__} at test_guard\.py"):
        score(GROUPS, reward(fn))


@pytest.fixture
def asked_by_us() -> Iterator[None]:
    """Ctrl-C is a run's matter."""

    def ask(signum: int, frame: object) -> None:
        raise Interrupted(signum)

    before = signal.signal(signal.SIGINT, ask)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("asked_by_us")
def test_a_stop_in_the_middle_of_a_reward_is_no_error_of_it() -> None:
    def fn(completions: list[str]) -> list[float]:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # as from outside
        time.sleep(5)
        return []

    with pytest.raises(Interrupted):
        score(GROUPS, reward(fn))


CLOSES: dict[str, Callable[[], Any]] = {
    "1": lambda: os.close(1),
    "2": lambda: os.close(2),
    "elsewhere": lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 1),
}


@pytest.mark.parametrize("how", CLOSES.values(), ids=CLOSES)
def test_output_that_was_closed_is_opened_again(how: Callable[[], Any], capfd: pytest.CaptureFixture[str]) -> None:
    scored = score(GROUPS, reward(leaves(how)))
    os.write(1, b"to output\n")
    os.write(2, b"to errors\n")
    assert capfd.readouterr() == ("to output\n", "to errors\n")
    assert any("changed standard" in note for note in scored.notes)


def test_output_that_was_replaced_is_put_back() -> None:
    before = sys.stdout

    def fn(completions: list[str]) -> list[float]:
        sys.stdout = None  # type: ignore[assignment]
        return [1.0, 0.0]

    assert "reward fn changed standard output" in score(GROUPS, reward(fn)).notes[0]
    assert sys.stdout is before


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
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
        signal.alarm(100)
        sys.setrecursionlimit(500)
        sys.excepthook = None  # type: ignore[assignment]
        random.seed(0)
        np.random.seed(0)
        return [1.0, 0.0]

    before = (torch.get_default_dtype(), torch.get_num_threads(), Path.cwd(), signal.getsignal(signal.SIGINT))
    rewards = Rewards([reward(changes, "changes")])
    notes = asyncio.run(rewards.score(GROUPS)).notes
    assert (torch.get_default_dtype(), torch.get_num_threads(), Path.cwd(), signal.getsignal(signal.SIGINT)) == before
    assert torch.is_grad_enabled() and signal.alarm(0) == 0
    assert [re.sub("reward changes changed (.*); it.*", r"\1", n) for n in notes] == [
        "the current folder", "torch's default dtype", "whether torch keeps gradients",
        "the number of torch's threads", "what happens to errors that nobody catches", "how deep functions may nest",
        "what Ctrl-C does", "what SIGTERM does", "what SIGHUP does", "the alarm clock (it was left running)",
    ]  # fmt: skip
    names = [note.name for note in notes if isinstance(note, Once)]
    assert first_of_each(asyncio.run(rewards.score(GROUPS)).notes, names) == []


def test_overlapping_calls_are_put_back_to_what_was_before_the_first() -> None:
    async def changes(completions: list[str]) -> list[float]:
        torch.set_default_dtype(torch.float64)
        await asyncio.sleep(0.01)
        return [1.0] * len(completions)

    scored = score([group(["a"]), group(["b"]), group(["c"])], reward(changes))
    assert rewards_of(scored) == [1.0] * 3 and torch.get_default_dtype() == torch.float32


def test_guards_that_overlap_leave_no_end_refused() -> None:
    real, first, second = os.kill, Guard(), Guard()
    one, other = first.over("a", "a", "x"), second.over("b", "b", "x")
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert os.kill is not real  # the second is at work
    other.__exit__(None, None, None)
    assert os.kill is real
