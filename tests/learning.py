"""A small world to learn in, and what a test of learning is: settings, and what they promise on every seed.

The cases are in `tests/cases.py`. The suite tries each with seed 0; `make study-tests` tries all of `SEEDS` and writes
docs/learning-tests.md. Everything runs in float64, so that no processor's rounding decides what is sampled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.folder import Run

LETTERS = "abcdefgh"
SEEDS = (0, 1, 2, 3, 4)
"""Of model, data and run at once."""
Figures = Mapping[str, float]
COMMON: dict[str, Any] = {}
"""Settings of every run, under its own: for whoever runs the cases in another way."""


# ------------------------------------------------------------------------------------------------ the world


def make_world(folder: Path, seed: int = 0, steps: int = 160) -> Path:
    """Answer three letters with the successor of the last; teachers are wrong half of the time, and like to add dots.

    Holds rows for SFT, prompts, held-out prompts, a model, and the run `sft` that taught it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    prompts = [a + b + c for a in LETTERS for b in LETTERS for c in LETTERS]
    rng.shuffle(prompts)
    held = [p for c in LETTERS for p in [p for p in prompts if p[-1] == c][:2]]
    rows = []
    for prompt in (p for p in prompts if p not in held):
        said = _successor(prompt) if rng.random() < 0.5 else rng.choice(LETTERS)
        dots = "." * (4 if rng.random() < 0.5 else 1)
        rows.append({"prompt": f"{prompt}>", "completion": f"{dots}#{said}", "answer": _successor(prompt)})
    write(folder / "sft.jsonl", rows)
    write(folder / "prompts.jsonl", [{k: row[k] for k in ("prompt", "answer")} for row in rows])
    write(folder / "eval.jsonl", [{"prompt": f"{p}>", "answer": _successor(p)} for p in held])
    save_tiny_model(folder / "model", seed, layers=1, width=128, heads=4, spread=0.08)
    schedule = {"lr": 4e-3, "warmup": 10, "decay": "linear"}
    run(folder, "sft", "model", steps=steps, prompts_per_step=48, schedule=schedule, seed=seed)
    return folder


def _successor(prompt: str) -> str:
    return LETTERS[(LETTERS.index(prompt[-1]) + 1) % len(LETTERS)]


def add_judged(world: Path, seed: int = 0) -> Path:
    """Pairs, lists, labels and labelled steps about the task of a world, and plain text."""
    rng = random.Random(seed + 1)
    kinds: dict[str, list[dict[str, Any]]] = {n: [] for n in ("pairs", "soft", "ranked", "labels", "steps", "text")}
    for row in map(json.loads, (world / "prompts.jsonl").read_text().splitlines()):
        for _ in range(2):
            dots = "." * rng.choice((1, 4))
            right, wrong = (
                f"{dots}#{x}" for x in (row["answer"], rng.choice([c for c in LETTERS if c != row["answer"]]))
            )
            p = {"prompt": row["prompt"]}
            good = rng.random() < 0.5
            kinds["pairs"].append({**p, "chosen": right, "rejected": wrong})
            kinds["soft"].append({**p, "chosen": right, "rejected": wrong, "probability": 0.9})
            kinds["ranked"].append({**p, "completions": [wrong, right, dots], "ranks": [2, 1, 3]})
            kinds["labels"].append({**p, "completion": right if good else wrong, "label": good})
            kinds["steps"].append({**p, "completions": [dots, (right if good else wrong)[-1]], "labels": [True, good]})
            kinds["text"].append({"text": row["prompt"] + right})
    for name, rows in kinds.items():
        rng.shuffle(rows)
        write(world / f"{name}.jsonl", rows)
        held = [r for r in rows if random.Random(r.get("prompt") or r["text"][:4]).random() < 0.25]
        write(world / f"{name}-train.jsonl", [r for r in rows if r not in held])
        write(world / f"{name}-held.jsonl", held)
    return world


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def run(folder: Path, method: str, start: str, resume: bool = False, **values: Any) -> Run:
    """Train in float64 with sensible tiny settings; `values` go on top, those of `model` one by one."""
    data = "sft" if method == "sft" else "prompts"
    base = {
        "method": method,
        "model": {"path": str(folder / start), "dtype": "float64", **values.pop("model", {})},
        "data": {"path": str(folder / f"{data}.jsonl"), "eval": str(folder / "eval.jsonl")},
        "reward": [{"use": "exact", "args": {"after": "#"}}],
        "output": str(folder / values.pop("output", method)),
        "steps": 20,
        "prompts_per_step": 12,
        "sampling": {"max_tokens": 10},
        "schedule": {"lr": 1e-3},
        "evaluate": {"every": 0, "prompts": 16, "samples": 16},
    }
    return launch(Document({**base, **COMMON, **values}), resume)


def figures(run_: Run, kind: str = "eval") -> list[dict[str, float]]:
    """A run's events of a kind."""
    return [*read(run_.folder).of(kind)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a run saved: the model's weights, or the adapter's."""
    from safetensors.torch import load_file

    found = folder / "model" / "model.safetensors"
    return load_file(found if found.exists() else folder / "model" / "adapter_model.safetensors")


# ------------------------------------------------------------------------------------------ what is promised


@dataclass(frozen=True)
class Promise:
    """A bound that a figure keeps at the end of a run, or that its change over the run keeps."""

    figure: str
    bound: float
    change: bool = False
    most: bool = False
    """The bound is the most there may be, not the least."""
    room: float = 0.05
    """How far the worst of `SEEDS` must stay on the right side."""

    def value(self, first: Figures, last: Figures) -> float:
        return last[self.figure] - first[self.figure] if self.change else last[self.figure]

    def margin(self, value: float) -> float:
        """How far a value is on the right side of the bound."""
        return self.bound - value if self.most else value - self.bound

    def __str__(self) -> str:
        what = f"change of {self.figure}" if self.change else self.figure
        return f"{what} {'≤' if self.most else '≥'} {self.bound:g}"


@dataclass(frozen=True)
class Outcome:
    """The first and the last measurement of what a case trains, and the last run of it."""

    first: Figures
    last: Figures
    run: Run


@dataclass(frozen=True)
class Case:
    """Something that learns in a world."""

    name: str
    learn: Callable[[Path, int], Outcome]
    """(world, seed) -> what came of it."""
    promises: tuple[Promise, ...]


def training(name: str, method: str, *promises: Promise, start: str = "sft/model", **settings: Any) -> Case:
    """The case of one run of a method; settings given as functions get the world."""

    def learn(world: Path, seed: int) -> Outcome:
        own = {key: value(world) if callable(value) else value for key, value in settings.items()}
        done = run(world, method, start, output=name, seed=seed, **own)
        first, last = figures(done)
        return Outcome(first, last, done)

    return Case(name, learn, promises)


def keeps(case: Case, world: Path, seed: int = 0) -> Outcome:
    """The outcome of a case that keeps all it promises; fails with what it broke."""
    found = case.learn(world, seed)
    broken = [
        f"{promise}: got {value:.3f}"
        for promise in case.promises
        if promise.margin(value := promise.value(found.first, found.last)) < 0
    ]
    assert not broken, f"{case.name}: {'; '.join(broken)}"
    return found


def chosen(cases: Sequence[Case], *often: str) -> list[Any]:
    """Cases as parameters of a test: those named run at every commit, the others with `make test-slow`."""
    assert {*often} <= {case.name for case in cases}
    return [pytest.param(case, id=case.name, marks=() if case.name in often else pytest.mark.slow) for case in cases]
