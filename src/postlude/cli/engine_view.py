"""The table of `postlude engine check`, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from postlude.preflight.ranks_trial import RanksTried
from postlude.preflight.trial import ServerTried, Tried, TriedRanks
from postlude.terminal import bold, colored, dim, joined
from postlude.words import counted, size

WAYS = {
    "files": "each server reads a folder",
    "lora": "each server loads the adapter",
    "stream": "tensors go over a process group",
}
"""A way to publish -> what happens."""
MOST_RANKS = 16
"""That have a row of their own."""


def show(tried: Tried | TriedRanks, recipe: str, console: Console) -> None:
    """Print all of it."""
    device = "a GPU" if tried.device == "cuda" else "the CPU"
    ranks = tried.ranks
    trainer = f"{len(ranks.ranks)} trainer ranks" if ranks else "trainer"
    console.print(bold(f"postlude engine check {recipe}"), soft_wrap=True)
    console.print(dim(f"{tried.method}, {tried.model}, {tried.dtype}, {trainer} on {device}"), soft_wrap=True)
    console.print()
    if ranks:
        console.print(_ranks(ranks))
        console.print()
        console.print(_of_ranks(tried, ranks))
        console.print()
    if isinstance(tried, Tried):
        console.print(_servers(tried.servers))
        console.print()
        console.print(_rest(tried))
        console.print()
    for note in tried.notes:
        console.print(dim(f"· {note}"))
    console.print(joined(colored("ready", "bold green"), dim(f"  {_verdict(tried)}")), soft_wrap=True)


def _verdict(tried: Tried | TriedRanks) -> str:
    if isinstance(tried, Tried):
        most = max(max(one.before.largest, one.after.largest) for one in tried.servers)
        return f"log-probs differ by {_nats(most)} nats at most, {tried.limit:g} is allowed in {tried.dtype}"
    apart = tried.ranks.sampler
    if apart is None:
        return "started, trained, saved"
    return (
        f"log-probs of sampler and ranks differ by {_nats(apart.mean)} nats per token on average, "
        f"{tried.ranks.allowed:g} is allowed in {tried.dtype}"
    )


def _ranks(tried: RanksTried) -> Table:
    """A row for each rank, those of one host together where they are many."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    on_gpus = any(one.device is not None for one in tried.ranks)
    for heading, justify in (("rank", "left"), ("host", "left"), ("memory", "right"), ("GPU memory", "right")):
        if on_gpus or heading != "GPU memory":
            table.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for rank, one in list(enumerate(tried.ranks))[:MOST_RANKS]:
        held = "-" if one.resident is None else size(one.resident)
        row = [str(rank), one.host, held]
        table.add_row(*row, *(["-" if one.device is None else size(one.device)] if on_gpus else []))
    if len(tried.ranks) > MOST_RANKS:
        table.add_row("...", f"{len(tried.ranks) - MOST_RANKS} more", "")
    return table


def _of_ranks(tried: Tried | TriedRanks, ranks: RanksTried) -> Table:
    table = _grid()
    table.add_row("start", f"{_seconds(ranks.started)} until all had their model\n{ranks.topology}")
    passed = f"{_seconds(ranks.forward)} without a gradient, {_seconds(ranks.update)} an update"
    even = f"the fullest rank had {ranks.imbalance:.2f} times the mean of it"
    table.add_row("passes", f"{passed}, of {counted(ranks.tokens, 'token')}\n{even}")
    if ranks.gather is not None:
        table.add_row("gather", f"{_seconds(ranks.gather)} from the ranks into a file for whoever samples")
    table.add_row("checkpoint", f"{_seconds(ranks.save)}, {size(ranks.checkpoint)}")
    if isinstance(tried, TriedRanks) and tried.answers:
        rate = f"{tried.answers / tried.seconds:.3g} answers and {tried.tokens / tried.seconds:,.0f} tokens a second"
        held = f", {size(tried.driver)} of memory" if tried.driver is not None else ""
        table.add_row("sampling", f"{rate}, in this process{held}")
    if ranks.restart:
        again = "the same numbers to the last bit" if ranks.restart.same else "other numbers than before"
        table.add_row(
            "killed",
            f"rank {ranks.restart.rank}; {_seconds(ranks.restart.seconds)} until the next pass: {again}",
        )
    return table


def _servers(servers: list[ServerTried]) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("\nserver", overflow="fold")
    table.add_column("\nvLLM", no_wrap=True)
    for heading in ("\nstart", "\nmemory", "log-prob error\nbefore", "\nafter"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in servers:
        started = "ran already" if one.started is None else _seconds(one.started)
        memory = "-" if one.memory is None else size(one.memory)
        errors = (_nats(one.before.largest), _nats(one.after.largest))
        table.add_row(_short(one.name), one.vllm, started, memory, *errors)
    return table


def _short(name: str) -> str:
    """`1 (127.0.0.1:8000)` of a server's name."""
    return name.removeprefix("server ").replace("http://", "")


def _nats(value: float) -> str:
    return f"{value:.1e}"


def _grid() -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _rest(tried: Tried) -> Table:
    table = _grid()
    how = f"{tried.way}{' (auto)' if tried.chosen else ''}: {WAYS.get(tried.way, '')}"
    times = f"written {_seconds(tried.write)}, taken {_seconds(tried.publish)}, compared {_seconds(tried.handshake)}"
    table.add_row("publish", f"{how}\n{times}")
    table.add_row("disk", f"{size(tried.version)} a version, {size(tried.commit)} a checkpoint")
    known = [one.memory for one in tried.servers if one.memory is not None]
    servers = f"; {counted(len(known), 'server')} {size(sum(known))}" if known else ""
    table.add_row("memory", f"trainer {size(tried.trainer) if tried.trainer is not None else '-'}{servers}")
    rate = f"{tried.answers / tried.seconds:.3g} answers and {tried.tokens / tried.seconds:,.0f} tokens a second"
    table.add_row(
        "sampling",
        f"{rate}\n{counted(tried.answers, 'answer')}, {counted(tried.tokens, 'token')}, {_seconds(tried.seconds)}",
    )
    return table


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 9.95 else f"{value:.2g} s"
