"""From what was checked to the engine that runs it. The only place where concrete ones are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postlude.check_data import reads_pairs
from postlude.engines.protocol import Engine
from postlude.errors import EngineError
from postlude.objectives import Need
from postlude.prepared import Prepared
from postlude.recipe import serving
from postlude.recipe.remedies import command
from postlude.runs.files import LOGS, PUBLISHED

if TYPE_CHECKING:
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.ranks.crew import Blueprint, Start, Terms
    from postlude.engines.ranks.engine import RankedEngine
    from postlude.engines.servers.fleet import Fleet
    from postlude.engines.servers.turns import Apart, Turns
    from postlude.engines.settings import Publishing, Servers


def _quiet(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Around:
    """The run that an engine works for."""

    folder: Path
    """For versions of the weights, logs, and the ledger of what was published."""
    say: Callable[[str], None] = _quiet
    """Tells people what is no part of the run."""
    note: Callable[[str], None] | None = None
    """Hears of servers that fail and come back; None: as `say` does."""
    step: Callable[[], int] = lambda: 0
    committed: Callable[[], Path | None] = lambda: None
    """A checkpoint that holds the weights as they are now."""
    sealed: Callable[[], Sequence[Path]] = lambda: ()
    """Checkpoints that were written to their end, the oldest first."""
    stopping: Callable[[], bool] = lambda: False
    """Whether the run is asked to end, so that nobody waits."""


async def open_engine(
    prepared: Prepared, around: Around, weights: str | None = None, crew: Callable[[Terms], Start] | None = None
) -> Engine:
    """The engine of a recipe: of this process or of several trainers, with its servers where it has some. None of those
    is started before it begins; trainers are. `weights`: a checkpoint to continue from. `crew`: who starts trainers in
    the place of Ray."""
    if prepared.recipe.engine.trainers == 1:
        return with_servers(prepared, build_engine(prepared, weights), around)
    ranked = await _ranked(prepared, around, weights, crew or _on_ray)
    try:
        return with_servers(prepared, ranked, around)
    except BaseException:
        await ranked.close()
        raise


async def _ranked(
    prepared: Prepared, around: Around, weights: str | None, crew: Callable[[Terms], Start]
) -> RankedEngine:
    """Trainers at work, and the sampler beside them where the recipe samples and no servers do."""
    from postlude.engines.ranks import supervision
    from postlude.engines.ranks.crew import Terms
    from postlude.engines.ranks.engine import RankedEngine
    from postlude.engines.ranks.journal import Journal
    from postlude.footprint import require_room_of_ranks

    require_room_of_ranks(prepared)
    recipe = prepared.recipe
    terms = Terms.of(recipe.engine)
    on = supervision.Around(
        around.say, around.stopping, around.step, command(around.folder, []), _unchanged(recipe.method)
    )
    blueprint = _blueprint(prepared, around.folder, weights)
    ranks = supervision.Supervision(crew(terms), blueprint, terms, Journal(around.sealed), on)
    samples = serving.samples(recipe, recipe.algorithm) and not recipe.servers
    return await RankedEngine.open(ranks, prepared.facts, around.folder if samples else None)


def _unchanged(method: str) -> Callable[[], None]:
    """What raises EngineError where the files of a method of the user's own, which every rank loads as it starts, are
    not what they are now."""
    from postlude.inputs.made_of import of_code

    if ":" not in method:
        return lambda: None
    before = of_code(method)

    def require() -> None:
        try:
            now = of_code(method)
        except OSError:  # it is gone
            now = {}
        if others := [name for name in before | now if before.get(name) != now.get(name)]:
            raise EngineError(
                f"a trainer was lost, and {others[0]}, which all load as they are started again, was changed since the "
                "run began: they would train otherwise than before, and nobody would see it. Put back what it was, "
                "and go on with --resume.",
                code="changed-method",
                key="method",
            )

    return require


def _on_ray(terms: Terms) -> Start:
    from postlude.engines.ranks.group import OnRay

    return OnRay(terms)


def _blueprint(prepared: Prepared, folder: Path, weights: str | None) -> Blueprint:
    from postlude.engines.ranks.crew import Blueprint
    from postlude.footprint import work_of

    recipe = prepared.recipe
    return Blueprint(
        recipe.model,
        recipe.optimizer,
        recipe.engine,
        recipe.seed,
        keep_reference=Need.REFERENCE in recipe.objective.needs,
        dropout=recipe.method == "sft",
        scores=Need.SCORES in recipe.objective.needs,
        pairs=reads_pairs(recipe),
        critic=recipe.critic,
        checkpoint=weights,
        work=work_of(prepared),
        imports=(recipe.method,) if ":" in recipe.method else (),
        folder=folder,
    )


def build_engine(prepared: Prepared, weights: str | None = None, reference: bool | None = None) -> LocalEngine:
    """The local engine with the recipe's model. `weights`: a checkpoint to continue from."""
    import torch

    from postlude.engines.local.engine import LocalEngine
    from postlude.footprint import require_room, work_of

    recipe = prepared.recipe
    needed = Need.REFERENCE in recipe.objective.needs if reference is None else reference
    require_room(prepared, needed)
    torch.manual_seed(recipe.seed)  # a fresh adapter's weights
    engine = LocalEngine.start(
        recipe.model,
        prepared.facts,
        recipe.optimizer,
        recipe.engine,
        keep_reference=needed,
        dropout=recipe.method == "sft",
        own_sampler=recipe.max_lag > 0 and not recipe.servers,
        checkpoint=weights,
        scores=Need.SCORES in recipe.objective.needs,
        critic=recipe.critic,
        pairs=reads_pairs(recipe),
        work=work_of(prepared),
    )
    engine.rehearse()
    return engine


