"""Checkpoints that one number of ranks wrote, read by another: what differs, how large they are, how long it takes."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from postlude.engines.ranks.crew import Blueprint, Counters
from postlude.engines.ranks.rank import Rank
from postlude.engines.ranks.unwritten import require_written
from postlude.engines.settings import Local, Optimizer
from postlude.models.pieces import Pieces
from postlude.models.quiet import quiet
from postlude.models.spec import ModelSpec
from postlude.models.tiny import save_tiny_model
from tests.ranks import Processes

SIZE: Mapping[str, Any] = {"layers": 10, "width": 512, "heads": 8}
"""31 M parameters: 125 MB of weights in float32, and twice that of moments."""
COUNTERS = Counters(version=3, skipped=0)
IN_PARTS = "bench.scale_ranks.in_parts:EACH"


def run(folder: Path) -> bool:
    """2 ranks resumed with 1 and 3, 1 with 2; the optimiser in one file and in parts."""
    shutil.rmtree(folder, ignore_errors=True)
    save_tiny_model(folder / "model", **SIZE)
    return measure(folder, folder / "model")


def measure(folder: Path, model: Path) -> bool:
    """Of any model. Each checkpoint but the first is of ranks that read another's; `p`: its optimiser is in parts."""
    plan = Blueprint(ModelSpec(str(model)), Optimizer(), Local(token_budget=512, threads=1), 0)
    print(f"{'written by':<12}{'again by':<10}{'load s':>8}{'save s':>8}{'MB':>8}  difference")
    first = folder / "1"
    with quiet():
        _print("-", "1", 0.0, _seconds(lambda: _trained(plan).write(first)), first, 0.0)
    worst = 0.0
    for size, sources in ((2, ["1"]), (3, ["2", "2p"])):
        with closing(_Crew(size)) as ranks:
            for parts in (False, True):
                ranks.ask("build", replace(plan, imports=(IN_PARTS,) if parts else ()))
                for source in sources:
                    worst = max(worst, _pass_on(ranks, folder, source, parts))
    for source in ("2", "2p", "2p-3p"):
        worst = max(worst, _read_alone(plan, folder, source))
    return worst == 0.0


def _read_alone(plan: Blueprint, folder: Path, source: str) -> float:
    """Let one process read a checkpoint and write it again."""
    engine, place = Rank(plan).engine, folder / "again"
    with quiet():
        load, save = _seconds(lambda: engine.take_up(folder / source)), _seconds(lambda: engine.write(place))
    apart = difference(folder / "1", place)
    _print(source, "1", load, save, place, apart)
    shutil.rmtree(place)
    return apart


class _Crew(Processes):
    def ask(self, method: str, shared: Any) -> list[Any]:
        return asyncio.run(self.call(method, shared))

    def close(self) -> None:  # type: ignore[override]
        self.end()


def _pass_on(ranks: _Crew, folder: Path, source: str, parts: bool) -> float:
    """Let ranks read a checkpoint and write it again."""
    name = f"{'' if source == '1' else f'{source}-'}{ranks.size}{'p' if parts else ''}"
    load = _seconds(lambda: ranks.ask("load", (folder / source, True)))
    save = _seconds(lambda: require_written(ranks.ask("save", (folder / name, COUNTERS)), folder))
    apart = difference(folder / "1", folder / name)
    _print(source, f"{ranks.size}{'p' if parts else ''}", load, save, folder / name, apart)
    return apart


def _print(source: str, reader: str, load: float, save: float, written: Path, apart: float) -> None:
    size = sum(file.stat().st_size for file in written.rglob("*") if file.is_file())
    print(f"{source:<12}{reader:<10}{load:>8.2f}{save:>8.2f}{size / 1e6:>8.0f}  {apart}", flush=True)


def _trained(plan: Blueprint) -> Any:
    """An engine of one process with moments, after a step on a gradient of chance."""
    engine = Rank(plan).engine
    trainer = engine.trainer
    draws = torch.Generator().manual_seed(1)
    for _, _, owned in trainer.named:
        owned.grad = torch.randn(owned.shape, generator=draws)
    trainer.step(0.001)
    trainer.version = COUNTERS.version
    return engine


def difference(one: Path, other: Path) -> float:
    """The largest between two checkpoints' weights, moments and masters; infinite where one lacks any."""
    return max(
        _apart(sorted(one.glob("model*.safetensors")), sorted(other.glob("model*.safetensors"))),
        _apart(_optimizer(one), _optimizer(other)),
    )


def _optimizer(checkpoint: Path) -> list[Path]:
    whole = checkpoint / "trainer" / "optimizer.safetensors"
    return [whole] if whole.exists() else sorted((checkpoint / "trainer" / "parts").iterdir())


def _apart(one: list[Path], other: list[Path]) -> float:
    with Pieces(one) as ours, Pieces(other) as theirs:
        if ours.names != theirs.names:
            return float("inf")
        return max(_distance(ours.read(name), theirs.read(name)) for name in ours.names)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.shape == other.shape else float("inf")


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started
