"""postlude advise"""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from postlude.cli import options as opt
from postlude.terminal import Screen


class Move(StrEnum):
    """How far the policy may move from its start."""

    far = "far"
    usual = "usual"
    little = "little"
    hardly = "hardly"


MaxTokens = Annotated[
    int | None, typer.Option(min=1, max=65_536, help="Tokens of their answers. Default: 256 at most.")
]
Columns = Annotated[
    str | None,
    typer.Option(help="Which column is what: prompt=question,chosen=good,rejected=bad. Default: by their names."),
]
Prompts = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=4096,
        help="Prompts that the model is asked; 0: none. Default: as many as take 25 seconds, 16 at most.",
    ),
]


def advise(
    context: typer.Context,
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA...", help="What you have: files, folders of files, saved data sets, hf:OWNER/NAME."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The model to train: a folder (it is asked a few prompts), or a name or size such as 7B."),
    ] = None,
    gpu_memory: Annotated[float | None, typer.Option(help="GiB of one GPU. Default: this machine as it is.")] = None,
    gpus: Annotated[int | None, typer.Option(help="How many there are.")] = None,
    goal: Annotated[str | None, typer.Option(help='What it is for, in a few English words: "shorter answers".')] = None,
    reward: Annotated[
        str | None,
        typer.Option(help="A reward of yours for answers to prompts: my_rewards.py:score, or a built-in one."),
    ] = None,
    reward_args: opt.RewardArgs = None,
    move: Annotated[Move | None, typer.Option(help="How far the policy may move from its start.")] = None,
    prompts: Prompts = None,
    max_tokens: MaxTokens = None,
    columns: Columns = None,
    split: opt.Split = "train",
    out: Annotated[
        Path | None, typer.Option(help="The recipe to write. Default: advised.yaml, or the next free number.")
    ] = None,
    force: opt.Force = False,
    details: Annotated[bool, typer.Option("--details", help="Show all that the answer rests on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Look at your data, model and machine: which method, why, what it costs, what to beware of; and a recipe.

    postlude advise pairs.jsonl --model my-model --gpu-memory 24
    postlude advise data/ --model 7B --gpu-memory 8 --goal "shorter answers"

    Nothing but the recipe is written, and no file is written over without --force.
    """
    from postlude.advice.advise import Wishes, as_values, columns_of, write
    from postlude.advice.advise import advise as advised_on
    from postlude.cli.advise_view import show
    from postlude.cli.scoring import mapping
    from postlude.cli.waiting import Waiting

    if reward is None:
        opt.require_read(context, "there is no --reward", "reward_args")
    named = {"use": reward, "args": mapping("--reward-args", reward_args)} if reward is not None else None
    wishes = Wishes(model, gpu_memory, gpus, goal, named, move.value if move else None, prompts, split,
                    columns_of(columns), max_tokens)  # fmt: skip
    with Waiting("advising") as waiting:
        advised = write(advised_on(data, wishes, waiting.say), out, force)
    if as_json:
        typer.echo(json.dumps(as_values(advised), allow_nan=False, default=str))
    else:
        show(advised, data, Screen(), details)
