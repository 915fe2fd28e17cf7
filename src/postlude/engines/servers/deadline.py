"""How long another may take to reply, as long as this process has the time to listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

QUICK = 10.0
"""Seconds for a call that only reads or sets a word, and to connect."""
LATE = 1.0
"""Seconds after a deadline from which on it was this process that was busy, and nobody else who was silent."""


@asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[None]:
    """A limit of time for another's reply. TimeoutError where it is over; where this process had no time to read one by
    then, in a reward of its user's, say, it begins anew, once and up to QUICK seconds."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def over() -> None:
            late = loop.time() - due > LATE
            limit.reschedule(loop.time() + (min(seconds, QUICK) if late else 0.0))

        due = loop.time() + seconds
        timer = loop.call_at(due, over)
        try:
            yield
        finally:
            timer.cancel()
