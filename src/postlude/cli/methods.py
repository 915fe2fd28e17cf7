"""postlude methods"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from postlude.errors import ConfigError, Problem
from postlude.terminal import Screen, bold, joined

if TYPE_CHECKING:
    from postlude.explain.comparing import Compared


def methods(
    name: Annotated[
        list[str] | None, typer.Argument(help="Show one method whole, with every default; several with --compare.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="Show methods side by side.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """List the methods: what each does, what it needs, where it comes from. Or compare some."""
    from postlude.explain.comparing import defaults_of, differing, opened

    names = list(dict.fromkeys(name or ()))
    if compare:
        if len(names) < 2:
            raise ConfigError(
                "--compare takes two methods or more: postlude methods --compare dpo grpo ppo.", code="missing-option"
            )
        from postlude.cli.compared_view import show

        rows, defaults = _all(names), differing(names)
        if as_json:
            _json(
                {
                    "methods": [asdict(row) for row in rows],
                    "defaults": {k: dict(zip(names, v, strict=True)) for k, v in defaults.items()},
                }
            )
        else:
            show(rows, defaults, Screen())
        return
    if len(names) > 1:
        raise ConfigError(
            f"one method at a time, or postlude methods --compare {' '.join(names)}.", code="missing-option"
        )
    if as_json:
        from postlude.algorithms import ALGORITHMS

        rows = _all(names or list(ALGORITHMS))
        _json({"methods": [asdict(row) | {"defaults": dict(defaults_of(opened(row.name)))} for row in rows]})
    elif names:
        _one(Screen(), names[0])
    else:
        _list(Screen())


def _all(names: Sequence[str]) -> list[Compared]:
    """Each of them. Raises ConfigError with what is wrong with any, all at once."""
    from postlude.explain.comparing import compared

    rows: list[Compared] = []
    problems: list[Problem] = []
    for name in names:
        try:
            rows.append(compared(name))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return rows


def _json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, indent=2, default=str))


def _list(console: Console) -> None:
    from postlude.algorithms import ALGORITHMS
    from postlude.explain.comparing import needs_of

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for entry in ALGORITHMS.values():
        name = Text(entry.name, style="bold")
        about = Text(entry.summary)
        about.append(f"\nneeds {needs_of(entry)}; {entry.cite}", style="dim")
        table.add_row(name, about)
    console.print(table)
    console.print(
        "\nOne method with every default: postlude methods NAME. Side by side: postlude methods --compare A B"
    )


def _one(console: Console, name: str) -> None:
    from postlude.explain.comparing import compared, defaults_of, needs_of, opened

    entry, facts = opened(name), compared(name)
    console.print(joined(bold(entry.name), f"  {entry.summary}"))
    console.print(f"needs    {needs_of(entry)}")
    if facts.best_for:
        console.print(f"best for {facts.best_for}")
    console.print(f"cost     {facts.cost}")
    for i, limit in enumerate(facts.limits):
        console.print(f"{'bad at' if not i else '':8} {limit}")
    console.print(f"source   {entry.cite}")
    console.print("defaults (any of them can be a key of a recipe)")
    for path, value in defaults_of(entry):
        shown = value if isinstance(value, float) and value == float("inf") else None
        console.print(f"  {path} = {shown or json.dumps(value, default=str)}")
