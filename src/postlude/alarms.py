"""What the alarms of a run do: noted once each; where one is grave and the recipe says so, the run pauses, or goes back
to the last checkpoint before it began. The rules are in `doctor/`."""

from __future__ import annotations

from postlude.doctor.rule import Finding
from postlude.doctor.watching import ALARM, data_of, for_going_on, said
from postlude.plan import Plan
from postlude.runs import taken_back
from postlude.runs.events import Figures
from postlude.runs.folder import Run


def watch(run: Run, plan: Plan) -> None:
    """Let the rules see the run's figures as they are logged."""

    def hear(event: object) -> None:
        if isinstance(event, Figures):
            plan.watch.add(event.step, event.figures)

    run.listeners.append(hear)


def sound(run: Run, plan: Plan) -> None:
    """Note what rules find after a step, and ask the run to end where one of them says so."""
    for finding in plan.watch.alarms(plan.noted):
        run.note(said(finding), ALARM, **data_of(finding))
    ends = plan.watch.ends
    if ends is None:
        return
    run.stop = True
    if ends.action == "rollback":
        plan.watch.back_to = taken_back.good_before(run.folder, min(ends.finding.steps))


def goes_back(run: Run, plan: Plan) -> taken_back.Back | None:
    """The way back that an alarm asks for, written down; None of a run that goes on, pauses, or has no checkpoint to go
    back to."""
    ends, step = plan.watch.ends, plan.watch.back_to
    return None if ends is None or step is None else run.ask_back(step, ends.finding.rule)


def conclude(run: Run, plan: Plan, back: taken_back.Back | None) -> None:
    """Go back where that was asked for, and say how to go on with a run that an alarm ended."""
    ends = plan.watch.ends
    if ends is None or not run.stop:
        return
    finding, at = ends.finding, run.step
    if back is not None:
        run.go_back(back)
    how = _how(run, ends.action, finding, at, back)
    lost = ends.action == "rollback" and back is None
    then = _anew(run, plan, finding) if lost else _on(plan, finding)
    run.halted = f"alarm {said(finding)}\n{how}\n{then}"
    if back is not None:
        run.note(
            f"alarm {finding.rule}: {how}", taken_back.TAKEN_BACK, rule=finding.rule, to=back.step, aside=back.place
        )


def _how(run: Run, action: str, finding: Finding, at: int, back: taken_back.Back | None) -> str:
    if back is not None:
        return (
            f"The run is taken back from step {at} to step {back.step}, its newest checkpoint before that began; what "
            f"came after is in {run.folder / back.place}."
        )
    if action == "rollback":
        return (
            f"There is no checkpoint before step {min(finding.steps)}, where that began, to go back to: the run is "
            f"paused at step {at}, and saved."
        )
    return f"The run is paused at step {at}, and saved."


def _on(plan: Plan, finding: Finding) -> str:
    """The command to go on with."""
    pairs = for_going_on(finding.remedy)
    line = plan.go_on(pairs)
    if pairs:
        return f"Go on, with what may help: {line}"
    return f"No setting is sure to help; to go on all the same: {line}"


def _anew(run: Run, plan: Plan, finding: Finding) -> str:
    """The command to begin again with, where nothing sound is left: with checkpoints that would have stood before."""
    first, every = min(finding.steps), plan.checkpoint_every
    pairs = for_going_on(finding.remedy)
    if first > 1 and not 0 < every < first:
        pairs.append(f"checkpoints.every={max(first // 2, 1)}")
    elif first > 1:
        pairs.append(f"checkpoints.keep={run.step // every + 1}")
    line = plan.anew(pairs)
    return f"Its weights are those that the alarm is about; begin anew, with what may help: {line}"
