"""The table of figures holds what the library logs, and nothing else."""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postlude.algorithms import ALGORITHMS
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.runs import figures, read
from postlude.runs.figures import BARE, PREFIXES, is_chosen, lookup

SOURCE = Path(__file__).parents[2] / "src" / "postlude"
LETTERS = "abcd"
RARE = {"corrupt_tokens", "masked_infinite_live", "code/unsafe", "judge/cost"}
"""Only where a number breaks down or nothing locks programs up: held to the source by their text alone."""


# ------------------------------------------------------------------------------------------------- the runs


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and rows of every kind."""
    folder, rng = tmp_path_factory.mktemp("figures"), random.Random(0)
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    rows: dict[str, list[dict[str, Any]]] = {n: [] for n in ("prompts", "sft", "pairs", "soft", "ranked", "labels")}
    rows |= {n: [] for n in ("steps", "text")}
    for a in LETTERS:
        for b in LETTERS:
            asked = {"prompt": f"{a}{b}>"}
            good, bad, worst = (f"#{x}" for x in rng.sample(LETTERS, 3))
            rows["prompts"].append({**asked, "answer": good[1]})
            rows["sft"].append({**asked, "completion": good})
            rows["pairs"].append({**asked, "chosen": good, "rejected": bad})
            rows["soft"].append({**asked, "chosen": good, "rejected": bad, "probability": 0.8})
            rows["ranked"].append({**asked, "completions": [good, bad, worst], "ranks": [1, 2, 3]})
            rows["labels"].append({**asked, "completion": good, "label": a < b})
            rows["steps"].append({**asked, "completions": [good, bad], "labels": [True, a < b]})
            rows["text"].append({"text": f"{a}{b}{good}"})
    for name, lines in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


KINDS = {
    "reward_model_soft": "soft", "reward_model_listwise": "ranked", "kto": "labels", "reward_model_binary": "labels",
    "reward_model_process": "steps", "sft": "sft",
}  # fmt: skip


def one_step(place: Path, method: str, **settings: Any) -> set[str]:
    """The names that a run of one step logs, its measurements included, but for those that its rewards chose."""
    entry = ALGORITHMS[method]
    online = entry.source == "rollout"
    data = str(place / f"{KINDS.get(method, 'prompts' if online else 'pairs')}.jsonl")
    values: dict[str, Any] = {
        "method": method,
        "model": {"path": str(place / "model"), "dtype": "float64"},
        "data": {"path": data, "eval": data, "step_separator": "#"},
        "output": str(place / "run"),
        "steps": 1,
        "prompts_per_step": 4,
        "evaluate": {"every": 0, "prompts": 2, "samples": 4},
        "checkpoint_every": 0,
    }
    if online:
        values |= {"reward": [{"use": "regex", "args": {"pattern": "[a-m]$"}}], "sampling": {"max_tokens": 3}}
    if entry.pretrain:
        values["pretrain"] = {"path": str(place / "text.jsonl"), "eval": str(place / "text.jsonl"), "rows": 4}
    values |= settings
    n = 1
    while (place / f"run-{n}").exists():
        n += 1
    values["output"] = str(place / f"run-{n}")
    run = launch(Document(values))
    return set(read(run.folder).names)


@pytest.mark.parametrize("method", ALGORITHMS)
def test_every_method_logs_what_the_table_knows(place: Path, method: str) -> None:
    assert not [name for name in one_step(place, method) if lookup(name) is None]
