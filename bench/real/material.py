"""Real text for the tour of the commands: short questions with right and wrong answers, as each command reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FACTS = (
    ("What is the capital of France?", "Paris", "London"),
    ("What is the capital of Italy?", "Rome", "Milan"),
    ("What is the capital of Japan?", "Tokyo", "Kyoto"),
    ("What is the capital of Egypt?", "Cairo", "Tunis"),
    ("What is the capital of Spain?", "Madrid", "Lisbon"),
    ("What is the capital of Germany?", "Berlin", "Munich"),
    ("Which planet is the largest?", "Jupiter", "Mars"),
    ("Which gas do plants take up?", "Carbon dioxide", "Helium"),
    ("Which metal is liquid at room temperature?", "Mercury", "Iron"),
    ("How many legs does a spider have?", "Eight", "Six"),
    ("What is the opposite of cold?", "Hot", "Blue"),
    ("In which season do leaves fall?", "Autumn", "Spring"),
)
HELD_OUT = (
    ("What is the capital of Greece?", "Athens", "Sparta"),
    ("What is the capital of Portugal?", "Lisbon", "Madrid"),
    ("What is the opposite of dark?", "Light", "Green"),
    ("How many days does a week have?", "Seven", "Nine"),
)
ROWS = 6
"""Written or judged rows: every step sees all of them, so that a loss has to fall."""
REWARDS = '''"""Rewards of the tour."""


def right(completions, answer, **columns):
    return [float(a.lower() in c[-1]["content"].lower()) for c, a in zip(completions, answer)]
'''


def asked(question: str) -> list[dict[str, str]]:
    """A chat prompt."""
    return [{"role": "user", "content": f"{question} Answer in one sentence."}]


def said(answer: str) -> list[dict[str, str]]:
    """What an assistant would say."""
    return [{"role": "assistant", "content": f"The answer is {answer}."}]


def write(folder: Path) -> None:
    """prompts, held-out, sft, pairs, labels and answers as JSON lines, and my_rewards.py."""
    prompts = [{"prompt": asked(q), "answer": a} for q, a, _ in FACTS]
    _lines(folder / "prompts.jsonl", prompts)
    _lines(folder / "held-out.jsonl", [{"prompt": asked(q), "answer": a} for q, a, _ in HELD_OUT])
    written = [{"prompt": asked(q), "completion": said(a)} for q, a, _ in FACTS[:ROWS]]
    _lines(folder / "sft.jsonl", written)
    for name, facts in (("pairs", FACTS[:ROWS]), ("held-out-pairs", HELD_OUT)):
        rows = [{"prompt": asked(q), "chosen": said(a), "rejected": said(b)} for q, a, b in facts]
        _lines(folder / f"{name}.jsonl", rows)
    labels = [(q, x, x == a) for q, a, b in FACTS[: ROWS // 2] for x in (a, b)]
    _lines(folder / "labels.jsonl", [{"prompt": asked(q), "completion": said(x), "label": y} for q, x, y in labels])
    both = [{"prompt": asked(q), "completions": [said(a), said(b)]} for q, a, b in FACTS[:4]]
    _lines(folder / "answers.jsonl", both)
    (folder / "my_rewards.py").write_text(REWARDS)


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
