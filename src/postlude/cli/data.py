"""postlude data convert and check"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Grid

from postlude.cli import options as opt
from postlude.cli.options import require_free, require_read
from postlude.errors import Problem
from postlude.terminal import Screen, bold

if TYPE_CHECKING:
    from postlude.feedback.convert import Converted
    from postlude.sources.file import Reading, Table

app = typer.Typer(no_args_is_help=True)


class Target(StrEnum):
    """What rows become."""

    pairs = "pairs"
    ranks = "ranks"
    labels = "labels"
    sft = "sft"


class Which(StrEnum):
    """Which answers of a list are paired."""

    all = "all"
    best_worst = "best-worst"
    adjacent = "adjacent"


Chat = Annotated[bool, typer.Option("--chat", help="Text becomes a user's and an assistant's message.")]


@app.command("convert")
def convert(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="IN", help="A file, saved data set or hf:OWNER/NAME.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="A JSONL file to write.")],
    to: Annotated[Target, typer.Option("--to", help="What the rows become.")],
    which: Annotated[Which, typer.Option("--pairs", help="Which answers of a list are paired.")] = Which.all,
    margin: Annotated[float, typer.Option(help="Least difference of scores, or ranks, for a pair.")] = 0.0,
    threshold: Annotated[
        float | None, typer.Option(help="Labels: a score of at least this, or a rank of at most this, is good.")
    ] = None,
    write_margin: Annotated[
        bool, typer.Option("--write-margin", help="Write `margin`, which training makes the better answer win by.")
    ] = False,
    columns: opt.Columns = None,
    chat: Chat = False,
    split: opt.Split = "train",
    on_bad_row: opt.Bad = opt.OnBadRow.stop,
    force: opt.Force = False,
) -> None:
    """Turn feedback of one kind into another: ratings, ranks, pairs, labels, written answers.

    postlude data convert rated.jsonl pairs.jsonl --to pairs --pairs best-worst --margin 1
    postlude data convert pairs.jsonl labels.jsonl --to labels

    Equal scores have equal ranks and make no pair. Columns that are not part of the comparison stay.
    """
    from postlude.feedback.convert import Choices
    from postlude.feedback.convert import convert as converted
    from postlude.sources.reading import read

    require_free(target, force)
    if to is not Target.pairs:
        require_read(context, f"--to {to.value} makes no pairs", "which", "margin", "write_margin")
    if to is not Target.labels:
        require_read(context, f"--to {to.value} makes no labels", "threshold")
    choices = Choices(to.value, which.value, margin, threshold, write_margin)
    table = read(source, split)
    result = converted(table, choices, reading_of(columns, chat))
    table.require_clean(on_bad_row.value, "--on-bad-row skip")
    write_rows(target, result.rows)
    console = Screen()
    for line in (f"{source}: {table.form}", *table.notes):
        console.print(line, soft_wrap=True)
    console.print(_sums(table, result, to.value))
    list_problems(console, table.problems)
    console.print(f"saved to {target}", soft_wrap=True)
    if not result.rows:
        raise typer.Exit(1)


def _sums(table: Table, result: Converted, name: str) -> Grid:
    """Counts of rows, then of comparisons where pairs were made."""
    rows = {"rows read": table.read, "converted": result.converted}
    rows |= dict(result.rows_dropped) | {"bad": table.read - len(table.rows)}
    pairs = {"comparisons": result.compared, "pairs written": len(result.rows), **result.dropped}
    return sums([rows, pairs if result.compared else {f"{name} written": len(result.rows)}])


def sums(blocks: Iterable[Mapping[str, int]]) -> Grid:
    """Blocks of counts; the first of each is the sum of the others, which stand indented; zeros are left out."""
    grid = Grid.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(justify="right")
    for block in blocks:
        for i, (name, count) in enumerate(block.items()):
            if count or i == 0:
                grid.add_row(bold(name) if i == 0 else f"  {name}", f"{count:,}")
    return grid


def write_rows(target: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """JSON lines, put in place once they are complete."""
    part = target.with_name(target.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    part.replace(target)


def list_left_out(columns: set[str], of: str) -> None:
    """Columns that are not written on, since they speak of something else."""
    if columns:
        text = f"columns left out, which speak of {of}: {', '.join(sorted(columns))}"
        Screen().print(text, soft_wrap=True)


def list_problems(console: Console, problems: list[Problem]) -> None:
    """Bad rows that were skipped, as many as anyone reads."""
    from postlude.sources.table import MAX_SHOWN

    for line in problems[:MAX_SHOWN]:
        console.print(f"  skipped: {line}", soft_wrap=True)
    if len(problems) > MAX_SHOWN:
        console.print(f"  ... and {len(problems) - MAX_SHOWN} more.")


def reading_of(columns: str | None, chat: bool = False) -> Reading:
    """How the rows of a file are read, as --columns and --chat say."""
    from postlude.sources.file import Reading

    return Reading(named_columns(columns), chat, "--columns", "--columns")


def named_columns(columns: str | None) -> dict[str, str]:
    """The mapping of --columns."""
    from postlude.errors import ConfigError
    from postlude.plain_yaml import load
    from postlude.sources.spec import column_problems

    try:
        named = load(columns) if columns else {}
    except ValueError:
        named = None
    if not isinstance(named, dict) or not all(isinstance(x, str) for pair in named.items() for x in pair):
        raise ConfigError(
            f"--columns must be a mapping such as '{{prompt: question}}', found {columns!r}.", code="wrong-type"
        )
    if problems := column_problems(named, "--columns", lambda key, code, sentence: Problem(code, sentence, key=key)):
        raise ConfigError(problems)
    return named
