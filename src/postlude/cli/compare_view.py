"""A comparison on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table

from postlude.contest.comparison import Comparison
from postlude.contest.setup import apart
from postlude.contest.verdicts import Difference, number
from postlude.inference import Estimate
from postlude.runs.figures import lookup
from postlude.statistics import mean
from postlude.terminal import Screen, bold, colored, dim
from postlude.words import counted

BARS = "▁▂▃▄▅▆▇█"
NOT_MEASURED = "·"
LEGEND = (
    "mean over seeds; ± 95 % over seeds (Student's t), or from (to) where that would leave what is possible; in "
    "brackets 95 % over prompts, for just these runs. tokens: sampled, and passed through the model in training; "
    "seconds of both; most memory"
)
ABREAST = 3
"""Figures in one table."""
WIDTH = 32
"""Of a curve, in characters."""
MOST_SETTINGS = 6
"""Settings in which the arms differ that are listed."""
MOST_PAIRS = 15
"""Of one figure that are listed; --json has all."""


def show(comparison: Comparison, screen: Screen) -> None:
    """The table, what can be said of differences, curves, notes."""
    contest = comparison.contest
    screen.print()
    title = f"{contest.recipe}: {counted(len(contest.entries), 'arm')}, {contest.allowance} each, seeds "
    screen.print(bold(title + ", ".join(map(str, contest.seeds))), soft_wrap=True)
    if not comparison.figures:
        screen.print("no run has finished yet")
    else:
        for view in tables(comparison):
            screen.print(view)
        screen.print(dim(LEGEND), soft_wrap=True)
        for block in _differences(comparison):
            screen.print(block, soft_wrap=True)
        for line in curves(comparison):
            screen.print(line, soft_wrap=True)
    for line in _settings(comparison):
        screen.print(line, soft_wrap=True)
    if comparison.notes:
        screen.print()
    for note in comparison.notes:
        screen.print(colored("note: ", "yellow") + note, soft_wrap=True)


def tables(comparison: Comparison) -> Iterator[Table]:
    """A row for each arm: its figures with intervals, a few to a table, and what it used."""
    for start in range(0, len(comparison.figures), ABREAST):
        figures = comparison.figures[start:][:ABREAST]
        view = _table([_label(figure) for figure in figures])
        for entry in comparison.contest.entries:
            view.add_row(bold(entry.arm.name), *(_cell(comparison, figure, entry.arm.name) for figure in figures))
        yield view
    view = _table(["seeds", "tokens", "sampled", "passed", "steps", "seconds", "GiB"])
    for entry in comparison.contest.entries:
        used = comparison.used(entry.arm.name)
        counts = [_count(used.get(name)) for name in ("tokens", "sampled", "passed", "steps", "seconds")]
        seeds = len(comparison.runs.get(entry.arm.name, {}))
        view.add_row(bold(entry.arm.name), str(seeds), *counts, _gib(used.get("peak")))
    yield view


def _table(columns: Sequence[str]) -> Table:
    view = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    view.add_column("", max_width=24, overflow="fold")
    for column in columns:
        view.add_column(column, justify="right", no_wrap=True)
    return view


def _label(figure: str) -> str:
    known = lookup(figure)
    arrow = {"up": " ↑", "down": " ↓"}.get(known.better, "") if known else ""
    return figure.replace("/", "\n", 1) + arrow


def _cell(comparison: Comparison, figure: str, arm: str) -> str:
    summary = comparison.summary(figure, arm)
    if summary is None:
        return "-"
    seeds = _over_seeds(summary.over_seeds) if summary.over_seeds else ""
    prompts = summary.over_prompts
    return f"{number(summary.value)}{seeds}" + (f"\n[{number(prompts[0])}, {number(prompts[1])}]" if prompts else "")


def _over_seeds(estimate: Estimate) -> str:
    """Both ends where one was cut off: then the value is not in their middle."""
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    if math.isclose(below, above, rel_tol=1e-9):
        return f" ±{number(above)}"
    return f" ({number(estimate.low)} to {number(estimate.high)})"


def _gib(value: float | None) -> str:
    return f"{value / 2**30:.2f}" if value else "-"


def _count(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value < 100_000 else f"{value / 1000:,.0f} k"


def _differences(comparison: Comparison) -> Iterator[RenderableType]:
    for figure in comparison.figures:
        pairs = [d for d in comparison.differences if d.figure == figure]
        if not pairs:
            continue
        yield ""
        shown = sorted(pairs, key=lambda d: (not d.differs, -abs(d.value)))[:MOST_PAIRS]
        yield bold(f"{figure}: differences, {_how(pairs, any(d.settled_by_p for d in shown))}")
        for d in shown:
            yield colored("  " + d.words(), "green" if d.differs else "")
        if len(pairs) > len(shown):
            yield dim(f"  and {len(pairs) - len(shown)} more pairs (--json, or --baseline ARM)")


def _how(pairs: Sequence[Difference], with_p: bool) -> str:
    """What the intervals are of, and the chances, where one is told."""
    first = pairs[0]
    over = f"{counted(max(d.seeds for d in pairs), 'seed')}" + (
        f" and {counted(first.prompts, 'prompt')}" if first.prompts else ""
    )
    many = f"; p by Holm among {first.tests} pairs" if with_p and first.tests > 1 else ""
    return f"paired over {over}, 95 %{many}"


def curves(comparison: Comparison) -> Iterator[RenderableType]:
    """The leading figure over each arm's budget, mean over seeds, all on one scale."""
    figure = comparison.figures[0]
    lines: dict[str, list[tuple[float, float]]] = {}
    for arm, by_seed in comparison.runs.items():
        columns = [c for r in by_seed.values() if (c := r.curve(figure)) is not None]
        steps = sorted(set.intersection(*({*c.steps} for c in columns))) if columns else []
        if len(steps) > 1:
            values = [mean([dict(c)[step] for c in columns]) for step in steps]
            lines[arm] = [(step / max(steps), value) for step, value in zip(steps, values, strict=True)]
    if not lines:
        return
    every = [value for points in lines.values() for _, value in points]
    low, high = min(every), max(every)
    yield ""
    yield bold(f"{figure} over the run, {number(low)} to {number(high)}")
    longest = max(map(len, lines))
    for arm, points in lines.items():
        ends = f"{number(points[0][1])} -> {number(points[-1][1])}"
        yield f"  {arm:{longest}}  {curve(points, low, high)}  {ends}"


def curve(points: Sequence[tuple[float, float]], low: float, high: float) -> str:
    """Values over (0, 1) as bars between `low` and `high`, where one was measured; the last of each place."""
    span = (high - low) or 1.0
    bars = [NOT_MEASURED] * WIDTH
    for share, value in points:
        bars[round(share * (WIDTH - 1))] = BARS[min(int((value - low) / span * len(BARS)), len(BARS) - 1)]
    return "".join(bars)


def _settings(comparison: Comparison) -> Iterator[RenderableType]:
    """In what the arms differ, beyond their names."""
    rows = apart(comparison.contest, comparison.folder)
    keys = list(next(iter(rows.values()), {}))
    if not keys:
        return
    yield ""
    yield bold("the arms differ in")
    of_method = [key for key in keys if key.startswith("objective.")] if "method" in keys else []
    others = [key for key in keys if key not in of_method]
    for key in others[:MOST_SETTINGS]:
        yield f"  {key}: " + ", ".join(f"{row[key]} ({arm})" for arm, row in rows.items())
    more = [*others[MOST_SETTINGS:], *([f"{counted(len(of_method), 'part')} of their objectives"] if of_method else [])]
    if more:
        yield dim(f"  and {', '.join(more)}")
