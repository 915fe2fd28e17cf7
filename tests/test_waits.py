"""The watchdog: who is waited for, since when, and from which line. Its clock is set by hand."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from postlude import waits
from postlude.engines.http import place_of
from postlude.words import cut


class Clock:
    """Seconds, as a test sets them."""

    now = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    one = Clock()
    monkeypatch.setattr(waits, "TICK", 60.0)  # the thread looks at nothing
    monkeypatch.setattr(waits, "time", SimpleNamespace(monotonic=lambda: one.now))
    yield one
    assert not waits._watchdogs and not waits.under_way()  # pyright: ignore[reportPrivateUsage]


def test_silence_is_said_at_growing_intervals_with_who_and_where(clock: Clock) -> None:
    said: list[str] = []
    shown: list[str] = []
    watchdog = waits.Watchdog(said.append, shown.append, silence=300, doing=lambda: "phase score of step 2")
    with watchdog, waits.waiting("reward right (my.py:right)", "8 answers"):
        for clock.now in range(0, 3000, 10):
            watchdog.look()
    dogs = [text for text in said if "nothing has moved" in text]
    assert [int(re.findall(r"moved for (\d+) s", text)[0]) for text in dogs] == [300, 600, 1200, 2400]
    first, *frames = dogs[0].split("\n")
    assert first == (
        "nothing has moved for 300 s (phase score of step 2): reward right (my.py:right) has been running for 300 s on "
        "8 answers. The code is at"
    )
    assert re.search(r"test_waits\.py line \d+, in test_silence_is_said.*: watchdog\.look\(\)", frames[-1])
    assert [text for text in said if text not in dogs] == [
        f"reward right (my.py:right) has been running for {n} s on 8 answers" for n in (10, 60, 600)
    ], "and the same is said by itself, once for each who"
    assert shown[0] == "reward right (my.py:right) has been running for 10 s on 8 answers"


def test_what_moves_is_left_alone_and_0_is_never(clock: Clock) -> None:
    said: list[str] = []
    with waits.Watchdog(said.append, silence=300) as watchdog:
        for clock.now in range(0, 3000, 200):
            waits.moved()
            watchdog.look()
        with waits.waiting("the server http://localhost"):
            pass
        clock.now += 299
        watchdog.look()
    with waits.Watchdog(said.append) as watchdog:
        clock.now += 10**6
        watchdog.look()
    assert said == []


def test_the_line_that_a_task_awaits_is_found_while_the_loop_waits_for_all(clock: Clock) -> None:
    said: list[str] = []

    async def hangs() -> None:
        with waits.waiting("reward slow"):
            await asyncio.sleep(3600)

    async def several() -> None:
        tasks = [asyncio.ensure_future(hangs()) for _ in range(3)]
        await asyncio.sleep(0)
        clock.now = 400.0
        watchdog.look()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    with waits.Watchdog(said.append, silence=300) as watchdog:
        asyncio.run(several())
    assert "reward slow has been running for 400 s (and 2 more). " in said[-1]
    assert re.search(r"test_waits\.py line \d+, in hangs: await asyncio\.sleep\(3600\)", said[-1])


def test_the_watchdog_that_was_opened_last_is_the_one_that_says_it(clock: Clock) -> None:
    outer: list[str] = []
    inner: list[str] = []
    with waits.Watchdog(outer.append, silence=300), waits.Watchdog(inner.append, silence=300):
        clock.now = 300.0
        waits.look()
    assert len(inner) == 1 and not outer and "no reward, server or worker is waited for" in inner[0]


def test_a_servers_url_is_shown_without_what_may_hold_a_key() -> None:
    assert place_of("http://localhost:8000/v1?api-key=secret#x") == "http://localhost:8000/v1"


def test_a_server_that_starts_has_a_line_and_a_sentence_and_others_their_words() -> None:
    start = waits.Wait("server 1 (http://x)", verb="starting", since=0.0, doing="starting server 1", limit=900.0)
    assert start.progress(24.0) == "starting server 1: 24 s of at most 900 s"
    start.log = "Loading weights"
    assert start.progress(24.0) == "starting server 1: 24 s of at most 900 s [Loading weights]"
    assert start.text(11.0) == "server 1 (http://x) has been starting for 11 s; its log says: Loading weights"
    asked = waits.Wait("the server http://x", "an answer of up to 16 tokens", "asked", "for", since=0.0)
    assert asked.text(6.0) == "the server http://x has been asked for 6 s for an answer of up to 16 tokens"


def test_only_where_every_wait_ends_by_itself_the_process_counts_as_alive() -> None:
    alive: list[int] = []
    watchdog = waits.Watchdog(print, bounded=lambda: alive.append(1))
    with watchdog, waits.waiting("a server", doing="starting", limit=9.0):
        watchdog.look()
        assert len(alive) == 1
        with waits.waiting("reward slow") as hangs:
            hangs.since -= 100
            watchdog.look()
        assert len(alive) == 1


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [
        ("as it is", 8, "as it is"),
        ("one two three", 9, "one two…"),
        ("one two three", 8, "one two…"),
        ("a" * 9, 5, "aaaa…"),
    ],
)
def test_a_text_is_cut_at_a_word(text: str, most: int, expected: str) -> None:
    assert cut(text, most) == expected and len(cut(text, most)) <= most


def test_a_wait_that_is_usual_is_noted_once_it_takes_twice_as_long(clock: Clock) -> None:
    said: list[str] = []
    with waits.Watchdog(said.append) as watchdog, waits.waiting("the start", verb="under way", usual=30.0):
        for clock.now in (11, 59, 60, 70):
            watchdog.look()
    assert said == ["the start has been under way for 60 s"]


def test_a_part_of_a_wait_is_shown_in_its_place_also_where_another_task_waits(clock: Clock) -> None:
    shown: list[str] = []

    async def part(watchdog: waits.Watchdog) -> None:
        with waits.waiting("the cluster", doing="reaching the cluster"):
            watchdog.look()

    async def whole() -> None:
        start = waits.waiting("the start", doing="starting 2 ranks")
        with waits.Watchdog(lambda text: None, shown.append) as watchdog, start:
            await asyncio.ensure_future(part(watchdog))
            watchdog.look()

    asyncio.run(whole())
    assert shown == ["reaching the cluster: 0 s", "starting 2 ranks: 0 s"]
