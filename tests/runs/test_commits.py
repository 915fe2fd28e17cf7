"""A step that is saved before its weights are published: what stays on the disk, and what a kill leaves."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from postlude.errors import TrainingError
from postlude.runs.checkpoints import clear_hidden
from postlude.runs.events import End, Start, Step, Timed
from postlude.runs.folder import Run

START = Start(0, "grpo", 9, "", {}, [], {})


class Saved:
    """An engine's save, which counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    async def __call__(self, folder: Path) -> None:
        self.times += 1
        (folder / "trainer").mkdir(parents=True)
        (folder / "trainer/optimizer").write_text("moments")
        (folder / "model.safetensors").write_text(f"weights {self.times}")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    opened = Run.open(tmp_path / "run", resume=False)
    opened.begin(START)
    return opened


def steps(run: Run, count: int, save: Saved, every: int = 0, keep: int = 1, commit: int = 1) -> None:
    """So many steps of a run that commits: each commits, publishes, evaluates, and saves what is planned."""
    for _ in range(count):
        run.step += 1
        run.emit(Step(run.step, {}))
        run.timing(draw=0.5, train=1.0, total=1.5)
        if run.step % commit == 0:
            asyncio.run(run.commit(save, {"due": {"evaluation": True}}, keep))
        run.timing(commit=0.1, publish=0.2, total=2.0)
        if every and run.step % every == 0:
            asyncio.run(run.checkpoint(save, {"due": {}}, keep))


def there(run: Run) -> list[str]:
    return sorted(path.name for path in (run.folder / "checkpoints").iterdir())


def test_commits_do_not_pile_up_and_push_no_planned_checkpoint_out(run: Run) -> None:
    save = Saved()
    steps(run, 7, save, every=3, keep=2)
    assert there(run) == ["step-000003", "step-000006", "step-000007"] and save.times == 7
    assert (run.folder / "model").readlink() == Path("checkpoints/step-000007")
    kinds = [json.loads(line)["kind"] for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert kinds.count("checkpoint") == 2, "a commit is no event: a run that goes on from it does what follows"
    steps(run, 2, save, every=3, keep=2)
    assert there(run) == ["step-000006", "step-000009"]


def test_of_a_step_that_is_committed_the_planned_checkpoint_writes_no_weights(run: Run) -> None:
    save = Saved()
    steps(run, 1, save)
    before = (run.folder / "checkpoints/step-000001/model.safetensors").stat().st_ino
    assert run.committed == run.folder / "checkpoints/step-000001"
    asyncio.run(run.checkpoint(save, {"due": {}}, 1))
    place = run.folder / "checkpoints/step-000001"
    assert save.times == 1 and (place / "model.safetensors").stat().st_ino == before and run.committed is None
    manifest = json.loads((place / "trainer/manifest.json").read_text())
    assert manifest["planned"] and "commit" not in manifest
    assert json.loads((place / "trainer/state.json").read_text()) == {"due": {}, "step": 1}
    steps(run, 1, save)
    run.outdate_commit()  # the reference has become the policy, say
    asyncio.run(run.checkpoint(save, {"due": {}}, 1))
    assert save.times == 3 and (run.folder / "checkpoints/step-000002/model.safetensors").read_text() == "weights 3"


def again(run: Run) -> Run:
    run.close()
    resumed = Run.open(run.folder, resume=True)
    resumed.restore()
    resumed.rewind()
    resumed.tidy(1)
    return resumed


@pytest.mark.parametrize("saved", ["committed", "planned"])
def test_a_run_goes_on_within_the_step_that_was_committed(run: Run, saved: str) -> None:
    save = Saved()
    steps(run, 2, save, every=2 if saved == "planned" else 0)
    run.emit(End(2, "done"))
    resumed = again(run)
    assert resumed.step == 2 and (resumed.committed is not None) == (saved == "committed")
    asyncio.run(resumed.checkpoint(save, {"due": {}}, 1))
    assert save.times == 2, "its weights are there"
    assert again(resumed).committed is None


@pytest.mark.parametrize("left", ["hidden", "gone too"])
def test_a_kill_while_one_takes_the_place_of_the_other_loses_neither(run: Run, left: str) -> None:
    save = Saved()
    steps(run, 1, save)
    asyncio.run(run.checkpoint(save, {"due": {}}, 1))
    place = run.folder / "checkpoints"
    (place / "step-000001").rename(place / ".step-000001")  # sealed, and about to be renamed
    (place / ".step-000001.old").mkdir()
    if left == "hidden":
        (place / ".step-000001.old/model.safetensors").write_text("weights 1")
    assert again(run).step == 1 and there(run) == ["step-000001"]
    (place / ".step-000002").mkdir()  # being written as it was killed
    clear_hidden(run.folder)
    assert there(run) == ["step-000001"]


def test_a_commit_that_the_disk_refuses_leaves_the_one_before_and_three_end_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("postlude.runs.saving.WAITS", ())
    save = Saved()
    steps(run, 1, save)

    async def refused(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    said: list[str] = []
    run.listeners.append(lambda event: said.append(getattr(event, "text", "")))
    for _ in range(2):
        run.step += 1
        asyncio.run(run.commit(refused, {}, 1))
        assert run.committed is None and there(run) == ["step-000001"]
    assert "checkpoint step-000003 is lost (No space left on device)" in said[-1]
    run.step += 1
    with pytest.raises(TrainingError, match=r"the third save that is lost in a row: the newest checkpoint is step-0"):
        asyncio.run(run.commit(refused, {}, 1))


def test_what_a_step_took_stands_in_one_row_and_is_told(run: Run) -> None:
    told: list[Timed] = []
    run.listeners.append(lambda event: told.append(event) if isinstance(event, Timed) else None)
    steps(run, 2, Saved())
    rows = [json.loads(line) for line in (run.folder / "timings.jsonl").read_text().splitlines()]
    took = {"draw": 0.5, "train": 1.0, "total": 2.0, "commit": 0.1, "publish": 0.2}
    assert rows == [{"step": 1, **took}, {"step": 2, **took}]
    assert [event.seconds for event in told] == [took, took]
