"""Part `pool`: whole runs whose answers come from a server, with lag 0 and 1; answers are of unequal length."""

from __future__ import annotations

import json
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.scale.material import model, table
from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs.events import Event, Step
from tests.fake_vllm import interpreter

STEPS, FIRST = 9, 3
"""Of a run; those before FIRST do not count."""
PROMPTS, EACH, LONGEST = 8, 8, 96


def run(folder: Path) -> bool:
    """The tests' server with the demo's model, a process of its own: it samples on another core than this trains on."""
    python = interpreter(folder / "fake")
    with (folder / "prompts.jsonl").open("w") as file:
        file.writelines(json.dumps({"prompt": f"{a}{b}>", "answer": a}) + "\n" for a in "abcdefgh" for b in "ijklmnop")
    rows: list[tuple[str, ...]] = []
    base = 0.0
    for lag in (0, 1):
        rate, step, tokens = _rate(folder, python, lag)
        base = base or rate
        rows.append((str(lag), f"{tokens:,.0f}", f"{step:.2f}", f"{rate:,.0f}", f"{rate / base:.2f}"))
    table(("max_lag", "tokens a step", "s a step", "tokens/s", "to lag 0"), rows)
    return True


def _rate(folder: Path, python: Path, lag: int) -> tuple[float, float, float]:
    """(sampled tokens a second, seconds of a step in the middle, tokens of a step) from draw to publication."""
    seen: list[tuple[float, float]] = []

    def look(event: Event) -> None:
        if isinstance(event, Step):
            seen.append((time.monotonic(), event.figures["tokens"]))

    launch(Document(_recipe(folder, python, lag)), False, [look]).close()
    used = seen[FIRST:]
    seconds = [b[0] - a[0] for a, b in zip(seen[FIRST - 1 :], used, strict=False)]
    tokens = sum(n for _, n in used)
    return tokens / sum(seconds), median(seconds), tokens / len(used)


def _recipe(folder: Path, python: Path, lag: int) -> dict[str, Any]:
    return {
        "method": "grpo",
        "model": {"path": str(model(folder, "0.6 M"))},
        "data": {"path": str(folder / "prompts.jsonl")},
        "reward": [{"use": "regex", "args": {"pattern": "[a-m]"}}],
        "objective": {"kl": None, "correction": {"mode": "token_truncate"}},
        "output": str(folder / f"lag-{lag}"),
        "max_lag": lag,
        "steps": STEPS,
        "prompts_per_step": PROMPTS,
        "group_size": EACH,
        "sampling": {"max_tokens": LONGEST},
        "evaluate": {"every": 0},
        "checkpoints": {"every": STEPS},
        "engine": {"token_budget": 4096, "threads": 1, "servers": {"count": 1, "python": str(python)}},
    }
