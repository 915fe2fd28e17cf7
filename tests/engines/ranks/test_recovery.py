"""A rank that is lost at any point costs time, and nothing else; where it cannot be made good, a sentence says why."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude import build
from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack
from postlude.engines.protocol import Part, Rates
from postlude.engines.ranks.crew import Blueprint, RankLost, Terms
from postlude.engines.ranks.journal import RANKS, Journal
from postlude.engines.ranks.rank import Rank
from postlude.engines.ranks.shares import share_out
from postlude.engines.ranks.shipping import ShippedBatch
from postlude.engines.ranks.supervision import Around, Supervision
from postlude.engines.ranks.trainer import RankTrainer
from postlude.engines.settings import Local, Optimizer
from postlude.errors import EngineError, Stopped
from postlude.models.spec import ModelSpec
from postlude.objectives import TokenObjective
from postlude.runs.sealed import STATE, seal
from tests.ranks import Single
from tests.refusals import refused
from tests.streaming import rolled_out

RATES = Rates(1e-2)
GRPO = ALGORITHMS["grpo"].objective
assert isinstance(GRPO, TokenObjective)
OBJECTIVE = replace(GRPO, kl=None, correction=None)


@dataclass
class Death:
    """A rank dies in its next call of a method, before that is done or after."""

    method: str
    after: bool = False
    error: BaseException = field(
        default_factory=lambda: RankLost("rank 0 died", code="rank-lost", rank=0, cause="signal SIGKILL")
    )


@dataclass
class Mortal:
    """Crews of one rank in this process, which die as they are told to, one death after another."""

    deaths: list[Death] = field(default_factory=list[Death])
    started: int = 0
    alive: int = 0

    async def start(self, blueprint: Blueprint) -> Mortal.Crew:
        self._strike("start", False)
        self.started += 1
        self.alive += 1
        return Mortal.Crew(self, Single(blueprint))

    def _strike(self, method: str, after: bool) -> None:
        if self.deaths and (self.deaths[0].method, self.deaths[0].after) == (method, after):
            raise self.deaths.pop(0).error

    @dataclass
    class Crew:
        of: Mortal
        rank: Single
        size: int = 1
        closed: bool = False

        async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
            assert not self.closed
            self.of._strike(method, False)
            result = await self.rank.call(method, shared, each)
            self.of._strike(method, True)
            return result

        async def close(self) -> None:
            self.of.alive -= not self.closed
            self.closed = True


@pytest.fixture(scope="module")
def blueprint(model_folder: Path) -> Blueprint:
    return Blueprint(ModelSpec(str(model_folder)), Optimizer(), Local(token_budget=256), 0, keep_reference=True)


def trainer(
    blueprint: Blueprint, mortal: Mortal, sealed: list[Path] | None = None, size: int = 1, **around: Any
) -> RankTrainer:
    journal = Journal(lambda: sealed or [])
    return RankTrainer(Supervision(mortal.start, blueprint, Terms(size), journal, Around(**around)))


def drawn(seed: int = 0) -> Batch:
    return OBJECTIVE.weigh(OBJECTIVE.advantages(pack(rolled_out(4, 3, seed), torch.float32)))


async def story(ranks: RankTrainer, folder: Path, sealed: list[Path]) -> tuple[Any, ...]:
    """Every call that a run makes, and all that is told; the checkpoint in the middle is sealed, the last is not."""
    await ranks.ranks.open()
    told: list[Any] = []
    for seed in (1, 2):
        told.append(await ranks.update([Part(drawn(seed), OBJECTIVE)], RATES))
    await ranks.save(folder / "step-000001")
    sealed.append(folder / "step-000001")
    told.append(await ranks.update([Part(drawn(3), OBJECTIVE)], RATES))
    await ranks.refresh_reference(0.5)
    told.append((await ranks.publish()).version)
    told.append(await ranks.update([Part(drawn(4), OBJECTIVE)], RATES))
    for want in ("policy", "reference"):
        outputs = await ranks.forward(drawn(5), want)
        assert outputs.logprobs is not None
        told.append(outputs.logprobs.tolist())
    await ranks.gather(folder / "gathered.safetensors")
    await ranks.save(folder / "step-000002")
    told.append(await ranks.fingerprint())
    await ranks.ranks.close()
    files = ("gathered.safetensors", "step-000002/model.safetensors", "step-000002/trainer/optimizer.safetensors")
    return (told, ranks.version, ranks.references, *((folder / file).read_bytes() for file in files))


@pytest.fixture(scope="module")
def undisturbed(blueprint: Blueprint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    sealed: list[Path] = []
    return asyncio.run(story(trainer(blueprint, Mortal(), sealed), tmp_path_factory.mktemp("story"), sealed))


DEATHS: dict[str, list[Death]] = {
    "starting": [Death("start")],
    "choosing": [Death("facts")],
    "updating": [Death("update")],
    "after the update": [Death("update", after=True)],
    "looking at the weights": [Death("require_finite")],
    "taking a new reference": [Death("refresh_reference", after=True)],
    "reading": [Death("forward")],
    "gathering": [Death("gather", after=True)],
    "after the save": [Death("save", after=True)],
    "updating, and while it is rebuilt": [Death("update"), Death("start"), Death("facts")],
    "saving, loading and making again": [Death("gather"), Death("load"), Death("refresh_reference")],
}


@pytest.mark.parametrize("deaths", DEATHS.values(), ids=DEATHS.keys())
def test_a_rank_lost_anywhere_changes_nothing(
    blueprint: Blueprint, undisturbed: tuple[Any, ...], tmp_path: Path, deaths: list[Death]
) -> None:
    sealed: list[Path] = []
    mortal, said = Mortal([replace(one) for one in deaths]), list[str]()
    assert asyncio.run(story(trainer(blueprint, mortal, sealed, say=said.append), tmp_path, sealed)) == undisturbed
    assert not mortal.deaths and not mortal.alive
    assert len(said) == len(deaths) and all("signal SIGKILL" in text for text in said)


def test_what_is_made_again_begins_at_the_newest_sealed_checkpoint(blueprint: Blueprint, tmp_path: Path) -> None:
    said: list[str] = []
    mortal, sealed = Mortal(), list[Path]()
    ranks = trainer(blueprint, mortal, sealed, say=said.append, step=lambda: 6)

    async def run() -> list[int]:
        await ranks.ranks.open()
        for seed in (1, 2, 3):
            await ranks.update([Part(drawn(seed), OBJECTIVE)], RATES)
            await ranks.save(tmp_path / f"step-{seed:06d}")
            sealed[:] = [tmp_path / "step-000002"] if seed == 2 else sealed
        counted = len(ranks.ranks.journal.changes)
        mortal.deaths.append(Death("fingerprint"))
        await ranks.fingerprint()
        return [counted, len(ranks.ranks.journal.changes)]

    assert asyncio.run(run()) == [1, 1], "the third was never sealed"
    assert (tmp_path / "step-000003" / RANKS).read_text() == '{"serial": 3, "ranks": 1}'
    (text,) = said
    assert "trainer rank 0 was lost in fingerprint of step 7 (signal SIGKILL)" in text
    assert "from step-000002, and 1 update is made again" in text


@pytest.mark.parametrize("gone", [False, True])
def test_ranks_do_not_begin_again_from_a_checkpoint_that_was_damaged(
    blueprint: Blueprint, tmp_path: Path, gone: bool
) -> None:
    mortal, place = Mortal(), tmp_path / "checkpoints" / "step-000001"
    ranks = trainer(blueprint, mortal, [place])

    async def save() -> None:
        await ranks.save(place)
        (place / STATE).write_text("{}")
        seal(place, tmp_path, {"step": 1})
        mortal.deaths.append(Death("fingerprint"))
        await ranks.fingerprint()  # of a sound one they do
        with (place / "trainer" / "optimizer.safetensors").open("r+b") as file:
            file.seek(-3, 2)
            file.write(b"!")
        if gone:
            shutil.rmtree(place)
        mortal.deaths.append(Death("require_finite"))

    said = "not known here any more" if gone else "step-000001.* is not as it was saved: trainer/optimizer.safetensors"
    with refused("no-checkpoint" if gone else "damaged-run", said=said, kind=EngineError):
        failing(ranks, save, ranks.publish)
    assert mortal.started == 2 and mortal.alive == 0


def test_ranks_do_not_load_a_method_that_was_changed_in_the_run(blueprint: Blueprint, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text("from beside import LOSS\n")
    (tmp_path / "beside.py").write_text("LOSS = 1\n")
    mortal = Mortal([Death("update"), Death("require_finite")])
    ranks = trainer(blueprint, mortal, require_unchanged=build._unchanged(f"{file}:LOSS"))

    async def change() -> None:
        (tmp_path / "beside.py").write_text("LOSS = 2\n")

    with refused("changed-method", "method", said="beside.py, which all load .* was changed", kind=EngineError):
        failing(ranks, change, ranks.publish)
    assert mortal.started == 2 and mortal.alive == 0


def failing(ranks: RankTrainer, *more: Callable[[], Awaitable[object]]) -> None:
    async def run() -> None:
        await ranks.ranks.open()
        for call in (lambda: ranks.update([Part(drawn(), OBJECTIVE)], RATES), *more):
            await call()

    asyncio.run(run())


def test_the_same_rank_dying_twice_in_one_step_ends_the_run(blueprint: Blueprint) -> None:
    mortal = Mortal([Death("update"), Death("update")])
    ranks = trainer(blueprint, mortal, step=lambda: 39, go_on="postlude train RUN --resume")
    said = r"trainer rank 0 died twice in update of step 40 \(signal SIGKILL\)"
    with refused("rank-lost", said=said, kind=EngineError) as error:
        failing(ranks)
    assert "lower engine.token_budget (256 now)" in str(error.value) and "No checkpoint was saved yet" in str(
        error.value
    )
    with refused("rank-lost", said=said, kind=EngineError):
        asyncio.run(ranks.save(Path("nowhere")))
    assert mortal.started == 2 and mortal.alive == 0


def test_a_finished_step_lets_the_same_rank_die_again(blueprint: Blueprint) -> None:
    mortal = Mortal([Death("update") for _ in range(6)])
    ranks = trainer(blueprint, mortal)

    async def run() -> None:
        await ranks.ranks.open()
        for seed in range(3):
            mortal.deaths = [Death("update"), *mortal.deaths[:0]]
            await ranks.update([Part(drawn(seed), OBJECTIVE)], RATES)

    asyncio.run(run())
    assert mortal.started == 4


def test_restarts_without_a_finished_step_have_an_end(blueprint: Blueprint) -> None:
    lost = [RankLost("gone", code="rank-lost", rank=rank) for rank in range(4)]
    mortal = Mortal([Death("update", error=error) for error in lost])
    with refused("rank-lost", said="trainer rank 3 died 4 times without a finished step between", kind=EngineError):
        failing(trainer(blueprint, mortal))
    assert mortal.started == 4 and mortal.alive == 0


def test_memory_that_runs_out_makes_all_take_less_and_says_so(blueprint: Blueprint) -> None:
    out_of_memory = EngineError("memory ran out on a trainer: 7 GiB", code="out-of-memory")
    mortal, said = Mortal([Death("update", error=out_of_memory)]), list[str]()
    held = replace(blueprint, held=replace(blueprint.held, token_budget=60))
    ranks, small = trainer(held, mortal), trainer(replace(held, held=replace(held.held, token_budget=30)), Mortal())
    ranks.on_smaller = said.append
    prints: list[list[int]] = []
    for one in (ranks, small):
        failing(one, lambda one=one: taken(one, prints))
    assert ranks.ranks.limits is not None and ranks.ranks.limits[0] == 30 and prints[0] == prints[1]
    assert said and said[0].startswith("memory ran out on a trainer: micro-batches have at most 30 tokens from here on")
    assert mortal.started == 2 and ranks.ranks.restarts == 0


@pytest.mark.parametrize("deaths", [[], [Death("load")], [Death("facts")]], ids=["alive", "loading", "asked"])
def test_what_gave_way_is_in_a_checkpoint_and_holds_from_there_on(
    blueprint: Blueprint, tmp_path: Path, deaths: list[Death]
) -> None:
    out_of_memory = EngineError("memory ran out on a trainer: 7 GiB", code="out-of-memory")
    held = replace(blueprint, held=replace(blueprint.held, token_budget=60))
    before = trainer(held, Mortal([Death("update", error=out_of_memory)]))
    failing(before, lambda: before.save(tmp_path / "checkpoint"))
    mortal = Mortal()
    ranks = trainer(held, mortal)

    async def run() -> list[Any]:
        await ranks.ranks.open()
        mortal.deaths = [replace(one) for one in deaths]
        await ranks.load(tmp_path / "checkpoint")
        return [one.settings["token_budget"] for one in await ranks.ranks.call("facts")]

    assert asyncio.run(run()) == [30] and ranks.ranks.limits == before.ranks.limits
    assert not mortal.deaths and mortal.started == 1 + len(deaths)


@pytest.mark.parametrize("read", [False, True])
def test_less_is_taken_by_what_a_rank_has_of_a_batch(blueprint: Blueprint, read: bool) -> None:
    out_of_memory = EngineError("memory ran out on a trainer: 7 GiB", code="out-of-memory")
    mortal = Mortal([Death("forward" if read else "update", error=out_of_memory)])
    ranks = trainer(blueprint, mortal, size=8)
    batch = drawn()

    async def work() -> None:
        await (ranks.forward(batch, "policy") if read else ranks.update([Part(batch, OBJECTIVE)], RATES))

    failing(ranks, work)
    shares = share_out(ShippedBatch.of(batch), 8, ranks.effort).sequences
    longest = max(ShippedBatch.of(batch).share(one).tokens.shape[0] for one in shares)
    assert ranks.ranks.limits is not None and longest / 2 <= ranks.ranks.limits[0] < longest
    assert mortal.started == 2


def test_an_update_that_is_not_sound_when_it_is_made_again_ends_the_run(
    blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal = Mortal()
    ranks = trainer(blueprint, mortal)
    update = Rank.update

    def unsound(rank: Rank, *asked: Any) -> Any:
        return replace(update(rank, *asked), sound=False) if mortal.started > 1 else update(rank, *asked)

    monkeypatch.setattr(Rank, "update", unsound)
    mortal.deaths = [Death("fingerprint")]
    with refused("not-finite", said="update 1 of the ranks was finite, and is not", kind=EngineError):
        failing(ranks, ranks.fingerprint)
    assert not mortal.deaths and not mortal.alive, "nothing is saved of ranks that lack an update"


async def taken(ranks: RankTrainer, prints: list[list[int]]) -> None:
    prints.append(await ranks.fingerprint())


def test_a_save_that_the_disk_refuses_is_told_and_costs_a_restart_at_most(blueprint: Blueprint, tmp_path: Path) -> None:
    mortal = Mortal([Death("save", error=OSError(28, "No space left on device"))])
    ranks, prints = trainer(blueprint, mortal), list[list[int]]()
    with pytest.raises(OSError, match="No space left"):
        failing(ranks, lambda: ranks.save(tmp_path / "full"))
    asyncio.run(taken(ranks, prints))
    other = trainer(blueprint, Mortal())
    failing(other, lambda: taken(other, prints))
    assert prints[0] == prints[1]


def test_an_update_that_is_not_finite_is_explained_by_ranks_that_were_lost_meanwhile(blueprint: Blueprint) -> None:
    batch = drawn()
    assert batch.advantages is not None
    bad = [Part(replace(batch, advantages=torch.full_like(batch.advantages, float("nan"))), OBJECTIVE)]
    why: list[str] = []  # NaN is not itself
    for deaths in ([], [Death("spoilt")], [Death("forget")]):
        ranks = trainer(blueprint, Mortal(deaths))
        failing(ranks, lambda ranks=ranks: ranks.update(bad, RATES))
        assert (ranks.skipped, len(ranks.ranks.journal.changes)) == (1, 1)
        why.append(repr(ranks.skip))
    assert "figure='advantage'" in why[0] and "parameter='model.embed_tokens.weight'" in why[0]
    assert why[1:] == why[:1] * 2


def test_a_checkpoint_that_an_earlier_process_left_is_not_begun_from(blueprint: Blueprint, tmp_path: Path) -> None:
    places = [tmp_path / "step-000001", tmp_path / "step-000002"]
    before = trainer(blueprint, Mortal())

    async def left() -> None:
        await before.ranks.open()
        for seed, place in zip((1, 2), places, strict=True):
            await before.update([Part(drawn(seed), OBJECTIVE)], RATES)
            await before.save(place)

    asyncio.run(left())
    mortal, said = Mortal([Death("fingerprint")]), list[str]()
    ranks = trainer(blueprint, mortal, places, say=said.append)
    prints: list[list[int]] = []

    async def resume() -> None:
        await ranks.ranks.open()
        await ranks.load(places[0])
        await ranks.update([Part(drawn(3), OBJECTIVE)], RATES)
        await ranks.save(tmp_path / ".step-000002")  # it has the number of the one that is there, and is not sealed yet
        await taken(ranks, prints)
        for place in (places[1], tmp_path / ".step-000002"):
            place.rename(place.with_name(place.name.lstrip(".") + ".old" * (place == places[1])))
        ranks.ranks.finished()
        mortal.deaths.append(Death("fingerprint"))
        await taken(ranks, prints)

    asyncio.run(resume())
    assert prints[0] == prints[1] and not mortal.deaths
    assert "from step-000001, and 1 update is made again" in said[0]
    assert said[1].endswith("from step-000002")


def test_ranks_that_raised_in_the_middle_of_something_are_asked_no_more(blueprint: Blueprint) -> None:
    odd = EngineError("trainer rank 0 raised ValueError: odd", code="rank-raised")
    mortal = Mortal([Death("update", after=True, error=odd)])
    ranks, prints = trainer(blueprint, mortal), list[list[int]]()
    with refused("rank-raised", kind=EngineError):
        failing(ranks)
    asyncio.run(taken(ranks, prints))
    other = trainer(blueprint, Mortal())
    asyncio.run(other.ranks.open())
    asyncio.run(taken(other, prints))
    assert mortal.started == 2 and prints[0] == prints[1], "what a save would hold"


@pytest.mark.parametrize("again", [False, True])
def test_nobody_waits_for_ranks_once_the_run_is_to_end(
    blueprint: Blueprint, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr("postlude.engines.ranks.supervision.GRACE", 0.0)
    mortal, said, stops, ended = Mortal(), list[str](), list[bool](), list[bool]()
    ranks = trainer(blueprint, mortal, stopping=lambda: bool(stops), say=said.append)
    at_once = ranks.ranks.start

    async def never(blueprint: Blueprint) -> Any:
        if again and not mortal.started:
            return await at_once(blueprint)
        stops.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    ranks.ranks.start = never
    mortal.deaths = [Death("update")]
    with pytest.raises(Stopped):
        failing(ranks)
    assert ended == [True] and mortal.alive == 0
    assert len(said) == 2 * again and all("--resume" in text for text in said[1:])
    with pytest.raises(Stopped):
        asyncio.run(ranks.save(Path("nowhere")))
