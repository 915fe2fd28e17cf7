"""Section `step 0`: what must hold before the first update, measured on a few answers, and one update taken and undone.

Sampler and trainer must give one answer the same log-probs, at the temperature in force; the ratio to the policy that
sampled is then 1, and the KL to a reference that is the start is 0. One test finds errors of temperature, dropout,
padding, template and reference alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from postlude.batch import Batch, pack
from postlude.data import Group
from postlude.engines.protocol import Engine, Scorer, Trainer
from postlude.engines.settings import ImplicitSpec
from postlude.lazy import torch
from postlude.objectives import Need
from postlude.preflight.report import Section
from postlude.recipe import Recipe
from postlude.rewards.functions import LearnedReward
from postlude.rewards.rewards import Rewards

if TYPE_CHECKING:
    from torch import Tensor

MOST_ANSWERS = 16
"""Looked at."""


@dataclass(frozen=True)
class Tolerance:
    """Nats per token."""

    usual: float
    """The mean difference up to which nothing is said."""
    most: float
    """Beyond it a run is broken."""


TOLERANCES = {
    "float64": Tolerance(1e-6, 1e-2),
    "float32": Tolerance(1e-4, 1e-2),
    "bfloat16": Tolerance(2e-2, 0.1),
    "float16": Tolerance(5e-3, 5e-2),
}
"""By the weights' numbers: float32 was seen to differ by 1e-6 to 1e-5, bfloat16 by 3e-3 to 1e-2."""
TEMPERATURES = (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0)
"""Tried to explain a difference."""
SAME = 1e-3
"""Nats per token between a policy and a reference that is its start: rounding is far less."""
FAR, STRANGER = 0.5, 1.5
"""Nats per token between the policy of an implicit reward and its reference: much, and too much for one model before
and after training."""


@dataclass(frozen=True)
class Differences:
    """Of two log-probs of the same tokens, in nats."""

    mean: float
    largest: float

    @classmethod
    def of(cls, one: Tensor, other: Tensor, where: Tensor) -> Differences:
        """Not finite where any of them is."""
        apart = (one - other)[where].abs()
        if not apart.numel():
            return cls(0.0, 0.0)
        return cls(float(apart.mean()), float(apart.max()))


async def sampler_against_trainer(trainer: Trainer, groups: Sequence[Group], temperature: float) -> Differences | None:
    """Of the sampler's and the trainer's log-probs; None where the sampler gave none."""
    batch = pack(groups, trainer.dtype, temperature)
    if batch.rollout_logprobs is None or not bool(batch.mask.any()):
        return None
    known = (await trainer.forward(batch, "policy")).logprobs
    assert known is not None
    return Differences.of(known, batch.rollout_logprobs, batch.mask & ~torch.isnan(batch.rollout_logprobs))


async def temperature_that_fits(trainer: Trainer, groups: Sequence[Group], differs: Differences) -> float | None:
    """The temperature at which the trainer would agree with the sampler, where one explains the difference."""
    tried = {t: await sampler_against_trainer(trainer, groups, t) for t in TEMPERATURES}
    best = min(TEMPERATURES, key=lambda t: d.mean if (d := tried[t]) else math.inf)
    one = tried[best]
    return best if one is not None and one.mean < 0.1 * differs.mean else None


def tolerance_of(recipe: Recipe) -> Tolerance:
    return TOLERANCES[recipe.engine.dtype]


async def mismatch_text(trainer: Trainer, groups: Sequence[Group], recipe: Recipe, differs: Differences) -> str:
    """What to say where sampler and trainer are too far apart."""
    text = (
        f"sampler and trainer give the same answers other log-probs: {differs.mean:.2g} nats per token apart, at most "
        f"{differs.largest:.2g} (rounding is below {tolerance_of(recipe).usual:g})"
    )
    fits = await temperature_that_fits(trainer, groups, differs)
    if fits is None:
        return text
    return (
        f"{text}: the sampler answers at temperature {fits:g}, and the trainer computes with "
        f"sampling.temperature={recipe.sampling.temperature:g}"
    )


MEND_MISMATCH = (
    "Set one temperature for both (sampling.temperature; a generation_config.json of the model must not set another, "
    "nor a repetition_penalty, top_k or top_p), or try engine.packed=false and engine.dtype=float32, and tell us."
)


async def against_reference(engine: Engine, batch: Batch) -> Differences:
    """Of the policy's log-probs and its reference's."""
    policy = (await engine.trainer.forward(batch, "policy")).logprobs
    reference = (await engine.trainer.forward(batch, "reference")).logprobs
    assert policy is not None and reference is not None
    return Differences.of(policy, reference, batch.mask)


