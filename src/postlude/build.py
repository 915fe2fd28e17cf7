"""From what was checked to what runs: the engine and the streams. The only place where concrete ones are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from postlude.algorithms import ALGORITHMS
from postlude.check_data import reads_pairs
from postlude.data import Group
from postlude.engines.protocol import Engine
from postlude.objectives import Need
from postlude.prepared import Prepared
from postlude.rewards.functions import LearnedReward
from postlude.rewards.rewards import Rewards
from postlude.rollouts.ahead import Ahead
from postlude.rollouts.rollout import RolloutSource
from postlude.runs.files import LOGS, PUBLISHED
from postlude.signals import trains_on_correct
from postlude.sources.file import Cursor, FileSource, Mixture
from postlude.sources.source import Source
from postlude.streams import ReferenceMemory, Stream
from postlude.truth.evaluation import Evaluation, SheetOf
from postlude.truth.meter import First

if TYPE_CHECKING:
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.servers.fleet import Fleet
    from postlude.engines.servers.turns import Apart, Turns
    from postlude.engines.settings import Publishing, Servers

PRETRAIN = "pretrain"
"""Name of the second stream."""


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


def with_servers(
    prepared: Prepared,
    engine: LocalEngine,
    folder: Path,
    say: Callable[[str], None],
    step: Callable[[], int] = lambda: 0,
    checkpoint: Callable[[], Path | None] = lambda: None,
    note: Callable[[str], None] | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Engine:
    """The engine itself, or as the trainer of the recipe's vLLM servers. None of them is started before it begins.

    `folder`: for versions of the weights, logs, and the ledger of what was published. `step`: of the run. `checkpoint`:
    one that holds the weights as they are now. `note` hears of servers that fail and come back, as `say` does of the
    rest. `stopping`: whether the run is asked to end, so that nobody waits.
    """
    held = prepared.recipe.engine
    servers = prepared.recipe.servers
    if servers is None:
        return engine
    from postlude.engines.servers.engine import ServedEngine
    from postlude.engines.servers.handshake import EXACT, HALF, Handshakes
    from postlude.engines.servers.ledger import Ledger
    from postlude.engines.servers.pool import PoolSampler
    from postlude.engines.servers.publishing import publisher_for, way_of
    from postlude.engines.servers.shelf import Shelf, is_tied, named_weights
    from postlude.engines.servers.stream import connect

    trainer, facts = engine.trainer, prepared.facts
    way, longest = way_of(held.publish, trainer.has_adapter), longest_asked(prepared)
    fleet, turns = _fleet(prepared, engine, servers, folder / LOGS, way, say)
    fleet.say, fleet.stopping = note or say, stopping
    ledger = Ledger(folder, say)
    limits = EXACT if held.dtype == "float32" else HALF
    return ServedEngine(
        local=engine,
        fleet=fleet,
        sampler=PoolSampler(fleet, ledger, facts.tokenizer, facts.stop_ids, facts.vocabulary, servers),
        shelf=Shelf.open(folder, trainer, engine.tokenizer, prepared.recipe.model.path),
        publisher=publisher_for(
            way, partial(named_weights, trainer.model.net), partial(connect, servers, engine.model.device)
        ),
        handshakes=Handshakes(trainer, facts.vocabulary, longest, is_tied(trainer.model.net), limits),
        ledger=ledger,
        turns=turns,
        step=step,
        say=say,
        way=way,
        probe_every=held.probe_every,
        checkpoint=checkpoint,
    )


async def go_on_without_servers(engine: LocalEngine, folder: Path, step: Callable[[], int]) -> None:
    """Of a run that servers sampled for: its versions from here on have numbers that none of theirs has, and how old
    an answer of theirs is stands in their ledger."""
    from postlude.engines.servers.ledger import Ledger

    if not (folder / PUBLISHED).exists():
        return
    ledger = Ledger(folder)

    def lag(version: int) -> int | None:
        known = ledger.step_of(version)
        return None if known is None else step() - known

    engine.served_lag = lag
    if engine.trainer.version <= ledger.newest:
        engine.trainer.version = ledger.newest + 1
        await engine.sampler.load(engine.trainer.weights())


def _fleet(
    prepared: Prepared, engine: LocalEngine, servers: Servers, logs: Path, way: Publishing, say: Callable[[str], None]
) -> tuple[Fleet, Turns | Apart]:
    """The servers, and whose turn a device is that they share with the trainer."""
    from torch.cuda import device_count

    from postlude.engines.servers.addresses import private_urls
    from postlude.engines.servers.fleet import Fleet
    from postlude.engines.servers.shares import sharing
    from postlude.engines.servers.starting import launch_of
    from postlude.engines.servers.turns import Apart, Turns
    from postlude.models import adapters

    recipe, gpus = prepared.recipe, device_count() if engine.model.device.type == "cuda" else 0
    urls = private_urls(servers.urls)
    share = sharing(engine, servers, way == "lora", say) if servers.colocate else None
    rank, most = adapters.rank_of(engine.trainer.model.net), share.most if share else None
    longest = longest_asked(prepared)
    launch = None if urls else launch_of(recipe.engine, longest, recipe.seed, rank, way, gpus, most)
    fleet = Fleet(servers, logs, launch, urls, say)
    return fleet, Turns(fleet, share.level) if share else Apart(fleet)


def longest_asked(prepared: Prepared) -> int:
    """Tokens of the longest prompt that is answered, with its answer."""
    prompts = [*prepared.prompts, *prepared.held_out, *prepared.sheet]
    return max((len(p.tokens) for p in prompts), default=0) + prepared.recipe.sampling.max_tokens


def build_streams(prepared: Prepared, engine: Engine, on_phase: Callable[[str], None]) -> list[Stream]:
    """The streams of a recipe: one source with its objective, and plain text beside it where the recipe has some.

    Reward models are opened here, behind the engine: what is wrong with their weights is known before any answer is.
    """
    recipe = prepared.recipe
    for member in [*prepared.rewards.members, *prepared.metrics.members]:
        if isinstance(member.function, LearnedReward):
            _ = member.function.scorers
    size = recipe.prompts_per_step
    source: Source
    if recipe.algorithm.source != "rollout":
        source = FileSource(prepared.items, size, _order(prepared, len(prepared.items)))
    else:
        source = RolloutSource(
            prepared.prompts,
            engine.sampler,
            prepared.rewards,
            recipe.sampling,
            size,
            recipe.group_size,
            _order(prepared, len(prepared.prompts)),
            recipe.seed,
            recipe.keep,
            recipe.shaping,
            on_phase,
            needs_correct=bool(trains_on_correct(recipe)),
        )
        source = Ahead(source) if recipe.max_lag else source
    temperature = recipe.sampling.temperature if recipe.algorithm.source == "rollout" else 1.0
    written = recipe.algorithm.source != "rollout" and Need.REFERENCE in recipe.objective.needs
    lead = Stream(
        recipe.name,
        source,
        recipe.objective,
        recipe.updates,
        recipe.epochs,
        temperature,
        control=recipe.kl_control,
        stop_kl=recipe.stop_kl,
        truncated=recipe.algorithm.source == "rollout" and recipe.sampling.truncates,
        memory=ReferenceMemory() if written else None,
    )
    return [lead, *_pretrain_stream(prepared)]


def _pretrain_stream(prepared: Prepared) -> list[Stream]:
    recipe = prepared.recipe
    if recipe.pretrain is None:
        return []
    cursor = Cursor(len(prepared.pretrain), recipe.seed)
    source = FileSource(prepared.pretrain, recipe.pretrain.rows, cursor, PRETRAIN)
    objective = ALGORITHMS["sft"].objective
    return [Stream(PRETRAIN, source, objective, recipe.updates, recipe.epochs, 1.0, recipe.pretrain.coef)]


def held_out_streams(prepared: Prepared, streams: Sequence[Stream]) -> list[tuple[Stream, list[Group]]]:
    """The objectives of the streams, each with the held-out groups it is measured on."""
    chosen_streams = []
    most = prepared.recipe.evaluate.prompts
    chosen = [group for one in prepared.eval_sets for group in one.judged[:most]]
    if chosen:
        memory = ReferenceMemory() if streams[0].memory else None
        chosen_streams.append((replace(streams[0], name="held_out", control=None, memory=memory), chosen))
    if prepared.pretrain_held_out:
        chosen_streams.append((replace(streams[1], name=f"{PRETRAIN}/held_out"), prepared.pretrain_held_out))
    return chosen_streams


def evaluation_of(prepared: Prepared, first: First | None = None) -> Evaluation:
    """What is measured by sampling; without a set where nothing is. `first`: what was measured first of all."""
    recipe = prepared.recipe
    trained = recipe.algorithm.source == "rollout"
    samples = recipe.evaluate.samples
    rewards, metrics = prepared.rewards, prepared.metrics
    return Evaluation(prepared.asked, rewards, metrics, recipe.sampling, samples, trained, first or First())


def sheet_of(prepared: Prepared) -> SheetOf:
    """The fixed sheet; without a prompt where there is none. What scores it is what finds its columns there."""
    recipe, prompts = prepared.recipe, prepared.sheet
    columns = {column for prompt in prompts for column in prompt.columns}
    able = [m for m in prepared.metrics.members if not Rewards([m]).missing_columns(columns)]
    rewards = Rewards([]) if prepared.rewards.missing_columns(columns) else prepared.rewards
    answers = recipe.evaluate.sheet.answers if recipe.evaluate.sheet else 1
    return SheetOf(prompts, answers, rewards, replace(prepared.metrics, members=able), recipe.sampling)


def _order(prepared: Prepared, size: int) -> Cursor | Mixture:
    seed = prepared.recipe.seed
    return Mixture(prepared.shares, seed) if prepared.recipe.data.mix else Cursor(size, seed)
