"""One reward of a recipe, and the function it names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from postlude.bounds import Bounds, Finite, Line, Seconds, Share, hold
from postlude.errors import ConfigError
from postlude.objects import load_object
from postlude.rewards.adapters import FORMS
from postlude.rewards.arguments import problems_of
from postlude.rewards.builtin import BUILT_IN
from postlude.rewards.text import RewardFunction
from postlude.words import meant

CONCURRENCY = 64


@dataclass(frozen=True)
class RewardSpec:
    """One reward of a recipe."""

    use: Line
    """A built-in name, `my_rewards.py:fn` or `package.module:name`; with `verl:` or `openrlhf:` before it, theirs."""
    weight: Annotated[float, Bounds(-1e6, 1e6)] = 1.0
    """In the sum. 0 only measures: it does not make an answer a scored one."""
    outcome: bool | None = None
    """Whether it says if an answer is correct (1 right, 0 wrong). Default: the first reward that is no gate does."""
    name: Line | None = None
    """What it is logged as. Default: the function's name."""
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Arguments of a built-in."""
    steps: str | None = None
    """Where it is set, the function gives a list for each answer, a number per step; steps stand between this text."""
    tokens: bool = False
    """The function gives a list for each answer, a number per token: the reward of the answer up to and with it. The
    arguments `completion_ids` and `prefixes` (the texts up to and with each token) hold them."""
    whole: Literal["mean", "sum", "last", "min", "product"] | None = None
    """What one number stands for an answer whose steps or tokens are rewarded: it is logged, and methods that do not
    reward steps train on it, where it is set. Default: the mean, or what a built-in says."""
    gate: Finite | None = None
    """An answer that scores less than this here is not correct, is not shown to the other rewards, and counts 0 for
    them. Gates come first."""
    clip: tuple[Finite, Finite] | None = None
    """Bounds of the number as the function gave it."""
    shift: Finite = 0.0
    """Taken off after `clip`."""
    scale: Finite = 1.0
    """What the number is multiplied with after `shift`."""
    squash: Literal["sigmoid", "tanh"] | None = None
    """Applied after `scale`: sigmoid into (0, 1), tanh into (-1, 1)."""
    normalise: Literal["group", "batch"] | None = None
    """(x - mean) / standard deviation, before the weight: over the answers to the prompt (GDPO), or over the draw."""
    abstain: Share | None = None
    """A step in which more than this share of the answers shown to it could not be scored is not trained on; three in
    a row stop the run. Default: 1, or what a built-in sets."""
    errors: Share = 0.0
    """The share of a draw's calls that may raise or time out; their answers abstain. Above it the run stops."""
    concurrency: Annotated[int, Bounds(1, 65_536)] = CONCURRENCY
    """Of an async function: calls under way at a time."""
    timeout: Seconds | None = None
    """Seconds for one call. Default: 300 for an async function, none for a plain one; built-ins have limits of their
    own."""
    cache: bool | Line = False
    """Keep every score and ask only for answers that have none: true in the run folder, or the path of a file."""

    def __post_init__(self) -> None:
        hold(self)
        if self.scale == 0:
            raise ValueError("scale is 0, which makes every score the same; to only measure, set weight to 0")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ValueError(f"clip is [low, high] with low < high, got {list(self.clip)}")
        if self.tokens and self.steps is not None:
            raise ValueError("steps and tokens are both set: a reward is of steps or of single tokens")
        if self.steps == "":
            raise ValueError('steps is empty text; it is what stands between steps, such as "\\n"')
        if self.cache == "":
            raise ValueError("cache is empty text; give true, or the path of a file")

    @property
    def label(self) -> str:
        return self.name or self.use.rpartition(":")[2]

    @property
    def shapes(self) -> bool:
        """Whether the number that is weighed can be another than the function gave."""
        changed = self.clip or self.squash or self.normalise
        return bool(changed) or (self.shift, self.scale) != (0.0, 1.0)


