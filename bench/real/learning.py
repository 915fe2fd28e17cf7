"""A real model learns to add: GRPO and DRPO on three seeds, in the plane of accuracy and length.

`make real-study` writes docs/real-model.md, .svg and .json (half an hour on two cores). SEED=1 runs one seed of each.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postlude.runs import read

MODEL = os.environ.get("MODEL", ".models/smollm2")
SEEDS = (1, 2, 3)
METHODS = ("grpo", "drpo")
COLOURS = {"grpo": "#1f5fa8", "drpo": "#b0702a"}
TARGET = Path("docs/real-model.md")


@dataclass(frozen=True)
class Point:
    """What a policy does on the held-out questions, at temperature 1 and with its most likely answer."""

    step: int
    accuracy: float
    low: float
    high: float
    length: float
    greedy: float
    greedy_low: float
    greedy_high: float


@dataclass(frozen=True)
class Result:
    """One run: its measurements in order, and answers to the first held-out questions at temperature 1, before and
    after."""

    method: str
    seed: int
    seconds: float
    """Of processor time."""
    points: list[Point]
    before: list[dict[str, Any]]
    after: list[dict[str, Any]]
    cut: list[float]
    """Of each step, the share of answers that the length limit cut off."""


def run(folder: Path, method: str, seed: int) -> Result:
    """`postlude train` with the recipe of the page."""
    out = folder / f"{method}-{seed}"
    command = [
        str(Path(sys.executable).with_name("postlude")),
        *words(method, folder, MODEL),
        f"seed={seed}",
        f"output={out}",
    ]
    before = os.times()
    subprocess.run(command, check=True)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    history = read(out)
    points = [point(e) for e in history.evals]
    first, last = (shown(history.answers, step) for step in (0, points[-1].step))
    return Result(method, seed, seconds, points, first, last, [*history["truncated_frac"].values])


def words(method: str, folder: Path, model: str) -> list[str]:
    """The command line of the page."""
    data = [f"data={folder}/sums.jsonl", f"data.eval={folder}/held-out.jsonl"]
    return ["train", f"recipes/real/{method}.yaml", f"model={model}", *data, "reward=examples/sums.py:total"]


def point(event: dict[str, Any]) -> Point:
    mine = [event[f"sampled/{k}"] for k in ("accuracy", "accuracy_low", "accuracy_high", "length")]
    greedy = [event[f"greedy/{k}"] for k in ("accuracy", "accuracy_low", "accuracy_high")]
    return Point(event["step"], *mine, *greedy)


def shown(answers: Sequence[dict[str, Any]], step: int) -> list[dict[str, Any]]:
    """The last-written answers of a measurement are those at temperature 1: one to each of five questions."""
    mine = [a for a in answers if a["step"] == step]
    sampled = mine[len({a["prompt_id"] for a in mine}) :]
    first: dict[str, dict[str, Any]] = {}
    for row in sampled:
        first.setdefault(row["prompt_id"], row)
    return [
        {"prompt": r["prompt"][-1]["content"], "answer": r["completion"], "right": r["correct"], "stop": r["stop"]}
        for r in [*first.values()][:5]
    ]


HEAD = """\
# A real model learns

Made by `make real-study`. The model is SmolLM2-135M-Instruct (`make real-model`), the task one that it can do now and
then: `What is 7 + 5?`, with both numbers from 1 to 12. The reward is 1 where the last number of the answer is the sum,
and nothing else; of the 144 questions every fourth is held out and never trained on. GRPO and DRPO train a LoRA adapter
of rank 16 with the same settings ({steps} steps of {answers} answers of at most {limit} tokens, rate {lr}):
[recipes/real](../recipes/real). One run takes {seconds}.

```sh
make real-model                        # .models/smollm2
.venv/bin/python examples/sums.py .    # sums.jsonl, held-out.jsonl
.venv/bin/postlude {grpo}
.venv/bin/postlude {drpo}
```

![held-out accuracy against length](real-model.svg)

Shares of the {held} held-out questions, {samples} sampled answers each at temperature 1 and the most likely one
("greedy"); in brackets the 95 % interval, which counts questions and not answers. Length is in tokens, of sampled
answers.

