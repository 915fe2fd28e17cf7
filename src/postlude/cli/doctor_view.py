"""What `postlude doctor` shows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from postlude.cli.judged_view import judged_samples
from postlude.doctor.rule import TOO_FEW, Gravity, Rule
from postlude.doctor.rules import RULES
from postlude.doctor.samples import Sample, samples_of
from postlude.doctor.watching import ALARM, Diagnosis, Seen, diagnose, for_going_on
from postlude.errors import ConfigError, printable, visible
from postlude.recipe.remedies import command
from postlude.review import figures
from postlude.runs.history import History, read
from postlude.runs.taken_back import ASIDE, TAKEN_BACK, rule_of, run_of
from postlude.shapes import is_mapping
from postlude.terminal import bold, colored, dim, joined
from postlude.watch.live import shown, sparkline
from postlude.words import counted

MARKS: dict[Gravity, tuple[str, str]] = {
    "grave": ("✗", "bold red"),
    "warning": ("!", "bold yellow"),
    "hint": ("·", "bold cyan"),
}
BARS = 32
PROMPT, ANSWER = 40, 200
"""Characters that are shown of a prompt, its end, and of an answer, its beginning and its end."""


@dataclass(frozen=True)
class Taken:
    """Steps that an alarm took back, and put aside."""

    place: Path
    rule: str
    step: int | None
    """At which it did; None where that is not written there."""
    text: str
    """What it said."""
    remedy: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A run that was looked at."""

    folder: Path
    history: History
    diagnosis: Diagnosis
    warnings: tuple[str, ...]
    """What could not be read, in sentences."""
    aside_of: Path | None = None
    """The run whose steps these were, until an alarm took them back."""
    taken_back: tuple[Taken, ...] = ()
    """What alarms took back of it."""

    @property
    def state(self) -> str:
        """running, done, interrupted, error, or killed: its process ended without a word. `put aside` of steps that an
        alarm took back, `damaged` where its end cannot be read."""
        if self.aside_of is not None:
            return "put aside"
        if self.history.running:
            return "running"
        if self.history.damaged:
            return "damaged"
        end = self.history.end
        return str(end.get("reason")) if end else "killed"

    @property
    def planned(self) -> int | None:
        return self.history.planned

    @property
    def error(self) -> str | None:
        """What the error said that ended it, with its code."""
        end = self.history.end or {}
        if self.state != "error":
            return None
        text = end.get("text") or "it ended in an error, whose words were not kept: a run of an earlier version"
        return f"{text} [{end['code']}]" if end.get("code") else str(text)

    @property
    def method(self) -> str:
        return str((self.history.start or {}).get("method", "no start"))

    @property
    def ignored(self) -> Sequence[str]:
        """Rules that the recipe says to leave out."""
        if any("config.yaml" in text for text in self.warnings):
            return ()
        alarms = self.history.recipe.get("alarms")
        return [str(name) for name in alarms.get("ignore") or ()] if isinstance(alarms, dict) else ()

    @property
    def seen(self) -> list[Seen]:
        """What nothing else that was seen explains."""
        return [one for one in self.diagnosis.seen if not one.explained]

    @property
    def serious(self) -> bool:
        """Whether an error or an alarm ended it, something grave was seen, or a warning that lasts; what the recipe
        ignores aside."""
        return (
            self.state == "error"
            or self.stands_taken_back
            or any(
                one.first.gravity == "grave" or (one.first.gravity == "warning" and one.now is not None)
                for one in self.diagnosis.seen
                if one.first.rule not in self.ignored
            )
        )

    @property
    def stands_taken_back(self) -> bool:
        """Whether an alarm took it back, and it has not gone on since."""
        return any(row.get("code") == TAKEN_BACK for row in self.history.of("note"))

    def rule(self, one: Seen) -> Rule:
        return RULES[one.first.rule]

    def samples(self, one: Seen) -> list[Sample]:
        shows = self.rule(one).shows
        if shows == "judged":
            return judged_samples(self.history)
        return samples_of(self.history, one.shown.steps, shows)

    def command(self, one: Seen) -> str | None:
        """To go on with, to begin anew, or to look at what is wrong; None where neither a setting nor a command
        helps."""
        return one.shown.command or self.command_with(one.shown.remedy)

    def command_with(self, pairs: Sequence[str]) -> str | None:
        """The run's command with settings: that of the run itself for what was put aside. One that goes on has no use
        for what only decides which checkpoints stay."""
        finished = self.history.finished or self.history.damaged
        if self.aside_of is not None:
            finished = _is_finished(self.aside_of)
        useful = list(pairs) if finished else for_going_on(pairs)
        return command(self.aside_of or self.folder, useful, finished) if useful else None


