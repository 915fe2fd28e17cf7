"""Settings as a user meets them: what is misspelt is named, what is printed is text, paths are of the recipe."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from postlude.batch import with_mismatched
from postlude.check import check
from postlude.cli.app import app
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError, printable, visible
from postlude.launch import launch
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.opening import document_of
from postlude.recipe.resolution import key_of, resolve, resolve_with_problems
from postlude.runs.events import End, Eval, Opened, Start, Step
from postlude.runs.files import read_rows
from postlude.runs.folder import Run
from postlude.terminal import Screen, bold, joined
from postlude.watch.live import LiveView
from postlude.words import closest, counted, distance
from tests.refusals import refused


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{i}=", "answer": str(i)} for i in range(8)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def problems(*words: str) -> list[str]:
    document = Document({"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact"})
    try:
        documents.override(document, words, key_of)
    except ConfigError as error:
        return error.problems
    return resolve_with_problems(document)[1]


# ----------------------------------------------------------------------------------------------------- misspelt


def test_a_swap_is_one_mistake() -> None:
    assert (distance("gpro", "grpo"), distance("gpro", "gspo"), distance("", "abc"), distance("abc", "abc")) == (
        1,
        2,
        3,
        0,
    )
    assert closest("gpro", ["gspo", "grpo"]) == "grpo"
    assert closest("exct", ["regex", "exact"]) == "exact"
    assert closest("GRPO", ["grpo"]) == closest("gr-po", ["gr_po", "grpo"][1:]) == "grpo"
    assert closest("nonsense", ["grpo", "exact"]) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learing_rate=1e-6"], "unknown key 'learing_rate'; did you mean 'learning_rate' (schedule.lr here)?"),
        (["max_tokns=3"], "unknown key 'max_tokns'; did you mean 'sampling.max_tokens'?"),
        (["sampling.temprature=1"], "unknown key 'sampling.temprature'; did you mean 'sampling.temperature'?"),
        (["objective.surrogat.low=0"], "did you mean 'objective.surrogate'?"),
        (["--lr", "1e-6"], "command line: --lr is no option; settings are KEY=VALUE: schedule.lr=1e-6."),
        (["--schedule.lr=1e-6"], "settings are KEY=VALUE: schedule.lr=1e-6."),
        (["--group-size", "4"], "settings are KEY=VALUE: group_size=4."),
        (["--resum"], "did you mean --resume?"),
        (["seed=1", "seed=2"], "command line: seed is given as 1 and as 2."),
        (
            ["objective.kl=null", "objective.kl.coef=0.1"],
            "objective.kl is null, and objective.kl.coef sets a part of it",
        ),
        (["reward.1.weight=2"], "reward.1.weight: there is 1 entry, counted from 0, and '1' is none of them."),
        (["reward=[exact, length]", "reward.weight=2"], "reward is a list of 2; say which, such as reward.0.weight."),
        (
            ["epsilon=0.1", "clip_ratio=0.2"],
            "epsilon asks for objective.surrogate.low = 0.1, but command line: clip_ratio",
        ),
        (
            ["clip_ratio=0.1", "actor_rollout_ref.actor.clip_ratio=0.2"],
            "which is the same option, is 0.1. Keep one of the",
        ),
        (["beta=0.1", "kl_coef=0.2"], "kl_coef asks for objective.kl.coef = 0.2, but command line: beta sets"),
        (["num_generations=4", "group_size=8"], "num_generations asks for group_size = 4, but command line sets"),
        (["updates=200"], "updates is 200, but a step draws 128: some updates would get nothing"),
    ],
)
def test_what_was_meant_is_said(words: list[str], said: str) -> None:
    found = problems(*words)
    assert any(said in p for p in found), found


def test_a_part_of_a_short_form_can_be_set() -> None:
    document = Document({"method": "dapo", "model": "m", "data": ["a", "b"], "reward": "f.py:g"})
    documents.override(
        document,
        ["reward.errors=0.5", "model.dtype=bfloat16", "data.mix.0.weight=3", "shaping.1.factor=2", "reward.0.weight=3"],
    )
    found, _ = resolve_with_problems(document)
    assert found is not None
    assert (found.reward[0].use, found.reward[0].errors, found.reward[0].weight) == ("f.py:g", 0.5, 3)
    assert (found.model.path, found.engine.dtype, found.data.mix[0].weight) == ("m", "bfloat16", 3)
    assert [s.kind for s in found.shaping] == ["plus_minus_one", "overlong"] and found.shaping[1].factor == 2  # type: ignore[union-attr]
    assert problems("epsilon=0.1", "epsilon_high=0.3") == []


def test_a_name_that_is_nearly_there_is_suggested(place: Path) -> None:
    (place / "recipe.yaml").write_text("method: grpo\n")
    with refused("unknown-name", said="Did you mean the method 'grpo'"):
        document_of(Path("gpro"), [])
    with refused("unknown-name", said=r"Did you mean 'recipe\.yaml'"):
        document_of(Path("reciep.yaml"), [])


@pytest.mark.parametrize(
    "words",
    [
        ["train", "gpro"],
        ["train", "grpo", "learing_rate=1"],
        ["config", "show", "grpo", "a=1"],
        ["config", "show", "grpo", "model=m", "data=d", "reward=exact"],
        ["config", "recipes"],
        ["--help"],
        ["methods"],
    ],
)
def test_a_mistake_is_told_without_importing_torch(place: Path, words: list[str]) -> None:
    code = (
        "import sys\nfrom postlude.cli import main\ntry:\n    main()\nfinally:\n"
        "    print(*(m for m in ('torch', 'transformers', 'peft') if m in sys.modules), file=sys.stderr)\n"
    )
    found = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert found.stderr.splitlines()[-1] == "", found.stderr
    assert "Traceback" not in found.stderr


# ----------------------------------------------------------------------------------------------------- printing


def test_a_screen_prints_text_and_nothing_that_steers_it() -> None:
    out = io.StringIO()
    screen = Screen(file=out, width=60)
    table = Table("[/x]")
    table.add_row("[/INST]\x07")
    table.add_row(bold("[a-z]+\u202e"))
    screen.print(
        "[bold]a[/bold] :smile: \x1b[2J \r", table, Panel(Text("\x9b"), title=Text("[/]")), joined("[/y]", bold("\x00"))
    )
    said = out.getvalue()
    for text in ("[/x]", "[/INST]\\x07", "[a-z]+\\u202e", "[bold]a[/bold] :smile: \\x1b[2J \\r", "\\x9b", "[/y]\\x00"):
        assert text in said
    assert said == printable(said)


def test_what_people_write_stays_readable() -> None:
    text = "caf\u00e9 \u4f60\u597d\u3000\U0001f468\u200d\U0001f469 \u0641\u0627\n\tx"
    assert printable(text) == text
    assert visible("a\nb\tc\x1b") == "a\\nb\\tc\\x1b"


def test_config_show_prints_values_as_they_are(place: Path) -> None:
    words = [
        "grpo",
        "model=a[/x]b",
        "data=d.jsonl",
        "reward={use: regex, args: {pattern: '[a-z]+'}}",
        'sampling.stop=["[/INST]"]',
    ]
    found = CliRunner().invoke(app, ["config", "show", *words], env={"COLUMNS": "200"})
    assert found.exit_code == 0, found.exception
    assert all(text in found.output for text in ("a[/x]b", "[a-z]+", '["[/INST]"]'))


def test_a_run_in_a_folder_with_brackets_ends_well(place: Path, model_folder: Path) -> None:
    words = ["grpo", f"model={model_folder}", "data=d.jsonl", "reward=exact", "steps=1", "sampling.max_tokens=4"]
    found = CliRunner().invoke(app, ["train", *words, "prompts_per_step=2", "output=a[/x][bold]"])
    assert found.exit_code == 0, found.exception
    assert "a[/x][bold]/rollouts" in found.output


# -------------------------------------------------------------------------------------------------------- paths


def test_paths_of_a_recipe_are_those_of_its_folder(
    place: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, away = place / "home", place / "away"
    (home / "sub").mkdir(parents=True)
    away.mkdir()
    shutil.copytree(model_folder, home / "model")
    shutil.copy(place / "d.jsonl", home / "sub" / "d.jsonl")
    (home / "r.py").write_text("def score(completions):\n    return [float(len(c)) for c in completions]\n")
    (home / "recipe.yaml").write_text(
        "method: grpo\nmodel: model\ndata: sub/d.jsonl\nreward: r.py:score\nsteps: 1\nprompts_per_step: 2\n"
        "sampling: {max_tokens: 4}\noutput: run\n"
    )
    monkeypatch.chdir(away)
    run = launch(documents.read(Path("../home/recipe.yaml")))
    assert run.folder == Path("run") and (away / "run" / "model").exists()
    written = documents.read(away / "run" / "config.yaml").values
    assert written["data"]["path"] == str(away / "../home/sub/d.jsonl")
    monkeypatch.chdir(place)
    (place / "moved").mkdir()
    shutil.move(away / "run", place / "moved" / "run")
    again = launch(document_of(Path("moved/run"), ["steps=2"]), resume=True)
    assert (again.folder, again.step) == (Path("moved/run"), 2)
    check(document_of(Path("moved/run/config.yaml"), ["output=elsewhere"]))


def test_what_is_not_beside_the_recipe_is_taken_from_here_with_a_note(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "home").mkdir()
    (place / "home" / "r.yaml").write_text("method: sft\nmodel: m\ndata: {path: d.jsonl, eval: gone.jsonl}\n")
    document = documents.read(Path("home/r.yaml"))
    documents.override(document, ["pretrain=d.jsonl"])
    found, _ = resolve_with_problems(document)
    assert found is not None and found.pretrain is not None
    assert (found.data.path, found.data.eval, found.pretrain.path) == ("d.jsonl", "gone.jsonl", "d.jsonl")
    assert document.notes == ["data.path: 'd.jsonl' is not in the recipe's folder; taken from the current one."]


# -------------------------------------------------------------------------------------------------------- small


def test_numbers_and_their_nouns() -> None:
    assert [counted(n, "row") for n in (0, 1, 2, 1000)] == ["0 rows", "1 row", "2 rows", "1,000 rows"]
    assert counted(2, "entry", "entries") == "2 entries"
    words = {"method": "grpo", "model": "m", "data": "d", "reward": "exact", "steps": 1, "prompts_per_step": 1}
    assert resolve(Document(words)).sizes == "1 prompt x 8 completions = 8 per step -> 1 update x 1 step"


def test_json_lines_end_at_line_feeds_alone(tmp_path: Path) -> None:
    rows = [{"a": "x\u2028y\u2029z\x85w"}, {"a": "\x0b\x0c\x1c"}]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    assert read_rows(tmp_path / "r.jsonl") == rows


def test_rollout_files_carry_the_number_of_their_step(place: Path, model_folder: Path) -> None:
    values = {"method": "grpo", "model": str(model_folder), "data": "d.jsonl", "reward": "exact", "steps": 2}
    values |= {"prompts_per_step": 2, "sampling": {"max_tokens": 4}, "output": "run"}
    run = launch(Document(values))
    names = sorted(p.name for p in (run.folder / "rollouts").iterdir())
    assert names == ["SHA256SUMS", "step-000001.jsonl", "step-000002.jsonl"]
    (run.folder / "rollouts" / "SHA256SUMS").unlink()  # as a run of 0.1 has them
    for i, name in enumerate(names[1:]):
        (run.folder / "rollouts" / name).rename(run.folder / "rollouts" / f"step-{i:06d}.jsonl")
    state = run.folder / "model" / "trainer" / "state.json"
    size = (run.folder / "events.jsonl").stat().st_size
    state.write_text(json.dumps({**json.loads(state.read_text()), "event_bytes": size, "seconds": 1.0}))
    (run.folder / "model" / "trainer" / "manifest.json").unlink()
    before = (run.folder / "rollouts" / "step-000000.jsonl").read_text()
    again = launch(Document({**values, "steps": 3}), resume=True)
    assert sorted(p.name for p in (again.folder / "rollouts").iterdir()) == [*names, "step-000003.jsonl"]
    assert (run.folder / "rollouts" / "step-000001.jsonl").read_text() == before


def test_a_run_can_start_inside_an_event_loop(place: Path, model_folder: Path) -> None:
    values = {"method": "grpo", "model": str(model_folder), "data": "d.jsonl", "reward": "exact", "steps": 1}
    values |= {"prompts_per_step": 2, "sampling": {"max_tokens": 4}, "output": "run"}

    async def notebook() -> Run:
        return launch(Document(values))

    assert asyncio.run(notebook()).step == 1


def test_mismatched_answers_are_to_other_prompts() -> None:
    def group(prompt: int, answer: int) -> Group:
        return Group(Prompt(str(answer), str(prompt), tokens=(prompt,)), (Completion((answer,), "", reward=1.0),))

    batch = with_mismatched([group(1, 10), group(1, 11), group(2, 12)])
    extra = {
        (int(batch.sequence_group[s]), int(batch.tokens[batch.sequence == s][0]))
        for s in range(batch.n_sequences)
        if batch.mismatched[s]
    }
    assert extra == {(0, 12), (1, 12), (2, 10)}
    assert not with_mismatched([group(1, 10), group(1, 11)]).mismatched.any()
    words = {"method": "kto", "model": "m", "data": "d", "prompts_per_step": 1}
    assert any(
        "takes its reference point from answers to other prompts" in p
        for p in resolve_with_problems(Document(words))[1]
    )


def test_the_live_view_says_the_end_once_and_every_evaluation() -> None:
    out = io.StringIO()
    screen = Screen(file=out, width=200)
    view = LiveView(screen)
    engine = {
        "parameters": 10,
        "trainable": 10,
        "path_reason": "",
        "architecture": "x[/a]",
        "device": "cpu",
        "dtype": "f",
        "path": "direct",
    }
    start = Start(0, method="a[/b].py:M", steps=8, sizes="s", counts={}, data=[], engine=engine)
    view(Opened(0, start, "f", source="rollout", lr=1e-6, stop_at=0.5, resumed=False))
    view(Step(1, {"x": 1.0}))
    view(Eval(8, {"own/figure": 0.25}))
    assert "eval 8/8  own/figure 0.250" in out.getvalue()
    assert view._left(8).startswith("at most ")
    view(End(8, "done"))
    screen.print(view)
    assert out.getvalue().count("done") == 1


def test_a_colon_without_its_space_is_named() -> None:
    for text in ("{cut-off:pause}", "{kl-explosion: log, cut-off:pause}"):
        with pytest.raises(ConfigError, match=r"alarms\.on: 'cut-off:pause' is one name .* \{cut-off: pause\}"):
            documents.override(Document({}), [f"alarms.on={text}"])
    for text in ("{cut-off: pause}", "{'a:b'}", "{a:b: null}", "{http://x:1}", "a:b"):
        documents.override(Document({}), [f"reward_args={text}"])
