"""postlude engine check"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from postlude.cli.options import SETTINGS
from postlude.cli.waiting import Waiting
from postlude.process import ended_like_by_ctrl_c
from postlude.runs.files import LOGS
from postlude.scratch import Scratch
from postlude.terminal import Screen

app = typer.Typer(no_args_is_help=True)

Recipe = Annotated[
    Path, typer.Argument(help="What `postlude train` would be given: a recipe, a method, or the folder of a run.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's, dots go inside."),
]


@app.callback()
def _group() -> None:
    """What a run is made of, tried out before it."""


@app.command("check", context_settings=SETTINGS)
def check(
    recipe: Recipe,
    overrides: Overrides = None,
    kill: Annotated[bool, typer.Option("--kill", help="Kill one trainer rank on the way: it must come back.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Start what a recipe has beside this process, put it to work a little, and stop it again.

    postlude engine check recipe.yaml engine=ray --kill
    postlude engine check recipe.yaml engine.servers='{count: 1, python: .venv-vllm/bin/python}'

    Trainer ranks: a pass, two updates, weights gathered for the sampler and compared with it, a checkpoint; memory and
    seconds of each. vLLM servers: log-probs compared with the trainer's before and after other weights are published.

    Nothing is left behind. Exit code 2 where something is wrong, with the end of the server's log, which is kept then.
    """
    from postlude.cli.engine_view import show
    from postlude.preflight.trial import try_engine
    from postlude.recipe.opening import document_of
    from postlude.waits import Watchdog

    document = document_of(recipe, overrides or [])
    with (
        ended_like_by_ctrl_c(),
        _folder() as folder,
        Waiting("trying the engine") as waiting,
        Watchdog(waiting.note, waiting.wait_for),
    ):
        tried = try_engine(document, folder, waiting.say, kill)
    if as_json:
        typer.echo(json.dumps(tried.to_json(), allow_nan=False))
    else:
        show(tried, str(recipe), Screen())


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder for logs and weights, which goes. Where something failed and servers wrote logs, those stay."""
    scratch = Scratch("postlude-engine-check-")
    try:
        yield scratch.place
    except Exception:
        scratch.keep(LOGS)
        raise
    except BaseException:  # somebody stopped it
        scratch.drop()
        raise
    scratch.drop()
