"""A run ends with the first step at or beyond its budget, also where it is interrupted in between."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from postlude.budget import Budget, Spent
from postlude.launch import launch, launch_async
from postlude.models.tiny import save_tiny_model
from postlude.preflight.resources import steps_within
from postlude.recipe import resolve
from postlude.recipe.documents import Document
from postlude.recipe.schema import Schedule
from postlude.runs import History, read
from postlude.runs.events import Event, Opened, Start, Step, Used
from postlude.runs.folder import Run
from postlude.terminal import Screen
from postlude.watch.live import LiveView


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("budget")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    rows = [{"prompt": f"{a}{b}>"} for a in "abcd" for b in "abcd"]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def document(place: Path, name: str, **settings: Any) -> Document:
    return Document(
        {
            "method": "grpo",
            "model": {"path": str(place / "model"), "dtype": "float64"},
            "data": {"path": str(place / "prompts.jsonl")},
            "reward": {"use": "regex", "args": {"pattern": "[a-m]$"}},
            "output": str(place / name),
            "prompts_per_step": 4,
            "group_size": 4,
            "steps": 40,
            "sampling": {"max_tokens": 6},
            "schedule": {"lr": 1e-3, "decay": "linear"},
            "objective": {"kl": None},
            **settings,
        }
    )


def used(history: History) -> list[int]:
    """Tokens used after each step, by its answers and the rows of its batches."""
    total, result = 0, []
    for sampled, trained in zip(history["tokens"].values, history["passed_tokens"].values, strict=True):
        total += int(sampled + trained)
        result.append(total)
    return result


def test_the_first_step_at_or_beyond_its_tokens_is_the_last(place: Path) -> None:
    run = launch(document(place, "tokens", budget={"tokens": 1000}, epochs=2))
    history = read(run.folder)
    spent = used(history)
    assert spent[-2] < 1000 <= spent[-1]
    assert history.finished and history.steps == len(spent) < 40
    answers = [row for rows in history.rollouts.values() for row in rows]
    assert sum(len(row["tokens"]) for row in answers) == sum(history["tokens"].values)
    # two epochs over the answers, and the three tokens of each of four prompts
    per_step = [2 * (tokens + 4 * 3) for tokens in history["tokens"].values]
    assert [*history["passed_tokens"].values] == per_step
    assert history["lr"].last == pytest.approx(1e-3 * (1 - 0.9 * spent[-2] / 1000))  # the decay follows the budget


def test_an_interrupted_run_uses_no_more_than_one_that_was_not(place: Path) -> None:
    launch(document(place, "whole", budget={"tokens": 1000}))
    whole = (place / "whole" / "events.jsonl").read_text()

    interrupted: list[Run] = []

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            interrupted[0].stop = True

    asyncio.run(launch_async(document(place, "parts", budget={"tokens": 1000}), False, [stop], (), interrupted))
    assert read(place / "parts").steps == 2
    again = launch(document(place, "parts", budget={"tokens": 1000}), resume=True)
    assert (again.folder / "events.jsonl").read_text() == whole
    done = launch(document(place, "parts", budget={"tokens": 1000}), resume=True)  # nothing is left to do
    assert (done.folder / "events.jsonl").read_text() == whole


def test_seconds_end_a_run_and_its_decay(place: Path) -> None:
    history = read(launch(document(place, "seconds", budget={"seconds": 1e-6})).folder)
    assert history.steps == 1 and history.finished


def test_the_share_is_of_whichever_is_nearer_to_its_end() -> None:
    spent = Spent()
    spent.add(30, 20, 1.5)
    assert spent.tokens == 50
    assert spent.share(None) == 0
    assert spent.share(Budget(tokens=100)) == 0.5
    assert spent.share(Budget(tokens=100, seconds=2)) == 0.75
    assert Schedule(lr=1.0, decay="linear", final=0.0).rate(0, 100, used=0.25) == pytest.approx(0.75)


def test_the_live_view_shows_how_much_of_the_budget_is_used() -> None:
    screen = Screen(file=io.StringIO(), width=120)
    view = LiveView(screen)
    engine = dict.fromkeys(("architecture", "device", "dtype", "path", "path_reason"), "x")
    start = Start(0, "grpo", 5000, "s", {}, [], {**engine, "parameters": 1, "trainable": 1})
    view(Opened(0, start, "f", source="rollout", lr=1e-6, stop_at=None, resumed=False))
    for step in (1, 2):
        view(Step(step, {"reward/mean": 0.5}))
        view(Used(step, 0.25 * step))
    view._used = [(100.0, 0.25), (107.0, 0.5)]
    view._ended[0] -= 5.0  # for one of 5,000 steps
    assert view._left(5000) == "14s left"  # another half, of which a quarter took seven seconds
    screen.print(view)
    assert "step 2, 50% of its budget" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_a_check_foresees_the_steps_that_a_budget_leaves() -> None:
    recipe = resolve(Document({"method": "sft", "model": "m", "data": "d", "steps": 100, "budget": {"seconds": 30}}))
    assert (steps_within(recipe, None, 2.0), steps_within(recipe, None, 0.1), steps_within(recipe, None)) == (
        15,
        100,
        100,
    )
