"""Answers before a reviewer, and the report of a review, in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from postlude.cli.cells import heading, interval
from postlude.data import message_text
from postlude.review.agreement import Agreement
from postlude.review.answers import Answer, Shown
from postlude.review.queue import Queued
from postlude.review.report import Interval, OfKind, ReviewReport
from postlude.review.store import Judged
from postlude.runs.history import History
from postlude.terminal import bold, colored, dim, joined
from postlude.words import counted

REASONS = ("wrong", "unfinished", "repeats itself", "only the form", "games the reward", "harmful")
"""Why an answer is bad, by number; any other word is taken too."""
HEAD, TAIL = 12, 4
"""Lines of a long text that are shown at first."""
STYLES = {"good": "green", "bad": "red", "skip": "yellow"}
MOST_WIDE = 100


# ------------------------------------------------------------------------------------------------- an answer


def show_answer(
    console: Console, queued: Queued, whole: Shown, number: tuple[int, int], reward_shown: bool, all_of_it: bool
) -> None:
    """One answer. Nothing that tells its reward, the reason it is shown included, unless `reward_shown`."""
    place = queued.answer.place
    head = f"{number[0]} of {number[1]}   step {place.step}, answer {place.index + 1} of {whole.siblings} to its prompt"
    console.print(joined(bold(head)), soft_wrap=True)
    _block(console, "prompt", _spoken(whole.prompt), all_of_it)
    cut = ", cut off by the length limit" if whole.stop == "length" else ""
    _block(console, f"answer ({counted(whole.tokens, 'token')}{cut})", whole.text, all_of_it)
    if whole.gold is not None:
        console.print(joined(dim("gold    "), str(whole.gold)))
    if reward_shown:
        console.print(joined(dim("reward  "), _scores(queued.answer)))
        console.print(joined(dim("shown   "), f"{queued.kind}: {queued.why}"))


def show_verdict(console: Console, judged: Judged, answer: Answer) -> None:
    """What was said, and what the reward had said."""
    reason = f" ({judged.reason})" if judged.reason else ""
    said = colored(f"{judged.verdict}{reason}", STYLES[judged.verdict])
    console.print(joined(said, dim("   the run: "), _scores(answer)), soft_wrap=True)
    console.print(dim("" if judged.queue == "random" else f"{judged.queue}: {judged.why}\n"), soft_wrap=True)


def show_keys(console: Console) -> None:
    console.print(dim("g good  b bad  s skip  n note  u undo  m more  q quit"))


def reasons_asked() -> str:
    """The question for the reason of a bad verdict."""
    listed = "  ".join(f"{i} {reason}" for i, reason in enumerate(REASONS, 1))
    return f"why? {listed}\na number, a word, or Enter: "


def _spoken(prompt: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"[{m.get('role')}] {message_text(m)}" for m in prompt)


def _block(console: Console, name: str, text: str, all_of_it: bool) -> None:
    """A text behind a bar, so that no line of it passes for one of ours; a long one is folded."""
    width = min(console.width, MOST_WIDE) - 2
    whole = Text.assemble(text).wrap(console, width) if text else [dim("(nothing)")]
    lines = [joined(line) for line in whole]
    console.print(bold(name))
    folded = not all_of_it and len(lines) > HEAD + TAIL + 1
    for line in lines[:HEAD] if folded else lines:
        console.print(joined(dim("│ "), line), no_wrap=True, crop=False)
    if folded:
        console.print(dim(f"│ ... {len(lines) - HEAD - TAIL} more lines: m shows them"))
        for line in lines[-TAIL:]:
            console.print(joined(dim("│ "), line), no_wrap=True, crop=False)


def _scores(answer: Answer) -> str:
    reward = "no reward" if answer.reward is None else f"reward {answer.reward:.4g}"
    others = [f"{name} {'-' if x is None else format(x, '.4g')}" for name, x in answer.scores.items()]
    right = [] if answer.correct is None else ["correct" if answer.correct else "not correct"]
    return ", ".join([reward, *right, *(others if len(others) > 1 else [])])


# ------------------------------------------------------------------------------------------------- the report


def show_report(console: Console, history: History, whole: ReviewReport) -> None:
    """Counts, shares and agreement by queue; where people and reward part."""
    judged = sum(one.judged for one in whole.kinds)
    skipped = sum(one.skipped for one in whole.kinds)
    by = f" by {', '.join(whole.reviewers)}" if whole.reviewers else ""
    console.print(
        joined(bold(f"{history.folder}"), f"  {counted(judged, 'verdict')}{by}, {skipped} skipped"), soft_wrap=True
    )
    for text in _remarks(whole):
        console.print(text)
    console.print()
    console.print(_shares(whole.kinds))
    if any(one.kind != "random" for one in whole.kinds):
        console.print(dim("Only random is an estimate of the run; the other answers were chosen by their rewards."))
    if not judged:
        return
    heading(console, "Agreement of people with the reward and what else measures answers")
    console.print(_agreements(whole.kinds))
    for name in whole.unmeasured:
        console.print(dim(f"{name} never varies over this run: nothing to agree with"))
    _show_trend(console, whole)
    _show_worst(console, history, whole)


def _remarks(whole: ReviewReport) -> list[str | Text]:
    lines: list[str | Text] = []
    if whole.lost:
        lines.append(
            colored(
                f"{counted(whole.lost, 'verdict')} not counted: on answers that the run no longer has (a resume took "
                "their steps back, or wrote others). They count again if the same answers come back.",
                "yellow",
            )
        )
    if whole.shown:
        lines.append(colored(f"{counted(whole.shown, 'verdict')} given with the reward in sight", "yellow"))
    sample = whole.of("random")
    if sample is None or not sample.judged:
        lines.append(
            colored(
                "No verdict on a random sample: nothing here says how many of the run's answers are good.",
                "yellow",
            )
        )
    elif len(whole.windows) > 1:
        parts = ", ".join(f"{n} from {span(window)}" for window, n in whole.windows)
        lines.append(dim(f"The random sample is pooled: {parts}. Steps in several of these weigh more."))
    else:
        lines += [dim(f"The random sample is of {span(one)} only.") for one, _ in whole.windows if one != (0, None)]
    return lines


def span(window: tuple[int, int | None]) -> str:
    """Steps in words."""
    first, last = window
    if last is None:
        return "all steps" if first <= 1 else f"steps from {first} on"
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _shares(kinds: Sequence[OfKind]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("queue", "good", "bad", "skipped", "prompts"):
        table.add_column(name, justify="left" if name == "queue" else "right")
    table.add_column("share good, 95 % by prompts")
    for one in kinds:
        unbiased = one.kind == "random"
        share = interval(*one.share) if one.share else "-"
        about = bold(share) if unbiased else dim(share)
        row = [str(n) for n in (one.good, one.bad, one.skipped, one.prompts)]
        table.add_row(bold(one.kind) if unbiased else Text(one.kind), *row, about)
    return table


def _agreements(kinds: Sequence[OfKind]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("queue", "measure", "agreement, 95 %", "kappa, 95 %"):
        table.add_column(name)
    table.add_column("n", justify="right")
    for one in kinds:
        style = "" if one.kind == "random" else "dim"
        for row in one.agreements:
            kind = "AUC" if row.kind == "auc" else "acc"
            value = f"{kind} {interval(row.value, row.low, row.high)}"
            table.add_row(one.kind, Text(row.measure), value, _kappa(row), str(row.judged), style=style)
        if not one.agreements and one.judged:
            table.add_row(one.kind, "", "none: verdicts of one kind only", "", str(one.judged), style=style)
    return table


def _kappa(row: Agreement) -> str:
    return "" if row.kind == "auc" else interval(row.kappa, row.kappa_low, row.kappa_high)


def _show_trend(console: Console, whole: ReviewReport) -> None:
    trend = whole.trend
    if trend is None:
        return
    heading(console, f"Over the run (random sample, up to step {trend.until} and after)")
    shares = [f"{x[0]:.3f} ({x[1]:.3f} to {x[2]:.3f})" for x in (trend.early, trend.late)]
    console.print(f"good    {shares[0]}, then {shares[1]}")
    console.print(f"change  {_signed(trend.change)}; of their reward {trend.reward:+.3f}")


def _signed(change: Interval) -> str:
    return f"{change[0]:+.3f} (95 % {change[1]:+.3f} to {change[2]:+.3f})"


def _show_worst(console: Console, history: History, whole: ReviewReport) -> None:
    from postlude.review.answers import shown

    if not whole.worst:
        return
    heading(console, "Where they part most")
    for one in whole.worst:
        said = shown(history, one.answer)
        reason = f" ({one.judged.reason})" if one.judged.reason else ""
        side = "below" if one.judged.is_good else "above"
        head = colored(f"{one.judged.verdict}{reason}", STYLES[one.judged.verdict])
        place = f"step {one.answer.place.step}, answer {one.answer.place.index + 1}"
        console.print(
            joined(head, f": reward {one.answer.reward:.4g}, {side} {one.apart:.0%} of those judged   ", dim(place))
        )
        for text in (_spoken(said.prompt), said.text, *one.judged.notes):
            line = " ".join(text.split())
            console.print(joined(dim("│ "), line[:240] + (" ..." if len(line) > 240 else "")))
