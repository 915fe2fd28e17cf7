"""What commands take alike, and rules across their options; imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from postlude.errors import ConfigError

MOST_ANSWERS = 65_536
"""To a prompt; as `group_size`."""

_model = typer.Argument(
    metavar="MODEL",
    help="A model folder, hub id, run folder (its newest checkpoint), or a recipe (YAML) with model and sampler.",
)
Model = Annotated[str, _model]
AnyModel = Annotated[str | None, _model]
Temperature = Annotated[
    float | None, typer.Option(help="0 takes the most likely token. Default: a recipe's own, else 1.")
]
TopP = Annotated[float | None, typer.Option(help="Sample from this much probability.")]
TopK = Annotated[int | None, typer.Option(help="Sample from this many tokens; 0 is all.")]
MaxTokens = Annotated[
    int | None, typer.Option(help="Longest answer in tokens. Default: the run's or recipe's own, else 256.")
]
Stop = Annotated[list[str] | None, typer.Option(help="A string that ends the answer; can be given several times.")]
Url = Annotated[
    str | None,
    typer.Option(
        help="Let an OpenAI-compatible server answer, e.g. http://localhost:8000/v1. MODEL is then its tokenizer."
    ),
]
ServedModel = Annotated[str | None, typer.Option(help="The model's name there. Default: the only one it serves.")]
SETTINGS = {"ignore_unknown_options": True}
"""Of commands that take KEY=VALUE: a key written as an option (`--lr 1e-6`) reaches them, to be told how it is done."""


def require_read(context: typer.Context, why: str, *names: str) -> None:
    """Options of the command line that nothing would read are an error. `why`: what they belong to."""
    given = [name for name in names if _is_given(context, name)]
    if given:
        shown = {p.name: max(p.opts, key=len) for p in context.command.params}
        raise ConfigError(f"{', '.join(shown[name] for name in given)} would have no effect: {why}.", code="no-effect")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def require_free(target: Path, force: bool | None, option: str = "OUT") -> None:
    """A file can be written there, which is told before a long computation; None: it may be written over.

    Raises ConfigError where one is there already and `force` is false, and for what can be no file.
    """
    try:
        there, above = target.exists(), target.parent.is_dir()
        folder = target.is_dir()
        if not folder:
            target.with_name(target.name + ".part").exists()  # what is written first; its name may be too long
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{option}: cannot write {str(target)[:80]!r}: {error.args[-1].lower()}.", code="cannot-write"
        ) from error
    if folder:
        raise ConfigError(f"{option}: cannot write {str(target)!r}: it is a folder.", code="cannot-write")
    if there and force is False:
        raise ConfigError(
            f"{option}: {str(target)!r} exists already. Give another name, or --force to write over it.",
            code="exists-already",
        )
    if not above:
        raise ConfigError(
            f"{option}: cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist.",
            code="cannot-write",
        )
    if not os.access(target if there else target.parent, os.W_OK):
        raise ConfigError(f"{option}: cannot write {str(target)!r}: permission denied.", code="cannot-write")
