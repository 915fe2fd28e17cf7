"""The short form of `make fuzz`, always with the same inputs: one of each third kind for a reader, and a few by chance."""

from __future__ import annotations

from collections import defaultdict

import pytest

from bench.fuzz import Tally, try_by_chance
from tests.fuzz.hostile import PIECES
from tests.fuzz.inputs import named
from tests.fuzz.pool import Pool
from tests.fuzz.readers import READERS

BY_CHANCE = 3
SLOW = 1 << 19
"""Bytes of an input that is left to the long form."""


def test_no_reader_ends_without_a_sentence() -> None:
    """One test, since all readers share one process, whose libraries take seconds to import."""
    tallies = [Tally(reader) for reader in READERS.values()]
    with Pool() as pool:
        for turn, tally in enumerate(tallies):
            kinds: dict[str, list[bytes]] = defaultdict(list)
            for kind, content in named(tally.reader.form):
                if len(content) < SLOW:
                    kinds[kind].append(content)
            for kind, contents in [*kinds.items()][turn % 3 :: 3]:
                content = contents[turn % len(contents)]
                tally.add(kind, content, pool.ask(tally.reader.name, content))
            try_by_chance(pool, tally, 0, BY_CHANCE)
    faults = [
        f"{tally.reader.name}: {said}: {content[:200]!r}" for tally in tallies for said, content in tally.faults.items()
    ]
    assert not faults, "\n".join(faults)
    assert all(tally.outcomes.total() > 3 for tally in tallies)
    assert all(
        tally.outcomes["refused"] for tally in tallies if tally.reader.name.startswith(("data", "model", "recipe"))
    )


@pytest.mark.parametrize("kind", PIECES)
def test_pieces_are_many_and_differ(kind: str) -> None:
    assert len(set(PIECES[kind])) == len(PIECES[kind]) >= 4
