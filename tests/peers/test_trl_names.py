"""TRL's own dataclasses against our tables: none of their names is unknown, none of ours has gone."""

# ruff: noqa: E402 (imports stand below the skip)

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import pytest

trl = pytest.importorskip("trl", minversion="1.16")

from trl import ModelConfig, experimental
from trl.scripts.utils import DatasetMixtureConfig, ScriptArguments

from postlude.recipe.foreign.alias import Alias, Refused, Trainer
from postlude.recipe.foreign.tables import ALIASES, NAMES, REFUSED, refusal, trainers

pytestmark = pytest.mark.peers

TRAINERS = [t for t in trainers() if t.library == "TRL"]
NEWEST = [t for t in TRAINERS if not t.older]
BESIDE = (ModelConfig, ScriptArguments, DatasetMixtureConfig)
"""What stands beside a trainer's own configuration in a file for `trl grpo --config`."""


def defaults(config: Any) -> dict[str, Any]:
    """The fields of a dataclass."""
    return {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(config)}


def in_a_file(trainer: Trainer) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for kind in (*BESIDE, *script_arguments(trainer.name), getattr(trl, trainer.title)):
        settings |= defaults(kind)
    return settings


def script_arguments(name: str) -> Iterator[Any]:
    """What the script `trl NAME` reads besides."""
    module = importlib.import_module(f"trl.scripts.{name}")
    yield from (kind for kind in vars(module).values() if is_dataclass(kind) and kind.__module__ == module.__name__)


@cache
def theirs() -> frozenset[str]:
    """Every name of every configuration of TRL, those under `experimental` too, and the arguments of its trainers."""
    names = {name for trainer in NEWEST for name in in_a_file(trainer)}
    for module in pkgutil.walk_packages(experimental.__path__, f"{experimental.__name__}."):
        if module.name.endswith("_config"):
            kinds = vars(importlib.import_module(module.name)).values()
            names |= {f.name for kind in kinds if is_dataclass(kind) for f in fields(kind)}
    for trainer in NEWEST:
        names |= {*inspect.signature(getattr(trl, trainer.title.replace("Config", "Trainer"))).parameters}
    return frozenset(names)


def test_what_we_claim_to_read_is_there() -> None:
    assert [t.title for t in NEWEST] == [t.title for t in TRAINERS if hasattr(trl, t.title)]
    assert len(NEWEST) == 6


@pytest.mark.parametrize("trainer", NEWEST, ids=lambda t: t.name)
def test_every_name_is_translated_or_refused_with_a_reason(trainer: Trainer) -> None:
    assert not [name for name in in_a_file(trainer) if name not in NAMES and refusal(name, "TRL") is None]


@pytest.mark.parametrize("alias", [a for a in ALIASES if a.library == "TRL"], ids=lambda a: a.name)
def test_every_name_of_ours_is_theirs_or_of_an_older_release(alias: Alias) -> None:
    assert (alias.name in theirs()) != alias.older


@pytest.mark.parametrize("row", [r for r in REFUSED if r.library == "TRL"], ids=lambda r: r.names[0])
def test_every_refused_name_is_theirs_or_of_an_older_release(row: Refused) -> None:
    gone = [pattern for pattern in row.names if not any(fnmatchcase(name, pattern) for name in theirs())]
    assert gone == [*row.older]


@pytest.mark.parametrize("trainer", NEWEST, ids=lambda t: t.name)
def test_the_defaults_are_theirs(trainer: Trainer) -> None:
    settings = in_a_file(trainer)
    settings["bf16"] = True  # None there means: unless fp16
    for name, value in trainer.defaults.items():
        there = settings[name]
        assert (there[0] if isinstance(there, list) else there) == value, name


@pytest.mark.parametrize("trainer", NEWEST, ids=lambda t: t.name)
def test_no_default_that_differs_from_ours_is_left_out(trainer: Trainer) -> None:
    """What holds where their file is silent is known, wherever it matters and has a translation."""
    silent = {
        name: value
        for name, value in defaults(getattr(trl, trainer.title)).items()
        if name in NAMES and name not in trainer.defaults and value is not None
    }
    assert {*silent} <= HARMLESS, {name: silent[name] for name in {*silent} - HARMLESS}


HARMLESS = {
    *("max_steps", "warmup_steps", "fp16", "use_cpu", "dataset_text_field"),  # off, or as here
    *("eval_strategy", "save_strategy", "save_steps", "seed"),  # of the run, not of what is learnt
    *("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"),  # off
    *("vllm_importance_sampling_correction", "vllm_importance_sampling_mode", "vllm_importance_sampling_clip_max"),
}
"""Defaults of theirs that need no line in a recipe; those of vLLM act only where it is on (`use_vllm`)."""


@pytest.mark.parametrize("trainer", NEWEST, ids=lambda t: t.name)
def test_marks_are_names_of_the_trainer(trainer: Trainer) -> None:
    """A file is recognised by names that its trainer has."""
    settings = {*in_a_file(trainer)}
    assert not [mark for mark in trainer.marks if not any(fnmatchcase(name, mark) for name in settings)]
