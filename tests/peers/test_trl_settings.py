"""The defaults that importing assumes for TRL are those of TRL's own configurations."""

# ruff: noqa: E402 (imports stand below the skip)

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

import pytest

trl = pytest.importorskip("trl", minversion="1.16")

from trl import ModelConfig
from trl.scripts.utils import ScriptArguments

from postlude.recipe.foreign.refused import refusal
from postlude.recipe.foreign.trainers import TRL
from postlude.recipe.foreign.translate import NAMES

pytestmark = pytest.mark.peers
CONFIGS = [t for t in TRL if hasattr(trl, t.title)]


def defaults(title: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in (ModelConfig, ScriptArguments, getattr(trl, title)):
        for f in fields(kind):
            found[f.name] = f.default if f.default_factory is MISSING else f.default_factory()
    return found


@pytest.mark.parametrize("trainer", CONFIGS, ids=lambda t: t.name)
def test_the_defaults_are_trls(trainer: Any) -> None:
    theirs = defaults(trainer.title)
    theirs["bf16"] = True  # None there means: unless fp16
    for name, value in trainer.defaults.items():
        found = theirs[name]
        assert (found[0] if isinstance(found, list) else found) == value, name


@pytest.mark.parametrize("trainer", CONFIGS, ids=lambda t: t.name)
def test_every_option_of_trl_is_known(trainer: Any) -> None:
    unknown = [n for n in defaults(trainer.title) if n not in NAMES and refusal(n, "TRL") is None]
    assert not unknown
