"""Figures of a reward model in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from postlude.audit.reward_models import Figures, bins_of
from postlude.cli.cells import heading, number
from postlude.cli.data import list_problems
from postlude.errors import Problem
from postlude.terminal import bold, colored, dim, joined
from postlude.words import counted

WIDTH = 40
WHAT = {
    "pair": "pairs",
    "rated": "pairs of lists",
    "binary": "labelled answers",
    "steps": "labelled steps",
}


def show(console: Console, result: Figures, problems: Sequence[Problem]) -> None:
    """All figures, the most telling first."""
    figures, kind = result["figures"], result["kind"]
    count = figures.get("pairs", figures.get("judged"))
    console.print(
        joined(
            bold(result["model"]),
            f" on {count:,} {WHAT[kind]} from {counted(result['rows'], 'row')} of {result['data']}",
        ),
        soft_wrap=True,
    )
    list_problems(console, [*problems])
    console.print(_main(figures, kind))
    if "by_length" in figures:
        heading(console, "Accuracy by length: the better answer is ... (tokens)")
        console.print(_by_length(figures["by_length"]))
    likely = "the answer it prefers is the better one" if "pairs" in figures else "it is good"
    heading(console, f"Calibration: how sure it is that {likely}, and how often that is so")
    console.print(_diagram(figures))
    if result["ensemble"]:
        names = [result["model"], *result["others"]]
        heading(console, f"Ensemble of {len(names)}")
        console.print(_ensemble(result["ensemble"], names))


def _main(figures: Figures, kind: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    name = {"binary": "accuracy at score 0", "steps": "step accuracy"}.get(kind, "pair accuracy")
    interval = f"95 % {figures['accuracy_low']:.3f} to {figures['accuracy_high']:.3f}"
    ties = f", {figures['ties']} ties as half" if figures.get("ties") else ""
    grid.add_row(name, colored(number(figures["accuracy"]), "bold green"), dim(f"{interval}{ties}"))
    if "auc" in figures:
        grid.add_row("AUC", number(figures["auc"]), dim(f"{figures['good']} of {figures['judged']} are good"))
    else:
        grid.add_row("mean margin", number(figures["margin"]), dim("better minus worse, in logits"))
    grid.add_row("calibration error", number(figures["ece"]), dim("ECE, 10 bins; 0 is best"))
    if "length_pearson" in figures:
        both = f"{number(figures['length_pearson'])} / {number(figures['length_spearman'])}"
        grid.add_row("score and length", both, dim("Pearson / Spearman; - where nothing varies"))
    spread = f"{figures['score_min']:.3f} to {figures['score_max']:.3f}"
    grid.add_row("score", f"{figures['score_mean']:.3f} ± {figures['score_std']:.3f}", dim(f"from {spread}"))
    return grid


def _by_length(buckets: Sequence[Figures]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for bucket in buckets:
        share = bucket["accuracy"]
        interval = f"{bucket['accuracy_low']:.2f} to {bucket['accuracy_high']:.2f}" if share is not None else ""
        grid.add_row(
            bucket["better_is"], _bar(share), number(share), Text(f"n {bucket['pairs']:<6,} {interval}", style="dim")
        )
    return grid


def _diagram(figures: Figures) -> Table:
    """One bar per bin: what came true, with a mark where it should have ended."""
    grid = Table.grid(padding=(0, 2))
    for b in bins_of(figures):
        said = Text(f"{b.low:.2f} to {b.high:.2f}", style="" if b.count else "dim")
        right = Text("" if b.right is None else f"{b.right:.2f} came true")
        grid.add_row(said, _bar(b.right, b.said), right, Text(f"n {b.count:,}", style="dim"))
    grid.add_row("", Text("0" + "│ said".center(WIDTH - 2) + "1", style="dim"), "", "")
    return grid


def _bar(share: float | None, mark: float | None = None) -> Text:
    """A bar of a share between 0 and 1."""
    filled = 0 if share is None else round(share * WIDTH)
    bar = Text("█" * filled, style="blue")
    bar.append("·" * (WIDTH - filled), style="dim")
    if mark is None:
        return bar
    place = min(WIDTH - 1, int(mark * WIDTH))
    return Text.assemble(bar[:place], ("│", "bold yellow"), bar[place + 1 :])


def _ensemble(figures: Figures, names: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    measure = "accuracy" if figures["measure"] == "accuracy" else "AUC"
    for name, value in zip(names, figures["each"], strict=True):
        grid.add_row(Text(name), number(value), dim(f"{measure}"))
    about = {"mean": "", "worst": "", "uncertainty": f", mean - {figures['lam']:g} variance"}
    for how, value in figures["combined"].items():
        grid.add_row(bold(how), bold(number(value)), dim(f"{measure} together{about[how]}"))
    grid.add_row("disagreement", number(figures["disagreement"]), dim("mean std of standardised scores"))
    wrong = figures["disagreement_wrong_pearson"]
    grid.add_row("and being wrong", number(wrong), dim("correlation; above 0: it doubts where it errs"))
    scales = ", ".join(f"{x:.4g}" for x in figures["scale"])
    shifts = ", ".join(f"{x:.4g}" for x in figures["shift"])
    grid.add_row("one scale", "", dim(f"shift: [{shifts}], scale: [{scales}]"))
    return grid
