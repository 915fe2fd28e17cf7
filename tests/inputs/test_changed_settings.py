"""Which settings may change when a run goes on."""

from collections.abc import Iterator
from typing import Any

import pytest

from postlude.errors import ConfigError
from postlude.inputs.comparing import ACCEPTED, words_of
from postlude.inputs.standing import resumed_otherwise
from postlude.recipe.resolution import _keys
from postlude.recipe.resumed import RULES, differences, rule_of
from postlude.recipe.schema import Recipe


def test_every_key_of_a_recipe_has_a_rule() -> None:
    """A new key is put into the table by whoever adds it."""
    without = [key for key in _keys(Recipe) if not any(_matches(key))]
    assert without == []
    assert {rule_of(key) for key in _keys(Recipe)} - {"never", "free", "content"} < {*ACCEPTED}


def _matches(key: str) -> Iterator[bool]:
    from fnmatch import fnmatchcase

    yield from (fnmatchcase(key, pattern) for pattern in RULES)


BEFORE: dict[str, Any] = {
    "method": "grpo",
    "model": {"path": "/m", "lora": {"rank": 8}, "reference": "start"},
    "data": {"path": "/d", "columns": {}},
    "reward": [{"use": "/r/f.py:g", "weight": 1.0, "errors": 0.0}],
    "seed": 0,
    "steps": 10,
    "group_size": 4,
    "objective": {"kind": "token", "advantage": {"kind": "gae", "lam": 1.0}, "kl": None},
    "critic": {"form": "own", "lr": 1.0},
    "schedule": {"lr": 1e-6},
    "engine": {"trainers": 2, "address": "local", "timeout": 600.0, "restarts": 3},
}


@pytest.mark.parametrize(
    ("change", "never", "asked", "free"),
    [
        ({"steps": 20}, [], {}, ["steps 10 -> 20"]),
        ({"schedule": {"lr": 1e-5}}, [], {}, ["schedule.lr 1e-06 -> 1e-05"]),
        ({"schedule": {"lr": 1e-6, "warmup": 3}}, [], {}, []),  # a key that an earlier version did not have
        (
            {"reward": [*BEFORE["reward"], {"use": "/r/f.py:h", "weight": 1.0, "errors": 0.0}]},
            [],
            {"reward": ["reward: 1 entry -> 2"]},  # of the same file, whose fingerprint stays
            [],
        ),
        (
            {"engine": {"trainers": 3, "address": "auto", "timeout": 60.0, "restarts": 0}},
            [],
            {},
            [
                "engine.address local -> auto",
                "engine.restarts 3 -> 0",
                "engine.timeout 600.0 -> 60.0",
                "engine.trainers 2 -> 3",
            ],
        ),
        ({"method": "dapo"}, ["method grpo -> dapo"], {}, []),
        ({"model": {"path": "/m", "lora": {"rank": 4}, "reference": "start"}}, ["model.lora.rank 8 -> 4"], {}, []),
        ({"model": {"path": "/n", "lora": {"rank": 8}, "reference": "start"}}, [], {}, []),  # its content is compared
        ({"model": {"path": "/m", "lora": None, "reference": "start"}}, ["model.lora {'rank': 8} -> None"], {}, []),
        ({"critic": None}, ["critic {'form': 'own', 'lr': 1.0} -> None"], {}, []),
        ({"seed": 1}, [], {"settings": ["seed 0 -> 1"]}, []),
        ({"group_size": 8}, [], {"settings": ["group_size 4 -> 8"]}, []),
        ({"reward": [{"use": "/moved/f.py:g", "weight": 1.0, "errors": 0.5}]}, [], {}, ["reward.0.errors 0.0 -> 0.5"]),
        (
            {"reward": [{"use": "/r/f.py:h", "weight": 2.0, "errors": 0.0}]},
            [],
            {"reward": ["reward.0.use /r/f.py:g -> /r/f.py:h", "reward.0.weight 1.0 -> 2.0"]},
            [],
        ),
        (
            {"data": {"path": "/d", "columns": {"prompt": "q"}}},
            [],
            {"data": ["data.columns {} -> {'prompt': 'q'}"]},
            [],
        ),
        (
            {"objective": {"kind": "token", "advantage": {"kind": "reward", "lam": 1.0}, "kl": {"coef": 0.1}}},
            [],
            {"settings": ["objective.advantage.kind gae -> reward"]},
            ["objective.kl None -> {'coef': 0.1}"],
        ),
    ],
)
def test_what_differs(change: dict[str, Any], never: list[str], asked: dict[str, list[str]], free: list[str]) -> None:
    found = differences(BEFORE, {**BEFORE, **change})
    assert (found.never, found.asked, found.free) == (never, asked, free)


def test_words() -> None:
    assert words_of(["data,reward", "model"]) == {"data", "reward", "model"}
    assert words_of("data") == {"data"}
    with pytest.raises(ConfigError) as caught:
        words_of(["datas,xyz"])
    assert caught.value.codes == ["not-a-choice", "not-a-choice"]
    assert "did you mean data?" in caught.value.problems[0] and "there are events, eval," in caught.value.problems[1]


def test_another_number_of_trainers_rounds_otherwise() -> None:
    assert resumed_otherwise(3, ["engine.trainers 2 -> 1", "steps 3 -> 2"]) == (
        "resumed with other settings from step 3 on: engine.trainers 2 -> 1; steps 3 -> 2. Sums may round otherwise, "
        "so the run need not be exactly the one it would have been"
    )
    assert resumed_otherwise(3, ["steps 3 -> 2"]) == "resumed with other settings from step 3 on: steps 3 -> 2"
