"""postlude memory"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Annotated

import typer

from postlude.terminal import Screen
from postlude.words import size

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from postlude.sizing import Estimate


def memory(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|MODEL",
            help="A recipe, a method or a run's folder; or a model: its folder, a name in Hugging Face's cache, or a "
            "size such as 7B.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings on top of the recipe's, dots go inside."),
    ] = None,
    method: Annotated[str | None, typer.Option(help="With a model: what it is trained by. Default: grpo.")] = None,
    gpu_memory: Annotated[float | None, typer.Option(help="GiB of a GPU. Default: as much as the run likes.")] = None,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1, max=100_000, help="What each of so many ranks takes. Default: engine.trainers, which is 1 by itself."
        ),
    ] = None,
    data_lengths: Annotated[
        str | None,
        typer.Option(
            metavar="P,A", help="Tokens of the longest prompt and answer. Default: those of the data, else 512,256."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """What a run takes of memory, part by part and phase by phase, before anything is loaded; and what would take less.

    postlude memory 8B --method ppo
    postlude memory recipe.yaml model.lora.rank=16 --gpu-memory 24
    """
    from postlude.footprint import Lengths, forecast

    lengths = Lengths.of(data_lengths) if data_lengths else None
    whole = forecast(what, overrides or [], method, gpu_memory, gpus, lengths)
    if as_json:
        typer.echo(json.dumps(to_json(whole), allow_nan=False))
    else:
        show(whole, Screen())


def to_json(whole: Estimate) -> dict[str, object]:
    """The same as plain values; bytes. `fits` is null where no device's memory was named."""
    plan, least, ways = whole.plan, whole.least, whole.ways
    return {
        "model": whole.shape.name,
        "parameters": whole.shape.parameters,
        "method": whole.setting.method,
        "dtype": whole.setting.dtype,
        "device": whole.setting.device,
        "peak": whole.peak,
        "worst": whole.worst,
        "phases": whole.phases,
        "parts": [
            {"name": part.name, "phase": part.phase, "bytes": part.bytes, "formula": part.formula}
            for part in whole.parts
        ],
        "fits": whole.fits,
        "room": whole.setting.room,
        "refused": whole.refused,
        "needed": whole.needed if whole.fits is False else None,
        "ways": [{"keys": list(way.keys), "peak": way.peak} for way in ways],
        "largest": whole.largest if whole.fits is False and not ways else None,
        "least": {"token_budget": least.plan.token_budget, "peak": least.peak, "device_peak": least.peak},
        "rank": {"ranks": whole.setting.ranks, "bytes": whole.peak},
        "chosen": {"token_budget": plan.token_budget, "head_chunk": plan.head_chunk, "cache_bytes": plan.cache_bytes},
        "knobs": [
            {"key": knob.key, "saves": knob.saves, "peak": knob.peak, "costs": knob.costs} for knob in whole.knobs
        ],
        "notes": list(whole.notes),
    }


def show(whole: Estimate, console: Console) -> None:
    """The table of parts, the peak, and what would take less."""
    from postlude.terminal import bold, dim, joined

    setting, work = whole.setting, whole.setting.work
    trains = f"LoRA of rank {setting.lora.rank}" if setting.lora else "all weights"
    lengths = f"prompts of {work.prompt:,} and answers of {work.answer:,} tokens" if work.answer else "no rows known"
    console.print(
        joined(bold(f"postlude memory {whole.shape.name}"), dim(f"  {setting.method}, {trains}, {setting.dtype}")),
        soft_wrap=True,
    )
    console.print(dim(f"{whole.shape.parameters:,} parameters; {lengths}; {_batch(whole)}"), soft_wrap=True)
    console.print(_table(whole))
    console.print()
    _totals(whole, console)
    _knobs(whole, console)
    for note in whole.notes:
        console.print(dim(f"· {note}"))


