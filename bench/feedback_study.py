"""Every method that learns from feedback or has a critic, on one embedded task: `make feedback-study`.

Each runs its recipe of recipes/tiny on the data of `postlude demo rlhf`, from the same taught model.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from postlude import runs
from postlude.errors import PostludeError

SEEDS = (61, 62)
RECIPES = Path("recipes/tiny")
TARGET = Path("docs/feedback-study.md")

HEAD = """\
# Methods that learn from feedback, on one embedded task

Made by `make feedback-study`: medians over seeds {seeds} (smallest and largest). The task and its data are those
of `postlude demo rlhf`: add five digits, a line each; a taught model of 0.6 M parameters, its own answers judged by
labellers who know the sum. Every method runs its recipe of `recipes/tiny` from the same taught model. "sampled" is the
share of right answers at temperature 1 on 128 held-out prompts, "greedy" of the most likely ones; "s" is CPU seconds
with two runs side by side. Methods on a file see {pairs} pairs (or as many lists or labels), one pair in twenty
labelled wrong; methods that sample see as many answers as their recipe draws. Rows of one table compare,
rows of two do not.

A short run of a small model orders methods by how fast they learn this task, not by how good they are for yours.
"""


@dataclass(frozen=True)
class Result:
    """One run of one method."""

    seed: int
    method: str
    kind: str
    """`policy` on a file, `online`, or `reward model`."""
    before: dict[str, float]
    after: dict[str, float]
    seconds: float
    pairs: int


def names() -> list[str]:
    """Recipes on the pipeline's data."""
    return sorted(p.stem for p in RECIPES.glob("*.yaml") if "demo-rlhf" in p.read_text())


def one(folder: Path, method: str, seed: int, pairs: int) -> Result:
    """Train with one recipe; what its first and last evaluation say."""
    from postlude.algorithms import ALGORITHMS
    from postlude.launch import launch
    from postlude.recipe.documents import Document, read

    text = (RECIPES / f"{method}.yaml").read_text().replace("demo-rlhf", str(folder))
    place = folder / f"{method}.yaml"
    place.write_text(text)
    values: dict[str, Any] = read(place).values
    values |= {"output": str(folder / method), "seed": seed, "threads": 1, "checkpoint_every": 0}
    values["evaluate"] |= {"every": 0}
    began = time.process_time()
    run = launch(Document(values))
    first, last = runs.read(run.folder).evals
    entry = ALGORITHMS[method]
    kind = "online" if entry.source == "rollout" else "reward model" if "scores" in entry.needs else "policy"
    return Result(seed, method, kind, first, last, time.process_time() - began, pairs)


def of_seed(seed: int, methods: list[str]) -> list[Result]:
    """The methods, all from one taught model."""
    from postlude.cli.rlhf import collect, prepare
    from postlude.launch import launch
    from postlude.recipe.documents import read

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, seed)
        launch(read(folder / "sft.yaml"))
        pairs = collect(folder, seed)
        results = []
        for method in methods:
            try:
                results.append(one(folder, method, seed, pairs))
            except PostludeError as error:  # the other methods' rows are not lost with it
                print(f"{seed} {method}: {error}", flush=True)
                continue
            print(seed, method, round(results[-1].seconds), flush=True)
        return results


def shown(results: list[Result], when: str, figure: str, digits: int = 2) -> str:
    """Median of a figure with its smallest and largest, or nothing."""
    values = [getattr(r, when).get(figure) for r in results]
    known = [v for v in values if v is not None]
    if not known:
        return ""
    spread = f" ({min(known):.{digits}f}-{max(known):.{digits}f})" if len(known) > 1 else ""
    return f"{statistics.median(known):.{digits}f}{spread}"


def page(results: list[Result]) -> str:
    """A table for each kind."""
    count = round(statistics.median(r.pairs for r in results))
    parts = [HEAD.format(seeds=", ".join(str(s) for s in sorted({r.seed for r in results})), pairs=count)]
    for kind, title in (("policy", "On judged answers in a file"), ("online", "On the policy's own answers")):
        mine = [r for r in results if r.kind == kind]
        before = shown(mine, "before", "sampled/accuracy"), shown(mine, "before", "greedy/accuracy")
        parts.append(f"\n## {title}\n\nBefore: sampled {before[0]}, greedy {before[1]}.\n\n")
        parts.append("| method | sampled | greedy | length | s |\n|---|---|---|---|---|\n")
        for method in sorted({r.method for r in mine}, key=lambda m: -_middle(mine, m, "sampled/accuracy")):
            rows = [r for r in mine if r.method == method]
            figures = [shown(rows, "after", f"sampled/{n}", d) for n, d in (("accuracy", 2), ("length", 1))]
            greedy = shown(rows, "after", "greedy/accuracy")
            parts.append(f"| {method} | **{figures[0]}** | {greedy} | {figures[1]} | {_seconds(rows)} |\n")
    mine = [r for r in results if r.kind == "reward model"]
    parts.append(
        "\n## Reward models\n\nAccuracy on held-out pairs, labels or labelled steps; loss as the method's.\n\n"
    )
    parts.append("| method | accuracy | loss before | loss after | s |\n|---|---|---|---|---|\n")
    for method in sorted({r.method for r in mine}):
        rows = [r for r in mine if r.method == method]
        loss = next(k for k in rows[0].after if k.startswith("held_out/loss/"))
        cells = (
            shown(rows, "after", "held_out/rewards/accuracy"),
            shown(rows, "before", loss),
            shown(rows, "after", loss),
        )
        bold = f"**{cells[0]}**" if cells[0] else ""
        parts.append(f"| {method} | {bold} | {cells[1]} | {cells[2]} | {_seconds(rows)} |\n")
    return "".join(parts)


def _middle(results: list[Result], method: str, figure: str) -> float:
    return statistics.median(r.after[figure] for r in results if r.method == method)


def _seconds(rows: list[Result]) -> str:
    return f"{statistics.median(r.seconds for r in rows):.0f}"


def earlier(without: list[str]) -> list[Result]:
    """The rows of the last page, of other methods."""
    path = TARGET.with_suffix(".json")
    rows = [Result(**row) for row in json.loads(path.read_text())] if path.exists() else []
    return [r for r in rows if r.method not in without]


def main() -> None:
    wanted = sys.argv[1:] or names()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        results = [r for found in pool.map(of_seed, SEEDS, [wanted] * len(SEEDS)) for r in found]
    results += earlier(wanted) if sys.argv[1:] else []
    TARGET.with_suffix(".json").write_text(json.dumps([asdict(r) for r in results], indent=0) + "\n")
    TARGET.write_text(page(results))


if __name__ == "__main__":
    main()
