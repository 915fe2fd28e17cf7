"""Runs with answers to review, as they lie on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from postlude.runs import read
from postlude.runs.history import History


def row(prompt: str, text: str, reward: float | None, likelihood: float = -1.0, **more: Any) -> dict[str, Any]:
    scores = {"main": reward, "other": more.pop("other", 0.0)}
    return {
        "prompt_id": prompt, "prompt": f"{prompt}?", "answer": "gold", "completion": text, "reward": reward,
        "scores": scores, "correct": None if reward is None else reward > 0.5, "trained": True, "stop": "eos",
        "policy_version": 0, "tokens": [1, 2], "logprobs": [likelihood, likelihood], **more,
    }  # fmt: skip


def write(folder: Path, steps: dict[int, list[dict[str, Any]]], *notes: dict[str, Any]) -> History:
    events = [{"schema": 1, "kind": "start", "step": 0, "method": "grpo"}, *notes]
    (folder / "rollouts").mkdir(parents=True, exist_ok=True)
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    for step, rows in steps.items():
        text = "".join(json.dumps(one) + "\n" for one in rows)
        (folder / "rollouts" / f"step-{step:06d}.jsonl").write_text(text)
    recipe = "method: grpo\nreward:\n- {use: main.py:main, weight: 1.0}\n- {use: main.py:other, weight: 0}\n"
    (folder / "config.yaml").write_text(recipe)
    return read(folder)
