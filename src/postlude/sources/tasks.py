"""Tasks made on the spot, with demonstrations of mixed quality: for the demo, for tests, for trying methods out.

A prompt belongs to the held-out part when crc32(prompt) % 8 == 0; such prompts are never trained on.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """How prompts are drawn, what their answer is, and how a careless teacher would write it out.

    A written answer ends with `#` and the result, which the reward `exact` reads with `after: "#"`.
    """

    summary: str
    draw: Callable[[random.Random], str]
    solve: Callable[[str], str]
    teach: Callable[[str, random.Random], str]


def held_out(prompt: str) -> bool:
    """Whether a prompt is kept for evaluation."""
    return zlib.crc32(prompt.encode()) % 8 == 0


def _digits(rng: random.Random, n: int, among: str = "1234") -> str:
    return "".join(rng.choice(among) for _ in range(n)) + "="


def _sum(prompt: str) -> str:
    return str(sum(map(int, prompt[:-1])) % 10)


def _running(prompt: str) -> list[str]:
    total, steps = 0, []
    for digit in prompt[:-1]:
        total = (total + int(digit)) % 10
        steps.append(str(total))
    return steps


def _teach_sum(prompt: str, rng: random.Random) -> str:
    """Half of the answers are direct, a fifth shows the running sums, the rest also repeats each one."""
    how = rng.random()
    if how < 0.5:
        return "#" + _sum(prompt)
    steps = _running(prompt)
    return ("".join(steps) if how < 0.7 else "".join(s + s for s in steps)) + "#" + _sum(prompt)


def _teach_worked(prompt: str, rng: random.Random) -> str:
    """Every addition is written out, never a direct answer; seven teachers in ten also hum after most of them."""
    humming = 0.9 if rng.random() < 0.7 else 0.0
    steps = [
        f"+{digit}={total}" + ("hm," if rng.random() < humming else "")
        for digit, total in zip(prompt[:-1], _running(prompt), strict=True)
    ]
    return "".join(steps) + "#" + _sum(prompt)


def _teach_lines(prompt: str, rng: random.Random) -> str:
    """A line for each addition; one line in twelve is a slip, and what follows builds on it."""
    lines, total = [], 0
    for digit in prompt[:-1]:
        total = (total + int(digit) + (rng.randrange(1, 10) if rng.random() < 1 / 12 else 0)) % 10
        lines.append(f"{digit}:{total}")
    return "\n".join([*lines, f"#{total}"])


def right_lines(prompt: str, answer: str) -> list[bool]:
    """Which lines of an answer to the task `lines` add up, given the line before; the last repeats the result."""
    lines, total, right = answer.split("\n"), 0, []
    for digit, line in zip(prompt[:-1], lines, strict=False):
        good = line == f"{digit}:{(total + int(digit)) % 10}"
        total = int(line[-1]) if line[-1:].isdigit() else total
        right.append(good)
    return [*right, *(line == f"#{total}" for line in lines[len(prompt) - 1 :])]


def _letters(rng: random.Random) -> str:
    return "".join(rng.choice("abcdef") for _ in range(5)) + ">"


def _sorted(prompt: str) -> str:
    return "".join(sorted(prompt[:-1]))


def _teach_sorted(prompt: str, rng: random.Random) -> str:
    """Mostly the sorted letters, sometimes with two of them swapped."""
    letters = list(_sorted(prompt))
    if rng.random() < 0.3:
        i = rng.randrange(len(letters) - 1)
        letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "#" + "".join(letters)


TASKS: dict[str, Task] = {
    "chain": Task("sum of six digits modulo 10", lambda rng: _digits(rng, 6), _sum, _teach_sum),
    "worked": Task(
        "sum of five digits modulo 10, worked out with more words than it needs",
        lambda rng: _digits(rng, 5, "12345"),
        _sum,
        _teach_worked,
    ),
    "lines": Task(
        "sum of five digits modulo 10, a line each", lambda rng: _digits(rng, 5, "12345"), _sum, _teach_lines
    ),
    "sort": Task("five letters in alphabetical order", _letters, _sorted, _teach_sorted),
}
"""Name -> task."""


def rows(task: Task, seed: int, part: str) -> Iterator[dict[str, Any]]:
    """Endless distinct rows of the `train` or `eval` part, with `prompt`, `answer` and a written `completion`."""
    rng = random.Random(f"{seed}:{part}")
    seen: set[str] = set()
    misses = 0
    while misses < 10_000:
        prompt = task.draw(rng)
        if held_out(prompt) != (part == "eval") or prompt in seen:
            misses += 1
            continue
        misses = 0
        seen.add(prompt)
        yield {"prompt": prompt, "completion": task.teach(prompt, rng), "answer": task.solve(prompt)}


def write(task: Task, folder: Path, train: int, evaluate: int, seed: int = 0) -> dict[str, int]:
    """`sft.jsonl` (with written answers), `prompts.jsonl` and `eval.jsonl` (without); returns rows per file."""
    folder.mkdir(parents=True, exist_ok=True)
    taught = [row for row, _ in zip(rows(task, seed, "train"), range(train), strict=False)]
    held_out = [row for row, _ in zip(rows(task, seed, "eval"), range(evaluate), strict=False)]
    bare = [{k: row[k] for k in ("prompt", "answer")} for row in taught]
    files = {
        "sft.jsonl": taught,
        "prompts.jsonl": bare,
        "eval.jsonl": [{k: row[k] for k in ("prompt", "answer")} for row in held_out],
    }
    for name, content in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    return {name: len(content) for name, content in files.items()}
