"""Methods side by side: a table where it is wide enough, else one question after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from postlude.errors import printable
from postlude.explain.comparing import Compared
from postlude.terminal import bold, colored, dim

NARROWEST = 30
"""Columns below which text in a table is hard to read."""
LABEL = 12
NOT_KNOWN = "-"


def show(rows: Sequence[Compared], defaults: Mapping[str, Sequence[Any]], console: Console) -> None:
    """What each method is, and the defaults that differ."""
    facts = {
        "what it does": [[row.summary] for row in rows],
        "requires": [[row.requires] for row in rows],
        "complexity": [[row.complexity or NOT_KNOWN] for row in rows],
        "best for": [[row.best_for or NOT_KNOWN] for row in rows],
        "cost": [[row.cost] for row in rows],
        "limits": [list(row.limits) or [NOT_KNOWN] for row in rows],
        "source": [[row.source] for row in rows],
    }
    names = [row.name for row in rows]
    if (console.width - LABEL) // len(rows) >= NARROWEST:
        _table(names, facts, console)
    else:
        _blocks(names, facts, console)
    console.print()
    _defaults(names, defaults, console)


def _table(names: Sequence[str], facts: Mapping[str, list[list[str]]], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, pad_edge=False)
    table.add_column("", style="dim", no_wrap=True)
    for name in names:
        table.add_column(bold(name), ratio=1, overflow="fold")
    for label, cells in facts.items():
        table.add_row(label, *(_cell(lines) for lines in cells), end_section=True)
        table.add_row()
    console.print(table)


def _cell(lines: list[str]) -> Text | Table:
    """One line as it is; several each behind a dash."""
    if len(lines) == 1:
        return Text(printable(lines[0]))
    table = Table.grid(padding=(0, 1))
    for line in lines:
        table.add_row("-", Text(printable(line)))
    return table


def _blocks(names: Sequence[str], facts: Mapping[str, list[list[str]]], console: Console) -> None:
    for label, cells in facts.items():
        console.print(dim(label))
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, lines in zip(names, cells, strict=True):
            table.add_row(Text(printable(name)), _cell(lines))
        console.print(Padding(table, (0, 0, 1, 2)))


def _defaults(names: Sequence[str], defaults: Mapping[str, Sequence[Any]], console: Console) -> None:
    console.print(dim("defaults that differ (- where a method has no such part)"))
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold")
    for _ in names:
        table.add_column(overflow="fold", style="cyan")
    table.add_row("", *(bold(name) for name in names))
    for key, values in defaults.items():
        table.add_row(Text(printable(key)), *(colored(_value(value), "cyan") for value in values))
    console.print(Padding(table, (0, 0, 0, 2)))


def _value(value: Any) -> str:
    if value is None or value == []:
        return NOT_KNOWN
    return str(value).lower() if isinstance(value, bool) else str(value)
