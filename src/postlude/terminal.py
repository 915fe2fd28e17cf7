"""What reaches a terminal: text as it is, never markup, and no character that would steer the terminal.

Names, paths, answers of models and rows of data hold brackets, escape sequences and marks of writing direction. All
that commands print goes through `Screen`; what is styled is a `Text`, never a string with tags.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from postlude.errors import printable


class Screen(Console):
    """A console for which every string is only text."""

    def __init__(self, stderr: bool = False, **others: Any) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, **others)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Every renderable passes here, those inside tables and panels too."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)

    def render_str(self, text: str, **how: Any) -> Text:
        """rich leaves some controls out; here they are told."""
        return super().render_str(printable(text), **how)


def colored(text: object, style: str) -> Text:
    return Text(printable(str(text)), style=style)


def bold(text: object) -> Text:
    return colored(text, "bold")


def dim(text: object) -> Text:
    return colored(text, "dim")


def joined(*parts: str | Text) -> Text:
    """Plain and styled texts, one after the other."""
    return Text.assemble(*(Text(printable(part)) if isinstance(part, str) else part for part in parts))
