"""How `postlude plan` looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from postlude.facts.hardware import RATES
from postlude.terminal import bold, colored, dim, joined
from postlude.words import counted, size

if TYPE_CHECKING:
    from rich.console import Console

    from postlude.costing import Plan
    from postlude.sizing.cost import Cost
    from postlude.sizing.parts import Part

SATURATED = {
    "sampling": "sampling, with all answers under way that have room",
    "the longest answer": "waiting for the longest answer of a draw",
    "passes without a gradient": "the ranks: passes without a gradient",
    "forward and backward": "the ranks: forward and backward",
    "links between ranks": "the links: layers are gathered for longer than they are computed with",
    "optimiser": "the optimiser",
    "publish": "sending weights to the servers",
    "commit": "saving, mostly the optimiser's moments",
    "driver": "the driver: packing, and the answers' JSON",
}
"""Part of a step, in the order in which they come -> what it is that saturates."""
CHANGES = 3
"""That are named for each number of GPUs."""
BUSY = 0.25
"""Of sampling, from which on the driver's JSON is spoken of."""


def show(result: Plan, what: str, console: Console) -> None:
    """The table, one column for each number of GPUs, and what to change."""
    _head(result, what, console)
    console.print(_table(result.costs))
    console.print()
    _advice(result.costs, console)
    for note in result.notes:
        console.print(dim(f"· {note}"))


def _head(result: Plan, what: str, console: Console) -> None:
    run, gpu = result.run, result.costs[0].gpu
    setting, draw = run.setting, run.draw
    trains = f"LoRA of rank {setting.lora.rank}" if setting.lora else "all weights"
    model = "" if run.shape.name == what else f"{run.shape.name}, "
    facts = f"  {setting.method}, {model}{trains}, {setting.dtype}"
    console.print(joined(bold(f"postlude plan {what}"), dim(facts)), soft_wrap=True)
    if draw.samples:
        lengths = f"prompts of {draw.prompt:,.0f} and answers of {draw.answer:,.0f} tokens, {draw.longest:,.0f} at most"
        batch = f"{counted(draw.prompts, 'prompt')} x {counted(draw.group, 'answer')} a step, {lengths}"
    else:
        batch = f"{counted(draw.prompts, 'row')} a step, {draw.prompt:,.0f} + {draw.answer:,.0f} tokens"
    peak = f"{gpu.flops / 1e12:,.0f} TFLOP/s, {gpu.bandwidth / 1e12:.3g} TB/s, {gpu.memory / 2**30:.0f} GB"
    console.print(dim(f"{batch}: {_short(draw.tokens)} tokens trained"), soft_wrap=True)
    console.print(dim(f"{gpu.name}: {peak}"), soft_wrap=True)


def _table(costs: Sequence[Cost]) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True)
    for _ in costs:
        table.add_column(justify="right", no_wrap=True)
    table.add_row("", *(Text(f"\n{counted(one.count, 'GPU')}", "bold") for one in costs))
    for name, cells in _rows(costs):
        head = not name.startswith(" ")
        style = "bold" if head else "dim" if name.startswith("    ") else ""
        first = Text(f"\n{name}" if head else name, style)
        table.add_row(first, *(Text(f"\n{cell}" if head else cell, style) for cell in cells))
    return table


def _rows(costs: Sequence[Cost]) -> Iterator[tuple[str, list[str]]]:
    def each(of: Callable[[Cost], str]) -> list[str]:
        return [of(one) for one in costs]

    yield "shared out", each(lambda one: "" if one.fits else "does not fit")
    yield "  ranks that train", each(lambda one: f"{one.layout.trainers:,}")
    if any(one.layout.servers for one in costs):
        yield "  servers", each(_servers)
    yield from _of_memory(costs)
    yield from _of_servers(costs)
    yield "a step", each(lambda one: seconds(one.seconds) if one.fits else "-")
    seen = {part.name for one in costs for part in one.parts}
    for name in [name for name in SATURATED if name in seen]:
        yield f"  {name}", each(lambda one: _part(one, name))  # noqa: B023
    yield (
        f"a run of {costs[0].run.steps:,} steps",
        each(lambda one: f"{_short(one.gpu_hours)} GPU h" if one.fits else "-"),
    )
    yield "  hours", each(lambda one: _short(one.hours) if one.fits else "-")
    verb = "sampled" if costs[0].run.draw.samples else "trained"
    yield f"  tokens {verb} a second", each(lambda one: f"{_short(one.tokens)}" if one.fits else "-")


def _servers(one: Cost) -> str:
    if one.layout.alone:
        return "this process"
    return f"{one.layout.servers:,} x {counted(one.layout.gpus, 'GPU')}" if one.layout.servers else "-"


def _of_memory(costs: Sequence[Cost]) -> Iterator[tuple[str, list[str]]]:
    yield "memory of a rank", [size(one.rank.peak) for one in costs]
    there = [{part.name: size(part.bytes) for part in _held(one)} for one in costs]
    for one, parts in zip(costs, there, strict=True):
        for name, count in one.rank.at_the_head.items():
            parts.setdefault(name, f"({size(count)})" if count else "-")
    for name in dict.fromkeys(name for parts in there for name in parts):
        yield f"  {name}", [parts.get(name, "-") for parts in there]
    yield "  of its GPU", [f"{one.rank.peak / one.gpu.memory:.0%}" for one in costs]


