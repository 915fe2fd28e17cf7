"""Part `faults`: a hundred runs whose fake server fails on purpose, each at another call or in another way."""

from __future__ import annotations

from collections import Counter

from bench.scale_faults.__main__ import named
from bench.scale_faults.table import trials
from bench.scale_faults.trial import Outcome, World
from bench.scale_servers.material import Place
from bench.scale_servers.processes import gone
from bench.scale_servers.report import Report

HEADS = ("call", "trials", "whole", "in words", "not as it should be")


def faults(place: Place) -> Report:
    """Counts of how they ended, call by call."""
    folder = place.folder / "faults"
    gone(folder)
    folder.mkdir(parents=True)
    world = World(folder)
    outcomes = [world.tried(trial) for trial in trials()]
    report = Report("faults", HEADS)
    calls = {named(one.trial): one.trial[0].call for one in outcomes}
    for call in dict.fromkeys(calls.values()):
        report.rows.append(_row(call, [one for one in outcomes if calls[named(one.trial)] == call]))
    report.rows.append(_row("all", outcomes))
    wrong = [one for one in outcomes if not one.right]
    said = f"{len(outcomes) - len(wrong)} of {len(outcomes)}"
    said += "".join(f"; {named(one.trial)}: {one.kind}, {one.text.partition(chr(10))[0][:150]}" for one in wrong)
    report.claim("faults end as if nothing were, or in words that name the server, and go on then", not wrong, said)
    return report


def _row(call: str, outcomes: list[Outcome]) -> tuple[str, ...]:
    kinds = Counter(one.kind if one.right else "wrong" for one in outcomes)
    return call, str(len(outcomes)), *(str(kinds[kind]) for kind in ("whole", "in words", "wrong"))
