"""postlude config show, check, recipes and import"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from postlude.cli.options import SETTINGS, require_free
from postlude.terminal import Screen, bold, colored, joined

app = typer.Typer(no_args_is_help=True)

Recipe = Annotated[
    Path, typer.Argument(help="A recipe (YAML, or a name such as demo/grpo), a method, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's.")
]


@app.command("show", context_settings=SETTINGS)
def show(recipe: Recipe, overrides: Overrides = None) -> None:
    """Print every setting that would be in force, and where it comes from."""
    from rich.table import Table

    from postlude.recipe import flat, resolve
    from postlude.recipe.opening import document_of

    document = document_of(recipe, overrides or [])
    resolved = resolve(document)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("key", "value", "from"):
        table.add_column(column, overflow="fold")
    for path, value in flat(asdict(resolved)):
        origin = document.source(path)
        table.add_row(path, _text(value), origin, style="dim" if origin == "default" else "")
    console = Screen()
    console.print(table)
    console.print(f"\n{resolved.sizes}")
    _lines(console, [*document.renamed, *document.notes])


@app.command("recipes")
def recipes(
    name: Annotated[
        str | None, typer.Argument(help="Print this one, with its comments, to begin your own with.")
    ] = None,
) -> None:
    """List the recipes that come with postlude, or print one. Each is a stage of a demo.

    postlude config recipes demo/grpo > my-grpo.yaml
    postlude train demo/grpo model=my-model data=prompts.jsonl output=runs/mine
    """
    from postlude.errors import ConfigError
    from postlude.recipe import packaged
    from postlude.words import meant

    if name is None:
        for known in packaged.names():
            about = packaged.text(known).partition("\n")[0].removeprefix("# ")
            Screen().print(joined(bold(f"{known:22}"), about), soft_wrap=True)
    elif name in packaged.names():
        typer.echo(packaged.text(name), nl=False)
    else:
        raise ConfigError(f"there is no packaged recipe {name!r}.{meant(name, packaged.names())}", code="unknown-name")


def _lines(console: Console, lines: list[str]) -> None:
    """What other libraries' names became, and how else a recipe was read, one line each."""
    for line in lines:
        console.print(f"    {line}", soft_wrap=True)


def _text(value: Any) -> str:
    return str(value) if isinstance(value, float) else json.dumps(value, default=str)


@app.command("check", context_settings=SETTINGS)
def check(recipe: Recipe, overrides: Overrides = None) -> None:
    """Check a recipe with its data, rewards and tokenizer, without loading weights. Exit code 2 if it is wrong."""
    from postlude.check import check as check_document
    from postlude.recipe.opening import document_of

    document = document_of(recipe, overrides or [])
    prepared = check_document(document)
    console = Screen()
    console.print(joined(colored("ok", "green"), f"  {prepared.recipe.sizes}"))
    _lines(console, document.renamed)
    for line in [*prepared.notes, *prepared.rewards.notes]:
        console.print(f"    {line}", soft_wrap=True)
    for name, count in prepared.counts.items():
        console.print(f"    {name}: {count}")
    tokens = [len(p.tokens) for p in prepared.prompts] or [
        len(g.prompt.tokens) + len(g.completions[0].tokens) for g in prepared.items
    ]
    console.print(f"    tokens per row: {min(tokens)} to {max(tokens)}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="TRL's YAML or JSON, verl's YAML, or a script with verl's overrides.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the recipe to this file.")] = None,
    trainer: Annotated[
        str | None, typer.Option("--trainer", help="Which trainer it is for, where the file does not tell (TRL).")
    ] = None,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes TRL ran on (its sizes are each's).")
    ] = 1,
) -> None:
    """Turn a TRL or verl configuration into a recipe with the same effective settings.

    Every key that was read is either translated or listed in the recipe with the reason why not.
    """
    from postlude.errors import ConfigError
    from postlude.recipe import import_file
    from postlude.recipe.places import exists

    if output:
        if exists(output):
            raise ConfigError(
                f"--output: {str(output)!r} exists already. Give another name, or delete it.", code="exists-already"
            )
        require_free(output, None, "--output")
    imported = import_file(file, trainer, processes)
    if output:
        output.write_text(imported.text, encoding="utf-8")
    else:
        typer.echo(imported.text, nl=False)
    screen = Screen(stderr=True)
    screen.print(imported.summary, soft_wrap=True)
    for what, why in imported.decisions.items():
        screen.print(f"  needs your decision: {what} ({why})", soft_wrap=True)
