"""What a step of several trainers is said to have taken."""

from __future__ import annotations

import time

import pytest

from postlude.engines.ranks.tally import Tally


def test_an_update_is_as_uneven_as_its_parts_together() -> None:
    tally = Tally()
    tally.update([[30.0, 10.0], [10.0, 30.0]])
    assert tally.figures() == {"ranks/imbalance": 1.0}, "what one part has more of the other has less of"
    tally.update([[30.0, 10.0]])
    tally.update([[0.0, 0.0]])
    assert tally.figures() == {"ranks/imbalance": (1.5 + 1.0) / 2}
    assert tally.figures() == {}, "an evaluation updates nothing"


def test_seconds_are_counted_however_a_block_ends_and_once() -> None:
    tally = Tally()
    with pytest.raises(ValueError), tally.timing("restart"):
        raise ValueError
    spent = tally.take()
    assert spent.pop("restart") > 0 and spent == {"share": 0.0, "gather": 0.0}
    assert set(tally.take().values()) == {0.0}


def test_a_restart_is_no_part_of_what_it_interrupts() -> None:
    tally = Tally()
    with tally.timing("gather"), tally.timing("restart"):
        time.sleep(0.02)
    spent = tally.take()
    assert spent["gather"] < 0.02 <= spent["restart"] == tally.restarting
