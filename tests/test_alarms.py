"""Warnings about a step's figures, at their limits."""

from __future__ import annotations

import pytest

from postlude.alarms import alarms_of


@pytest.mark.parametrize(
    ("figures", "names"),
    [
        ({}, []),
        ({"ratio/max": 99.9, "clip_frac_low": 0.25, "clip_frac_high": 0.25, "mismatch/ess": 0.3}, []),
        ({"ratio/max": 100.0}, ["ratio"]),
        ({"ratio/max": 1.0, "ratio/clamped_frac": 0.001}, ["ratio"]),
        ({"clip_frac_low": 0.3, "clip_frac_high": 0.3}, ["clipped"]),
        ({"mismatch/ess": 0.29}, ["effective samples"]),
    ],
)
def test_what_is_beyond_its_limit_is_told(figures: dict[str, float], names: list[str]) -> None:
    assert sorted(alarms_of(figures)) == names
