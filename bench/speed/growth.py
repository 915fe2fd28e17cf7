"""How step time and memory grow with the workload, for postlude and TRL: `make bench-growth` draws docs/growth.svg."""

from __future__ import annotations

import json
import statistics
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.speed.__main__ import Worker
from bench.speed.cells import TINY, Cell, Shape
from bench.speed.material import save_data, save_model

BASE = Cell("growth", "", TINY, 0, 0, prompts=2, group=8, prompt=64, completion=48)
TARGET = Path("docs/growth.svg")
STEPS = 3


@dataclass(frozen=True)
class Axis:
    """One thing that grows, everything else as in `BASE`."""

    name: str
    cells: dict[float, Cell]


AXES = (
    Axis("answers per prompt", {n: replace(BASE, group=n) for n in (4, 8, 16, 32)}),
    Axis("completion, tokens", {n: replace(BASE, completion=n) for n in (24, 48, 96, 192)}),
    Axis("prompt, tokens", {n: replace(BASE, prompt=n) for n in (32, 128, 512)}),
    Axis("vocabulary", {n: replace(BASE, shape=replace(TINY, vocabulary=n)) for n in (58, 4_000, 32_000, 152_000)}),
    Axis(
        "parameters, millions",
        {round(s.parameters / 1e6, 1): replace(BASE, shape=s) for s in (TINY, Shape(5, 192, 6), Shape(7, 256, 8))},
    ),
)


def measure(cell: Cell) -> dict[str, tuple[float, float]]:
    """Contestant -> (CPU seconds of a step, peak MB)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_data(folder, cell)
        save_model(folder, cell.shape, natural=False)
        workers = {name: Worker(name, cell, folder) for name in ("postlude", "trl")}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
        try:
            for worker in workers.values():
                worker.answer()
                worker.step()
            for _ in range(STEPS):
                for name, worker in workers.items():
                    rows[name].append(worker.step())
        finally:
            for worker in workers.values():
                worker.end()
    return {n: (statistics.median(r["cpu"] for r in found), found[-1]["peak"]) for n, found in rows.items()}


def draw(figures: dict[str, dict[float, dict[str, tuple[float, float]]]]) -> None:
    """Two rows of small plots, time above memory."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "postlude"}
    figure, places = plt.subplots(2, len(figures), figsize=(3.1 * len(figures), 5), layout="constrained")
    for column, (axis, points) in enumerate(figures.items()):
        for row, what in enumerate(("CPU seconds per step", "peak MB")):
            place = places[row][column]
            for name, colour in (("TRL", "#b0b0b0"), ("postlude", "#1f5fa8")):
                values = [found[name.lower()][row] for found in points.values()]
                place.plot(list(points), values, marker="o", markersize=4, color=colour, label=name, linewidth=1.8)
            place.set_ylim(bottom=0)
            place.set_xlabel(axis)
            if axis == "vocabulary":
                place.set_xscale("log")
            if column == 0:
                place.set_ylabel(what)
    places[0][0].legend(frameon=False)
    figure.savefig(TARGET, metadata={"Date": None})


def main() -> None:
    figures: dict[str, dict[float, dict[str, tuple[float, float]]]] = {}
    for axis in AXES:
        figures[axis.name] = {}
        for at, cell in axis.cells.items():
            found = measure(cell)
            figures[axis.name][at] = found
            shown = ", ".join(f"{n} {s:.2f} s {mb:.0f} MB" for n, (s, mb) in found.items())
            print(f"{axis.name} {at:g}: {shown}", flush=True)
    TARGET.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    draw(figures)


if __name__ == "__main__":
    main()
