"""The 135M model with one vLLM server on CPUs, beside the sampler of this process: pace, seconds, learning curve.

`make scale-real` writes docs/scale.svg, docs/scale.json and the section of docs/scale.md between its marks. Half an
hour on two cores; needs `make real-model` and `make vllm-env`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from postlude.runs import read
from postlude.words import counted

MODEL = os.environ.get("MODEL", ".models/smollm2")
PYTHON = os.environ.get("VLLM_PYTHON", ".venv-vllm/bin/python")
PAGE, PICTURE, FIGURES = Path("docs/scale.md"), Path("docs/scale.svg"), Path("docs/scale.json")
BEGIN, END = "<!-- measured by make scale-real -->", "<!-- end of what was measured -->"
SEEDS = (1, 2, 3)
ADAPTER, WHOLE = "adapter", "whole weights"
"""What is trained: LoRA for the curve; all weights a few steps, for the seconds that publishing them takes."""
SERVED = (f"engine.servers={{count: 1, python: {PYTHON}}}",)


@dataclass(frozen=True)
class Timed:
    """One run. Seconds are of the wall clock, medians over its steps."""

    trained: str
    served: bool
    seed: int
    answers_per_second: float
    """While a step's answers are sampled and scored."""
    train: float
    commit: float
    publish: float
    """Written, sent and compared."""
    send: float
    handshake: float
    error: float
    """The largest of all handshakes, in nats."""
    total: float
    """The whole run, with the start of the server and every evaluation."""
    curve: list[float]
    """Of each step, the share of its answers that were right."""
    greedy: list[float]
    """Shares of held-out questions whose most likely answer is right: at the start, after 5 and 10 steps."""


def run(folder: Path, trained: str, served: bool, seed: int) -> Timed:
    """`postlude train` with the recipe of docs/real-model.md."""
    out = folder / f"{trained}-{'served' if served else 'local'}-{seed}".replace(" ", "-")
    words = [f"model={MODEL}", f"data={folder}/sums.jsonl", f"data.eval={folder}/held-out.jsonl"]
    words += ["reward=examples/sums.py:total", f"seed={seed}", f"output={out}"]
    if trained == WHOLE:
        words += ["model.lora=null", "steps=3", "schedule.lr=1e-5", "evaluate.every=0"]
    words += SERVED if served else ()
    command = [str(Path(sys.executable).with_name("postlude")), "train", "recipes/real/grpo.yaml", *words]
    subprocess.run(command, check=True)
    return measured(out, trained, served, seed)


def measured(out: Path, trained: str, served: bool, seed: int) -> Timed:
    history = read(out)
    steps = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    answers = history["samples"].values[0]
    errors = history["handshake/error"].values if served else []

    def middle(name: str) -> float:
        return statistics.median(step.get(name, 0.0) for step in steps)

    return Timed(
        trained,
        served,
        seed,
        answers / middle("draw"),
        middle("train"),
        middle("commit"),
        middle("publish"),
        middle("send"),
        middle("handshake"),
        max(errors, default=0.0),
        steps[-1]["total"],
        list(history["sampled_accuracy"].values),
        [e["greedy/accuracy"] for e in history.evals],
    )


def table(results: Sequence[Timed]) -> str:
    """A row for each run."""
    names = ["trained", "sampler", "seed", "answers/s", "training s", "commit s", "publish s", "of it sending"]
    names += ["handshake", "error, nats", "whole run s", "greedy before", "after"]
    head = f"| {' | '.join(names)} |"
    lines = [head, "|" + "---|" * len(names)]
    for r in results:
        sampler = "one server" if r.served else "this process"
        before, after = (f"{r.greedy[i]:.2f}" if r.trained == ADAPTER else "" for i in (0, -1))
        times = (r.commit, r.publish, r.send, r.handshake) if r.served else ()
        cells = [*(f"{x:.2f}" for x in times), f"{r.error:.1e}"] if r.served else [""] * 5
        row = [r.trained, sampler, str(r.seed), f"{r.answers_per_second:.1f}", f"{r.train:.1f}", *cells]
        lines.append(f"| {' | '.join([*row, f'{r.total:.0f}', before, after])} |")
    return "\n".join(lines)


def section(results: Sequence[Timed]) -> str:
    """What docs/scale.md says of it."""
    seeds = sorted({r.seed for r in results})
    return f"""{BEGIN}

SmolLM2-135M-Instruct on the task of [real-model.md](real-model.md): GRPO with a LoRA adapter of rank 16, 10 steps of 64
answers of at most 24 tokens, {counted(len(seeds), "seed")}, in float32. Trainer and server share {os.cpu_count()} cores
({platform.machine()}), so a step takes what both take together; seconds are of the clock, medians over the steps of a
run. The rows with all weights trained are three steps, for what publishing 538 MB takes.

{table(results)}

![share of right answers over the steps](scale.svg)

"greedy": shares of the held-out questions whose most likely answer is right, before and after. The picture: of each
step's 64 answers at temperature 1, the share that is right; each line is a run.

{END}"""


def draw(results: Sequence[Timed]) -> None:
    """docs/scale.svg: each run's accuracy over its steps."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4))
    runs = [r for r in results if r.trained == ADAPTER]
    for r in runs:
        steps = range(1, len(r.curve) + 1)
        label = ("one vLLM server" if r.served else "this process") if r.seed == runs[0].seed else None
        colour, style = ("#b0702a", "--") if r.served else ("#1f5fa8", "-")
        axis.plot(steps, r.curve, color=colour, linestyle=style, marker="o", markersize=4, linewidth=1.4, label=label)
    axis.set_xlabel("step")
    axis.set_ylabel("answers of the step that are right")
    axis.set_ylim(0, 1.02)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(PICTURE)


def main(seeds: Sequence[int]) -> None:
    from examples.sums import write

    kinds = [(ADAPTER, served, seed) for seed in seeds for served in (False, True)]
    kinds += [(WHOLE, served, seeds[0]) for served in (False, True)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        results = [run(folder, *kind) for kind in kinds]
    FIGURES.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    draw(results)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + section(results) + rest.partition(END)[2])
    print(table(results))


if __name__ == "__main__":
    main([int(s) for s in sys.argv[1:]] or SEEDS)
