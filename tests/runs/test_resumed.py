"""A run that was killed, damaged or starved of disk goes on to the folder of one that never was, or says why not."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postlude.errors import ConfigError, PostludeError, TrainingError
from postlude.launch import launch
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec
from postlude.models.tiny import save_tiny_model
from postlude.recipe.documents import Document
from postlude.recipe.opening import document_of
from postlude.runs.checkpoints import latest_model
from postlude.runs.events import Event, Said, Step
from postlude.runs.folder import Run
from postlude.runs.live import status
from tests.learning import write

STEPS, EVERY, KEPT = 6, 2, 2
CLOCKED = {"timings.jsonl", "lock", "live.json"}
"""Files that are not the same in every run."""
HAS_B = {"use": "regex", "args": {"pattern": "b"}, "name": "has_b"}
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, prompts, and `whole`: a run that nothing went wrong with, as it was after each checkpoint."""
    folder = tmp_path_factory.mktemp("place")
    save_tiny_model(folder / "model", layers=1, width=32, heads=2)
    rows = [{"prompt": f"{a}{b}>", "answer": a} for a in "abcd" for b in "efgh"]
    write(folder / "prompts.jsonl", rows)
    write(folder / "eval.jsonl", [{"prompt": f"{a}z>", "answer": a} for a in "abcd"])

    def copy(event: Event) -> None:
        if isinstance(event, Step) and event.step in (3, 5):
            shutil.copytree(folder / "run", folder / f"after-{event.step - 1}", symlinks=True)

    train(folder, listeners=[copy])
    shutil.copytree(folder / "run", folder / "whole", symlinks=True)
    return folder


def train(folder: Path, resume: bool = False, listeners: Any = (), accepted: str = "", **values: Any) -> Run:
    """The run of these tests, always in the same place: its path is in its config."""
    base = {
        "method": "grpo",
        "model": {"path": str(folder / "model")},
        "data": {"path": str(folder / "prompts.jsonl"), "eval": str(folder / "eval.jsonl")},
        "reward": [{"use": "regex", "args": {"pattern": "a"}}],
        "output": str(folder / "run"),
        "steps": STEPS,
        "prompts_per_step": 2,
        "group_size": 4,
        "sampling": {"max_tokens": 4},
        "schedule": {"lr": 1e-3},
        "engine": {"token_budget": 512, "head_chunk": 64, "cache_gib": 0.1},
        "evaluate": {"every": 3, "prompts": 2, "metrics": [HAS_B], "sheet": {"every": 2, "prompts": 3}},
        "checkpoints": {"every": EVERY, "keep": KEPT},
    }
    run = launch(Document({**base, **values}), resume, listeners, accepted)
    run.close()
    return run


