"""postlude selftest"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postlude.errors import ConfigError, Problem
from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.cli.waiting import Waiting
    from postlude.selftest.check import Check
    from postlude.selftest.report import Report
    from postlude.selftest.settings import Settings
    from postlude.selftest.subject import Setup

TINY: dict[str, Any] = {"layers": 2, "width": 64, "heads": 4, "spread": 0.15}
"""The model that is made where none is named, with weights so large that a difference shows."""


def selftest(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="model=FOLDER-OR-HUB-ID, engine.dtype, .device, .packed, .threads, .gradient_checkpointing, "
            "sampling.temperature, model.lora.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only the check of this name; can be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Show what holds on this machine, with your model: every fast way against a plain one, within stated limits.

    postlude selftest
    postlude selftest model=runs/grpo-1 engine.dtype=bfloat16
    postlude selftest model=my-model sampling.temperature=1.0 --only decode --only packed

    Without `model` a tiny one is made on the spot. Nothing is written outside a temporary folder. Exit code 2 where a
    check fails.
    """
    from postlude.cli.waiting import Waiting

    checks = _chosen(only or [])
    wanted = _settings(settings or [])
    with TemporaryDirectory(prefix="postlude-selftest-") as place, Waiting("selftest") as waiting:
        report = _report(*_setup(wanted, Path(place)), checks, waiting)
    _show(report, as_json)
    if not report.holds:
        raise typer.Exit(2)


def _chosen(names: Sequence[str]) -> list[Check]:
    """The checks of these names, or all of them."""
    from postlude.selftest.table import CHECKS
    from postlude.words import meant

    known = [check.name for check in CHECKS]
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(
            [
                Problem(
                    "unknown-name", f"--only: there is no check {n!r}.{meant(n, known)} There are {', '.join(known)}."
                )
                for n in unknown
            ]
        )
    return [check for check in CHECKS if not names or check.name in names]


def _settings(assignments: list[str]) -> Settings:
    """Raises ConfigError with everything that is wrong with them."""
    from postlude.recipe import Document, override
    from postlude.recipe.documents import long_form
    from postlude.selftest.settings import Settings
    from postlude.validation import validate

    document = Document({})
    override(document, assignments)
    settings, problems = validate(Settings, long_form(document.values), document.where)
    if problems:
        raise ConfigError(problems)
    return settings


def _setup(settings: Settings, place: Path) -> tuple[str, Setup]:
    """What is tested under which name. Raises ConfigError for what writes no text."""
    from postlude.engines.settings import Local
    from postlude.models.heads import is_scorer
    from postlude.models.load import inspect
    from postlude.models.lora import Lora
    from postlude.models.spec import ModelSpec
    from postlude.models.tiny import save_tiny_model
    from postlude.runs.checkpoints import latest_model
    from postlude.selftest.subject import CONTEXT, Setup

    spec = settings.model
    if spec.path is None:
        save_tiny_model(place / "tiny", **TINY)
        name, path = "a tiny model made on the spot (model=FOLDER tests yours)", str(place / "tiny")
    else:
        name, path = spec.path, latest_model(spec.path)
    facts = inspect(ModelSpec(path))
    if is_scorer(facts.config):
        raise ConfigError(
            f"model: {name!r} is a reward model; the self-test compares log-probs of models that write. `postlude eval "
            f"{name} --data PAIRS.jsonl` measures it.",
            code="reward-model-cannot-write",
        )
    if facts.context is not None and facts.context < CONTEXT:
        raise ConfigError(
            f"model: {name!r} takes {facts.context} tokens, and the self-test's longest row has {CONTEXT}.",
            code="too-long",
        )
    engine = settings.engine
    held = Local(engine.dtype, engine.device, engine.gradient_checkpointing, engine.packed, threads=engine.threads)
    files = place / "written"
    files.mkdir()
    temperature = settings.sampling.temperature
    lora = spec.lora or Lora(rank=4)
    return name, Setup(path, facts, files, held, lora, temperature)


def _report(name: str, setup: Setup, checks: Sequence[Check], waiting: Waiting) -> Report:
    from postlude.selftest.report import About, Report
    from postlude.selftest.running import Runner

    runner = Runner(setup)
    waiting.say("opening the model")
    about = About.of(name, runner.subject(adapted=False))
    return Report(about, list(runner.results(checks, waiting.say)))


def _show(report: Report, as_json: bool) -> None:
    from rich.table import Table

    from postlude.selftest.report import HEAD, cells
    from postlude.terminal import colored

    if as_json:
        typer.echo(json.dumps(report.json(), indent=2))
        return
    screen = Screen()
    for line in report.about.lines():
        screen.print(line, soft_wrap=True)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name in HEAD:
        numeric = name in ("difference", "tolerance", "seconds")
        table.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=name == "check")
    styles = {"ok": "green", "FAILED": "bold red", "skipped": "dim"}
    for result in report.results:
        name, status, *others = cells(result)
        table.add_row(name, colored(status, styles[result.status]), *others)
    screen.print(table)
    screen.print(report.conclusion(), soft_wrap=True)
