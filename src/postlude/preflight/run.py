"""From a document to its report: the cheap part first, then, unless that is all that is wanted, the model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from postlude.build import build_engine
from postlude.check import check
from postlude.data import Group
from postlude.engines.local.engine import LocalEngine
from postlude.errors import ConfigError, DataError, EngineError
from postlude.objects import imports_put_back
from postlude.preflight.causes import likelier
from postlude.preflight.invariants import look_at_agreement, look_at_implicit
from postlude.preflight.measured import look_at_held_out, look_at_metrics
from postlude.preflight.probing import PROBED, probe
from postlude.preflight.ranks import look_at_ranks, look_at_shares
from postlude.preflight.report import Report, Section, refused
from postlude.preflight.resources import look_at_disk, look_at_memory, look_at_time
from postlude.preflight.reward import look_at_reward
from postlude.preflight.rows import look_at_rows
from postlude.preflight.sampled import FEW_SAMPLES, SAMPLES, Sampled, chosen, sample
from postlude.preflight.servers import look_at_servers
from postlude.preflight.signal import compares_groups, look_at_signal
from postlude.preflight.template import look_at_template
from postlude.preflight.tokens import look_at_tokens
from postlude.preflight.update import Timed, look_at_update
from postlude.prepared import Prepared
from postlude.process import in_an_event_loop
from postlude.recipe import Document
from postlude.streaming import build_streams

Tell = Callable[[str], None]
ROWS = 8
"""Written rows that an update is tried with."""


@dataclass(frozen=True)
class Options:
    """How much is looked at."""

    quick: bool = False
    """Only what is known without weights."""
    prompts: int | None = None
    """That the model is asked. None: 16, or fewer where that takes long."""
    samples: int | None = None
    """Answers to each. None: 8."""
    seed: int = 0


def preflight(document: Document, name: str, options: Options | None = None, tell: Tell = lambda doing: None) -> Report:
    """Look at everything; what is wrong stands in the report, and is not raised."""
    options = options or Options()
    began = time.monotonic()
    report = Report(name, quick=options.quick)
    with imports_put_back():
        try:
            tell("reading recipe, data and tokenizer")
            prepared = check(document)
            _look(prepared, report, options, tell)
        except (ConfigError, DataError, EngineError) as error:
            report.sections.append(refused(error.problems))
    report.seconds = time.monotonic() - began
    return report


def _look(prepared: Prepared, report: Report, options: Options, tell: Tell) -> None:
    report.method, report.sizes = prepared.recipe.name, prepared.recipe.sizes
    report.sections += [look_at_rows(prepared), look_at_template(prepared), look_at_tokens(prepared)]
    held_out = look_at_held_out(prepared)
    report.sections += [held_out] if held_out else []
    servers = look_at_servers(prepared)
    ranks = look_at_ranks(prepared)
    report.sections += [section for section in (ranks, servers) if section]
    if options.quick:
        return
    import torch

    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), TemporaryDirectory() as place:  # pyright: ignore[reportUnknownMemberType]
        tell("loading the model")
        engine = _built(prepared, report)
        if engine is None:
            return
        prepared.rewards.keep_in(Path(place))
        prepared.metrics.keep_in(Path(place))
        _in_a_loop(lambda: asyncio.run(_ask(prepared, engine, report, options, tell)))


def _built(prepared: Prepared, report: Report) -> LocalEngine | None:
    """The model in this process; None of one that only several trainers can hold."""
    try:
        return build_engine(prepared)
    except ConfigError as error:
        if prepared.recipe.engine.trainers == 1 or error.code != "out-of-memory":
            raise
        text = "the whole model does not fit into one process here, so nothing that needs it was looked at."
        report.section("ranks").note("out-of-memory", text, "postlude engine check puts the ranks themselves to work.")
        report.quick = True
        return None


def _in_a_loop(work: Callable[[], None]) -> None:
    """Run it here, or where an event loop runs already, as in a notebook, in a thread of its own."""
    if not in_an_event_loop():
        return work()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


async def _ask(prepared: Prepared, engine: LocalEngine, report: Report, options: Options, tell: Tell) -> None:
    """Everything that needs the model."""
    recipe = prepared.recipe
    sampled: Sampled | None = None
    rollout = recipe.algorithm.source == "rollout"
    if rollout:
        tell("sampling")
        size = SAMPLES if compares_groups(recipe) else FEW_SAMPLES
        sampled = await sample(prepared, engine, options.prompts, options.samples, options.seed, size)
    if prepared.rewards.members:
        tell("asking the reward")
        prompts = chosen(prepared.prompts or prepared.held_out, PROBED, options.seed)
        report.sections.append(look_at_reward(prepared, await probe(prepared, prompts), sampled))
    if sampled is not None:
        report.sections.append(look_at_signal(recipe, sampled, options.seed, likelier(prepared, sampled.completions)))
    if prepared.metrics.members:
        await look_at_metrics(prepared, sampled, report.section("held_out"))
    if sampled is not None and recipe.engine.trainers > 1:
        look_at_shares(prepared, sampled.groups, report.section("ranks"))
    tell("taking one update")
    groups = sampled.groups if sampled is not None else prepared.items[:ROWS]
    timed, section = await _step_zero(prepared, engine, groups)
    report.sections += [
        section,
        look_at_memory(prepared, engine),
        look_at_disk(prepared, engine, sampled),
        look_at_time(prepared, timed, sampled),
    ]


async def _step_zero(prepared: Prepared, engine: LocalEngine, groups: list[Group]) -> tuple[Timed, Section]:
    section = Section("step_0", "Step 0")
    (stream, *_) = build_streams(prepared, engine, lambda phase: None)
    await look_at_agreement(prepared.recipe, engine, groups, section)
    look_at_implicit(prepared.rewards, groups, section)
    timed = await look_at_update(prepared.recipe, engine, stream, groups, section)
    section.summary = ", ".join(f"{name} {value}" for name, value in section.table[:2])
    if not any(one.level in ("warning", "broken") for one in section.findings):
        section.summary = _all_well(section)
    return timed, section


def _all_well(section: Section) -> str:
    held = ["sampler and trainer agree"] if "sampler_trainer_mean" in section.figures else []
    held += ["ratio 1"] if "ratio" in section.figures else []
    held += ["KL to the reference 0"] if "reference_mean" in section.figures else []
    held += ["loss finite, gradient not 0, weights move"] if "grad_norm" in section.figures else []
    return ", ".join(held) or "nothing to compare"
