"""The function that a reward of a recipe names: built in, a user's, or one of another library's form."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from postlude.errors import ConfigError, Problem
from postlude.objects import load_object
from postlude.rewards.functions import RewardFunction
from postlude.rewards.spec import RewardSpec
from postlude.validation import validate
from postlude.words import closest, meant

BUILT_IN = {
    "exact": "postlude.rewards.text:exact",
    "regex": "postlude.rewards.text:regex",
    "format": "postlude.rewards.text:format_",
    "choice": "postlude.rewards.choice:choice",
    "json_schema": "postlude.rewards.json_schema:json_schema",
    "maths": "postlude.rewards.maths:maths",
    "code": "postlude.rewards.code:code",
    "length": "postlude.rewards.text:length",
    "overlong": "postlude.rewards.text:overlong",
    "repetition": "postlude.rewards.text:repetition",
    "model": "postlude.rewards.learned:reward_model",
    "pair_model": "postlude.rewards.learned:pair_model",
    "process_model": "postlude.rewards.learned:process_model",
    "implicit": "postlude.rewards.implicit:implicit",
    "judge": "postlude.rewards.judge:judge",
}
"""Name in a recipe -> module and factory, loaded where the name is used; the recipe's `args` are its arguments."""
FORMS = {"verl": "postlude.rewards.adapters:from_verl", "openrlhf": "postlude.rewards.adapters:from_openrlhf"}
"""What may stand before a path in a recipe (`verl:my_score.py:compute_score`) -> what makes a reward of it."""


def factory_of(name: str) -> Callable[..., RewardFunction]:
    """What makes the built-in of this name."""
    return _loaded(BUILT_IN[name])


def _loaded(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    return vars(importlib.import_module(module))[name]


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
        return _loaded(FORMS[form])(function)
    _require_callable_by_name(path, function)
    return function


def _instance(path: str, thing: Any) -> Any:
    """What was named; of a class an instance, where one can be made without arguments."""
    if not inspect.isclass(thing):
        return thing
    advice = f"name an instance of it: score = {thing.__name__}(...) in the file, and reward ...:score."
    if "__call__" not in {name for kind in thing.__mro__[:-1] for name in vars(kind)}:
        raise ConfigError(
            f"reward: {path!r} is a class whose instances cannot be called: it has no __call__.", code="not-a-reward"
        )
    try:
        inspect.signature(thing).bind()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"reward: {path!r} is a class, and its __init__ needs arguments ({error}); {advice}", code="not-a-reward"
        ) from error
    try:
        return thing()
    except (Exception, SystemExit) as error:  # a user's class can raise anything
        raise ConfigError(
            f"reward: {path!r} is a class, and {thing.__name__}() raised {type(error).__name__}: {error}; {advice}",
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
    factory = factory_of(spec.use)
    problems = problems_of(spec.use, factory, spec.args)
    if problems:
        raise ConfigError(problems)
    try:
        return factory(**spec.args)
    except (TypeError, ValueError, re.error) as error:
        raise ConfigError(
            f"reward {spec.use}: args {dict(spec.args)} do not fit: {error}", code="reward-arguments"
        ) from error


def form_of(use: str) -> tuple[str, str]:
    """(`verl` or `openrlhf`, the rest) of a path that starts so; the form is empty for one of our own."""
    form, _, rest = use.partition(":")
    return (form, rest) if form in FORMS and ":" in rest else ("", use)


def problems_of(use: str, factory: Callable[..., Any], given: Mapping[str, Any]) -> list[Problem]:
    """Everything wrong with `args`, each as a sentence."""
    known = inspect.signature(factory).parameters
    unknown = [name for name in given if name not in known]
    misnamed = [Problem("unknown-key", f"has no argument {name!r};{_hint(name, known)}", key=name) for name in unknown]
    values = {name: value for name, value in given.items() if name not in unknown}
    wrong = validate(_schema(factory), values)[1]
    if unknown:  # the misspelt one is the one that seems to be missing
        wrong = [problem for problem in wrong if not problem.endswith(" is missing.")]
    return [
        *(problem.within(f"reward {use} ") for problem in misnamed),
        *(problem.within(f"reward {use}: args: ") for problem in wrong),
    ]


def _hint(name: str, known: Collection[str]) -> str:
    close = closest(name, known)
    return f" did you mean {close!r}?" if close else f" it has {', '.join(known) or 'none'}."


@cache
def _schema(factory: Callable[..., Any]) -> type:
    """A dataclass with a field for every argument that has a type. What `**others` takes is in `passes_to`."""
    hints: dict[str, Any] = {}
    for source in (*vars(factory).get("passes_to", ()), factory):
        hints |= get_type_hints(source, include_extras=True)
    known = inspect.signature(factory).parameters
    required = [(n, hints[n]) for n, p in known.items() if n in hints and p.default is p.empty and not _by_keyword(p)]
    others = [(n, hints[n], field(default=None)) for n in known if n in hints and n not in {r[0] for r in required}]
    schema = make_dataclass("Arguments", [*required, *others], frozen=True)
    schema.__pydantic_config__ = {"allow_inf_nan": False}  # type: ignore[attr-defined]
    return schema


def _by_keyword(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY
