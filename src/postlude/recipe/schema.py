"""A run as data: the schema of a recipe."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import Field

from postlude.algorithms import ALGORITHMS, find_method
from postlude.bounds import Bounds, Count, CountOrZero, Finite, Line, Positive, Rate, Share, hold
from postlude.budget import Budget
from postlude.doctor.rule import Rule
from postlude.doctor.watching import Action
from postlude.engines.settings import Local, Optimizer, Sampling, Served, Servers
from postlude.method import Algorithm
from postlude.models.spec import Critic, ModelSpec
from postlude.objectives import ContrastObjective, TokenObjective
from postlude.objectives.divergence import KLControl
from postlude.recipe import serving
from postlude.rewards.spec import RewardSpec
from postlude.rollouts.filters import Filter
from postlude.rollouts.shaping import Shaping
from postlude.sources.spec import DataSpec
from postlude.validation import members
from postlude.words import counted


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the run."""

    lr: Rate | None = None
    """Peak rate. Default: the method's (grpo 1e-6, sft 2e-5), ten times that under LoRA."""
    warmup: CountOrZero = 0
    """Steps of linear rise."""
    decay: Literal["constant", "linear", "cosine"] = "constant"
    """How the rate falls after the warm-up."""
    final: Share = 0.1
    """The rate at the last step, as a share of the peak."""

    def __post_init__(self) -> None:
        hold(self)

    def rate(self, step: int, steps: int, peak: float | None = None, used: float = 0.0) -> float:
        """The rate of optimiser steps within step `step` of `steps`; `peak` in place of `lr`. `used`: the share of a
        budget, where that may end the run before its steps do."""
        assert self.lr is not None
        if peak is not None:
            return peak / self.lr * self.rate(step, steps, used=used)
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.lr
        share = max((step - self.warmup) / max(steps - self.warmup - 1, 1), used)
        fall = share if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * min(share, 1.0)))
        return self.lr * (1 - (1 - self.final) * min(fall, 1.0))


