"""The commands, as a user calls them."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from postlude.check import check
from postlude.cli import waiting as waiting_module
from postlude.cli.app import app
from postlude.cli.demo import STAGES, prepare_demo
from postlude.engines.protocol import Progress as Sampled
from postlude.errors import ConfigError
from postlude.recipe import documents
from postlude.runs.events import End, Eval, Note, Opened, Phase, Progress, Start, Step, Stopping, Waiting
from postlude.watch.live import LiveView, duration, measured, shown, sparkline
from tests.refusals import refused

runner = CliRunner()


def call(*words: str) -> str:
    found = runner.invoke(app, list(words), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def test_sample_prints_json_and_repeats_itself(model_folder: Path) -> None:
    words = ("sample", str(model_folder), "--prompt", "12+", "-n", "3", "--max-tokens", "5", "--json")
    rows = [json.loads(line) for line in call(*words).splitlines()]
    assert len(rows) == 3
    assert all(r["prompt"] == "12+" and r["tokens"] <= 5 for r in rows)
    assert rows == [json.loads(line) for line in call(*words).splitlines()]
    other = [json.loads(line) for line in call(*words, "--seed", "1").splitlines()]
    assert rows != other


def test_sample_wants_a_prompt_or_data(model_folder: Path) -> None:
    with refused("missing-option", said="either --prompt"):
        call("sample", str(model_folder))


def test_a_prompt_that_does_not_fit_is_an_error(model_folder: Path) -> None:
    with refused("too-long", said="exceed the model's context of 1024"):
        call("sample", str(model_folder), "--prompt", "1", "--max-tokens", "2000")


def test_settings_out_of_range_are_errors(model_folder: Path) -> None:
    with refused("out-of-range", "--temperature"):
        call("sample", str(model_folder), "--prompt", "1", "--temperature", "-1")


def test_eval_saves_accuracy_pass_at_k_and_answers(model_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "held.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"{i}=", "answer": "1"}) + "\n" for i in range(4)))
    (tmp_path / "mine.py").write_text(
        "def fn(completions, answer):\n    return [float(len(c) % 2) for c in completions]\n"
    )
    out = tmp_path / "eval.json"
    use = f"{tmp_path}/mine.py:fn"
    call(
        "eval",
        str(model_folder),
        "--data",
        str(data),
        "--reward",
        use,
        "-n",
        "4",
        "--max-tokens",
        "6",
        "--out",
        str(out),
    )
    result = json.loads(out.read_text())
    assert len(result["answers"]) == 16
    share = sum(a["correct"] for a in result["answers"]) / 16
    assert result["figures"]["accuracy"] == pytest.approx(share)
    assert result["figures"]["pass@4"] >= result["figures"]["pass@2"] >= share - 1e-9
    assert result["figures"]["accuracy_low"] < share < result["figures"]["accuracy_high"]


def test_everything_wrong_with_a_call_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.json").write_text("kept")
    words = ("eval", "no-model", "--data", "no.jsonl", "--reward", "exat", "--temperature", "-1", "--out", "there.json")
    with pytest.raises(ConfigError) as error:
        call(*words)
    said = "\n".join(error.value.problems)
    for problem in ("--temperature must lie in", "'exat'", "'no.jsonl' does not exist", "'there.json' exists already"):
        assert problem in said
    assert Path("there.json").read_text() == "kept"


@pytest.mark.parametrize(
    ("run", "form"),
    [
        ({"config.yaml": "data: {path: d.jsonl, chat: true}"}, "messages"),
        ({"config.yaml": "data: {path: d.jsonl}", "eval.jsonl": '{"prompt": "1="}'}, "text"),
        ({"config.yaml": "data: {path: d.jsonl}", "eval.jsonl": '{"prompt": [{"role": "user"}]}'}, "messages"),
        ({"config.yaml": "data: {path: d.jsonl, columns: {prompt: q}}", "../d.jsonl": '{"q": "1="}'}, "text"),
        ({"config.yaml": "data: {path: d.jsonl}", "../d.jsonl": '{"messages": []}'}, "messages"),
        ({"config.yaml": "data: {path: d.jsonl}"}, None),
    ],
)
def test_the_form_of_a_runs_prompts_is_known(
    run: dict[str, str], form: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from postlude.cli.opening import form_of_prompts

    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    for name, text in run.items():
        Path("run", name).write_text(text + "\n")
    assert form_of_prompts("run") == form


def test_methods_lists_every_entry_and_shows_one_whole() -> None:
    from postlude.algorithms import ALGORITHMS

    listed = call("methods")
    assert all(name in listed for name in ALGORITHMS)
    one = call("methods", "dapo")
    assert "objective.surrogate.high = 0.28" in one
    assert "2503.14476" in one
    with refused("unknown-method", said="Did you mean 'dapo'"):
        call("methods", "dapoo")


def test_config_show_says_where_each_value_comes_from(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("method: dapo\nmodel: m\ndata: d.jsonl\nreward: exact\n")
    lines = call("config", "show", str(recipe), "steps=7").splitlines()

    def origin(key: str) -> str:
        return next(line for line in lines if line.startswith(key + " "))

    assert "r.yaml line 2" in origin("model.path")
    assert "command line" in origin("steps") and " 7 " in origin("steps")
    assert "method dapo" in origin("objective.surrogate.high")
    assert "default" in origin("seed")


def test_a_method_can_stand_for_a_recipe(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.jsonl").write_text('{"prompt": "1=", "answer": "1"}\n{"prompt": "2=", "answer": "2"}\n')
    words = (
        f"model={model_folder}",
        "data=p.jsonl",
        "reward=exact",
        "steps=1",
        "sampling.max_tokens=3",
        "prompts_per_step=2",
    )
    said = call("train", "grpo", *words)
    assert "runs/grpo-1/model" in said
    assert "step 1/1" in said
    assert "already finished" in call("train", "runs/grpo-1", "--resume")


def test_the_demos_recipes_fit_its_model_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare_demo(Path("demo-run"), seed=3)
    document = documents.read(Path("demo-run/sft.yaml"))
    prepared = check(document)
    assert len(prepared.held_out) == 384
    assert (prepared.recipe.output, prepared.recipe.seed) == ("demo-run/sft", 3)
    assert not [note for note in prepared.notes if "taken from the current" in note]
    for name in STAGES:
        other = documents.read(Path(f"demo-run/{name}.yaml"))
        documents.override(other, ["model=demo-run/model"])
        check(other)


def test_packaged_recipes_are_listed_printed_shown_and_trained_by_name(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [line.split()[0] for line in call("config", "recipes").splitlines()]
    groups = [name.partition("/")[0] for name in names]
    assert [groups.count(group) for group in ("demo", "rlhf", "constitution")] == [3, 4, 4] and len(names) == 11
    Path("mine.yaml").write_text(call("config", "recipes", "demo/grpo"))
    by_name, by_file = (call("config", "show", recipe, "seed=7") for recipe in ("demo/grpo", "mine.yaml"))
    assert "demo/grpo line 10" in by_name  # group_size
    assert by_file.split() == by_name.replace("demo/grpo line", "mine.yaml line").split()
    with pytest.raises(ConfigError, match=r"no packaged recipe 'demo/grp'\. Did you mean 'demo/grpo'"):
        call("config", "recipes", "demo/grp")
    with pytest.raises(ConfigError, match="Did you mean 'rlhf/ppo'"):
        call("train", "rlhf/pppo")
    Path("p.jsonl").write_text('{"prompt": "1=", "answer": "1"}\n{"prompt": "2=", "answer": "2"}\n')
    words = (f"model={model_folder}", "data.path=p.jsonl", "data.eval=null", "steps=1", "prompts_per_step=2")
    said = call("train", "demo/grpo", *words, "sampling.max_tokens=3", "output=out")
    assert "step 1/1" in said and "not in the recipe's folder" not in said


def test_a_folder_of_a_packaged_recipes_name_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo/grpo").mkdir(parents=True)
    Path("demo/grpo/config.yaml").write_text("method: drpo\nmodel: m\ndata: d.jsonl\nreward: exact\n")
    assert '"drpo"' in call("config", "show", "demo/grpo")


def test_the_written_answers_of_every_task_are_scored_right() -> None:
    """Teachers may err in `sort` only; their answers end in # and a result."""
    from postlude.rewards.text import exact
    from postlude.sources.tasks import TASKS, held_out, rows

    for name, task in TASKS.items():
        some = [row for row, _ in zip(rows(task, 1, "train"), range(50), strict=False)]
        right = exact(after="#")([r["completion"] for r in some], answer=[r["answer"] for r in some])
        assert sum(right) == 50 or (name in ("sort", "lines") and sum(right) > 20)
        assert not any(held_out(r["prompt"]) for r in some)


