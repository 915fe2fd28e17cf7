"""What a recipe names: keys, methods, rewards, and the names that other libraries have for keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from postlude.explain import places
from postlude.explain.home import Home, first_sentence, plain
from postlude.facts.formulas import FORMULAS
from postlude.facts.methods import METHODS
from postlude.facts.topic import Topic

if TYPE_CHECKING:
    from postlude.method import Algorithm
    from postlude.recipe.keys import Key

PARTS = {"objective", "keep", "shaping[]", "kl_control"}
"""Keys whose parts are explained as a whole, in the docstrings of their dataclasses."""
CALLED: Mapping[str, tuple[str, ...]] = {
    "prompts_per_step": ("batch size", "batch"),
    "group_size": ("answers per prompt", "completions per prompt", "batch size"),
    "schedule.lr": ("learning rate",),
    "sampling.max_tokens": ("answer length", "longest answer", "length limit"),
    "sampling.temperature": ("temperature",),
    "steps": ("length of a run", "how long to train"),
    "engine.token_budget": ("micro-batch", "micro batch size"),
    "objective.surrogate.high": ("upper clip",),
    "model.lora.rank": ("rank",),
    "checkpoints.every": ("save every",),
}
"""Keys by other words than their own."""
NAMED = 6
"""Methods of one default that are listed, where others have another."""


def _key_names() -> Sequence[str]:
    from postlude.recipe.keys import keys

    return tuple(keys())


def _keys_meant(asked: str) -> Iterable[str]:
    """Keys that end so (`lr`, `kl.coef`); entries of lists with or without their brackets; earlier names."""
    from postlude.recipe.keys import keys
    from postlude.recipe.moved import MOVED

    name = _unbracketed(asked.partition("=")[0])
    paths = {path: _unbracketed(path) for path in keys()}
    exact = [path for path, bare in paths.items() if bare == name]
    earlier = [MOVED[name]] if name in MOVED else []
    called = [path for path, words in CALLED.items() if plain(asked) in map(plain, words)]
    whole = [*exact, *earlier, *called]
    return whole or [path for path, bare in paths.items() if bare.endswith("." + name)] or _free_part(name, paths)


def _free_part(name: str, paths: Mapping[str, str]) -> list[str]:
    """The key whose value has parts of the user's or of another table's naming: of `alarms.on.kl-explosion`."""
    from postlude.recipe.keys import keys

    parents = [path for path, bare in paths.items() if name.startswith(bare + ".")]
    return [path for path in parents if any(re.match(r"(dict|Mapping)\b", str(key.field.type)) for key in keys()[path])]


def _unbracketed(path: str) -> str:
    return re.sub(r"\[\d*\]", "", path.strip().strip("`'\"?")).replace("-", "_").casefold()


def _key(path: str) -> Topic:
    from postlude.recipe.keys import keys

    several = keys()[path]
    notes = _notes(several)
    of_part = path.split(".")[0] in PARTS and "." in path
    meaning = "\n\n".join([*notes, *(_of_owner(several) if of_part or not notes else [])])
    return Topic(
        name=path,
        title=first_sentence(meaning),
        kind="key",
        meaning=meaning,
        formula="\n".join((*(_key_line(key, len(several) > 1) for key in several), *_of_methods(path))),
        use=f"In a recipe, or on the command line: {_written(path)}",
        source="docs/recipe.md",
        place="; ".join(dict.fromkeys(key.place for key in several)),
    )


def _notes(several: Sequence[Key]) -> list[str]:
    """What stands under a field; with its part where parts say different things."""
    texts = {key.part: key.meaning for key in several if key.meaning}
    if len(set(texts.values())) < 2:
        return list(dict.fromkeys(texts.values()))
    return [f"{part}: {text}" for part, text in texts.items()]


def _of_owner(several: Sequence[Key]) -> list[str]:
    """What is said of a field where its part is explained, and of the part."""
    silent = [key for key in several if not key.meaning]
    of_fields = [sentence for key in silent if (sentence := _naming(key.field.name, key.owner.__doc__ or ""))]
    parts = {key.part or key.owner.__name__: _whole(key.owner.__doc__ or "") for key in several}
    return list(dict.fromkeys([*of_fields, *(f"{part}: {text}" for part, text in parts.items())]))


def _naming(field: str, text: str) -> str | None:
    """The first sentence that names a field."""
    sentences = re.split(r"(?<=[.;]) ", " ".join(text.split()))
    return next((sentence for sentence in sentences if f"`{field}`" in sentence), None)


def _key_line(key: Key, named: bool) -> str:
    """`gae: default 0.05; values [0, 1e9]`."""
    default = key.default or "none" if key.default != "required" else "none, it must be given"
    lead = f"{key.part}: " if named and key.part else ""
    values = f"; values {key.values}" if key.values else ""
    return f"{lead}default {default}{values}"


@cache
def _defaults() -> Mapping[str, Mapping[str, object]]:
    """Method -> key -> what it sets."""
    from postlude.algorithms import ALGORITHMS
    from postlude.explain.comparing import defaults_of

    return {entry.name: dict(defaults_of(entry)) for entry in ALGORITHMS.values()}


def _of_methods(path: str) -> Iterable[str]:
    """What the methods set a key to, where they do: `grpo, grpo_process: 0.04`."""
    by_value: dict[str, list[str]] = {}
    for name, defaults in _defaults().items():
        value = defaults.get(path)
        if value is not None:
            by_value.setdefault(str(value), []).append(name)
    most = max(by_value, key=lambda value: len(by_value[value]), default="")
    for value, names in by_value.items():
        others = value == most and len(by_value) > 1 and len(names) > NAMED
        yield f"{value} in {'all others that have it' if others else ', '.join(names)}"


def _written(path: str) -> str:
    return path.replace("[]", "[0]") + "=VALUE"


def _whole(text: str) -> str:
    return " ".join(text.split())


KEYS = Home("key", "keys of a recipe", _key_names, _key, _keys_meant)


def _method_names() -> Sequence[str]:
    return tuple(METHODS)


def method(name: str) -> Topic:
    """Of a method of the catalogue, or of a user's own: `my_method.py:NAME`."""
    from postlude.algorithms import find_method

    entry, facts = find_method(name), METHODS.get(name)
    return Topic(
        name=name,
        title=entry.summary,
        kind="method",
        meaning=entry.summary
        + (f"\n\nRequires {facts.requires}. Complexity: {facts.complexity}.\n\nCosts: {facts.cost}." if facts else ""),
        formula=FORMULAS.get(name),
        use=f"Best for {facts.best_for}." if facts else None,
        bad_at="\n".join(facts.limits) if facts else None,
        source=entry.cite,
        place="; ".join(parts_of(entry)),
        see=tuple(n for n in (entry.name.split("_")[0],) if n != name and n in METHODS),
        shows=(f"postlude methods {name}", f"postlude memory MODEL --method {name}") if facts else (),
    )


