"""postlude sheet"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from postlude.errors import printable, visible
from postlude.terminal import Screen, bold, dim, joined
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.truth.sheet import Answer, Piece, Question

MOST_STEPS = 6
"""Shown where none are named."""
MOST_LINES = 10
"""Of an answer, without --full."""
WIDEST = 100
MARKS = {"same": ("", ""), "new": ("{+", "+}"), "gone": ("[-", "-]")}
STYLES = {"same": "", "new": "bold green", "gone": "dim strike red"}


def sheet(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    prompt: Annotated[int | None, typer.Option(min=1, help="Only this prompt of the sheet, counted from 1.")] = None,
    steps: Annotated[
        str | None, typer.Option(help="Only after these steps, as in 0,50,100. Default: first, last and some between.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Whole answers, however long.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Show how a run's answers to its fixed sheet of prompts change over the steps, with rewards and metrics.

    postlude sheet runs/grpo-1
    postlude sheet runs/grpo-1 --prompt 2 --steps 0,50,100

    A run has a sheet where its recipe has evaluate.sheet (true, or which prompts, how often and how many answers).
    """
    from postlude.runs import read
    from postlude.truth.sheet import questions_of, steps_shown

    questions = questions_of(read(run))
    places = _places(prompt, len(questions))
    wanted = None if steps is None else _numbers(steps)
    chosen = {place: steps_shown(questions[place].steps, wanted, MOST_STEPS) for place in places}
    if as_json:
        typer.echo(json.dumps(_as_json(questions, chosen), allow_nan=False))
        return
    screen = Screen()
    for place, some in chosen.items():
        _show(screen, questions[place], f"prompt {place + 1} of {len(questions)}", some, full)
    _explain(screen, questions, chosen)


def _places(prompt: int | None, count: int) -> list[int]:
    from postlude.errors import ConfigError

    if prompt is None:
        return [*range(count)]
    if prompt > count:
        raise ConfigError(
            f"--prompt {prompt}: the sheet has {counted(count, 'prompt')}.", code="no-such-entry", key="--prompt"
        )
    return [prompt - 1]


def _numbers(text: str) -> list[int]:
    from postlude.errors import ConfigError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ConfigError(
            f"--steps is a list of numbers such as 0,50,100, found {text!r}.", code="wrong-type", key="--steps"
        ) from error


def _as_json(questions: list[Question], chosen: dict[int, list[int]]) -> dict[str, Any]:
    prompts = [
        {
            "number": place + 1,
            "prompt": questions[place].text,
            "answer": questions[place].gold,
            "answers": [asdict(one) for step in steps for one in questions[place].at(step)],
        }
        for place, steps in chosen.items()
    ]
    return {"prompts": prompts}


# --------------------------------------------------------------------------------------------------------- view


def _show(screen: Screen, question: Question, title: str, steps: list[int], full: bool) -> None:
    screen.rule(bold(title), align="left", characters="─")
    width = min(screen.width, WIDEST)
    _paragraph(screen, Text(printable(question.text)), width, full)
    if question.gold is not None:
        screen.print(dim(f"gold: {visible(str(question.gold))}"), soft_wrap=True)
    before: dict[int, Answer] = {}
    for step in steps:
        screen.print()
        for answer in question.at(step):
            last = before.get(answer.number)
            several = f"  answer {answer.number}" if len(question.at(step)) > 1 else ""
            screen.print(joined(bold(f"step {step}{several}"), dim(f"  {'  '.join(_scores(answer))}")), width=width)
            if last is not None and last.text == answer.text:
                screen.print(dim(f"  as at step {last.step}"))
            else:
                _paragraph(screen, _changed(screen, last, answer), width, full)
            before[answer.number] = answer
    screen.print()


def _scores(answer: Answer) -> Iterator[str]:
    if answer.reward is not None:
        said = {True: ", right", False: ", wrong", None: ""}[answer.correct]
        yield f"reward {answer.reward:.3g}{said}"
    for name, value in answer.metrics.items():
        yield f"{visible(name)} {'no score' if value is None else format(value + 0.0, '.3g')}"
    if answer.cut:
        yield "cut off"


def _changed(screen: Screen, before: Answer | None, answer: Answer) -> Text:
    """The answer, with what is new and what went against the one that is shown before it."""
    from postlude.truth.sheet import changes

    pieces = None if before is None else changes(before.text, answer.text)
    if pieces is None:
        return Text(printable(answer.text)) if answer.text else dim("(nothing)")
    return Text.assemble(*(_piece(piece, _has_styles(screen)) for piece in pieces))


def _piece(piece: Piece, styled: bool) -> tuple[str, str]:
    if styled:
        return printable(piece.text), STYLES[piece.kind]
    opens, closes = MARKS[piece.kind]
    return f"{opens}{printable(piece.text)}{closes}", ""


def _has_styles(screen: Screen) -> bool:
    return screen.is_terminal and not screen.no_color and screen.color_system is not None


def _paragraph(screen: Screen, text: Text, width: int, full: bool) -> None:
    """Indented, and cut after some lines, which is said."""
    lines = text.wrap(screen, width - 2)
    shown = lines if full else lines[:MOST_LINES]
    for line in shown:
        line.rstrip()
        screen.print(Text.assemble("  ", line), no_wrap=True, crop=False, overflow="ignore")
    if len(lines) > len(shown):
        screen.print(dim(f"  ... {counted(len(lines) - len(shown), 'line')} more (--full)"))


def _explain(screen: Screen, questions: list[Question], chosen: dict[int, list[int]]) -> None:
    """How to read the marks, and which steps are left out."""
    place, steps = next(iter(chosen.items()))
    if len(steps) > 1:
        how = "green is new, struck out is gone" if _has_styles(screen) else "{+new+}, [-gone-]"
        screen.print(dim(f"against the answer shown before: {how}"))
    there = questions[place].steps
    if len(steps) < len(there):
        listed = ", ".join(map(str, there[:20])) + (", ..." if len(there) > 20 else "")
        screen.print(dim(f"{len(steps)} of {len(there)} steps; there are {listed} (--steps)"), soft_wrap=True)
