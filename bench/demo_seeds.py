"""The demo on several seeds, as a table in docs/demo.md: `make study` or `python -m bench.demo_seeds SEED...`."""

from __future__ import annotations

import io
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from postlude.cli.demo import Outcome, prepare_demo, run_demo

SEEDS = (71, 72, 73, 74, 75)
TARGET = Path("docs/demo.md")

HEAD = """\
# What the demo reaches

`make demo` trains the same small model with one seed. This table is made by `make study`, with seeds that were not
used while the recipes were chosen; every figure is measured on 384 held-out prompts (256 of them) that are
never trained on. "greedy" takes the most likely token, "sampled" draws at temperature 1; length is the mean number of
tokens of sampled answers; seconds are wall-clock of each run, two seeds at a time, so they
are an upper bound on what one takes.

| seed | SFT sampled | greedy | GRPO greedy | sampled | length | DRPO greedy | sampled | length | s SFT / GRPO / DRPO |
|---|---|---|---|---|---|---|---|---|---|
"""


def one(seed: int) -> dict[str, Outcome]:
    """The demo's rows by stage."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "demo"
        prepare_demo(folder, seed)
        outcomes = run_demo(folder, Console(file=io.StringIO()))
    return {o.stage: o for o in outcomes}


def line(name: str, rows: list[dict[str, Outcome]]) -> str:
    """A table line of medians over the rows (of one row: its values)."""

    def middle(stage: str, field: str) -> float:
        return statistics.median(getattr(r[stage], field) for r in rows)

    cells = [f"{middle('SFT', 'sampled'):.3f}", f"{middle('SFT', 'greedy'):.3f}"]
    for stage in ("GRPO", "DRPO"):
        cells += [
            f"{middle(stage, 'greedy'):.3f}",
            f"{middle(stage, 'sampled'):.3f}",
            f"{middle(stage, 'length'):.1f}",
        ]
    cells.append(" / ".join(f"{middle(s, 'seconds'):.0f}" for s in ("SFT", "GRPO", "DRPO")))
    return f"| {name} | " + " | ".join(cells) + " |"


def main(seeds: list[int]) -> None:
    rows: list[dict[str, Outcome]] = []
    lines = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:  # tiny models use one thread each
        for seed, outcome in zip(seeds, pool.map(one, seeds), strict=True):
            rows.append(outcome)
            lines.append(line(str(seed), [outcome]))
            print(lines[-1], flush=True)
    lines.append(line("**median**", rows))
    print(lines[-1])
    shorter = [1 - r["DRPO"].length / r["GRPO"].length for r in rows]
    closing = (
        f"\nDRPO's answers are {statistics.median(shorter):.0%} shorter than GRPO's (median of the seeds' ratios)."
    )
    print(closing)
    if seeds == list(SEEDS):
        TARGET.write_text(HEAD + "\n".join(lines) + "\n" + closing + "\n")


if __name__ == "__main__":
    main([int(s) for s in sys.argv[1:]] or list(SEEDS))
