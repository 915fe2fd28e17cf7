"""The two must compute the same thing before they are timed: one frozen batch, loss and gradient norm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.speed.cells import Cell
from bench.speed.material import MOVED, even_share
from postlude.runs.files import read_rows

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}
"""Relative, on the gradient norm; bf16 rounds at 0.4 % and TRL computes under autocast."""


Steps = list[dict[str, Any]]


def difference(cell: Cell, folder: Path, warm: dict[str, Steps]) -> str:
    """What both computed of the same batch; stops where they do not agree. `warm`: contestant -> its first steps."""
    if cell.kind == "sft":
        return "" if cell.packing else _of_written_answers(cell, folder)
    if cell.compared:
        return _of_compared_answers(cell, warm)
    theirs = warm["trl"][cell.frozen]["grad_norm"]
    norm = _of_sampled_answers(cell, folder)
    assert abs(norm - theirs) / theirs < TOLERANCE[cell.dtype], f"{cell.name}: gradient norms {norm} and {theirs}"
    return f"frozen batch: gradient norm {norm:.6f} and {theirs:.6f}"


def _of_compared_answers(cell: Cell, warm: dict[str, Steps]) -> str:
    """Losses and gradient norms of the first steps: DPO's and KTO's first loss is the same whatever the rows are."""
    said = []
    for name in ("loss", "grad_norm"):
        ours, theirs = ([step[name] for step in warm[who]] for who in ("postlude", "trl"))
        near = [abs(a - b) < TOLERANCE[cell.dtype] * abs(b) for a, b in zip(ours, theirs, strict=True)]
        assert all(near), f"{cell.name}: {name} {ours} and {theirs}"
        said.append(f"{name} {' '.join(f'{x:.6f}' for x in ours)} and {' '.join(f'{x:.6f}' for x in theirs)}")
    return f"first steps: {', '.join(said)}"


def _of_sampled_answers(cell: Cell, folder: Path) -> float:
    """Our gradient norm on answers that TRL drew, with the weights it had then."""
    from dataclasses import replace

    import torch

    from postlude.algorithms import ALGORITHMS
    from postlude.batch import pack
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.settings import Local, Optimizer
    from postlude.models.load import Lora, inspect
    from postlude.models.spec import ModelSpec
    from postlude.objectives.advantages import GroupBaseline
    from postlude.objectives.divergence import KL

    torch.set_num_threads(1)
    spec = ModelSpec(str(folder), lora=Lora(cell.lora) if cell.lora else None)
    facts = inspect(spec)
    engine = LocalEngine.start(
        spec, facts, Optimizer(), Local(dtype=cell.dtype, token_budget=16384), keep_reference=cell.beta > 0
    )
    if cell.beta:
        engine.trainer.load_weights(str(folder / MOVED))
    kl = KL("k3", cell.beta) if cell.beta else None
    entry = ALGORITHMS["grpo"].objective
    objective = replace(entry, kl=kl, correction=None, advantage=GroupBaseline("group", eps=1e-4))
    batch = pack(_frozen_groups(cell, folder, facts.tokenizer))
    if cell.beta:
        batch = replace(batch, ref_logprobs=engine.trainer.outputs(batch, "reference").logprobs)
    update = objective.weigh(objective.advantages(batch), None)
    engine.trainer.forward_backward(update, objective)
    return engine.trainer.step(0.0).sums["update/grad_norm"]


def _frozen_groups(cell: Cell, folder: Path, tokenizer: Any) -> list[Any]:
    from postlude.data import Completion, Group, Prompt

    frozen = json.loads((folder / "frozen.json").read_text())
    groups = []
    for i in range(0, cell.rows, cell.group):
        ids = frozen["completion_ids"][i : i + cell.group]
        rewards = even_share(completion_ids=ids)
        answers = tuple(Completion(tuple(c), reward=r) for c, r in zip(ids, rewards, strict=True))
        prompt = frozen["prompts"][i]
        groups.append(Group(Prompt(str(i), prompt, tokens=tuple(tokenizer(prompt).input_ids)), answers))
    return groups


def _of_written_answers(cell: Cell, folder: Path) -> str:
    """Our SFT loss on the first rows against the one TRL wrote down."""
    from postlude.algorithms import ALGORITHMS
    from postlude.batch import pack
    from postlude.data import Group, Prompt
    from postlude.engines.local.engine import LocalEngine

    engine = LocalEngine.open(str(folder), dtype=cell.dtype)
    rows = read_rows(folder / "data.jsonl")[: cell.prompts]
    groups = []
    for i, row in enumerate(rows):
        prompt = engine.renderer.with_tokens(Prompt(str(i), row["prompt"]))
        groups.append(Group(prompt, (engine.renderer.completion(prompt, row["completion"]),)))
    objective = ALGORITHMS["sft"].objective
    loss = engine.trainer.forward_backward(objective.weigh(objective.advantages(pack(groups)), None), objective)
    ours, theirs = loss.sums["loss/policy"], json.loads((folder / "frozen.json").read_text())["loss"]
    assert abs(ours - theirs) < 1e-4 * abs(theirs), f"{cell.name}: losses {ours} and {theirs}"
    return f"frozen batch: loss {ours:.6f} and {theirs:.6f}"
