"""Part `ranks`: updates of one process and of ranks, tokens a second; and what a rank that is killed costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.scale.material import model, objective, supervised, table, update_of
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Part, Rates, Trainer
from postlude.engines.ranks.trainer import RankTrainer
from tests.ranks import Processes

SIZES = {"0.6 M": 8_000, "25 M": 1_000}
"""Model -> tokens of an update."""
UPDATES = 2


def run(folder: Path) -> bool:
    """Each on one thread: N ranks have N cores, where there are so many that are free."""
    rows, restarts = list[tuple[str, ...]](), list[tuple[str, ...]]()
    for name, tokens in SIZES.items():
        path, part = model(folder, name), Part(update_of(tokens), objective())
        alone = asyncio.run(_rate(LocalEngine.open(str(path), threads=1, token_budget=4096).trainer, part))
        rates = {"one process": alone}
        for size in (1, 2):
            place = folder / f"step-{size}-{tokens}"
            rates[f"{size} rank{'s' * (size > 1)}"], start, again = asyncio.run(_ranked(path, part, size, place))
            restarts.append((name, str(size), f"{start:.1f} s", f"{again:.1f} s"))
        rows += [(name, who, f"{rate:,.0f}", f"{rate / alone:.2f}") for who, rate in rates.items()]
    table(("parameters", "trained by", "tokens/s", "to one process"), rows)
    print(
        "\nranks started, and the update in which one is killed: started again, brought to where they were, done again"
    )
    table(("parameters", "ranks", "start", "killed"), restarts)
    return True


async def _rate(trainer: Trainer, part: Part) -> float:
    """Tokens a second of whole updates, the first of which does not count."""
    await trainer.update([part], Rates(1e-5))
    began = time.monotonic()
    for _ in range(UPDATES):
        await trainer.update([part], Rates(1e-5))
    return UPDATES * part.batch.tokens.shape[0] / (time.monotonic() - began)


async def _ranked(path: Path, part: Part, size: int, checkpoint: Path) -> tuple[float, float, float]:
    """(tokens a second, seconds of a start, seconds of an update in which a rank is killed)."""
    crews: list[Processes] = []
    ranks = supervised(path, size, crews)
    try:
        start = await _seconds(ranks.open)
        trainer = RankTrainer(ranks)
        rate = await _rate(trainer, part)
        await trainer.save(checkpoint)
        ranks.journal.sealed = lambda: [checkpoint]
        crews[-1].kill(size - 1)
        again = await _seconds(lambda: trainer.update([part], Rates(1e-5)))
        return rate, start, again
    finally:
        await ranks.close()


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    began = time.monotonic()
    await work()
    return time.monotonic() - began
