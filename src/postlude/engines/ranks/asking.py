"""All ranks asked for the same thing: who is waited for, and who is the cause where something goes wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from postlude.engines.ranks.child import Done, Raised
from postlude.engines.ranks.crew import RankLost
from postlude.engines.ranks.messages import unpacked
from postlude.engines.ranks.supervisor import Ended
from postlude.waits import waiting

TICK = 0.5
"""Seconds between two looks at what cannot be awaited."""
GRACE = 3.0
"""Seconds that others have to answer, or to be seen dead, once one has failed: who says so first need not be the cause.
"""
IN_WORDS = {
    "update": "an optimiser step",
    "forward": "log-probs",
    "save": "a checkpoint",
    "load": "a checkpoint to be loaded",
    "gather": "the weights",
    "begin": "its model",
}
"""What is asked by the name of a method."""


@dataclass(frozen=True)
class Unreached:
    """Who stands beside a rank gave no answer, and never will."""

    cause: str


Answer = Done | Raised | Ended | Unreached | None
"""Of a rank; None of one that has given none."""


async def answers_of(
    asked: Sequence[Awaitable[bytes | Answer]],
    names: Sequence[str],
    what: str,
    seconds: float,
    look: Callable[[], None] = lambda: None,
    usual: float = 0.0,
) -> list[Answer]:
    """What each gave: all of them, or, GRACE seconds after something went wrong with one, whoever has answered by then.

    `look` is called now and then, and may raise; `usual`: seconds that it often
    takes. RankLost where somebody is silent for that many seconds.
    """
    tasks = [asyncio.ensure_future(_read(one)) for one in asked]
    ends, cut_off = time.monotonic() + seconds, float("inf")
    try:
        with waiting("", what, verb="asked", link="for", limit=seconds, usual=usual) as wait:
            while late := [place for place, task in enumerate(tasks) if not task.done()]:
                wait.who = _listed([names[place] for place in late])
                await asyncio.wait([tasks[p] for p in late], timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
                look()
                if any(task.done() and not isinstance(task.result(), Done) for task in tasks):
                    cut_off = min(cut_off, time.monotonic() + GRACE)
                if time.monotonic() > cut_off:
                    break
                if time.monotonic() > ends:
                    raise _silent(late, names, what, seconds)
        return [task.result() if task.done() else None for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _read(one: Awaitable[bytes | Answer]) -> Answer:
    """An answer, also as a rank's process has sent it."""
    sent = await one
    return unpacked(sent) if isinstance(sent, bytes) else sent


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _silent(late: Sequence[int], names: Sequence[str], what: str, seconds: float) -> RankLost:
    who = _listed([names[place] for place in late])
    rank = late[0] if len(late) == 1 else None
    text = (
        f"{who} gave no sign for {seconds:.0f} s when asked for {what}: dead, stopped, or slower than engine.timeout "
        "allows, which is the seconds for one piece of work."
    )
    return RankLost(text, code="rank-lost", rank=rank, cause=f"silent for {seconds:.0f} s")


def values_of(answers: Sequence[Answer], names: Sequence[str], what: str) -> list[Any]:
    """What the ranks' methods returned; or the error that says why not."""
    values = [answer.value for answer in answers if isinstance(answer, Done)]
    if len(values) < len(answers):
        _fail(answers, names, what)
    return values


def _fail(answers: Sequence[Answer], names: Sequence[str], what: str) -> NoReturn:
    """Raise the cause: a rank that is dead, before what those say who waited for it."""
    for rank, answer in enumerate(answers):
        if isinstance(answer, Ended | Unreached):
            text = f"{names[rank]} died when asked for {what}: {answer.cause}.{_end_of_log(answer)}"
            raise RankLost(text, code="rank-lost", rank=rank, cause=answer.cause)
    raised = [answer for answer in answers if isinstance(answer, Raised)]
    first = next((one for one in raised if one.ours), None) or next((one for one in raised if not one.lost), None)
    if first is not None:
        raise first.error
    late = [rank for rank, answer in enumerate(answers) if answer is None]
    who = _listed([names[rank] for rank in late]) if late else "the trainer ranks"
    text = f"{who} lost touch with the others when asked for {what}: {raised[0].error}"
    raise RankLost(text, code="rank-lost", rank=late[0] if len(late) == 1 else None, cause="no answer to other ranks")


def _end_of_log(answer: Ended | Unreached) -> str:
    return f"\nThe end of its log ({answer.path}):\n{answer.log}" if isinstance(answer, Ended) and answer.log else ""
