"""Evaluations of a run: what is measured between two steps becomes events."""

from __future__ import annotations

import math
from collections.abc import Mapping

from postlude.plan import Plan
from postlude.runs.events import Eval
from postlude.runs.folder import Run
from postlude.words import closest, first_of_each


async def answer_sheet(run: Run, plan: Plan) -> None:
    if plan.answer_sheet is None:
        return
    run.phase("evaluate")
    for note in first_of_each(await plan.answer_sheet(), plan.noted):
        run.note(note)


async def measure(run: Run, plan: Plan, last: bool = False) -> float | None:
    """Measure what is held out; the accuracy, where it reaches the goal. After the last step it is said how that
    compares with the best."""
    if plan.evaluate is None:
        return None
    run.phase("evaluate")
    report = await plan.evaluate()
    for note in first_of_each(report.notes, plan.noted):
        run.note(note)
    figures, notes = finite(report.figures, [])
    for note in notes:
        run.note(note)
    run.emit(Eval(run.step, figures))
    plan.best.see(run.step, figures, report.each)
    if run.step == 0 and plan.best.name and plan.best.name not in figures:
        near = closest(plan.best.name, figures)
        hint = f"; {near!r} may be meant" if near else ""
        run.note(f"checkpoints.best: this evaluation gives no {plan.best.name!r}{hint}", "no-best")
    accuracy = report.figures.get("sampled/accuracy")
    reached = accuracy if plan.stop_at is not None and accuracy is not None and accuracy >= plan.stop_at else None
    compared = plan.best.against(run.step, figures, report.each) if last or reached is not None else None
    if compared:
        run.note(compared, "best-and-last")
    if plan.stop_at is not None and accuracy is None:
        run.note("no held-out answer was called right or wrong, so that evaluate.stop_at can end nothing", "no-stop")
    if reached is not None:
        run.note(f"held-out accuracy {reached:.2f} reached evaluate.stop_at {plan.stop_at:g}", "goal-reached")
    return reached


def finite(figures: Mapping[str, float], noted: list[str]) -> tuple[dict[str, float], list[str]]:
    """(those that are numbers, a note on the others that are not in `noted` yet)."""
    bad = [name for name, value in figures.items() if not math.isfinite(value)]
    fresh = [name for name in bad if f"not finite: {name}" not in noted]
    noted += [f"not finite: {name}" for name in fresh]
    notes = [f"not finite, and left out of the figures of such a step: {', '.join(fresh)}"] if fresh else []
    return {name: value for name, value in figures.items() if name not in bad}, notes
