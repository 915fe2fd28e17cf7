"""From a document to a recipe: the method's defaults under the user's values, and the rules across fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_type_hints

from postlude.algorithms import ALGORITHMS, find_method
from postlude.credentials import keys_in
from postlude.errors import ConfigError, Problem
from postlude.method import Algorithm
from postlude.models.spec import Critic
from postlude.objectives import Need, TokenObjective
from postlude.objectives.advantages import DecoupledReward, DecoupledValue
from postlude.recipe import documents, ranking
from postlude.recipe.documents import Document
from postlude.recipe.foreign.tables import ALIASES
from postlude.recipe.foreign.translate import translate
from postlude.recipe.moved import move
from postlude.recipe.places import located
from postlude.recipe.rules import broken
from postlude.recipe.schema import Frozen, Recipe, Rewarded
from postlude.rewards.spec import RewardSpec
from postlude.rollouts.shaping import LinearLength, Overlong
from postlude.validation import members, validate
from postlude.words import closest, meant

CRITIC_FACTOR = 10
"""The critic's default rate over the policy's (verl and OpenRLHF: 10 and 9)."""


def resolve(document: Document) -> Recipe:
    """A recipe from a document, with the method's own defaults under the user's values; rules across fields hold."""
    recipe, problems = resolve_with_problems(document)
    if problems or recipe is None:
        raise ConfigError(in_order(problems))
    return recipe


def _credentials(document: Document) -> list[Problem]:
    """Keys of services, which a recipe must not hold: it is written to the run's folder, and read by others."""
    return [
        Problem(
            "key-in-recipe",
            f"{path} holds a key or a password, and a recipe is kept with its run. Put it into a variable of the "
            "environment: a judge's `key` names it (default OPENAI_API_KEY).",
            key=path,
        ).at(document.where(path))
        for path in keys_in(document.values)
    ]


def frozen(document: Document) -> Frozen:
    """The policy of a recipe, for commands that do not train it. The keys of training are not looked at."""
    document.values = documents.long_form(document.values)
    problems = [*move(document), *_credentials(document)]
    values, mistaken = ranking.with_number(located(document.values, document), document)
    problems += mistaken
    others = {f.name for f in fields(Recipe)} - {f.name for f in fields(Frozen)}
    policy, more = validate(Frozen, {k: v for k, v in values.items() if k not in others}, document.where)
    problems += more
    if problems or policy is None:
        raise ConfigError(in_order(problems))
    return policy


def rewarded(document: Document) -> tuple[RewardSpec, ...]:
    """The rewards of a recipe, for a command that only looks at them. The other keys are not looked at."""
    values: dict[str, Any] = {"reward": located(documents.long_form(document.values), document).get("reward") or []}
    rewards, problems = validate(Rewarded, values, document.where)
    if problems or rewards is None:
        raise ConfigError(in_order(problems))
    if not rewards.reward:
        raise ConfigError("the recipe has no `reward` to audit.", code="missing-key")
    return rewards.reward


def resolve_with_problems(document: Document) -> tuple[Recipe | None, list[Problem]]:
    """(recipe, problems): the recipe is there as far as it parses, so that other checks can go on."""
    document.values = documents.long_form(document.values)
    problems = [*move(document), *_credentials(document)]
    entry = _entry(located({"method": document.values.get("method")}, document), document, problems)
    problems += translate(document, Recipe, method_settings(entry.name))
    values, mistaken = ranking.with_number(located(documents.long_form(document.values), document), document)
    problems += mistaken
    document.set_by_user = {path for path, _ in documents.flat(values)}
    for key, what in (
        ("model", "a model folder or hub id"),
        ("data", "a file of prompts or written answers"),
    ):
        if key not in values:
            problems.append(
                Problem(
                    "missing-key",
                    f"'{key}' is missing: give {what}, in the recipe or as {key}=... on the command line.",
                    key=key,
                )
            )
            values[key] = {"path": ""}
    defaults = _defaults(entry)
    if entry.name not in ALGORITHMS:  # its parts are the user's own classes, which no schema knows
        defaults.pop("objective")
        if values.pop("objective", None) is not None:
            problems.append(
                Problem(
                    "not-of-method",
                    f"objective: method {entry.name} is your own; set its objective in its file.",
                    key="objective",
                )
            )
    try:
        merged = documents.merge(defaults, values) | {"method": entry.name}
    except ConfigError as error:
        problems += error.problems
        merged = documents.merge(defaults, {k: v for k, v in values.items() if k != "shaping"}) | {"method": entry.name}
    for path, _ in documents.flat(_defaults(entry)):
        if path not in document.set_by_user:
            document.origin.setdefault(path, f"method {entry.name}")
    recipe, mistakes = validate(Recipe, merged, document.where, _elsewhere(), entry.name)
    problems += mistakes
    if recipe is not None:
        if entry.name not in ALGORITHMS:
            recipe = replace(recipe, objective=entry.objective)
        recipe = _derived(recipe, entry)
        problems += broken(recipe, entry, document)
    return recipe, problems


