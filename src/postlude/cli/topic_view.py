"""How an explanation looks: one page, a list of several, and what there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from postlude.errors import printable
from postlude.explain.home import Home
from postlude.facts.topic import Topic
from postlude.terminal import bold, colored, dim, joined

WIDEST = 100
"""Columns of text: longer lines are hard to read."""
NAMED = 36
"""Topics that an overview names of one kind."""


def page(topic: Topic, console: Console) -> None:
    """All that is known of one thing."""
    console.print(joined(bold(topic.name), dim(f"  {topic.kind}{_title(topic)}")), width=_width(console))
    console.print()
    for paragraph in topic.meaning.split("\n\n"):
        console.print(Padding(_text(paragraph), (0, 0, 1, 0)), width=_width(console))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, value in _fields(topic):
        table.add_row(label, value)
    console.print(table, width=_width(console))


def _title(topic: Topic) -> str:
    """What is not said again right below."""
    return "" if topic.meaning.startswith(topic.title) else f": {topic.title}"


def _fields(topic: Topic) -> Iterable[tuple[str, Text | Group]]:
    if topic.unit:
        yield "unit", _text(topic.unit)
    if topic.formula:
        yield ("values" if topic.kind == "key" else "formula"), colored(topic.formula, "cyan")
    for label, value in (("usual", topic.healthy), ("use", topic.use)):
        if value:
            yield label, _text(value)
    if topic.bad_at:
        yield "bad at", _lines(topic.bad_at.split("\n"))
    if topic.shows:
        yield "see it with", _lines(topic.shows, "green")
    if topic.source:
        yield "source", _text(topic.source)
    if topic.place:
        yield "in the code", _text(topic.place.replace(":", ": "))
    if topic.see:
        yield "see also", _text(", ".join(topic.see))


def _text(text: str) -> Text:
    return Text(printable(text))


def _lines(lines: Sequence[str], style: str = "") -> Group:
    return Group(*(colored(line, style) for line in lines))


def _width(console: Console) -> int:
    return min(console.width, WIDEST)


def matches(topics: Sequence[Topic], console: Console) -> None:
    """A line for each of several, with its kind where they are of more than one."""
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", style="bold")
    kinds = len({topic.kind for topic in topics}) > 1
    if kinds:
        table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for topic in topics:
        table.add_row(_text(topic.name), *([_text(topic.kind)] if kinds else []), _text(topic.title))
    console.print(table)


def overview(homes: Sequence[Home], console: Console) -> None:
    """The kinds, and what there is of each, as far as that is short."""
    for home in homes:
        names = home.names()
        shown = names if len(names) <= NAMED else names[: NAMED // 3]
        more = (
            f", and {len(names) - len(shown)} more: postlude explain --kind '{home.kind}'"
            if len(shown) < len(names)
            else ""
        )
        console.print(joined(bold(home.several), dim(f"  {len(names)}, kind {home.kind}")))
        console.print(Padding(joined(", ".join(shown), dim(more)), (0, 0, 1, 2)), width=_width(console))
