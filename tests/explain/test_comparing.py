"""Methods side by side, in words, in JSON, narrow and wide, a user's own among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postlude.algorithms import ALGORITHMS
from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.explain.comparing import compared, cost_of, differing
from postlude.facts.methods import METHODS

OWN = """from dataclasses import replace
from postlude.algorithms import ALGORITHMS

MINE = replace(ALGORITHMS["grpo"], name="mine", summary="GRPO of my own.", group_size=16)
"""


def run(*words: str, width: int = 80) -> str:
    done = CliRunner().invoke(app, ["methods", *words], env={"COLUMNS": str(width)})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("width", [80, 120])
def test_every_fact_of_three_methods_is_readable(width: int) -> None:
    text = run("--compare", "dpo", "grpo", "ppo", width=width)
    assert max(map(len, text.splitlines())) <= width
    words = " ".join(text.split())
    for label in ("requires", "complexity", "best for", "cost", "limits", "source", "defaults that differ"):
        assert label in words
    if width == 80:  # one under the other, so that sentences stand in one piece
        for name in ("dpo", "grpo", "ppo"):
            facts = METHODS[name]
            assert all(text in words for text in (facts.requires, facts.best_for, facts.cost, *facts.limits))


def test_defaults_that_differ_are_those_of_the_entries() -> None:
    rows = differing(["grpo", "dapo"])
    assert rows["objective.surrogate.high"] == (0.2, 0.28) and rows["objective.kl.coef"] == (0.04, None)
    assert "objective.surrogate.low" not in rows and "schedule.lr" not in rows


def test_json_holds_the_same() -> None:
    values = json.loads(run("--compare", "dpo", "ppo", "--json"))
    assert [row["name"] for row in values["methods"]] == ["dpo", "ppo"]
    assert values["methods"][1]["limits"] == list(METHODS["ppo"].limits)
    assert values["defaults"]["updates"] == {"dpo": 1, "ppo": 4}
    assert len(json.loads(run("--json"))["methods"]) == len(ALGORITHMS)


def test_a_method_of_ones_own_stands_beside_the_others(tmp_path: Path) -> None:
    (tmp_path / "my_method.py").write_text(OWN)
    name = f"{tmp_path / 'my_method.py'}:MINE"
    values = json.loads(run("--compare", name, "grpo", "--json"))
    own = values["methods"][0]
    assert own["summary"] == "GRPO of my own." and own["complexity"] is None and own["limits"] == []
    assert own["cost"] == "policy and reference; 16 answers sampled per prompt; 1 update per draw"
    assert list(values["defaults"]["group_size"].values()) == [16, 8]
    assert "GRPO of my own" in run(name)


def test_what_is_wrong_is_told_all_at_once_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError) as told:
        run("--compare", "gpro", "dop", "ppo")
    assert "'grpo'" in str(told.value) and "'dpo'" in str(told.value)
    with pytest.raises(ConfigError, match="two methods or more"):
        run("--compare", "dpo", "dpo")
    with pytest.raises(ConfigError, match="--compare dpo grpo"):
        run("dpo", "grpo")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_derived_of_a_method_agrees_with_what_is_written(name: str) -> None:
    derived, facts = cost_of(ALGORITHMS[name]), compared(name)
    assert ("critic" in derived) == ("critic" in facts.cost)
    assert ("reference" in derived) == ("reference" in facts.cost.replace("no reference", ""))
