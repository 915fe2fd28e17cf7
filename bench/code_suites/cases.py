"""A case: a row, an answer, and what the reward must make of it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Wanted = Literal["right", "wrong", "cheat", "bad row"]
"""What an answer is, or that its row must be refused."""


@dataclass(frozen=True)
class Case:
    suite: str
    name: str
    row: Mapping[str, Any]
    answer: str
    wanted: Wanted
    args: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the reward."""
    alone: str = ""
    """The answer's program and the tests as one script: where it is there, what becomes of that says what is right."""


def read(file: Path) -> Iterator[Mapping[str, Any]]:
    """Rows of JSON lines, compressed or not. Raises OSError, ValueError."""
    with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def cases_in(file: Path) -> Iterator[Case]:
    """Of rows with `kind`, `name`, `row`, `response`, `expected` (pass, fail, refused) and, for some, `args`."""
    for row in read(file):
        wanted: Wanted = "right" if row["expected"] == "pass" else "wrong"
        if row["expected"] == "refused":
            wanted = "bad row"
        elif wanted == "wrong" and "cheat" in f"{row['kind']} {row['name']}":
            wanted = "cheat"
        yield Case(row["kind"], row["name"], row["row"], row["response"], wanted, row.get("args") or {})
