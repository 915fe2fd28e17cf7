"""Right answers out of files of rows, whatever their column is called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = (
    "final_answer",
    "answer",
    "Answer",
    "expected_answer",
    "correct",
    "ground_truth",
    "target",
    "solution",
    "label",
)
"""Columns that hold a right answer, the first that is filled counts: worked solutions come after short answers."""


@dataclass(frozen=True)
class Gold:
    """A right answer as a row gives it."""

    place: str
    """File and row, from 1."""
    answer: Any


@dataclass(frozen=True)
class GoldSet:
    """The right answers of one file."""

    name: str
    golds: tuple[Gold, ...]
    without: int
    """Rows in which no column holds one."""


def gold_sets(paths: Sequence[Path]) -> list[GoldSet]:
    """A set for every file; of a folder, all its .jsonl and .json files. Raises ValueError for what is not JSON."""
    return [one for file in _files(paths) if (one := _read(file)).golds or one.without]


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(p for p in path.iterdir() if p.suffix in (".jsonl", ".json")) if path.is_dir() else [path]


def _read(path: Path) -> GoldSet:
    golds: list[Gold] = []
    without = 0
    for number, row in enumerate(_rows(path), 1):
        answer = _answer(row)
        if answer is None:
            without += 1
        else:
            golds.append(Gold(f"{path.name}:{number}", answer))
    return GoldSet(path.stem.removesuffix("_test"), tuple(golds), without)


def _rows(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    try:
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(x) for x in text.split("\n") if x.strip()]
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    return list(rows) if isinstance(rows, list) else [rows]  # pyright: ignore[reportUnknownArgumentType]


def _answer(row: Any) -> Any:
    if not isinstance(row, dict):
        return None
    values = (row.get(name) for name in COLUMNS)  # pyright: ignore
    value: Any = next((v for v in values if v not in (None, "", [])), None)
    return value[0] if isinstance(value, list) and len(value) == 1 else value  # pyright: ignore
