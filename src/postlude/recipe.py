"""A run as data: the schema of a recipe, the method's defaults under it, and the rules across its fields."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field

from postlude import config
from postlude.algorithms import ALGORITHMS, Algorithm
from postlude.bounds import Bounds, Count, CountOrZero, Finite, Line, Positive, Rate, Share, hold
from postlude.config import Document
from postlude.engines.openai import Served
from postlude.engines.protocol import Optimizer, Sampling
from postlude.errors import ConfigError
from postlude.foreign.translate import ALIASES, translate
from postlude.models.load import Critic, ModelSpec
from postlude.objectives import ContrastObjective, TokenObjective
from postlude.objectives.advantages import DecoupledReward, DecoupledValue
from postlude.objectives.divergence import KLControl
from postlude.places import located
from postlude.rewards.length import Overlong, Shaping
from postlude.rewards.spec import RewardSpec, load_object
from postlude.rules import broken
from postlude.sources.filters import Filter
from postlude.sources.spec import DataSpec
from postlude.spelling import closest, meant
from postlude.validation import members, validate
from postlude.words import counted

CRITIC_FACTOR = 10
"""The critic's default rate over the policy's (verl and OpenRLHF: 10 and 9)."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the run."""

    lr: Rate | None = None
    """Peak rate. Default: the method's (grpo 1e-6, sft 2e-5), ten times that under LoRA."""
    warmup: CountOrZero = 0
    """Steps of linear rise."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    final: Share = 0.1
    """The rate at the last step, as a share of the peak."""

    def __post_init__(self) -> None:
        hold(self)

    def rate(self, step: int, steps: int, peak: float | None = None) -> float:
        """The rate of optimiser steps within step `step` of `steps`; `peak` in place of `lr`."""
        assert self.lr is not None
        if peak is not None:
            return peak / self.lr * self.rate(step, steps)
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.lr
        share = (step - self.warmup) / max(steps - self.warmup - 1, 1)
        fall = share if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * min(share, 1.0)))
        return self.lr * (1 - (1 - self.final) * min(fall, 1.0))


@dataclass(frozen=True)
class Evaluation:
    """Measuring on held-out prompts while training."""

    every: CountOrZero = 10
    """Steps between evaluations; 0 is only before and after."""
    prompts: Count = 128
    """The first so many held-out prompts."""
    samples: Annotated[int, Bounds(1, 65_536)] = 1
    """Sampled answers per prompt, at the training temperature, beside the greedy one."""
    stop_at: Annotated[float, Bounds(0, 1, above=True)] | None = None
    """End the run once sampled held-out accuracy reaches this."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Pretrain:
    """A second stream of plain text beside the method's own data, against forgetting (InstructGPT's ptx)."""

    path: Line
    """Rows with `text`, `messages`, or `prompt` and `completion`, as for sft."""
    coef: Positive = 1.0
    """Its loss (mean over tokens) times this joins every update. InstructGPT's 27.8 belongs to its own scaling."""
    rows: Count = 16
    """Per step, spread over the step's updates."""
    eval: Line | None = None
    """Held-out text: its loss before and after shows what the training cost."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Recipe:
    """A whole run. Batches are two sizes, prompts per step and completions per prompt; the rest is derived."""

    method: Line
    """A name of `postlude methods`, or an `Algorithm` of your own: my_method.py:NAME."""
    model: ModelSpec
    data: DataSpec
    reward: tuple[RewardSpec, ...] = ()
    output: Line | None = None
    """The run folder. Default: runs/METHOD-N."""
    seed: Annotated[int, Bounds(0, 2**63 - 1)] = 0
    steps: Count = 100
    """Draws of a batch; each is `epochs` x `updates` optimiser steps."""
    prompts_per_step: Annotated[int, Bounds(1, 10**6)] = 16
    group_size: Annotated[int, Bounds(1, 65_536)] = 8
    """Completions per prompt."""
    updates: Annotated[int, Bounds(1, 10**6)] = 1
    """Optimiser steps a drawn batch is cut into."""
    epochs: Annotated[int, Bounds(1, 10**6)] = 1
    """How often a drawn batch is gone through."""
    sampling: Sampling = Sampling()
    max_lag: Literal[0, 1] = 0
    """1 samples the next draw while training on the current one: answers come from weights one step older, and the
    sampler keeps its own copy of them."""
    sampler: Served | None = None
    """A server that answers instead; only `postlude sample` and `postlude eval` may use one."""
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    evaluate: Evaluation = Evaluation()
    token_budget: Count | None = None
    """Tokens per micro-batch; results do not change. Default: what fits into the memory that is free, at most 16384."""
    head_chunk: Count | None = None
    """Tokens whose logits are held at a time in training; results do not change. Default: 16 million logits, fewer
    where memory is short."""
    checkpoint_every: CountOrZero = 50
    """Steps between checkpoints, beside the one at the end (and on Ctrl-C); 0 is none between."""
    keep_checkpoints: Count = 2
    cache_gib: Annotated[float, Bounds(0, 1e5, above=True)] | None = None
    """Room for keys and values while sampling, in GiB. Default: 40 % of a GPU's memory, 2 on a CPU, less where memory
    is short."""
    threads: Annotated[int, Bounds(1, 1024)] | None = None
    """CPU threads. Default: 1 for models under 5 M parameters, else what torch chooses."""
    objective: Annotated[TokenObjective | ContrastObjective, Field(discriminator="kind")] = field(
        default_factory=lambda: ALGORITHMS["grpo"].objective
    )
    """The method's objective; any part can be set, e.g. objective.surrogate.high=0.28."""
    keep: Annotated[Filter, Field(discriminator="kind")] | None = None
    """Selection of groups: `mixed` is dynamic sampling, `accepted` rejection sampling."""
    shaping: tuple[Annotated[Shaping, Field(discriminator="kind")], ...] = ()
    """Changes to rewards after scoring."""
    correct_above: Finite | None = None
    """Where no reward says whether an answer is correct, it is if its reward (the sum, before shaping) lies above this.
    Default: none, and an error where the method must know."""
    critic: Critic | None = None
    """The value function, of methods that have one."""
    kl_control: KLControl | None = None
    """Adapts the KL coefficient after every step, from the objective's own on."""
    stop_kl: Positive | None = None
    """Leave out the rest of a draw's updates once the policy has moved this far from the one that sampled (nats per
    token, k3)."""
    pretrain: Pretrain | None = None
    """A second stream of text; ppo_ptx is PPO with one."""

    def __post_init__(self) -> None:
        hold(self)

    def rates(self, step: int) -> tuple[float, float]:
        """Learning rates of policy and critic in a step; the policy's is 0 while the critic warms up."""
        if self.critic is None:
            return self.schedule.rate(step, self.steps), 0.0
        policy = 0.0 if step < self.critic.warmup else self.schedule.rate(step, self.steps)
        return policy, self.schedule.rate(step, self.steps, self.critic.lr)

    @property
    def name(self) -> str:
        """The method's name; of one's own, without the folder of its file."""
        return Path(self.method).name if ".py:" in self.method else self.method

    @property
    def algorithm(self) -> Algorithm:
        return _find(self.method)

    @property
    def sizes(self) -> str:
        """The batch in one line."""
        passes = self.epochs * self.updates
        tail = f"per step -> {counted(passes, 'update')} x {counted(self.steps, 'step')}"
        if self.algorithm.source != "rollout":
            return f"{counted(self.prompts_per_step, 'row')} {tail}"
        answers = self.prompts_per_step * self.group_size
        prompts, completions = counted(self.prompts_per_step, "prompt"), counted(self.group_size, "completion")
        return f"{prompts} x {completions} = {answers:,} {tail}"


