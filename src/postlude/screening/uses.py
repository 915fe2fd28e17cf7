"""What a file is good for: which methods could learn from it, and what the others would want."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from postlude.algorithms import ALGORITHMS
from postlude.errors import DataError, Problem
from postlude.screening.checked import Checked, Need, check_rows
from postlude.sources.forms import Reading
from postlude.sources.table import Table

PLAINLY: Mapping[str, Need] = {
    "pairs": Need("preference", ("pair",)),
    "ranked or rated lists": Need("preference", ("rated",)),
    "answers with a thumb up or down": Need("preference", ("binary",)),
    "labelled steps": Need("preference", ("steps",)),
    "demonstrations": Need("file"),
    "prompts": Need("rollout"),
}
"""What rows can be, the most that can be made of them first."""


@dataclass(frozen=True)
class Use:
    """One way to read a file."""

    name: str
    need: Need
    rows: int
    """That are good for it; 0 where the file cannot be read so."""
    problem: Problem | None = None
    """Why it cannot."""

    @property
    def methods(self) -> list[str]:
        """The methods that learn from such rows."""
        return [name for name, entry in ALGORITHMS.items() if _serves(Need.of(entry), self.need)]


def _serves(wanted: Need, there: Need) -> bool:
    return wanted.source == there.source and (not there.kinds or bool({*there.kinds} & {*wanted.kinds}))


def copy_of(table: Table) -> Table:
    """A table to read in one way, so that the same rows can be read in another."""
    lists = {"rows": [*table.rows], "problems": [*table.problems], "notes": [*table.notes]}
    return replace(table, changed=Counter(table.changed), **lists)


def uses_of(table: Table, reading: Reading) -> list[Use]:
    """Every way a file can be read, tried on all of its rows without a tokenizer."""
    return [_tried(name, need, table, reading) for name, need in PLAINLY.items()]


OF_ALL = {"unknown-rows", "wrong-rows", "mixed-rows", "ambiguous-rows"}
"""What is wrong with a file once it is with some of its rows."""
FIRST = 1000
"""Rows that are tried before all."""


def _tried(name: str, need: Need, table: Table, reading: Reading) -> Use:
    if len(table.rows) > FIRST:
        first = _tried(name, need, replace(table, rows=table.rows[:FIRST]), reading)
        if first.problem and first.problem.code in OF_ALL:
            return first
    copy = copy_of(table)
    try:
        checked = check_rows(copy, need, None, reading)
    except DataError as error:
        return Use(name, need, 0, error.problems[0])
    if _is_other(need, checked, copy):
        return Use(name, need, 0)
    return Use(name, need, len(copy.rows), copy.problems[-1] if copy.problems and not copy.rows else None)


def _is_other(need: Need, checked: Checked, table: Table) -> bool:
    """Whether rows fit only by the way: a conversation that ends with its answer asks nothing."""
    return not table.rows or (need.kinds != () and checked.kind not in need.kinds)


def best(uses: list[Use]) -> Use | None:
    """The use that reads most of a row and that most rows are good for; else the one that more rows are good for."""
    possible = [use for use in uses if use.rows]
    most = max((use.rows for use in possible), default=0)
    return next((use for use in possible if use.rows >= most / 2), None)
