"""What the parts are made of: a tiny model, data, and recipes that end in a second or two of one process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.runs import History, read

STEPS = 5
LETTERS = "abcdefgh"


@dataclass(frozen=True)
class Material:
    """A model and data in a folder."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Material:
        """Made once."""
        if not (folder / "compared.jsonl").exists():
            save_tiny_model(folder / "model", layers=2, width=32, heads=2)
            asked = [f"{a}{b}>" for a in LETTERS for b in LETTERS]
            _write(folder / "prompts.jsonl", [{"prompt": text, "answer": text[0]} for text in asked])
            written = [{"prompt": text, "completion": text[: 1 + i % 3]} for i, text in enumerate(asked)]
            _write(folder / "written.jsonl", written)
            pairs = [
                {"prompt": text, "chosen": text[:2], "rejected": text[1:] * (1 + i % 2)} for i, text in enumerate(asked)
            ]
            _write(folder / "compared.jsonl", pairs)
        return cls(folder)

    def recipe(self, name: str, **values: Any) -> dict[str, Any]:
        """One of METHODS, as a document's values."""
        data = {"sft": "written", "dpo": "compared", "reward_model": "compared"}.get(name, "prompts")
        base: dict[str, Any] = {
            "model": {
                "path": str(self.folder / "model"),
                **({"lora": {"rank": 4}} if name == "grpo with LoRA" else {}),
            },
            "data": {"path": str(self.folder / f"{data}.jsonl")},
            "steps": STEPS,
            "prompts_per_step": 4,
            "schedule": {"lr": 1e-3},
            "checkpoints": {"every": 0},
            "method": name.split()[0],
        }
        if data == "prompts":
            base |= {"reward": [{"use": "regex", "args": {"pattern": "[a-m]$"}}], "sampling": {"max_tokens": 6}}
            base |= {"group_size": 4 if name.startswith("grpo") else 1, "evaluate": {"every": 0}}
        return {**base, **values}


METHODS = ("sft", "dpo", "reward_model", "grpo", "ppo", "grpo with LoRA")


def train(values: Mapping[str, Any], output: Path, trainers: int, resume: bool = False, **engine: Any) -> History:
    """Run it, quietly, and read what it wrote."""
    held = {"token_budget": 256, "head_chunk": 64, "device": "cpu", "trainers": trainers, **engine}
    launch(Document({**values, "output": str(output), "engine": held}), resume).close()
    return read(output)


def events(run: Path) -> list[dict[str, Any]]:
    """What a run wrote, row by row."""
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


Rows = list[Sequence[object]]


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print columns as wide as they need."""
    cells = [list(map(str, row)) for row in [heads, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
