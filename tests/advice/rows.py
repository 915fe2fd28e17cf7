"""Rows of every kind of feedback, made on the spot."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WORDS = [
    "water", "stone", "river", "cloud", "table", "lamp", "garden", "engine", "music",
    "paper", "window", "letter", "bridge", "forest", "silver", "copper", "summer", "winter",
    "mirror", "candle", "harbour", "meadow", "ladder", "basket", "pepper", "velvet", "marble",
    "thunder", "pocket", "ribbon",
]  # fmt: skip
Row = dict[str, Any]


class Maker:
    """Random texts, the same for a seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def words(self, low: int, high: int | None = None) -> str:
        count = low if high is None else self.random.randint(low, high)
        return " ".join(self.random.choice(WORDS) for _ in range(count))

    def prompt(self, i: int) -> str:
        return f"Describe {self.words(6)} number {i}"

    def rows(self, count: int, make: Callable[[int], Row]) -> list[Row]:
        return [make(i) for i in range(count)]


def pairs(n: int = 300, seed: int = 0) -> list[Row]:
    m = Maker(seed)
    return m.rows(
        n, lambda i: {"prompt": m.prompt(i), "chosen": m.words(5, 20) + ".", "rejected": m.words(5, 20) + "."}
    )


def longer(n: int = 300, share: float = 0.95) -> list[Row]:
    """Pairs whose better answer is mostly the longer one."""
    m = Maker(1)

    def make(i: int) -> Row:
        long, short = m.words(20, 30) + ".", m.words(5, 10) + "."
        better, worse = (long, short) if i < share * n else (short, long)
        return {"prompt": m.prompt(i), "chosen": better, "rejected": worse}

    return m.rows(n, make)


def thumbs(n: int = 300, up: Callable[[int], bool] = lambda i: i % 3 > 0) -> list[Row]:
    m = Maker(2)
    return m.rows(n, lambda i: {"prompt": m.prompt(i), "completion": m.words(12) + ".", "label": up(i)})


def golds(n: int = 300) -> list[Row]:
    m = Maker(3)
    return m.rows(n, lambda i: {"question": f"{m.words(4)}: what is {i} + {i + 7}?", "answer": str(2 * i + 7)})


def gsm(n: int = 300) -> list[Row]:
    m = Maker(4)
    return m.rows(n, lambda i: {"question": f"{m.prompt(i)}?", "answer": f"He has {m.words(12)}.\n#### {3 * i}"})


def tests(n: int = 40) -> list[Row]:
    m = Maker(5)
    return m.rows(
        n, lambda i: {"prompt": f"Write a function f for {m.words(5)} {i}.", "tests": [f"assert f({i}) == {2 * i}"]}
    )


def written(n: int = 300) -> list[Row]:
    m = Maker(6)
    return m.rows(n, lambda i: {"prompt": m.prompt(i), "completion": m.words(20) + "."})


def alpaca(n: int = 300) -> list[Row]:
    m = Maker(7)
    return m.rows(n, lambda i: {"instruction": m.prompt(i), "input": "", "output": m.words(20) + "."})


def prompts(n: int = 300) -> list[Row]:
    m = Maker(8)
    return m.rows(n, lambda i: {"prompt": m.prompt(i)})


def texts(n: int = 300) -> list[Row]:
    m = Maker(9)
    return m.rows(n, lambda i: {"text": f"{m.words(40)} {i}."})


def lists(n: int = 300) -> list[Row]:
    m = Maker(10)
    return m.rows(
        n,
        lambda i: {
            "prompt": m.prompt(i),
            "completions": [m.words(5, 12) + "." for _ in range(4)],
            "ranks": m.random.sample([1, 2, 3, 4], 4),
        },
    )


def steps(n: int = 300) -> list[Row]:
    m = Maker(11)
    return m.rows(
        n,
        lambda i: {
            "prompt": m.prompt(i),
            "completions": [m.words(5), m.words(6)],
            "labels": [True, m.random.random() < 0.5],
        },
    )


def choices(n: int = 300) -> list[Row]:
    m = Maker(12)
    return m.rows(n, lambda i: {"prompt": f"{m.prompt(i)}?\nA. one\nB. two", "answer": m.random.choice("ABCD")})


def labels(n: int = 300) -> list[Row]:
    m = Maker(13)
    return m.rows(n, lambda i: {"text": f"{m.words(12)} {i}", "label": m.random.choice(["spam", "ham"])})


def better_of_two(n: int = 300) -> list[Row]:
    """As an annotation tool leaves it."""
    m = Maker(14)
    return m.rows(
        n,
        lambda i: {
            "question": m.prompt(i),
            "response_a": m.words(5, 12) + ".",
            "response_b": m.words(5, 12) + ".",
            "preference": m.random.choice(["A", "B", "B", "A", "tie"]),
        },
    )


def up_and_down(n: int = 300) -> list[Row]:
    m = Maker(15)
    return m.rows(
        n, lambda i: {"query": m.prompt(i), "reply": m.words(12) + ".", "feedback": m.random.choice(["up", "down"])}
    )


def stars(n: int = 300) -> list[Row]:
    m = Maker(16)
    return m.rows(
        n, lambda i: {"prompt": m.prompt(i), "response": m.words(12) + ".", "rating": m.random.choice([1, 2, 3, 4, 5])}
    )


def graded_steps(n: int = 300) -> list[Row]:
    m = Maker(17)
    return m.rows(
        n,
        lambda i: {
            "problem": m.prompt(i),
            "steps": [{"text": m.words(5), "label": 1}, {"text": m.words(4), "label": m.random.choice([0, 1])}],
        },
    )


def save(path: Path, rows: Sequence[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
