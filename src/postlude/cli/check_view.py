"""The report of `postlude check` for people: a line for what is well, and what to do for what is not."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from postlude.errors import printable, visible
from postlude.preflight.report import Finding, Kind, Level, Piece, Report, Section
from postlude.terminal import bold, colored, dim, joined

MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "note": ("✓", "green"),
    "warning": ("!", "bold yellow"),
    "broken": ("✗", "bold red"),
}
STYLES: dict[Kind, str] = {
    "prompt": "dim",
    "context": "dim",
    "trained": "bold green",
    "end": "bold black on green",
    "cut": "italic dim",
}
VERDICTS: dict[Level, tuple[str, str]] = {
    "ok": ("ready", "bold green"),
    "note": ("ready", "bold green"),
    "warning": ("ready, with warnings", "bold yellow"),
    "broken": ("broken: mend what is marked ✗ first", "bold red"),
}


def show(report: Report, console: Console) -> None:
    """Print the whole report."""
    method = f"{report.method}: " if report.method != report.recipe else ""
    head = f"  {method}{report.sizes}" if report.method else ""
    console.print(joined(bold(f"postlude check {report.recipe}"), dim(head)), soft_wrap=True)
    for section in report.sections:
        console.print()
        _section(section, console)
    text, style = VERDICTS[report.verdict]
    console.print()
    how = "without the model" if report.quick else ""
    console.print(joined(colored(text, style), dim(f"  {report.seconds:.0f} s {how}".rstrip())))


def _section(section: Section, console: Console) -> None:
    mark, style = MARKS[section.level]
    heading = Table.grid(padding=(0, 1))
    heading.add_row(colored(mark, style), joined(bold(section.title), f"  {section.summary}"))
    console.print(heading)
    if section.table:
        console.print(Padding(_table(section.table), (0, 0, 0, 4), expand=False))
    for row in section.rows:
        console.print(Padding(_row(row), (0, 0, 0, 4), expand=False))
    for finding in section.findings:
        _finding(finding, console)


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(printable(name)), Text(printable(value)))
    return table


def _row(pieces: list[Piece]) -> Table:
    """A row of data: what is asked dim, what is trained green, what ends it on green."""
    table = Table.grid(padding=(0, 1))
    text = Text()
    for piece in pieces:
        text.append(visible(piece.text), style=STYLES[piece.kind])
    table.add_row(Text("│", style="dim"), text)
    return table


def _finding(finding: Finding, console: Console) -> None:
    mark, style = MARKS[finding.level] if finding.level != "note" else ("·", "dim")
    text = Text(visible(finding.text), style="dim" if finding.level == "note" else "")
    if finding.mend:
        text.append(("\n" if finding.level != "note" else ". ") + visible(finding.mend), style="cyan")
    if finding.level != "note":
        text.append(f"  [{finding.code}]", style="dim")
    table = Table.grid(padding=(0, 1))
    table.add_row(Text(mark, style=style), text)
    console.print(Padding(table, (0, 0, 0, 4), expand=False))
