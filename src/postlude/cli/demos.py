"""What the demos have in common: a folder of their own, files of rows, and runs under a live view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from postlude.cli import data
from postlude.terminal import bold

if TYPE_CHECKING:
    from postlude.data import Prompt
    from postlude.engines.local.engine import LocalEngine


def free_folder(group: str) -> Path:
    """A folder for a demo that is not there yet: demo-run, demo-run-2, ..."""
    from postlude.recipe.packaged import FOLDERS

    name = FOLDERS[group]
    names = (Path(name + (f"-{n}" if n > 1 else "")) for n in range(1, 1000))
    return next(p for p in names if not p.exists())


def write_rows(folder: Path, files: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Name -> rows, as JSON lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        data.write_rows(folder / f"{name}.jsonl", rows)


def comparison(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Policies side by side; the first of each row is its name."""
    result = Table(title="Held-out prompts, never trained on", title_justify="left", box=None, padding=(0, 2, 0, 0))
    result.add_column("")
    for column in columns:
        result.add_column(column, justify="right")
    for name, *figures in rows:
        result.add_row(bold(name), *figures)
    return result


def open_policy(folder: Path, prompts: str, limit: int | None = None) -> tuple[LocalEngine, list[Prompt]]:
    """A policy that a run of the demo wrote, and the prompts of a file that it is to answer."""
    from postlude.engines.local.engine import LocalEngine
    from postlude.sources import file as rows

    engine = LocalEngine.open(str(folder / "model"))
    table = rows.read(str(folder.parent / f"{prompts}.jsonl"))
    return engine, [engine.renderer.with_tokens(p) for p in rows.prompts(table)[:limit]]


def run_recipe(folder: Path, name: str, console: Console) -> float:
    """Train with one recipe of the folder; its seconds. Ctrl-C ends the demo."""
    from postlude.launch import launch
    from postlude.recipe import documents
    from postlude.watch.live import LiveView

    with LiveView(console, f"postlude {name}") as view:
        run = launch(documents.read(folder / f"{name}.yaml"), listeners=[view])
    if run.stop:
        console.print(
            f"\nstopped at step {run.step} of {name}; go on with: postlude train {run.folder} --resume\n"
            f"or begin anew in another folder: postlude demo ...",
            soft_wrap=True,
        )
        raise typer.Exit(130)
    return run.elapsed