def case_of(folder: Path) -> Case:
    """Raises ConfigError where there is no run that can be read; a recipe that cannot is a warning."""
    history = read(folder, past_damage=True)
    warnings = list(history.warnings)
    try:
        history.recipe  # noqa: B018  # read now, so that what is wrong with it is told
    except ConfigError as error:
        warnings.append(f"{error} Looked at without its settings")
    people: dict[str, float] = {}
    try:
        people = figures(history)
    except ConfigError as error:
        warnings.append(f"{error} Looked at without what people said (postlude review)")
    diagnosis = diagnose(history, people=people)
    return Case(folder, history, diagnosis, tuple(warnings), run_of(folder), tuple(_taken_back(folder)))


def _taken_back(folder: Path) -> Iterator[Taken]:
    places = sorted(place for place in (folder / ASIDE).glob("*") if place.is_dir() and place.name[0] != ".")
    for place in places:
        rule = rule_of(place)
        try:
            notes = read(place, past_damage=True).of("note")
        except ConfigError:
            notes = ()
        alarms = [
            n
            for n in notes
            if n.get("code") == ALARM and is_mapping(data := n.get("data")) and data.get("rule") == rule
        ]
        told = alarms[-1] if alarms else {}
        remedy = told.get("data", {}).get("remedy", [])
        yield Taken(place, rule, told.get("step"), str(told.get("text") or rule), tuple(map(str, remedy)))


def _is_finished(run: Path) -> bool:
    try:
        return read(run).finished
    except ConfigError:
        return True


# --------------------------------------------------------------------------------------------------- for people


def show(case: Case, console: Console, details: bool = False) -> None:
    """Print everything; what could not be seen in a line, unless `details` are wanted."""
    diagnosis = case.diagnosis
    steps = f"step {diagnosis.steps}" + (f" of {case.planned}" if case.planned and case.aside_of is None else "")
    what = f"{case.method}, {steps}, {case.state}"
    if case.history.start is None and case.aside_of is None and not case.history.damaged:
        what = "starting" if case.history.running else "never started"
    console.print(joined(bold(f"postlude doctor {case.folder}"), dim(f"  {what}")))
    if case.aside_of is not None:
        text = f"put aside by the alarm {rule_of(case.folder)} of the run {case.aside_of}, which went back"
        console.print(joined(dim("· "), text), soft_wrap=True)
    if case.error is not None:
        console.print(joined(colored("✗ ", "bold red"), bold("an error ended the run")))
        console.print(Padding(printable(case.error), (0, 0, 0, 2)))
    for text in case.warnings:
        console.print(joined(colored("! ", "bold yellow"), visible(text)))
    for taken in case.taken_back:
        _show_taken(case, taken, console)
    for one in case.seen:
        console.print()
        _show_one(case, one, console)
    console.print()
    for one in (one for one in diagnosis.seen if one.explained):
        why = f"  {one.first.rule}, from step {one.first.steps[-1]}: it follows from {' and '.join(one.explained)}"
        console.print(joined(dim("· "), case.rule(one).symptom, dim(why)))
    _show_rest(case, console, details)


def _show_taken(case: Case, taken: Taken, console: Console) -> None:
    """Why a run was taken back, and what to set where it has not gone on since."""
    since = "" if taken.step is None else f" from step {taken.step}"
    alarm = f"an alarm took the run back{since}: {visible(taken.text)} Put aside: {taken.place}"
    mark = colored("✗ ", "bold red") if case.stands_taken_back else dim("· ")
    console.print(joined(mark, alarm))
    line = case.command_with(taken.remedy) if case.stands_taken_back else None
    if line is not None:
        console.print(joined(dim("  go on  "), bold(line)), soft_wrap=True)