def _batch(whole: Estimate) -> str:
    plan, update = whole.plan, whole.setting.work.update
    largest = min(update, plan.token_budget) if update else plan.token_budget
    return f"micro-batches of {largest:,} tokens"


def _table(whole: Estimate) -> object:
    from rich.table import Table
    from rich.text import Text

    from postlude.sizing.parts import PHASES

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    heads = [("always", "always there", whole.always, "")]
    heads += [(name, name, whole.phases.get(name, 0), text.partition(": ")[2]) for name, text in PHASES.items()]
    for phase, title, total, what in heads:
        parts = [part for part in whole.parts if part.phase == phase]
        if not parts:
            continue
        table.add_row(Text(f"\n{title}", "bold"), Text(f"\n{size(total)}", "bold"), f"\n{what}")
        for part in parts:
            table.add_row(f"  {part.name}", size(part.bytes), part.formula)
    return table


def _totals(whole: Estimate, console: Console) -> None:
    from postlude.terminal import bold, dim, joined

    ranks = whole.setting.ranks
    where = f", at {whole.at}" if whole.worst == "update" else ""
    title = "least peak" if whole.refused else "peak"
    title += f" of each of {ranks:,} ranks" if ranks > 1 else ""
    console.print(joined(bold(f"{title} {size(whole.peak)}"), f"  while {whole.worst}{where}"), soft_wrap=True)
    if ranks > 1 and whole.setting.device == "cpu":
        console.print(dim(f"on one machine {size(ranks * whole.peak)}, beside the process that samples"))
    least = whole.least
    if least.peak < 0.99 * whole.peak:
        console.print(
            dim(
                f"at least {size(least.peak)}, with micro-batches of {least.plan.token_budget:,} tokens and the "
                "smallest cache: the engine makes both as large as fits, and results do not change"
            )
        )
    _verdict(whole, console)


def _verdict(whole: Estimate, console: Console) -> None:
    """Whether it fits, and what makes it fit."""
    from postlude.terminal import bold, dim, joined

    if whole.fits is None:
        return
    room = f"{(whole.setting.room or 0) / 2**30:g} GiB"
    if whole.fits:
        console.print(bold(f"fits {room}"))
        return
    takes = f"at least {size(whole.peak)}" if whole.refused else f"{size(whole.peak)} as it is set"
    on_each = " on each rank" if whole.setting.ranks > 1 else ""
    console.print(joined(bold(f"does not fit {room}: takes {takes}{on_each}"), dim(_enough(whole))))
    if whole.ways:
        console.print("\nwhat makes it fit")
        for way in whole.ways:
            console.print(joined(_keys(way.keys), dim(f"  -> {size(way.peak)}")), soft_wrap=True)
        return
    leanest = "model.lora.rank=16 engine.dtype=bfloat16 engine.gradient_checkpointing=true"
    largest = f"the largest usual size that fits it with these is {whole.largest}" if whole.largest else "nothing does"
    console.print(f"no settings make it fit, not even {leanest}; {largest}")


def _enough(whole: Estimate) -> str:
    """The smallest device that would do."""
    return f" (a GPU of {ceil(whole.needed / 2**30):,} GiB would do: the engine keeps some room)"


def _keys(keys: Sequence[str]) -> Text:
    """Settings that belong together."""
    from postlude.terminal import colored

    return colored(f"  {' '.join(keys)}", "cyan")


WIDE = 120
"""Columns from which on what a setting costs stands beside it, and not below."""


def _knobs(whole: Estimate, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    if not whole.knobs:
        return
    console.print(f"\nwhat would take less{' of that least' if whole.refused else ''}")
    wide = console.width >= WIDE
    table = Table.grid(padding=(0, 2))
    for _ in range(2):
        table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=wide)
    for knob in whole.knobs:
        setting = Text(knob.key, "cyan")
        setting.append(f"{'  ' if wide else chr(10)}{knob.costs}", "dim")
        table.add_row(f"  -{size(knob.saves)}", f"-> {size(knob.peak)}", setting)
    console.print(table)
