"""Methods side by side: what each requires, is best for, costs and is bad at, and where their defaults differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from postlude.algorithms import ALGORITHMS, find_method
from postlude.errors import ConfigError
from postlude.facts.methods import METHODS
from postlude.method import Algorithm
from postlude.objectives import ContrastObjective
from postlude.words import counted, meant

KINDS = {
    "pair": "pairs",
    "rated": "ranked or rated lists",
    "binary": "labelled answers",
    "steps": "labelled steps",
}
"""Kind of rows of compared answers -> words."""
LABELS = {
    "group": "groups of 2 or more",
    "reference": "the starting weights",
    "values": "a critic",
    "correct": "right or wrong",
    "steps": "step rewards",
    "scores": "a scalar head",
    "rollout": "the sampler's log-probs",
}


@dataclass(frozen=True)
class Compared:
    """A method, as it stands beside others. Of a user's own what only judgement can say is None or empty."""

    name: str
    summary: str
    requires: str
    complexity: str | None
    best_for: str | None
    cost: str
    limits: tuple[str, ...]
    source: str


def opened(name: str) -> Algorithm:
    """The entry of a name, or of a path to one: `my_method.py:NAME`. Raises ConfigError with the nearest name."""
    if ":" not in name and name not in ALGORITHMS:
        raise ConfigError(f"there is no method {name!r}.{meant(name, ALGORITHMS)}", code="unknown-method")
    return find_method(name)


def compared(name: str) -> Compared:
    """What is known of a method: its facts, or what its parts say by themselves."""
    entry, facts = opened(name), METHODS.get(name)
    if facts is None:
        return Compared(name, entry.summary, needs_of(entry), None, None, cost_of(entry), (), entry.cite)
    return Compared(
        name, entry.summary, facts.requires, facts.complexity, facts.best_for, facts.cost, facts.limits, entry.cite
    )


def needs_of(entry: Algorithm) -> str:
    """What a method needs, in words."""
    rows = entry.objective.learns_from if isinstance(entry.objective, ContrastObjective) else ()
    words = {
        "file": ["written answers"],
        "rollout": ["prompts", "a reward"],
        "preference": [" or ".join(KINDS[kind] for kind in rows)],
    }[entry.source]
    words += ["plain text"] if entry.pretrain else []
    return ", ".join([*words, *(LABELS[n] for n in sorted(entry.needs) if n in LABELS)])


def cost_of(entry: Algorithm) -> str:
    """What is held and computed, from the parts of an entry alone."""
    models = ["policy", *(["critic"] * ("values" in entry.needs)), *(["reference"] * ("reference" in entry.needs))]
    held = " and ".join([", ".join(models[:-1]), models[-1]] if len(models) > 1 else ["policy only"])
    sampled = f"; {counted(entry.group_size, 'answer')} sampled per prompt" if entry.source == "rollout" else ""
    return f"{held}{sampled}; {counted(entry.updates * entry.epochs, 'update')} per draw"


def defaults_of(entry: Algorithm) -> list[tuple[str, Any]]:
    """(key of a recipe, value) of everything an entry sets."""
    from postlude.models.spec import Critic
    from postlude.recipe import flat

    values = {
        "group_size": entry.group_size,
        "updates": entry.updates,
        "epochs": entry.epochs,
        "schedule.lr": entry.lr,
        "keep": asdict(entry.keep) if entry.keep else None,
        "shaping": [asdict(s) for s in entry.shaping],
        "critic": asdict(Critic()) if "values" in entry.needs else None,
        "objective": asdict(entry.objective),
    }
    return list(flat(values))


def differing(names: Sequence[str]) -> Mapping[str, tuple[Any, ...]]:
    """Key -> its default in each method, of keys whose defaults differ; None where a method has no such part."""
    defaults = [dict(defaults_of(opened(name))) for name in names]
    keys = dict.fromkeys(key for values in defaults for key in values)
    rows = {key: tuple(values.get(key) for values in defaults) for key in keys}
    return {key: row for key, row in rows.items() if any(value != row[0] for value in row)}
