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
from postlude.runs.folder import Listener
from tests.fake_vllm.server import FakeServer
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


def train(
    place: Path,
    name: str,
    trainers: int,
    resume: bool = False,
    listeners: Any = (),
    urls: Sequence[str] = (),
    **values: Any,
) -> Path:
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
    document["engine"] |= {"servers": {"urls": list(urls)}, "commit_every": 1} if urls else {}
    if trainers == 1 and not urls:
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


def _keeping(run: Path, copy: Path) -> Listener:
    """Copies the run as a kill would leave it in step 3: the commit of step 2 is the newest."""

    def keep(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            shutil.copytree(run, copy, symlinks=True)

    return keep


LAG = {"max_lag": 1, "objective": {"correction": {"mode": "token_truncate"}}}


@pytest.mark.parametrize("values", [{}, LAG], ids=["lag 0", "lag 1"])
def test_two_ranks_write_what_one_process_does_and_a_commit_is_gone_on_from(
    place: Path, pair: Start, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    monkeypatch.setattr(build, "_on_ray", lambda terms: pair)
    name = "lagging" if values else "plain"
    copy = place / f"{name}-copy"
    one = train(place, f"{name}-1", 1, **values)
    two = train(place, f"{name}-2", 2, listeners=[_keeping(place / f"{name}-2", copy)], **values)
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


def versions(run: Path) -> dict[int, set[int]]:
    """Step -> the versions of the weights that its answers came from."""
    files = {int(file.stem.rpartition("-")[2]): file for file in sorted(run.glob("rollouts/*.jsonl"))}
    rows = {step: [json.loads(line) for line in file.read_text().splitlines()] for step, file in files.items()}
    return {step: {row["policy_version"] for row in rows[step] if "tokens" in row} for step in rows}


WAYS = ("local to ranks", "ranks to ranks", "ranks to local", "ranks to servers", "servers to local")
KILLED = ("killed ranks to local", "killed ranks to servers")
"""In step 3: the newest commit is that of step 2, from before its weights were published."""


@pytest.mark.parametrize("way", WAYS + KILLED)
def test_a_version_names_one_set_of_weights_whichever_engine_goes_on(
    place: Path, pair: Start, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A run that ends in the step of a commit, and goes on from there."""
    monkeypatch.setattr(build, "_on_ray", lambda terms: pair)
    with FakeServer(place / "model") as server:
        urls = {"servers": [server.url]}
        first, then = way.removeprefix("killed ").split(" to ")
        if way in KILLED:
            train(place, f"{way}, whole", 2, listeners=[_keeping(place / f"{way}, whole", place / way)])
        else:
            train(place, way, 1 + (first == "ranks"), urls=urls.get(first, []), steps=2)
        run = train(place, way, 1 + (then == "ranks"), resume=True, urls=urls.get(then, []), steps=4)
    of_answers = versions(run)
    assert [*of_answers] == [1, 2, 3, 4] and all(len(numbers) == 1 for numbers in of_answers.values())
    numbers = [next(iter(one)) for one in of_answers.values()]
    assert numbers == sorted({*numbers}), "none names the weights of two steps"
    published = [(row["step"], row["version"]) for row in events(run) if row["kind"] == "publish"]
    assert [number for _, number in published] == sorted({number for _, number in published})
    steps = {number: step for step, number in published}
    assert all(steps.get(number, step - 1) == step - 1 for step, number in enumerate(numbers, 1))
    if "servers" in way:
        ledger = [json.loads(line) for line in (run / "published.jsonl").read_text().splitlines()]
        assert all(steps.get(row["version"], row["step"]) == row["step"] for row in ledger)
