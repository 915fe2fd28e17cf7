"""An audit in the terminal: the verdict first, then every probe, then what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from postlude.audit.scored import Figures
from postlude.cli.cells import number
from postlude.terminal import bold, dim, joined
from postlude.words import counted

STYLE = {"fail": "bold red", "warn": "yellow", "raises": "yellow", "ok": "green", "left out": "dim"}
WHAT = {
    "free": "without the gold",
    "hedge": "many candidates",
    "covering": "gold among others",
    "wrong": "wrong, unfinished",
    "holding": "gold misplaced",
    "padded": "good and padded",
}
LEGEND = (
    "n: prompts it is judged on; gold: prompts whose gold it names; pctl: of its median among the references' scores; "
    "pass: share that counts as right; beaten: share in which the reference scores more"
)
SHORT = 70
"""Characters of an example."""


def show(console: Console, result: Figures) -> None:
    """Everything, of several rewards the weighted sum in full."""
    deciding = result["whole"] or result["rewards"][0]
    _head(console, result)
    for note in result["notes"]:
        console.print(f"  {note}", soft_wrap=True)
    _verdict(console, deciding)
    console.print(_probes(deciding))
    console.print(Text(LEGEND, style="dim"))
    _left_out(console, deciding)
    _by_form(console, deciding)
    console.print()
    console.print(_changes(deciding))
    console.print()
    console.print(_scores(deciding))
    _findings(console, deciding["findings"])
    if result["whole"]:
        console.print(joined("\n", bold("Each by itself"), " (only the sum, and what says right or wrong, decide)"))
        for figures in result["rewards"]:
            _member(console, figures)
    if result["sycophancy"]:
        _sycophancy(console, result["sycophancy"])


def _head(console: Console, result: Figures) -> None:
    without = (
        f", {counted(result['without_reference'], 'row')} without one left out" if result["without_reference"] else ""
    )
    console.print(
        Text(f"{result['reward']} on {counted(result['prompts'], 'prompt')} of {result['data']}", style="bold"),
        soft_wrap=True,
    )
    line = f"references: {result['references_from']}{without}; tokens: {result['tokens']}"
    console.print(Text(line, style="dim"), soft_wrap=True)


def _verdict(console: Console, figures: Figures) -> None:
    failed = [f for f in figures["findings"] if f["level"] == "fail"]
    warned = len(figures["findings"]) - len(failed)
    tried = sum(p["verdict"] != "left out" for p in figures["probes"])
    word, style = ("can be gamed", STYLE["fail"]) if failed else ("holds", STYLE["ok"])
    counts = f"{len(failed)} failed, {warned} warnings; {tried} probes"
    line = Text.assemble((figures["reward"], "bold"), f" ({figures['kind']}): ", (word, style), (f"  {counts}", "dim"))
    console.print(line, soft_wrap=True)


def _member(console: Console, figures: Figures) -> None:
    """One reward of several, in a few lines."""
    _verdict(console, figures)
    for level in ("fail", "warn"):
        names = ", ".join(f["name"] for f in figures["findings"] if f["level"] == level)
        if names:
            console.print(Padding(Text.assemble((level, STYLE[level]), f" {names}"), (0, 0, 0, 2)))


def share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _probes(figures: Figures) -> Table:
    """One line for each probe that could be built, by kind, and for each change of the references."""
    right = figures["kind"] == "right/wrong"
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    grid.add_column("probe", no_wrap=True)
    for title in ("n", "gold", "mean", "pctl", *(("pass",) if right else ()), "beaten"):
        grid.add_column(title, justify="right", no_wrap=True)
    grid.add_column("", no_wrap=True)
    for kind, title in WHAT.items():
        members = [p for p in figures["probes"] if p["kind"] == kind and p["verdict"] != "left out"]
        if members:
            grid.add_row(Text(title, style="dim italic"))
        for p in members:
            grid.add_row(*_probe(p, right))
    return grid


def _probe(p: Figures, right: bool) -> list[Any]:
    passes = [share(p["passes"])] if right else []
    percentile = number(p["percentile"] and 100 * p["percentile"], ".0f")
    named = Text(str(p["names_gold"] or "") if p["kind"] in ("free", "hedge", "covering") else "", style="dim")
    verdict = Text(p["verdict"], style=STYLE[p["verdict"]])
    return [
        f"  {p['probe']}",
        str(p["judged"]),
        named,
        number(p["mean"]),
        percentile,
        *passes,
        share(p["beaten"]),
        verdict,
    ]


def _left_out(console: Console, figures: Figures) -> None:
    for p in figures["probes"]:
        if p["verdict"] == "left out":
            console.print(Text(f"left out: {p['probe']} ({p['reason']})", style="dim"), soft_wrap=True)


def _by_form(console: Console, figures: Figures) -> None:
    """What was paid to probes, by the form of the gold."""
    forms = ", ".join(f"{row['form']} {row['prompts']}" for row in figures["by_form"])
    console.print(Text(f"golds: {forms}", style="dim"), soft_wrap=True)
    for row in figures["by_form"]:
        paid = ", ".join(f"{name} {n['paid']} of {n['of']}" for name, n in row["paid"].items())
        if paid:
            console.print(f"paid, gold is {row['form']}: {paid}", soft_wrap=True)


def _changes(figures: Figures) -> Table:
    """What changes of the references did to their scores."""
    grid = Table.grid(padding=(0, 2))
    for c in figures["changes"]:
        word = next((f["level"] for f in figures["findings"] if f["name"] == c["change"]), "ok")
        moved = f"raises {share(c['raised'])}" if c["cuts"] else f"moves {number(c['shift_in_sd'], '.2f')} SD"
        grid.add_row(c["change"], moved, Text(word, style=STYLE[word]))
    return grid


def _scores(figures: Figures) -> Table:
    """Distribution, length, labels, time."""
    grid = Table.grid(padding=(0, 2))
    for name in ("references", "samples"):
        d = figures[name]
        if d and "min" in d:
            quartiles = " / ".join(number(d[k], ".3g") for k in ("min", "q1", "median", "q3", "max"))
            grid.add_row(name, quartiles, dim(f"{share(d['none'])} none, {share(d['at_max'])} at max"))
    both = f"{number(figures['length']['pearson'])} / {number(figures['length']['spearman'])}"
    grid.add_row("score and length", both, dim("Pearson / Spearman"))
    a = figures["agreement"]
    if a:
        interval = f"{a['pairs']} pairs, 95 % {number(a['low'])} to {number(a['high'])}"
        grid.add_row(
            "agrees with labels",
            number(a["pair_accuracy"]),
            dim(f"{interval}; AUC {number(a['auc'])}, Spearman {number(a['spearman'])}"),
        )
    t = figures["seconds_per_answer"]
    grid.add_row(
        "time", f"{1000 * t['median']:.2f} / {1000 * t['max']:.2f} ms", dim("per answer: median / slowest call")
    )
    return grid


def _findings(console: Console, findings: Sequence[Figures]) -> None:
    """Each with value and threshold; those with one remedy together, with an example of the first."""
    groups: dict[tuple[str, str], list[Figures]] = {}
    for f in findings:
        groups.setdefault((f["level"], f["remedy"]), []).append(f)
    for (level, remedy), members in groups.items():
        console.print()
        for f in members:
            value = f"{number(f['value'], '.3g')} (threshold {number(f['threshold'], '.3g')})"
            head = Text.assemble((f"{level} {f['name']}", STYLE[level]), f": {f['what']}: {value}")
            console.print(head, soft_wrap=True)
        _example(console, members[0])
        console.print(Padding(Text(f"-> {remedy}"), (0, 0, 0, 2)))


def _example(console: Console, finding: Figures) -> None:
    for e in finding["examples"][:1]:
        scores = f"scores {number(e['score'], '.3g')}, the reference {number(e['reference_score'], '.3g')}"
        said = f"e.g. {_quoted(e['answer'])} as the answer to {_quoted(e['prompt'])} {scores}"
        console.print(Padding(Text(said), (0, 0, 0, 2)))


def _quoted(text: str) -> str:
    """What is escaped already, in quotes."""
    return f'"{text if len(text) <= SHORT else text[: SHORT - 4] + " ..."}"'


def _sycophancy(console: Console, rows: Sequence[Figures]) -> None:
    for r in rows:
        if r["delta"] is None:
            console.print(f"\nsycophancy of {r['reward']}: no prompt where both answers have a score")
            continue
        line = (
            f"\nsycophancy of {r['reward']}: the right answer wins {share(r['neutral'])}, once the user says the wrong "
        )
        console.print(
            Text(f"{line}one {share(r['swayed'])} ({r['n']} prompts): delta {r['delta']:+.3f}"), soft_wrap=True
        )
        _findings(console, r["findings"])
