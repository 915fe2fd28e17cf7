"""Columns that the user named: `--columns prompt=question,chosen=good`."""

from __future__ import annotations

from collections.abc import Mapping

from postlude.advice.names import NAMES, TEST_COLUMNS
from postlude.errors import ConfigError
from postlude.sources.forms import CANONICAL
from postlude.sources.table import Row, Table

BESIDE = {"system", "tools", *TEST_COLUMNS, "entry_point"}
"""Columns that are read beside those that were named."""
NAMED = {*CANONICAL, *NAMES}
"""What columns can be named."""


def has_named(table: Table, columns: Mapping[str, str]) -> bool:
    seen = {name for row in table.rows for name in row.values}
    return bool(columns) and {*columns.values()} <= seen


def named_in(row: Row, columns: Mapping[str, str]) -> Row:
    """A row with the columns that were named, under these names."""
    beside = {name: value for name, value in row.values.items() if name in BESIDE and name not in columns.values()}
    return Row(row.where, {**beside, **{name: row.values.get(column) for name, column in columns.items()}})


def require_named(tables: Mapping[str, Table], columns: Mapping[str, str]) -> None:
    """Raise ConfigError where names are none, or no file has the columns."""
    unknown = [name for name in columns if name not in NAMED]
    if unknown:
        names = ", ".join(sorted(NAMED))
        text = f"--columns: {', '.join(unknown)} is nothing that a column can hold; there are {names}."
        raise ConfigError(text, code="wrong-type")
    if columns and not any(has_named(table, columns) for table in tables.values()):
        rows = [row for table in tables.values() for row in table.written.values() if isinstance(row, Mapping)]
        seen = dict.fromkeys(name for row in rows for name in row)
        missing = ", ".join([column for column in columns.values() if column not in seen] or columns.values())
        text = f"--columns: no file has {missing}; the columns are {', '.join(seen)}."
        raise ConfigError(text, code="missing-column")
