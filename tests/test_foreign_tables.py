"""The tables of foreign names hold together: conversions, keys of ours and options of theirs that they name exist."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from postlude.algorithms import ALGORITHMS
from postlude.recipe.foreign import tables
from postlude.recipe.foreign.alias import Alias, Trainer
from postlude.recipe.foreign.conversions import CONVERSIONS
from postlude.recipe.foreign.tables import ALIASES, METHODS, REFUSED, TABLES, refusal, trainers
from postlude.recipe.schema import Recipe
from postlude.validation import members

ROOT = Path(__file__).parent.parent


def keys_of(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every dotted key of the schema, those inside lists (`reward.clip`) too."""
    for option in members(schema):
        if is_dataclass(option):
            for name, hint in get_type_hints(option, include_extras=True).items():
                yield f"{prefix}{name}"
                yield from keys_of(hint, f"{prefix}{name}.")
        else:
            for inner in get_args(option):
                yield from keys_of(inner, prefix)


KEYS = {*keys_of(Recipe)}
LIBRARIES = ("TRL", "verl", "common")


def ours_in(alias: Alias) -> Iterator[str]:
    """Every key of ours that a row names."""
    yield from (*alias.ours, *alias.weak)
    yield from (key.partition(" = ")[0] for key in (alias.needs, alias.idle_without) if key)
    if alias.convert is not CONVERSIONS["columns"]:
        yield from _ours_in_values(alias.values or {})


def _ours_in_values(values: Any) -> Iterator[str]:
    for value in values.values():
        if isinstance(value, dict):
            yield from (key for key, inner in value.items() if not isinstance(inner, dict))
            yield from _ours_in_values(value)


@pytest.mark.parametrize("alias", ALIASES, ids=lambda a: a.name)
def test_every_key_of_ours_that_a_row_names_is_in_the_schema(alias: Alias) -> None:
    assert {*ours_in(alias)} <= KEYS
    assert {*alias.weak} <= {*alias.ours}


@pytest.mark.parametrize("alias", ALIASES, ids=lambda a: a.name)
def test_every_option_of_theirs_that_a_row_names_is_a_row(alias: Alias) -> None:
    options = TABLES[alias.library]["options"]
    named = {name for name in (alias.unless_off, alias.only_with) if name}
    if alias.convert is CONVERSIONS["columns"]:
        named |= {*(alias.values or {})}
    assert named <= {*options}


@pytest.mark.parametrize("row", REFUSED, ids=lambda r: r.names[0])
def test_reasons_name_keys_that_exist(row: Any) -> None:
    assert {*row.use} <= KEYS
    assert {*row.older} <= {*row.names}
    roots = "|".join(sorted({key.partition(".")[0] for key in KEYS}))
    mentioned = re.findall(rf"(?<![\w.])(?:{roots})\.[a-z_.\d]*[a-z_\d]", row.why)
    assert {*mentioned} <= KEYS, row.why


def test_no_reason_denies_what_is_there() -> None:
    """Nothing is refused that has a translation; the words are those of reasons that were once true."""
    names = {name for alias in ALIASES if not alias.only_imported for name in alias.names}
    assert not [n for row in REFUSED for n in row.names if n in names]
    stale = ("cannot be trained", "is not measured", "dropout is never", "are Python functions here", "always packed")
    assert not [row.why for row in REFUSED if any(text in row.why for text in stale)]


def test_every_conversion_is_named_by_a_row() -> None:
    named = {row["by"] for table in TABLES.values() for row in table["options"].values() if "by" in row}
    assert named == {*CONVERSIONS}


@pytest.mark.parametrize("name", ["mistaken", "kl_weigth"])
def test_a_conversion_that_does_not_exist_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=rf"trl.toml: x: there is no conversion '{name}'"):
        tables._alias("TRL", "x", {"ours": "steps", "by": name}, {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nots'"):
        tables._alias("TRL", "x", {"ours": "steps", "nots": "..."}, {})
    with pytest.raises(KeyError, match="absent"):
        tables._alias("TRL", "x", {"ours": "steps", "values": "absent"}, {})


@pytest.mark.parametrize("trainer", trainers(), ids=lambda t: f"{t.library}-{t.name}")
def test_trainers_name_what_exists(trainer: Trainer) -> None:
    options = TABLES[trainer.library]["options"] | TABLES["common"]["options"]
    assert {*trainer.defaults} <= {*options}, "every default has a translation"
    assert {*trainer.constants} <= KEYS
    unmarked = [m for m in trainer.marks if not any(fnmatchcase(n, m) for n in options) and not refusal(m)]
    assert not unmarked
    rows = tables._read("trainers.toml")["trainers"]
    (method,) = {r["method"] for r in rows if (r["library"], r["name"]) == (trainer.library, trainer.name)}
    assert method in METHODS or method in ALGORITHMS


def test_every_file_beside_the_code_is_packaged() -> None:
    package = ROOT / "src" / "postlude"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["postlude"]
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    beside = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc", ".pyi")}
    assert beside <= packaged