@dataclass(frozen=True)
class Frozen:
    """What `postlude sample` and `postlude eval` read of a recipe: a policy that stays as it is."""

    model: ModelSpec
    sampling: Sampling = Sampling()
    sampler: Served | None = None


@dataclass(frozen=True)
class Rewarded:
    """What `postlude audit` reads of a recipe: its rewards."""

    reward: tuple[RewardSpec, ...] = ()


def _forbid(*kinds: type) -> None:
    """Unknown keys and numbers that are not finite are errors (plain dataclasses take both)."""
    for kind in kinds:
        kind.__pydantic_config__ = {"extra": "forbid", "allow_inf_nan": False}  # type: ignore[attr-defined]


def _schema_classes(root: Any, seen: set[type]) -> None:
    """Every dataclass reachable from the schema."""
    from typing import get_args

    for option in members(root):
        if is_dataclass(option) and isinstance(option, type) and option not in seen:
            seen.add(option)
            for hint in get_type_hints(option, include_extras=True).values():
                _schema_classes(hint, seen)
        else:
            for inner in get_args(option):
                _schema_classes(inner, seen)


_all: set[type] = set()
_schema_classes(Recipe, _all)
_schema_classes(Frozen, _all)
_schema_classes(Rewarded, _all)
_forbid(*_all)


# ----------------------------------------------------------------------------------------------------- resolving


def resolve(document: Document) -> Recipe:
    """A recipe from a document, with the method's own defaults under the user's values; rules across fields hold."""
    recipe, problems = resolve_with_problems(document)
    if problems or recipe is None:
        raise ConfigError(in_order(problems))
    return recipe


def frozen(document: Document) -> Frozen:
    """The policy of a recipe, for commands that do not train it. The keys of training are not looked at."""
    values = located(config.long_form(document.values), document)
    others = {f.name for f in fields(Recipe)} - {f.name for f in fields(Frozen)}
    found, problems = validate(Frozen, {k: v for k, v in values.items() if k not in others}, document)
    if problems or found is None:
        raise ConfigError(in_order(problems))
    return found


