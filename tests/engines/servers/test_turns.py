"""Trainer and servers on one device: nothing reaches a server that sleeps, and nobody sleeps or wakes without need.

Against the fake server, which keeps what it is asked while it sleeps, as vLLM does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postlude.engines.protocol import Request
from postlude.engines.servers.fleet import Fleet, Member, Patience
from postlude.engines.servers.turns import Turns
from postlude.engines.servers.wire import ServerFailure
from postlude.engines.settings import Sampling, Servers
from tests.fake_vllm import FakeServer, Fault

SLEEPS = ("/sleep", "/wake_up", "/is_sleeping", "/inference/v1/generate")
PATIENCE = Patience(look=0.05, again=0.05, nobody=5.0)


@pytest.fixture
def server(model_folder: Path) -> Generator[FakeServer]:
    with FakeServer(model_folder) as server:
        yield server


@asynccontextmanager
async def shared(server: FakeServer, level: int = 1, admit: Callable[[Member], Awaitable[None]] | None = None):
    """A fleet of one server that is up, with its turns."""
    fleet = Fleet(Servers(urls=(server.url,), timeout=5.0), Path(), urls=[server.url], patience=PATIENCE)
    fleet.admit = admit or fleet.admit
    turns = Turns(fleet, 1 if level == 1 else 2)
    fleet.turn = turns.once_sampling
    await fleet.open()
    server.at.calls.clear()
    try:
        yield fleet, turns
    finally:
        await fleet.close()


def asked(server: FakeServer) -> list[str]:
    return [path for path in server.calls if path in SLEEPS]


async def answer(fleet: Fleet, turns: Turns) -> int:
    """Tokens of an answer, asked for as a sampler does."""
    async with turns.sampling():
        (member,) = await fleet.available()
        return len((await member.server.generate(member.model, Request((5, 6), 0), Sampling(max_tokens=3))).tokens)


def test_turns_change_only_where_the_other_side_comes_in(server: FakeServer) -> None:
    async def run() -> None:
        async with shared(server) as (fleet, turns):
            assert await answer(fleet, turns) == 3
            for _ in range(3):
                async with turns.training():
                    assert not turns.awake and not fleet.ready()
            await asyncio.gather(answer(fleet, turns), answer(fleet, turns))
            assert turns.awake and len(fleet.ready()) == 1

    asyncio.run(run())
    generate, at_the_end = "/inference/v1/generate", "/is_sleeping"  # whether it was left paused
    calls = [generate, "/sleep", "/is_sleeping", "/wake_up", "/is_sleeping", generate, generate]
    assert asked(server) == [*calls, at_the_end]


def test_a_request_never_reaches_a_server_that_sleeps(server: FakeServer) -> None:
    """Answers and optimiser steps that all want the device at once: each of them has it for itself."""

    async def run() -> None:
        async with shared(server) as (fleet, turns):
            trained = 0

            async def step() -> None:
                nonlocal trained
                async with turns.training():
                    assert server.at.asleep and not server.at.jobs
                    await asyncio.sleep(0.01)
                    assert server.at.asleep and not server.at.jobs
                    trained += 1

            work = [step() if i % 3 == 0 else answer(fleet, turns) for i in range(18)]
            assert await asyncio.wait_for(asyncio.gather(*work), 20) == [None if i % 3 == 0 else 3 for i in range(18)]
            assert trained == 6

    asyncio.run(run())


def test_weights_are_published_into_a_server_that_has_room_for_them_alone_and_asked_after(server: FakeServer) -> None:
    async def run() -> None:
        async with shared(server, level=2) as (fleet, turns):
            async with turns.training():
                pass
            async with turns.publishing() as ((member,), rouse):
                assert not fleet.ready() and server.at.sleeping == {"kv_cache"}
                await member.server.reload(server.folder)
                await rouse()
                assert turns.awake and fleet.ready() == [member]
            assert await answer(fleet, turns) == 3

    asyncio.run(run())
    assert server.at.woken == [("weights",), ()]


def test_weights_that_were_dropped_come_back_where_nothing_was_published(server: FakeServer) -> None:
    """Level 2, and answers are wanted again after a pass of the trainer alone: an evaluation, say."""
    admitted: list[str] = []

    async def admit(member: Member) -> None:
        assert not server.at.asleep
        await member.server.reload(server.folder)
        admitted.append(member.state)

    async def run() -> None:
        async with shared(server, level=2, admit=admit) as (fleet, turns):
            before = await tokens(fleet, turns)
            async with turns.training():
                pass
            assert await tokens(fleet, turns) == before

    async def tokens(fleet: Fleet, turns: Turns) -> tuple[int, ...]:
        async with turns.sampling():
            (member,) = fleet.ready()
            return (await member.server.generate(member.model, Request((5, 6), 0), Sampling(max_tokens=8))).tokens

    asyncio.run(run())
    assert len(admitted) == 2


def test_a_server_that_is_started_again_waits_for_the_trainer(server: FakeServer) -> None:
    async def run() -> None:
        async with shared(server) as (fleet, turns):
            (member,) = fleet.ready()
            async with turns.training():
                fleet.ailing(member, "somebody saw it fail")
                server.restart()
                await asyncio.sleep(0.3)
                assert member.state != "ready" and "/inference/v1/generate" not in server.calls
            assert await asyncio.wait_for(answer(fleet, turns), 10) == 3

    asyncio.run(run())


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/sleep", Fault(status=500)),
        ("/sleep", Fault(skip=True)),
        ("/wake_up", Fault(drop=True)),
        ("/wake_up", Fault(skip=True)),
        ("/is_sleeping", Fault(body=b"{}")),
    ],
)
def test_a_server_that_does_not_do_it_is_out_and_comes_back(server: FakeServer, path: str, fault: Fault) -> None:
    async def run() -> None:
        async with shared(server) as (fleet, turns):
            (member,) = fleet.ready()
            server.next(path, fault)
            async with turns.training():
                assert not fleet.ready()
            assert await asyncio.wait_for(answer(fleet, turns), 10) == 3
            assert member.trouble.startswith("it did not "), member.trouble

    asyncio.run(run())


def test_where_a_publication_fails_nothing_is_asked_of_who_slept(server: FakeServer) -> None:
    async def run() -> None:
        async with shared(server, level=2) as (fleet, turns):
            async with turns.training():
                pass
            with pytest.raises(ServerFailure):
                async with turns.publishing() as ((member,), _):
                    await member.server.reload(Path("/nowhere"))
            assert not turns.awake and not fleet.ready()

    asyncio.run(run())
