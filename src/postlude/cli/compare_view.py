"""A comparison on a terminal."""

from __future__ import annotations

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
        screen.print(table(comparison))
        screen.print(
            dim(
                "mean over seeds; ± 95 % over seeds (Student's t); in brackets 95 % over prompts, for just "
                "these runs. Tokens sampled and trained on, seconds of both, most memory"
            ),
            soft_wrap=True,
        )
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


def table(comparison: Comparison) -> Table:
    """A row for each arm: its figures with intervals, and what it used."""
    view = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    view.add_column("", max_width=24)
    for figure in comparison.figures:
        view.add_column(_label(figure), justify="right", no_wrap=True)
    for column in ("seeds", "tokens", "steps", "s", "GiB"):
        view.add_column(column, justify="right", no_wrap=True)
    for entry in comparison.contest.entries:
        arm, used = entry.arm.name, comparison.used(entry.arm.name)
        cells = [_cell(comparison, figure, arm) for figure in comparison.figures]
        view.add_row(
            bold(arm),
            *cells,
            str(len(comparison.runs.get(arm, {}))),
            _count(used.get("tokens")),
            _count(used.get("steps")),
            _count(used.get("seconds")),
            _gib(used.get("peak")),
        )
    return view


def _label(figure: str) -> str:
    known = lookup(figure)
    arrow = {"up": " ↑", "down": " ↓"}.get(known.better, "") if known else ""
    return figure.replace("/", "\n", 1) + arrow


def _cell(comparison: Comparison, figure: str, arm: str) -> str:
    summary = comparison.summary(figure, arm)
    if summary is None:
        return "-"
    seeds = f" ±{number(_half(summary.over_seeds))}" if summary.over_seeds else ""
    prompts = summary.over_prompts
    return f"{number(summary.value)}{seeds}" + (f"\n[{number(prompts.low)}, {number(prompts.high)}]" if prompts else "")


def _half(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / 2


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
        yield bold(f"{figure}: differences, {_how(pairs)}")
        shown = sorted(pairs, key=lambda d: (not d.differs, -abs(d.value)))[:MOST_PAIRS]
        for d in shown:
            yield colored("  " + d.words(), "green" if d.differs else "")
        if len(pairs) > len(shown):
            yield dim(f"  and {len(pairs) - len(shown)} more pairs (--json, or --baseline ARM)")


def _how(pairs: Sequence[Difference]) -> str:
    """What the intervals and the chances are of."""
    first = pairs[0]
    over = f"{counted(max(d.seeds for d in pairs), 'seed')}" + (
        f" and {counted(first.prompts, 'prompt')}" if first.prompts else ""
    )
    many = f"; p by Holm among {first.tests} pairs" if first.tests > 1 else ""
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
    """Values over (0, 1) as bars between `low` and `high`; between points the one before stands."""
    span = (high - low) or 1.0
    bars: list[str] = []
    for place in range(WIDTH):
        value = [v for share, v in points if share <= place / (WIDTH - 1)][-1]
        bars.append(BARS[min(int((value - low) / span * len(BARS)), len(BARS) - 1)])
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
