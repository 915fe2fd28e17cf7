"""Servers that are kept up: who is ready, what happens to one that fails, and what is said of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from postlude import waits
from postlude.engines.servers.command import Launch
from postlude.engines.servers.fleet import PATIENCE, Fleet, Member, Patience
from postlude.engines.servers.process import ServerProcess
from postlude.engines.servers.wire import VllmServer
from postlude.engines.settings import Servers
from postlude.errors import EngineError, Stopped
from tests.bare_server import Bare, eventually
from tests.underway import HANGS, OwnClock

SWIFT = Patience(look=0.05, health=3.0, silence=60.0, busy=60.0, again=0.05, restart=0.01, nobody=1.0)
"""Of nobody who is slow, since the machine is busy, is it held that they hang."""
STRICT = replace(SWIFT, health=1.0, silence=3.0)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bare]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = Bare(tmp_path / "env")
    yield one
    left = one.left()
    one.end()
    assert left == [] and [*tmp_path.iterdir()] == [one.folder]


class Heard(list[str]):
    """What a fleet says."""


def fleet_of(bare: Bare, count: int = 1, patience: Patience = SWIFT, **settings: object) -> Fleet:
    servers = Servers(count=count, python=str(bare.python), **{"start_timeout": 20.0, **settings})  # type: ignore[arg-type]
    launch = Launch(bare.python, "float32", 64)
    fleet = Fleet(servers, bare.folder / "servers", launch, say=Heard().append, patience=patience)
    fleet.newest = lambda: bare.folder / "v0"
    return fleet


def said_by(fleet: Fleet) -> list[str]:
    return fleet.say.__self__  # type: ignore[attr-defined]


def foreign(*urls: str, patience: Patience = SWIFT, **settings: float) -> Fleet:
    return Fleet(Servers(urls=urls, **settings), Path("/nonexistent"), urls=urls, say=Heard().append, patience=patience)


async def until(what: Callable[[], object], seconds: float = HANGS) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.02)


def with_fleet(fleet: Fleet, work: Callable[[Fleet], Awaitable[None]]) -> None:
    async def main() -> None:
        await fleet.open()
        try:
            await work(fleet)
        finally:
            await fleet.close()

    asyncio.run(main())


def test_all_are_started_at_once_admitted_one_by_one_and_gone_in_the_end(bare: Bare) -> None:
    fleet, inside, order = fleet_of(bare, 2), 0, list[str]()

    async def admit(member: Member) -> None:
        nonlocal inside
        assert not inside and member.state == "starting" and fleet.changing.locked()
        inside += 1
        await asyncio.sleep(0.01)
        inside -= 1
        order.append(member.name)

    async def look(fleet: Fleet) -> None:
        assert sorted(order) == [member.name for member in fleet.members]
        assert fleet.ready() == fleet.members == await fleet.available()
        assert [bool(re.fullmatch(r"server [12] \(http://127\.0\.0\.1:\d+\)", m.name)) for m in fleet.members] == [
            True
        ] * 2
        assert fleet.describe() == {"count": 2, "started_here": True, "vllm": ["0.32.0"]}
        assert len({start["model"] for start in bare.starts}) == 1

    fleet.admit = admit
    with_fleet(fleet, look)
    assert [member.state for member in fleet.members] == ["gone", "gone"] and said_by(fleet) == []
    asyncio.run(fleet.close())


@pytest.mark.parametrize("victim", ["pid", "worker", "stopped"])
def test_one_that_is_killed_or_hangs_is_started_again_and_the_other_goes_on(bare: Bare, victim: str) -> None:
    fleet = fleet_of(bare, 2, STRICT if victim == "stopped" else SWIFT)

    async def kill(fleet: Fleet) -> None:
        ours = next(
            member for member in fleet.members if member.process and member.process.pid == bare.starts[0]["pid"]
        )
        other = next(member for member in fleet.members if member is not ours)
        url, server = ours.server.url, ours.server
        fleet.newest = lambda: bare.folder / "v9"
        if victim == "stopped":
            os.kill(bare.starts[0]["pid"], signal.SIGSTOP)
        else:
            os.kill(bare.starts[0][victim], signal.SIGKILL)
        await until(lambda: ours.state != "ready")
        assert await fleet.available() == [other]
        await until(lambda: ours.state == "ready")
        assert ours.server.url != url and ours.restarts == 1 and len(bare.starts) == 3
        assert bare.starts[2]["model"] == str(bare.folder / "v9"), "the newest weights"
        fleet.ailing(ours, "an answer of long ago failed", server)
        assert ours.state == "ready", "that was of the one before"

    with_fleet(fleet, kill)
    first, last = said_by(fleet)
    why = {
        "pid": r"no connection, or a broken one: .*",
        "worker": "status 503: .*",
        "stopped": r"has not answered /health for \d s",
    }[victim]
    assert re.fullmatch(
        rf"server \d \(http://[\d.:]+\): .*{why}\. It is killed and started again; its log is .*/server-\d.log\.", first
    )
    assert re.fullmatch(r"server \d \(http://[\d.:]+\) is ready again, after \d+ s\.", last)


def test_one_that_others_saw_fail_is_taken_out_at_once(bare: Bare) -> None:
    async def report(fleet: Fleet) -> None:
        (member,) = fleet.members
        fleet.ailing(member, "its answers name no version.", member.server)
        assert fleet.ready() == [] and member.state == "ailing"
        fleet.ailing(member, "the second to say so")
        assert await fleet.available() == [member] and member.restarts == 1

    fleet = fleet_of(bare)
    with_fleet(fleet, report)
    assert (
        "its answers name no version. It is killed and started again" in said_by(fleet)[0] and len(said_by(fleet)) == 2
    )


def test_a_start_that_fails_says_the_end_of_its_log_its_path_and_the_command(bare: Bare) -> None:
    bare.does("die")
    with pytest.raises(EngineError) as caught:
        asyncio.run(fleet_of(bare).open())
    log = bare.folder / "servers/server-1.log"
    assert re.fullmatch(
        r"server 1 \(http://[\d.:]+\) ended \(exit code 1\) before it was healthy\. "
        rf"The end of its log \({log}\):\n.*\nout of memory\n"
        rf"It was started with: {bare.python} -m vllm\.entrypoints\.openai\.api_server --model .*",
        str(caught.value),
        re.DOTALL,
    )


def test_a_start_that_takes_too_long_is_given_up(bare: Bare) -> None:
    bare.does("mute")
    with pytest.raises(EngineError, match=r"was not healthy within 1 s \(.*\)\. The end of its log"):
        asyncio.run(fleet_of(bare, start_timeout=1.0).open())


def test_a_start_is_seen_while_it_lasts_with_what_its_log_says(bare: Bare) -> None:
    bare.does("mute")
    log = r"its log says: \\x1b\[1mloading\\x1b\[0m the model"

    def is_seen() -> bool:
        texts = [wait.text(time.monotonic()) for wait in waits.under_way() if wait.verb == "starting"]
        return any(re.fullmatch(rf"server 1 \(.*\) has been starting for \d+ s; {log}", text) for text in texts)

    async def main() -> None:
        opening = asyncio.create_task(fleet_of(bare, start_timeout=HANGS).open())
        await until(is_seen)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)

    asyncio.run(main())


def test_one_that_does_not_come_up_ends_the_others_too(bare: Bare) -> None:
    bare.does("serve", "die")
    with pytest.raises(EngineError, match="ended"):
        asyncio.run(fleet_of(bare, 2).open())
    assert len(bare.starts) == 2


def test_an_old_version_is_refused(bare: Bare) -> None:
    bare.does("old")
    with pytest.raises(
        EngineError, match=r"is vLLM 0\.31\.1, which does not say which weights sampled a token; 0\.32 is"
    ):
        asyncio.run(fleet_of(bare).open())


def test_another_port_is_taken_where_somebody_has_it(bare: Bare) -> None:
    bare.does("taken", "taken")

    async def look(fleet: Fleet) -> None:
        assert len(bare.starts) == 3 and fleet.members[0].restarts == 0

    with_fleet(fleet_of(bare), look)
    bare.does("taken", "taken", "taken")
    with pytest.raises(EngineError, match="already in use"):
        asyncio.run(fleet_of(bare).open())


def test_three_restarts_without_an_answer_between_them_end_the_run(bare: Bare) -> None:
    async def kill(fleet: Fleet) -> None:
        (member,) = fleet.members
        for answered in (False, False, True, False):
            fleet.ailing(member, "it was silent")
            await fleet.available()
            if answered:
                member.restarts = 0
        assert member.restarts == 1
        bare.does("die", "die")
        fleet.ailing(member, "it was silent")
        with pytest.raises(EngineError) as caught:
            await fleet.available()
        assert re.match(
            r"server 1 \(.*\) failed 4 times without an answer between: server 1 .* ended \(exit code 1\) before it "
            r"was healthy\. The end of its log \(.*server-1-7\.log\):\n.*out of memory\nIt was started with: ",
            str(caught.value),
            re.DOTALL,
        )
        with pytest.raises(EngineError):
            await fleet.available()

    with_fleet(fleet_of(bare), kill)


def test_one_that_comes_up_in_mid_publish_waits_and_ends_at_the_newest(bare: Bare) -> None:
    fleet, newest, has = fleet_of(bare), 1, list[int]()

    async def admit(member: Member) -> None:
        has.append(newest)

    async def publish(fleet: Fleet) -> None:
        nonlocal newest
        (member,) = fleet.members
        async with fleet.changing:
            fleet.ailing(member, "it failed as it was given version 2")
            await until(lambda: len(bare.starts) == 2 and member.version and member.state == "starting")
            await asyncio.sleep(0.5)
            assert fleet.ready() == [] and fleet.in_use() == {bare.folder / "v0"}, "what it reads stays"
            newest = 2
        assert await fleet.available() == [member] and fleet.in_use() == set()

    fleet.admit = admit
    with_fleet(fleet, publish)
    assert has == [1, 2]


class Quiet(VllmServer):
    """Answers at once, or not at all."""

    silent = False

    async def health(self) -> None:
        if self.silent:
            await asyncio.Event().wait()

    async def version(self) -> str:
        return "0.32.0"

    async def is_sleeping(self) -> bool:
        return False


def with_quiet(work: Callable[[Fleet, Member, Quiet], Awaitable[None]]) -> None:
    """With one that runs already, real patience, and a clock that goes on only where everybody waits."""

    async def main() -> None:
        server = Quiet("http://127.0.0.1:9")
        fleet = foreign(server.url, patience=PATIENCE)
        fleet._connect = lambda url: server  # type: ignore[method-assign]
        await fleet.open()
        await work(fleet, fleet.members[0], server)
        await fleet.close()

    with asyncio.Runner(loop_factory=OwnClock) as runner:
        runner.run(main())


def test_one_that_answers_nothing_is_held_for_hung_after_a_while() -> None:
    async def stop(fleet: Fleet, member: Member, server: Quiet) -> None:
        server.silent = True
        await asyncio.sleep(12)
        assert member.state == "ready"
        await asyncio.sleep(12)
        assert member.state == "gone" and re.match(r"it has not answered /health for (1\d|20) s", member.trouble)
        server.silent = False
        await asyncio.sleep(PATIENCE.again + 1)
        assert member.state == "ready"

    with_quiet(stop)


def test_one_that_is_slow_while_weights_change_or_asleep_is_left_alone_for_longer() -> None:
    async def stop(fleet: Fleet, member: Member, server: Quiet) -> None:
        async with fleet.changing:
            server.silent = True
            await asyncio.sleep(50)
            server.silent = False
            await asyncio.sleep(5)
        member.state, server.silent = "asleep", True
        await asyncio.sleep(50)
        assert member.state == "asleep"
        await asyncio.sleep(20)
        assert member.state == "gone" and re.match(r"it has not answered /health for 6\d s", member.trouble)

    with_quiet(stop)


def test_a_loop_that_was_busy_itself_holds_nobody_for_hung() -> None:
    async def block(fleet: Fleet, member: Member, server: Quiet) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, OwnClock)
        for _ in range(5):
            server.silent = True
            await asyncio.sleep(PATIENCE.look + 1)  # it was asked, and cannot be heard
            loop.be_busy(40)
            server.silent = False
            await asyncio.sleep(5)
            assert member.state == "ready" and not member.trouble

    with_quiet(block)


def test_a_restart_waits_for_the_servers_turn(bare: Bare) -> None:
    fleet, turn = fleet_of(bare), asyncio.Event()

    @asynccontextmanager
    async def of_servers():
        await turn.wait()
        yield

    async def kill(fleet: Fleet) -> None:
        (member,) = fleet.members
        turn.clear()
        member.state = "asleep"
        os.kill(bare.starts[0]["worker"], signal.SIGKILL)
        await until(lambda: not bare.left())
        await asyncio.sleep(0.2)
        assert len(bare.starts) == 1 and member.state == "ailing"
        turn.set()
        assert await fleet.available() == [member]

    fleet.turn = of_servers
    turn.set()
    with_fleet(fleet, kill)


def test_a_foreign_server_is_left_out_and_taken_back(bare: Bare) -> None:
    process = ServerProcess(Launch(bare.python, "float32", 64), 0, bare.folder / "v0", bare.folder / "servers")
    fleet = foreign(process.url, patience=replace(STRICT))

    async def stop(fleet: Fleet) -> None:
        (member,) = fleet.members
        os.kill(bare.starts[0]["pid"], signal.SIGSTOP)
        await until(lambda: member.state == "gone")
        with pytest.raises(EngineError, match=r"no vLLM server was ready for 1 s: server 1 \(.*\) is gone \(.*/health"):
            await fleet.available()
        os.kill(bare.starts[0]["pid"], signal.SIGCONT)
        await until(fleet.ready)
        assert re.search(r"\): it has not answered /health for .* left out, and tried again every", said_by(fleet)[0])
        assert said_by(fleet)[-1] == f"{member.name} is ready again."
        fleet.ailing(member, f"{member.name}: other log-probs.")
        await until(lambda: any("other log-probs. It is left out" in text for text in said_by(fleet)))
        (said,) = [text for text in said_by(fleet) if "other log-probs" in text]
        assert said.count(member.name) == 1, "said once"

    try:
        with_fleet(fleet, stop)
        assert process.ended() is None, "it is not ours to stop"
    finally:
        assert process.end(at_once=True)


def test_a_foreign_server_that_is_not_there_is_a_sentence() -> None:
    """It may be loading: `start_timeout` says for how long."""
    with pytest.raises(EngineError) as caught:
        asyncio.run(foreign("http://127.0.0.1:9", start_timeout=1.0).open())
    assert re.fullmatch(
        r"server 1 \(http://127\.0\.0\.1:9\) was not healthy within 1 s \(.*\)\. Is it running, and reachable from "
        r"here\? See engine\.servers\.urls\.",
        str(caught.value),
    )


def test_all_that_fail_at_the_start_are_named() -> None:
    with pytest.raises(EngineError) as caught:
        asyncio.run(foreign("http://127.0.0.1:9", "http://127.0.0.1:11", start_timeout=0.5).open())
    first, second = str(caught.value).splitlines()
    assert first.startswith("server 1 (http://127.0.0.1:9) was not healthy")
    assert second.startswith("server 2 (http://127.0.0.1:11) was not healthy")
    assert caught.value.code == "server-unreachable"


@pytest.mark.parametrize(
    ("status", "path", "seen"),
    [
        (404, "/health", "404 at /health"),
        (302, "/health", "302 at /health"),
        (404, "/version", "404 at /version"),
        (200, "/version", "its /version is not vLLM's"),
    ],
)
def test_what_answers_and_is_no_vllm_server_is_refused_at_once(status: int, path: str, seen: str) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == path else 200)
            self.end_headers()
            self.wfile.write(b"<!DOCTYPE HTML>\n<html><p>Nothing here.</html>")

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        with pytest.raises(EngineError) as caught:
            asyncio.run(foreign(url).open())
        other.shutdown()
    text = f"something answers at {url}, and it is no vLLM server ({seen}). See engine.servers.urls."
    assert str(caught.value) == text


def test_nobody_waits_for_a_server_once_the_run_is_to_end(bare: Bare) -> None:
    bare.does("mute")
    fleet = fleet_of(bare)
    fleet.stopping = lambda: bool(bare.starts)
    with pytest.raises(Stopped):
        asyncio.run(fleet.open())
    assert bare.left() == []

    async def kill(fleet: Fleet) -> None:
        fleet.stopping = lambda: True
        assert await fleet.available() == fleet.members, "the step is finished where one is ready"
        fleet.ailing(fleet.members[0], "it was silent")
        with pytest.raises(Stopped):
            await fleet.available()

    with_fleet(fleet_of(bare), kill)


def test_what_admission_refuses_ends_the_start(bare: Bare) -> None:
    fleet = fleet_of(bare)

    async def refuse(member: Member) -> None:
        raise EngineError(f"{member.name}: log-probs differ", code="server-refused")

    fleet.admit = refuse
    with pytest.raises(EngineError, match="log-probs differ"):
        asyncio.run(fleet.open())


def test_a_mistake_of_ours_while_looking_after_a_server_ends_the_run(bare: Bare) -> None:
    async def kill(fleet: Fleet) -> None:
        fleet.newest = lambda: 1 / 0  # type: ignore[assignment, return-value]
        fleet.ailing(fleet.members[0], "it was silent")
        with pytest.raises(ZeroDivisionError):
            await fleet.available()

    with_fleet(fleet_of(bare), kill)


def test_looks_at_health_are_no_sign_that_anything_moves(bare: Bare) -> None:
    async def look(fleet: Fleet) -> None:
        before = waits._moved  # pyright: ignore[reportPrivateUsage]
        await asyncio.sleep(0.5)
        assert waits._moved == before  # pyright: ignore[reportPrivateUsage]

    with_fleet(fleet_of(bare, patience=replace(SWIFT, look=0.02)), look)


def test_nothing_of_a_fleet_is_left_where_opening_is_cancelled(bare: Bare) -> None:
    bare.does("mute")

    async def main() -> None:
        opening = asyncio.create_task(fleet_of(bare).open())
        await until(lambda: bare.starts)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    asyncio.run(main())
    eventually(lambda: not bare.left())