def test_numbers_and_times_are_short() -> None:
    assert [shown(x) for x in (0.0, 0.1234, 12345.0, 1e-6)] == ["0.000", "0.123", "1.2e+04", "1.0e-06"]
    assert [duration(x) for x in (3, 185, 7800)] == ["3s", "3m05s", "2h10m"]
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([]) == ""


def test_the_view_draws_at_every_stage() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    view = LiveView(console)
    engine = {
        "architecture": "X", "parameters": 5, "trainable": 5, "device": "cpu", "dtype": "float32",
        "path": "padded", "path_reason": "a reason",
    }  # fmt: skip
    start = Start(0, method="grpo", steps=3, sizes="s", counts={}, data=[], engine=engine)
    console.print(view)
    for event in (
        Opened(0, start, "f", source="rollout", lr=1e-6, stop_at=None, resumed=False),
        Phase(0, "sample"),
        Progress(0, "1/4 answers, 17 tokens", 1, 4),
        Step(1, {"reward/mean": 0.5, "loss/policy": -0.1}),
        Eval(1, {"greedy/accuracy": 0.25}),
        Note(1, "[bold]not markup"),
        Stopping(1),
        End(1, "interrupted"),
    ):
        view(event)
        console.print(view)
    drawn = console.file.getvalue()
    assert "a reason" in drawn and "held-out greedy" in drawn and "[bold]not markup" in drawn
    assert "-0.1" not in drawn, "the loss of a policy gradient is not shown"
    assert "then saving" in drawn and view.note == "", "it has stopped by then"


