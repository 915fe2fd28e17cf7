"""A run goes on as what it is: all that it is made of is compared, and a folder that was copied or moved is the run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import postlude
from postlude.errors import ConfigError
from postlude.models.tiny import save_tiny_model
from postlude.runs import read
from postlude.runs.events import Event, Said
from postlude.runs.folder import Run

WALL_CLOCK = {"timings.jsonl", "lock", "live.json"}
REWARD = """from helper import half
def score(completions, answer):
    return [half(len(c) % 3) for c in completions]
"""
METHOD = """from dataclasses import replace
from postlude.algorithms import ALGORITHMS
import parts
mine = replace(ALGORITHMS["grpo"], group_size=parts.SIZE)
"""
SMALL: dict[str, Any] = {
    "prompts_per_step": 2,
    "sampling": {"max_tokens": 4},
    "evaluate": {"every": 0},
    "checkpoints": {"every": 1, "keep": 9},
    "show": False,
}
JUDGE = {"model": "m", "template": "ask.jinja", "principles": "good.yaml", "canary_limit": None, "max_tokens": 8}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a run can be made of, and runs: `whole` of three steps, `half` the same after one, and `ppo`."""
    place = tmp_path_factory.mktemp("begun")
    save_tiny_model(place / "m", 0, layers=1, width=32, heads=2)
    shutil.copytree(place / "m", place / "c")
    for name, start in (("d", 0), ("e", 10), ("p", 20)):
        rows = [{"prompt": f"{i}+1=", "completion": str(i + 1), "answer": str(i + 1)} for i in range(start, start + 6)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = {
        "helper.py": "def half(x): return x / 2\n",
        "r.py": REWARD,
        "parts.py": "SIZE = 2\n",
        "mine.py": METHOD,
        "t.jinja": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "ask.jinja": "{{ prompt }} {{ answer }} {{ rubric }}",
        "good.yaml": "- Be brief.\n",
    }
    for name, text in texts.items():
        (place / name).write_text(text)
    with _in(place):
        begin("whole")
        reward = [{"use": "r.py:score"}, {"use": "judge", "args": JUDGE, "weight": 0.0, "abstain": 1.0}]
        values = {
            "critic": {"path": "c"},
            "pretrain": {"path": "p.jsonl", "rows": 2},
            "group_size": 1,
            "steps": 2,
            "updates": 1,
        }
        postlude.train("ppo", model="m", data="d.jsonl", reward=reward, output="ppo", **values, **SMALL)
    shutil.copytree(place / "whole", place / "half", symlinks=True)
    cut(place / "half", 1)
    cut(place / "ppo", 1)
    return place


def begin(output: str, steps: int = 3) -> Run:
    data, model = {"path": "d.jsonl", "eval": "e.jsonl"}, {"path": "m", "chat_template": "t.jinja"}
    values = {"model": model, "data": data, "reward": "r.py:score", "steps": steps, **SMALL}
    return postlude.train("mine.py:mine", output=output, **values)


@pytest.fixture
def place(begun: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(begun)
    return begun


@contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def cut(run: Path, step: int) -> Path:
    """The run as a kill after a step's checkpoint would leave it; after step 0 there is none."""
    for checkpoint in (run / "checkpoints").iterdir():
        if int(checkpoint.name.removeprefix("step-")) > step:
            shutil.rmtree(checkpoint)
    if step == 0:
        (run / "model").unlink()  # made with the first that is saved
    return run


def copied(run: str, to: Path, step: int = 1) -> Path:
    return cut(Path(shutil.copytree(run, to, symlinks=True)), step)


def content(run: Path) -> dict[str, bytes]:
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in WALL_CLOCK]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def resumed(run: str | Path, said: list[str] | None = None, accept: str = "", **values: Any) -> Run:
    def listen(event: Event) -> None:
        if said is not None and isinstance(event, Said):
            said.append(event.text)

    return postlude.train(str(run), resume=True, accept_changes=accept, show=False, listeners=[listen], **values)


@contextmanager
def edited(name: str, change: Callable[[bytes], bytes]) -> Iterator[None]:
    """A file with other bytes for a while; a new one where there is none."""
    file = Path(name)
    before = file.read_bytes() if file.exists() else None
    file.write_bytes(change(before or b""))
    try:
        yield
    finally:
        file.unlink() if before is None else file.write_bytes(before)


def one_bit(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def without_a_row(content: bytes) -> bytes:
    return b"".join(content.splitlines(True)[1:])


CHANGES: dict[str, tuple[str, str, Callable[[bytes], bytes], str]] = {
    "a row edited": ("half", "d.jsonl", lambda b: b.replace(b'"3+1="', b'"4+1="'), "data: 1 of 6 rows differs (first "),
    "a row added": ("half", "d.jsonl", lambda b: b + b.splitlines(True)[0], "data: 1 was added (first "),
    "a row gone": ("half", "d.jsonl", without_a_row, "data: 1 was taken out (first row 1 of those"),
    "another order": ("half", "d.jsonl", lambda b: b"".join(b.splitlines(True)[::-1]), "data: its 6 rows stand in an"),
    "held-out rows": ("half", "e.jsonl", lambda b: b.replace(b"12+1=", b"99+1="), "eval: 1 of 6 rows differs (first "),
    "a reward": ("half", "r.py", lambda b: b + b"#", "reward: r.py has changed"),
    "what it imports": ("half", "helper.py", lambda b: b.replace(b"2", b"3"), "reward: helper.py has changed"),
    "a method": ("half", "mine.py", lambda b: b + b"#", "method: mine.py has changed"),
    "what that imports": ("half", "parts.py", lambda b: b + b"#", "method: parts.py has changed"),
    "the template": ("half", "t.jinja", lambda b: b + b"!", "template: the chat template has changed"),
    "a weight": ("half", "m/model.safetensors", one_bit, "model: model.safetensors has changed"),
    "the model's ends": ("half", "m/generation_config.json", lambda b: b + b" ", "model: generation_config.json has"),
    "a token's text": (
        "half",
        "m/tokenizer_config.json",
        lambda b: b.replace(b"{", b'{"x": 1,', 1),
        "tokenizer: token",
    ),
    "a folder's template": (
        "ppo",
        "m/chat_template.jinja",
        lambda b: b"{{ messages }}",
        "template: the chat template is",
    ),
    "the critic": ("ppo", "c/model.safetensors", one_bit, "critic: model.safetensors has changed"),
    "a principle": ("ppo", "good.yaml", lambda b: b.replace(b"brief", b"long"), "judge: judge: good.yaml has changed"),
    "a question": ("ppo", "ask.jinja", lambda b: b + b"?", "judge: judge: ask.jinja has changed"),
    "plain text": ("ppo", "p.jsonl", lambda b: b.replace(b'"21"', b'"22"'), "pretrain: 1 of 6 rows differs"),
}


@pytest.mark.parametrize("step", [1, 0], ids=["checkpoint", "none"])
@pytest.mark.parametrize("kind", CHANGES)
def test_what_has_changed_is_refused_by_name_and_the_run_left_alone(
    place: Path, tmp_path: Path, kind: str, step: int
) -> None:
    of, name, change, text = CHANGES[kind]
    run = copied(of, tmp_path / "run", step)
    before = content(run)
    with edited(name, change), pytest.raises(ConfigError) as caught:
        resumed(run)
    word = text.partition(":")[0]
    problem = next(problem for problem in caught.value.problems if problem.key == word)
    assert problem.startswith(text) and problem.code == f"changed-{word}"
    assert f" since {'step 1' if step else 'the run began'}. Put it back" in problem
    assert content(run) == before


def test_everything_that_has_changed_is_said_at_once(place: Path, tmp_path: Path) -> None:
    run = copied("half", tmp_path / "run")
    with edited("d.jsonl", without_a_row), edited("r.py", lambda b: b + b"#"), pytest.raises(ConfigError) as caught:
        resumed(run, seed=3, model={"path": "m", "lora": {"rank": 2}})
    assert caught.value.codes == ["settings-do-not-fit", "changed-data", "changed-reward", "changed-settings"]
    lora, data, _, settings = caught.value.problems
    assert lora.startswith("model.lora None -> {'rank': 2") and "model=RUN" in lora
    assert settings.startswith("settings: seed 0 -> 3 since step 1. ")
    assert data.endswith(": --accept-changes data,reward,settings")


def test_what_is_accepted_is_recorded_and_holds_for_the_next_try(place: Path, tmp_path: Path) -> None:
    run = copied("half", tmp_path / "run")
    with edited("helper.py", lambda b: b.replace(b"2", b"4")):
        said: list[str] = []
        done = resumed(run, said, accept="reward, model")
        assert done.step == 3 and "--accept-changes model: nothing of it has changed" in said
        (note,) = [row for row in read(run).of("note") if row["code"] == "changed-inputs"]
        assert note["text"] == "goes on from step 1 with --accept-changes reward: helper.py has changed"
        (record,) = read(run).manifest["accepted"]
        assert record == {**note["data"]} and record["step"] == 1 and record["word"] == "reward"
        whole = content(run)
        resumed(cut(run, 1))  # as if it had been killed before its next checkpoint: what was accepted still is
        assert content(run) == whole
    with pytest.raises(ConfigError, match=r"reward: helper\.py has changed since step 3"):
        resumed(run, steps=4)


def test_settings_that_may_change_are_noted_and_all_others_of_the_run_stay(place: Path, tmp_path: Path) -> None:
    run = copied("half", tmp_path / "run")
    resumed(run, steps=2, schedule={"lr": 1e-5})
    (note,) = [row for row in read(run).of("note") if row["code"] == "changed-settings"]
    assert note["text"] == "resumed with other settings from step 1 on: schedule.lr 1e-06 -> 1e-05; steps 3 -> 2"
    assert read(run).recipe["schedule"]["lr"] == 1e-5


def test_another_library_is_noted_and_not_refused(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from postlude.inputs import surroundings

    monkeypatch.setattr(surroundings, "__version__", "9.9")
    run = copied("half", tmp_path / "run")
    resumed(run, engine={"threads": 2})
    texts = [row["text"] for row in read(run).of("note") if row["code"] == "changed-surroundings"]
    assert [text.partition(". ")[0] for text in texts] == [
        f"resumed on something else from step 1 on: postlude {postlude.__version__} -> 9.9; threads 1 -> 2"
    ]


# ------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("step", [1, 0], ids=["checkpoint", "none"])
@pytest.mark.parametrize("how", ["copied", "elsewhere", "linked", "its config", "renamed"])
def test_the_folder_named_is_the_run_and_ends_as_one_that_was_never_stopped(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, step: int
) -> None:
    """From any folder, by any name, whatever became of the folder it was copied from, which stays as it is."""
    run, name = copied("half", tmp_path / "run", step), str(tmp_path / "run") + "/"
    original = content(place / "half")
    if how == "elsewhere":
        monkeypatch.chdir(tmp_path)
        name = "run"
    elif how == "linked":
        (tmp_path / "link").symlink_to("run")
        name = str(tmp_path / "link")
    elif how == "its config":
        name = str(run / "config.yaml")
    elif how == "renamed":
        run = run.rename(tmp_path / "renamed")
        name = os.path.relpath(run)
    resumed(name)
    assert content(run) == content(place / "whole")
    assert content(place / "half") == original


def test_two_runs_of_other_folders_are_the_same(place: Path, tmp_path: Path) -> None:
    """Nothing in a run tells the time, or where it is."""
    again = begin(str(tmp_path / "deep" / "again"))
    assert content(again.folder) == content(place / "whole")


def test_a_project_that_moved_goes_on_and_says_so(place: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("d.jsonl", "e.jsonl", "r.py", "helper.py", "mine.py", "parts.py", "t.jinja"):
        shutil.copy(name, project / name)
    shutil.copytree("m", project / "m")
    with _in(project):
        begin("runs/x", steps=2)
    moved = project.rename(tmp_path / "moved")
    said: list[str] = []
    assert resumed(cut(moved / "runs" / "x", 1), said).step == 2
    assert f"data.path: {str(project / 'd.jsonl')!r} is gone; taken from {str(moved / 'd.jsonl')!r}" in said
    assert len([line for line in said if "is gone; taken from" in line]) == 6
    for name in ("d.jsonl", "m", "r.py"):
        (moved / name).rename(tmp_path / f"lost-{name}")
    with pytest.raises(ConfigError) as caught, _in(tmp_path):
        resumed(cut(moved / "runs" / "x", 1))
    assert [(p.code, p.key) for p in caught.value.problems] == [
        ("no-such-file", key) for key in ("model.path", "data.path", "reward.0.use")
    ]


def test_what_cannot_be_meant_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Leave output out") as caught:
        resumed("half", output=str(tmp_path / "other"))
    assert caught.value.code == "contradiction"
    with pytest.raises(ConfigError, match="give --resume too"):
        postlude.train("half", accept_changes="data", show=False)
    with pytest.raises(ConfigError, match=r"'dta' is none of its words; did you mean data\?"):
        resumed("half", accept="dta")