def times(every: int, steps: int) -> int:
    """How often a run measures what it measures before, after and every so many steps."""
    return 2 + ((steps - 1) // every if every else 0)


@dataclass(frozen=True)
class Sheet:
    """A fixed sheet of prompts that is answered again and again while training, to read how the answers change."""

    path: Line | None = None
    """Rows of prompts. Default: the held-out ones."""
    prompts: Annotated[int, Bounds(1, 1000)] = 4
    """The first so many of them."""
    every: CountOrZero = 10
    """Steps between; 0 is only before and after."""
    answers: Annotated[int, Bounds(1, 64)] = 1
    """To each prompt, sampled as in training and with the same seed every time."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Evaluation:
    """Measuring on held-out prompts while training."""

    every: CountOrZero = 10
    """Steps between evaluations; 0 is only before and after."""
    prompts: Count = 128
    """The first so many held-out prompts, of each set."""
    samples: Annotated[int, Bounds(1, 65_536)] = 1
    """Sampled answers per prompt, at the training temperature, beside the greedy one."""
    stop_at: Annotated[float, Bounds(0, 1, above=True)] | None = None
    """End the run once sampled held-out accuracy (over the prompts of all sets) reaches this."""
    metrics: tuple[RewardSpec, ...] = ()
    """What says whether the policy gets better, and is never trained on: functions, built-ins, reward models or judges
    as in `reward`, scored on the very answers that an evaluation samples. More is better; scale: -1 turns one round."""
    sheet: Sheet | None = None
    """Prompts whose answers are kept every so many steps, for `postlude sheet`; `true` takes the defaults."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Checkpoints:
    """When the state of a run is saved, and which of that stays."""

    every: CountOrZero = 50
    """Steps between checkpoints, beside the one at the end (and on Ctrl-C); 0 is none between."""
    keep: Count = 2
    """The newest so many stay."""
    best: Line | None = None
    """A held-out figure, e.g. sampled/accuracy: the checkpoint of the step at which it was best stays too, and RUN/best
    leads to it. A step that is better than any before is saved, whatever `every` says."""

    def __post_init__(self) -> None:
        hold(self)


@dataclass(frozen=True)
class Alarms:
    """What the run does where a rule of `postlude doctor` finds something while it goes on. Each says so once."""

    action: Action = "log"
    """Of what is grave: `log` notes it; `pause` saves and ends the run, and --resume goes on; `rollback` ends it at the
    last checkpoint before it began, with what came after put aside in RUN/taken-back."""
    ignore: tuple[Line, ...] = ()
    """Names of rules that are left out."""
    on: dict[Line, Action] = field(default_factory=dict[str, Action])
    """Name of a rule -> its own action, whatever its gravity."""

    def of(self, rule: Rule) -> Action:
        """What an alarm of a rule does."""
        return self.on.get(rule.name, self.action if rule.gravity == "grave" else "log")


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
    """A whole run: every key of a recipe.

    Batches are two sizes, prompts per step and completions per prompt; the rest is derived.
    """

    method: Line
    """A name of `postlude methods`, or an `Algorithm` of your own: my_method.py:NAME."""
    model: ModelSpec
    data: DataSpec
    reward: tuple[RewardSpec, ...] = ()
    """What scores answers: one or several, weighed and added."""
    output: Line | None = None
    """The run folder. Default: runs/METHOD-N."""
    seed: Annotated[int, Bounds(0, 2**63 - 1)] = 0
    """Of the order of rows, of sampling and of new weights: one seed, one run."""
    steps: Count = 100
    """Draws of a batch; each is `epochs` x `updates` optimiser steps."""
    budget: Budget | None = None
    """Tokens or seconds after which the run ends, where that is before its last step."""
    prompts_per_step: Annotated[int, Bounds(1, 10**6)] = 16
    """The batch: prompts (of written answers: rows) in a draw."""
    group_size: Annotated[int, Bounds(1, 65_536)] = 8
    """Completions per prompt."""
    updates: Annotated[int, Bounds(1, 10**6)] = 1
    """Optimiser steps a drawn batch is cut into."""
    epochs: Annotated[int, Bounds(1, 10**6)] = 1
    """How often a drawn batch is gone through."""
    sampling: Sampling = Sampling()
    max_lag: Literal[0, 1] = 0
    """1 samples the next draw while training on the current one: answers come from weights one step older. Without
    servers this process then holds a second copy of the weights, which samples."""
    sampler: Served | None = None
    """A server that answers instead; only `postlude sample` and `postlude eval` may use one."""
    engine: Local = Local()
    """What runs the model, and how it is held: how fast a run is, and to which precision, but not what it does."""
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    evaluate: Evaluation = Evaluation()
    checkpoints: Checkpoints = Checkpoints()
    alarms: Alarms = Alarms()
    watchdog: Annotated[float, Bounds(0, 1e7)] = 300.0
    """Seconds without any progress after which it is said who waits for whom, and again after twice as long; 0 is
    never."""
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

    def rates(self, step: int, used: float = 0.0) -> tuple[float, float]:
        """Learning rates of policy and critic in a step, with this share of the budget used; the policy's is 0 while
        the critic warms up."""
        policy = self.schedule.rate(step, self.steps, used=used)
        if self.critic is None:
            return policy, 0.0
        critic = self.schedule.rate(step, self.steps, self.critic.lr, used)
        return (0.0 if step < self.critic.warmup else policy), critic

    @property
    def name(self) -> str:
        """The method's name; of one's own, without the folder of its file."""
        return Path(self.method).name if ".py:" in self.method else self.method

    @property
    def algorithm(self) -> Algorithm:
        return find_method(self.method)

    @property
    def servers(self) -> Servers | None:
        """Those that sample for it; None where this process does, or nothing is sampled at all."""
        return self.engine.servers if serving.samples(self, self.algorithm) else None

    @property
    def commit_every(self) -> int:
        """Steps from one commit to the next; 0 where none is needed: nothing depends on this process but itself."""
        usual = 1 if self.servers else 10 if self.engine.trainers > 1 else 0
        return (self.engine.commit_every or usual) if usual else 0

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
    engine: Local = Local()


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
