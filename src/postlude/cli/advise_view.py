"""Advice for people: the answer on one screen, and what it rests on below it where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from postlude.advice.advise import Advised
from postlude.advice.decide import Advice
from postlude.advice.evidence import Evidence, Part
from postlude.errors import printable, visible
from postlude.terminal import bold, colored, dim, joined

STYLES = {"train": "bold green", "first": "bold yellow", "do not train": "bold red", "name the columns": "bold yellow"}
SHOWN = 3
"""Warnings, and rejected ways, on the first screen."""


def show(advised: Advised, data: Sequence[str], console: Console, details: bool) -> None:
    """Print the answer."""
    a = advised.advice
    style = "bold red" if a.room is not None and not a.room.fits else STYLES[a.verdict]
    console.print(joined(bold("postlude advise "), " ".join(map(visible, data))), soft_wrap=True)
    console.print()
    console.print(colored(a.headline, style))
    console.print()
    answer = Table.grid(padding=(0, 2))
    answer.add_column(style="dim", no_wrap=True)
    answer.add_column(overflow="fold")
    for name, lines in _answer(a, details):
        for i, line in enumerate(lines):
            answer.add_row(name if i == 0 else "", line)
    console.print(answer)
    if details:
        _details(a, advised.notes, console)
    console.print()
    _next(advised, console, details)


def _answer(a: Advice, details: bool) -> Iterable[tuple[str, list[Text]]]:
    """(label, lines) of the first screen."""
    yield "data", [_part(part) for part in a.evidence.parts if not part.others] + _model(a.evidence)
    yield "goal", _goal(a.evidence)
    yield (
        "columns" if a.verdict == "name the columns" else "why",
        [_pair(reason.text, reason.evidence) for reason in a.reasons],
    )
    yield "instead", [Text(printable(text)) for text in a.instead]
    yield "unless", [Text(printable(a.unless))] if a.unless else []
    yield "before", [Text(printable(a.first))] if a.first else []
    yield "then", [_pair(stage.method, stage.why) for stage in a.then]
    yield "beware", _some([_warning(text) for text in a.warnings], "warning", details)
    yield "memory", _memory(a)
    yield "time", [_pair(_between(a.time.low, a.time.high), a.time.rests_on)] if a.time else []
    rejected = [_pair(one.name, one.why, one.unless if details else "") for one in a.rejected]
    yield "rather not", _some(rejected, "way", details)
    yield "watch", [_pair(name, text) for name, text in a.watch[: None if details else 2]]


def _pair(text: str, more: str, unless: str = "") -> Text:
    line = Text(printable(text))
    line.append(f": {printable(more)}", style="dim")
    if unless:
        line.append(f" (unless: {printable(unless)})", style="dim")
    return line


def _warning(text: str) -> Text:
    return joined(colored("! ", "bold yellow"), text)


def _some(lines: list[Text], what: str, details: bool) -> list[Text]:
    if details or len(lines) <= SHOWN:
        return lines
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], dim(f"and {more} more {what}{'s' if more > 1 else ''}: --details")]


def _part(part: Part) -> Text:
    said = f"{part.distinct:,} {part.words}"
    if part.repeated:
        said += f" ({part.rows:,} rows, {part.repeated:,} of them repeats)"
    return Text(said)


def _model(e: Evidence) -> list[Text]:
    lines: list[Text] = []
    if e.model is not None:
        size = f"{e.model.billions:.3g} B parameters, by {e.model.known_by}" if e.model.billions else e.model.known_by
        lines.append(_pair(e.model.path, size))
    if e.base is not None and e.base.graded:
        b = e.base
        lines.append(
            Text(
                f"it answers {b.right} right: {b.prompts} prompts, {b.none.count:g} never solved, {b.all.count:g} "
                "always"
            )
        )
    return lines


def _goal(e: Evidence) -> list[Text]:
    if not e.goal.text:
        return []
    return [_pair(f'"{e.goal.text}"', f"understood as {e.goal.understood}" if e.goal.understood else "not understood")]


def _memory(a: Advice) -> list[Text]:
    if a.room is None:
        e = a.evidence
        missing = "--model" if e.model is None else "a model whose size is known"
        return [dim(f"not estimated: {missing} says for what")] if a.method else []
    room = a.room
    word = colored("fits", "green") if room.fits else colored("does not fit", "bold red")
    judge = f" ({room.part('judge'):.1f} of them the judge)" if room.part("judge") else ""
    line = joined(f"{room.holding.words}: {room.total:.1f}{judge} of {room.available:.1f} GiB, ", word)
    tried = "; ".join(f"{name} would take {gib:.0f}" for name, gib in room.tried[:1] if room.fits)
    return [joined(line, dim(f" ({room.known_by}{'; ' + tried if tried else ''})"))]


def _between(low: float, high: float) -> str:
    """A range of durations, and no range where both ends are the same."""
    if high < 2:
        return "a few seconds"
    first, last = _about(low), _about(high)
    return f"about {last}" if first == last else f"about {first} to {last}"


def _about(seconds: float) -> str:
    """A duration with one figure that counts."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds" if seconds >= 1.5 else "1 second"


