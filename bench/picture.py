"""Draw the live view of a finished run as docs/live.svg: `python -m bench.picture RUN [STEP]`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from postlude.runs import read
from postlude.runs.events import Opened, Phase, Start, from_row
from postlude.watch.live import LiveView


def draw(folder: Path, until: int, target: Path) -> None:
    """Replay the events of a run up to a step and save what the terminal shows."""
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    view = LiveView(console)
    history = read(folder)
    start, *rest = map(from_row, history.events)
    assert isinstance(start, Start)
    lr = history.recipe["schedule"]["lr"]
    view(Opened(0, start, str(folder), source="rollout", lr=lr, stop_at=None, resumed=False))
    view._steps_began -= history.timings[until - 1]["total"]
    for event in rest:
        if event.step <= until:
            view(event)
    view(Phase(until, "sample"))
    console.print(view)
    console.save_svg(str(target), title="postlude train")


if __name__ == "__main__":
    run = Path(sys.argv[1])
    draw(run, int(sys.argv[2]) if len(sys.argv) > 2 else 60, Path("docs/live.svg"))
