"""The table of `postlude engine check`, for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from postlude.preflight.trial import ServerTried, Tried
from postlude.terminal import bold, colored, dim, joined
from postlude.words import counted, size

WAYS = {
    "files": "each server reads a folder",
    "lora": "each server loads the adapter",
    "stream": "tensors go over a process group",
}
"""A way to publish -> what happens."""


def show(tried: Tried, recipe: str, console: Console) -> None:
    """Print all of it."""
    device = "a GPU" if tried.device == "cuda" else "the CPU"
    console.print(bold(f"postlude engine check {recipe}"), soft_wrap=True)
    console.print(dim(f"{tried.method}, {tried.model}, {tried.dtype}, trainer on {device}"), soft_wrap=True)
    console.print()
    console.print(_servers(tried.servers))
    console.print()
    console.print(_rest(tried))
    console.print()
    for note in tried.notes:
        console.print(dim(f"· {note}"))
    most = max(max(one.before.largest, one.after.largest) for one in tried.servers)
    agrees = f"  log-probs differ by {_nats(most)} nats at most, {tried.limit:g} is allowed in {tried.dtype}"
    console.print(joined(colored("ready", "bold green"), dim(agrees)), soft_wrap=True)


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


def _rest(tried: Tried) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
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
