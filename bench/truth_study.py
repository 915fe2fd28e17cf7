"""A reward that is gamed, seen by a metric that is not trained on, beside one that is hardly: `make study-truth`.

Prints the table of docs/truth.md. A small model that is right about half of the time (it answers `.#e`, where the
letter behind # counts) is trained for 30 steps under two rewards; a metric, `exact` behind #, measures both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.history import History
from tests.learning import make_world

SEEDS = (0, 1, 2)
EVERY, STEPS = 5, 30
REWARDS = '''
def generous(completions, answer):
    """Half a point for the right letter, wherever it stands, and a tenth for each sign of working."""
    return [0.5 * (a in c) + 0.1 * len(c) for c, a in zip(completions, answer)]

def strict(completions, answer):
    """A point for the right letter behind #, and a hundredth for each sign of working."""
    return [1.0 * (c.rpartition("#")[2] == a) + 0.01 * len(c) for c, a in zip(completions, answer)]
'''
EXACT: dict[str, Any] = {"use": "exact", "args": {"after": "#"}}
COLUMNS = ("reward", "exact", "exact/low", "exact/high", "exact/divergence", "exact/divergence/low")


def trained(world: Path, name: str, reward: str, seed: int) -> History:
    """A run from the taught model under a reward, measured by `exact`."""
    return launch(
        Document(
            {
                "method": "grpo",
                "model": {"path": str(world / "sft"), "dtype": "float64"},
                "data": {"path": str(world / "prompts.jsonl"), "eval": str(world / "eval.jsonl")},
                "reward": reward,
                "output": str(world / name),
                "steps": STEPS,
                "seed": seed,
                "prompts_per_step": 16,
                "group_size": 8,
                "sampling": {"max_tokens": 12},
                "schedule": {"lr": 1e-3},
                "objective": {"kl": None},
                "evaluate": {"every": EVERY, "samples": 8, "metrics": [EXACT], "sheet": {"prompts": 1, "every": 10}},
                "checkpoints": {"every": 0},
            }
        )
    ).history()


def rows(history: History, reward: str, seed: int) -> list[str]:
    lines: list[str] = []
    for row in history.evals:
        cells = [f"{row[f'truth/held_out/{name}']:.2f}" for name in COLUMNS]
        mean, metric, low, high, away, least = cells
        said = next((a["completion"] for a in history.sheet if a["step"] == row["step"]), "")
        parts = (reward, seed, row["step"], mean, f"{metric} ({low} to {high})", f"{away} ({least})", f"`{said}`")
        lines.append(f"| {' | '.join(map(str, parts))} |")
    return lines


def main(folder: Path) -> None:
    print("| reward | seed | step | `truth/held_out/reward` | `.../exact` (95 %) | divergence (at least) | the sheet |")
    print("|---|---|---|---|---|---|---|")
    for seed in SEEDS:
        world = make_world(folder / str(seed), seed)
        (world / "mine.py").write_text(REWARDS)
        for name in ("generous", "strict"):
            trained(world, name, f"{world}/mine.py:{name}", seed)
            print("\n".join(rows(read(world / name), name, seed)), flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        main(Path(sys.argv[1] if len(sys.argv) > 1 else place))
