"""Bad input: every mistake at once, with what, where, what was seen and what to do; exit code 2; no traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postlude.check import check
from postlude.errors import ConfigError, PostludeError, Problem, RewardError, RunLocked
from postlude.launch import launch
from postlude.recipe import documents
from postlude.recipe.resolution import resolve
from postlude.runs.folder import Run
from tests.refusals import Wrong, refused


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": f"{i}=", "answer": str(i)} for i in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def recipe(place: Path, model: Path, text: str = "", **values: Any) -> documents.Document:
    base = f"method: grpo\nmodel: {model}\ndata: prompts.jsonl\nreward: exact\nsteps: 1\nsampling: {{max_tokens: 4}}\n"
    (place / "r.yaml").write_text(base + text)
    document = documents.read(place / "r.yaml")
    documents.override(document, [f"{k}={v}" for k, v in values.items()])
    return document


def problems(document: documents.Document) -> list[Problem]:
    with pytest.raises(ConfigError) as error:
        check(document)
    assert error.value.exit_code == 2
    return error.value.problems


def test_a_good_recipe_passes(place: Path, model_folder: Path) -> None:
    assert len(check(recipe(place, model_folder)).prompts) == 8


def test_everything_wrong_is_listed_at_once(place: Path) -> None:
    text = (
        "group_size: 1\nstepz: 3\nobjective:\n  surrogate: {low: -0.1}\n  kl: {estimator: k9}\nschedule: {lr: fast}\n"
    )
    document = recipe(place, Path("nowhere/at/all"), text, reward="nosuch", data="missing.jsonl")
    found = problems(document)
    assert len(found) == 8
    for part in (
        "r.yaml line 7: group_size is 1",
        "r.yaml line 8: unknown key 'stepz'; did you mean 'steps'?",
        "r.yaml line 10: objective.surrogate.low must lie in [0, 1], got -0.1.",
        'r.yaml line 11: objective.kl.estimator is "k9"; allowed: k1, k2',
        'r.yaml line 12: schedule.lr must be a number, found "fast".',
        "'nowhere/at/all' does not exist",
        "reward: 'nosuch' is neither a built-in",
        "data: 'missing.jsonl' does not exist",
    ):
        assert any(part in line for line in found), part


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"method": "grop"}, Wrong("unknown-method", "method", said=r"Did you mean 'grpo'\?")),
        ({"method": "dpo"}, Wrong("unknown-rows", said="rows of compared answers have")),
        ({"method": "ppo_ptx"}, Wrong("missing-key", "pretrain")),
        ({"critic": {"lr": "1e-5"}}, Wrong("not-of-method", "critic")),
        ({"method": "grpo_process"}, Wrong("reward-kind", said="needs rewards of steps")),
        ({"kl_control": {"kind": "doubling"}}, Wrong("not-of-method", "kl_control")),
        ({"stop_kl": "0.1"}, Wrong("not-of-method", "stop_kl")),
        ({"steps": "2.5"}, Wrong("wrong-type", "steps", said=r"steps must be a whole number, found 2\.5")),
        ({"steps": "0"}, Wrong("out-of-range", "steps", said="steps must be at least 1")),
        ({"group_size": "'8'"}, Wrong("wrong-type", "group_size", said='group_size must be a whole number, found "8"')),
        ({"model.packed": "3"}, Wrong("wrong-type", "engine.packed")),
        ({"sampling.temperature": "0"}, Wrong("answers-all-the-same", "sampling.temperature")),
        ({"sampling.max_tokens": "5000"}, Wrong("too-long", said="exceed the model's context of 1024")),
        ({"model.reference": "none"}, Wrong("method-needs", "model.reference")),
        ({"evaluate.stop_at": "0.5"}, Wrong("no-effect", "evaluate.stop_at")),
        ({"objective.surrogate.kind": "clipp"}, Wrong("not-a-choice", "objective.surrogate")),
        ({"objective.ratio": "none"}, Wrong("contradiction", "objective")),
        ({"sampling.top_pp": "1"}, Wrong("unknown-key", "sampling.top_pp", said=r"did you mean 'sampling\.top_p'\?")),
        ({"reward": "my.py:fn"}, Wrong("no-such-file", said=r"file 'my\.py' does not exist")),
        ({"keep.kind": "mixed", "group_size": "1"}, Wrong("method-needs", "group_size")),
        (
            {"reward": "{use: exact, clip: [1, 0]}"},
            Wrong(
                "contradiction",
                "reward.0",
                said=r"reward\.0: clip is \[low, high\] with low < high, got \[1\.0, 0\.0\]\.",
            ),
        ),
        ({"reward": "{use: exact, clip: [1]}"}, Wrong("missing-key", "reward.0.clip.1")),
        (
            {"reward": "{use: exact, normalise: groups}"},
            Wrong("not-a-choice", "reward.0.normalise", said=r"allowed: group, batch\. Did you mean 'group'\?"),
        ),
        ({"reward": "{use: exact, squash: relu}"}, Wrong("not-a-choice", "reward.0.squash")),
        (
            {"reward": "{use: exact, gate: true}"},
            Wrong("wrong-type", "reward.0.gate", said=r"reward\.0\.gate must be a number, found true"),
        ),
        (
            {"reward": "{use: exact, gates: 1}"},
            Wrong(
                "unknown-key",
                "reward.0.gates",
                said=r"unknown key 'reward\.0\.gates'; did you mean 'reward\.0\.gate'\?",
            ),
        ),
        (
            {"reward": "{use: exact, errors: 2}"},
            Wrong("out-of-range", "reward.0.errors", said=r"errors must lie in \[0, 1\], got 2"),
        ),
        (
            {"reward": "{use: exact, timeout: 5}"},
            Wrong("no-effect", said="concurrency and timeout are for async functions"),
        ),
        (
            {"reward": "{use: length, args: {limit: 3}, cache: true}"},
            Wrong("cannot-cache", said="the function takes completion_ids"),
        ),
        ({"reward": "{use: exact, cache: 3}"}, Wrong("wrong-type", "reward.0.cache")),
    ],
)
def test_one_mistake(place: Path, model_folder: Path, change: dict[str, str], wrong: Wrong) -> None:
    assert wrong.is_among(problems(recipe(place, model_folder, **change)))


def test_yaml_mistakes_name_the_line(place: Path) -> None:
    (place / "r.yaml").write_text("method: grpo\nmodel: [\n")
    with refused("not-yaml", at="r.yaml line 3"):
        documents.read(place / "r.yaml")
    (place / "r.yaml").write_text("steps: 1\nsteps: 2\n")
    with refused("given-twice", at="r.yaml line 2", said="steps"):
        documents.read(place / "r.yaml")


def test_scientific_notation_is_a_number(place: Path, model_folder: Path) -> None:
    assert resolve(recipe(place, model_folder, "schedule: {lr: 1e-6}\n")).schedule.lr == 1e-6
    assert resolve(recipe(place, model_folder, **{"schedule.lr": "3e-4"})).schedule.lr == 3e-4


def test_lora_gets_ten_times_the_rate(place: Path, model_folder: Path) -> None:
    assert resolve(recipe(place, model_folder)).schedule.lr == 1e-6
    assert resolve(recipe(place, model_folder, **{"model.lora.rank": 4})).schedule.lr == pytest.approx(1e-5)


# -------------------------------------------------------------------------------------------------------- models


def test_a_folder_without_a_tokenizer(place: Path, model_folder: Path) -> None:
    bare = place / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((model_folder / "config.json").read_text())
    assert Wrong("bad-tokenizer").is_among(problems(recipe(place, bare)))


def test_a_tokenizer_without_eos(place: Path, model_folder: Path, tokenizer: Any) -> None:
    import shutil

    folder = place / "no-eos"
    shutil.copytree(model_folder, folder)
    for name in ("tokenizer_config.json", "generation_config.json"):
        values = json.loads((folder / name).read_text())
        values.pop("eos_token", None)
        values.pop("eos_token_id", None)
        (folder / name).write_text(json.dumps(values))
    assert Wrong("answers-never-end").is_among(problems(recipe(place, folder)))
    assert check(recipe(place, folder, **{"sampling.stop": "['#']"})).prompts


def test_an_encoder_decoder_is_refused_by_name(place: Path, model_folder: Path, tokenizer: Any) -> None:
    from transformers import T5Config

    folder = place / "t5"
    T5Config(vocab_size=60, d_model=16, num_layers=1, num_heads=2, d_ff=16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert Wrong("unsupported-model", said="t5").is_among(problems(recipe(place, folder)))


# ------------------------------------------------------------------------------------------------------- rewards


def reward_file(place: Path, body: str) -> str:
    (place / "my.py").write_text(body)
    return "my.py:fn"


def test_columns_a_reward_needs_are_checked_before_the_model_loads(place: Path, model_folder: Path) -> None:
    use = reward_file(place, "def fn(completions, gold, level=1):\n    return [0.0] * len(completions)\n")
    found = problems(recipe(place, model_folder, reward=use))
    assert "reward fn needs column 'gold', which the data lack. They have: answer." in found


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [1 / 0 for _ in completions]", "raised ZeroDivisionError at my.py line 2"),
        ("return [float('nan')] * len(completions)", "returned nan for prompt"),
        ("import numpy as np; return [np.float64('-inf')] * len(completions)", "returned -inf for prompt"),
        ("return [0.0]", "returned 1 values for 128 completions"),
        ("return 3.0", "returned float; it must return a list"),
        ("return ['good'] * len(completions)", "returned 'good' for prompt"),
    ],
)
def test_a_reward_that_misbehaves_stops_the_run(place: Path, model_folder: Path, body: str, said: str) -> None:
    use = reward_file(place, f"def fn(completions, **columns):\n    {body}\n")
    with pytest.raises(RewardError) as error:
        launch(recipe(place, model_folder, reward=use, output="run"))
    assert said in str(error.value)


def test_a_reward_file_that_does_not_import(place: Path, model_folder: Path) -> None:
    use = reward_file(place, "import nosuchmodule\n")
    assert Wrong("cannot-import").is_among(problems(recipe(place, model_folder, reward=use)))
    use = reward_file(place, "def other(): pass\n")
    assert Wrong("no-such-object", said="'fn'; it has other").is_among(
        problems(recipe(place, model_folder, reward=use))
    )


# --------------------------------------------------------------------------------------------------- run folders


def test_a_used_output_is_not_overwritten(place: Path, model_folder: Path) -> None:
    launch(recipe(place, model_folder, output="run"))
    with refused("exists-already", said="already holds a run"):
        launch(recipe(place, model_folder, output="run"))
    with refused("not-a-run"):
        launch(recipe(place, model_folder, output="other"), resume=True)


def test_two_processes_cannot_write_to_one_run(place: Path, model_folder: Path) -> None:
    import subprocess
    import sys

    run = Run.open(launch(recipe(place, model_folder, output="run")).folder, resume=True)
    place = str(run.folder.resolve())
    code = f"from postlude.runs.folder import Run; from pathlib import Path; Run.open(Path({place!r}), True)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "RunLocked" in found.stderr
    assert RunLocked.exit_code == 75


def test_the_command_line_prints_no_traceback(place: Path) -> None:
    import subprocess
    import sys

    (place / "r.yaml").write_text("method: grop\n")
    code = "from postlude.cli import main; main()"
    (place / "torn.yaml").write_text("method: [grpo\n")
    for arguments, says in ((["train", "r.yaml"], "Did you mean 'grpo'?"), (["check", "torn.yaml", "--json"], "YAML")):
        found = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert found.returncode == 2
        assert says in found.stderr
        assert "Traceback" not in found.stderr
    (problem,) = json.loads(found.stdout)["problems"]
    assert problem["code"] == "not-yaml", "a program that asked for JSON gets JSON of errors too"


def test_an_error_of_several_lines_is_one_error(capsys: pytest.CaptureFixture[str]) -> None:
    from postlude.cli.app import console_error

    console_error(RewardError("reward fn raised ValueError\n  my.py line 3, in fn: raise ValueError"))
    assert capsys.readouterr().err.startswith("error\n")
    console_error(ConfigError(["one", "two"]))
    assert capsys.readouterr().err.startswith("2 problems\n")


def test_every_error_names_an_exit_code() -> None:
    assert PostludeError.exit_code == 2


def test_a_short_form_leaves_the_other_keys_of_its_mapping_alone(place: Path, model_folder: Path) -> None:
    document = recipe(place, model_folder, **{"data.eval": "held.jsonl", "model.lora.rank": 4})
    documents.override(document, ["data=other.jsonl", "model=elsewhere"])
    found = resolve(document)
    assert (found.data.path, found.data.eval) == ("other.jsonl", "held.jsonl")
    assert found.model.path == "elsewhere" and found.model.lora and found.model.lora.rank == 4


def test_a_run_that_failed_at_once_does_not_block_its_name(place: Path, model_folder: Path) -> None:
    use = reward_file(place, "def fn(completions):\n    raise SystemExit(3)\n")
    with refused("reward-raised", said="raised SystemExit", kind=RewardError):
        launch(recipe(place, model_folder, reward=use, output="again"))
    assert launch(recipe(place, model_folder, output="again")).step == 1


def test_a_mistyped_method_or_missing_run_is_named(place: Path) -> None:
    from postlude.recipe.opening import document_of

    with refused("unknown-name", said="Did you mean the method 'grpo'"):
        document_of(Path("grpoo"), [])
    (place / "empty").mkdir()
    with refused("not-a-run"):
        document_of(Path("empty"), [])