def test_a_start_of_servers_has_the_line_of_the_phase_and_seconds_their_unit() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    view = LiveView(console, title="grpo")
    text = "starting server 1: 24 s of at most 900 s [" + "Loading weights " * 9 + "]"
    for event in (Phase(0, "servers"), Waiting(0, text)):
        view(event)
        console.print(view)
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in console.file.getvalue().splitlines()]
    assert lines[0] == "grpo starting servers ..." and len(lines) == 2
    assert lines[1].startswith("grpo starting server 1: 24 s of at most 900 s [Loading") and len(lines[1]) == 60
    assert measured("seconds/wait", 0.181) == "0.18 s" and measured("seconds/wait", 0.0081) == "0.01 s"


def test_a_sampler_begins_where_it_reports_nothing_and_its_line_fits_the_terminal() -> None:
    waiting = waiting_module.Waiting("sampling")
    waiting._began -= 100
    waiting._asked -= 100
    waiting.wait_for("starting server 1: 40 s of at most 900 s " + "x" * 500)
    assert waiting._line().cell_len <= waiting._console.width - waiting_module.SPINNER
    waiting.hear(Sampled(total=4))
    assert waiting._text().startswith("sampling: 0 of 4 answers, 0 tokens")
    waiting._asked -= 2
    waiting.hear(Sampled(tokens=1000, finished=2, total=4))
    rate = int(waiting._text().rpartition(", ")[2].split()[0])
    assert 400 < rate <= 500, "not the 100 s of the start"
