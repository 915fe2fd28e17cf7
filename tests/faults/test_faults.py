"""Runs that are broken on purpose end as if nothing had happened, or are refused in words: the short form of `make
faults` and `make kills`, made by one process that forks every trial."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.faults.families import FAMILIES
from bench.faults.report import PAGE, RECORD, filled, is_wrong

ROOT = Path(__file__).parents[2]
Rows = dict[str, list[dict[str, Any]]]


def tables_of(place: Path) -> Rows:
    """Table -> what became of each of its trials."""
    command = [sys.executable, "-m", "bench.faults", "short", "--jobs", "1", "--place", str(place / "work")]
    done = subprocess.run(
        [*command, "--rows", str(place / "rows")], cwd=ROOT, env={**os.environ}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: Rows = {}
    for row in map(json.loads, (place / "rows").read_text().splitlines()):
        result.setdefault(row["table"], []).append(row)
    return result


def test_runs_that_are_broken_end_as_if_nothing_had_happened_or_in_words(tmp_path: Path) -> None:
    """One test: the trials take over a minute, and two workers would each make them."""
    rows = tables_of(tmp_path)
    every_family_killed_twice_ends_with_the_bytes_of_a_whole_one(rows)
    for table in ("sampled faults", "sampled damage"):
        what_fails_or_is_damaged_changes_nothing_or_is_refused(rows[table])
    a_part_of_the_state_that_is_left_out_is_noticed(rows)


def every_family_killed_twice_ends_with_the_bytes_of_a_whole_one(rows: Rows) -> None:
    families = rows["families"]
    assert [row["family"] for row in families] == [*FAMILIES]
    assert not [row for row in families if row["kind"] != "same"]
    assert all(row["kills"] == 2 for row in families), [(row["family"], row["kills"]) for row in families]


def what_fails_or_is_damaged_changes_nothing_or_is_refused(trials: list[dict[str, Any]]) -> None:
    assert not [row for row in trials if is_wrong(row)]
    kinds = Counter(row["kind"] for row in trials)
    assert kinds["same"] >= 4, kinds


def a_part_of_the_state_that_is_left_out_is_noticed(rows: Rows) -> None:
    caught = {row["part"]: row["caught"] for row in rows["sampled mutations"]}
    silent = {part for part, seen in caught.items() if not seen}
    elsewhere = {"learning.learnt", "learning.values", "began", "stream.kl_coef"}  # seen in runs without a signal, say
    elsewhere |= {"spent.sampled", "spent.trained"}  # in runs with a budget
    said_twice = {"optimizer: version"}  # the state says it too, and what that says holds
    assert silent <= {f"state: {name}" for name in elsewhere} | said_twice
    assert {
        "state: stream.source.drawn",
        "state: stream.source.history",
        "optimizer: steps",
        "state: version",
        "optimizer: policy::exp_avg",
        "optimizer: policy::exp_avg_sq",
        "optimizer: critic::exp_avg",
        "model.safetensors",
        "critic/model.safetensors",
    } <= {part for part, seen in caught.items() if seen}


def test_the_page_has_the_tables_that_were_measured() -> None:
    page = PAGE.read_text()
    assert page == filled(page, json.loads(RECORD.read_text()))
