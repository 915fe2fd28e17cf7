"""The gradient of several ranks against that of one process, at equal weights: by method, cut, model and holding."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from bench.scale_ranks.cases import ROWS, THREE, Row
from bench.scale_ranks.watched import Gathered, Watched
from postlude.batch import Batch
from postlude.engines.protocol import Part
from postlude.engines.ranks.crew import Blueprint
from postlude.engines.ranks.shares import kinds_of, share_out
from postlude.engines.ranks.shipping import Indices, ShippedBatch, ShippedPart, assemble
from postlude.models.quiet import quiet
from postlude.models.tiny import character_tokenizer
from postlude.objectives import Want
from postlude.runs.stats import Stats
from postlude.streams import Stream
from tests.conftest import build
from tests.ranks import Processes, Single

FIGURES = 1e-6
"""Relative difference of a figure of an update that holds; in bf16 as for the gradient."""


@dataclass(frozen=True)
class Compared:
    """What several ranks and one process said of the same update."""

    gradient: float
    """Largest difference of an entry over the largest entry."""
    forward: float
    """Largest difference of a number of a pass without a gradient, in its unit."""
    figures: float
    """Largest difference of what a run reports of an update, and of its norms; relative where that is above 1."""
    passes: tuple[int, int]
    """With a gradient: of one process, and of each rank."""
    wrong: str = ""
    """What is missing on one side."""

    def holds(self, limit: float) -> bool:
        """Whether all of it is within a limit of the gradient."""
        largest = max(FIGURES, limit) if limit > FIGURES else FIGURES
        return not self.wrong and self.gradient <= limit and self.figures <= largest and self.forward <= 10 * largest


async def compare(row: Row, ranks: Processes, folder: Path) -> Compared:
    """One row: both build the same engine, move its weights alike, and go through the same update."""
    blueprint = row.blueprint(folder)
    with quiet():
        one = Single(blueprint, Watched)
    await ranks.build(blueprint)
    crews: list[Single | Processes] = [one, ranks]
    for crew in crews:
        await crew.call("shake", 1)
        if row.refreshed:
            await crew.call("refresh_reference", row.refreshed)
            await crew.call("shake", 2)
    parts = [await _part(one, row, place) for place in range(len(row.objectives()))]
    forward = max([await _forward_apart(part.batch, blueprint, one, ranks) for part in parts[:1]])
    for crew in crews if not row.fresh else []:
        await crew.call("shake", 4)
    shipped = [ShippedPart.of(part) for part in parts]
    everything = [[np.arange(part.batch.n_sequences) for part in parts]]
    dealt = [_dealt(part, row, ranks.size) for part in parts]
    by_rank = [[shares[rank] for shares in dealt] for rank in range(ranks.size)]
    (alone,) = await one.call("gradient", (shipped, 5), everything)
    together = await ranks.call("gradient", (shipped, 5), by_rank)
    return _compared(alone, together, forward)


async def _part(one: Single, row: Row, place: int) -> Part:
    """A part of the update as a run makes it, of the weights as they are now."""
    objective, coef = row.objectives()[place]
    groups = row.groups()
    stream = Stream("part", None, objective, 1 if row.fresh else 2, 1, 1.0)  # type: ignore[arg-type]
    engine = one.rank.engine
    with quiet():
        batch = await stream.prepare(engine, groups)  # type: ignore[arg-type]
        weighed = await stream.weigh(engine, batch, fresh=True)  # type: ignore[arg-type]
    return Part(weighed, objective, coef)


def _dealt(part: Part, row: Row, size: int) -> list[Indices]:
    """Sequences of each rank."""
    if row.shares is None:
        whole = not part.objective.splits_groups
        return list(share_out(ShippedBatch.of(part.batch), size, keeps_groups=whole, kinds=kinds_of(part)).sequences)
    shares = row.shares(part.batch.n_sequences, size)
    return [np.array(sorted(s), np.int64) for s in shares]


async def _forward_apart(batch: Batch, blueprint: Blueprint, one: Single, ranks: Processes) -> float:
    """The largest difference of what passes without a gradient give."""
    first: Want = "scores" if blueprint.scores else "policy"
    asked: dict[Want, bool] = {
        first: True,
        "values": blueprint.critic is not None,
        "reference": blueprint.keep_reference,
    }
    wants = [want for want, yes in asked.items() if yes]
    shipped, worst = ShippedBatch.of(batch), 0.0
    places = [np.arange(batch.n_sequences)[rank :: ranks.size] for rank in range(ranks.size)]
    for want in wants:
        alone = assemble(await one.call("forward", (shipped, want), [np.arange(batch.n_sequences)]), batch)
        spread = assemble(await ranks.call("forward", (shipped, want), places), batch)
        for a, b in zip(_columns(alone), _columns(spread), strict=True):
            worst = max(worst, float((a - b).abs().max()))
    return worst


def _columns(outputs: object) -> Iterator[torch.Tensor]:
    yield from (x for x in vars(outputs).values() if x is not None)


def _compared(alone: Gathered, together: Sequence[Gathered], forward: float) -> Compared:
    gradient, wrong = _apart(alone.gradient, together[0].gradient)
    wrong = wrong or ("" if all(one.sound for one in (alone, *together)) else "not finite")
    figures = 0.0
    for place, expected in enumerate(alone.figures):
        total = Stats()
        for one in together:
            total += one.figures[place]
        figures = max(figures, _relative(expected.summary(), total.summary()))
    figures = max([figures, *(_relative(alone.norms, one.norms) for one in together)])
    if len({one.passes[0] for one in together}) != 1:
        wrong = wrong or "unequal numbers of passes"
    return Compared(gradient, forward, figures, (alone.passes[0], together[0].passes[0]), wrong)


def _apart(one: Mapping[str, NDArray[np.float64]], other: Mapping[str, NDArray[np.float64]]) -> tuple[float, str]:
    """(largest difference over the largest entry, names that one of them lacks)."""
    missing = sorted({*one} ^ {*other})
    if missing:
        return math.inf, f"only one has a gradient of {missing[0]}"
    largest = max((float(np.abs(g).max()) for g in one.values()), default=0.0)
    difference = max((float(np.abs(g - other[name]).max()) for name, g in one.items()), default=0.0)
    return difference / largest if largest else difference, ""


def _relative(expected: Mapping[str, float], seen: Mapping[str, float]) -> float:
    if {*expected} != {*seen}:
        return math.inf
    return max((abs(x - seen[name]) / max(1.0, abs(x)) for name, x in expected.items()), default=0.0)


# ------------------------------------------------------------------------------------------------------- models


def make_models(rows: Sequence[Row], folder: Path) -> None:
    """Every model that the rows name, with an adapter of its own where one stands on that."""
    from peft import LoraConfig, get_peft_model

    tokenizer = character_tokenizer()
    for name in {row.model for row in rows}:
        with quiet():
            build(name).save_pretrained(folder / name)
            tokenizer.save_pretrained(folder / name)
    for name in {row.model for row in rows if row.start}:
        with quiet():
            torch.manual_seed(11)  # pyright: ignore[reportUnknownMemberType]
            net = build(name)
            net.name_or_path = net.config._name_or_path = str(folder / name)
            adapted = get_peft_model(
                net, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
            )
            adapted.peft_config["default"].base_model_name_or_path = str(folder / name)
            adapted.save_pretrained(str(folder / f"{name}-adapter"))
            tokenizer.save_pretrained(folder / f"{name}-adapter")


# -------------------------------------------------------------------------------------------------------- table


def run(folder: Path) -> bool:
    """All rows with 2 ranks, and a few with 3."""
    make_models([*ROWS, *THREE], folder)
    two = asyncio.run(_table(ROWS, 2, folder))
    return asyncio.run(_table(THREE, 3, folder)) and two


async def _table(rows: Sequence[Row], size: int, folder: Path) -> bool:
    print(f"{size} ranks against 1: differences of the gradient over its largest entry, of passes, of figures; passes")
    ranks = Processes(size, kind=Watched)
    try:
        held = [_show(row, await compare(row, ranks, folder)) for row in rows]
    finally:
        ranks.end()
    print(f"{sum(held)} of {len(held)} hold", flush=True)
    return all(held)


def _show(row: Row, seen: Compared) -> bool:
    holds = seen.holds(row.limit)
    passes = f"{seen.passes[0]} -> {seen.passes[1]}"
    numbers = f"{seen.gradient:8.1e} {seen.forward:8.1e} {seen.figures:8.1e}  {passes:9}"
    verdict = "" if holds else f"  NOT WITHIN {row.limit:.0e} {seen.wrong}"
    print(f"{row.method:22} {row.model:11} {row.what:38} {numbers}{verdict}", flush=True)
    return holds