# ------------------------------------------------------------------------------------------------------- details


def _details(a: Advice, notes: Sequence[str], console: Console) -> None:
    console.print()
    _grid("What the data show", [(f"{part.words}", _figures(part)) for part in a.evidence.parts], console)
    if a.settings:
        rows = [(s.key, f"{s.value!s}" + (f"  {s.why}" if s.why else "")) for s in a.settings]
        _grid("What the recipe sets", rows, console)
    if a.room is not None:
        parts = [(name, f"{gib:8.2f} GiB") for name, gib in a.room.parts]
        _grid(
            "Memory",
            [*parts, ("together", f"{a.room.total:8.2f} GiB"), ("can be planned with", f"{a.room.available:8.2f} GiB")],
            console,
        )
        for note in a.room.rough:
            console.print(Padding(dim(f"· {note}"), (0, 0, 0, 2), expand=False))
    if notes:
        _grid("Notes", [("", note) for note in notes], console)


def _grid(title: str, rows: Sequence[tuple[str, str]], console: Console) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(printable(name)), Text(printable(value)))
    console.print(bold(title))
    console.print(Padding(table, (0, 0, 1, 2), expand=False))


def _figures(part: Part) -> str:
    """All that was counted of one kind of feedback."""
    said = [f"{part.rows:,} rows, {part.distinct:,} distinct, {part.prompts:,} prompts, {part.near:,} nearly repeated"]
    said.append(f"prompts of {part.asked.median:,} tokens ({part.asked.high:,} at most in 95 of 100)")
    if part.answered.total:
        said.append(f"answers of {part.answered.median:,} ({part.answered.high:,})")
    if part.longer is not None:
        said.append(f"the better answer is longer in {part.longer}")
    if part.correlation is not None:
        said.append(f"length and preference correlate at {part.correlation:+.2f}")
    if part.feedback == "golds":
        said.append(f"{part.readable:,} right answers have a value that the maths reward compares")
    if part.feedback == "thumbs":
        said.append(f"{part.up:,} up, {part.down:,} down")
    if part.conflicts:
        said.append(f"{part.conflicts:,} contradictions")
    if part.others:
        said.append("the same rows say more as another kind")
    return "; ".join(said)


def _next(advised: Advised, console: Console, details: bool) -> None:
    a = advised.advice
    tokens = "tokens are estimated from letters, as no tokenizer was named" if a.evidence.estimated else ""
    if not details and tokens:
        console.print(dim(tokens))
    if advised.path is None:
        console.print(dim("no recipe is written"))
        return
    rows = f", its rows to {advised.rows}" if advised.rows else ""
    fits = a.room is None or a.room.fits
    named = a.evidence.model is not None and a.evidence.model.named
    model = "" if named and fits else " model=MODEL"
    model += " reward.args.model=JUDGE" if a.feedback == "prompts" and a.evidence.reward is None else ""
    console.print(joined("recipe saved to ", bold(str(advised.path)), rows), soft_wrap=True)
    console.print(joined(dim("next  "), f"postlude check {advised.path}{model}"), soft_wrap=True)
    console.print(joined(dim("      "), f"postlude train {advised.path}{model}"), soft_wrap=True)
