"""The gradient of several ranks is that of one process: a few rows of `bench/scale_ranks/gradients.py`, and what
must not change it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.scale_ranks.cases import (
    DOUBLE,
    HALF,
    HALVES,
    LEANER,
    PADDED,
    TIGHT,
    Row,
    all_idle,
    many,
    one_sided,
    pairs,
    token_objective,
    torn,
)
from bench.scale_ranks.gradients import compare, make_models
from bench.scale_ranks.watched import Gathered, Watched
from postlude.batch import pack
from postlude.engines.protocol import Part, Rates
from postlude.engines.ranks.shipping import ShippedPart
from postlude.engines.settings import Local
from postlude.models.quiet import quiet
from postlude.models.spec import Critic
from tests.ranks import Processes, Single
from tests.streaming import rolled_out

CAPPED = {"advantage": replace(token_objective("drpo").advantage, cap=16)}
TRUNK = Critic(form="trunk")
ROWS = [
    Row("sft"),
    Row("grpo", what="every group on every rank", groups=many, held=TIGHT, shares=torn),
    Row("ppo_ptx+sft", what="one rank has nothing, trunk", held=TIGHT, shares=one_sided, critic=TRUNK),
    Row("ppo", what="checkpointed layers, own critic", held=LEANER, critic=Critic()),
    Row("drpo", what="known from the weighing", held=TIGHT, changes=CAPPED, fresh=True),
    Row("dapo", what="no gradient at all", groups=all_idle, held=TIGHT, shares=one_sided),
    Row("dpo", "gemma", what="through modules", groups=pairs),
    Row("reward_model", what="padded", held=PADDED, groups=pairs),
    Row("grpo", "zamba2", what="LoRA, layers that share weights, an adapter that nothing reads", lora=True),
    Row("dpo", what="LoRA, reference refreshed", lora=True, refreshed=1.0, groups=pairs),
    Row("grpo", what="LoRA on an adapter", lora=True, start=True),
    Row("grpo", what="reference mixed", refreshed=0.6),
    Row("grpo", what="float64", held=DOUBLE, limit=1e-12),
    Row("grpo", what="bf16", held=HALVES, limit=HALF),
]
GRPO = Row("grpo", held=DOUBLE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    make_models(ROWS, place)
    return place


@pytest.fixture(scope="module")
def two() -> Iterator[Processes]:
    crew = Processes(2, kind=Watched)
    yield crew
    crew.end()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.what}".strip())
def test_it_is_that_of_one_process(row: Row, two: Processes, folder: Path) -> None:
    seen = asyncio.run(compare(row, two, folder))
    assert seen.holds(row.limit), seen


# ------------------------------------------------------------------------------- what does not change a gradient


def weighed(order: Sequence[int]) -> Part:
    """One update of eight groups, laid out in any order."""
    objective = replace(token_objective("grpo"), kl=None, correction=None)
    groups = rolled_out(8, 3)
    batch = objective.weigh(objective.advantages(pack([groups[i] for i in order], torch.float64)))
    return Part(batch, objective)


async def gradient(crew: Single | Processes, part: Part, deal: Callable[[int, int], list[list[int]]]) -> Gathered:
    shares = [[np.array(sorted(s), np.int64)] for s in deal(part.batch.n_sequences, crew.size)]
    answers = await crew.call("gradient", ([ShippedPart.of(part)], 0), shares)
    return answers[0]


def test_order_of_groups_ranks_and_size_of_passes_do_not_change_it(two: Processes, folder: Path) -> None:
    """Section 15 of the specification, for ranks."""

    async def measure() -> list[Gathered]:
        three = Processes(3, kind=Watched)
        try:
            with quiet():
                one = Single(GRPO.blueprint(folder), Watched)
            crews: list[tuple[Single | Processes, int, Sequence[int]]] = [
                (one, 10_000, range(8)), (two, 10_000, range(8)), (two, 40, range(8)), (two, 64, range(7, -1, -1)),
                (three, 40, [3, 1, 0, 2, 7, 6, 5, 4]),
            ]  # fmt: skip
            seen = []
            for crew, budget, order in crews:
                if isinstance(crew, Processes):
                    await crew.build(GRPO.blueprint(folder))
                await crew.call("use", (budget, 10_000))
                seen.append(await gradient(crew, weighed(order), torn))
            return seen
        finally:
            three.end()

    first, *others = asyncio.run(measure())
    for other in others:
        assert other.passes[0] >= 1
        for name, g in first.gradient.items():
            assert np.abs(g - other.gradient[name]).max() <= 1e-12 * np.abs(g).max() + 1e-15


# ------------------------------------------------------------------------------------------- beside the gradient


def with_dropout(folder: Path) -> Row:
    place = folder / "dropping"
    if not place.exists():
        shutil.copytree(folder / "qwen3", place)
        config = json.loads((place / "config.json").read_text())
        (place / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.4}))
    return Row("sft", "dropping", held=Local(token_budget=90))


def test_dropout_differs_between_ranks_and_is_the_same_again(two: Processes, folder: Path) -> None:
    async def measure() -> list[list[Gathered]]:
        await two.build(with_dropout(folder).blueprint(folder))
        objective = token_objective("sft")
        part = ShippedPart.of(Part(objective.weigh(objective.advantages(pack(rolled_out(3, 2)))), objective))
        each = [[np.arange(6)], [np.arange(6)]]  # the same on both
        return [await two.call("gradient", ([part], seed), each) for seed in (7, 7, 8)]

    first, again, other = asyncio.run(measure())
    losses = [[one.figures[0].sums["loss/policy"] for one in answers] for answers in (first, again, other)]
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1] and losses[0] != losses[2]
    assert losses[0][1] == losses[2][0], "seed + rank"
    assert all(np.array_equal(g, again[0].gradient[name]) for name, g in first[0].gradient.items())


def test_what_is_not_finite_on_one_rank_is_not_finite_on_all_and_changes_nothing(two: Processes, folder: Path) -> None:
    """A rank that raised alone would leave the other one waiting."""
    part = weighed(range(8))
    assert part.batch.advantages is not None
    advantages = torch.where(part.batch.sequence == 20, float("nan"), part.batch.advantages)
    bad = ShippedPart.of(replace(part, batch=replace(part.batch, advantages=advantages)))
    each = [[np.arange(12)], [np.arange(12, 24)]]

    async def measure() -> None:
        await two.build(GRPO.blueprint(folder))
        before = await two.call("fingerprint")
        outcomes = await two.call("update", ([bad], Rates(1e-2), 0), each)
        assert [one.sound for one in outcomes] == [False, False]
        assert set(await two.call("spoilt")) == {"model.embed_tokens.weight"}
        tried = await two.call("tried", bad, [np.arange(12), np.arange(0)])
        assert all(loss == 0 and np.isfinite(norm) for loss, norm in tried)
        tried = await two.call("tried", bad, [np.arange(12), np.arange(20, 21)])
        assert tried[0][0] == 0 and np.isnan(tried[1][0]) and all(np.isnan(norm) for _, norm in tried)
        await two.call("forget")
        assert await two.call("fingerprint") == before
        outcomes = await two.call("update", ([ShippedPart.of(part)], Rates(1e-2), 0), each)
        assert all(one.sound for one in outcomes) and outcomes[0].step == outcomes[1].step
        assert await two.call("fingerprint") != before

    asyncio.run(measure())


@pytest.mark.parametrize("held", [Local(token_budget=90), HALVES], ids=["float32", "bf16"])
def test_a_rank_says_of_the_model_what_one_process_says(held: Local, two: Processes, folder: Path) -> None:
    """In bf16 it holds its part in float32, which is nobody's business."""
    row = Row("ppo", held=held, critic=Critic())

    async def measure() -> list[Any]:
        with quiet():
            one = Single(row.blueprint(folder), Watched)
        await two.build(row.blueprint(folder))
        return [*(await one.call("facts")), *(await two.call("facts"))]

    alone, *ranks = asyncio.run(measure())
    for rank in ranks:
        for name in ("architecture", "parameters", "trainable", "dtype", "path", "path_reason", "memory_mb"):
            assert rank.describe[name] == alone.describe[name], name
        for name in ("dtype", "trained", "saved_bytes", "held_bytes", "has_adapter"):
            assert getattr(rank, name) == getattr(alone, name), name
        assert rank.settings["token_budget"] == alone.settings["token_budget"]
