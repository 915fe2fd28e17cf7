"""From what was checked to the streams of a run, and to what it measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from postlude.algorithms import ALGORITHMS
from postlude.data import Group
from postlude.engines.protocol import Engine
from postlude.objectives import Need
from postlude.prepared import Prepared
from postlude.rewards.functions import LearnedReward
from postlude.rewards.rewards import Rewards
from postlude.rollouts.ahead import Ahead
from postlude.rollouts.rollout import RolloutSource
from postlude.signals import trains_on_correct
from postlude.sources.file import Cursor, FileSource, Mixture
from postlude.sources.source import Source
from postlude.streams import ReferenceMemory, Stream
from postlude.truth.evaluation import Evaluation, SheetOf
from postlude.truth.meter import First

PRETRAIN = "pretrain"
"""Name of the second stream."""


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
