"""What `sample` and `eval` take alike on the command line; imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from typing import Annotated

import typer

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
