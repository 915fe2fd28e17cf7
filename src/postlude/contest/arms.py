"""What is compared: each arm is a name with settings over the recipe."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from postlude import plain_yaml
from postlude.errors import ConfigError, Problem
from postlude.recipe import Document, documents, resolve_with_problems
from postlude.recipe.documents import flat
from postlude.recipe.foreign.tables import ALIASES
from postlude.recipe.schema import Recipe
from postlude.shapes import is_list, is_mapping

_NAMED = re.compile(r"([^=:]+):\s+(.*)", re.DOTALL)
"""`NAME: KEY=VALUE ...`; the colon of `my_method.py:NAME` has no space behind it."""


@dataclass(frozen=True)
class Arm:
    """A name, and settings over the recipe: dotted key -> value as YAML."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def folder(self) -> str:
        """Its name as a folder's."""
        return re.sub(r"[^\w.=,+-]+", "-", self.name).strip("-.") or "arm"


def arm_of(text: str) -> Arm:
    """An arm as it is typed: `grpo`, `drpo lam=0.3`, `short: method=drpo objective.advantage.lam=0.1`."""
    named = _NAMED.fullmatch(text.strip())
    name, rest = (named[1].strip(), named[2]) if named else (" ".join(text.split()), text)
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise ConfigError(f"--arm {text!r}: {error}.", code="not-key-value", key="--arm") from error
    settings: dict[str, str] = {}
    problems: list[Problem] = []
    for place, word in enumerate(words):
        key, equals, value = word.partition("=")
        if not equals and place == 0:
            key, value = "method", word
        elif not equals or not key:
            problems.append(_problem(f"--arm {text!r}: {word!r} is not KEY=VALUE, and a method's name comes first"))
            continue
        if key in settings:
            problems.append(_problem(f"--arm {text!r}: {key} is given twice", "given-twice"))
        settings[key] = value
    if problems:
        raise ConfigError(problems)
    return Arm(name, settings)


def _problem(text: str, code: str = "not-key-value") -> Problem:
    return Problem(code, f"{text}.", key="--arm")


def arms_in(path: Path) -> list[Arm]:
    """The arms of a YAML file: a mapping of names to settings, or a list of arms as they are typed."""
    try:
        parsed = plain_yaml.parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--arms: cannot read {str(path)!r}: {error}", code="cannot-read", key="--arms") from error
    problems = parsed.at(path.name)
    if problems:
        raise ConfigError(problems)
    if is_list(parsed.values):
        return [arm_of(str(entry)) for entry in parsed.values]
    if is_mapping(parsed.values):
        return arms_from(parsed.values)
    raise ConfigError(
        f"{path.name}: give a mapping of names to settings (`short: {{method: drpo}}`), or a list of arms.",
        code="wrong-type",
        key="--arms",
    )


def arms_from(values: Mapping[str, Any]) -> list[Arm]:
    """The arms of a mapping: name -> settings, nested or dotted; or one text, as an arm is typed."""
    arms: list[Arm] = []
    for name, settings in values.items():
        if isinstance(settings, str):
            arms.append(Arm(str(name), arm_of(settings).settings))
        elif settings is None or is_mapping(settings):
            leaves = flat(settings) if settings else ()
            arms.append(Arm(str(name), {key: as_yaml(value) for key, value in leaves}))
        else:
            text = f"arm {name}: settings are KEY: VALUE, or a text such as 'drpo lam=0.3'"
            raise ConfigError([_problem(text, "wrong-type")])
    return arms


def as_yaml(value: Any) -> str:
    """A value as a setting is typed; what is not finite as YAML writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return value if isinstance(value, str) and plain_yaml.parse(value).values == value else json.dumps(value)


def with_settings(values: Mapping[str, Any], settings: Mapping[str, str], origin: Mapping[str, str]) -> Document:
    """The recipe with an arm's settings, whose keys may be short where they are clear."""
    document = Document(deepcopy(documents.long_form(values)), dict(origin))  # an arm must not set another's
    methods = {key: value for key, value in settings.items() if key == "method"}
    documents.override(document, _typed(methods))
    others = {_whole(key, document): value for key, value in settings.items() if key != "method"}
    documents.override(document, _typed(others))
    return document


def _typed(settings: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in settings.items()]


def _whole(key: str, document: Document) -> str:
    """The whole key that a short one stands for: the only one of the arm's own recipe that ends in it."""
    if "." in key or key in Recipe.__dataclass_fields__:
        return key
    recipe, _ = resolve_with_problems(deepcopy(document))
    if recipe is None:
        return key
    near = sorted(path for path, _ in flat(asdict(recipe)) if path.rpartition(".")[2] == key)
    theirs = [path for alias in ALIASES if key in alias.names for path in alias.ours]
    meanings = [*dict.fromkeys([*near, *theirs])]
    if not near or len(meanings) == 1:
        return near[0] if near else key  # another library's name is translated as in any recipe
    raise ConfigError(f"{key} may be {' or '.join(meanings)}: write the whole key.", code="contradiction", key=key)


def require_names(arms: Iterable[Arm]) -> list[Problem]:
    """Every arm has a name, and a folder, of its own."""
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for arm in arms:
        if arm.folder in seen:
            other = "" if seen[arm.folder] == arm.name else f" ({seen[arm.folder]!r} has the same folder)"
            text = f"two arms are called {arm.name!r}{other}: name them apart, as in --arm 'NAME: KEY=VALUE'"
            problems.append(_problem(text, "given-twice"))
        seen.setdefault(arm.folder, arm.name)
    return problems
