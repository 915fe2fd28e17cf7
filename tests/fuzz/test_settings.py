"""Every key of the schema with values that nobody means: a sentence that names a key, or a recipe; never a traceback."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest

from postlude.errors import ConfigError
from postlude.recipe import documents, flat, resolve
from postlude.recipe.documents import Document
from tests.fuzz.settings import keys_of_schema

ABSURD = (".nan", ".inf", "-1e308", "100000000000000000000000", "[[x]]", "{kind: x}", "'\\0'", "2024-01-01")
"""Not finite, beyond all sense, of a wrong type."""
HUGE = 1e30


def document() -> Document:
    return Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": ["exact"]})


def test_the_schema_is_walked_to_its_leaves() -> None:
    keys = keys_of_schema()
    assert len(keys) > 150 and {"schedule.lr", "objective.kl.coef", "reward.0.weight", "critic.path"} <= {*keys}


@pytest.mark.parametrize("value", ABSURD)
def test_absurd_values_of_every_key(value: str) -> None:
    accepted: list[str] = []
    for key in keys_of_schema():
        recipe_document = document()
        try:
            documents.override(recipe_document, [f"{key}={value}"])
            recipe = resolve(recipe_document)
        except ConfigError as error:
            assert all(problem.strip() and problem.code for problem in error.problems), key
        else:
            numbers = [number for _, number in flat(asdict(recipe)) if isinstance(number, float)]
            accepted += [key for number in numbers if not math.isfinite(number) or abs(number) > HUGE]
    assert not accepted


def test_all_of_them_at_once() -> None:
    """Every wrong setting is told, each with its key."""
    wrong = {"seed": -1, "group_size": 0, "schedule.lr": -1, "steps": 0, "optimizer.eps": "x", "sampling.top_p": 2}
    recipe_document = document()
    documents.override(recipe_document, [f"{key}={value}" for key, value in wrong.items()])
    with pytest.raises(ConfigError) as error:
        resolve(recipe_document)
    assert all(key in str(error.value) for key in wrong)


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("learing_rate=1", "learning_rate"),
        ("method=gpro", "grpo"),
        ("reward=exct", "exact"),
        ("schedul.lr=1", "schedule"),
        ("objective.kl.cof=1", "coef"),
    ],
)
def test_what_is_misspelt_is_suggested(setting: str, meant: str) -> None:
    recipe_document = document()
    with pytest.raises(ConfigError) as error:
        documents.override(recipe_document, [setting])
        recipe = resolve(recipe_document)
        from postlude.rewards.resolve import resolve as resolve_reward

        resolve_reward(recipe.reward[0])
    assert meant in str(error.value)
