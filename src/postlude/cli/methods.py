"""postlude methods"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from postlude.errors import ConfigError
from postlude.terminal import Screen, bold, joined
from postlude.words import meant

if TYPE_CHECKING:
    from postlude.method import Algorithm


def methods(
    name: Annotated[str | None, typer.Argument(help="Show one method whole, with every default.")] = None,
) -> None:
    """List the methods: what each does, what it needs, where it comes from."""
    from postlude.algorithms import ALGORITHMS

    console = Screen()
    if name is None:
        _list(console)
        return
    if name not in ALGORITHMS:
        raise ConfigError(f"there is no method {name!r}.{meant(name, ALGORITHMS)}", code="unknown-method")
    _one(console, name)


KINDS = {
    "pair": "pairs",
    "rated": "ranked or rated lists",
    "binary": "labelled answers",
    "steps": "labelled steps",
}
"""Kind of rows of compared answers -> words."""


def needs_of(name: str) -> str:
    """What a method needs, in words."""
    from postlude.algorithms import ALGORITHMS

    entry = ALGORITHMS[name]
    words = {
        "file": ["written answers"],
        "rollout": ["prompts", "a reward"],
        "preference": [" or ".join(KINDS[k] for k in getattr(entry.objective, "learns_from", ()))],
    }[entry.source]
    labels = {
        "group": "groups of 2 or more",
        "reference": "the starting weights",
        "values": "a critic",
        "correct": "right or wrong",
        "steps": "step rewards",
        "scores": "a scalar head",
        "rollout": "the sampler's log-probs",
    }
    words += ["plain text"] if entry.pretrain else []
    return ", ".join([*words, *(labels[n] for n in sorted(entry.needs) if n in labels)])


def defaults_of(entry: Algorithm) -> list[tuple[str, Any]]:
    """(key of a recipe, value) of everything an entry sets."""
    from dataclasses import asdict

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


def _list(console: Console) -> None:
    from postlude.algorithms import ALGORITHMS

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in ALGORITHMS.values():
        name = Text(entry.name, style="bold")
        about = Text(entry.summary)
        about.append(f"\nneeds {needs_of(entry.name)}; {entry.cite}", style="dim")
        table.add_row(name, about)
    console.print(table)
    console.print("\nOne method with every default: postlude methods NAME")


def _one(console: Console, name: str) -> None:
    from postlude.algorithms import ALGORITHMS

    entry = ALGORITHMS[name]
    console.print(joined(bold(entry.name), f"  {entry.summary}"))
    console.print(f"needs    {needs_of(name)}")
    console.print(f"source   {entry.cite}")
    console.print("defaults (any of them can be a key of a recipe)")
    for path, value in defaults_of(entry):
        shown = value if isinstance(value, float) and value == float("inf") else None
        console.print(f"  {path} = {shown or json.dumps(value, default=str)}")
