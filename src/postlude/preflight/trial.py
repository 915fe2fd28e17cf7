"""An engine tried out before a run: trainer ranks and vLLM servers, started, put to work, and stopped again."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from postlude.build import Around, build_engine, open_engine, with_servers
from postlude.check import check
from postlude.data import Group
from postlude.engines.protocol import Engine, Progress
from postlude.engines.ranks.crew import Start, Terms
from postlude.engines.ranks.engine import RankedEngine
from postlude.engines.resident import of_tree, resident
from postlude.engines.servers.engine import ServedEngine
from postlude.engines.servers.fleet import Member
from postlude.errors import ConfigError, EngineError, PostludeError, Problem
from postlude.objects import imports_put_back
from postlude.preflight.ranks_trial import RanksTried, RankTrial
from postlude.preflight.sampled import chosen
from postlude.prepared import Prepared
from postlude.recipe import Document
from postlude.rollouts.rollout import answer

PROMPTS, ANSWERS, TOKENS = 8, 64, 128
"""Asked at most: prompts, answers in all, tokens of an answer."""
NOISE, LEAST_SPREAD = 0.1, 0.02
"""Of the spread of each tensor, and what stands for that of one whose numbers are all the same."""
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Agreement:
    """How far a server's log-probs are from the trainer's, in nats, on so many tokens."""

    largest: float
    mean: float
    tokens: int


@dataclass(frozen=True)
class ServerTried:
    """One server."""

    name: str
    vllm: str
    """Its version."""
    started: float | None
    """Seconds until it was healthy; None of one that ran already."""
    before: Agreement
    """The publication."""
    after: Agreement
    memory: int | None
    """Bytes of all its processes, on a CPU; None of one that runs elsewhere or cannot be looked into."""


@dataclass(frozen=True)
class Tried:
    """What a trial measured. Bytes and seconds."""

    model: str
    method: str
    dtype: str
    device: str
    servers: list[ServerTried]
    way: str
    """How weights were published."""
    chosen: bool
    """Whether `auto` chose it."""
    write: float
    """To the version's folder."""
    publish: float
    handshake: float
    version: int
    """Bytes that a version takes on the disk."""
    commit: int
    """The same of a checkpoint."""
    trainer: int | None
    """Memory of this process."""
    limit: float
    """Up to which log-probs may differ in any token."""
    answers: int
    tokens: int
    seconds: float
    """Of sampling."""
    notes: list[str]
    ranks: RanksTried | None = None
    """Of several trainers."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"schema": 1, "verdict": "ok", **asdict(self)}


@dataclass(frozen=True)
class TriedRanks:
    """What a trial of trainer ranks without servers measured. Bytes and seconds."""

    model: str
    method: str
    dtype: str
    device: str
    ranks: RanksTried
    driver: int | None
    """Memory of this process."""
    answers: int
    """Sampled here; 0 where nothing samples, and rows were taken."""
    tokens: int
    seconds: float
    """Of sampling."""
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"schema": 1, "verdict": "ok", **asdict(self)}


def try_engine(
    document: Document, folder: Path, tell: Tell, kill: bool = False, crew: Callable[[Terms], Start] | None = None
) -> Tried | TriedRanks:
    """Start the recipe's trainer ranks and servers and try them; they are stopped however it ends. `folder` gets logs
    and versions; `kill`: one rank is killed on the way; `crew`: who starts ranks in the place of Ray.

    Raises a PostludeError with what is wrong, and the end of a server's log where that is known.
    """
    with imports_put_back():
        tell("reading recipe, data and tokenizer")
        prepared = check(document)
        _require_more(prepared, kill)
        notes: list[str] = []
        if prepared.recipe.engine.trainers > 1:
            return asyncio.run(_with_ranks(prepared, folder, notes, tell, kill, crew))
        tell("loading the trainer")
        engine = with_servers(prepared, build_engine(prepared), Around(folder, notes.append))
        assert isinstance(engine, ServedEngine)
        return asyncio.run(_trial(prepared, engine, notes, tell))


def _require_more(prepared: Prepared, kill: bool) -> None:
    """Something beside this process."""
    recipe = prepared.recipe
    if recipe.engine.trainers > 1:
        return
    if kill:
        raise ConfigError("--kill ends a trainer rank, and engine.trainers is 1.", code="no-effect", key="--kill")
    if recipe.engine.servers is None:
        raise ConfigError(
            "the recipe has neither several engine.trainers nor engine.servers: this process does all, and there is "
            "nothing to try. Give them in it, or here: engine=ray, or engine.servers='{count: 1, python: "
            ".venv-vllm/bin/python}'.",
            code="missing-key",
            key="engine.servers",
        )
    if recipe.servers is None:
        raise ConfigError(
            f"{recipe.name} samples no answers, so a run would start no server. engine.servers are for methods that "
            "sample, and for held-out prompts that are answered (data.eval, with a reward).",
            code="no-effect",
            key="engine.servers",
        )


async def _with_ranks(
    prepared: Prepared,
    folder: Path,
    notes: list[str],
    tell: Tell,
    kill: bool,
    crew: Callable[[Terms], Start] | None,
) -> Tried | TriedRanks:
    tell("starting the trainer ranks")
    began = time.monotonic()
    engine = await open_engine(prepared, Around(folder, notes.append), crew=crew)
    ranked = engine.local if isinstance(engine, ServedEngine) else engine
    assert isinstance(ranked, RankedEngine)
    work = RankTrial(prepared, engine, ranked, tell, time.monotonic() - began, folder, kill)
    if isinstance(engine, ServedEngine):
        return await _trial(prepared, engine, notes, tell, work)
    try:
        sampled = await _sampled(prepared, engine, tell) if ranked.copy else None
        await work.move(sampled[0] if sampled else [])
        tell("gathering weights")
        await engine.publish()
        gathered = ranked.seconds["gather"] if sampled else None
        again = await _sampled(prepared, engine, tell) if sampled else None
        apart = await work.compare(again[0]) if again else None
        return _tried_ranks(prepared, ranked, await work.end(gathered, apart), sampled, notes)
    finally:
        tell("stopping")
        await engine.close()


async def _trial(
    prepared: Prepared, engine: ServedEngine, notes: list[str], tell: Tell, work: RankTrial | None = None
) -> Tried:
    engine.probe_every = 1
    started = _when_healthy(engine)
    try:
        tell("connecting to the servers" if engine.fleet.urls else "starting the servers")
        await engine.begin()
        members = engine.fleet.ready()
        before = _agreements(engine)
        groups, seconds = await _sampled(prepared, engine, tell)
        if work:
            await work.move(groups)
        else:
            _change_weights(engine)
        tell("publishing other weights")
        await engine.publish()
        _require_ready(members)
        after = _agreements(engine)
        servers = [
            ServerTried(
                member.name,
                await member.server.version(),
                started.get(member.name) if member.process else None,
                before[member.name],
                after[member.name],
                _memory(member),
            )
            for member in members
        ]
        ranks = await work.end(engine.seconds.get("gather"), None) if work else None
        return _tried(prepared, engine, servers, groups, seconds, notes, ranks)
    except PostludeError as error:
        raise _with_logs(engine, error) from error
    finally:
        tell("stopping")
        await engine.close()


def _tried_ranks(
    prepared: Prepared,
    ranked: RankedEngine,
    ranks: RanksTried,
    sampled: tuple[list[Group], float] | None,
    notes: list[str],
) -> TriedRanks:
    recipe, (groups, seconds) = prepared.recipe, sampled or ([], 0.0)
    completions = [completion for group in groups for completion in group.completions]
    return TriedRanks(
        model=recipe.model.path,
        method=recipe.name,
        dtype=recipe.engine.dtype,
        device=ranked.policy.device.type,
        ranks=ranks,
        driver=resident(os.getpid()),
        answers=len(completions),
        tokens=sum(completion.length for completion in completions),
        seconds=seconds,
        notes=[*prepared.notes, *notes],
    )


def _when_healthy(engine: ServedEngine) -> dict[str, float]:
    """Name of a server -> seconds from its start until it is healthy, once it is: it is admitted then."""
    fleet = engine.fleet
    admit, newest, began, seconds = fleet.admit, fleet.newest, [time.monotonic()], dict[str, float]()

    def folder() -> Path:
        began[0] = time.monotonic()
        return newest()

    async def admitted(member: Member) -> None:
        seconds[member.name] = time.monotonic() - began[0]
        await admit(member)

    fleet.admit, fleet.newest = admitted, folder
    return seconds


def _change_weights(engine: ServedEngine) -> None:
    """Add noise to what is trained: a server that takes new weights without a word and keeps the old ones would agree
    with the same ones again. The trainer is not needed for anything else after this."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in engine.shelf.policy.net.parameters():
            if weights.requires_grad:
                noise = torch.randn(weights.shape, generator=generator).to(weights)
                spread = weights.float().std(unbiased=False).item()
                weights += NOISE * (spread or LEAST_SPREAD) * noise


