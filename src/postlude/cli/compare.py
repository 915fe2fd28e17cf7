"""postlude compare"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.cli.options import require_read
from postlude.errors import ConfigError
from postlude.process import Interrupted, exit_code_of
from postlude.terminal import Screen
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.contest.arms import Arm
    from postlude.contest.asked import Asked
    from postlude.contest.comparison import Comparison
    from postlude.contest.plan import Allowance, Contest, Job, Tuning
    from postlude.runs.events import Event

OF_RUNNING = ("arm", "arms", "seeds", "budget", "sweep", "choose_on", "choose_by", "sweep_seeds", "out")
"""Options of a comparison that is to be run: one that is looked at has them already."""

Start = Annotated[
    Path,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe (YAML, one that comes with postlude, or a method) that every arm starts from; or the folder of "
        "a comparison, to look at it or, with --resume, go on.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's, of all arms.")
]
Typed = Annotated[
    list[str] | None,
    typer.Option("--arm", help="A method, settings, or both: grpo; 'drpo lam=0.3'; 'NAME: KEY=VALUE ...'. Repeatable."),
]
File = Annotated[
    Path | None,
    typer.Option("--arms", help="A YAML file of arms: a mapping of names to settings, or a list of them as typed."),
]
Seeds = Annotated[str, typer.Option(help="How many, or which: 3, or 1,2,5.")]
Budget = Annotated[
    str | None,
    typer.Option(help="Of each run: tokens=200k, steps=100 or seconds=600. Default: the recipe's steps."),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        help="KEY=VALUE,VALUE,...: every arm tries each, and gets the one that is best by --choose-on. Repeatable."
    ),
]
ChooseOn = Annotated[
    str | None, typer.Option(help="Held-out data to choose a sweep's values by, apart from what is reported.")
]
ChooseBy = Annotated[str, typer.Option(help="The held-out figure to choose by.")]
SweepSeeds = Annotated[int, typer.Option(min=1, help="Runs of each value, with seeds that are not reported.")]
Out = Annotated[Path | None, typer.Option(help="The comparison's folder. Default: comparison-N.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the comparison in its folder.")]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="Runs side by side, each in a process of its own.")]
Metric = Annotated[
    list[str] | None, typer.Option(help="A held-out figure to compare by, e.g. sampled/accuracy. Repeatable.")
]
Baseline = Annotated[str | None, typer.Option(help="Hold every arm against this one, instead of all pairs.")]
CsvFile = Annotated[Path | None, typer.Option("--csv", help="Write a row for each run to this file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]


def compare(
    context: typer.Context,
    recipe: Start,
    overrides: Overrides = None,
    arm: Typed = None,
    arms: File = None,
    seeds: Seeds = "3",
    budget: Budget = None,
    sweep: Sweep = None,
    choose_on: ChooseOn = None,
    choose_by: ChooseBy = "sampled/accuracy",
    sweep_seeds: SweepSeeds = 1,
    out: Out = None,
    resume: Resume = False,
    jobs: Jobs = 1,
    metric: Metric = None,
    baseline: Baseline = None,
    csv_file: CsvFile = None,
    as_json: AsJson = False,
) -> None:
    """Compare methods or settings on one task, with equal budgets, seeds and held-out answers.

        postlude compare recipe.yaml --arm grpo --arm "drpo lam=0.1" --seeds 3 --budget tokens=200k --out comparison

    Every arm is checked before any runs. Each arm and seed is an ordinary run in the comparison's folder: the same
    command again goes on where it was stopped, and `postlude compare comparison` shows what is there at any time.
    """
    from postlude.contest.asked import Asked
    from postlude.contest.comparison import Comparison
    from postlude.contest.plan import FILE, Contest
    from postlude.contest.setup import taken_up

    screen = Screen(stderr=as_json)
    stopped, failed = 0, dict[str, str]()
    is_there = (recipe / FILE).is_file()
    folder = recipe if is_there else out or _free()
    asked = Asked(metric or [], baseline)
    if is_there:
        _require_looking(context, recipe, overrides or [])
        contest = taken_up(folder, asked).contest if resume else Contest.read(folder)
    else:
        tuning = _tuning(sweep or [], choose_on, choose_by, sweep_seeds)
        plan = _arms(arm or [], arms), _seeds(seeds), _allowance(budget), tuning
        contest = _set_up(recipe, overrides or [], plan, folder, asked, screen)
    if resume or not is_there:
        stopped, failed = _work(contest, folder, jobs, screen)
    _show(Comparison.of(folder, asked.metrics, baseline, failed), screen, as_json, csv_file)
    if stopped or failed:
        raise typer.Exit(exit_code_of(stopped) if stopped else 2)


def _require_looking(context: typer.Context, folder: Path, overrides: Sequence[str]) -> None:
    """A comparison that is there keeps its settings: what would change them is an error."""
    way = f"{folder} has its own (arms and seeds are added with its recipe and --out {folder})"
    require_read(context, way, *OF_RUNNING)
    if overrides:
        raise ConfigError(f"{overrides[0]} would have no effect: {way}.", code="no-effect")


Plan = tuple["Sequence[Arm]", "list[int] | int", "Allowance | None", "Tuning | None"]
"""Arms, seeds, budget, sweep."""


def _set_up(recipe: Path, overrides: list[str], plan: Plan, folder: Path, asked: Asked, screen: Screen) -> Contest:
    """Check everything, say what is to be known, and write down what is compared."""
    from postlude.contest.setup import set_up
    from postlude.recipe.opening import document_of

    setup = set_up(document_of(recipe, overrides), str(recipe), *plan, folder, asked)
    for note in setup.notes:
        screen.print(f"note: {note}", soft_wrap=True)
    setup.contest.write(folder)
    return setup.contest


def _work(contest: Contest, folder: Path, processes: int, screen: Screen) -> tuple[int, dict[str, str]]:
    """Run what is left; (the signal that stopped it or 0, what failed)."""
    from postlude.contest.running import Work

    trials, runs = len([*contest.trials()]), len([*contest.runs({})])
    sweep = f"{counted(trials, 'run')} to choose settings, then " if trials else ""
    screen.print(
        f"{counted(len(contest.entries), 'arm')} x {counted(len(contest.seeds), 'seed')}: {sweep}"
        f"{counted(runs, 'run')} of {contest.allowance} each, in {folder}",
        soft_wrap=True,
    )

    def say(text: str) -> None:
        screen.print(text, soft_wrap=True)

    def listen(job: Job, place: str) -> Callable[[Event], None]:
        say(f"{job.place} ({place})")
        return lambda event: None

    work = Work(contest, folder, listen, say, processes)
    try:
        work.run()
    except (KeyboardInterrupt, Interrupted) as error:
        screen.print(f"\nstopped at once; go on with: postlude compare {folder} --resume", soft_wrap=True)
        raise typer.Exit(130) from error
    return work.stopped, work.failed


def _show(comparison: Comparison, screen: Screen, as_json: bool, csv_file: Path | None) -> None:
    if csv_file is not None:
        rows = comparison.rows()
        text = io.StringIO()
        writer = csv.DictWriter(text, [*dict.fromkeys(name for row in rows for name in row)])
        writer.writeheader()
        writer.writerows(rows)
        csv_file.write_text(text.getvalue(), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(comparison.to_json()))
        return
    from postlude.cli.compare_view import show

    show(comparison, screen)


# -------------------------------------------------------------------------------------------------------- options


def _free() -> Path:
    names = (Path("comparison" + (f"-{n}" if n > 1 else "")) for n in range(1, 10_000))
    return next(path for path in names if not path.exists())


def _arms(typed: Sequence[str], file: Path | None) -> list[Arm]:
    from postlude.contest.arms import arm_of, arms_in

    return [*(arms_in(file) if file else []), *map(arm_of, typed)]


def _seeds(text: str) -> list[int] | int:
    if re.fullmatch(r"\d{1,4}", text) and int(text) > 0:
        return int(text)
    if re.fullmatch(r"\d+(,\d+)*,?", text) and "," in text:
        return [int(one) for one in text.split(",") if one]
    raise ConfigError(
        f"--seeds {text!r}: give their number, such as 3, or themselves: 1,2,5.", code="wrong-type", key="--seeds"
    )


def _allowance(text: str | None) -> Allowance | None:
    from postlude.contest.plan import Allowance

    return Allowance.of(text) if text else None


def _tuning(sweeps: Sequence[str], held_out: str | None, figure: str, seeds: int) -> Tuning | None:
    from postlude.contest.plan import Tuning

    keys: dict[str, list[str]] = {}
    for text in sweeps:
        key, _, values = text.partition("=")
        keys[key] = [value for value in values.split(",") if value]
    return Tuning.checked(keys, held_out, figure, seeds)
