"""Runs whose servers fail at every call and in every way end as if nothing were, or in words that name a server.

The short form of `python -m bench.scale_faults`, in which each run has several faults.
"""

from __future__ import annotations

from pathlib import Path

from bench.scale_faults.table import CALLS, WAYS, short, trials
from bench.scale_faults.trial import World


def test_whatever_servers_do_wrong_nothing_wrong_is_trained_on_and_nothing_hangs(tmp_path: Path) -> None:
    world = World(tmp_path)
    outcomes = [world.tried(*trial) for trial in short()]
    assert not [(outcome.kind, outcome.trial, outcome.text) for outcome in outcomes if not outcome.right]
    assert sum(outcome.kind == "whole" for outcome in outcomes) >= 9


def test_every_call_fails_and_in_every_way() -> None:
    for planted in ([one for trial in short() for one in trial], trials()):
        assert {one.call for one in planted} == {*CALLS}
        assert {one.way for one in planted} == {*WAYS}
    assert len(trials()) >= 100