| method | seed | sampled before | sampled after | greedy before | greedy after | length before | after |
|---|---|---|---|---|---|---|---|
"""


def page(results: Sequence[Result], recipe: dict[str, Any], held: int) -> str:
    """The table, what the medians say, and answers to look at."""
    seconds = sorted(r.seconds for r in results)
    head = HEAD.format(
        steps=recipe["steps"], answers=recipe["prompts_per_step"] * recipe["group_size"],
        limit=recipe["sampling"]["max_tokens"], lr=recipe["schedule"]["lr"], held=held,
        samples=recipe["evaluate"]["samples"],
        seconds=f"{seconds[0] / 60:.0f} to {seconds[-1] / 60:.0f} minutes of processor time",
        **{m: " ".join(words(m, Path("."), ".models/smollm2")).replace("./", "") for m in METHODS},
    )  # fmt: skip
    lines = [head, *(row(r) for r in results), "\n", medians(results), "\n## What it writes\n"]
    lines += [samples(r) for r in results if r.seed == results[0].seed]
    return "".join(lines)


def row(r: Result) -> str:
    first, last = r.points[0], r.points[-1]
    sampled = [f"{p.accuracy:.3f} ({p.low:.2f}-{p.high:.2f})" for p in (first, last)]
    greedy = [f"{p.greedy:.3f} ({p.greedy_low:.2f}-{p.greedy_high:.2f})" for p in (first, last)]
    cells = [
        r.method,
        str(r.seed),
        sampled[0],
        f"**{sampled[1]}**",
        *greedy,
        f"{first.length:.1f}",
        f"{last.length:.1f}",
    ]
    return "| " + " | ".join(cells) + " |\n"


def medians(results: Sequence[Result]) -> str:
    said = []
    for method in METHODS:
        last = [r.points[-1] for r in results if r.method == method]
        accuracy = statistics.median(p.accuracy for p in last)
        length = statistics.median(p.length for p in last)
        said.append(f"{method} ends at {accuracy:.2f} of sampled answers right with {length:.1f} tokens")
    return f"Medians over seeds: {'; '.join(said)}. {lengths(results)}\n"


def lengths(results: Sequence[Result]) -> str:
    """What the two methods' lengths say, in words."""
    end = {m: statistics.median(r.points[-1].length for r in results if r.method == m) for m in METHODS}
    gap = end["grpo"] - end["drpo"]
    if abs(gap) < 1:
        return (
            "Neither is shorter than the other: both stop rambling, which is most of the length here, and what is "
            "left is a sentence with the sum. DRPO's economy shows where right answers differ in length "
            "([demo.md](demo.md))."
        )
    return f"DRPO's answers are {'shorter' if gap > 0 else 'longer'} by {abs(gap):.1f} tokens."


def samples(r: Result) -> str:
    """Answers of one run as a table; nothing is chosen: the first five held-out questions."""
    lines = [f"\nAt temperature 1, seed {r.seed}, before and after {r.method}; the first five held-out questions.\n\n"]
    lines.append("| question | before | after |\n|---|---|---|\n")
    for old, new in zip(r.before, r.after, strict=True):
        lines.append(f"| {old['prompt']} | {cell(old)} | {cell(new)} |\n")
    return "".join(lines)


def cell(answer: dict[str, Any]) -> str:
    text = " ".join(answer["answer"].split()).replace("|", "\\|").replace("`", "'")
    how = [] if answer["stop"] == "eos" else ["cut off"]
    return f"`{text or '(nothing)'}` {', '.join([*how, 'right' if answer['right'] else 'wrong'])}"


def draw(results: Sequence[Result]) -> None:
    """docs/real-model.svg: each run's way through the plane, from the start (ring) to the end (dot)."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.4))
    for r in results:
        x, y = [p.length for p in r.points], [p.accuracy for p in r.points]
        label = r.method.upper() if r.seed == results[0].seed else None
        axis.plot(x, y, color=COLOURS[r.method], linewidth=1.2, alpha=0.6)
        axis.plot(x[1:-1], y[1:-1], ".", color=COLOURS[r.method], markersize=4)
        axis.errorbar(
            x[-1], y[-1], yerr=[[y[-1] - r.points[-1].low], [r.points[-1].high - y[-1]]], fmt="o", markersize=7,
            color=COLOURS[r.method], capsize=3, linewidth=1, label=label,
        )  # fmt: skip
        axis.plot(x[0], y[0], "o", markersize=8, markerfacecolor="none", color="#555555")
    axis.set_xlabel("tokens of a sampled answer")
    axis.set_ylabel("held-out questions answered right, temperature 1")
    axis.set_ylim(0, 1.02)
    axis.set_xlim(left=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(TARGET.with_suffix(".svg"))


def main(seeds: Sequence[int]) -> None:
    import yaml

    from examples.sums import write

    recipe = yaml.safe_load(Path("recipes/real/grpo.yaml").read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        held = len((folder / "held-out.jsonl").read_text().splitlines())
        results = [run(folder, method, seed) for method in METHODS for seed in seeds]
    TARGET.with_suffix(".json").write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    draw(results)
    TARGET.write_text(page(results, recipe, held))
    print(page(results, recipe, held))


if __name__ == "__main__":
    main([int(s) for s in sys.argv[1:]] or SEEDS)
