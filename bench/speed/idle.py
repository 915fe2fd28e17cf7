"""What it saves that groups without a gradient are not gone back through: `make bench-idle`, for docs/performance.md.

GRPO without a KL, and DRPO, on a draw of which most groups were solved always or never; the same update with and
without, in alternation, in one process on one thread. Gradient norms have to agree before anything is timed.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.speed.cells import SMALL, TINY, Shape
from bench.speed.material import save_model
from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.engine import LocalEngine
from postlude.engines.settings import Local, Optimizer
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec
from postlude.objectives import TokenObjective
from postlude.objectives.advantages import DecoupledReward
from postlude.streams import Stream

GROUPS, ANSWERS, PROMPT, COMPLETION, PAIRS = 8, 8, 32, 64, 7
TARGET = Path("docs/idle.json")


@dataclass(frozen=True)
class Saved:
    """One workload with and without; CPU seconds of a whole update, the optimiser's step included."""

    method: str
    parameters: int
    useless: int
    tokens: int
    """Of the update."""
    with_gradient: int
    """Gone back through."""
    quick: float
    plain: float
    ratio: float
    """Of plain over quick: the median of the pairs."""
    spread: tuple[float, float]
    grad_norms: tuple[float, float]


def draw(useless: int) -> list[Group]:
    """Groups of random tokens; of the last `useless` all answers have one reward."""
    pick = random.Random(1)
    ids = lambda n: tuple(pick.randrange(3, 50) for _ in range(n))
    groups = []
    for g in range(GROUPS):
        solved = [float(i % 2) if g < GROUPS - useless else 1.0 for i in range(ANSWERS)]
        completions = tuple(Completion(ids(COMPLETION), "x", reward=r, correct=r > 0) for r in solved)
        groups.append(Group(Prompt(str(g), "q", tokens=ids(PROMPT)), completions))
    return groups


def objective_of(method: str) -> TokenObjective:
    """As a recipe would have it, without a KL in the loss."""
    objective = ALGORITHMS[method].objective
    assert isinstance(objective, TokenObjective)
    if isinstance(objective.advantage, DecoupledReward):
        objective = replace(objective, advantage=replace(objective.advantage, cap=COMPLETION))
    return replace(objective, kl=None)


def measure(method: str, shape: Shape, useless: int) -> Saved:
    objective = objective_of(method)
    with tempfile.TemporaryDirectory() as place:
        save_model(Path(place), shape, natural=False)
        spec = ModelSpec(place)
        engine = LocalEngine.start(
            spec, inspect(spec), Optimizer(max_grad_norm=0.0), Local(token_budget=16_384, threads=1), False
        )
    stream = Stream(method, None, objective, 1, 1, 1.0)  # type: ignore[arg-type]
    batch = asyncio.run(stream.prepare(engine, draw(useless)))

    def step(skips: bool) -> tuple[float, float]:
        """(CPU seconds, gradient norm)"""
        engine.trainer.skips_idle = skips
        begun = time.process_time()
        update = asyncio.run(stream.weigh(engine, batch, fresh=False))
        engine.trainer.forward_backward(update, objective)
        norm = engine.trainer.step(1e-12).sums["update/grad_norm"]
        return time.process_time() - begun, norm

    norms = step(True)[1], step(False)[1]
    assert abs(norms[0] - norms[1]) <= 1e-4 * norms[1], norms
    pairs = [(step(True)[0], step(False)[0]) for _ in range(PAIRS)]
    ratios = [plain / quick for quick, plain in pairs]
    quick, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    spread = min(ratios), max(ratios)
    size, pulled = batch.tokens.shape[0], _pulled(asyncio.run(stream.weigh(engine, batch, fresh=False)), objective)
    ratio = statistics.median(ratios)
    return Saved(method, shape.parameters, useless, size, pulled, quick, plain, ratio, spread, norms)


def _pulled(update: Batch, objective: TokenObjective) -> int:
    return int((~objective.idle(update))[update.group].sum())


def section() -> str:
    """The part of docs/performance.md, where it was measured."""
    if not TARGET.exists():
        return ""
    lines = [
        "",
        "Groups without a gradient (`make bench-idle`): one update of GRPO without KL or of DRPO, "
        f"{GROUPS}x{ANSWERS}, {PROMPT}+{COMPLETION} tokens, of which",
        "so many groups have answers that are all right. They are read for their figures (DRPO's weights read them",
        "anyway) and not gone back through; with and without in alternation, CPU seconds of one thread, same gradient",
        "norm.",
        "",
        "| method | model | useless groups | gone back through | with / without | saves |",
        "|---|---|---|---|---|---|",
    ]
    for row in json.loads(TARGET.read_text()):
        size = f"{row['parameters'] / 1e6:.1f} M | {row['useless']} of {GROUPS}"
        seconds = f"{row['quick']:.3f} / {row['plain']:.3f} s"
        saves = f"**{row['ratio']:.2f}x** ({row['spread'][0]:.2f}-{row['spread'][1]:.2f})"
        pulled = f"{row['with_gradient']} of {row['tokens']} tokens"
        lines.append(f"| {row['method']} | {size} | {pulled} | {seconds} | {saves} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    torch.set_num_threads(1)
    rows = [measure("grpo", shape, useless) for shape in (TINY, SMALL) for useless in (6, 4, 1, 0)]
    rows += [measure("drpo", shape, 6) for shape in (TINY, SMALL)]
    for row in rows:
        print(row, flush=True)
    TARGET.write_text(json.dumps([vars(r) for r in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