def with_servers(prepared: Prepared, engine: LocalEngine | RankedEngine, around: Around) -> Engine:
    """The engine itself, or as the trainer of the recipe's vLLM servers. None of them is started before it begins."""
    held = prepared.recipe.engine
    servers = prepared.recipe.servers
    if servers is None:
        return engine
    from postlude.engines.servers.engine import ServedEngine
    from postlude.engines.servers.handshake import EXACT, HALF, Handshakes
    from postlude.engines.servers.ledger import Ledger
    from postlude.engines.servers.pool import PoolSampler
    from postlude.engines.servers.publishing import publisher_for, way_of
    from postlude.engines.servers.shelf import Shelf, named_weights
    from postlude.engines.servers.stream import connect

    policy, facts = engine.policy, prepared.facts
    way, longest = way_of(held.publish, policy.adapter_rank is not None), longest_asked(prepared)
    fleet, turns = _fleet(prepared, engine, servers, around, way)
    fleet.say, fleet.stopping = around.note or around.say, around.stopping
    ledger = Ledger(around.folder, around.say)
    limits = EXACT if held.dtype == "float32" else HALF
    return ServedEngine(
        local=engine,
        fleet=fleet,
        sampler=PoolSampler(fleet, ledger, facts.tokenizer, facts.stop_ids, facts.vocabulary, servers),
        shelf=Shelf.open(around.folder, policy, engine.tokenizer, prepared.recipe.model.path),
        publisher=publisher_for(way, partial(named_weights, policy.net), partial(connect, servers, policy.device)),
        handshakes=Handshakes(engine.trainer, facts.vocabulary, longest, policy.tied, limits),
        ledger=ledger,
        turns=turns,
        step=around.step,
        say=around.say,
        way=way,
        probe_every=held.probe_every,
        checkpoint=around.committed,
    )


async def go_on_without_servers(engine: Engine, folder: Path, step: Callable[[], int], publishes: bool) -> None:
    """Of a run that servers sampled for: its versions from here on have numbers that none of theirs has, and how old
    an answer of theirs is stands in their ledger. `publishes`: the next version is about to be published."""
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.ranks.engine import RankedEngine
    from postlude.engines.servers.ledger import Ledger

    assert isinstance(engine, LocalEngine | RankedEngine)
    if not (folder / PUBLISHED).exists():
        return
    ledger = Ledger(folder)

    def lag(version: int) -> int | None:
        known = ledger.step_of(version)
        return None if known is None else step() - known

    engine.served_lag = lag
    if publishes:
        engine.trainer.version = max(engine.trainer.version, ledger.newest)
    elif engine.trainer.version <= ledger.newest:
        await engine.relabel(ledger.newest + 1)


def _fleet(
    prepared: Prepared, engine: LocalEngine | RankedEngine, servers: Servers, around: Around, way: Publishing
) -> tuple[Fleet, Turns | Apart]:
    """The servers, and whose turn a device is that they share with the trainer."""
    from torch.cuda import device_count

    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.servers.addresses import private_urls
    from postlude.engines.servers.fleet import Fleet
    from postlude.engines.servers.shares import sharing
    from postlude.engines.servers.starting import launch_of
    from postlude.engines.servers.turns import Apart, Turns

    recipe, gpus = prepared.recipe, device_count() if engine.policy.device.type == "cuda" else 0
    urls = private_urls(servers.urls)
    share = None
    if servers.colocate and isinstance(engine, LocalEngine):  # with ranks it is refused
        share = sharing(engine, servers, way == "lora", around.say)
    rank, most = engine.policy.adapter_rank, share.most if share else None
    longest = longest_asked(prepared)
    launch = None if urls else launch_of(recipe.engine, longest, recipe.seed, rank, way, gpus, most)
    fleet = Fleet(servers, around.folder / LOGS, launch, urls, around.say)
    return fleet, Turns(fleet, share.level) if share else Apart(fleet)


def longest_asked(prepared: Prepared) -> int:
    """Tokens of the longest prompt that is answered, with its answer."""
    prompts = [*prepared.prompts, *prepared.held_out, *prepared.sheet]
    return max((len(p.tokens) for p in prompts), default=0) + prepared.recipe.sampling.max_tokens
