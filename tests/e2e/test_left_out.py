"""Runs in which something is not finite: what is said, kept, saved, and that a resumed run is the same."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.protocol import Skip
from postlude.errors import TrainingError
from postlude.launch import launch
from postlude.recipe.documents import Document
from postlude.runs import read
from postlude.runs.events import Event, Step
from postlude.runs.folder import MOST_BROKEN, Run
from postlude.skipped import keep
from tests.refusals import refused

REWARD = """
def length(completions, trainer_state):
    given = [float(sum(map(ord, c)) % 3) for c in completions]
    return [1e300, *given[1:]] if trainer_state.global_step in SPOILT else given
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"{i}="}) + "\n" for i in range(8)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(model: Path, spoilt: tuple[int, ...], **more: Any) -> Document:
    name = "spoils_" + "_".join(map(str, spoilt))
    Path(f"{name}.py").write_text(REWARD.replace("SPOILT", repr(spoilt)))
    base = {
        "method": "grpo", "model": {"path": str(model)}, "data": {"path": "p.jsonl"}, "output": "run", "steps": 5,
        "reward": [{"use": f"{name}.py:length"}], "prompts_per_step": 2, "group_size": 3, "schedule": {"lr": 1e-3},
        "sampling": {"max_tokens": 4}, "checkpoint_every": 1, "keep_checkpoints": 9,
    }  # fmt: skip
    return Document({**base, **more})


def test_an_update_is_left_out_kept_said_once_and_counted(place: Path, model_folder: Path) -> None:
    run = launch(values(model_folder, (1, 3)))
    history = read(run.folder)
    assert [s["skipped_updates"] for s in history.of("step")] == [0, 1, 0, 1, 0]
    (note,) = [text for text in history.notes if "was left out" in text]
    assert "the reward of the answer " in note and "p.jsonl:" in note and "broken/step-000002.safetensors" in note
    assert [s["step"] for s in history.of("step") if "reward/max" not in s] == [2, 4], "what is no number is no figure"
    assert sum("not finite, and left out of the figures" in text for text in history.notes) == 1
    facts = json.loads((run.folder / "broken" / "step-000002.json").read_text())
    assert (facts["figure"], facts["value"], facts["in_a_row"]) == ("reward", "inf", 1)
    row = history.rollouts[2][0]
    assert (facts["sample"]["answer"], facts["sample"]["prompt_id"]) == (row["completion"], row["prompt_id"])
    batch = load_file(run.folder / "broken" / "step-000002.safetensors")
    assert batch["reward"].shape == (6,) and batch["reward"].isinf().tolist() == [True, *[False] * 5]
    one, two, three = (load_file(run.folder / "checkpoints" / f"step-{n:06d}" / "model.safetensors") for n in (1, 2, 3))
    assert all((two[name] == x).all() for name, x in one.items())
    assert any((three[name] != x).any() for name, x in two.items())


def test_three_in_a_row_end_the_run_with_what_is_finished_saved(place: Path, model_folder: Path) -> None:
    document = values(model_folder, (1, 2, 3), checkpoint_every=0)
    with refused(
        "not-finite", said="3 updates in a row were left out; of the last the reward is inf", kind=TrainingError
    ) as error:
        launch(document)
    assert "The weights after step 4 are saved" in str(error.value)
    whole = launch(values(model_folder, (7,), output="good", steps=1))
    one, other = (load_file(folder / "model" / "model.safetensors") for folder in (place / "run", whole.folder))
    assert all((one[name] == x).all() for name, x in other.items()), "those of step 1: nothing came after"


def test_a_resumed_run_counts_on_and_is_the_same(place: Path, model_folder: Path) -> None:
    whole = launch(values(model_folder, (1, 2, 4), output="whole"))

    def stop(event: Event) -> None:
        if isinstance(event, Step) and event.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    launch(values(model_folder, (1, 2, 4)), listeners=[stop])
    launch(values(model_folder, (1, 2, 4)), resume=True)
    for name in ("events.jsonl", "broken/step-000002.json", "broken/step-000005.json", "model/trainer/optimizer.json"):
        assert (place / "run" / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_what_is_kept_is_bounded_and_cannot_steer_a_terminal(place: Path, model_folder: Path) -> None:
    answer = Completion((5, 6), "\x1b[2J\x07" + "x" * 500, reward=1.0)
    groups = [Group(Prompt("\x1b]0;", "1", tokens=(3,)), (answer,))]
    run = Run.open(place / "kept", resume=False)
    texts = []
    for run.step in range(8):
        texts += [keep(run, "grpo", 1, pack(groups), groups, Skip("loss", float("nan"), 0, 0)) for _ in range(2)]
    run.close()
    assert len([*(place / "kept" / "broken").glob("*.json")]) == MOST_BROKEN
    facts = (place / "kept" / "broken" / "step-000001.json").read_text()
    assert "\x1b" not in facts + texts[0] and len(json.loads(facts)["sample"]["answer"]) < 250
    assert "kept in broken/step-000001" in texts[0] and "kept" not in texts[1] and "kept" not in texts[-1]
