"""The servers of a run: started or connected, looked after, restarted; who of them is ready to be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from postlude.engines.servers.command import NAME, Launch
from postlude.engines.servers.deadline import QUICK, within
from postlude.engines.servers.interpreter import too_old
from postlude.engines.servers.patience import PATIENCE, Patience
from postlude.engines.servers.process import ServerProcess
from postlude.engines.servers.wire import ServerFailure, VllmServer
from postlude.engines.settings import Servers
from postlude.errors import EngineError, Stopped
from postlude.waits import waiting

PORTS = 3
"""Ports that are tried where others take them."""
RESTARTS = 3
"""Of a server without an answer between them: then the run ends."""


@dataclass(eq=False)
class Member:
    """One server, as everybody sees it. Fields change when it is started again: read them anew for each request."""

    name: str
    """For people: `server 1 (http://127.0.0.1:41233)`."""
    server: VllmServer
    process: ServerProcess | None
    """None of `urls`."""
    state: Literal["starting", "ready", "ailing", "asleep", "gone"] = "starting"
    under_way: int = 0
    """Tokens asked for and not answered."""
    model: str = NAME
    """What requests name: `policy`, under LoRA `v7`."""
    version: str = ""
    """Of vLLM, such as 0.32.0."""
    restarts: int = 0
    """Since its last answer: whoever gets one from it sets this to 0."""
    trouble: str = ""
    """Why it is ailing, or was last."""
    reported: asyncio.Event = field(default_factory=asyncio.Event)
    """Set where somebody saw it fail."""


class Fleet:
    """Servers that are kept up while it is open.

    They are looked at through `/health`; that a process lives says nothing. One that fails is taken out at once, killed
    with all it started, started again on `newest()`, admitted, and ready; one of `urls` is left out and tried again.
    The others go on. None becomes ready but by `admit`, under `changing`: whoever publishes holds that as well, so a
    server that comes up meanwhile ends at the newest version.
    """

    def __init__(
        self,
        settings: Servers,
        folder: Path,
        launch: Launch | None = None,
        urls: Sequence[str] = (),
        say: Callable[[str], None] = lambda text: None,
        patience: Patience | None = None,
    ) -> None:
        """`folder` is for logs. Either `launch` says what `settings.count` servers are started with, or `urls` (as
        `addresses.private_urls` gives them) where they are."""
        self.settings, self.folder, self.launch, self.urls = settings, folder, launch, urls
        self.members: list[Member] = []
        self.run = token_hex(4)
        """Of labels and adapters' names on servers: no other process gives the same."""
        self.say, self.patience = say, patience or PATIENCE
        self.admit: Callable[[Member], Awaitable[None]] = _admitted
        """Bring it to the newest version and see that it samples from that. Raises EngineError."""
        self.newest: Callable[[], Path] = _no_folder
        """The folder that a server which starts is given."""
        self.turn: Callable[[], AbstractAsyncContextManager[object]] = nullcontext
        """Entered by who starts a server again: where the trainer has the GPU, it waits."""
        self.stopping: Callable[[], bool] = lambda: False
        """Whether whoever has this fleet is asked to end: then nobody waits for a server that is not ready."""
        self.changing = asyncio.Lock()
        """Held by who changes weights. Whoever holds it must not wait for `available`."""
        self._care: list[asyncio.Task[None]] = []
        self._end: BaseException | None = None
        """Why the run cannot go on."""

    # ------------------------------------------------------------------------------------------------- for others

    async def open(self) -> None:
        """All started in parallel, or connected; healthy, and admitted. Raises EngineError, or Stopped where whoever
        has it is asked to end meanwhile, and leaves nothing then."""
        try:
            for index, url in enumerate(self.urls):
                self.members.append(Member(f"server {index + 1} ({url})", self._connect(url), None))
            for index in range(0 if self.urls else self.settings.count or 0):
                process = self._start(index)
                self.members.append(Member(_name(index, process), self._connect(process.url), process))
            await self._bring_all_up()
            self._require_wanted()
        except BaseException:
            await self.close()
            raise
        for member in self.members:
            task = asyncio.create_task(self._look_after(member))
            task.add_done_callback(self._done)
            self._care.append(task)

    def ready(self) -> list[Member]:
        """Who may be asked."""
        return [member for member in self.members if member.state == "ready"]

    async def available(self) -> list[Member]:
        """The same, once there is one. Raises EngineError where a server is given up, or none is ready for too long;
        Stopped where none is and the run is asked to end."""
        began = _now()
        longest = self.patience.nobody + (self.settings.start_timeout if self.launch else 0.0)
        with waiting("a vLLM server", self._states(), "awaited", link="while", limit=longest) as wait:
            while True:
                if self._end is not None:
                    raise self._end
                if members := self.ready():
                    return members
                self._require_wanted()
                wait.what = self._states()
                if _now() - began > longest:
                    raise EngineError(
                        f"no vLLM server was ready for {longest:.0f} s: {self._states()}.", code="server-unreachable"
                    )
                await asyncio.sleep(0.05)

    def _require_wanted(self) -> None:
        if self.stopping():
            raise Stopped("asked to end: no vLLM server is waited for any more", code="server-unreachable")

    def ailing(self, member: Member, why: str, server: VllmServer | None = None) -> None:
        """Somebody saw it fail: it is taken out at once. `server` is what was asked: where that was replaced since,
        nothing is done."""
        if member.state in ("ready", "asleep") and server in (None, member.server):
            member.state, member.trouble = "ailing", why
            member.reported.set()

    async def _stop(self, process: ServerProcess, at_once: bool = False) -> None:
        if not await process.stop(at_once):
            self.say(
                f"a vLLM server could not be killed, and holds its memory: see {process.log}, and the processes of "
                "this machine."
            )

    async def _let_answer(self, member: Member) -> None:
        """One that somebody else started goes on where a publication that failed left it paused."""
        paused = False
        try:
            async with within(QUICK):
                paused = await member.server.is_sleeping()
                if paused:
                    await member.server.resume()
        except (ServerFailure, TimeoutError) as failure:
            if paused:
                self.say(f"{member.name} is left paused ({failure}): POST /resume lets it answer again.")

    async def close(self) -> None:
        """Nobody is looked after any more, and nothing of ours runs. Harmless where it was never open."""
        for task in self._care:
            task.cancel()
        await asyncio.gather(*self._care, return_exceptions=True)
        self._care.clear()
        for member in self.members:
            member.state = "gone"
        await asyncio.gather(*(self._stop(m.process) for m in self.members if m.process is not None))
        await asyncio.gather(*(self._let_answer(m) for m in self.members if m.process is None and m.version))
        await asyncio.gather(*(member.server.close() for member in self.members))

    def in_use(self) -> set[Path]:
        """Folders that servers which start are reading: a start takes longer than many a step."""
        return {member.process.model for member in self.members if member.process and member.state == "starting"}

    def describe(self) -> Mapping[str, Any]:
        """Facts for the manifest."""
        return {
            "count": len(self.members),
            "started_here": self.launch is not None,
            "vllm": sorted({member.version for member in self.members}),
        }

    # ------------------------------------------------------------------------------------------------- coming up

    def _connect(self, url: str) -> VllmServer:
        return VllmServer(url, self.settings.timeout, self.settings.concurrency, self.run)

    def _start(self, index: int) -> ServerProcess:
        assert self.launch is not None
        return ServerProcess(self.launch, index, self.newest(), self.folder)

    async def _bring_all_up(self) -> None:
        """Raises what was wrong: of all that fail with the first, as servers do that have a cause in common."""
        tasks = [asyncio.create_task(self._bring_up(member, restart=False)) for member in self.members]
        try:
            _, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            if others and not self.stopping():
                await asyncio.wait(others, timeout=self.patience.others)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
        if errors:
            raise _joined(errors)

    async def _bring_up(self, member: Member, restart: bool = True) -> None:
        """Until it is ready. Raises EngineError."""
        async with self.turn():
            if restart and member.process is not None:
                await self._replace(member)
            member.state = "starting"
            await self._healthy(member)
            try:
                member.version = await _version_of(member)
                if (why := too_old(member.version)) is not None:
                    raise EngineError(f"{member.name} is vLLM {member.version}, {why}", code="server-refused")
                if member.process is None and await member.server.is_sleeping():
                    await (
                        member.server.wake()
                    )  # put to sleep, or paused, by somebody who is gone: it would never answer
                async with self.changing:
                    await self.admit(member)
                    member.reported.clear()
                    member.state = "ready"
            except ServerFailure as failure:
                raise EngineError(f"{member.name}: {failure}", code="server-refused") from failure

    async def _replace(self, member: Member) -> None:
        """A new process instead of the old, which is dead. Its port is another, so nothing reaches it by accident."""
        index = self.members.index(member)
        await member.server.close()
        member.process = self._start(index)
        member.server, member.name = self._connect(member.process.url), _name(index, member.process)
        member.model = NAME

    async def _healthy(self, member: Member) -> None:
        longest, opening = self.settings.start_timeout, not self._care
        until, ports = _now() + longest, 1
        verb, doing = ("starting", "starting") if member.process is not None else ("awaited", "waiting for")
        doing = f"{doing} {member.name.partition(' (')[0]}"
        with waiting(member.name, verb=verb, doing=doing, limit=longest) as wait:
            while True:
                failure = await self._ask_health(member)
                if failure is None:
                    return
                if opening:
                    self._require_wanted()
                process = member.process
                if process is None:
                    wait.what = failure.text
                    _require_no_stranger(member, failure)
                else:
                    wait.log = process.newest_line()
                    if process.port_was_taken() and ports < PORTS:
                        ports += 1
                        await self._stop(process, at_once=True)
                        await self._replace(member)
                    elif (how := process.ended()) is not None:
                        raise _not_up(member, f"ended ({how}) before it was healthy", process)
                if _now() > until:
                    raise _not_up(member, f"was not healthy within {longest:.0f} s ({failure})", process)
                await asyncio.sleep(min(0.5, self.patience.look))

    # ------------------------------------------------------------------------------------------------ looking after

    async def _ask_health(self, member: Member) -> ServerFailure | None:
        """Why it is not healthy."""
        try:
            async with within(self.patience.health):
                await member.server.health()
        except TimeoutError:
            return ServerFailure("timeout", f"/health: no reply within {self.patience.health:g} s")
        except ServerFailure as failure:
            return failure
        return None

    async def _look_after(self, member: Member) -> None:
        while True:
            why = await self._trouble(member)
            member.state, member.trouble = "ailing", why
            if member.process is None:
                await self._try_again(member)
            else:
                await self._restart(member, member.process)

    async def _trouble(self, member: Member) -> str:
        """Returns when it fails, with why: by what others saw, or by its health."""
        refused, heard = False, _now()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2 if refused else self.patience.look):
                    await member.reported.wait()
                return member.trouble
            began = _now()
            failure = await self._ask_health(member)
            if failure is None:
                refused, heard = False, _now()
            elif failure.kind == "timeout":
                now = _now()
                busy = self.changing.locked() or member.state == "asleep"
                if now - began > self.patience.health + 1.0:
                    heard = now  # our own process was busy, and read nothing
                elif now - heard > (self.patience.busy if busy else self.patience.silence):
                    return f"it has not answered /health for {now - heard:.0f} s"
            elif refused or failure.kind == "status":
                return failure.text
            else:
                refused = True  # once may be a connection that was closed as we used it

    async def _restart(self, member: Member, process: ServerProcess) -> None:
        while True:
            how = process.ended()
            self.say(
                f"{_named(member)}{f' ({how})' if how else ''}. It is killed and started "
                f"again; its log is {process.log}."
            )
            await self._stop(process, at_once=True)
            member.restarts += 1
            if member.restarts > RESTARTS:
                member.state = "gone"
                raise EngineError(
                    f"{member.name} failed {member.restarts} times without an answer between: "
                    f"{member.trouble.rstrip('.')}. {process.account()}",
                    code="server-unreachable",
                )
            await asyncio.sleep(self.patience.restart * (member.restarts - 1))
            began = _now()
            try:
                await self._bring_up(member)
            except EngineError as error:
                member.state, member.trouble = "ailing", str(error).partition("\n")[0]
                process = member.process or process
                continue
            self.say(f"{member.name} is ready again, after {_now() - began:.0f} s.")
            return

    async def _try_again(self, member: Member) -> None:
        member.state = "gone"
        self.say(f"{_named(member)}. It is left out, and tried again every {self.patience.again:g} s.")
        while True:
            await asyncio.sleep(self.patience.again)
            if (failure := await self._ask_health(member)) is None:
                try:
                    await self._bring_up(member)
                except EngineError as error:
                    member.state, member.trouble = "gone", str(error).partition("\n")[0]
                else:
                    self.say(f"{member.name} is ready again.")
                    return
            else:
                member.trouble = failure.text

    def _done(self, task: asyncio.Task[None]) -> None:
        """Whatever ends looking after a server ends the run: the next that waits for one hears of it."""
        if not task.cancelled() and self._end is None:
            self._end = task.exception()

    def _states(self) -> str:
        return "; ".join(
            f"{member.name} is {member.state}" + (f" ({_bare(member)})" if member.trouble else "")
            for member in self.members
        )


