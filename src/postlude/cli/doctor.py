"""postlude doctor"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postlude.doctor.watching import number
from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.cli.doctor_view import Case

SCHEMA = 1


def doctor(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, at work or not.", show_default=False)
    ],
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with 1 after an error, where something is grave, or a warning lasts."),
    ] = False,
    details: Annotated[bool, typer.Option("--details", help="Also say what could not be seen, and why.")] = False,
) -> None:
    """Say what went wrong in a run, how one sees it, and what to set.

    Looks at the figures of every step, as the run itself did while it went on (its alarms), and shows values,
    limits, answers of the steps that speak for it, the likely cause, and the whole command to go on with.
    """
    from postlude.cli.doctor_view import case_of, show

    cases = [case_of(run) for run in runs]
    if as_json:
        typer.echo(json.dumps({"schema": SCHEMA, "runs": [_plain(case) for case in cases]}, indent=2))
    else:
        console = Screen()
        for number, case in enumerate(cases):
            if number:
                console.print()
            show(case, console, details)
    if strict and any(case.serious for case in cases):
        raise typer.Exit(1)


def _plain(case: Case) -> dict[str, Any]:
    """For programs: everything that is shown, and whole texts."""
    findings = [
        {
            "rule": one.shown.rule,
            "gravity": one.shown.gravity,
            "symptom": case.rule(one).symptom,
            "first_step": one.first.steps[-1] if one.first.steps else None,
            "lasts": one.now is not None,
            "follows": list(one.explained),
            "ignored": one.shown.rule in case.ignored,
            "value": number(one.shown.value),
            "threshold": number(one.shown.threshold),
            "limit": case.rule(one).threshold,
            "figure": one.shown.figure,
            "steps": list(one.shown.steps),
            "values": list(one.shown.values),
            "text": one.shown.text,
            "cause": case.rule(one).cause,
            "remedy": case.rule(one).remedy,
            "settings": list(one.shown.remedy),
            "command": case.command(one),
            "samples": [
                {"step": s.step, "prompt": s.prompt, "answer": s.answer, "reward": s.reward, "verdict": s.verdict}
                for s in case.samples(one)
            ],
            "source": case.rule(one).source,
        }
        for one in case.diagnosis.seen
    ]
    return {
        "run": str(case.folder),
        "state": case.state,
        "aside_of": None if case.aside_of is None else str(case.aside_of),
        "error": case.error,
        "steps": case.diagnosis.steps,
        "planned": case.planned,
        "findings": findings,
        "fine": list(case.diagnosis.fine),
        "unseen": dict(case.diagnosis.unseen),
        "warnings": list(case.warnings),
        "taken_back": [str(taken.place) for taken in case.taken_back],
        "serious": case.serious,
    }
