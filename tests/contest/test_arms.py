"""Arms as they are typed, and whose settings they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from postlude.contest.arms import Arm, arm_of, arms_from, arms_in, require_names, with_settings
from postlude.contest.plan import Allowance
from postlude.errors import ConfigError
from postlude.recipe import resolve

RECIPE: dict[str, Any] = {"method": "grpo", "model": "m", "data": "d", "reward": "exact"}


@pytest.mark.parametrize(
    ("text", "name", "settings"),
    [
        ("grpo", "grpo", {"method": "grpo"}),
        ("drpo lam=0.3", "drpo lam=0.3", {"method": "drpo", "lam": "0.3"}),
        ("short: method=drpo lam=0.1", "short", {"method": "drpo", "lam": "0.1"}),
        ("my_method.py:SOFT lr=1e-5", "my_method.py:SOFT lr=1e-5", {"method": "my_method.py:SOFT", "lr": "1e-5"}),
        ("a b: drpo 'stop=[x, y]'", "a b", {"method": "drpo", "stop": "[x, y]"}),
        ("lr=1e-5", "lr=1e-5", {"lr": "1e-5"}),
    ],
)
def test_an_arm_is_a_method_settings_or_both(text: str, name: str, settings: dict[str, str]) -> None:
    assert arm_of(text) == Arm(name, settings)


@pytest.mark.parametrize("text", ["lr=1 drpo", "a=1 a=2", "'open"])
def test_what_is_no_setting_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--arm"):
        arm_of(text)


def test_a_file_holds_arms_by_name_or_as_they_are_typed(tmp_path: Path) -> None:
    file = tmp_path / "arms.yaml"
    file.write_text("short: {method: drpo, objective: {advantage: {lam: .inf}}}\nplain: grpo lr=1e-5\nas it is:\n")
    short, plain, bare = arms_in(file)
    assert short == Arm("short", {"method": "drpo", "objective.advantage.lam": ".inf"})
    assert plain == Arm("plain", {"method": "grpo", "lr": "1e-5"}) and bare == Arm("as it is", {})
    file.write_text("- grpo\n- 'b: drpo'\n")
    assert [arm.name for arm in arms_in(file)] == ["grpo", "b"]


def test_short_keys_stand_for_the_only_one_that_ends_in_them() -> None:
    document = with_settings(RECIPE, {"method": "drpo", "lam": "0.3", "lr": "1e-5"}, {})
    recipe = resolve(document)
    assert (recipe.objective.advantage.lam, recipe.schedule.lr) == (0.3, 1e-5)  # type: ignore[union-attr]
    recipe = resolve(with_settings(RECIPE, {"method": "rloo_lp", "alpha": "0.4"}, {}))
    assert recipe.shaping[0].alpha == 0.4  # type: ignore[union-attr]
    assert resolve(with_settings(RECIPE, {"method": "drpo", "lam": ".inf"}, {})).name == "drpo"


def test_an_arm_sets_nothing_of_another() -> None:
    values = {**RECIPE, "schedule": {"lr": 1e-5}, "data": {"path": "d", "columns": {"prompt": "q"}}}
    with_settings(values, {"schedule.lr": "1", "data.columns.prompt": "x", "lr": "2"}, {})
    assert values["schedule"] == {"lr": 1e-5} and values["data"]["columns"] == {"prompt": "q"}


def test_a_short_key_of_several_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"every may be checkpoints\.every or evaluate\.every"):
        with_settings(RECIPE, {"every": "3"}, {})


def test_arms_of_one_name_or_folder_are_refused() -> None:
    assert not require_names([Arm("a"), Arm("b")])
    assert len(require_names([Arm("a"), Arm("a")])) == 1
    assert len(require_names([Arm("a b"), Arm("a-b")])) == 1


def test_settings_from_python_are_those_of_the_command_line() -> None:
    (arm,) = arms_from({"x": {"method": "drpo", "schedule": {"lr": 1e-5}, "data.path": "yes"}})
    assert arm == Arm("x", {"method": "drpo", "schedule.lr": "1e-05", "data.path": '"yes"'})


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [
        ("tokens=200k", "tokens", 200_000),
        ("tokens=1.5M", "tokens", 1_500_000),
        ("steps=100", "steps", 100),
        ("seconds=600", "seconds", 600),
        ("seconds=10m", "seconds", 600),
        ("seconds=0.5h", "seconds", 1800),
    ],
)
def test_budgets(text: str, kind: str, amount: float) -> None:
    assert Allowance.of(text) == Allowance(kind, amount)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["tokens", "steps=0", "steps=1.5", "hours=1", "steps=10h", "tokens=many"])
def test_other_budgets_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--budget"):
        Allowance.of(text)
