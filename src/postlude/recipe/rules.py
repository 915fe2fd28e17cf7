"""The rules of a recipe that look across its fields. Each gives sentences that say where, what and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from postlude.doctor.rules import RULES
from postlude.errors import Problem
from postlude.method import Algorithm
from postlude.models.spec import Refreshed
from postlude.objectives import Need, TokenObjective
from postlude.objectives.advantages import Constant
from postlude.recipe import measured, ranking, serving
from postlude.recipe.documents import Document
from postlude.rollouts.filters import Mixed
from postlude.rollouts.shaping import Overlong
from postlude.shapes import is_dict
from postlude.sources.spec import Wrong
from postlude.words import meant

if TYPE_CHECKING:
    from postlude.recipe.schema import Recipe


def broken(recipe: Recipe, entry: Algorithm, document: Document) -> list[Problem]:
    """A sentence for every rule that the recipe breaks."""

    def wrong(key: str, code: str, sentence: str) -> Problem:
        where = document.where(key)
        return Problem(code, sentence, key=key).at("" if where.startswith("method") else where)

    problems = recipe.data.problems(wrong)
    if _names_no_data(document.values):
        problems.append(
            wrong("data", "missing-key", "data names no file: give data.path, or several sets as data.mix.")
        )
    problems += _lengths(recipe, entry, wrong) + _trains(recipe, entry, wrong)
    problems += _compares(recipe, entry, wrong) + measured.problems(recipe, entry, wrong, document)
    problems += _alarms(recipe, wrong)
    problems += serving.problems(recipe, wrong) + ranking.problems(recipe, wrong)
    return problems + _lag(recipe, wrong) + _samples(recipe, wrong) + _rewards(recipe, wrong)


def _alarms(recipe: Recipe, wrong: Wrong) -> list[Problem]:
    """What names a rule names one that there is."""
    named = [("alarms.ignore", name) for name in recipe.alarms.ignore]
    named += [(f"alarms.on.{name}", name) for name in recipe.alarms.on]
    said = "docs/doctor.md lists them."
    return [
        wrong(key, "unknown-name", f"{key}: there is no rule {name!r}.{meant(name, RULES)} {said}")
        for key, name in named
        if name not in RULES
    ]


def _lengths(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """What is counted in steps or tokens fits into the run, and into its answers."""
    problems: list[Problem] = []
    if recipe.schedule.warmup > recipe.steps:
        problems.append(
            wrong(
                "schedule.warmup",
                "sizes-conflict",
                f"schedule.warmup is {recipe.schedule.warmup} steps, more than the run's "
                f"{recipe.steps}: the rate would never reach schedule.lr. Lower it, or raise steps.",
            )
        )
    if recipe.critic and recipe.critic.warmup >= recipe.steps:
        problems.append(
            wrong(
                "critic.warmup",
                "sizes-conflict",
                f"critic.warmup is {recipe.critic.warmup} of the run's {recipe.steps} steps: the "
                "policy would never learn. Lower it, or raise steps.",
            )
        )
    units = recipe.prompts_per_step * (recipe.group_size if entry.source == "rollout" else 1)
    if recipe.updates > units:
        problems.append(
            wrong(
                "updates",
                "sizes-conflict",
                f"updates is {recipe.updates}, but a step draws {units}: some updates would get nothing. "
                "Lower updates, or raise prompts_per_step.",
            )
        )
    for i, factor in enumerate(recipe.shaping):
        if isinstance(factor, Overlong) and factor.limit and factor.cache and factor.cache > factor.limit:
            problems.append(
                wrong(
                    f"shaping.{i}.cache",
                    "sizes-conflict",
                    f"shaping.{i}.cache, the ramp before the limit, is {factor.cache} tokens, "
                    f"more than the limit itself ({factor.limit}; sampling.max_tokens unless set).",
                )
            )
    return problems


def _trains(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """The method's parts fit together, and what a recipe sets is read by something."""
    problems: list[Problem] = []
    if recipe.sampler is not None:
        problems.append(
            wrong(
                "sampler",
                "not-of-method",
                f"sampler is a server, and {entry.name} trains: the weights served at {recipe.sampler.url} "
                "would not follow the trained ones, so its answers would be those of another policy. Remove it: it is "
                "for policies that stay as they are (postlude sample, postlude eval). Servers that get the trained "
                "weights are engine.servers.",
            )
        )
    return problems + _critic(recipe, entry, wrong) + _steering(recipe, entry, wrong) + _pretrains(recipe, entry, wrong)