def _bare(member: Member) -> str:
    """Its trouble, without the name that it may begin with."""
    return member.trouble.removeprefix(member.name).removeprefix(":").strip()


def _named(member: Member) -> str:
    """The same behind its name, without a full stop."""
    trouble = member.trouble.rstrip(".")
    return trouble if trouble.startswith(member.name) else f"{member.name}: {trouble}"


def _now() -> float:
    """Seconds, by the clock that waits go by."""
    return asyncio.get_running_loop().time()


def _name(index: int, process: ServerProcess) -> str:
    return f"server {index + 1} ({process.url})"


def _joined(errors: Sequence[BaseException]) -> BaseException:
    """All that servers failed by, as one; before them whatever else it was."""
    failures = [error for error in errors if isinstance(error, EngineError) and not isinstance(error, Stopped)]
    others = [error for error in errors if error not in failures]
    if others or len(failures) == 1:
        return [*others, *failures][0]
    return EngineError("\n".join(map(str, failures)), code=failures[0].code)


def _not_up(member: Member, what: str, process: ServerProcess | None) -> EngineError:
    text = f"{member.name} {what}."
    if process is None:
        text += " Is it running, and reachable from here? See engine.servers.urls."
    else:
        text += f" {process.account()}"
    return EngineError(text, code="server-unreachable")


async def _version_of(member: Member) -> str:
    """Of vLLM. Raises ServerFailure, or EngineError where something else is there."""
    try:
        return await member.server.version()
    except ServerFailure as failure:
        if member.process is None and failure.kind == "answer":
            raise _stranger(member, "its /version is not vLLM's") from failure
        _require_no_stranger(member, failure)
        raise


def _require_no_stranger(member: Member, failure: ServerFailure) -> None:
    """A vLLM server that loads answers nothing, or by way of a gateway 5xx: another status is somebody else's."""
    path, status = failure.text.partition(":")[0], failure.status or 0
    if member.process is None and failure.kind == "status" and status < 500:
        raise _stranger(member, f"{status} at {path}")


def _stranger(member: Member, seen: str) -> EngineError:
    return EngineError(
        f"something answers at {member.server.url}, and it is no vLLM server ({seen}). See engine.servers.urls.",
        code="server-refused",
    )


async def _admitted(member: Member) -> None:
    """Whoever opens a fleet says what a server must pass."""


def _no_folder() -> Path:
    raise AssertionError("a fleet that starts servers is given the folder of their weights")
