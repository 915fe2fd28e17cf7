"""The contract of a trainer (`engines.protocol.Trainer`), held against every implementation."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Engine, Part, Rates
from postlude.engines.ranks.crew import Blueprint, Start, Terms
from postlude.engines.ranks.engine import RankedEngine
from postlude.engines.ranks.supervision import Supervision
from postlude.engines.settings import Local, Optimizer
from postlude.errors import TrainingError
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec
from postlude.objectives import TokenObjective
from tests.ranks import Processes, Single
from tests.refusals import refused
from tests.streaming import rolled_out

Make = Callable[[Path], Engine]


def local(folder: Path) -> Engine:
    return LocalEngine.open(str(folder), keep_reference=True, dtype="float64")


def in_small_passes(folder: Path) -> Engine:
    return LocalEngine.open(str(folder), keep_reference=True, dtype="float64", token_budget=24)


def with_adapter(folder: Path) -> Engine:
    from postlude.models.lora import Lora

    torch.manual_seed(0)
    return LocalEngine.open(str(folder), dtype="float64", lora=Lora(4))


def of_one_rank(folder: Path) -> Engine:
    return ranked(folder, Single.start, 1)


def of_two_ranks(folder: Path) -> Engine:
    return ranked(folder, PAIR.start, 2)


def ranked(folder: Path, start: Start, size: int) -> Engine:
    blueprint = Blueprint(ModelSpec(str(folder)), Optimizer(), Local(dtype="float64"), 0, keep_reference=True)
    ranks = Supervision(start, blueprint, Terms(size))
    return asyncio.run(RankedEngine.open(ranks, inspect(blueprint.spec), Path(tempfile.mkdtemp())))


class Pair:
    """Two processes for all tests of this module, which get a new engine for each."""

    crew: Processes | None = None
    size = 2

    async def start(self, blueprint: Blueprint) -> Pair:
        self.crew = self.crew or Processes(2)
        await self.crew.build(blueprint)
        return self

    async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
        assert self.crew is not None
        return await self.crew.call(method, shared, each)

    async def close(self) -> None:
        """They stay for the next test."""

    def end(self) -> None:
        if self.crew is not None:
            self.crew.end()


PAIR = Pair()
ENGINES = [local, in_small_passes, with_adapter, of_one_rank, of_two_ranks]
RATES = Rates(1e-2)


@pytest.fixture(scope="module", autouse=True)
def pair_ends() -> Iterator[None]:
    yield
    PAIR.end()


@pytest.fixture(params=ENGINES, ids=lambda make: make.__name__)
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.fixture
def engine(make: Make, model_folder: Path) -> Engine:
    return make(model_folder)


def objective() -> TokenObjective:
    found = ALGORITHMS["grpo"].objective
    assert isinstance(found, TokenObjective)
    return replace(found, kl=None, correction=None)


def drawn(engine: Engine, seed: int = 0) -> Batch:
    batch = objective().advantages(pack(rolled_out(4, 3), engine.trainer.dtype))
    return objective().weigh(batch)


def logprobs(engine: Engine, want: str = "policy") -> torch.Tensor:
    batch = pack(rolled_out(4, 3), engine.trainer.dtype)
    values = asyncio.run(engine.trainer.forward(batch, want)).logprobs  # type: ignore[arg-type]
    assert values is not None
    return values[batch.mask]


def update(engine: Engine, *parts: Part, rates: Rates = RATES) -> dict[str, float]:
    each, step = asyncio.run(engine.trainer.update(parts or (Part(drawn(engine), objective()),), rates))
    total = each[0]
    total += step
    return total.summary()


def test_an_update_moves_the_policy_and_not_the_reference(engine: Engine) -> None:
    before, reference = logprobs(engine), logprobs(engine, "reference")
    figures = update(engine)
    assert figures["grad_norm"] > 0 and figures["trained_tokens"] > 0
    assert not torch.equal(logprobs(engine), before) and torch.equal(logprobs(engine, "reference"), reference)


def test_a_rate_of_0_moves_nothing(engine: Engine) -> None:
    before = logprobs(engine)
    update(engine, rates=Rates(0.0))
    assert torch.equal(logprobs(engine), before)


def test_parts_add_up(make: Make, model_folder: Path) -> None:
    """Two halves of coefficient 0.5 are the whole."""
    engine = make(model_folder)
    batch = drawn(engine)
    whole = update(engine)
    halves = update(make(model_folder), *[Part(batch, objective(), 0.5)] * 2)
    assert halves["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-9)


def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(model_folder: Path) -> None:
    norms = [update(make(model_folder))["grad_norm"] for make in (local, in_small_passes)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-9)


def test_progress_counts_every_token(engine: Engine) -> None:
    seen: list[int] = []
    engine.trainer.on_progress = seen.append
    batch = drawn(engine)
    update(engine, Part(batch, objective()))
    assert sum(seen) >= batch.tokens.shape[0] and all(n > 0 for n in seen)


def spoilt(batch: Batch) -> Batch:
    """The same, with an advantage that is no number."""
    assert batch.advantages is not None
    return replace(batch, advantages=torch.full_like(batch.advantages, float("nan")))


def test_an_update_that_is_not_finite_is_left_out_and_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    good = drawn(engine)
    update(engine)
    asyncio.run(engine.save(tmp_path / "before"))
    figures = update(engine, Part(spoilt(good), objective()), Part(good, objective()))
    assert figures == {"skipped_updates": 1.0, "trained_tokens": 0.0}
    skip = engine.trainer.skip
    assert skip is not None and (skip.figure, skip.part, skip.sequence, skip.in_a_row) == ("advantage", 0, 0, 1)
    asyncio.run(engine.save(tmp_path / "after"))
    files = {p.relative_to(tmp_path / "before") for p in (tmp_path / "before").rglob("*.safetensors")}
    assert any(p.name == "optimizer.safetensors" for p in files), "the moments, too"
    assert all((tmp_path / "after" / p).read_bytes() == (tmp_path / "before" / p).read_bytes() for p in files)
    counters = [tmp_path / name / "trainer" / "optimizer.json" for name in ("before", "after")]
    first, then = (json.loads(path.read_text()) for path in counters)
    assert (then["steps"], then["skipped"]) == (first["steps"], 1)


def test_left_out_updates_are_counted_in_a_row_and_across_a_resume(engine: Engine, tmp_path: Path) -> None:
    bad = Part(spoilt(drawn(engine)), objective())
    for count in (1, 2):
        update(engine, bad)
        assert engine.trainer.skip is not None and engine.trainer.skip.in_a_row == count
    asyncio.run(engine.save(tmp_path / "saved"))
    update(engine)
    assert engine.trainer.skip is None
    asyncio.run(engine.load(tmp_path / "saved"))
    update(engine, bad)
    assert engine.trainer.skip is not None and engine.trainer.skip.in_a_row == 3


def test_weights_that_are_not_finite_are_neither_published_nor_saved(engine: Engine, tmp_path: Path) -> None:
    asyncio.run(engine.save(tmp_path / "sound"))
    (file,) = (tmp_path / "sound").glob("*model.safetensors")
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    asyncio.run(engine.load(tmp_path / "sound"))
    for call in (engine.publish(), engine.save(tmp_path / "saved")):
        with refused("not-finite", said="the weights are not finite any more", kind=TrainingError):
            asyncio.run(call)
    assert not (tmp_path / "saved").exists()


def test_versions_only_grow(engine: Engine, tmp_path: Path) -> None:
    async def published() -> list[int]:
        return [(await engine.publish()).version for _ in range(3)]

    assert asyncio.run(published()) == [1, 2, 3] and engine.sampler.version == engine.trainer.version == 3
    asyncio.run(engine.save(tmp_path / "saved"))
    asyncio.run(engine.load(tmp_path / "saved"))
    assert engine.sampler.version == 3 and asyncio.run(published()) == [4, 5, 6]


def test_what_is_saved_goes_on_as_if_nothing_had_been(engine: Engine, model_folder: Path, tmp_path: Path) -> None:
    update(engine)
    asyncio.run(engine.save(tmp_path / "saved"))
    update(engine)
    expected = logprobs(engine)
    asyncio.run(engine.load(tmp_path / "saved"))
    update(engine)
    assert torch.equal(logprobs(engine), expected)


def test_a_refreshed_reference_is_the_policy(engine: Engine, tmp_path: Path) -> None:
    update(engine)
    asyncio.run(engine.trainer.refresh_reference())
    policy = logprobs(engine)
    update(engine)
    assert engine.trainer.references == 1
    torch.testing.assert_close(logprobs(engine, "reference"), policy, atol=1e-12, rtol=0)
    asyncio.run(engine.save(tmp_path / "saved"))
    asyncio.run(engine.trainer.refresh_reference())
    asyncio.run(engine.load(tmp_path / "saved"))
    torch.testing.assert_close(logprobs(engine, "reference"), policy, atol=1e-12, rtol=0)
    assert engine.trainer.references == 1