def _held(one: Cost) -> list[Part]:
    """What a rank holds at its worst moment."""
    return [part for part in one.rank.parts if part.phase in ("always", one.rank.worst)]


def _of_servers(costs: Sequence[Cost]) -> Iterator[tuple[str, list[str]]]:
    servers = [one.server for one in costs]
    if not any(servers):
        return
    yield "memory of a server", [size(one.weights + one.room) if one else "-" for one in servers]
    yield "  weights", [size(one.weights) if one else "-" for one in servers]
    yield "  room for keys and values", [size(one.room) if one else "-" for one in servers]
    yield "  answers at a time", [f"{one.rows:,}" if one else "-" for one in servers]


def _part(one: Cost, name: str) -> str:
    part = next((part for part in one.parts if part.name == name), None)
    if part is None or not one.fits:
        return "-"
    if part.seconds < 0.005 and part.hidden > 0.05:
        return f"{seconds(part.hidden)} hidden"
    return seconds(part.seconds)


def seconds(value: float) -> str:
    """0.12 s, 34 s, 410 s, 1,300 s."""
    if value < 0.005:
        return "0 s"
    return f"{value:.2g} s" if value < 10 else f"{value:,.0f} s"


def _short(number: float) -> str:
    """1.2 M, 340 k, 56, 0.31."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= unit:
            return f"{number / (1e3 if name == ' k' else unit):,.3g}{name}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def _scaled(number: float) -> str:
    """8 G, 223 k, 0.38, 4 m, 1.3 u."""
    for unit, name in ((1e9, " G"), (1e3, " k"), (1e-2, ""), (1e-3, " m"), (0.0, " u")):
        if number >= unit:
            return f"{number / (unit or 1e-6) if name else number:,.3g}{name}"
    return f"{number:g}"


# ------------------------------------------------------------------------------------------------- what to change


def _advice(costs: Sequence[Cost], console: Console) -> None:
    console.print(bold("what saturates first, and what to change"))
    for one in costs:
        console.print(joined("  ", bold(counted(one.count, "GPU"))), soft_wrap=True)
        for line in [*_refusal(one)] if not one.fits else [*_pace(one)]:
            console.print(joined("    ", line), soft_wrap=True)
    console.print()


def _refusal(one: Cost) -> Iterator[Text]:
    if one.refused:
        yield Text(f"{one.refused}: give it more GPUs, or a smaller model")
        return
    takes = size(one.rank.peak)
    yield Text(f"does not fit: a rank takes at least {takes}, and {one.gpu.name} has {size(int(one.gpu.memory))}")
    for way in one.rank.ways[:CHANGES]:
        yield joined(colored(" ".join(way.keys), "cyan"), dim(f"  -> {size(way.peak)}"))
    if not one.rank.ways:
        yield dim("no settings make it fit: take more GPUs, larger ones, or a smaller model")


def _pace(one: Cost) -> Iterator[Text]:
    first, whole = one.first, one.seconds
    yield Text(f"{SATURATED[first.name]}: {seconds(first.seconds)} of {seconds(whole)}")
    busy = next((part for part in one.parts if part.name == "driver"), None)
    sampling = sum(part.seconds for part in one.parts if part.phase == "sample")
    if busy and sampling and busy.hidden > BUSY * sampling:
        share = f"{busy.hidden / sampling:.0%}"
        yield dim(
            f"the driver parses answers' JSON for {share} of sampling, on one core; parsing in actors is not built"
        )
    if one.run.draw.units < one.layout.trainers:
        idle = one.layout.trainers - one.run.draw.units
        yield dim(f"{idle:,} ranks have nothing to do: an optimiser step has {one.run.draw.units:,} pieces")
    if one.why:
        shares = f"{one.layout.trainers:,} + {one.layout.sampling:,}"
        yield dim(f"{shares} is the fastest that fits ({one.why})")
    for change in one.changes[:CHANGES]:
        yield joined(colored(change.key, "cyan"), dim(f"  -> {seconds(change.seconds)}  {change.price}"))


# ------------------------------------------------------------------------------------------------------- formulas


def show_sources(result: Plan, console: Console) -> None:
    """Every figure with its formula and the numbers in it, every rate with its source."""
    for one in result.costs:
        console.print(joined("\n", bold(counted(one.count, "GPU"))))
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(style="dim")
        for held in _held(one):
            table.add_row(f"  {held.name}", size(held.bytes), held.formula)
        for part in one.parts if one.fits else ():
            table.add_row(f"  {part.name}", seconds(part.seconds), part.formula)
        console.print(table)
    console.print(joined("\n", bold("rates")))
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for name, rate in RATES.items():
        table.add_row(f"  {name}", _scaled(rate.value), joined(rate.means, dim(f" ({rate.source})")))
    table.add_row("  GPU", "", joined(result.costs[0].gpu.name, dim(f" ({result.costs[0].gpu.source})")))
    console.print(table)
