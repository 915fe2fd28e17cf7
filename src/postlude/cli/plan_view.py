"""How `postlude plan` looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import floor, log10
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from postlude.costing import shares
from postlude.facts.hardware import RATES
from postlude.terminal import bold, colored, dim, joined
from postlude.words import counted, size

if TYPE_CHECKING:
    from rich.console import Console

    from postlude.costing import Plan
    from postlude.sizing.cost import Cost
    from postlude.sizing.parts import Part
    from postlude.sizing.seconds import Seconds

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
GAP = 3
"""Spaces before a number."""
BUSY = 0.25
"""Of sampling, from which on the driver's JSON is spoken of."""


def show(result: Plan, what: str, console: Console) -> None:
    """The table, one column for each number of GPUs, and what to change."""
    _head(result, what, console)
    for line in _table(list(_rows(result.costs)), console.width):
        console.print(line, soft_wrap=True)
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
    memory = f"{size(gpu.memory)} of memory (sold as {gpu.memory / 2**30:.0f})"
    peak = f"{gpu.flops / 1e12:,.0f} TFLOP/s, {gpu.bandwidth / 1e12:.3g} TB/s, {memory}"
    console.print(dim(f"{batch}: {_short(draw.tokens)} tokens trained"), soft_wrap=True)
    console.print(dim(f"{gpu.name}: {peak}"), soft_wrap=True)


def _table(rows: Sequence[tuple[str, list[str]]], width: int) -> Iterator[Text]:
    """As many columns as fit side by side, the others below, with the names again: nothing is cut."""
    first = max(len(name) for name, _ in rows)
    wide = [GAP + max(map(len, column)) for column in zip(*(cells for _, cells in rows), strict=True)]
    for columns in _side_by_side(wide, width - first):
        for name, cells in rows:
            head = not name.startswith(" ")
            line = name.ljust(first) + "".join(cells[one].rjust(wide[one]) for one in columns)
            yield colored("\n" * head + line.rstrip(), "bold" if head else "dim" if name.startswith("    ") else "")


def _side_by_side(wide: Sequence[int], room: int) -> list[list[int]]:
    """Columns by their widths, one at least in each part."""
    every: list[list[int]] = [[]]
    for one, width in enumerate(wide):
        if every[-1] and sum(wide[other] for other in every[-1]) + width > room:
            every.append([])
        every[-1].append(one)
    return every


def _rows(costs: Sequence[Cost]) -> Iterator[tuple[str, list[str]]]:
    def each(of: Callable[[Cost], str]) -> list[str]:
        return [of(one) for one in costs]

    yield "", each(lambda one: counted(one.count, "GPU"))
    yield "shared out", each(_whose)
    yield "  ranks that train", each(lambda one: f"{one.layout.trainers:,}")
    if any(one.layout.servers for one in costs):
        yield "  servers", each(_servers)
    if any(one.idle for one in costs):
        yield "  idle", each(lambda one: f"{one.idle:,}" if one.idle else "-")
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


def _whose(one: Cost) -> str:
    if not one.fits:
        return "does not fit"
    return "as asked" if one.is_fixed else ""


def _servers(one: Cost) -> str:
    if one.layout.alone:
        return "this process"
    return f"{one.layout.servers:,} x {counted(one.layout.gpus, 'GPU')}" if one.layout.servers else "-"


def _of_memory(costs: Sequence[Cost]) -> Iterator[tuple[str, list[str]]]:
    yield "memory of a rank", [size(one.rank.peak) for one in costs]
    there = [{part.name: _bytes(part.bytes) for part in _held(one)} for one in costs]
    for one, parts in zip(costs, there, strict=True):
        for name, count in one.rank.at_the_head.items():
            parts.setdefault(name, f"({_bytes(count)})" if count else "-")
    for name in dict.fromkeys(name for parts in there for name in parts):
        yield f"  {name}", [parts.get(name, "-") for parts in there]
    yield "  of its GPU", [f"{two(100 * one.rank.peak / one.gpu.memory)}%" for one in costs]


def _held(one: Cost) -> list[Part]:
    """What a rank holds at its worst moment."""
    return [part for part in one.rank.parts if part.phase in ("always", one.rank.worst)]


def _of_servers(costs: Sequence[Cost]) -> Iterator[tuple[str, list[str]]]:
    servers = [one.server for one in costs]
    if not any(servers):
        return
    yield "memory of a server", [size(one.weights + one.room) if one else "-" for one in servers]
    yield "  weights", [size(one.weights) if one else "-" for one in servers]
    yield "  room for keys and values", [_bytes(one.room) if one else "-" for one in servers]
    yield "  answers at a time", [f"{one.rows:,}" if one else "-" for one in servers]


def _part(one: Cost, name: str) -> str:
    part = next((part for part in one.parts if part.name == name), None)
    if part is None or not one.fits:
        return "-"
    return _taken(part)


def _taken(part: Seconds) -> str:
    """The step is longer by; of what goes on beside other work to its end, how long that is."""
    return seconds(part.seconds) if part.seconds or not part.hidden else f"{seconds(part.hidden)} hidden"


def seconds(value: float) -> str:
    """Two digits that count: 0.12 s, 1.3 s, 410 s, 1,300 s, 6.1 ms, 0.31 us; - where there is nothing."""
    if not value:
        return "-"
    for scale, unit in ((1.0, "s"), (1e3, "ms")):
        if value * scale >= 0.0995:
            return f"{two(value * scale)} {unit}"
    return f"{two(value * 1e6)} us"


def two(number: float) -> str:
    """A number with two digits that count, more before the point: 0.012, 3.0, 45, 1,234."""
    near = float(f"{number:.1e}")
    digits = max(0, 1 - floor(log10(near))) if near > 0 else 0
    return f"{number:,.{digits}f}"


def _bytes(count: float) -> str:
    return size(count) if count else "-"


def _short(number: float) -> str:
    """1.2 M, 340 k, 56, 0.31."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if number >= unit:
            return f"{number / (1e3 if name == ' k' else unit):,.3g}{name}"
    return two(number)


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
    for layout, taken in one.others if one.is_fixed else ():
        yield Text(f"{shares(one.layout)} is what the recipe asks for; {shares(layout)} fits: {seconds(taken)}")
    if one.refused:
        yield Text(one.refused if one.is_fixed else f"{one.refused}: give it more GPUs, or a smaller model")
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
    yield from map(dim, _choice(one))
    for change in one.changes[:CHANGES]:
        anew = f" with {shares(change.layout)}" if change.layout != one.layout else ""
        yield joined(colored(change.key, "cyan"), dim(f"  -> {seconds(change.seconds)}{anew}  {change.price}"))


def _choice(one: Cost) -> Iterator[str]:
    """How GPUs were shared out, beside other ways."""
    others = "; ".join(f"{shares(layout)}: {seconds(taken)}" for layout, taken in one.others)
    if one.is_fixed:
        yield f"{shares(one.layout)} is what the recipe asks for" + (f"; faster is {others}" if others else "")
    elif others:
        yield f"{shares(one.layout)} is the fastest that fits ({others})"
    if one.idle:
        yield f"{counted(one.idle, 'GPU')} idle: no way to use more of them makes a step shorter"


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
            table.add_row(f"  {held.name}", _bytes(held.bytes), held.formula)
        for part in one.parts if one.fits else ():
            table.add_row(f"  {part.name}", _taken(part), part.formula)
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