def _critic(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    needed = Need.VALUES in recipe.objective.needs
    if needed and recipe.critic is None:
        return [
            wrong(
                "critic",
                "method-needs",
                f"critic is null, but {entry.name} needs values. Leave the line out for the default.",
            )
        ]
    if recipe.critic is not None and not needed:
        return [
            wrong(
                "critic",
                "not-of-method",
                f"critic is set, but {entry.name} has none. Remove it, or take ppo or drpo_value.",
            )
        ]
    if needed and recipe.max_lag:
        return [
            wrong(
                "max_lag",
                "off-policy",
                f"max_lag is 1, but the values of {entry.name} must come from the weights of the draw.",
            )
        ]
    return []


def _steering(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """Controllers have something to control, and figures to see."""
    problems: list[Problem] = []
    control, objective = recipe.kl_control, recipe.objective
    passes = recipe.updates * recipe.epochs
    if control is not None:
        coef = objective.kl_coef if isinstance(objective, TokenObjective) else 0.0
        if not coef:
            problems.append(
                wrong(
                    "kl_control",
                    "not-of-method",
                    f"kl_control is set, but {entry.name} has no KL coefficient to adapt.",
                )
            )
        elif control.kind == "doubling" and (passes < 2 or objective.ratio == "none"):  # type: ignore[union-attr]
            problems.append(
                wrong(
                    "kl_control",
                    "not-of-method",
                    "kl_control doubling watches how far the policy moves within a draw, and a "
                    "draw is one update here. Set updates or epochs, or take proportional or ziegler.",
                )
            )
        elif control.kind != "doubling" and Need.REFERENCE not in objective.needs:
            problems.append(
                wrong(
                    "kl_control",
                    "not-of-method",
                    f"kl_control {control.kind} watches the KL to the reference, which {entry.name} does "
                    "not compare with here. Take doubling, or a KL against the reference.",
                )
            )
    if recipe.stop_kl is not None and (
        passes < 2 or not isinstance(objective, TokenObjective) or objective.ratio == "none"
    ):
        problems.append(
            wrong(
                "stop_kl",
                "not-of-method",
                "stop_kl leaves out the rest of a draw's updates, and there is only one here (or no ratio "
                "to see the policy move by). Set updates or epochs, or remove it.",
            )
        )
    return problems


def _pretrains(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """The second stream is there where the method is named after it, and has a row for every update."""
    if recipe.pretrain is None:
        if entry.pretrain:
            return [
                Problem(
                    "missing-key",
                    f"'pretrain' is missing: {entry.name} mixes plain text in. Give pretrain=text.jsonl, or take ppo.",
                    key="pretrain",
                )
            ]
        return []
    if recipe.pretrain.rows < recipe.updates:
        return [
            wrong(
                "pretrain.rows",
                "sizes-conflict",
                f"pretrain.rows is {recipe.pretrain.rows}, but a step has {recipe.updates} updates, "
                "each of which gets a part. Take at least as many.",
            )
        ]
    if Need.SCORES in recipe.objective.needs:
        return [
            wrong(
                "pretrain", "not-of-method", f"pretrain is set, but a reward model ({entry.name}) has no words to lose."
            )
        ]
    return []


def _compares(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """What the method compares with is there: other answers, the starting weights."""
    problems: list[Problem] = []
    needs = recipe.objective.needs
    if Need.GROUP in needs and recipe.group_size < 2:
        problems.append(
            wrong(
                "group_size",
                "method-needs",
                f"group_size is {recipe.group_size}, but {entry.name} compares the answers of a group; "
                "use at least 2 (8 is usual), or a method without groups (reinforce, reinforce_pp).",
            )
        )
    if Need.REFERENCE in needs and recipe.model.reference == "none":
        problems.append(
            wrong(
                "model.reference",
                "method-needs",
                f"model.reference is none, but {entry.name} compares with the starting weights; "
                "remove the line, or switch the comparison off (objective.kl=null, or kl_coef 0 in "
                "objective.advantage).",
            )
        )
    problems += _refreshes(recipe, entry, wrong)
    if Need.MISMATCHED in needs and recipe.prompts_per_step < 2:
        problems.append(
            wrong(
                "prompts_per_step",
                "method-needs",
                f"prompts_per_step is 1, but {entry.name} takes its reference point from answers "
                "to other prompts of the same batch; use at least 2.",
            )
        )
    if isinstance(recipe.keep, Mixed) and recipe.group_size < 2:
        problems.append(
            wrong(
                "group_size", "method-needs", f"dynamic sampling needs groups of at least 2, got {recipe.group_size}."
            )
        )
    if entry.source == "rollout" and recipe.sampling.temperature == 0:
        problems.append(
            wrong(
                "sampling.temperature",
                "answers-all-the-same",
                "sampling.temperature is 0: every answer of a group would be the same; use 1.",
            )
        )
    return problems


def _refreshes(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """A reference that follows the policy is compared with, and can be made."""
    reference = recipe.model.reference
    if not isinstance(reference, Refreshed):
        return []
    if Need.REFERENCE not in recipe.objective.needs:
        how = "remove the line"
        if isinstance(recipe.objective, TokenObjective):
            hinge = "objective.hinge=null " if recipe.objective.hinge else ""
            how += f", or give the method a KL against the reference ({hinge}objective.kl.coef=0.01)"
        return [
            wrong(
                "model.reference.every",
                "not-of-method",
                f"model.reference is refreshed every {reference.every} steps, but "
                f"{entry.name} compares with no reference here; {how}.",
            )
        ]
    if recipe.model.lora and reference.mix != 1:
        return [
            wrong(
                "model.reference.mix",
                "contradiction",
                f"model.reference.mix is {reference.mix:g}, but adapters cannot be mixed: the "
                "product of two means is not the mean of two products. Take mix 1, or train without model.lora.",
            )
        ]
    return []


def _rewards(recipe: Recipe, wrong: Wrong) -> list[Problem]:
    """At most one says what is correct; each has a name of its own."""
    problems: list[Problem] = []
    outcomes = sum(bool(r.outcome) for r in recipe.reward)
    if outcomes > 1:
        problems.append(wrong("reward", "contradiction", f"{outcomes} rewards are marked outcome; mark one."))
    names = [r.label for r in recipe.reward]
    for name in sorted({n for n in names if names.count(n) > 1}):
        problems.append(
            wrong("reward", "duplicate-name", f"two rewards are called {name!r}; give one of them a `name`.")
        )
    return problems


def _lag(recipe: Recipe, wrong: Wrong) -> list[Problem]:
    """Answers of older weights need a correction, except where the method only imitates accepted ones."""
    if not recipe.max_lag:
        return []
    if recipe.algorithm.source != "rollout":
        return [
            wrong(
                "max_lag",
                "not-of-method",
                f"max_lag is 1, but {recipe.method} trains on written answers: nothing is sampled.",
            )
        ]
    o = recipe.objective
    imitates = isinstance(o, TokenObjective) and isinstance(o.advantage, Constant)
    corrected = isinstance(o, TokenObjective) and (o.correction is not None or o.behaviour == "rollout")
    if imitates or corrected:
        return []
    return [
        wrong(
            "max_lag",
            "off-policy",
            f"max_lag is 1, so answers come from older weights, and {recipe.method} does not correct for "
            "that. Set objective.correction (truncated importance sampling; several methods have it), or max_lag to 0.",
        )
    ]


def _samples(recipe: Recipe, wrong: Wrong) -> list[Problem]:
    """Answers differ, and the sampler's log-probs are of the distribution that the trainer computes."""
    if recipe.algorithm.source != "rollout" or not recipe.sampling.truncates:
        return []
    name, value = ("top_k", recipe.sampling.top_k) if recipe.sampling.top_k else ("top_p", recipe.sampling.top_p)
    key, start = f"sampling.{name}", f"sampling.{name} is {value:g}"
    if recipe.sampling.top_k == 1:
        sentence = f"{start}: every answer to a prompt would be the same; use 0 (off), and a temperature to sharpen."
        return [wrong(key, "answers-all-the-same", sentence)]
    reader = _compared_with_sampler(recipe)
    if not reader:
        return []
    setting, what = reader
    sentence = (
        f"{start}: the sampler's log-probs are then of the tokens it keeps, the trainer's of all, and {what} "
        f"({setting}) would take the difference for a change of the policy. Set sampling.top_p to 1 and sampling.top_k "
        "to 0" + (f", or {setting} to null." if setting != "objective.behaviour" else ".")
    )
    return [wrong(key, "off-policy", sentence)]


def _compared_with_sampler(recipe: Recipe) -> tuple[str, str] | None:
    """(key, words) of what compares the trainer's log-probs with the sampler's; None where nothing does."""
    o = recipe.objective
    if not isinstance(o, TokenObjective):
        return None
    if o.behaviour == "rollout":
        return "objective.behaviour", "the ratio to the sampler"
    if o.kl and o.kl.against == "rollout":
        return "objective.kl", "the KL to the sampler"
    if o.correction:
        return "objective.correction", "the importance correction"
    return ("objective.off_policy_mask", "the off-policy mask") if o.off_policy_mask else None


def _names_no_data(values: Mapping[str, Any]) -> bool:
    data = values.get("data", True)  # where the key itself is missing, that was said
    return not (data.get("path") or data.get("mix")) if is_dict(data) else not data
