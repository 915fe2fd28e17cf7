"""What a run samples does not depend on the processor: neither on its instructions nor on the number of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases import CASES
from tests.processors import available, sampled


def test_a_short_run_samples_the_same_with_the_plainest_instructions_and_with_two_threads(tmp_path: Path) -> None:
    one = sampled(tmp_path / "plain", "default", 1, [])
    other = sampled(tmp_path / "own", None, 2, [])
    assert one == other
    assert {*one} == {"sft", "grpo"}


@pytest.mark.slow
def test_whole_runs_sample_the_same_on_every_processor(tmp_path: Path) -> None:
    """Everything in the suite that learns in float64."""
    names = [case.name for case in CASES if case.name not in ("sft", "bf16")]
    ways = [*((kind, 1) for kind in available()), (available()[-1], 2)]
    found = {way: sampled(tmp_path / "-".join(map(str, way)), *way, names) for way in ways}
    first = found[ways[0]]
    assert len(first) > len(names)
    other = {way: [name for name in first if first[name] != hashes[name]] for way, hashes in found.items()}
    assert not any(other.values()), other
