"""Memory that runs out in the middle of a run: pieces get smaller, and what comes after is what they would have given.

An allocation fails at the level of torch's operations.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from postlude.errors import TrainingError
from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Event, Phase, Said
from postlude.runs.folder import Run
from tests.refusals import refused

REWARD = """
def marks(completions):
    return [float(sum(map(ord, c)) % 3) for c in completions]
"""


class Limit(TorchDispatchMode):
    """In one phase no activation of more rows (tokens, or sequences in decoding) can be made."""

    def __init__(self, phase: str, rows: int, error: type[Exception], begun: int) -> None:
        super().__init__()
        self.phase, self.rows, self.error, self.begun = phase, rows, error, begun
        self.on, self.failed = False, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.on and func is torch.ops.aten.silu.default and args[0].shape[0] > self.rows:
            self.failed += 1
            raise self.error("no room for it")
        return func(*args, **(kwargs or {}))

    def hear(self, event: Event) -> None:
        """A listener: the limit is on in the phase, once so many steps are finished."""
        if isinstance(event, Phase):
            self.on = event.phase == self.phase and event.step >= self.begun


@contextmanager
def limited(phase: str, rows: int, error: type[Exception] = torch.OutOfMemoryError, begun: int = 0) -> Generator[Limit]:
    with Limit(phase, rows, error, begun) as limit:
        yield limit
    assert limit.failed


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [{"prompt": f"{i}=", "completion": f"{2 * i}" * (4 + i % 3)} for i in range(10, 18)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": row["prompt"]}) + "\n" for row in rows))
    (tmp_path / "mine.py").write_text(REWARD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sft(model: Path, **engine: Any) -> dict[str, Any]:
    return {
        "method": "sft", "model": {"path": str(model)}, "data": {"path": "rows.jsonl"}, "steps": 3, "output": "run",
        "prompts_per_step": 8, "schedule": {"lr": 1e-3}, "checkpoint_every": 0, "engine": {"threads": 1, **engine},
    }  # fmt: skip


def grpo(model: Path, **engine: Any) -> dict[str, Any]:
    rewarded = {"method": "grpo", "data": {"path": "p.jsonl"}, "reward": [{"use": "mine.py:marks"}], "group_size": 4}
    return {**sft(model, **engine), **rewarded, "prompts_per_step": 4, "sampling": {"max_tokens": 12}}


def said(heard: Sequence[Event]) -> list[str]:
    return [e.text for e in heard if isinstance(e, Said) and "memory ran out" in e.text]


def budget_in(texts: Sequence[str]) -> int:
    """The last that was said."""
    return int(texts[-1].partition("at most ")[2].partition(" ")[0])


def same(one: Run, other: Run) -> bool:
    files = ["model/model.safetensors", "model/trainer/optimizer.safetensors"]
    pairs = [(load_file(one.folder / f), load_file(other.folder / f)) for f in files]
    return all(torch.equal(x, b[name]) for a, b in pairs for name, x in a.items())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_an_update_is_done_again_in_smaller_pieces(error: type[Exception], place: Path, model_folder: Path) -> None:
    heard: list[Event] = []
    with limited("train", 64, error) as limit:
        run = launch(Document(sft(model_folder)), listeners=[limit.hear, heard.append])
    (text,) = said(heard)
    budget = budget_in([text])
    assert budget == 64 and read(run.folder).of("step")[0]["tokens"] > 100
    assert "engine.token_budget=64" in text and not any("memory" in n for n in read(run.folder).notes), "no event"
    whole = launch(Document({**sft(model_folder, token_budget=budget), "output": "small"}))
    assert same(run, whole)
    assert read(run.folder).of("step") == read(whole.folder).of("step")


def test_from_the_step_on_in_which_it_ran_out_and_after_a_resume(place: Path, model_folder: Path) -> None:
    """Two steps as they were, then one in smaller pieces; the same by hand, resumed with the smaller budget."""
    heard: list[Event] = []
    with limited("train", 64, begun=2) as limit:
        run = launch(Document({**sft(model_folder), "steps": 3}), listeners=[limit.hear, heard.append])
    budget = budget_in(said(heard))
    assert json.loads((run.folder / "model" / "trainer" / "limits.json").read_text())["now"]["token_budget"] == budget
    launch(Document({**sft(model_folder), "steps": 2, "output": "hand"}))
    values = {**sft(model_folder, token_budget=budget), "steps": 3, "output": "hand"}
    hand = launch(Document(values), resume=True)
    assert same(run, hand)
    more = launch(Document({**sft(model_folder), "steps": 4}), resume=True)
    goes_on = launch(Document({**values, "steps": 4}), resume=True)
    assert same(more, goes_on), "a resumed run goes on with what is in force"
    assert json.loads((more.folder / "model" / "trainer" / "limits.json").read_text())["now"]["token_budget"] == budget
    fresh = launch(Document({**sft(model_folder, token_budget=4096), "steps": 5}), resume=True)
    assert not (fresh.folder / "model" / "trainer" / "limits.json").exists(), "unless it is set anew"


def test_then_the_output_layer_takes_fewer_tokens_at_a_time_and_then_it_is_an_error(
    place: Path, model_folder: Path
) -> None:
    heard: list[Event] = []
    out = refused("out-of-memory", said="memory ran out in step 1", kind=TrainingError)
    with limited("train", 4) as limit, out as error:
        launch(Document(sft(model_folder)), listeners=[limit.hear, heard.append])
    assert "Halve engine.token_budget" in str(error.value)
    texts = said(heard)
    assert [("micro-batches" in text) for text in texts] == [True, True, True, False], "64, 32, 16; then 16 at a time"


@pytest.mark.parametrize("step", [0, 1])
def test_answers_are_sampled_again_with_a_smaller_cache(step: int, place: Path, model_folder: Path) -> None:
    """16 answers at once, and room for 6."""
    heard: list[Event] = []
    with limited("sample", 6, begun=step) as limit:
        run = launch(Document(grpo(model_folder, token_budget=40)), listeners=[limit.hear, heard.append])
    texts = said(heard)
    assert texts and all("keys and values take at most" in text for text in texts)
    size = float(texts[-1].partition("engine.cache_gib=")[2].partition(" ")[0])
    if step == 0:
        limits = json.loads((run.folder / "model" / "trainer" / "limits.json").read_text())["now"]
        assert limits["cache_gib"] == pytest.approx(size, rel=1e-2)
        small = grpo(model_folder, token_budget=40, cache_gib=limits["cache_gib"])
        whole = launch(Document({**small, "output": "small"}))
        assert same(run, whole)
        for name in ("rollouts/step-000001.jsonl", "rollouts/step-000003.jsonl"):
            assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_where_nothing_can_be_smaller_in_sampling_the_finished_steps_are_saved(place: Path, model_folder: Path) -> None:
    out = refused("out-of-memory", said="memory ran out in step 2", kind=TrainingError)
    with limited("sample", 0, begun=1) as limit, out as error:
        launch(Document(grpo(model_folder)), listeners=[limit.hear])
    assert "The weights after step 1 are saved" in str(error.value)
    more = launch(Document(grpo(model_folder)), resume=True)
    whole = launch(Document({**grpo(model_folder), "output": "whole"}))
    assert read(more.folder).of("step")[0] == read(whole.folder).of("step")[0]
    assert [len(read(run.folder).of("step")) for run in (more, whole)] == [3, 3]
