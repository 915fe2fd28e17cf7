"""postlude data check"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from postlude.cli import options as opt
from postlude.cli.data import Chat, reading_of, sums
from postlude.errors import ConfigError, DataError, visible
from postlude.terminal import Screen, colored, dim, joined
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.rewards.rewards import Rewards
    from postlude.screening.checked import Need
    from postlude.screening.findings import Finding
    from postlude.screening.mending import Mended
    from postlude.screening.screen import Screened
    from postlude.screening.uses import Use
    from postlude.sources.forms import Reading
    from postlude.sources.table import Balance

METHODS_SHOWN = 6
WELL_KNOWN = ("sft", "grpo", "dapo", "ppo", "dpo", "kto", "reward_model")
"""Methods that are named first."""


def check(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="FILE", help="A file, saved data set or hf:OWNER/NAME.")],
    method: Annotated[
        str | None,
        typer.Option("--for", help="The method that is to learn from it. Default: what the file is good for is said."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model folder or hub id: its tokenizer, template and context are checked too.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option(help="A reward (exact, maths, code, my.py:fn): can it read every right answer?")
    ] = None,
    reward_args: opt.RewardArgs = None,
    held_out: Annotated[str | None, typer.Option("--eval", help="Held-out rows: none may be trained on.")] = None,
    fix: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write the good rows, mended, to OUT, and the others with reasons beside it."),
    ] = None,
    columns: opt.Columns = None,
    chat: Chat = False,
    split: opt.Split = "train",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")] = False,
) -> None:
    """Read a whole file: what it is good for, how many rows are good, what is wrong. Exit code 2 where rows are bad.

    postlude data check pairs.jsonl --for dpo --model my-model
    postlude data check sums.jsonl --for grpo --reward maths --eval held-out.jsonl
    postlude data check pairs.csv --fix better.csv
    """
    if reward is None:
        opt.require_read(context, "there is no --reward", "reward_args")
    try:
        need, rewards = _need(method, reward, reward_args)
        screened, mended = _looked_at(
            Files(source, split, held_out, fix), need, model, reading_of(columns, chat), rewards
        )
    except (ConfigError, DataError) as error:
        if as_json:
            print(json.dumps({"file": source, "problems": [opt.problem_values(p) for p in error.problems]}))
            raise typer.Exit(error.exit_code) from error
        raise
    if as_json:
        print(json.dumps(as_values(source, screened, mended), default=str))
    else:
        show(source, screened, mended, fix)
        screened.table.require_clean("stop", None if fix else f"postlude data check {source} --fix OUT")
    if screened.table.problems:
        raise typer.Exit(2)


@dataclass(frozen=True)
class Files:
    """What is read, and what is written."""

    source: str
    split: str
    held_out: str | None
    target: Path | None


def _looked_at(
    files: Files, need: Need | None, model: str | None, reading: Reading, rewards: Rewards | None
) -> tuple[Screened, Mended | None]:
    """The file looked at, compared with a held-out one and mended, as far as that is asked for."""
    from postlude.screening.mending import mend, require_target
    from postlude.screening.screen import look_for_leaks, screen
    from postlude.sources.reading import read

    if files.target:
        require_target(files.source, files.target)
        opt.require_free(files.target, force=False, option="--fix")
    table = read(files.source, files.split)
    held_out = read(files.held_out, files.split) if files.held_out else None
    screened = screen(table, need, model, reading, rewards)
    if held_out:
        look_for_leaks(screened, held_out, reading)
    mended = mend(screened, files.target) if files.target else None
    if files.target and mended:
        _write(mended, screened, files.source, files.target, model, reading)
    return screened, mended


def _need(method: str | None, reward: str | None, arguments: str | None) -> tuple[Need | None, Rewards | None]:
    """What the rows have to be, and the rewards that are to read them."""
    from postlude.algorithms import ALGORITHMS
    from postlude.cli.scoring import rewards_of
    from postlude.screening.checked import Need
    from postlude.words import meant

    if method is not None and method not in ALGORITHMS:
        hint = meant(method, ALGORITHMS) or " `postlude methods` lists them."
        raise ConfigError(f"--for: there is no method {method!r}.{hint}", code="unknown-method")
    need = Need.of(ALGORITHMS[method]) if method is not None else None
    if reward is None:
        return need, None
    if need is not None and need.source != "rollout":
        raise ConfigError(
            f"--reward would have no effect: {method} learns from answers that are there.", code="no-effect"
        )
    return Need("rollout"), rewards_of([reward], arguments)


def _write(mended: Mended, screened: Screened, source: str, target: Path, model: str | None, reading: Reading) -> None:
    """Write what was mended, once reading it again shows nothing wrong with any row."""
    from postlude.screening.mending import part_of, put, require_clean, write

    part = part_of(target)
    try:
        write(mended, screened.table, source, part)
        require_clean(part, len(mended.rows), screened, model, reading)
        put(mended, screened.table, part, target)
    except OSError as error:
        raise ConfigError(f"--fix: cannot write {str(target)!r}: {error.strerror}.", code="cannot-write") from error
    finally:
        part.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- printing


def show(source: str, screened: Screened, mended: Mended | None, target: Path | None) -> None:
    """What the file is, the counts, what is to be looked at; then what is wrong, to standard error."""
    console = Screen()
    table = screened.table
    console.print(f"{source}: {table.form}", soft_wrap=True)
    for note in table.notes:
        console.print(note.removeprefix(f"{source}: "), soft_wrap=True)
    _show_uses(console, screened)
    console.print(sums(_blocks(screened.balance)))
    for what, n in screened.balance.changed.items():
        console.print(f"in {counted(n, 'row')} {what}", soft_wrap=True)
    if screened.checked.tokens:
        tokens = screened.checked.tokens
        console.print(f"tokens per row: {min(tokens):,} to {max(tokens):,}")
    for finding in sorted(screened.findings, key=lambda finding: not finding.warning):
        mark = colored("! ", "yellow") if finding.warning else dim("  ")
        console.print(joined(mark, visible(finding.sentence)), soft_wrap=True)
    if mended and mended.balance and target:
        _show_mended(console, mended, target)


def _show_uses(console: Console, screened: Screened) -> None:
    for use in screened.uses:
        if use.rows:
            names = sorted(use.methods, key=lambda name: name not in WELL_KNOWN)
            more = f" and {len(names) - METHODS_SHOWN} more" if len(names) > METHODS_SHOWN else ""
            console.print(f"good as {use.name} for {', '.join(names[:METHODS_SHOWN])}{more}", soft_wrap=True)


def _blocks(balance: Balance, used: str = "used") -> list[dict[str, int]]:
    """Counts as `sums` shows them: every line of the file that holds a row, or nothing."""
    name = "rows and blank lines" if balance.blank else "rows read"
    read = {name: balance.read + balance.blank, used: balance.used}
    read |= {f"rejected: {code}": n for code, n in sorted(balance.rejected.items())} | {"blank lines": balance.blank}
    return [read]


def _show_mended(console: Console, mended: Mended, target: Path) -> None:
    from postlude.screening.mending import rejected_of

    assert mended.balance is not None
    console.print(sums(_blocks(mended.balance, "written")))
    for what, n in (+mended.mends).items():
        console.print(f"  mended: {what}: {n:,}")
    console.print(f"saved to {target}, what was left out to {rejected_of(target)}", soft_wrap=True)


# ----------------------------------------------------------------------------------------------------------- JSON


def as_values(source: str, screened: Screened, mended: Mended | None) -> dict[str, Any]:
    """Everything that is shown, as plain values."""
    table = screened.table
    values: dict[str, Any] = {
        "file": source,
        "form": table.form,
        "notes": table.notes,
        "uses": [_use(use) for use in screened.uses],
        **_counts(screened.balance),
        "tokens": [min(screened.checked.tokens), max(screened.checked.tokens)] if screened.checked.tokens else None,
        "problems": [opt.problem_values(problem) for problem in table.shown()],
        "findings": [_finding(finding) for finding in screened.findings],
    }
    if mended and mended.balance:
        values["fixed"] = {**_counts(mended.balance), "mends": dict(+mended.mends)}
    return values


def _counts(balance: Balance) -> dict[str, Any]:
    return {
        "read": balance.read,
        "used": balance.used,
        "rejected": dict(balance.rejected),
        "blank": balance.blank,
        "changed": dict(balance.changed),
    }


def _use(use: Use) -> dict[str, Any]:
    return {"as": use.name, "rows": use.rows, "methods": use.methods, "problem": use.problem}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "rows": finding.count,
        "of": finding.of,
        "text": finding.sentence,
        "warning": finding.warning,
        **({"figures": finding.figures} if finding.figures else {}),
        **({"by_reason": finding.rows} if finding.rows else {}),
    }
