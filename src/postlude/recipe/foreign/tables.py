"""The tables of names (`trl.toml`, `verl.toml`, `papers.toml`) and of kinds of files (`trainers.toml`).

The first are read when this module is imported (some 5 ms), the last where a file is imported. A conversion that does
not exist, or a field that a row does not have, is an error there; tests hold every key of ours to the schema.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

from postlude.recipe.foreign import of_trl, of_verl
from postlude.recipe.foreign.alias import Alias, Refused, Trainer, listed
from postlude.recipe.foreign.conversions import CONVERSIONS

LIBRARIES = {"verl": "verl.toml", "TRL": "trl.toml", "common": "papers.toml"}
METHODS = {method.__name__: method for method in (of_trl.trl_grpo, of_trl.trl_dpo, of_verl.verl_ppo)}
"""Methods that a trainer's settings decide."""


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(name).read_text(encoding="utf-8"))


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(listed(value))


def _fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with tuples for lists."""
    return {key: _several(value) if isinstance(value, list) else value for key, value in row.items()}


def _alias(library: str, name: str, row: Mapping[str, Any], values: Mapping[str, Any]) -> Alias:
    fields: dict[str, Any] = _fields(row)
    fields["ours"], fields["weak"] = _several(row["ours"]), _several(row.get("weak", []))
    if isinstance(row.get("values"), str):
        fields["values"] = values[row["values"]]
    by = fields.pop("by", None)
    if by is not None and by not in CONVERSIONS:
        raise ValueError(f"{LIBRARIES[library]}: {name}: there is no conversion {by!r}")
    return Alias(library, name, convert=CONVERSIONS[by] if by else None, **fields)


def _refused(library: str, row: Mapping[str, Any]) -> Refused:
    return Refused(library, **_fields(row))


TABLES = {library: _read(name) for library, name in LIBRARIES.items()}
ALIASES = tuple(
    _alias(library, name, row, table.get("values", {}))
    for library, table in TABLES.items()
    for name, row in table["options"].items()
)
"""Every name that is understood, in the order they are applied."""
NAMES = {name: alias for alias in reversed(ALIASES) for name in alias.names}
REFUSED = tuple(_refused(library, row) for library in ("TRL", "verl") for row in TABLES[library]["refused"])
"""Options that nothing here corresponds to. First match wins."""


def refusal(name: str, library: str | None = None, exact: bool = False) -> Refused | None:
    """Why a name has no counterpart; None for an unknown one. `exact` passes over wildcards."""
    for row in REFUSED:
        if library in (None, row.library) and any(_matches(name, p, exact) for p in row.names):
            return row
    return None


def _matches(name: str, pattern: str, exact: bool) -> bool:
    return name == pattern if exact else fnmatchcase(name, pattern)


def reason(row: Refused, value: Any) -> str:
    """The reason, or that the value asks for what happens anyway."""
    if any(value == n and type(value) is type(n) for n in row.neutral):
        return "as it is here anyway"
    return row.why


@cache
def trainers() -> tuple[Trainer, ...]:
    """The kinds of files."""
    table = _read("trainers.toml")
    return tuple(_trainers(table["trainers"], table["defaults"]))


def _trainers(rows: list[dict[str, Any]], shared: Mapping[str, dict[str, Any]]) -> Iterator[Trainer]:
    for row in rows:
        fields = _fields(row)
        defaults: dict[str, Any] = {}
        for name in fields.pop("like", ()):
            defaults |= shared[name]
        fields["defaults"] = defaults | row["defaults"]
        fields["constants"] = dict.fromkeys(fields.pop("off", ())) | row.get("constants", {})
        fields["method"] = METHODS.get(row["method"]) or _always(row["method"])
        yield Trainer(**fields)


def _always(method: str) -> Callable[[Mapping[str, Any], Mapping[str, Any]], str]:
    def chosen(force: Mapping[str, Any], written: Mapping[str, Any]) -> str:
        return method

    return chosen
