"""postlude status, stop and checkpoint: a run that another process is at work on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from postlude.runs import live
from postlude.terminal import Screen, colored
from postlude.watch.live import duration
from postlude.words import cut

MOST = 200
"""Characters of who is waited for."""
RUN = Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)]


def status(run: RUN) -> None:
    """Say how a run stands: its phase, its step, and how far the phase is."""
    now = live.status(run)
    screen = Screen()
    ended = now.phase in ("done", "interrupted", "error")
    state = now.phase if now.running or ended else "not running: its process ended without a word"
    screen.print(f"{run}  {state}  step {now.step}" + (f"/{now.steps}" if now.steps else ""))
    if ended and now.error is not None:
        screen.print(colored(f"  {now.error}", "red"), soft_wrap=True)
    if now.running and now.done is not None:
        screen.print(
            f"  {now.done:,}" + (f" of {now.total:,}" if now.total else "") + f" in this phase, process {now.pid}"
        )
    if now.running:
        screen.print(f"  last heard of {duration(time.time() - now.heartbeat)} ago")
    if now.running and now.waiting:
        screen.print(f"  waiting: {cut(now.waiting, MOST)}", soft_wrap=True)
    elif now.silent:
        screen.print("  it has said nothing for a minute: it loads something large, or hangs")


def stop(run: RUN) -> None:
    """Let a run finish its step, save and end, as Ctrl-C in its own terminal does."""
    live.stop(run)
    Screen().print(
        f"{run} will finish its step, save and end. Go on with: postlude train {run} --resume", soft_wrap=True
    )


def checkpoint(run: RUN) -> None:
    """Let a run save a checkpoint after the step it is at, and go on."""
    live.checkpoint(run)
    Screen().print(f"{run} will save a checkpoint after this step.")
