"""What both contestants are given: a model folder, a tokenizer, prompts, a reward."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.speed.cells import Cell, Shape
from postlude.models.quiet import quiet
from postlude.models.tiny import character_tokenizer
from postlude.sources.order import Cursor
from postlude.sources.tasks import TASKS, write

NEVER, SOMETIMES = -4.0, 1.0234
"""First component of EOS's embedding: it ends no answer, or about one token in 45 (see `save_model`)."""
UNUSED = "<jupyter_script>"
"""A token of SmolLM2 that it never writes after digits."""
MOVED = "moved"
"""Folder of TRL's weights after its first step, of cells with a reference."""
DIGITS = "0123456789"


def save_model(folder: Path, shape: Shape, natural: bool) -> None:
    """A Qwen3 with random weights, and a tokenizer of one token per character.

    Every embedding has the same first component, so the last hidden state has a known one, and the first component
    of EOS's embedding sets how likely it is. Nobody needs a length processor to keep answers from ending.
    """
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = character_tokenizer()
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=max(shape.vocabulary, len(tokenizer)),
            hidden_size=shape.width,
            intermediate_size=3 * shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads // 2,
            head_dim=shape.width // shape.heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
    )
    with torch.no_grad():
        rows = model.get_input_embeddings().weight
        rows[:, 0] = 1.0
        rows[tokenizer.eos_token_id, 0] = SOMETIMES if natural else NEVER
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def real_model(folder: Path, source: Path) -> None:
    """A real model's weights under another end-of-sequence token, one that never ends an answer; its tokens for digits
    are one each, as the others' are."""
    import os

    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    for path in source.resolve().glob("*.safetensors"):
        os.symlink(path, folder / path.name)
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.eos_token, tokenizer.pad_token = UNUSED, "<|endoftext|>"
    tokenizer.chat_template = None  # its end of a turn would be a stop too
    tokenizer.save_pretrained(folder)
    config = AutoConfig.from_pretrained(source)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config.update(ids)
    config.save_pretrained(folder)
    GenerationConfig(**ids).save_pretrained(folder)


def save_data(folder: Path, cell: Cell) -> None:
    """`data.jsonl`: prompts of the cell's length, or rows of text to fine-tune on.

    TRL's copy of compared answers, `data-trl.jsonl`, stands in the order in which postlude takes them.
    """
    if cell.kind == "goal":
        write(TASKS["chain"], folder, train=2000, evaluate=128)
        (folder / "prompts.jsonl").rename(folder / "data.jsonl")
        return
    pick = random.Random(1)
    rows = []
    for _ in range(512):
        row: dict[str, Any] = {"prompt": "".join(pick.choice(DIGITS) for _ in range(cell.prompt))}
        if cell.kind == "sft":
            row["completion"] = _ragged(pick)
        if cell.compared:
            row |= {"chosen": _ragged(pick), "rejected": _ragged(pick)}
        rows.append(row)
    if cell.kind == "kto":
        rows = [_judged(row, good) for row in rows for good in (True, False)]
    _write(folder / "data.jsonl", rows)
    if cell.compared:
        _write(folder / "data-trl.jsonl", _in_our_order(cell, rows))


def _ragged(pick: random.Random) -> str:
    return "".join(pick.choice(DIGITS) for _ in range(pick.randint(8, 200)))


def _judged(row: dict[str, Any], good: bool) -> dict[str, Any]:
    """One answer of a pair. The prompts of a pair differ in their last letter: one prompt, one answer."""
    return {
        "prompt": row["prompt"][:-1] + "ab"[good],
        "completion": row["chosen" if good else "rejected"],
        "label": good,
    }


def _in_our_order(cell: Cell, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first epoch of a recipe with seed 0; for KTO each batch backwards.

    TRL's KTO pairs a prompt with the answer before its own, postlude's with the one after.
    """
    order = list(Cursor(len(rows), 0).take(len(rows)))
    batches = [order[i : i + cell.prompts] for i in range(0, len(order), cell.prompts)]
    turn = -1 if cell.kind == "kto" else 1
    return [rows[i] for batch in batches for i in batch[::turn]]


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def save_scorer(folder: Path) -> None:
    """Give the model in a folder a scalar head in place of its output layer, the same one for both contestants."""
    import torch

    from postlude.models.scorers import load_scorer

    torch.manual_seed(0)
    scorer = load_scorer(str(folder), pad=character_tokenizer().pad_token_id)
    with quiet():
        scorer.save_pretrained(folder)


def even_share(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """The reward of the speed cells: the share of even token ids. Costs nothing and differs between answers."""
    return [sum(i % 2 == 0 for i in ids) / max(len(ids), 1) for ids in completion_ids]


def right_sum(completions: Sequence[str], answer: Sequence[str], **_: Any) -> list[float]:
    """The reward of the goal cell: what follows the last `#` is the answer."""
    return [float(c.rpartition("#")[2].strip() == str(a)) for c, a in zip(completions, answer, strict=True)]


def taught_model(folder: Path) -> None:
    """The embedded default after supervised fine-tuning to 0.30 sampled accuracy."""
    import shutil

    from postlude.launch import launch
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe.documents import Document

    start = folder / "untaught"
    save_tiny_model(start)
    run = launch(
        Document(
            {
                "method": "sft",
                "model": str(start),
                "data": {"path": str(folder / "sft.jsonl"), "eval": str(folder / "eval.jsonl")},
                "reward": "bench.speed.material:right_sum",
                "output": str(folder / "sft"),
                "steps": 600,
                "prompts_per_step": 64,
                "sampling": {"max_tokens": 48},
                "schedule": {"lr": 3e-3, "warmup": 50},
                "optimizer": {"beta2": 0.98},
                "evaluate": {"every": 10, "stop_at": 0.30},
                "threads": 1,
            }
        )
    )
    shutil.copytree((run.folder / "model").resolve(), folder, dirs_exist_ok=True)