async def look_at_agreement(recipe: Recipe, engine: Engine, groups: Sequence[Group], section: Section) -> None:
    """Sampler against trainer, one pass against the next, policy against reference."""
    few = _few(groups)
    if not few:
        return
    rollout = recipe.algorithm.source == "rollout"
    temperature = recipe.sampling.temperature if rollout else 1.0
    if rollout and recipe.sampling.truncates:
        section.table.append(("sampler = trainer", "not compared: top_p or top_k leave tokens out"))
    elif rollout:
        await _agreement(recipe, engine, few, temperature, section)
    if Need.SCORES in recipe.objective.needs:
        return
    batch = pack(few, engine.trainer.dtype, temperature)
    twice = [(await engine.trainer.forward(batch, "policy")).logprobs for _ in range(2)]
    assert twice[0] is not None and twice[1] is not None
    again = Differences.of(twice[0], twice[1], batch.mask)
    section.figures["ratio"] = math.exp(again.mean)
    section.table.append(("ratio", f"{math.exp(again.mean):.6g}"))
    if not again.largest <= SAME:
        section.broken(
            "sampler-differs",
            f"two passes over the same answers differ by {again.largest:.2g} nats: the model is not the same twice",
            "Take dropout and other randomness out of the model's config.",
        )
    if Need.REFERENCE in recipe.objective.needs or recipe.model.lora:
        await _reference(engine, batch, section)


def _few(groups: Sequence[Group]) -> list[Group]:
    """Groups with a few answers each, which all have a reward so that they are read."""
    few, count = list[Group](), 0
    for group in groups:
        answers = tuple(replace(c, reward=c.reward or 0.0) for c in group.completions if c.tokens)
        answers = answers[: MOST_ANSWERS - count]
        if answers:
            few.append(replace(group, completions=answers))
            count += len(answers)
    return few


async def _agreement(
    recipe: Recipe, engine: Engine, groups: Sequence[Group], temperature: float, section: Section
) -> None:
    differs = await sampler_against_trainer(engine.trainer, groups, temperature)
    if differs is None:
        return
    allowed = tolerance_of(recipe)
    section.figures |= {"sampler_trainer_mean": differs.mean, "sampler_trainer_max": differs.largest}
    section.table.append(
        (
            "sampler = trainer",
            f"{differs.mean:.2g} nats per token at temperature {temperature:g}, most {differs.largest:.2g}",
        )
    )
    if differs.mean <= allowed.usual:
        return
    text = await mismatch_text(engine.trainer, groups, recipe, differs)
    if differs.mean <= allowed.most:
        section.warn("sampler-differs", text, MEND_MISMATCH)
    else:
        section.broken("sampler-differs", text, MEND_MISMATCH)


async def _reference(engine: Engine, batch: Batch, section: Section) -> None:
    differs = await against_reference(engine, batch)
    section.figures["reference_mean"] = differs.mean
    section.table.append(("policy = reference", f"{differs.mean:.2g} nats per token"))
    if not differs.mean <= SAME:
        section.broken("reference-differs", reference_text(differs), MEND_REFERENCE)


def reference_text(differs: Differences) -> str:
    return (
        f"the reference is another model than the one that is trained: {differs.mean:.2g} nats per token apart before "
        "the first update, where 0 is right"
    )


def look_at_implicit(rewards: Rewards, groups: Sequence[Group], section: Section) -> None:
    """How far the reference of an implicit reward is from its policy, on the model's answers: one of another family
    makes a reward of what both never had in common."""
    for member in rewards.members:
        function = member.function
        if not isinstance(function, LearnedReward):
            continue
        for spec, scorer in zip(function.specs, function.scorers, strict=True):
            if isinstance(spec, ImplicitSpec):
                _apart(spec, scorer, _few(groups), section)


def _apart(spec: ImplicitSpec, scorer: Scorer, groups: Sequence[Group], section: Section) -> None:
    answers = [(g.prompt.messages, c) for g in groups for c in g.completions if c.text]
    if not answers:
        return
    scores = scorer.score([messages for messages, _ in answers], [c.text for _, c in answers])
    each = [
        abs(score) / spec.beta / (1 if spec.per_token else max(1, c.length))
        for score, (_, c) in zip(scores, answers, strict=True)
    ]
    apart = sum(each) / len(each)
    section.figures["implicit_reference"] = apart
    section.table.append(("implicit reward: policy and reference", f"{apart:.2g} nats per token apart"))
    text = f"reward implicit: {spec.path!r} and its reference {spec.reference!r} are {apart:.2g} nats per token apart"
    mend = "The reference is the model that the policy was trained from (args.reference), and no other."
    if apart > STRANGER:
        section.broken("reference-differs", f"{text}: they are hardly one model before and after training", mend)
    elif apart > FAR:
        section.warn("reference-differs", f"{text}, which is much for one model before and after training", mend)


MEND_REFERENCE = (
    "The reference must be the start: leave model.reference at `start`, and give the policy as `model`, not an adapter "
    "or checkpoint of another base model."
)