def resolve(spec: RewardSpec) -> RewardFunction:
    """The function a spec names. Raises ConfigError with what to do."""
    if ":" not in spec.use:
        return _built_in(spec)
    if spec.args:
        raise ConfigError(
            f"reward {spec.use}: `args` are for built-ins; give your function defaults instead.",
            code="reward-arguments",
        )
    form, path = form_of(spec.use)
    function = _instance(path, load_object(path, "reward"))
    if not callable(function):
        raise ConfigError(f"reward: {path!r} is a {type(function).__name__}, not a function.", code="not-a-reward")
    if form:
        return FORMS[form](function)
    _require_callable_by_name(path, function)
    return function


def _instance(path: str, found: Any) -> Any:
    """What was named; of a class an instance, where one can be made without arguments."""
    if not inspect.isclass(found):
        return found
    advice = f"name an instance of it: score = {found.__name__}(...) in the file, and reward ...:score."
    if "__call__" not in {name for kind in found.__mro__[:-1] for name in vars(kind)}:
        raise ConfigError(
            f"reward: {path!r} is a class whose instances cannot be called: it has no __call__.", code="not-a-reward"
        )
    try:
        inspect.signature(found).bind()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"reward: {path!r} is a class, and its __init__ needs arguments ({error}); {advice}", code="not-a-reward"
        ) from error
    try:
        return found()
    except (Exception, SystemExit) as error:  # a user's class can raise anything
        raise ConfigError(
            f"reward: {path!r} is a class, and {found.__name__}() raised {type(error).__name__}: {error}; {advice}",
            code="not-a-reward",
        ) from error


def _require_callable_by_name(path: str, function: Any) -> None:
    """A function that could not be called as rewards are would say so only after the first answers were sampled."""
    for thing in (function, type(function).__call__):
        if inspect.isgeneratorfunction(thing) or inspect.isasyncgenfunction(thing):
            raise ConfigError(
                f"reward: {path!r} is a generator (it has `yield`); return a list of numbers.", code="not-a-reward"
            )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"reward: {path!r} does not say which arguments it takes; wrap it in a def.", code="not-a-reward"
        ) from error
    nameless = [p.name for p in parameters if p.kind is p.POSITIONAL_ONLY and p.default is p.empty]
    if nameless:
        raise ConfigError(
            f"reward: {path!r} takes {nameless[0]!r} by its place only; rewards are called by name: remove the `/`.",
            code="not-a-reward",
        )
    if all(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in parameters):
        raise ConfigError(
            f"reward: {path!r} takes no argument by name, so it sees no answer. Give it `completions` (and prompts, "
            "completion_ids, or columns of the data).",
            code="not-a-reward",
        )


def _built_in(spec: RewardSpec) -> RewardFunction:
    if spec.use not in BUILT_IN and Path(spec.use).expanduser().is_dir():
        raise ConfigError(
            f"reward: {spec.use!r} is a folder. A reward model is {{use: model, args: {{path: {spec.use}}}}}, on "
            f"the command line `model` with the arguments '{{path: {spec.use}}}'.",
            code="unknown-reward",
        )
    if spec.use not in BUILT_IN:
        known = ", ".join(BUILT_IN)
        raise ConfigError(
            f"reward: {spec.use!r} is neither a built-in ({known}) nor a path such as my_rewards.py:fn."
            f"{meant(spec.use, BUILT_IN)}",
            code="unknown-reward",
        )
    problems = problems_of(spec.use, BUILT_IN[spec.use], spec.args)
    if problems:
        raise ConfigError(problems)
    try:
        return BUILT_IN[spec.use](**spec.args)
    except (TypeError, ValueError, re.error) as error:
        raise ConfigError(f"reward {spec.use}: args {dict(spec.args)} do not fit: {error}", code="too-long") from error


def form_of(use: str) -> tuple[str, str]:
    """(`verl` or `openrlhf`, the rest) of a path that starts so; the form is empty for one of our own."""
    form, _, rest = use.partition(":")
    return (form, rest) if form in FORMS and ":" in rest else ("", use)
