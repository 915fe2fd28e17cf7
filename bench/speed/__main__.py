"""`make bench`: every cell, as a table in docs/performance.md and as JSON beside it; `--quick` a few of them."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.speed import limits
from bench.speed.cells import CELLS, Cell
from bench.speed.frozen import difference
from bench.speed.material import real_model, save_data, save_model, save_scorer, taught_model
from bench.speed.result import Result, line, write_page

PAIRS, SHIPPED, WARM_UP = 5, 3, 2
REAL_PAIRS = 3
"""Of a real model: a step takes half a minute."""


class Worker:
    """A contestant's process."""

    def __init__(self, contestant: str, cell: Cell, folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.log = (folder / f"{contestant}.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.speed.worker", contestant, json.dumps(asdict(cell)), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=environment,
        )
        self.contestant = contestant

    def answer(self) -> dict[str, Any]:
        """The next report."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.contestant} ended:\n{Path(self.log.name).read_text()[-3000:]}")
        return json.loads(line)

    def step(self) -> dict[str, Any]:
        """One step and what it cost."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


def cost(cell: Cell, row: dict[str, Any]) -> float:
    """CPU seconds of a step, or of a token."""
    return row["cpu"] / max(row["tokens"], 1) if cell.natural or cell.kind == "sft" else row["cpu"]


def compare(cell: Cell, folder: Path, machine: limits.Machine) -> Result:
    """Both contestants in alternation; the frozen batch is compared before anything is timed."""
    names = ["postlude", "trl"] + ([] if cell.packing or cell.real else ["trl-shipped"])
    workers = {name: Worker(name, cell, folder) for name in names}
    try:
        for worker in workers.values():
            worker.answer()
        warm = {name: [worker.step() for _ in range(WARM_UP)] for name, worker in workers.items()}
        check = difference(cell, folder, warm)
        pairs = []
        for i in range(REAL_PAIRS if cell.real else PAIRS):
            pairs.append({n: w.step() for n, w in workers.items() if n != "trl-shipped" or i < SHIPPED})
    finally:
        for worker in workers.values():
            worker.end()
    if (cell.kind == "grpo" and not cell.natural) or cell.compared:
        counts = [{row["tokens"] for row in pair.values()} for pair in pairs]
        assert all(len(found) == 1 for found in counts), f"{cell.name}: unequal token counts {counts}"
    costs = {name: [cost(cell, pair[name]) for pair in pairs if name in pair] for name in names}
    ratios = [t / o for t, o in zip(costs["trl"], costs["postlude"], strict=True)]
    shipped = None
    if "trl-shipped" in costs:
        shipped = statistics.median(t / o for t, o in zip(costs["trl-shipped"], costs["postlude"], strict=False))
    peaks = {name: max(pair[name]["peak"] for pair in pairs) for name in ("postlude", "trl")}
    tokens = statistics.mean(pair["postlude"]["tokens"] for pair in pairs)
    ours = statistics.median(costs["postlude"])
    per_step = ours * (tokens if cell.natural or cell.kind == "sft" else 1)
    return Result(
        cell,
        ours,
        statistics.median(costs["trl"]),
        statistics.median(ratios),
        (min(ratios), max(ratios)),
        shipped,
        peaks["trl"] / peaks["postlude"],
        peaks["postlude"],
        limits.share(cell, machine, tokens, per_step),
        check,
    )


def totals(cell: Cell, folder: Path) -> Result:
    """Cells that count a process from its start: until its first step, or until the goal."""
    runs = 3
    found: dict[str, list[dict[str, Any]]] = {"postlude": [], "trl": []}
    for _ in range(runs):
        for name, rows in found.items():
            worker = Worker(name, cell, folder)
            try:
                rows.append(worker.answer() if cell.kind == "cold" else _until_goal(worker))
            finally:
                worker.end()
    ratios = [t["total"] / o["total"] for t, o in zip(found["trl"], found["postlude"], strict=True)]
    ours, theirs = (statistics.median(r["total"] for r in found[n]) for n in ("postlude", "trl"))
    memory = found["trl"][0]["peak"] / found["postlude"][0]["peak"]
    steps = "" if cell.kind == "cold" else f"steps {[r['steps'] for rows in found.values() for r in rows]}"
    peak = found["postlude"][0]["peak"]
    return Result(
        cell, ours, theirs, statistics.median(ratios), (min(ratios), max(ratios)), None, memory, peak, None, steps
    )


def _until_goal(worker: Worker, goal: float = 0.9, window: int = 5) -> dict[str, Any]:
    """Steps until the mean accuracy of the last `window` batches reaches the goal."""
    worker.answer()
    seen: list[float] = []
    while True:
        row = worker.step()
        seen.append(row["accuracy"] or 0.0)
        if len(seen) >= window and statistics.mean(seen[-window:]) >= goal:
            return {**row, "steps": len(seen)}
        if len(seen) >= 390:
            raise SystemExit(f"{worker.contestant} did not reach {goal} in {len(seen)} steps")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cells", nargs="*", help="names, e.g. A1 B2")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and .json")
    wanted = parser.parse_args()
    chosen = [c for c in CELLS if c.quick or not wanted.quick]
    if wanted.cells:
        chosen = [c for name in wanted.cells for c in CELLS if c.name == name]
    machine = limits.measure()
    print(machine.text, flush=True)
    results = []
    for cell in chosen:
        if cell.real and not Path(cell.shape.folder).exists():
            print(f"| {cell.name} | left out: {cell.shape.folder} is not here (make real-model)", flush=True)
            continue
        if not machine.serves(cell.dtype):
            print(f"| {cell.name} | left out: {cell.dtype} products are emulated here", flush=True)
            continue
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            save_data(folder, cell)
            if cell.kind == "goal":
                taught_model(folder)
            elif cell.real:
                real_model(folder, Path(cell.shape.folder))
            else:
                save_model(folder, cell.shape, cell.natural)
            if cell.kind == "reward_model":
                save_scorer(folder)
            began = time.monotonic()
            whole = cell.kind in ("cold", "goal")
            found = totals(cell, folder) if whole else compare(cell, folder, machine)
            results.append(replace(found, run=machine.run))
        print(f"{line(results[-1])} {results[-1].check} ({time.monotonic() - began:.0f} s)", flush=True)
        if wanted.write:  # after every cell: an interrupted run keeps what it measured
            write_page(results, machine)


if __name__ == "__main__":
    main()
