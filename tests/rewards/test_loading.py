"""Which modules a run loads: those of the rewards it names, and no others."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ROOMS = ("maths", "judge", "sandbox", "code")
BUILT_IN = ("text", "choice", "json_schema", "learned", "implicit", "maths", "code", "judge", "adapters")

RESOLVED = "from postlude.recipe.resolution import resolve; from postlude.recipe.documents import Document; " + (
    "resolve(Document({'method': 'grpo', 'model': 'm', 'data': 'd.jsonl', 'reward': 'exact'}))"
)
REWARDED = "import postlude.check, postlude.footprint; from postlude.rewards.spec import RewardSpec; " + (
    "from postlude.rewards.rewards import Rewards; Rewards.of([RewardSpec('exact')])"
)
CACHED = "from postlude.rewards.spec import RewardSpec; from postlude.rewards.rewards import Rewards; " + (
    "Rewards.of([RewardSpec('exact', cache='scores.sqlite')])"
)


def loaded(code: str) -> list[str]:
    """Names of the modules that a new Python has after the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps([*sys.modules]))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("code", "named"),
    [(RESOLVED, []), (REWARDED, ["text"]), (CACHED, ["text"])],
    ids=["a recipe", "a run with exact", "one with a cache"],
)
def test_a_run_loads_the_rewards_it_names_and_no_others(code: str, named: list[str]) -> None:
    names = loaded(code)
    assert [n for n in names if n.startswith(tuple(f"postlude.{room}" for room in ROOMS))] == []
    assert [n for n in BUILT_IN if f"postlude.rewards.{n}" in names] == named
    assert code == REWARDED or "torch" not in names  # the check of a run measures memory with it
