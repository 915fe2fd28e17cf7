"""Every row of the notes leads to a topic that is there, and to a command that exists."""

from __future__ import annotations

from collections import Counter

import pytest
from typer.main import get_command

from postlude.cli.app import app
from postlude.cli.explain import commands_of
from postlude.explain import topics
from postlude.facts.erratum import NOTES
from postlude.facts.notes import ROWS, TITLES, Row

COMMANDS = commands_of(get_command(app))  # type: ignore[arg-type]
MAKE = {"study-overoptimization", "study-drpo"}


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.note}: {row.section}: {row.text}" for row in ROWS])
def test_a_row_is_reachable(row: Row) -> None:
    several = topics.find(row.topic, more=(COMMANDS,))
    assert several, row.topic
    assert several[0].place or several[0].source
    program, word = row.command.split()[:2]
    known = MAKE if program == "make" else {name.split()[0] for name in COMMANDS.names()}
    assert program in ("postlude", "make") and word in known
    if row.command.startswith("postlude explain ") and "--" not in row.command:
        assert topics.find(row.command.removeprefix("postlude explain "), more=(COMMANDS,))


def test_all_four_notes_are_there_and_no_row_stands_twice() -> None:
    assert set(TITLES) == set(NOTES) == {row.note for row in ROWS}
    twice = Counter((row.note, row.section, row.text) for row in ROWS)
    assert [row for row, count in twice.items() if count > 1] == []
