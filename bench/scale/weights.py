"""Part `weights`: a commit, and a version of the weights on its way to whoever samples, by way and size of model."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.scale.material import MODELS, model, objective, supervised, table, update_of
from postlude.batch import select
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Engine, Part, Rates
from postlude.engines.ranks.engine import RankedEngine
from postlude.engines.servers.publishing import Adapters, Files, Publisher
from postlude.engines.servers.shelf import Shelf
from postlude.engines.servers.wire import VllmServer
from postlude.models.load import inspect
from postlude.models.lora import Lora
from postlude.models.spec import ModelSpec
from postlude.runs import durable
from tests.fake_vllm import FakeServer

RANK, RANKS = 16, 2
"""Of the adapter; processes that train."""


@dataclass(eq=False)
class Served:
    """A server as publishers know it."""

    name: str
    server: VllmServer
    model: str = "policy"


def run(folder: Path) -> bool:
    """On one process: a checkpoint, then files or an adapter to a server. On ranks: gathered for the local sampler."""
    rows = [row for name in MODELS for row in asyncio.run(_of(folder, name))]
    table(("parameters", "trained on", "way", "commit", "MB", "written", "taken"), rows)
    print("commit: weights and optimiser saved and on the disk. written: the version's folder, or the gathered file;")
    print("under files most of it is there by links. taken: by the server, here the tests' own, or the local sampler")
    return True


async def _of(folder: Path, name: str) -> list[tuple[str, ...]]:
    path = model(folder, name)
    rows: list[tuple[str, ...]] = []
    for way, lora, publisher in (("files", None, Files()), ("lora", Lora(RANK), Adapters())):
        engine = LocalEngine.open(str(path), threads=1, token_budget=4096, lora=lora)
        rows.append((name, "one process", way, *await _served(engine, folder / "run", path, publisher)))
        shutil.rmtree(folder / "run")
    async with _ranked(path, folder) as engine:
        rows.append((name, f"{RANKS} ranks", "local sampler", *await _gathered(engine, folder / "run")))
        shutil.rmtree(folder / "run")
    return rows


async def _served(engine: LocalEngine, folder: Path, path: Path, publisher: Publisher) -> tuple[str, ...]:
    shelf = Shelf.open(folder, engine.policy, engine.tokenizer, str(path))
    shelf.place(0)
    with FakeServer(shelf.to_start_from()) as server:
        member = Served("the server", VllmServer(server.url))
        saved, size = await _committed(engine, folder / "step-1")
        began = time.monotonic()
        version = shelf.place(1, folder / "step-1")
        written = time.monotonic() - began
        taken = await _seconds(lambda: publisher.publish([member], 1, version))  # type: ignore[list-item]
        await member.server.close()
    return _cells(saved, size, written, taken)


async def _gathered(engine: RankedEngine, folder: Path) -> tuple[str, ...]:
    saved, size = await _committed(engine, folder / "step-1")
    engine.trainer.ranks.tally.take()
    whole = await _seconds(engine.publish)
    gathered = engine.seconds["gather"]
    return _cells(saved, size, gathered, whole - gathered)


async def _committed(engine: Engine, folder: Path) -> tuple[float, int]:
    """(seconds, bytes) of a checkpoint after an update, as a run writes it."""
    one = select(update_of(0), torch.tensor([0, 1]))  # the optimiser's moments are there after it
    await engine.trainer.update([Part(one, objective())], Rates(1e-5))
    folder.parent.mkdir(parents=True, exist_ok=True)
    seconds = await _seconds(lambda: engine.save(folder))
    began = time.monotonic()
    durable.flush_tree(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return seconds + time.monotonic() - began, size


@asynccontextmanager
async def _ranked(path: Path, folder: Path) -> AsyncGenerator[RankedEngine]:
    ranks = supervised(path, RANKS, [])
    (folder / "run").mkdir()
    engine = await RankedEngine.open(ranks, inspect(ModelSpec(str(path))), folder / "run")
    try:
        yield engine
    finally:
        await engine.close()


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began


def _cells(saved: float, size: int, written: float, taken: float) -> tuple[str, ...]:
    return f"{saved:.2f} s", f"{size / 1e6:,.1f}", f"{written:.2f} s", f"{taken:.2f} s"