@cache
def _elsewhere() -> dict[str, str]:
    """Last part of a key, or another library's name -> what to write: for keys that stand in the wrong place."""
    homes: dict[str, list[str]] = {}
    for path in _keys(Recipe):
        homes.setdefault(path.rpartition(".")[2], []).append(path)
    ours = {name: " or ".join(map(repr, dict.fromkeys(paths))) for name, paths in homes.items()}
    theirs = {name: f"{name!r} ({alias.ours[0]} here)" for alias in ALIASES for name in alias.names if alias.ours}
    return theirs | ours


def key_of(name: str) -> str:
    """The whole key that a name stands for, `schedule.lr` for lr; the name itself where it is one or none is near."""
    names: dict[str, str] = {}
    for path in _keys(Recipe):
        names.setdefault(path.rpartition(".")[2], path)
    theirs = {name for alias in ALIASES for name in alias.names}
    if name in {f.name for f in fields(Recipe)} or "." in name or (name in theirs and name not in names):
        return name
    close = closest(name, [*names, *theirs])
    return names.get(close, close) if close else name


def _keys(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the schema, whatever the kinds of its factors."""
    for option in members(schema):
        if is_dataclass(option):
            for name, hint in get_type_hints(option, include_extras=True).items():
                if name != "kind":
                    yield f"{prefix}{name}"
                    yield from _keys(hint, f"{prefix}{name}.")


def in_order(problems: list[Problem]) -> list[Problem]:
    """Each once, in the order of the recipe's lines."""
    return sorted(dict.fromkeys(problems), key=_line_number)


def _line_number(problem: Problem) -> int:
    """For sorting: problems with a line in the order of lines, the others after them."""
    line = re.match(r"\S+ line (\d+):", problem)
    return int(line.group(1)) if line else 1_000_000


def _entry(values: Mapping[str, Any], document: Document, problems: list[Problem]) -> Algorithm:
    name = values.get("method")
    where = document.where("method")
    if isinstance(name, str) and (name in ALGORITHMS or ":" in name):
        try:
            return find_method(name)
        except ConfigError as error:
            problems.extend(problem.at(where) for problem in error.problems)
            return ALGORITHMS["grpo"]
    if name is None:
        problems.append(
            Problem(
                "missing-key",
                "'method' is missing. Name one of `postlude methods`, for example method: grpo.",
                key="method",
            )
        )
    else:
        hint = meant(str(name), ALGORITHMS) or " See `postlude methods`."
        problems.append(Problem("unknown-method", f"there is no method {name!r}.{hint}", key="method").at(where))
    return ALGORITHMS["grpo"]


def method_settings(name: str) -> dict[str, Any]:
    """What a method sets, over the plain numbers at the top of a recipe."""
    sizes = {f.name: f.default for f in fields(Recipe) if isinstance(f.default, int)}
    return sizes | _defaults(find_method(name))


def _defaults(entry: Algorithm) -> dict[str, Any]:
    """What a method's entry sets in a recipe."""
    return {
        "method": entry.name,
        "group_size": entry.group_size,
        "updates": entry.updates,
        "epochs": entry.epochs,
        "objective": asdict(entry.objective),
        "keep": asdict(entry.keep) if entry.keep else None,
        "shaping": [asdict(s) for s in entry.shaping],
        "critic": asdict(Critic()) if Need.VALUES in entry.needs else None,
    }


def _derived(recipe: Recipe, entry: Algorithm) -> Recipe:
    """Fill what follows from other settings: the rate, and lengths that equal the generation limit."""
    lr = recipe.schedule.lr
    if lr is None:
        lr = entry.lr * (10 if recipe.model.lora else 1)
    limit = recipe.sampling.max_tokens
    objective = recipe.objective
    if isinstance(objective, TokenObjective):
        factor, aggregate = objective.advantage, objective.aggregate
        if isinstance(factor, DecoupledReward | DecoupledValue) and factor.cap is None:
            factor = replace(factor, cap=limit)
        if aggregate.mode == "seq_mean_token_sum_norm" and aggregate.length is None:
            aggregate = replace(aggregate, length=limit)
        objective = replace(objective, advantage=factor, aggregate=aggregate)
    shaping = tuple(
        replace(s, limit=limit) if isinstance(s, Overlong | LinearLength) and s.limit is None else s
        for s in recipe.shaping
    )
    schedule = replace(recipe.schedule, lr=lr)
    critic = recipe.critic and replace(recipe.critic, lr=recipe.critic.lr or CRITIC_FACTOR * lr)
    return replace(recipe, schedule=schedule, objective=objective, shaping=shaping, critic=critic)
