"""Servers for a policy that stays as it is: started on a model's folder when they are first asked, for one command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from postlude.data import Completion
from postlude.engines.protocol import Progress, Request, Weights
from postlude.engines.servers.command import Launch
from postlude.engines.servers.fleet import Fleet, Member
from postlude.engines.servers.pool import PoolSampler
from postlude.engines.servers.starting import launch_of
from postlude.engines.servers.wire import ServerFailure, adapter_name
from postlude.engines.settings import Local, Sampling, Servers
from postlude.errors import ConfigError, EngineError, PostludeError
from postlude.models.adapters import base_path, is_adapter, read_config
from postlude.models.load import Facts, device_of
from postlude.models.paths import folder_of
from postlude.scratch import Scratch

VERSION = 0
"""Of weights that are never trained."""
STEP = 1024
"""Tokens of prompt and answer that servers are started for are a multiple of this: few calls want longer ones."""
LAST = 60.0
"""Seconds that stopping may take."""


@dataclass(frozen=True)
class FrozenModel:
    """What servers are started on."""

    folder: Path
    adapter: Path | None
    """On it, where the policy is one."""
    context: int | None
    """Tokens of its longest sequence."""

    @classmethod
    def at(cls, path: str, context: int | None) -> FrozenModel:
        """Of a folder or hub id that is on this machine. Raises ConfigError."""
        adapter = Path(path).expanduser().absolute() if is_adapter(path) else None
        return cls(folder_of(base_path(path)), adapter, context)


class FrozenServers:
    """A `Sampler` over vLLM servers that are its own. Any event loop may ask: they have one in a thread of their own,
    until `close`."""

    version = VERSION

    def __init__(
        self, model: FrozenModel, settings: Servers, launch: Launch, facts: Facts, say: Callable[[str], None]
    ) -> None:
        self.model, self.settings, self.launch, self.facts, self.say = model, settings, launch, facts, say
        self.on_progress: Callable[[Progress], None] | None = None
        self.on_smaller: Callable[[str], None] = lambda text: None
        self.vllm = ""
        """The version that answered."""
        self._logs: Scratch | None = None
        """Gone at the end, unless something failed."""
        self._length = 0
        self._fleet: Fleet | None = None
        self._pool: PoolSampler | None = None
        self._failed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postlude servers", daemon=True)
        self._asking = asyncio.Lock()

    @classmethod
    def of(cls, path: str, held: Local, facts: Facts, say: Callable[[str], None]) -> FrozenServers:
        """What `engine.servers` of a recipe, or its stand-in on the command line, asks for. Starts nothing yet.

        Raises ConfigError where an interpreter lacks vllm, devices are too few, or the settings cannot be.
        """
        settings = held.servers
        assert settings is not None
        if held.dtype == "float64":
            raise ConfigError("engine.dtype is float64, which vLLM does not have. Take float32.", code="not-supported")
        model = FrozenModel.at(path, facts.context)
        alone = replace(held, servers=replace(settings, colocate=True))  # nobody trains: every GPU is theirs
        rank = _rank(model.adapter) if model.adapter else None
        launch = launch_of(alone, longest=0, seed=0, rank=rank, way="files", gpus=_gpus(held))
        return cls(model, settings, replace(launch, sleeps=False), facts, say)

    # ------------------------------------------------------------------------------------------------ a sampler

    async def load(self, weights: Weights) -> None:
        """Its weights are those of a folder: EngineError."""
        raise EngineError("a policy behind a server stays as it is: it cannot be trained", code="not-supported")

    def give_way(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        """Nothing: the memory is the servers'."""
        return False

    async def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """Completions as they finish; where none was asked for before, once servers have started."""
        here, inbox = asyncio.get_running_loop(), asyncio.Queue[tuple[int, Completion] | Progress | None]()

        def put(item: tuple[int, Completion] | Progress | None) -> None:
            with suppress(RuntimeError):  # whoever asked is gone
                here.call_soon_threadsafe(inbox.put_nowait, item)

        work = self._run(self._answer(requests, sampling, put))
        work.add_done_callback(lambda done: put(None))
        try:
            while (item := await inbox.get()) is not None:
                if not isinstance(item, Progress):
                    yield item
                elif self.on_progress is not None:
                    self.on_progress(item)
            work.result()
        finally:
            work.cancel()

    def about(self) -> dict[str, Any]:
        """Who answered, for a report."""
        return {"served": {"servers": self.settings.count, "vllm": self.vllm}}

    def close(self) -> None:
        """Stop the servers; harmless where none was started. Their logs go, unless something failed."""
        if not self._thread.is_alive():
            return
        with suppress(TimeoutError):
            self._run(self._end()).result(LAST)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LAST)
        if self._logs is not None and self._failed:
            self._logs.keep(*(path.name for path in self._logs.place.glob("*.log")))
        elif self._logs is not None:
            self._logs.drop()

    # ------------------------------------------------------------------------------------- in the servers' thread

    def _run(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        if not self._thread.is_alive():
            self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _answer(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        put: Callable[[tuple[int, Completion] | Progress], None],
    ) -> None:
        try:
            async with self._asking:
                pool = await self._ready(max((len(r.prompt) for r in requests), default=0) + sampling.max_tokens)
            pool.on_progress = put
            put(Progress(total=len(requests)))  # asked from now on
            async for item in pool.sample(requests, sampling):
                put(item)
        except PostludeError:
            self._failed = True
            raise

    async def _ready(self, length: int) -> PoolSampler:
        """Servers that take sequences of so many tokens; others are stopped before."""
        if self._pool is not None and length <= self._length:
            return self._pool
        await self._stop()
        self._length = -(-length // STEP) * STEP
        self._length = min(self._length, self.model.context or self._length)
        self._logs = self._logs or Scratch("postlude-servers-")
        fleet = Fleet(self.settings, self._logs.place, replace(self.launch, max_length=self._length), say=self.say)
        fleet.newest, fleet.admit = lambda: self.model.folder, self._admit
        await fleet.open()
        self._fleet = fleet
        facts = self.facts
        self._pool = PoolSampler(fleet, {VERSION}, facts.tokenizer, facts.stop_ids, facts.vocabulary, self.settings)
        return self._pool

    async def _admit(self, member: Member) -> None:
        """Name its weights, or load the adapter: they are what it was started with."""
        try:
            self.vllm = await member.server.version()
            if self.model.adapter is None:
                await member.server.label(VERSION)
            else:
                await member.server.load_adapter(adapter_name(VERSION), self.model.adapter)
                member.model = adapter_name(VERSION)
        except ServerFailure as failure:
            way = " Merge it first: postlude export." if self.model.adapter else ""
            raise EngineError(f"{member.name}: {failure}.{way}", code="server-refused") from failure

    async def _end(self) -> None:
        async with self._asking:  # who was stopped in the middle of a start takes it back first
            await self._stop()

    async def _stop(self) -> None:
        if self._fleet is not None:
            await self._fleet.close()
        self._fleet = self._pool = None


def _rank(adapter: Path) -> int:
    """Of an adapter's folder: the largest of its layers'."""
    config = read_config(str(adapter))
    others: dict[str, int] = config.get("rank_pattern") or {}
    return max(config["r"], *others.values()) if others else int(config["r"])


def _gpus(held: Local) -> int:
    """Those that are here, if the model goes to one."""
    if device_of(held).type != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()
