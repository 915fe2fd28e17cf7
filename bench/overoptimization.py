"""Gold and proxy reward against sqrt(KL), best-of-n and RL, after Gao et al. (2210.10760).

`make study-overoptimization` writes docs/overoptimization.md.

The gold reward is the share of right answers; the proxy is a reward model trained on a few pairs that the gold reward
labelled. Both policies start from the same taught model and see only the proxy.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postlude.runs import read
from postlude.runs.files import read_rows
from postlude.statistics import best_of_n_gold, kl_best_of_n, reward_best_of_n, reward_rl

SEEDS = (41,)
PAIRS = (60, 400)
"""Preference pairs behind the proxy: few, and ten times as many."""
SAMPLES = 64
STEPS = 100
TARGET = Path("docs/overoptimization.md")


@dataclass(frozen=True)
class Point:
    """A policy: how far it is from the start, and what the two rewards say of it."""

    pairs: int
    seed: int
    how: str
    """`best of n` or `rl`."""
    distance: float
    """sqrt(KL) in nats^1/2."""
    proxy: float
    gold: float


def teach(folder: Path, seed: int) -> None:
    """The demo's task and a model that is right about half of the time when sampled."""
    from postlude.cli.demo import prepare_demo
    from postlude.launch import launch
    from postlude.recipe import documents

    prepare_demo(folder, seed)
    launch(documents.read(folder / "sft.yaml"))


def label(folder: Path, seed: int, most: int) -> list[dict[str, Any]]:
    """Pairs of the taught model's own answers, a right one and a wrong one, with their prompt."""
    rows = read_rows(folder / "prompts.jsonl")
    random.Random(seed).shuffle(rows)
    found = []
    for row, answers in zip(rows[: 2 * most], sampled(folder / "sft/model", rows[: 2 * most], 6, seed), strict=True):
        right = [a for a in answers if a.rpartition("#")[2] == row["answer"]]
        wrong = [a for a in answers if a.rpartition("#")[2] != row["answer"]]
        if right and wrong:
            found.append({"prompt": row["prompt"], "chosen": right[0], "rejected": wrong[0]})
    assert len(found) >= most, f"only {len(found)} pairs"
    return found[:most]


def sampled(model: Path, rows: Sequence[dict[str, Any]], count: int, seed: int) -> list[list[str]]:
    """`count` answers of a model to each prompt."""
    from postlude.data import Prompt
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.settings import Sampling
    from postlude.rollouts.rollout import answer

    engine = LocalEngine.open(str(model))
    prompts = [engine.renderer.with_tokens(Prompt(str(i), row["prompt"])) for i, row in enumerate(rows)]
    groups = asyncio.run(answer(engine.sampler, prompts, count, Sampling(max_tokens=48), seed, "study"))
    return [[c.text for c in g.completions] for g in groups]


def proxy_of(folder: Path, pairs: list[dict[str, Any]], seed: int) -> Path:
    """A reward model trained on the pairs for four passes."""
    from postlude.launch import launch
    from postlude.recipe.documents import Document

    name = f"proxy-{len(pairs)}"
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    rows = min(16, len(pairs))
    launch(
        Document(
            {
                "method": "reward_model",
                "model": str(folder / "sft/model"),
                "data": str(folder / f"{name}.jsonl"),
                "output": str(folder / name),
                "seed": seed,
                "steps": 4 * math.ceil(len(pairs) / rows),
                "prompts_per_step": rows,
                "schedule": {"lr": 5e-4, "warmup": 4},
                "checkpoint_every": 0,
            }
        )
    )
    return folder / name / "model"


def best_of_n(folder: Path, proxy: Path, pairs: int, seed: int) -> list[Point]:
    """From the same samples, for every n."""
    from postlude.engines.local.scorer import LocalScorer
    from postlude.engines.settings import ScorerSpec

    rows = read_rows(folder / "eval.jsonl")[:128]
    answers = sampled(folder / "sft/model", rows, SAMPLES, seed)
    scorer = LocalScorer.open(ScorerSpec(str(proxy)))
    flat = [(row["prompt"], a) for row, own in zip(rows, answers, strict=True) for a in own]
    scores = scorer.score([p for p, _ in flat], [a for _, a in flat])
    per_prompt = [scores[i : i + SAMPLES] for i in range(0, len(scores), SAMPLES)]
    gold = [[float(a.rpartition("#")[2] == r["answer"]) for a in own] for r, own in zip(rows, answers, strict=True)]
    points = []
    for n in (1, 2, 4, 8, 16, 32, 64):
        by_proxy = statistics.mean(best_of_n_gold(p, p, n) for p in per_prompt)
        by_gold = statistics.mean(best_of_n_gold(p, g, n) for p, g in zip(per_prompt, gold, strict=True))
        points.append(Point(pairs, seed, "best of n", math.sqrt(kl_best_of_n(n)), by_proxy, by_gold))
    return points


