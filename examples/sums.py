"""Small additions for a small model: the task of docs/real-model.md, its data and its reward.

python examples/sums.py FOLDER     writes sums.jsonl and held-out.jsonl there: 108 and 36 of the 144 questions
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any


def total(completions: list[Any], answer: list[str], **columns: Any) -> list[float]:
    """1 where the last number of the answer is the sum."""
    said = [re.findall(r"\d+", messages[-1]["content"]) for messages in completions]
    return [float(numbers[-1:] == [gold]) for numbers, gold in zip(said, answer, strict=True)]


def write(folder: Path) -> None:
    """`What is a + b?` for all a and b from 1 to 12; every fourth question is held out."""
    pairs = [(a, b) for a in range(1, 13) for b in range(1, 13)]
    random.Random(0).shuffle(pairs)
    for name, chosen in (("held-out", pairs[::4]), ("sums", [p for i, p in enumerate(pairs) if i % 4])):
        rows = [
            {"prompt": [{"role": "user", "content": f"What is {a} + {b}?"}], "answer": str(a + b)} for a, b in chosen
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