def parts_of(entry: Algorithm) -> list[str]:
    """Places of the factors of its objective, and of its filter and shaping."""
    from dataclasses import fields, is_dataclass

    objective = entry.objective
    values = [getattr(objective, f.name) for f in fields(objective)]
    factors = [v for v in (*values, entry.keep, *entry.shaping) if is_dataclass(v) and not isinstance(v, type)]
    return list(dict.fromkeys(places.place_of(type(factor)) for factor in factors))


METHODS_HOME = Home(
    "method",
    "methods",
    _method_names,
    method,
    lambda asked: [asked] if ".py:" in asked and "/figures" not in asked else [],
)


def _reward_names() -> Sequence[str]:
    from postlude.rewards.resolve import BUILT_IN

    return tuple(BUILT_IN)


def _reward(name: str) -> Topic:
    from postlude.rewards.resolve import BUILT_IN

    module, _, function = BUILT_IN[name].partition(":")
    place = f"{module.removeprefix('postlude.').replace('.', '/')}.py:{function}"
    text = [" ".join(part.split()) for part in places.docstring(place).split("\n\n")]
    return Topic(
        name=name,
        title=first_sentence(text[0]),
        kind="reward",
        meaning="\n\n".join(text),
        formula="\n".join(places.arguments(place)) or None,
        use=f"reward: {name}, or reward: {{use: {name}, args: {{...}}}}",
        source="docs/rewards.md",
        place=place,
        see=("reward[].args", "reward hacking"),
        shows=(f"postlude audit {name} DATA",),
    )


REWARDS = Home("reward", "built-in rewards", _reward_names, _reward)


def _foreign_names() -> Sequence[str]:
    from postlude.recipe.foreign.tables import ALIASES

    ours = set(_key_names())
    return tuple(dict.fromkeys(name for alias in ALIASES for name in alias.names if name not in ours))


def _foreign(name: str) -> Topic:
    from postlude.recipe.foreign.tables import ALIASES

    several = [alias for alias in ALIASES if name in alias.names]
    ours = list(dict.fromkeys(key for alias in several for key in alias.ours))
    notes = [f"{alias.library}: {alias.note}." for alias in several if alias.note]
    libraries = " and ".join(dict.fromkeys("papers" if a.library == "common" else a.library for a in several))
    return Topic(
        name=name,
        title=f"{libraries}: {', '.join(ours)} here",
        kind="foreign name",
        meaning=f"What {libraries} call{'s' if len(several) == 1 else ''} {', '.join(ours)} here."
        + "".join(f" {note}" for note in notes),
        use=f"It works as it is in a recipe and on the command line, and is printed as {', '.join(ours)}.",
        source="docs/coming-from.md",
        place="recipe/foreign/tables.py:ALIASES",
        see=tuple(ours),
    )


FOREIGN = Home("foreign name", "names of TRL, verl and papers", _foreign_names, _foreign)
