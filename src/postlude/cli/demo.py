"""postlude demo"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from postlude.cli.demos import comparison, free_folder, run_recipe
from postlude.runs import read
from postlude.terminal import Screen, colored, dim, joined

STAGES = ("sft", "grpo", "drpo")
"""The demo's runs, one after the other: recipes of `postlude/recipes/demo`."""
COLUMNS = ("greedy accuracy", "sampled accuracy", "mean length", "seconds")


@dataclass(frozen=True)
class Outcome:
    """One row of the demo's table."""

    stage: str
    greedy: float
    sampled: float
    length: float
    seconds: float

    @property
    def row(self) -> tuple[str, ...]:
        seconds = f"{self.seconds:.0f}" if self.seconds else ""
        return self.stage, f"{self.greedy:.3f}", f"{self.sampled:.3f}", f"{self.length:.1f}", seconds


def demo(
    which: Annotated[
        Literal["reasoning", "rlhf", "constitution"],
        typer.Argument(
            help="reasoning: SFT, GRPO, DRPO. rlhf: SFT, reward model, PPO, PPO-ptx. constitution: answers revised and "
            "preferred by principles. The last two take about five minutes."
        ),
    ] = "reasoning",
    output: Annotated[
        Path | None, typer.Option(help="Folder for model, data, recipes and runs. Default: demo-run.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives another model and other data.")] = 0,
) -> None:
    """Train a small model on this machine: SFT, then GRPO, then DRPO from the same start. Takes two to four minutes.

    The task: add five digits modulo 10, written out. The model, the data and the recipes are written to a folder first;
    the runs are what `postlude train` does with a model and data of yours.
    """
    if which == "rlhf":
        from postlude.cli.rlhf import rlhf

        rlhf(output, seed)
        return
    if which == "constitution":
        from postlude.cli.cai import constitution

        constitution(output, seed)
        return
    console = Screen()
    folder = output or free_folder("demo")
    rows = prepare_demo(folder, seed)
    console.print(
        f"A Qwen3 of 0.6 M parameters, {rows['sft.jsonl']} worked answers and {rows['eval.jsonl']} held-out prompts "
        f"are in {folder}/",
    )
    outcomes = run_demo(folder, console)
    console.print()
    console.print(comparison(COLUMNS, [o.row for o in outcomes]))
    _answers(console, folder)
    _next(console, folder)


def prepare_demo(folder: Path, seed: int) -> dict[str, int]:
    """Write model, data and recipes; returns the rows of each data file."""
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe import packaged
    from postlude.sources.tasks import TASKS, write

    rows = write(TASKS["worked"], folder, train=4000, evaluate=384, seed=seed)
    save_tiny_model(folder / "model", seed)
    packaged.write("demo", folder, seed)
    return rows


def run_demo(folder: Path, console: Console) -> list[Outcome]:
    """The three runs, each with its live view; returns the rows of the table."""
    outcomes: list[Outcome] = []
    for name in STAGES:
        seconds = run_recipe(folder, name, console)
        first, last = _evaluations(folder / name)
        if name == "sft":
            outcomes.append(_outcome("before", first, 0.0))
        outcomes.append(_outcome(name.upper(), last, seconds))
    return outcomes


def _evaluations(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first and the last evaluation of a run."""
    evals = read(folder).evals
    return evals[0], evals[-1]


def _outcome(stage: str, event: dict[str, Any], seconds: float) -> Outcome:
    greedy, sampled, length = (float(event[n]) for n in ("greedy/accuracy", "sampled/accuracy", "sampled/length"))
    return Outcome(stage, greedy, sampled, length, seconds)


def _answers(console: Console, folder: Path) -> None:
    """Three held-out prompts with the final sampled answer of each stage."""
    console.print(
        "\nThree answers of each, sampled at the end (the digits of the prompt, their running sum, then #result):"
    )
    for name in STAGES:
        rows = read(folder / name).answers
        last = rows[-1]["step"]
        final = [r for r in rows if r["step"] == last]
        for row in final[len(final) // 2 :][:3]:
            mark = colored("right", "green") if row["correct"] else colored("wrong", "red")
            console.print(
                joined("  ", dim(f"{name:5}"), f" {row['prompt']}{row['completion']}  ", mark), soft_wrap=True
            )


def _next(console: Console, folder: Path) -> None:
    commands = (
        ("the answers that GRPO was trained on", f"head -n 3 {folder}/grpo/rollouts/step-000001.jsonl"),
        ("ask the result", f"postlude sample {folder}/drpo --prompt 25143= -n 4"),
        (
            "measure it",
            f"postlude eval {folder}/grpo --data {folder}/eval.jsonl "
            "--reward exact --reward-args '{after: \"#\"}' -n 8",
        ),
        (
            "go on with your own model, data and reward",
            "postlude train grpo model=MODEL data=PROMPTS.jsonl reward=my_rewards.py:fn",
        ),
        ("the other methods", "postlude methods"),
    )
    console.print(f"\nRuns: {', '.join(f'{folder}/{name}' for name in STAGES)}", soft_wrap=True)
    console.print("Next:")
    for what, command in commands:
        console.print(joined("  ", dim(f"# {what}"), f"\n  {command}"), soft_wrap=True)
