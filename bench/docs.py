"""Write docs/methods.md and docs/recipe.md from the code: `make docs`. A test holds them up to date."""

from __future__ import annotations

import ast
import inspect
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

from postlude import recipe
from postlude.algorithms import ALGORITHMS
from postlude.cli.methods import defaults_of, needs_of
from postlude.config import members

DOCS = Path(__file__).parent.parent / "docs"


def methods() -> str:
    """One section per method."""
    lines = ["# Methods", "", "Made by `make docs` from `src/postlude/algorithms.py`.", ""]
    lines += ["| method | what it does | trains |", "|---|---|---|"]
    for entry in ALGORITHMS.values():
        lines.append(f"| [{entry.name}](#{entry.name}) | {entry.summary} | {'yes' if entry.trains else 'not yet'} |")
    for entry in ALGORITHMS.values():
        lines += [
            "",
            f"## {entry.name}",
            "",
            entry.summary,
            "",
            f"Needs {needs_of(entry.name)}. Source: {entry.cite}.",
            "",
        ]
        lines += ["```yaml", *_defaults(entry), "```"]
    return "\n".join(lines) + "\n"


def _defaults(entry: Any) -> list[str]:
    return [f"{path}: {_yaml(value)}" for path, value in defaults_of(entry) if value is not None and value != []]


def _yaml(value: Any) -> str:
    if value == float("inf"):
        return ".inf"
    return str(value).lower() if isinstance(value, bool) else str(value)


def recipe_keys() -> str:
    """Every key with its default and what it means."""
    lines = ["# Every key of a recipe", "", "Made by `make docs` from the dataclasses that are the schema.", ""]
    lines += ["| key | default | meaning |", "|---|---|---|"]
    lines += _rows(recipe.Recipe, "")
    lines += ["", "`objective`, `keep` and `shaping` come from the method: see [methods.md](methods.md)."]
    return "\n".join(lines) + "\n"


def _rows(kind: Any, prefix: str) -> list[str]:
    notes = _notes(kind)
    hints = get_type_hints(kind)
    lines: list[str] = []
    for f in fields(kind):
        inner = [m for m in members(hints[f.name]) if is_dataclass(m)]
        if f.name in ("objective", "keep", "shaping"):
            lines.append(f"| `{prefix}{f.name}` | of the method | {notes.get(f.name, '')} |")
        elif len(inner) == 1:
            lines += _rows(inner[0], f"{prefix}{f.name}.")
        elif parts := [a for a in get_args(hints[f.name]) if is_dataclass(a)]:
            lines += _rows(parts[0], f"{prefix}{f.name}[].")
        else:
            lines.append(f"| `{prefix}{f.name}` | {_default(f)} | {notes.get(f.name, '')} |")
    return lines


def _default(f: Any) -> str:
    if f.default is not MISSING:
        return "" if f.default is None else f"`{_yaml(f.default)}`"
    return "required" if f.default_factory is MISSING else ""


def _notes(kind: Any) -> dict[str, str]:
    """The text under each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    notes = {}
    for node, following in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(following, ast.Expr):
            text = getattr(following.value, "value", None)
            if isinstance(text, str):
                notes[node.target.id] = " ".join(text.split())  # type: ignore[union-attr]
    return notes


PAGES = {"methods.md": methods, "recipe.md": recipe_keys}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (DOCS / name).write_text(make())
