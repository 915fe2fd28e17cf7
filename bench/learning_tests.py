"""What the tests of learning reach on several seeds: `make study-tests`, or `python -m bench.learning_tests NAME...`.

The settings and bounds are those of `tests/cases.py`, which the tests use. Ends with 1 where the worst seed comes too
close to a bound.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from tests.cases import CASES
from tests.learning import SEEDS, add_judged, make_world

TARGET = Path("docs/learning-tests.md")
HEAD = """\
# What the tests of learning reach

Made by `make study-tests` from `tests/cases.py`, whose settings are those that the tests use. A seed is one of data,
model and run at once; the suite tries seed 0. A case trains a model of 0.2 M parameters, in float64, so that what it
samples is the same on every processor (`make test-processors`); bf16 alone is not. "change" is from the first to the
last measurement, of 16 held-out prompts.

A bound has to tell learning from none, and to hold after a change that moves what is sampled. So the worst of the
seeds must keep it by far: by the room that the case says, at least.

| case | bound | {seeds} | worst keeps it by | room wanted |
|---|---|{lines}---|---|
"""
Values = dict[tuple[str, str], float]
"""(case, bound) -> value."""


def one(seed: int, names: Sequence[str]) -> Values:
    """All cases, or those named, in a world of this seed."""
    import torch

    torch.set_num_threads(1)
    found: Values = {}
    with tempfile.TemporaryDirectory() as place:
        world = add_judged(make_world(Path(place), seed), seed)
        for case in CASES:
            if not names or case.name in names:
                outcome = case.learn(world, seed)
                own = {str(p): p.value(outcome.first, outcome.last) for p in case.promises}
                found |= {(case.name, promise): value for promise, value in own.items()}
                print(seed, case.name, *(f"{value:.3f} ({promise})" for promise, value in own.items()), flush=True)
    return found


def table(rows: Sequence[Values]) -> tuple[list[str], list[str]]:
    """Lines of the table, and what comes too close to its bound."""
    lines, close = [], []
    for case in CASES:
        for promise in case.promises:
            key = case.name, str(promise)
            if key not in rows[0]:
                continue
            values = [row[key] for row in rows]
            worst = min(map(promise.margin, values))
            cells = [case.name, str(promise), *(f"{v:.3f}" for v in values), f"{worst:.3f}", f"{promise.room:g}"]
            lines.append(f"| {' | '.join(cells)} |")
            if worst < promise.room:
                close.append(f"{case.name}: {promise}, and the worst seed keeps it by {worst:.3f} only")
    return lines, close


def main(names: Sequence[str]) -> int:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:  # tiny models use one thread each
        rows = list(pool.map(one, SEEDS, [names] * len(SEEDS)))
    lines, close = table(rows)
    text = (
        HEAD.format(seeds=" | ".join(f"seed {s}" for s in SEEDS), lines="---|" * len(SEEDS)) + "\n".join(lines) + "\n"
    )
    print(text, *close, sep="\n")
    if not names:
        TARGET.write_text(text)
    return 1 if close else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
