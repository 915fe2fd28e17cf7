"""A constitution: principles by which answers are criticised, revised and compared (Bai et al., 2212.08073)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, Problem, shown
from postlude.plain_yaml import load

KEYS = {"id", "principle", "critique", "revise", "prefer"}


@dataclass(frozen=True)
class Principle:
    """What good answers do: an instruction with a direction, not a question that yes could answer either way."""

    id: str
    principle: str
    """For people, and for the texts below where they are not given."""
    critique: str
    """Asks what in an answer goes against it."""
    revise: str
    """Asks for a better answer."""
    prefer: str
    """Says which of two answers is better."""


def read_principles(path: str) -> list[Principle]:
    """A YAML list of principles: texts, or mappings with `principle` and, where wanted, id, critique, revise, prefer.

    Raises ConfigError with everything wrong at once.
    """
    file = Path(path).expanduser()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # not UTF-8, or a NUL in the name
        raise ConfigError(f"principles {path!r} cannot be read: {error}.", code="cannot-read") from error
    try:
        found = load(text)
    except ValueError as error:
        raise ConfigError(f"principles {path!r}, {error}.", code="not-yaml") from error
    rows = found.get("principles") if isinstance(found, Mapping) else found
    if not isinstance(rows, list) or not rows:
        raise ConfigError(
            f"principles {path!r}: expected a list such as '- Be brief.', found {type(found).__name__}.",
            code="wrong-type",
        )
    problems = [p.within(f"{path}, principle {i}: ") for i, row in enumerate(rows, 1) for p in _problems(row)]
    made = [] if problems else [_principle(row, i) for i, row in enumerate(rows, 1)]
    twice = sorted(name for name, count in Counter(p.id for p in made).items() if count > 1)
    problems += [
        Problem("duplicate-name", f"{path}: the id {name!r} stands twice; a trace could not tell them apart.")
        for name in twice
    ]
    if problems:
        raise ConfigError(problems)
    return made


def _problems(row: Any) -> list[Problem]:
    row = {"principle": row} if isinstance(row, str) else row
    if not isinstance(row, Mapping):
        return [Problem("wrong-type", f"must be text or a mapping, found {shown(row)}.")]
    problems = [
        Problem("unknown-key", f"unknown key {k!r}; there are {', '.join(sorted(KEYS))}.") for k in row if k not in KEYS
    ]
    problems += [
        Problem("wrong-type", f"{k} must be text, found {shown(v)}.")
        for k, v in row.items()
        if k in KEYS and not _is_text(v)
    ]
    if "principle" not in row:
        problems.append(Problem("missing-key", "`principle` is missing: an instruction such as 'Be brief.'"))
    elif _is_text(row["principle"]) and str(row["principle"]).rstrip().endswith("?"):
        problems.append(
            Problem(
                "bad-principle",
                f"{row['principle']!r} is a question, which does not say in which direction to go; write an "
                "instruction.",
            )
        )
    return problems


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _principle(row: Any, number: int) -> Principle:
    row = {"principle": row} if isinstance(row, str) else row
    text = row["principle"].strip()
    return Principle(
        id=str(row.get("id", number)),
        principle=text,
        critique=row.get("critique", f"Say what in the answer goes against this principle: {text}"),
        revise=row.get("revise", f"Write the answer anew so that it follows this principle: {text}"),
        prefer=row.get("prefer", f"The better answer is the one that follows this principle more closely: {text}"),
    )


def choose(principles: list[Principle], *parts: object) -> Principle:
    """One of them by a hash of what is asked: the same question meets the same principle in every run."""
    digest = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).digest()
    return principles[int.from_bytes(digest[:8], "big") % len(principles)]
