"""Every key of a recipe, read from the dataclasses that are its schema: path, default, values, meaning, class."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from postlude.bounds import bounds_of
from postlude.recipe.schema import Recipe
from postlude.validation import members, tag

EACH = "[]"
"""After the name of a list in a path: one of its entries."""


@dataclass(frozen=True)
class Key:
    """One field of the schema. Parts that take turns in one place can have a key of the same path each."""

    path: str
    """`objective.kl.coef`; `reward[].weight`."""
    owner: type
    """The dataclass that it is a field of."""
    field: Field[Any]
    hint: Any
    """Its type, with bounds."""

    @property
    def part(self) -> str | None:
        """The `kind` of the part it belongs to (`gae`), where several can stand in its place."""
        return tag(self.owner)

    @property
    def default(self) -> str:
        """As a recipe would hold it; empty where there is none, `required` where one is needed."""
        if self.field.default is MISSING:
            return "required" if self.field.default_factory is MISSING else ""
        value: Any = self.field.default
        if value is None or is_dataclass(value):
            return ""
        return written(value)

    @property
    def values(self) -> str:
        """What it takes, in a few words."""
        return values_of(self.hint)

    @property
    def meaning(self) -> str:
        """The text under the field, or that of the dataclass it holds."""
        note = notes_of(self.owner).get(self.field.name, "")
        parts = [m for m in members(self.hint) if is_dataclass(m)]
        if not note and len(parts) == 1:
            return " ".join((parts[0].__doc__ or "").split("\n\n")[0].split())
        return note

    @property
    def place(self) -> str:
        """`engines/settings.py:Sampling`."""
        return f"{self.owner.__module__.removeprefix('postlude.').replace('.', '/')}.py:{self.owner.__name__}"


def written(value: Any) -> str:
    """A value as YAML has it."""
    if value == float("inf"):
        return ".inf"
    return str(value).lower() if isinstance(value, bool) else str(value)


def values_of(hint: Any) -> str:
    """The values of a type in a few words; empty where any of it will do."""
    options = members(hint)
    words = [str(c) for option in options if get_origin(option) is Literal for c in get_args(option)]
    words += [name for option in options if (name := tag(option))]
    if words:
        return ", ".join(words)
    if bool in options:
        return "true, false"
    limits = bounds_of(hint)
    return str(limits) if limits else ""


@cache
def keys() -> Mapping[str, tuple[Key, ...]]:
    """Path -> its keys, in the order of the schema."""
    table: dict[str, list[Key]] = {}
    for key in _of(Recipe, ""):
        table.setdefault(key.path, []).append(key)
    return {path: tuple(several) for path, several in table.items()}


def _of(owner: type, prefix: str) -> Iterator[Key]:
    hints = get_type_hints(owner, include_extras=True)
    for field in fields(owner):
        hint, path = hints[field.name], prefix + field.name
        yield Key(path, owner, field, hint)
        for option in members(hint):
            if is_dataclass(option):
                yield from _of(option, f"{path}.")  # type: ignore[arg-type]
            elif get_origin(option) is tuple:
                for entry in members(get_args(option)[0]):
                    if is_dataclass(entry):
                        yield from _of(entry, f"{path}{EACH}.")  # type: ignore[arg-type]


def notes_of(owner: type) -> Mapping[str, str]:
    """Field -> the text under it."""
    return _notes(Path(str(sys.modules[owner.__module__].__file__))).get(owner.__name__, {})


@cache
def _notes(path: Path) -> Mapping[str, Mapping[str, str]]:
    """Class -> field -> text, of a file."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name: dict(_texts(node)) for node in body if isinstance(node, ast.ClassDef)}


def _texts(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, following in pairwise(node.body):
        named = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if named and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            if isinstance(following.value.value, str):
                yield statement.target.id, " ".join(following.value.value.split())  # type: ignore[union-attr]