def content(folder: Path) -> dict[str, bytes | str]:
    """What a run left: every file with its bytes, every link with its target."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file() and name not in CLOCKED:
            found[name] = path.read_bytes()
    return found


def require_same(one: Path, other: Path) -> None:
    ours, theirs = content(one), content(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def put_back(folder: Path, state: str) -> Path:
    shutil.rmtree(folder / "run", ignore_errors=True)
    return shutil.copytree(folder / state, folder / "run", symlinks=True)


def again(folder: Path, **values: Any) -> list[str]:
    """Go on with the run; what was said."""
    said: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, Said):
            said.append(event.text)

    train(folder, True, [hear], **values)
    return said


def flip(name: str, at: int = -9) -> Damage:
    """Turn one bit of a file around."""

    def damage(run: Path) -> None:
        whole = bytearray((run / name).read_bytes())
        whole[at] ^= 1
        (run / name).write_bytes(whole)

    return damage


def cut(name: str, by: int = 7) -> Damage:
    return lambda run: os.truncate(run / name, (run / name).stat().st_size - by)


def gone(name: str) -> Damage:
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


def torn(name: str) -> Damage:
    """The beginning of a line at the end of a file, as a kill leaves it."""

    def damage(run: Path) -> None:
        with (run / name).open("a") as out:
            out.write('{"step": 5, "dr')

    return damage


def unlinked(run: Path) -> None:
    """A kill between the rename of a checkpoint and what follows."""
    shutil.copytree(run / "checkpoints/step-000002", run / "checkpoints/step-000001")
    _link(run / "model", "checkpoints/step-000002")


def _link(place: Path, target: str) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)


HARMLESS: Mapping[str, Damage] = {
    "as it was killed": lambda run: None,
    "a torn event": torn("events.jsonl"),
    "a torn row of eval.jsonl": torn("eval.jsonl"),
    "a torn row of sheet.jsonl": torn("sheet.jsonl"),
    "a torn timing": torn("timings.jsonl"),
    "no timings": gone("timings.jsonl"),
    "timings of another kind": lambda run: (run / "timings.jsonl").write_bytes(b'[1]\n{"step": "x"}\n\xff\n3\n'),
    "no links, nothing pruned": unlinked,
    "a half-written checkpoint": lambda run: (run / "checkpoints/.step-000006/trainer").mkdir(parents=True),
    "a half-removed checkpoint": lambda run: (run / "checkpoints/.step-000001.old").mkdir(),
    "a file that was being replaced": lambda run: (run / "rollouts/.step-000005.jsonl.17.new").write_text("{"),
}


@pytest.mark.parametrize("damage", HARMLESS.values(), ids=HARMLESS)
def test_a_killed_run_ends_as_one_that_never_was(place: Path, damage: Damage) -> None:
    damage(put_back(place, "after-4"))
    assert not [line for line in again(place) if "passed over" in line]
    require_same(place / "run", place / "whole")


NEWEST = "checkpoints/step-000004"
DAMAGED: Mapping[str, tuple[Damage, str]] = {
    "optimiser flipped": (flip(f"{NEWEST}/trainer/optimizer.safetensors"), "optimizer.safetensors has another SHA-256"),
    "weights flipped": (flip(f"{NEWEST}/model.safetensors"), "model.safetensors has another SHA-256"),
    "weights cut": (cut(f"{NEWEST}/model.safetensors"), ", and 58400 by its manifest"),
    "state gone": (gone(f"{NEWEST}/trainer/state.json"), "trainer/state.json is gone"),
    "config gone": (gone(f"{NEWEST}/config.json"), "config.json is gone"),
    "manifest flipped": (flip(f"{NEWEST}/trainer/manifest.json", 0), "trainer/manifest.json is damaged"),
    "manifest gone": (gone(f"{NEWEST}/trainer/manifest.json"), "trainer/manifest.json is gone"),
    "all of it gone": (gone(f"{NEWEST}/trainer"), "trainer/manifest.json is gone"),
    "events flipped": (flip("events.jsonl", -1800), "events.jsonl is not what it was"),
    "events shorter": (cut("events.jsonl", 1800), "events.jsonl is cut off"),
    "answers of step 3 gone": (gone("rollouts/step-000003.jsonl"), "rollouts/step-000003.jsonl is gone"),
    "answers of step 3 changed": (flip("rollouts/step-000003.jsonl"), "rollouts/step-000003.jsonl is not what was"),
    "sums cut": (cut("rollouts/SHA256SUMS", 170), "rollouts/SHA256SUMS is cut off"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_checkpoint_is_passed_over_aloud(place: Path, case: str) -> None:
    damage, said = DAMAGED[case]
    damage(put_back(place, "after-4"))
    (line,) = [line for line in again(place) if "passed over" in line]
    assert line.startswith("checkpoint step-000004 is passed over: ") and said in line
    assert line.endswith("going on from step-000002")
    require_same(place / "run", place / "whole")


def _renamed(one: str, other: str) -> Damage:
    return lambda run: (run / f"checkpoints/{one}").rename(run / f"checkpoints/{other}")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_renamed("step-000004", "step-000003"), "step-000003 holds step 4 by its manifest.json"),
        (
            lambda run: shutil.copytree(run / "checkpoints/step-000002", run / "checkpoints/step-000005"),
            "step-000005 holds step 2 by its manifest.json",
        ),
        (lambda run: (run / NEWEST / "adapter_config.json").write_text("{}"), "adapter_config.json is none of its"),
    ],
)
def test_a_checkpoint_of_another_step_or_with_more_in_it_is_passed_over(place: Path, damage: Damage, said: str) -> None:
    damage(put_back(place, "after-4"))
    (line,) = [line for line in again(place) if "passed over" in line]
    assert said in line
    require_same(place / "run", place / "whole")


def test_what_nothing_sound_or_somebody_else_left_is_refused_and_stays(place: Path) -> None:
    run = put_back(place, "after-4")
    for one, other in (("step-000002", "x"), ("step-000004", "step-000002"), ("x", "step-000004")):
        _renamed(one, other)(run)
    _refused(place, "step-000004 holds step 2 by its manifest.json; step-000002: step-000002 holds step 4")
    with pytest.raises(ConfigError, match="holds step 2"):
        latest_model(str(run))
    run = put_back(place, "after-4")
    shutil.rmtree(run / "checkpoints")
    _refused(place, "had saved checkpoints, and none is there")
    run = put_back(place, "after-4")
    (run / "checkpoints/step-000005").mkdir()
    (run / "checkpoints/step-000005/notes.txt").write_text("mine")
    _refused(place, "has the name of a checkpoint, but nothing of one. Move it away")


def _refused(place: Path, said: str) -> None:
    """Going on is refused with these words, and every file stays."""
    before = content(place / "run")
    with pytest.raises(ConfigError, match=re.escape(said)):
        again(place)
    assert content(place / "run") == before


def test_foreign_files_are_left_alone(place: Path) -> None:
    run = put_back(place, "after-4")
    foreign = ["rollouts/x.txt", "checkpoints/step-000002.bak/trainer/state.json", "checkpoints/notes", "mine.jsonl"]
    for name in foreign:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("mine")
    again(place)
    for name in foreign:
        assert (run / name).read_text() == "mine"
        (run / name).unlink()
    require_same(run, place / "whole")


def test_a_finished_run_stays_as_it_is(place: Path) -> None:
    run = put_back(place, "whole")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name not in {*CLOCKED, "run"}}
    assert again(place) == []
    require_same(run, place / "whole")
    files = {path: moment for path, moment in before.items() if path.is_file()}
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_what_a_kill_left_of_the_last_save_is_done(place: Path) -> None:
    """Link, pruning, `end`: the run is at its end, and nothing is trained."""
    run = put_back(place, "whole")
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    assert '"kind": "end"' in lines[-1]
    (run / "events.jsonl").write_text("".join(lines[:-1]) + lines[-1][:9])
    shutil.copytree(place / "after-4/checkpoints/step-000002", run / "checkpoints/step-000002")
    _link(run / "model", "checkpoints/step-000004")
    again(place)
    require_same(run, place / "whole")


@pytest.mark.parametrize("left", ["start", "step"])
def test_a_kill_before_the_first_checkpoint_doubles_nothing(place: Path, left: str) -> None:
    """A start again without --resume where no step was finished, and with it where one was."""
    run = put_back(place, "after-2")
    shutil.rmtree(run / "checkpoints")
    (run / "model").unlink()
    if left == "start":
        (run / "timings.jsonl").unlink()
    train(place, resume=left == "step")
    require_same(run, place / "whole")


def test_what_no_older_checkpoint_mends_is_refused_by_name(place: Path) -> None:
    run = put_back(place, "after-4")
    gone("rollouts/step-000001.jsonl")(run)
    before = content(run)
    with pytest.raises(ConfigError) as error:
        again(place)
    assert error.value.code == "damaged-run"
    assert "step-000004: rollouts/step-000001.jsonl is gone; step-000002: rollouts/step-000001" in str(error.value)
    assert "go on from step-000004 all the same with --accept-changes rollouts" in str(error.value)
    assert content(run) == before


@pytest.mark.parametrize("name", ["rollouts/step-000001.jsonl", "lock", "manifest.json"])
def test_a_pipe_in_a_files_place_is_refused_by_name(place: Path, name: str) -> None:
    run = put_back(place, "after-4")
    gone(name)(run)
    os.mkfifo(run / name)
    _refused(place, f"{name}' is neither a file nor a folder. Move it away.")


def test_a_pipe_in_a_checkpoint_is_damage_like_any_other(place: Path) -> None:
    run = put_back(place, "after-4")
    gone(f"{NEWEST}/trainer/manifest.json")(run)
    os.mkfifo(run / NEWEST / "trainer/manifest.json")
    (line,) = [line for line in again(place) if "passed over" in line]
    assert "trainer/manifest.json cannot be read" in line
    require_same(run, place / "whole")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda file: file.unlink(), "config.yaml is gone. Copy back the one in"),
        (lambda file: file.write_text("\n"), "config.yaml is empty: it is damaged. Copy back the one in"),
        (lambda file: (file.unlink(), os.mkfifo(file)), "config.yaml is no file. Copy back the one in"),
    ],
)
def test_a_config_that_is_gone_is_told_with_its_copy(place: Path, change: Damage, said: str) -> None:
    run = put_back(place, "after-4")
    change(run / "config.yaml")
    for name in (run, run / "config.yaml"):
        with pytest.raises(ConfigError, match=re.escape(said)) as error:
            document_of(name, [])
        assert f"{NEWEST}/trainer/run/config.yaml" in str(error.value)


@pytest.mark.parametrize("damage", [gone("events.jsonl"), torn("events.jsonl"), gone("timings.jsonl")])
def test_a_file_that_changes_while_the_run_goes_on_ends_it(place: Path, damage: Damage) -> None:
    run = put_back(place, "after-4")

    def change(event: Event) -> None:
        if isinstance(event, Step):
            damage(run)

    with pytest.raises(TrainingError, match="was changed or removed by somebody else while the run was writing it"):
        train(place, True, [change])


def test_a_file_has_no_status(place: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run that says how it stands"):
        status(place / "prompts.jsonl")


@pytest.mark.parametrize("state", ["after-4", "whole"])
@pytest.mark.parametrize("damage", [gone("events.jsonl"), lambda run: os.truncate(run / "events.jsonl", 300)])
def test_what_is_accepted_is_gone_on_with_and_noted(place: Path, damage: Damage, state: str) -> None:
    """Of figures that are lost, and answers that were changed: the weights are those of a run without."""
    run = put_back(place, state)
    damage(run)
    with pytest.raises(ConfigError, match="--accept-changes events"):
        again(place)
    flip("rollouts/step-000001.jsonl", 40)(run)
    again(place, accepted="events,rollouts")
    rows = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows][-1] == "end"
    (note,) = [row["text"] for row in rows if row.get("code") == "accepted-changes"]
    assert "events.jsonl is" in note and "rollouts/step-000001.jsonl is not what was written" in note
    weights = "checkpoints/step-000006/model.safetensors"
    assert (run / weights).read_bytes() == (place / "whole" / weights).read_bytes()
    if state == "after-4":  # a checkpoint was sealed since
        assert again(place) == []


def test_nothing_sound_ends_with_the_way_out(place: Path) -> None:
    run = put_back(place, "after-4")
    for name in ("step-000002", "step-000004"):
        flip(f"checkpoints/{name}/trainer/state.json")(run)
    with pytest.raises(ConfigError, match=f"start another run with model={run}/checkpoints/step-000004"):
        again(place)
    for name in ("step-000002", "step-000004"):
        flip(f"checkpoints/{name}/model.safetensors")(run)
    with pytest.raises(ConfigError, match="Start it anew, with output=FOLDER"):
        again(place)


def test_the_runs_own_files_are_put_back_or_asked_about(place: Path) -> None:
    run = put_back(place, "after-4")
    flip("manifest.json")(run)
    assert "manifest.json was gone or damaged: it is put back as it was in step-000004" in again(place)
    require_same(run, place / "whole")
    run = put_back(place, "whole")
    gone("manifest.json")(run)
    flip("inputs/eval.txt")(run)
    assert again(place) == [
        "manifest.json was gone or damaged: it is put back as it was in step-000006",
        "inputs/eval.txt was gone or damaged: it is written again",
    ]
    require_same(run, place / "whole")
    run = put_back(place, "after-4")
    flip("config.yaml", -3)(run)
    with pytest.raises(ConfigError, match=r"config\.yaml was edited, damaged or removed since step-000004"):
        again(place)


def test_a_checkpoint_of_an_earlier_version_is_taken_and_that_is_said(place: Path) -> None:
    run = put_back(place, "after-4")
    events = (run / "events.jsonl").read_bytes()
    end = events.index(b'"name": "step-000004"}\n') + len(b'"name": "step-000004"}\n')
    state = run / NEWEST / "trainer/state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "event_bytes": end, "seconds": 1.5}))
    (run / NEWEST / "trainer/manifest.json").unlink()
    (run / "rollouts/SHA256SUMS").unlink()
    assert any("step-000004 has no manifest" in line for line in again(place))
    for name in ("events.jsonl", "eval.jsonl", "checkpoints/step-000006/model.safetensors"):
        assert (run / name).read_bytes() == (place / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", ["events.jsonl", "lock", "rollouts", "checkpoints", "served"])
def test_nothing_is_written_through_a_link_that_leads_out(place: Path, tmp_path: Path, name: str) -> None:
    run = put_back(place, "after-4")
    if (run / name).exists():
        shutil.move(run / name, tmp_path / name)
    else:
        (tmp_path / name).mkdir()  # only a run with servers has it
    (run / name).symlink_to(tmp_path / name)
    before = content(tmp_path)
    with pytest.raises(ConfigError, match="a link that leads out of the run's folder"):
        again(place)
    assert content(tmp_path) == before


# ------------------------------------------------------------------------------------------------------ no room


@contextmanager
def _no_file_above(size: int) -> Generator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _small_files(since: int, until: int) -> Callable[[Event], None]:
    """A listener: from one step to another no file can hold a model."""
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def listen(event: Event) -> None:
        if isinstance(event, Step) and event.step in (since, until):
            limit = 20_000 if event.step == since else unlimited[0]
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))

    return listen


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr("postlude.runs.saving.WAITS", (0.0,))
    monkeypatch.setattr("postlude.runs.durable.WAITS", (0.0,))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_save_that_is_lost_is_no_end(place: Path, impatient: None) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)
    said: list[str] = []
    hear: Callable[[Event], None] = lambda event: said.append(event.text) if isinstance(event, Said) else None
    train(place, listeners=[hear, _small_files(2, 3)])
    assert said == [
        "checkpoint step-000002 cannot be saved (File too large): tried again in 0 s",
        "checkpoint step-000002 is lost (File too large): training goes on, no checkpoint was saved yet, and the next "
        "save is tried as planned",
    ]
    require_same(place / "run", place / "whole")


@pytest.mark.parametrize(("since", "every", "named"), [(5, 2, "step-000006"), (2, 1, "step-000004")])
def test_a_last_save_that_is_lost_or_the_third_is_one_sentence(
    place: Path, impatient: None, since: int, every: int, named: str
) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)
    with pytest.raises(TrainingError) as error:
        train(place, listeners=[_small_files(since, 99)], checkpoints={"every": every})
    assert error.value.exit_code == 2 and error.value.code == "cannot-write"
    newest = {5: "step-000004", 2: "step-000001"}[since]
    assert f"cannot save checkpoint {named} (File too large)" in str(error.value)
    assert f"the newest checkpoint is {newest}. " in str(error.value) and "\n" not in str(error.value)


def test_lines_that_cannot_be_written_are_cut_back_and_end_in_a_sentence(place: Path, impatient: None) -> None:
    run, size = put_back(place, "after-4"), 0

    def fill(event: Event) -> None:
        nonlocal size
        if isinstance(event, Step) and event.step == 5:
            size = (run / "events.jsonl").stat().st_size + 5
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    with pytest.raises(PostludeError) as error:
        train(place, True, [fill])
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert f"cannot write to {run}/" in str(error.value) and "File too large" in str(error.value)
    assert (run / "events.jsonl").read_bytes().endswith(b"\n")
    again(place)
    require_same(run, place / "whole")


def test_ctrl_c_and_what_is_asked_for_leave_no_trace_once_the_run_has_gone_on(place: Path) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)

    def press(event: Event) -> None:
        if isinstance(event, Step) and event.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    assert train(place, listeners=[press]).stop
    assert (place / "run/checkpoints/step-000003").is_dir()
    again(place)
    require_same(place / "run", place / "whole")


def test_ctrl_c_in_the_last_step_is_an_end_like_any_other(place: Path) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)

    def press(event: Event) -> None:
        if isinstance(event, Step) and event.step == STEPS:
            os.kill(os.getpid(), signal.SIGINT)

    assert not train(place, listeners=[press]).stop
    require_same(place / "run", place / "whole")


# --------------------------------------------------------------------------------------------------- the best


@pytest.mark.parametrize(("state", "name"), [("after-2", "sampled/reward"), ("after-4", "truth/held_out/has_b")])
def test_the_best_checkpoint_stays_and_survives_a_resume(place: Path, tmp_path: Path, state: str, name: str) -> None:
    shutil.rmtree(place / "run", ignore_errors=True)
    measured_by = {"every": 1, "prompts": 4, "samples": 4, "metrics": [HAS_B]}
    checkpoints = {"every": 4, "keep": 1, "best": name}
    settings: dict[str, Any] = {"checkpoints": checkpoints, "evaluate": measured_by, "seed": 3}
    killed = 3 if state == "after-2" else 5

    def copy(event: Event) -> None:
        if isinstance(event, Step) and event.step == killed:
            shutil.copytree(place / "run", tmp_path / "killed", symlinks=True)

    train(place, listeners=[copy], **settings)
    measured = [row for row in map(json.loads, (place / "run/events.jsonl").open()) if row["kind"] == "eval"]
    values = {row["step"]: row[name] for row in measured if row["step"]}
    step = max(values, key=lambda s: (values[s], -s))
    assert (place / "run/best").readlink() == Path(f"checkpoints/step-{step:06d}")
    names = {p.name for p in (place / "run/checkpoints").iterdir()}
    assert names == {f"step-{step:06d}", "step-000006"}
    shutil.move(place / "run", tmp_path / "whole")
    shutil.move(tmp_path / "killed", place / "run")
    again(place, **settings)
    require_same(place / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sampled/acuracy", "there is no figure 'sampled/acuracy'. Did you mean 'sampled/accuracy'?"),
        ("reward/mean", "'reward/mean' is no figure of this run's evaluations (truth/held_out/has_b, truth/held_out/"),
        ("truth/held_out/has_c", "is no figure of this run's evaluations"),
        ("truth/easy/has_b", "There are, for example, truth/held_out/has_b, truth/held_out/reward, greedy/"),
        ("truth/held_out/has_b/divergence", "has no better direction"),
        ("sampled/answers", "'sampled/answers' has no better direction"),
    ],
)
def test_a_figure_that_nothing_can_be_best_by_is_refused(place: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        train(place, checkpoints={"best": name}, output=str(place / "never"))
    assert said in str(error.value) and not (place / "never").exists()


def test_what_is_measured_only_at_the_end_cannot_be_best(place: Path) -> None:
    with pytest.raises(ConfigError, match="only the last step would be evaluated"):
        train(place, checkpoints={"best": "sampled/accuracy"}, evaluate={"every": 0}, output=str(place / "never"))


# ------------------------------------------------------------------------------------------------- as a model


def test_a_damaged_checkpoint_is_no_model(place: Path) -> None:
    run = put_back(place, "whole")
    flip("checkpoints/step-000006/model.safetensors")(run)
    said: list[str] = []
    assert latest_model(str(run), said.append) == str(run / "checkpoints/step-000004")
    assert "step-000006 is not what was saved: model.safetensors has another SHA-256" in said[0]
    with pytest.raises(ConfigError, match="The one before it is whole") as error:
        latest_model(str(run))
    assert error.value.code == "damaged-weights"
    for path in (run / "model", run / "checkpoints/step-000006"):
        with pytest.raises(ConfigError, match=r"is not what was saved: model\.safetensors has another SHA-256"):
            inspect(ModelSpec(str(path)))
    shutil.rmtree(run / "checkpoints/step-000006/trainer")
    assert inspect(ModelSpec(str(run / "model"))).vocabulary
    flip("checkpoints/step-000004/trainer/optimizer.safetensors")(run)  # no part of the model
    assert inspect(ModelSpec(str(run / "checkpoints/step-000004"))).vocabulary
