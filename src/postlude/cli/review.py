"""postlude review"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postlude.cli import options as opt
from postlude.cli.options import require_free, require_read
from postlude.errors import ConfigError, Problem
from postlude.terminal import Screen, colored
from postlude.words import counted, meant

if TYPE_CHECKING:
    from postlude.cli.keys import Keys
    from postlude.review.queue import Kind, Queued
    from postlude.review.report import ReviewReport
    from postlude.review.store import Judged, Reviewer, Verdict
    from postlude.runs.history import History

OF_REVIEW = ("queues", "count", "steps", "seed", "name", "show_reward")
"""Options that only a sitting reads."""
VERDICTS: dict[str, Verdict] = {"g": "good", "b": "bad", "s": "skip"}

RunFolder = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run's folder; it may be running.", show_default=False)
]
Queues = Annotated[
    list[str] | None,
    typer.Option(
        "--queue",
        help="Which answers: random (default), highest reward, surprising, or flagged; repeatable, in equal parts.",
    ),
]
Steps = Annotated[str | None, typer.Option(help="Only answers of these steps: 5, 3-10 or 20-.")]
Reviewed = Annotated[int, typer.Option(min=1, max=100_000, help="Answers in this sitting.")]
Order = Annotated[int, typer.Option(help="Another seed, another random order.")]
Name = Annotated[str | None, typer.Option("--as", help="The reviewer's name, kept with each verdict.")]
ShowsReward = Annotated[
    bool, typer.Option("--show-reward", help="Show the reward before the verdict too, which may lead you; it is noted.")
]
Reports = Annotated[bool, typer.Option("--report", help="Say what the verdicts say, instead of asking for more.")]
Exports = Annotated[
    Path | None,
    typer.Option(help="Write the judged answers to this JSONL file, for kto or a reward model."),
]


def review(
    context: typer.Context,
    run: RunFolder,
    queues: Queues = None,
    count: Reviewed = 20,
    steps: Steps = None,
    seed: Order = 0,
    name: Name = None,
    show_reward: ShowsReward = False,
    reports: Reports = False,
    export: Exports = None,
    force: opt.Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --report: as one JSON object.")] = False,
) -> None:
    """Judge a run's answers by hand, one key each; and see whether its reward agrees with you.

    postlude review runs/grpo-1 --as anna
    postlude review runs/grpo-1 --queue highest --queue surprising --steps 50- --count 40
    postlude review runs/grpo-1 --report
    postlude review runs/grpo-1 --export thumbs.jsonl

    g good, b bad, s skip, n note, u undo, m more of a long answer, q quit. Each verdict is saved at once. The reward is
    shown after the verdict. Where input is no terminal, every line is a key and what is said with it: `b wrong unit`.
    """
    from postlude.review.store import Reviewer
    from postlude.runs.history import read

    if reports and export:
        raise ConfigError("give --report or --export, not both.", code="contradiction")
    if reports or export:
        why = "--report reads" if reports else "--export reads"
        require_read(context, f"{why} the verdicts that are there", *OF_REVIEW)
    if not reports:
        require_read(context, "it goes with --report", "as_json")
    if not export:
        require_read(context, "it goes with --export", "force")
    if reports:
        _report(read(run), as_json)
    elif export:
        _export(read(run), export, force)
    else:
        kinds, window = _kinds(queues or ["random"]), window_of(steps)
        _sit(read(run), kinds, count, Reviewer(run, name, window, seed, show_reward))


def window_of(steps: str | None) -> tuple[int, int | None]:
    """The first and last step of `5`, `3-10` or `20-`; None: to the last one."""
    if steps is None:
        return 0, None
    match = re.fullmatch(r"(\d{1,9})(-(\d{1,9})?)?", steps.strip())
    if match is None:
        raise ConfigError(f"--steps must be like 5, 3-10 or 20-, found {steps!r}.", code="wrong-type")
    first = int(match[1])
    last = first if match[2] is None else None if match[3] is None else int(match[3])
    if last is not None and last < first:
        raise ConfigError(f"--steps {steps}: the last step is before the first.", code="out-of-range")
    return first, last


def _kinds(queues: list[str]) -> list[Kind]:
    from postlude.review.queue import KINDS

    problems = [
        Problem("not-a-choice", f"--queue: {name!r} is none of {', '.join(KINDS)}.{meant(name, KINDS)}")
        for name in queues
        if name not in KINDS
    ]
    if problems:
        raise ConfigError(problems)
    return [kind for kind in KINDS if kind in queues]


# ------------------------------------------------------------------------------------------------- a sitting


def _sit(history: History, kinds: list[Kind], count: int, reviewer: Reviewer) -> None:
    """Choose what to show, and ask about it."""
    from postlude.cli.keys import keys_of
    from postlude.review import store
    from postlude.review.answers import answers_of
    from postlude.review.queue import measures_of, queue

    measures_of(history)  # what --report needs of the recipe: where that is damaged, verdicts would come to nothing
    answers = answers_of(history, reviewer.window)
    _require_answers(history, bool(answers), reviewer.window)
    screen = Screen()
    with reviewer:
        standing = store.read(history.folder)
        judged = {place: one for (place, _), one in standing.items()}
        sampled = {place for place, kind in standing if kind == "random"}
        waiting, again = queue(history, answers, kinds, count, reviewer.seed, judged)
        for one in again:
            if one.answer.place not in sampled:
                reviewer.repeat(one, judged[one.answer.place])
        _announce(screen, kinds, count, waiting, len(answers), len(judged))
        try:
            _ask(screen, keys_of(screen), history, waiting, reviewer)
        except (KeyboardInterrupt, EOFError):
            screen.print()
        _end(screen, history.folder, reviewer)


def _require_answers(history: History, any_there: bool, window: tuple[int, int | None]) -> None:
    from postlude.cli.review_view import span

    if any_there:
        return
    there = [*history.rollouts]
    if not there:
        method = history.recipe.get("method", "its method")
        raise ConfigError(
            f"{str(history.folder)!r} has sampled no answers yet, or its method ({method}) samples none: there is "
            "nothing to review.",
            code="nothing-to-review",
        )
    raise ConfigError(
        f"--steps: no answers in {span(window)}; the run has those of steps {min(there)} to {max(there)}.",
        code="nothing-to-review",
    )


def _announce(screen: Screen, kinds: list[Kind], count: int, waiting: list[Queued], total: int, judged: int) -> None:
    if len(waiting) < count:
        by_kind = ", ".join(f"{sum(one.kind == kind for one in waiting)} {kind}" for kind in kinds)
        already = f" ({judged} judged already)" if judged else ""
        screen.print(
            colored(
                f"{len(waiting)} of the {count} that were asked for: {by_kind}, of {total} answers{already}", "yellow"
            ),
            soft_wrap=True,
        )


def _ask(screen: Screen, keys: Keys, history: History, waiting: list[Queued], reviewer: Reviewer) -> None:
    """Go through the queue. Every answer stays until it is judged; undo goes back to the one before."""
    from postlude.cli.review_view import show_answer, show_keys
    from postlude.review.answers import shown

    place, fresh, all_of_it = 0, True, False
    before: list[tuple[Judged, Queued]] = []
    while place < len(waiting):
        queued = waiting[place]
        if fresh:
            screen.clear()
            _tell(screen, before)
            number = (place + 1, len(waiting))
            show_answer(screen, queued, shown(history, queued.answer), number, reviewer.reward_shown, all_of_it)
            show_keys(screen)
        press, fresh, all_of_it = keys.press(), False, False
        if press.key in VERDICTS:
            reason = press.text or _reason(screen, keys, press.key)
            before.append((reviewer.judge(queued, VERDICTS[press.key], _listed(reason)), queued))
            place, fresh = place + 1, True
        elif press.key == "u":
            fresh = reviewer.undo() is not None
            place -= int(fresh)
            if not fresh:
                screen.print("nothing to take back in this sitting")
        elif press.key == "n":
            text = press.text or keys.ask("note: ")
            if text:
                reviewer.note(queued, text)
            screen.print("noted" if text else "no note: n takes a text")
        elif press.key == "m":
            fresh = all_of_it = True
        elif press.key == "q":
            return
        else:
            screen.print(f"{press.key!r} is no key here:", end=" ")
            show_keys(screen)
    _tell(screen, before)


def _tell(screen: Screen, verdicts: list[tuple[Judged, Queued]]) -> None:
    """What was said, and what the reward had said: over the next answer, which has a screen of its own."""
    from postlude.cli.review_view import show_verdict

    for judged, queued in verdicts:
        show_verdict(screen, judged, queued.answer)
    verdicts.clear()


def _reason(screen: Screen, keys: Keys, key: str) -> str | None:
    from postlude.cli.review_view import reasons_asked

    return keys.ask(reasons_asked()) if key == "b" else None


def _listed(reason: str | None) -> str | None:
    from postlude.cli.keys import one_of
    from postlude.cli.review_view import REASONS

    return one_of(reason, REASONS)


def _end(screen: Screen, folder: Path, reviewer: Reviewer) -> None:
    done = reviewer.done
    said = ", ".join(f"{n} {v}" for v in VERDICTS.values() if (n := sum(one.verdict == v for one in done)))
    screen.print(f"{counted(len(done), 'answer')} judged{f': {said}' if said else ''}", soft_wrap=True)
    if done:
        screen.print(
            f"saved to {folder / 'review.jsonl'}; what they say: postlude review {folder} --report", soft_wrap=True
        )


# ---------------------------------------------------------------------------------------------- after sittings


def _report(history: History, as_json: bool) -> None:
    from postlude.cli.review_view import show_report
    from postlude.review.report import report

    whole = report(history)
    if as_json:
        typer.echo(json.dumps(_plain(whole), default=str))
        return
    if not whole.kinds and not whole.lost:
        Screen().print(f"nobody has reviewed {history.folder} yet: postlude review {history.folder}", soft_wrap=True)
        return
    show_report(Screen(), history, whole)


def _plain(whole: ReviewReport) -> dict[str, Any]:
    values = asdict(whole)
    del values["pairs"]
    values["windows"] = [{"steps": window, "judged": n} for window, n in whole.windows]
    return values


def _export(history: History, target: Path, force: bool) -> None:
    from postlude.cli.data import sums, write_rows
    from postlude.review.export import labelled

    require_free(target, force, "--export")
    rows, left = labelled(history)
    screen = Screen()
    total = len(rows) + sum(left.values())
    good = sum(bool(row["label"]) for row in rows)
    screen.print(
        sums(
            [
                {"verdicts": total, "rows written": len(rows), **left},
                {"rows": len(rows), "good": good, "bad": len(rows) - good},
            ]
        )
    )
    cut = sum(row["review"]["stop"] == "length" for row in rows)
    if cut:
        screen.print(
            f"{cut} of these answers were cut off by the length limit: trained on, they end where they were cut"
        )
    if not rows:
        screen.print(colored("no row was written: no answer is judged good or bad", "yellow"))
        raise typer.Exit(1)
    write_rows(target, rows)
    screen.print(f"saved to {target}; postlude train kto data={target}", soft_wrap=True)
