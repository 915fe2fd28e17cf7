"""Draw the live view of a finished run as docs/live.svg: `python -m bench.picture RUN [STEP]`."""

from __future__ import annotations

import io
import sys
from pathlib import Path

from rich.console import Console

from postlude.runs import read
from postlude.watch.live import LiveView


def draw(folder: Path, until: int, target: Path) -> None:
    """Replay the events of a run up to a step and save what the terminal shows."""
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    view = LiveView(console)
    history = read(folder)
    lr = history.recipe["schedule"]["lr"]
    view({**history.events[0], "kind": "open", "folder": str(folder), "source": "rollout", "lr": lr})
    view._steps_began -= history.timings[until - 1]["total"]
    for event in history.events[1:]:
        if event["step"] <= until:
            view(event)
    view({"kind": "phase", "phase": "sample", "step": until})
    console.print(view)
    console.save_svg(str(target), title="postlude train")


if __name__ == "__main__":
    run = Path(sys.argv[1])
    draw(run, int(sys.argv[2]) if len(sys.argv) > 2 else 60, Path("docs/live.svg"))
