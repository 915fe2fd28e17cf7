"""The two must compute the same thing before they are timed: one frozen batch, loss and gradient norm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.speed.cells import Cell
from bench.speed.material import even_share

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}
"""Relative, on the gradient norm; bf16 rounds at 0.4 % and TRL computes under autocast."""


def difference(cell: Cell, folder: Path, theirs: dict[str, Any]) -> str:
    """Our gradient norm on the answers TRL drew in its first step; stops where they do not agree."""
    if cell.kind == "sft":
        return "" if cell.packing else _of_written_answers(cell, folder)
    from dataclasses import replace

    import torch

    from postlude.algorithms import ALGORITHMS
    from postlude.batch import pack, split
    from postlude.data import Completion, Group, Prompt
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.local.trainer import Optimizer
    from postlude.models.load import ModelSpec, inspect
    from postlude.objectives.advantages import GroupBaseline

    torch.set_num_threads(1)
    spec = ModelSpec(str(folder), dtype=cell.dtype)
    facts = inspect(spec)
    engine = LocalEngine.start(spec, facts, Optimizer(), 16384, keep_reference=False)
    frozen = json.loads((folder / "frozen.json").read_text())
    groups = []
    for i in range(0, cell.rows, cell.group):
        ids = frozen["completion_ids"][i : i + cell.group]
        rewards = even_share(completion_ids=ids)
        answers = tuple(Completion(tuple(c), reward=r) for c, r in zip(ids, rewards, strict=True))
        prompt = frozen["prompts"][i]
        groups.append(Group(Prompt(str(i), prompt, tokens=tuple(facts.tokenizer(prompt).input_ids)), answers))
    entry = ALGORITHMS["grpo"].objective
    objective = replace(entry, kl=None, correction=None, advantage=GroupBaseline("group", eps=1e-4))
    update = objective.weigh(objective.advantages(pack(groups)), None)
    for micro in split(update, 16384, False):
        engine.trainer.forward_backward(micro, objective)
    norm = engine.trainer.step(0.0).sums["update/grad_norm"]
    apart = abs(norm - theirs["grad_norm"]) / theirs["grad_norm"]
    assert apart < TOLERANCE[cell.dtype], f"{cell.name}: gradient norms {norm} and {theirs['grad_norm']}"
    return f"frozen batch: gradient norm {norm:.6f} and {theirs['grad_norm']:.6f}"


def _of_written_answers(cell: Cell, folder: Path) -> str:
    """Our SFT loss on the first rows against the one TRL wrote down."""
    from postlude.algorithms import ALGORITHMS
    from postlude.batch import pack
    from postlude.data import Group, Prompt
    from postlude.engines.local.engine import LocalEngine

    engine = LocalEngine.open(str(folder), dtype=cell.dtype)
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()[: cell.prompts]]
    groups = []
    for i, row in enumerate(rows):
        prompt = engine.renderer.with_tokens(Prompt(str(i), row["prompt"]))
        groups.append(Group(prompt, (engine.renderer.completion(prompt, row["completion"]),)))
    objective = ALGORITHMS["sft"].objective
    loss = engine.trainer.forward_backward(objective.weigh(objective.advantages(pack(groups)), None), objective)
    ours, theirs = loss.sums["loss/policy"], json.loads((folder / "frozen.json").read_text())["loss"]
    assert abs(ours - theirs) < 1e-4 * abs(theirs), f"{cell.name}: losses {ours} and {theirs}"
    return f"frozen batch: loss {ours:.6f} and {theirs:.6f}"