def _show_one(case: Case, one: Seen, console: Console) -> None:
    rule, finding = case.rule(one), one.shown
    mark, style = MARKS[finding.gravity]
    since = f"since step {one.first.steps[-1]}" if one.now else f"at step {one.first.steps[-1]}, no more"
    ignored = ", ignored by the recipe" if finding.rule in case.ignored else ""
    console.print(joined(colored(f"{mark} ", style), bold(rule.symptom), dim(f"  {rule.name}, {since}{ignored}")))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("seen", printable(_sentence(finding.text)))
    grid.add_row("values", _course(case, one))
    grid.add_row("limit", printable(rule.threshold))
    grid.add_row("likely", printable(rule.cause))
    grid.add_row("do", printable(rule.remedy))
    console.print(Padding(grid, (0, 0, 0, 2)))
    line = case.command(one)
    if line is not None:  # in one piece, to be copied
        label = "look" if finding.command else "go on" if " --resume" in line else "again"
        console.print(joined(dim(f"  {label:<8}"), bold(line)), soft_wrap=True)
    samples = case.samples(one)
    if samples:
        steps = " and ".join(str(step) for step in sorted({sample.step for sample in samples}))
        console.print(Padding(dim(f"answers of step {steps}"), (0, 0, 0, 2)))
        console.print(Padding(_answers(samples), (0, 0, 0, 4)))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _course(case: Case, one: Seen) -> Text:
    """The figure over the run as bars, and its values at the steps of the evidence."""
    finding = one.shown
    whole = case.history.columns.get(finding.figure)
    values = list(whole.values) if whole is not None else list(finding.values)
    numbers = finding.values if len(finding.values) <= 3 else (finding.values[0], finding.values[-1])
    steps = (
        f"step {finding.steps[0]}" if len({*finding.steps}) == 1 else f"steps {finding.steps[0]} to {finding.steps[-1]}"
    )
    listed = (" " if len(finding.values) <= 3 else " ... ").join(map(shown, numbers))
    return joined(
        printable(finding.figure),
        "  ",
        colored(sparkline(_averaged(values, BARS), BARS), "blue"),
        f"  {listed}  ",
        dim(steps),
    )


def _averaged(values: list[float], count: int) -> list[float]:
    """At most so many means of neighbours."""
    if len(values) <= count:
        return values
    bounds = [len(values) * i // count for i in range(count + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]


def _answers(samples: Sequence[Sample]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for sample in samples:
        reward = "no reward" if sample.reward is None else f"reward {sample.reward:.3g}"
        reward += f", judged {sample.verdict}" if sample.verdict else ""
        prompt = visible(sample.prompt)
        prompt = prompt if len(prompt) <= PROMPT else "..." + prompt[-PROMPT:]
        grid.add_row(
            reward, joined(dim(f"{prompt} "), Text("→ ", style="dim"), _middle_left_out(visible(sample.answer)))
        )
    return grid


def _middle_left_out(text: str) -> str:
    if not text:
        return "(nothing)"
    half = ANSWER // 2
    return text if len(text) <= ANSWER else f"{text[:half]} [...] {text[-half:]}"


def _show_rest(case: Case, console: Console, details: bool) -> None:
    """What is healthy in a line, and what could not be seen."""
    diagnosis = case.diagnosis
    if not diagnosis.steps:
        console.print("no step is finished yet: there is nothing to look at")
        return
    bad = [one for one in diagnosis.seen if one.first.gravity != "hint"]
    hints = len(diagnosis.seen) - len(bad)
    total = len(diagnosis.fine) + len(diagnosis.unseen) + len(diagnosis.seen)
    parts = [f"{len(diagnosis.fine)} fine", *([f"{len(bad)} wrong"] if bad else [])]
    parts += [counted(hints, "hint")] if hints else []
    parts += [f"{len(diagnosis.unseen)} not to be seen here"] if diagnosis.unseen else []
    well = not bad and case.error is None and not case.stands_taken_back and not case.history.damaged
    mark = colored("✓ ", "green") if well else ""
    console.print(joined(mark, f"looked at {counted(total, 'thing')}: {', '.join(parts)}"))
    if not diagnosis.unseen:
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(style="dim", overflow="fold")
    for line in _unseen(diagnosis) if details else [_unseen_in_short(diagnosis)]:
        grid.add_row("not seen", printable(line))
    console.print(Padding(grid, (0, 0, 0, 2)))


def _unseen(diagnosis: Diagnosis) -> list[str]:
    return [f"{', '.join(names)}: {why}" for why, names in _by_reason(diagnosis).items()]


def _unseen_in_short(diagnosis: Diagnosis) -> str:
    short = sum(why.startswith(TOO_FEW) for why in diagnosis.unseen.values())
    lacking = len(diagnosis.unseen) - short
    parts = [f"{short} for want of more steps"] if short else []
    parts += [f"{lacking} for want of figures that the run does not have"] if lacking else []
    return f"{' and '.join(parts)} (--details)"


def _by_reason(diagnosis: Diagnosis) -> dict[str, list[str]]:
    """Why -> the rules. Those that only want more of the run stand together, with how much they want."""
    reasons: dict[str, list[str]] = {}
    for name, why in diagnosis.unseen.items():
        short = why.startswith(TOO_FEW)
        key = "too few values yet (it takes as many as stand behind the name)" if short else why
        reasons.setdefault(key, []).append(f"{name} {RULES[name].points}" if short else name)
    return reasons
