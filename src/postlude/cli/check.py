"""postlude check"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from postlude.terminal import Screen


def check(
    recipe: Annotated[
        Path, typer.Argument(help="What `postlude train` would be given: a recipe, a method, or the folder of a run.")
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's, dots go inside."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only what shows without loading the model.")] = False,
    prompts: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Prompts that the model is asked. Default: 16, or fewer in time."),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, max=1024, help="Answers to each. Default: 8.")] = None,
    seed: Annotated[int, typer.Option(help="Which prompts, and which answers.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Look at a run before it is started: data, template, trained tokens, reward, signal, step 0, memory, disk, time.

    postlude check grpo model=my-model data=prompts.jsonl reward=my_rewards.py:score

    Nothing is written. Exit code 2 where something is broken, with what to do; warnings are 0.
    """
    from postlude.cli.check_view import show
    from postlude.cli.waiting import Waiting
    from postlude.preflight.run import Options, preflight
    from postlude.recipe.opening import document_of

    document = document_of(recipe, overrides or [])
    with Waiting("checking") as waiting:
        report = preflight(document, str(recipe), Options(quick, prompts, samples, seed), waiting.say)
    if as_json:
        typer.echo(json.dumps(report.to_json(), allow_nan=False))
    else:
        show(report, Screen())
    if report.verdict == "broken":
        raise typer.Exit(2)
