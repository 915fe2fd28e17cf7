"""Which answers of a draw are compared with which weights."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.preflight import each_draw
from postlude.preflight.each_draw import EachDraw

NEWEST = 7


@dataclass
class Asked:
    """An engine whose newest version is NEWEST, with the versions it was asked to read; the newest two are there."""

    trainer: Any = "the trainer"
    versions: list[int] = field(default_factory=list[int])

    def lag(self, version: int) -> int:
        return NEWEST - version

    async def read(self, version: int) -> str | None:
        self.versions.append(version)
        return f"version {version}" if version >= NEWEST - 1 else None


def group(*versions: int) -> Group:
    """With an answer whose parts are of these versions."""
    spans = tuple((version, at) for at, version in enumerate(versions))
    return Group(Prompt(f"{versions}", "?"), (Completion((1, 2, 3), reward=1.0, spans=spans),))


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, list[str]]]:
    """(whose log-probs, prompts of the groups) of every comparison."""
    seen: list[tuple[Any, list[str]]] = []

    async def compare(trainer: Any, groups: list[Group], temperature: float) -> None:
        seen.append((trainer, [one.prompt.id for one in groups]))

    monkeypatch.setattr(each_draw, "sampler_against_trainer", compare)
    return seen


@pytest.mark.parametrize(
    ("groups", "whose", "which"),
    [
        ([group(7), group(6), group(7, 6)], "the trainer", ["(7,)"]),
        ([group(6), group(5), group(6, 5), group(6)], "version 6", ["(6,)", "(6,)"]),
        ([group(5), group(6, 5)], None, []),
        ([group(6, 5)], None, []),
        ([], None, []),
    ],
    ids=["fresh ones alone", "of several versions the newest", "no longer there", "no version is whole", "none"],
)
def test_answers_are_compared_with_the_one_version_that_they_are_of(
    compared: list[tuple[Any, list[str]]], groups: list[Group], whose: str | None, which: list[str]
) -> None:
    recipe = SimpleNamespace(sampling=SimpleNamespace(truncates=False, temperature=1.0))
    look = EachDraw(cast("Any", recipe), cast("Any", Asked()), Path())
    assert asyncio.run(look.require_same_weights(groups, 0)) == []
    assert compared == ([(whose, which)] if whose else [])


def test_a_version_that_is_not_there_does_not_count_as_compared(compared: list[tuple[Any, list[str]]]) -> None:
    recipe = SimpleNamespace(sampling=SimpleNamespace(truncates=False, temperature=1.0))
    engine = Asked()
    look = EachDraw(cast("Any", recipe), cast("Any", engine), Path())
    for version in [5, *[6] * 13]:
        asyncio.run(look.require_same_weights([group(version)], 0))
    assert engine.versions == [5, 6, 6, 6] and len(compared) == 3
