"""postlude train"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.errors import ConfigError, TrainingError
from postlude.terminal import Screen
from postlude.words import closest

if TYPE_CHECKING:
    from postlude.recipe.documents import Document


def document_of(recipe: Path, overrides: list[str]) -> Document:
    """The document of a recipe file, run folder, method or packaged recipe, with the command line's overrides."""
    from postlude.algorithms import ALGORITHMS
    from postlude.recipe import documents, packaged
    from postlude.recipe.places import exists
    from postlude.recipe.resolve import key_of

    name = str(recipe)
    if name in ALGORITHMS or (":" in name and not exists(recipe)):  # a folder of a method's name is ./NAME
        document = documents.Document({})
        overrides = [f"method={name}", *overrides]
    elif not exists(recipe) and name in packaged.names():
        document = packaged.read(name)
    elif not exists(recipe):
        raise ConfigError(f"there is no recipe, run or method called {name!r}.{_meant(recipe)}")
    elif recipe.is_dir() and not (recipe / "config.yaml").exists():
        raise ConfigError(f"{str(recipe)!r} is a folder, but not of a run: it has no config.yaml.")
    else:
        document = documents.read(recipe / "config.yaml" if recipe.is_dir() else recipe)
    documents.override(document, overrides, key_of)
    if name not in ALGORITHMS and recipe.is_dir():
        if document.where("output") != documents.COMMAND_LINE:  # the folder named, also where the run was moved
            document.values["output"] = str(recipe)
    return document


def _meant(recipe: Path) -> str:
    """The file or folder beside it, the method or packaged recipe, whose name is nearest."""
    from postlude.algorithms import ALGORITHMS
    from postlude.recipe import packaged
    from postlude.recipe.places import exists

    beside = recipe.parent if exists(recipe.parent) else Path()
    there = [str(beside / p.name) for p in beside.iterdir() if p.suffix in (".yaml", ".yml") or p.is_dir()]
    close = closest(str(recipe), [*ALGORITHMS, *there, *packaged.names()])
    if close is None:
        return " See `postlude methods` and `postlude config recipes`."
    return f" Did you mean {'the method ' if close in ALGORITHMS else ''}{close!r}?"


def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A recipe (YAML, or one that comes with postlude such as demo/grpo), a method (for example grpo), or "
            "the folder of a run to continue."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's, dots go inside."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in its output folder.")] = False,
) -> None:
    """Train a model as a recipe says.

    Every key of the recipe can be set here too, for example:

        postlude train grpo model=my-model data=prompts.jsonl reward=my_rewards.py:score
        postlude train recipe.yaml group_size=16 objective.surrogate.high=0.28 schedule.lr=2e-6
        postlude train runs/grpo-1 --resume

    Everything is checked before the model loads. The run folder holds the checkpoints (Hugging Face folders), every
    sampled answer with its reward (rollouts/), and the figures of each step (events.jsonl). Ctrl-C finishes the
    step, saves and ends.
    """
    from postlude.launch import launch
    from postlude.watch.live import LiveView

    document = document_of(recipe, overrides or [])
    console = Screen()
    with LiveView(console) as view:
        run = launch(document, resume, [view])
    lines = [f"model   {run.folder / 'model'}"] if run.checkpoints else []
    if any((run.folder / "rollouts").iterdir()):
        lines.append(f"answers {run.folder / 'rollouts'}")
    if run.stop:
        console.print(f"\nstopped at step {run.step}; go on with: postlude train {run.folder} --resume", soft_wrap=True)
        raise typer.Exit(130)
    scores = "scores" in run.needs
    next_ = f"eval {run.folder} --data held-out.jsonl" if scores else f"sample {run.folder} --prompt '...'"
    if run.failed:
        raise TrainingError(f"{run.conclusion}\nWhat there is of the run is in {run.folder}.")
    last = run.conclusion or f"try     postlude {next_}"  # a model that is no other than before is none to try
    for line in [*lines, last]:
        console.print(line, soft_wrap=True)
