"""What `train` itself looks at before its first update: the invariants of step 0 and, where the first answers say
nothing, whether the reward can say anything. What proves a run broken stops it; what is only likely is a note."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from postlude.batch import pack
from postlude.data import Completion, Group
from postlude.engines.protocol import Engine
from postlude.errors import ConfigError, RewardError, TrainingError
from postlude.objectives import Need
from postlude.preflight.causes import likelier, of_form
from postlude.preflight.invariants import (
    MEND_MISMATCH,
    MEND_REFERENCE,
    SAME,
    against_reference,
    mismatch_text,
    reference_text,
    sampler_against_trainer,
    tolerance_of,
)
from postlude.preflight.probing import PROBED, RIGHT, Probed, is_slow, probe
from postlude.preflight.resources import space_of, space_text
from postlude.preflight.reward import constant_text, is_constant, untold_text, wrong_column
from postlude.preflight.sampled import Sampled
from postlude.preflight.signal import compares_groups, look_at_signal
from postlude.prepared import Prepared
from postlude.rollouts.filters import Accepted
from postlude.sources.source import Drawn

ALIKE = 0.75
"""Share of the first answers with one number, from which on they say too little of what the reward goes by."""
ANSWERS = 4
"""That the invariants are taken on."""


async def look_at_first(prepared: Prepared, engine: Engine, drawn: Drawn) -> list[str]:
    """Notes on the first draw of a run. Raises TrainingError or RewardError where it proves that the run is broken."""
    await _require_invariants(prepared, engine, drawn.groups)
    if prepared.recipe.algorithm.source != "rollout":
        return []
    form = of_form(prepared)
    notes = [f"{form[1]}. {form[2]}"] if form else []
    return [*notes, *await _look_at_reward(prepared, drawn), *_look_at_signal(prepared, drawn)]


def require_space(prepared: Prepared, engine: Engine, folder: Path) -> None:
    """Refuse a run whose checkpoints do not fit on its disk. Raises ConfigError."""
    recipe, each = replace(prepared.recipe, output=str(folder)), engine.saved_bytes()
    space = space_of(recipe, each, 0)
    if not space.fits:
        text, mend = space_text(recipe, space, each)
        raise ConfigError(f"output: {text}. {mend}", code="disk-full", key="output")


async def _require_invariants(prepared: Prepared, engine: Engine, groups: Sequence[Group]) -> None:
    recipe, few = prepared.recipe, _few(groups)
    if not few or Need.SCORES in recipe.objective.needs:
        return
    rollout = recipe.algorithm.source == "rollout"
    temperature = recipe.sampling.temperature if rollout else 1.0
    if rollout and not recipe.sampling.truncates:
        differs = await sampler_against_trainer(engine.trainer, few, temperature)
        if differs is not None and differs.mean > tolerance_of(recipe).most:
            text = await mismatch_text(engine.trainer, few, recipe, differs)
            raise TrainingError(f"before the first update: {text}. {MEND_MISMATCH}", code="sampler-differs")
    if Need.REFERENCE in recipe.objective.needs:
        apart = await against_reference(engine, pack(few, engine.trainer.dtype, temperature))
        if apart.mean > SAME:
            raise TrainingError(f"{reference_text(apart)}. {MEND_REFERENCE}", code="reference-differs")


def _few(groups: Sequence[Group]) -> list[Group]:
    """The first answers that have tokens."""
    pairs = [(g, c) for g in groups for c in g.completions if c.tokens][:ANSWERS]
    return [replace(g, completions=(replace(c, reward=c.reward or 0.0),)) for g, c in pairs]


async def _look_at_reward(prepared: Prepared, drawn: Drawn) -> list[str]:
    """What the reward goes by, asked about real rows: a lucky hit among the first answers says nothing of that."""
    answers = [c for g in drawn.sampled for c in g.completions]
    if isinstance(prepared.recipe.keep, Accepted):  # it imitates: no answer has to be the better one
        return []
    if len(answers) < 2 or is_slow(prepared.rewards):
        return []
    ((_, alike),) = Counter(c.reward for c in answers).most_common(1)
    if alike < ALIKE * len(answers):
        return []
    probed = await probe(prepared, prepared.prompts[:PROBED])
    wrong = wrong_column(probed)
    if wrong is not None:
        raise RewardError(f"{wrong[0]}. {wrong[1]}", code="reward-not-telling")
    if probed.errors or not probed.values:
        return []
    if not is_constant(probed, answers):
        return _untold(probed, answers)
    text, mend = constant_text(probed, answers)
    if answers[0].reward:  # not 0: no answer is too bad for it
        raise RewardError(f"{text}. {mend}", code="reward-not-telling")
    return [f"{text}. {mend}"] if any(name in RIGHT for name in probed.by) else []


def _untold(probed: Probed, answers: Sequence[Completion]) -> list[str]:
    """Where all first answers got one number, and right ones would get no better: it reads a missing column, say."""
    right = [name for name in probed.by if name in RIGHT]
    if not right or probed.goes_by() or len({c.reward for c in answers}) > 1:
        return []
    text, mend = untold_text(probed, right[0])
    return [f"{text}. {mend}"]


def _look_at_signal(prepared: Prepared, drawn: Drawn) -> list[str]:
    """Whether most groups of the run will have anything to compare, by those of the first draw."""
    recipe = prepared.recipe
    if not compares_groups(recipe) or not any(g.scored for g in drawn.sampled):
        return []
    answers = [c for g in drawn.sampled for c in g.completions]
    section = look_at_signal(recipe, Sampled(drawn.sampled), recipe.seed, likelier(prepared, answers))
    return [f"{one.text}. {one.mend}" for one in section.findings if one.level == "broken"]
