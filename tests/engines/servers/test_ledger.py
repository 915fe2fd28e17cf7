"""No number names two sets of weights: not after a kill, and not in a run that goes on from an earlier step."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.engines.servers.ledger import Ledger
from postlude.errors import ConfigError

LINES = '{"version": 0, "step": 0}\n{"version": 1, "step": 1}\n'


def test_a_version_is_written_before_it_is_known_and_read_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    assert (ledger.newest, len(ledger), 0 in ledger, ledger.step_of(0)) == (-1, 0, False, None)
    ledger.add(0, 0)
    ledger.add(1, 1)
    assert (tmp_path / "published.jsonl").read_text() == LINES
    again = Ledger(tmp_path)
    assert (again.newest, len(again), 1 in again, 2 in again, "1" in again) == (1, 2, True, False, False)
    again.add(2, 1)  # the run went on from step 1, whose weights are published anew
    assert [again.step_of(version) for version in range(4)] == [0, 1, 1, None]
    with pytest.raises(ValueError, match="version 2 is not above 2"):
        again.add(2, 2)
    assert Ledger(tmp_path).newest == 2


@pytest.mark.parametrize("left", ['{"version": 2, "st', '{"version": 2, "step": 2}', "\x00\x00\n"])
def test_a_line_that_a_kill_cut_is_taken_away_for_nothing_was_published_under_it(tmp_path: Path, left: str) -> None:
    file = tmp_path / "published.jsonl"
    file.write_text(LINES + left)
    ledger = Ledger(tmp_path)
    assert file.read_text() == LINES and ledger.newest == 1
    ledger.add(2, 5)
    assert file.read_text() == LINES + '{"version": 2, "step": 5}\n'


@pytest.mark.parametrize("line", ["{}", '{"version": 1, "step": 3}', '{"version": 2, "step": -1}', "[]", "x"])
def test_a_damaged_ledger_is_refused_with_its_line_and_stays(tmp_path: Path, line: str) -> None:
    file = tmp_path / "published.jsonl"
    file.write_text(f'{LINES}{line}\n{{"version": 3, "step": 3}}\n')
    with pytest.raises(ConfigError, match=r"published\.jsonl line 3.*start anew with another output=FOLDER") as error:
        Ledger(tmp_path)
    assert error.value.code == "damaged-run" and file.read_text().endswith('{"version": 3, "step": 3}\n')


def test_a_run_that_sampled_in_its_own_process_brings_its_versions_along(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.go_on_from(3, 3)
    assert [ledger.step_of(version) for version in range(5)] == [0, 1, 2, 3, None] and ledger.newest == 3
    ledger.go_on_from(2, 2)
    assert ledger.newest == 3, "those of an earlier checkpoint have numbers"
    ledger.go_on_from(6, 5)
    assert [ledger.step_of(version) for version in range(8)] == [0, 1, 2, 3, 3, 4, 5, None], "its own in between"
    assert Ledger(tmp_path).step_of(2) == 2
