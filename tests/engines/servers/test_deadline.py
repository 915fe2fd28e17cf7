"""A limit of time for a reply counts for those who are silent, not for a process that could not listen."""

from __future__ import annotations

import asyncio

import pytest

from postlude.engines.servers.deadline import QUICK, within
from tests.underway import OwnClock


async def replied(after: float, limit: float, busy: float = 0.0) -> float:
    """Seconds until a reply was read that came after so many; this process was busy for some before it listened."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, OwnClock)
    began = loop.time()
    async with within(limit):
        await asyncio.sleep(0)
        loop.be_busy(busy)
        await asyncio.sleep(after)
    return loop.time() - began


def taken(after: float, limit: float, busy: float = 0.0) -> float:
    with asyncio.Runner(loop_factory=OwnClock) as runner:
        return runner.run(replied(after, limit, busy))


def test_a_reply_in_time_is_read_and_one_that_never_comes_is_not_waited_for() -> None:
    assert taken(4.0, 5.0) == pytest.approx(4.0)
    with pytest.raises(TimeoutError):
        taken(6.0, 5.0)


def test_who_was_busy_itself_listens_once_more() -> None:
    assert taken(4.0, 5.0, busy=60.0) == pytest.approx(64.0)
    with pytest.raises(TimeoutError):
        taken(5.5, 5.0, busy=60.0)
    with pytest.raises(TimeoutError):
        taken(QUICK + 1, 600.0, busy=700.0)
    with pytest.raises(TimeoutError):
        taken(4.9, 5.0, busy=0.5)