def rewarded(document: Document) -> tuple[RewardSpec, ...]:
    """The rewards of a recipe, for a command that only looks at them. The other keys are not looked at."""
    values = {"reward": located(config.long_form(document.values), document).get("reward") or []}
    found, problems = validate(Rewarded, values, document)
    if problems or found is None:
        raise ConfigError(in_order(problems))
    if not found.reward:
        raise ConfigError("the recipe has no `reward` to audit.")
    return found.reward


def resolve_with_problems(document: Document) -> tuple[Recipe | None, list[str]]:
    """(recipe, problems): the recipe is there as far as it parses, so that other checks can go on."""
    document.values = config.long_form(document.values)
    problems: list[str] = []
    entry = _entry(located({"method": document.values.get("method")}, document), document, problems)
    problems += translate(document, Recipe, method_settings(entry.name))
    values = located(config.long_form(document.values), document)
    document.given = {path for path, _ in config.flat(values)}
    for key, what in (
        ("model", "a model folder or hub id"),
        ("data", "a file of prompts or written answers"),
    ):
        if key not in values:
            problems.append(f"'{key}' is missing: give {what}, in the recipe or as {key}=... on the command line.")
            values[key] = {"path": ""}
    defaults = _defaults(entry)
    if entry.name not in ALGORITHMS:  # its parts are the user's own classes, which no schema knows
        defaults.pop("objective")
        if values.pop("objective", None) is not None:
            problems.append(f"objective: method {entry.name} is your own; set its objective in its file.")
    try:
        merged = config.merge(defaults, values) | {"method": entry.name}
    except ConfigError as error:
        problems += error.problems
        merged = config.merge(defaults, {k: v for k, v in values.items() if k != "shaping"}) | {"method": entry.name}
    for path, _ in config.flat(_defaults(entry)):
        if path not in document.given:
            document.origin.setdefault(path, f"method {entry.name}")
    recipe, found = validate(Recipe, merged, document, _elsewhere())
    problems += found
    if recipe is not None:
        if entry.name not in ALGORITHMS:
            recipe = replace(recipe, objective=entry.objective)
        recipe = _derived(recipe, entry)
        problems += broken(recipe, entry, document)
    return recipe, problems


@cache
def _elsewhere() -> dict[str, str]:
    """Last part of a key, or another library's name -> what to write: for keys that stand in the wrong place."""
    found: dict[str, list[str]] = {}
    for path in _keys(Recipe):
        found.setdefault(path.rpartition(".")[2], []).append(path)
    ours = {name: " or ".join(map(repr, dict.fromkeys(paths))) for name, paths in found.items()}
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


def in_order(problems: list[str]) -> list[str]:
    """Each once, in the order of the recipe's lines."""
    return sorted(dict.fromkeys(problems), key=_line_number)


def _line_number(problem: str) -> int:
    """For sorting: problems with a line in the order of lines, the others after them."""
    found = re.match(r"\S+ line (\d+):", problem)
    return int(found.group(1)) if found else 1_000_000


def _entry(values: Mapping[str, Any], document: Document, problems: list[str]) -> Algorithm:
    name = values.get("method")
    where = document.where("method")
    start = f"{where}: " if where else ""
    if isinstance(name, str) and (name in ALGORITHMS or ":" in name):
        try:
            return _find(name)
        except ConfigError as error:
            problems.extend(f"{start}{problem}" for problem in error.problems)
            return ALGORITHMS["grpo"]
    if name is None:
        problems.append("'method' is missing. Name one of `postlude methods`, for example method: grpo.")
    else:
        hint = meant(str(name), ALGORITHMS) or " See `postlude methods`."
        problems.append(f"{start}there is no method {name!r}.{hint}")
    return ALGORITHMS["grpo"]


@cache
def _find(method: str) -> Algorithm:
    """The entry of a name, or of a path to one."""
    if ":" not in method:
        return ALGORITHMS[method]
    found = load_object(method, "method")
    if not isinstance(found, Algorithm):
        raise ConfigError(f"method: {method!r} is a {type(found).__name__}, not an Algorithm of postlude.algorithms.")
    return replace(found, name=method)


def method_settings(name: str) -> dict[str, Any]:
    """What a method sets, over the plain numbers at the top of a recipe."""
    sizes = {f.name: f.default for f in fields(Recipe) if isinstance(f.default, int)}
    return sizes | _defaults(_find(name))


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
        "critic": asdict(Critic()) if "values" in entry.needs else None,
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
        replace(s, limit=limit) if isinstance(s, Overlong) and s.limit is None else s for s in recipe.shaping
    )
    schedule = replace(recipe.schedule, lr=lr)
    critic = recipe.critic and replace(recipe.critic, lr=recipe.critic.lr or CRITIC_FACTOR * lr)
    return replace(recipe, schedule=schedule, objective=objective, shaping=shaping, critic=critic)