def _agreements(engine: ServedEngine) -> dict[str, Agreement]:
    """Of every server, by its newest handshake."""
    return {name: Agreement(one.largest, one.mean, one.tokens) for name, one in engine.greetings.items()}


def _require_ready(members: Sequence[Member]) -> None:
    """In a run a server that failed is started again; here it is what is looked for."""
    failed = [(one.name, one.trouble) for one in members if one.state != "ready"]
    if failed:
        texts = [why if why.startswith(name) else f"{name}: {why}" for name, why in failed]
        raise EngineError([Problem("server-answer", text) for text in texts])


async def _sampled(prepared: Prepared, engine: Engine, tell: Tell) -> tuple[list[Group], float]:
    """Answers to a few of the recipe's own prompts, as it has them sampled but for their length."""
    recipe = prepared.recipe
    prompts = chosen(prepared.prompts or prepared.held_out or prepared.sheet, PROMPTS, 0)
    each = max(1, min(recipe.group_size, ANSWERS // len(prompts)))
    sampling = replace(recipe.sampling, max_tokens=min(recipe.sampling.max_tokens, TOKENS))

    def show(progress: Progress) -> None:
        tell(f"sampling: {progress.finished} of {progress.total} answers")

    engine.sampler.on_progress = show
    began = time.monotonic()
    groups = await answer(engine.sampler, prompts, each, sampling, recipe.seed, "engine check")
    return groups, time.monotonic() - began


def _memory(member: Member) -> int | None:
    pid = member.process.pid if member.process is not None else None
    return of_tree(pid) if pid is not None else None


def _tried(
    prepared: Prepared,
    engine: ServedEngine,
    servers: list[ServerTried],
    groups: Sequence[Group],
    seconds: float,
    notes: list[str],
    ranks: RanksTried | None,
) -> Tried:
    recipe = prepared.recipe
    completions = [completion for group in groups for completion in group.completions]
    folder = engine.shelf.at(engine.trainer.version)
    return Tried(
        model=recipe.model.path,
        method=recipe.name,
        dtype=recipe.engine.dtype,
        device=engine.shelf.policy.device.type,
        servers=servers,
        way=engine.way,
        chosen=recipe.engine.publish == "auto",
        write=engine.seconds["write"],
        publish=engine.seconds["send"],
        handshake=engine.seconds["handshake"],
        version=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        commit=engine.saved_bytes(),
        trainer=resident(os.getpid()),
        limit=engine.handshakes.limits.largest,
        answers=len(completions),
        tokens=sum(completion.length for completion in completions),
        seconds=seconds,
        notes=[*prepared.notes, *notes],
        ranks=ranks,
    )


def _with_logs(engine: ServedEngine, error: PostludeError) -> PostludeError:
    """The error with the end of each server's log, unless it tells one already."""
    logs = [member.process.account() for member in engine.fleet.members if member.process is not None]
    if not logs or any("The end of its log" in problem for problem in error.problems):
        return error
    return EngineError([*error.problems, *(Problem(error.code, log) for log in logs)])
