"""Part `driver`: packing, weighing, sharing out and shipping an update, from 1,000 to 1,000,000 tokens."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass
from pathlib import Path

from bench.scale.material import cpu_seconds, groups_of, model, objective, table, update_of, weighed
from postlude.batch import pack, split
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Part, Rates
from postlude.engines.ranks.shares import Effort, kinds_of, share_out
from postlude.engines.ranks.shipping import ShippedBatch, ShippedPart
from postlude.sizing.shape import Shape

SIZES = (1_000, 10_000, 100_000, 1_000_000)
RANKS = 8
MOST = 2.0
"""CPU seconds of all of it at a million tokens."""
BUDGET = 16_384
STEP = 20_000
"""Tokens of the update that says what a token costs to train on."""


@dataclass(frozen=True)
class Row:
    """CPU seconds of an update of so many tokens."""

    tokens: int
    nbytes: int
    pack: float
    weigh: float
    share: float
    ship: float
    take: float
    """On a rank: its share out of what arrived, cut into passes."""

    @property
    def driver(self) -> float:
        return self.pack + self.weigh + self.share + self.ship


def run(folder: Path) -> bool:
    """Against a step of the demo's model, the cheapest there is."""
    path = model(folder, "0.6 M")
    each = _step(path) / STEP
    effort = Effort.of(Shape.of_config(path))
    rows = [measured(tokens, effort) for tokens in SIZES]
    heads = ("tokens", "MB", "pack", "weigh", f"share out ({RANKS})", "ship", "driver", "of a step", "on each rank")
    table(heads, [_cells(row, each) for row in rows])
    print(f"of a step: of an update of the demo's model on one core, {each * 1e6:.0f} us a token, without sampling")
    print("\na group is cut where ranks have less to do then: work of the fullest rank over the mean, tokens repeated")
    table(("groups x answers", "ranks", "whole groups", "as shared out", "prompt tokens again"), _cuts(effort))
    return rows[-1].driver < MOST


def measured(tokens: int, effort: Effort) -> Row:
    """Each as the driver does it once for an update."""
    groups = groups_of(tokens, 50_000)
    batch = pack(groups)
    part = Part(weighed(batch), objective())
    shipped = ShippedPart.of(part)
    shares = share_out(shipped.batch, RANKS, effort, kinds=kinds_of(part))
    return Row(
        batch.tokens.shape[0],
        shipped.batch.nbytes,
        cpu_seconds(lambda: pack(groups)),
        cpu_seconds(lambda: weighed(batch)),
        cpu_seconds(lambda: share_out(shipped.batch, RANKS, effort, kinds=kinds_of(part))),
        cpu_seconds(lambda: pickle.loads(pickle.dumps(ShippedPart.of(part), protocol=5))),
        cpu_seconds(lambda: list(split(shipped.share(shares.sequences[0]).batch, BUDGET, keeps_groups=False))),
    )


def _step(path: Path) -> float:
    """CPU seconds of an update on one core."""
    trainer = LocalEngine.open(str(path), threads=1, token_budget=4096).trainer
    part = Part(update_of(STEP), objective())
    return cpu_seconds(lambda: asyncio.run(trainer.update([part], Rates(1e-5))), 1)


def _cells(row: Row, each: float) -> tuple[str, ...]:
    parts = (row.pack, row.weigh, row.share, row.ship, row.driver)
    share = row.driver / (each * row.tokens)
    return (
        f"{row.tokens:,}",
        f"{row.nbytes / 1e6:.2f}",
        *(f"{s:.4f}" for s in parts),
        f"{share:.2%}",
        f"{row.take:.4f}",
    )


def _cuts(effort: Effort) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for tokens in (8_000, 64_000):
        batch = ShippedBatch.of(update_of(tokens))
        for ranks in (2, 8, 32):
            whole = share_out(batch, ranks, effort, keeps_groups=True)
            cut = share_out(batch, ranks, effort)
            name = f"{batch.scalars['n_groups']} x {batch.n_sequences // int(batch.scalars['n_groups'])}"
            again = f"{cut.repeated:,} of {batch.n_tokens:,}"
            rows.append((name, str(ranks), f"{whole.imbalance:.2f}", f"{cut.imbalance:.2f}", again))
    return rows
