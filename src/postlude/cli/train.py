"""postlude train"""

from __future__ import annotations

import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.errors import TrainingError
from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.runs.folder import Run


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
    accept_changes: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-changes",
            metavar="WORD,...",
            help="Continue although this has changed, and record it: data, reward, ... (a refusal names the words).",
        ),
    ] = None,
) -> None:
    """Train a model as a recipe says.

    Every key of the recipe can be set here too, for example:

        postlude train grpo model=my-model data=prompts.jsonl reward=my_rewards.py:score
        postlude train recipe.yaml group_size=16 objective.surrogate.high=0.28 schedule.lr=2e-6
        postlude train runs/grpo-1 --resume

    Everything is checked before the model loads. A run that is resumed must be made of what it was made of: changed
    data, rewards, models and the like are refused by name. The run folder holds the checkpoints (Hugging Face
    folders), every sampled answer with its reward (rollouts/), and the figures of each step (events.jsonl). Ctrl-C
    or SIGTERM finishes the step, saves and ends; a second one ends at once.
    """
    from postlude.launch import launch
    from postlude.learning import NOTHING_LEARNT
    from postlude.process import Interrupted, exit_code_of
    from postlude.recipe.opening import document_of
    from postlude.runs.taken_back import TAKEN_BACK
    from postlude.watch.live import LiveView

    document = document_of(recipe, overrides or [])
    console = Screen()
    try:
        with LiveView(console, unsaid=[NOTHING_LEARNT, TAKEN_BACK]) as view:  # both are said below
            run = launch(document, resume, [view], accept_changes or [])
    except Interrupted as error:
        console.print("\nstopped at once; --resume goes on from the newest checkpoint, or anew where there is none")
        raise typer.Exit(exit_code_of(error.signum)) from error
    if run.halted is not None:
        raise TrainingError(run.halted, code="alarm")
    if run.stop:
        console.print(f"\n{_stopped(run)}", soft_wrap=True)
        raise typer.Exit(exit_code_of(run.signal or signal.SIGINT))
    if run.failed:
        raise TrainingError(f"{run.conclusion}\nWhat there is of the run is in {run.folder}.", code="no-signal")
    for line in _what_there_is(run):
        console.print(line, soft_wrap=True)


def _stopped(run: Run) -> str:
    """Where a run that was asked to stop stands, and how it goes on."""
    from postlude.recipe.remedies import command

    if not run.checkpoints:
        return "stopped before the first step"
    return f"stopped at step {run.step}; go on with: {command(run.folder, [])}"


def _what_there_is(run: Run) -> list[str]:
    """What a finished run has left, and what can be done with it, in lines."""
    lines = [f"model   {run.folder / 'model'}"] if run.checkpoints else []
    if any((run.folder / "rollouts").iterdir()):
        lines.append(f"answers {run.folder / 'rollouts'}")
    scores = "scores" in run.needs
    folder = shlex.quote(str(run.folder))
    next_ = f"eval {folder} --data held-out.jsonl" if scores else f"sample {folder} --prompt '...'"
    last = run.conclusion or f"try     postlude {next_}"  # a model that is no other than before is none to try
    return [*lines, last]
