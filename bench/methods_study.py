"""Every method that trains online, on the embedded tasks: `make methods-study` writes docs/methods-study.md.

Each runs its own recipe of recipes/tiny, from the same taught model, over the same number of sampled answers.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from postlude.runs import read
from postlude.runs.files import read_rows

STEPS = 40
ANSWERS = 128
"""Completions per step, of every method."""
SEEDS = (81, 82, 83)
TASKS = ("worked", "chain")
RECIPES = Path("recipes/tiny")
TARGET = Path("docs/methods-study.md")

HEAD = """\
# Every online method on the embedded tasks

Made by `make methods-study`: medians over seeds {seeds} (not used while the recipes were chosen). Every method
runs its recipe of `recipes/tiny` for {steps} steps of {answers} sampled answers, from the same taught model of 0.6 M
parameters; methods that fill up groups (dapo) draw more. "sampled" is accuracy at temperature 1 on 128 held-out
prompts, from {before} before training; "length" is the mean number of tokens of a sampled answer ({length} before);
"KL" is the mean over sampled answers of log pi - log start, in nats per answer; "s" is wall-clock time of training
with two runs side by side.

A short run of a small model orders methods by how fast they learn this task, not by how good they are for yours.
No prompt comes twice in so few steps: hapo, which compares an answer with earlier ones to its prompt, is grpo here.
"""


@dataclass(frozen=True)
class Result:
    """One run of one method."""

    task: str
    seed: int
    recipe: str
    before: float
    sampled: float
    greedy: float
    length_before: float
    length: float
    kl: float
    seconds: float


def teach(task: str, seed: int, folder: Path) -> None:
    """Data and a model that is right about half of the time."""
    from postlude.launch import launch
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe import documents, packaged
    from postlude.sources.tasks import TASKS as EMBEDDED
    from postlude.sources.tasks import write

    write(EMBEDDED[task], folder, train=4000 if task == "worked" else 3000, evaluate=384, seed=seed)
    save_tiny_model(folder / "model", seed)
    packaged.write("demo", folder, seed)
    document = documents.read(folder / "sft.yaml")
    document.values["evaluate"] |= {"stop_at": 0.45 if task == "worked" else 0.30}
    launch(document)


def divergence(start: Path, end: Path, data: Path, seed: int) -> float:
    """Mean over sampled answers of log pi - log start, in nats per answer."""
    from postlude.batch import pack
    from postlude.data import Prompt
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.settings import Sampling
    from postlude.rollouts.rollout import answer

    engine = LocalEngine.open(str(end))
    rows = read_rows(data)[:128]
    prompts = [engine.renderer.with_tokens(Prompt(str(i), row["prompt"])) for i, row in enumerate(rows)]
    groups = asyncio.run(answer(engine.sampler, prompts, 1, Sampling(max_tokens=48), seed, "kl"))
    from dataclasses import replace

    scored = [replace(g, completions=tuple(replace(c, reward=0.0) for c in g.completions)) for g in groups]
    batch = pack(scored)
    ours = engine.trainer.outputs(batch, "policy").logprobs
    theirs = LocalEngine.open(str(start)).trainer.outputs(batch, "policy").logprobs
    return float(batch.sum_by_sequence(ours - theirs).mean())


def one(task: str, seed: int, folder: Path, recipe: str) -> Result:
    """Train with one recipe; what the last evaluation says."""
    from postlude.launch import launch
    from postlude.recipe import documents
    from postlude.recipe.documents import Document

    values: dict[str, Any] = documents.read(RECIPES / f"{recipe}.yaml").values
    assert values["prompts_per_step"] * values["group_size"] == ANSWERS, recipe
    values |= {
        "model": str(folder / "sft/model"),
        "data": {"path": str(folder / "prompts.jsonl"), "eval": str(folder / "eval.jsonl")},
        "output": str(folder / recipe),
        "seed": seed,
        "steps": STEPS,
        "evaluate": {"every": 0, "prompts": 128, "samples": 4},
        "checkpoint_every": 0,
    }
    run = launch(Document(values))
    history = read(run.folder)
    first, last = history.evals
    return Result(
        task,
        seed,
        recipe,
        first["sampled/accuracy"],
        last["sampled/accuracy"],
        last["greedy/accuracy"],
        first["sampled/length"],
        last["sampled/length"],
        divergence(folder / "sft/model", run.folder / "model", folder / "eval.jsonl", seed),
        sum(lap["draw"] + lap["train"] for lap in history.timings),
    )


def of_seed(task: str, seed: int, recipes: list[str]) -> list[Result]:
    """All methods from one taught model."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        teach(task, seed, folder)
        return [one(task, seed, folder, recipe) for recipe in recipes]


def page(results: list[Result]) -> str:
    """The tables, a task each, best first."""
    parts = []
    for task in dict.fromkeys(r.task for r in results):
        rows = [r for r in results if r.task == task]

        def middle(recipe: str, field: str, rows: list[Result] = rows) -> float:
            return statistics.median(getattr(r, field) for r in rows if r.recipe == recipe)

        names = sorted({r.recipe for r in rows}, key=lambda n: -middle(n, "sampled"))
        before = statistics.median(r.before for r in rows)
        length = statistics.median(r.length_before for r in rows)
        facts = {"seeds": ", ".join(map(str, SEEDS)), "steps": STEPS, "answers": ANSWERS}
        if not parts:
            told = " / ".join(f"{statistics.median(r.before for r in results if r.task == t):.2f} ({t})" for t in TASKS)
            lengths = " / ".join(
                f"{statistics.median(r.length_before for r in results if r.task == t):.1f} ({t})" for t in TASKS
            )
            parts.append(HEAD.format(**facts, before=told, length=lengths))
        parts += [f"## {task}", "", f"Before training: sampled {before:.3f}, length {length:.1f}.", ""]
        parts += ["| recipe | sampled | worst seed | greedy | length | KL | s |", "|---|---|---|---|---|---|---|"]
        for n in names:
            worst = min(r.sampled for r in rows if r.recipe == n)
            figures = [middle(n, f) for f in ("greedy", "length", "kl", "seconds")]
            tail = f"{figures[0]:.3f} | {figures[1]:.1f} | {figures[2]:.2f} | {figures[3]:.0f}"
            parts.append(f"| {n} | {middle(n, 'sampled'):.3f} | {worst:.3f} | {tail} |")
        parts.append("")
    return "\n".join(parts)


def main(only: list[str]) -> None:
    online = (p for p in RECIPES.glob("*.yaml") if p.stem != "sft" and "demo-run" in p.read_text())
    recipes = only or sorted(p.stem for p in online)
    results: list[Result] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:  # tiny models use one thread each
        jobs = [pool.submit(of_seed, task, seed, recipes) for seed in SEEDS for task in TASKS]
        for job in jobs:
            results += job.result()
            print(f"{len(results)} of {len(jobs) * len(recipes)} runs", flush=True)
    if not only:
        TARGET.write_text(page(results))
        TARGET.with_suffix(".json").write_text(json.dumps([asdict(r) for r in results], indent=1))
    print(page(results))


if __name__ == "__main__":
    main(sys.argv[1:])
