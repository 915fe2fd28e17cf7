"""What several trainers need of this machine is said before a model loads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postlude import check_ranks
from postlude.check_ranks import problems_of_ranks
from postlude.engines.settings import Local, Servers
from postlude.prepared import Prepared
from postlude.recipe import Document, Recipe, resolve


def prepared(**engine: Any) -> Prepared:
    held = {"method": "sft", "model": "m", "data": "d.jsonl", "engine": engine}
    return Prepared(resolve(Document(held)))


def test_one_trainer_needs_no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_ranks, "find_spec", lambda name: None)
    assert problems_of_ranks(prepared()) == []


def test_several_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_ranks, "find_spec", lambda name: None)
    (problem,) = problems_of_ranks(prepared(trainers=4, device="cpu"))
    assert problem == "engine.trainers is 4, which needs Ray: pip install 'postlude[ray]'"
    assert problem.code == "missing-package" and problem.key == "engine.trainers"


@pytest.mark.parametrize(("text", "fits"), [("2.60.0", True), ("2.61.1rc1", True), ("2.59.1", False), ("3.0.0", False)])
def test_the_version_of_ray(text: str, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_ranks, "version", lambda name: text)
    assert (problems_of_ranks(prepared(trainers=2, device="cpu")) == []) is fits


@pytest.mark.parametrize(
    ("gpus", "engine", "text"),
    [
        (0, {"trainers": 4}, ""),  # on the CPU
        (4, {"trainers": 4}, ""),
        (2, {"trainers": 4}, "engine.trainers wants 4 GPUs, one for each; this process sees 2 GPUs."),
        (2, {"trainers": 4, "device": "cpu"}, ""),
        (2, {"trainers": 4, "address": "auto"}, ""),  # the cluster's are counted there
        (0, {"trainers": 2, "device": "cuda"}, "engine.trainers wants 2 GPUs, one for each; this process sees 0 GPUs."),
    ],
)
def test_a_gpu_for_each(gpus: int, engine: dict[str, Any], text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_ranks, "gpus_here", lambda: gpus)
    problems = problems_of_ranks(prepared(**engine))
    assert bool(problems) == bool(text) and "".join(problems).startswith(text)
    assert all(problem.code == "no-room" for problem in problems)


def test_beside_servers_that_are_started_here_their_check_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_ranks, "gpus_here", lambda: 3)
    document = Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "maths", "group_size": 4})
    servers = Servers(count=2, python="python")
    assert problems_of_ranks(Prepared(served_by(resolve(document), servers))) == []


def served_by(recipe: Recipe, servers: Servers) -> Recipe:
    return replace(recipe, engine=Local(trainers=4, servers=servers))
