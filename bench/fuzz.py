"""Hostile input into every reader: `make fuzz SECONDS=600` tries that long, and writes docs/fuzz.md.

Every reader gets the named hostile inputs first, then damaged real files and made ones, in turns, until the time is
up. The seed is the run's number, so that a table can be made again: `python -m bench.fuzz --seconds 600 --seed 0`.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.inputs import by_chance, named
from tests.fuzz.pool import LIMIT, MEMORY, Outcome, Pool
from tests.fuzz.readers import READERS, Reader

PAGE = Path(__file__).parent.parent / "docs" / "fuzz.md"
FAULTS = Path(__file__).parent.parent / "build" / "fuzz"
"""Where inputs that made faults are written."""
AT_ONCE = 50
"""Inputs by chance of one reader before the next has its turn."""


@dataclass
class Tally:
    """What became of a reader's inputs."""

    reader: Reader
    outcomes: Counter[str] = field(default_factory=Counter[str])
    kinds: Counter[str] = field(default_factory=Counter[str])
    slowest: float = 0.0
    faults: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What was said of each kind of fault -> the shortest input that made it."""

    def add(self, kind: str, content: bytes, outcome: Outcome) -> None:
        self.kinds[kind] += 1
        self.outcomes[outcome.kind] += 1
        self.slowest = max(self.slowest, outcome.seconds)
        if outcome.is_fault:
            key = f"{outcome.kind}: {_in_common(outcome.said)}"
            if key not in self.faults or len(content) < len(self.faults[key]):
                self.faults[key] = content

    @property
    def row(self) -> str:
        n = self.outcomes
        others = n["died"] + n["memory"] + n["mute"] + n["flood"]
        return (
            f"| {self.reader.name} | {n.total():,} | {n['refused']:,} | {n['accepted']:,} | {n['traceback']:,} | "
            f"{n['hang']:,} | {others:,} | {self.slowest:.2f} s |"
        )


def _in_common(said: str) -> str:
    """What faults of one cause share: without what was quoted, without numbers; of a traceback the place."""
    place = re.search(r"\(\S+:\d+ \S+(?= > )", said)
    return said.partition(":")[0] + " " + place[0] if place else re.sub(r"""(['"]).*|\d+""", "", said)[:120]


def try_named(pool: Pool, tally: Tally, until: float = float("inf")) -> None:
    """The hostile inputs that have a name."""
    for kind, content in named(tally.reader.form):
        if time.monotonic() > until:
            return
        tally.add(kind, content, pool.ask(tally.reader.name, content))


def try_by_chance(pool: Pool, tally: Tally, number: int, count: int) -> None:
    """`count` inputs of the turn of that number."""

    @seed(number)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(by_chance(tally.reader.form))
    def attempt(content: bytes) -> None:
        tally.add("by chance", content, pool.ask(tally.reader.name, content))

    attempt()


def fuzz(readers: list[Reader], seconds: float, first: int) -> Iterator[Tally]:
    """Tallies of all readers, in turns."""
    until = time.monotonic() + seconds
    tallies = [Tally(reader) for reader in readers]
    with Pool() as pool:
        for tally in tallies:
            try_named(pool, tally)
        turn = first
        while time.monotonic() < until:
            for tally in tallies:
                if time.monotonic() < until:
                    try_by_chance(pool, tally, turn, AT_ONCE)
            turn += 1
    yield from tallies


def page(tallies: list[Tally], seconds: float, first: int) -> str:
    """docs/fuzz.md."""
    kinds: Counter[str] = Counter()
    for tally in tallies:
        kinds.update(tally.kinds)
    total = Counter[str]()
    for tally in tallies:
        total.update(tally.outcomes)
    lines = [
        "# Hostile input",
        "",
        f"Made by `make fuzz SECONDS={seconds:.0f}` (`bench/fuzz.py`, seed {first}). Each reader of what others wrote "
        "runs in a "
        "process of its own and gets hostile inputs that have a name, real files of this repository with damage, and "
        "made ones. An input must be accepted or refused by a sentence. Faults are an exception that is none of "
        f"ours, more than {LIMIT:.0f} seconds of processor time, and, under *other*, a process that ends, more than "
        f"{MEMORY >> 20} MiB beside four times the input, and an error without a sentence or without an end. "
        "*Slowest* is processor time of one input.",
        "",
        f"{total.total():,} inputs: {total['refused']:,} refused, {total['accepted']:,} accepted, "
        f"{sum(n for kind, n in total.items() if kind not in ('refused', 'accepted')):,} faults.",
        "",
        "| reader | inputs | refused with a sentence | accepted | tracebacks | hangs | other | slowest |",
        "|---|---|---|---|---|---|---|---|",
        *(tally.row for tally in tallies),
        "",
        "| what was tried | inputs |",
        "|---|---|",
        *(f"| {kind} | {count:,} |" for kind, count in kinds.items()),
        "",
        "The same inputs with a fixed seed, and fewer by chance, are part of `make test` (`tests/fuzz`).",
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="Readers whose name holds this; the page is not written.")
    asked = parser.parse_args()
    readers = [reader for reader in READERS.values() if asked.only in reader.name]
    tallies = [*fuzz(readers, asked.seconds, asked.seed)]
    FAULTS.mkdir(parents=True, exist_ok=True)
    for tally in tallies:
        print(tally.row)
        for i, (said, content) in enumerate(tally.faults.items()):
            file = FAULTS / f"{tally.reader.name.replace('/', '-').replace(' ', '-').replace(':', '')}-{i}"
            file.write_bytes(content)
            print(f"    {said[:700]}\n        {content[:160]!r} -> {file}")
    if not asked.only:
        PAGE.write_text(page(tallies, asked.seconds, asked.seed), encoding="utf-8")
    return int(any(tally.faults for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