def reinforcement(folder: Path, proxy: Path, pairs: int, seed: int) -> list[Point]:
    """GRPO without anything that holds it back, measured on held-out prompts as it goes."""
    from postlude.launch import launch
    from postlude.recipe.documents import Document

    every = 4
    run = launch(
        Document(
            {
                "method": "grpo",
                "model": str(folder / "sft/model"),
                "data": {"path": str(folder / "prompts.jsonl"), "eval": str(folder / "eval.jsonl")},
                "reward": [
                    {"use": "model", "args": {"path": str(proxy)}},
                    {"use": "exact", "weight": 0.0, "outcome": True, "args": {"after": "#"}},
                ],
                "output": str(folder / f"rl-{pairs}"),
                "seed": seed,
                "steps": STEPS,
                "prompts_per_step": 16,
                "group_size": 8,
                "sampling": {"max_tokens": 48},
                "schedule": {"lr": 3e-4},
                "objective": {"kl": {"estimator": "k3", "coef": 0.0}},  # measured, not penalised
                "evaluate": {"every": every, "prompts": 128, "samples": 2},
                "checkpoint_every": 0,
            }
        )
    )
    history = read(run.folder)
    kl = dict(history["kl_ref/sequence"])
    points = []
    for event in history.evals:
        near = [kl[s] for s in range(event["step"] - 1, event["step"] + 3) if s in kl] if event["step"] else [0.0]
        distance = math.sqrt(max(statistics.mean(near), 0.0))
        points.append(Point(pairs, seed, "rl", distance, event["sampled/reward/model"], event["sampled/accuracy"]))
    return points


def fit(points: Sequence[Point], shape: Callable[[float, float, float], float]) -> tuple[float, float]:
    """(alpha, beta) of the form with the least squared error to the gold gain; it is linear in both."""
    import numpy as np

    start = statistics.mean(p.gold for p in points if p.distance == 0)
    used = [p for p in points if p.distance > 0]
    design = np.array([[shape(p.distance, 1.0, 0.0), shape(p.distance, 0.0, 1.0)] for p in used])
    (alpha, beta), *_ = np.linalg.lstsq(design, np.array([p.gold - start for p in used]), rcond=None)
    return float(alpha), float(beta)


SHAPES = {"best of n": reward_best_of_n, "rl": reward_rl}


def of_seed(seed: int) -> list[Point]:
    """Every policy from one taught model."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        teach(folder, seed)
        pairs = label(folder, seed, max(PAIRS))
        points = []
        for count in PAIRS:
            proxy = proxy_of(folder, pairs[:count], seed)
            points += best_of_n(folder, proxy, count, seed) + reinforcement(folder, proxy, count, seed)
        return points


def draw(points: Sequence[Point]) -> None:
    """docs/overoptimization.svg: gold (solid, with its fit) and proxy, each against sqrt(KL)."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(2, len(PAIRS) * 2, figsize=(13, 5.4), sharex="col")
    columns = [(pairs, how) for how in SHAPES for pairs in PAIRS]
    for (pairs, how), (top, bottom) in zip(columns, axes.T, strict=True):
        mine = [p for p in points if p.pairs == pairs and p.how == how]
        x = np.array([p.distance for p in mine])
        top.scatter(x, [p.gold for p in mine], s=9, color="#1f5fa8")
        alpha, beta = fit(mine, SHAPES[how])
        grid = np.linspace(0, x.max(), 80)
        start = statistics.mean(p.gold for p in mine if p.distance == 0)
        top.plot(grid, [start + SHAPES[how](d, alpha, beta) for d in grid], color="#1f5fa8", linewidth=1.5)
        bottom.scatter(x, [p.proxy for p in mine], s=9, color="#b0702a")
        top.set_title(f"{how}, {pairs} pairs", fontsize=10)
        top.set_ylim(0, 1.02)
        bottom.set_xlabel("sqrt(KL to start), nats$^{1/2}$")
        for axis in (top, bottom):
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("gold: share right")
    axes[1, 0].set_ylabel("proxy: score")
    figure.tight_layout()
    figure.savefig(TARGET.with_suffix(".svg"))


HEAD = """\
# Over-optimisation in miniature

Made by `make study-overoptimization`, seeds {seeds}. A taught model of 0.6 M parameters answers the demo's task.
The *gold* reward is the share of right answers; the *proxy* is a reward model trained on {pairs} pairs of the model's
own answers, labelled by the gold reward. Best-of-n and RL (GRPO without a KL term) see the proxy only. Following Gao,
Schulman and Hilton (arXiv 2210.10760), both rewards are drawn against d = sqrt(KL) to the start, and the gold gain is
fitted by d (alpha - beta d) for best-of-n and d (alpha - beta log d) for RL.

![gold and proxy against sqrt(KL)](overoptimization.svg)

| policy | pairs | gold at the start | best gold | at d | gold at the end | proxy start, end | alpha | beta |
|---|---|---|---|---|---|---|---|---|
"""


def page(points: Sequence[Point]) -> str:
    """The table: medians over seeds."""
    lines = [HEAD.format(seeds=", ".join(map(str, SEEDS)), pairs=" or ".join(map(str, PAIRS)))]
    for how, shape in SHAPES.items():
        for pairs in PAIRS:
            mine = [p for p in points if p.pairs == pairs and p.how == how]
            runs = [[p for p in mine if p.seed == seed] for seed in sorted({p.seed for p in mine})]
            best = [max(run, key=lambda p: p.gold) for run in runs]
            middle = lambda values: statistics.median(values)
            alpha, beta = fit(mine, shape)
            lines.append(
                f"| {how} | {pairs} | {middle(r[0].gold for r in runs):.2f} | {middle(b.gold for b in best):.2f} | "
                f"{middle(b.distance for b in best):.1f} | {middle(r[-1].gold for r in runs):.2f} | "
                f"{middle(r[0].proxy for r in runs):.2f}, {middle(r[-1].proxy for r in runs):.2f} | "
                f"{alpha:.3f} | {beta:.3f} |\n"
            )
    return "".join(lines)


def main() -> None:
    points = [p for seed in SEEDS for p in of_seed(seed)]
    TARGET.with_suffix(".json").write_text(json.dumps([asdict(p) for p in points], indent=0) + "\n")
    draw(points)
    TARGET.write_text(page(points))
    print(page(points))


if __name__ == "__main__":
    main()
