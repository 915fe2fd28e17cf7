"""Whole runs whose trainers are two ranks: what one process would have written, also after a commit was resumed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from postlude import build
from postlude.engines.ranks.crew import Blueprint, Start
from postlude.launch import launch
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.runs.events import Event, Step
from tests.learning import write
from tests.ranks import Processes


@pytest.fixture(scope="module")
def pair() -> Iterator[Start]:
    """Two plain processes in the place of Ray's, which serve one run after another."""
    crew = Processes(2)

    class Kept:
        size = 2

        async def call(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> list[Any]:
            return await crew.call(method, shared, each)

        async def close(self) -> None:
            """They stay for the next run."""

    async def start(blueprint: Blueprint) -> Kept:
        await crew.build(blueprint)
        return Kept()

    yield start
    crew.end()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranked")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    write(folder / "prompts.jsonl", [{"prompt": f"{a}{b}>", "answer": a} for a in "abcd" for b in "efgh"])
    return folder


def train(place: Path, name: str, trainers: int, resume: bool = False, listeners: Any = (), **values: Any) -> Path:
    document: dict[str, Any] = {
        "method": "grpo",
        "model": {"path": str(place / "model")},
        "data": {"path": str(place / "prompts.jsonl")},
        "reward": [{"use": "regex", "args": {"pattern": "[a-m]$"}}],
        "output": str(place / name),
        "steps": 4,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 4},
        "schedule": {"lr": 1e-3},
        "evaluate": {"every": 0},
        "checkpoints": {"every": 0},
        "engine": {"token_budget": 512, "head_chunk": 64, "trainers": trainers, "commit_every": 2, "device": "cpu"},
        **values,
    }
    if trainers == 1:
        document["engine"] = {key: value for key, value in document["engine"].items() if key != "commit_every"}
    launch(Document(document), resume, listeners).close()
    return place / name


def events(run: Path) -> list[dict[str, Any]]:
    """Without figures of numbers, which are rounded, and the first, which says how many trainers there are."""
    rows = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()][1:]
    return [{k: v for k, v in row.items() if not isinstance(v, float)} for row in rows]


def answers(run: Path) -> list[Any]:
    lines = [line for file in sorted(run.glob("rollouts/*.jsonl")) for line in file.read_text().splitlines()]
    return [[row["tokens"], row["policy_version"]] for row in map(json.loads, lines) if "tokens" in row]


LAG = {"max_lag": 1, "objective": {"correction": {"mode": "token_truncate"}}}


@pytest.mark.parametrize("values", [{}, LAG], ids=["lag 0", "lag 1"])
def test_two_ranks_write_what_one_process_does_and_a_commit_is_gone_on_from(
    place: Path, pair: Start, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    monkeypatch.setattr(build, "_on_ray", lambda terms: pair)
    name = "lagging" if values else "plain"
    copy = place / f"{name}-copy"

    def keep(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:  # the commit of step 2 is the newest
            shutil.copytree(place / f"{name}-2", copy, symlinks=True)

    one = train(place, f"{name}-1", 1, **values)
    two = train(place, f"{name}-2", 2, listeners=[keep], **values)
    assert events(one) == events(two) and answers(one) == answers(two) and len(answers(one)) == 32
    assert not (two / ".gathered.safetensors").exists()
    weights, whole = (two / "model/model.safetensors").read_bytes(), (events(two), answers(two))
    shutil.rmtree(two)
    copy.rename(two)
    train(place, f"{name}-2", 2, resume=True, **values)
    assert (events(two), answers(two)) == whole
    assert (two / "model/model.safetensors").read_bytes() == weights


def test_a_checkpoint_of_what_was_committed_has_the_version_that_was_published_since(
    place: Path, pair: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_on_ray", lambda terms: pair)
    train(place, "parted", 2, steps=2)  # its end has the files of the commit before
    parted = train(place, "parted", 2, resume=True, steps=3)
    assert [version for _, version in answers(parted)] == [0] * 8 + [1] * 8 + [2] * 8


def test_nothing_is_held_here_where_nothing_is_sampled(
    place: Path, pair: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postlude.engines.ranks import engine

    monkeypatch.setattr(build, "_on_ray", lambda terms: pair)
    monkeypatch.setattr(engine.Copy, "of", lambda *args: pytest.fail("a model was loaded for a sampler"))
    write(place / "written.jsonl", [{"prompt": f"{a}>", "completion": a} for a in "abcd"])
    values = {"method": "sft", "data": {"path": str(place / "written.jsonl")}, "steps": 2}
    run = train(place, "sft", 2, reward=[], sampling={}, group_size=1, **values)
    assert [row["kind"] for row in events(run)][-1] == "end"
