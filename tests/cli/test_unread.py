"""What nothing would read is told, and what cannot be written is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postlude.check import check
from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.idle import unread
from postlude.recipe.resolution import resolve_with_problems
from postlude.runs.durable import problems_of_output
from tests.refusals import refused


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rated = {"prompt": "1+1=", "completions": ["2", "3"], "scores": [5, 1]}
    files = {
        "p.jsonl": {"prompt": "1=", "answer": "1"},
        "pairs.jsonl": {"prompt": "1=", "chosen": "1", "rejected": "2"},
        "rated.jsonl": rated,
    }
    for name, row in files.items():
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    return tmp_path


def idle(method: str, *words: str) -> list[str]:
    document = Document({"method": method, "model": "m", "data": "d.jsonl"})
    documents.override(document, words)
    recipe, problems = resolve_with_problems(document)
    assert recipe and not problems
    return unread(recipe, recipe.algorithm, document)


def test_settings_without_an_effect_are_told_by_reason() -> None:
    words = ["group_size=4", "sampling.max_tokens=9", "cache_gib=1", "shaping=[{kind: overlong, cache: 5}]"]
    assert idle("dpo", *words, "evaluate.every=3", "schedule.final=0.5", "correct_above=1") == [
        "group_size, shaping.0.cache, shaping.0.kind: no effect here, since dpo trains on the answers in its rows",
        "engine.cache_gib, sampling.max_tokens: no effect here, since dpo samples no answers",
        "correct_above: no effect here, since there is no reward",
        "evaluate.every: no effect here, since nothing is held out (data.eval)",
        "schedule.final: no effect here, since schedule.decay is constant",
    ]
    assert idle("reward_model_process", "data.step_separator=;") == []
    assert idle("dpo", "data.step_separator=;") == [
        "data.step_separator: no effect here, since dpo learns from whole answers"
    ]


def test_what_is_read_or_says_what_holds_anyway_is_not_told() -> None:
    read = ["sampling.max_tokens=9", "group_size=4", "correct_above=1", "data.eval=e.jsonl", "evaluate.samples=2"]
    assert idle("grpo", "reward=exact", *read, "schedule.decay=linear", "schedule.final=0.5") == []
    assert idle("sft", "reward=exact", "data.eval=e.jsonl", "sampling.max_tokens=9") == []
    assert idle("dpo", "sampling.max_tokens=256", "sampling.stop=[]", "data.step_separator='\n\n'") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=a", "data.path=b"], 'data is "a", and data.path sets a part of it'),
        (["data.mix=[b]", "data=a"], 'data is "a", and data.mix sets a part of it'),
        (["data.path=a", "data.mix=[b]"], 'data.path is "a", and data.mix takes its place'),
        (["model=m", "model.path=n"], 'model is "m", and model.path sets a part of it'),
        (["model.lora={rank: 8}", "model.lora.rank=16"], 'model.lora is {"rank": 8}, and model.lora.rank sets a'),
        (["sampling.stop=[a, b]", "sampling.stop.0=c"], 'sampling.stop is ["a", "b"], and sampling.stop.0 sets a'),
        (["reward=exact", "reward.use=regex"], 'reward is "exact", and reward.use sets a part of it'),
    ],
)
def test_a_key_and_a_part_of_it_must_not_disagree(words: list[str], said: str) -> None:
    with refused("contradiction", said="Keep one of the two") as error:
        documents.override(Document({}), words)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["data=a", "data.eval=b"], {"data": {"path": "a", "eval": "b"}}),
        (["data=a", "data.path=a"], {"data": {"path": "a"}}),
        (["model.lora={rank: 8}", "model.lora.alpha=16"], {"model": {"lora": {"rank": 8, "alpha": 16}}}),
        (["reward=exact", "reward.weight=2"], {"reward": [{"use": "exact", "weight": 2}]}),
        (["data=[a, b]", "data.mix.0.weight=2"], {"data": {"mix": [{"path": "a", "weight": 2}, {"path": "b"}]}}),
    ],
)
def test_a_key_and_what_adds_to_it_go_together(words: list[str], values: object) -> None:
    document = Document({})
    documents.override(document, words)
    assert document.values == values


def test_a_reward_in_our_own_form_is_known_under_trls_name() -> None:
    document = Document({"method": "grpo", "model": "m", "data": "d", "reward_funcs": ["dir/f.py:g", "a.b.fn"]})
    recipe, problems = resolve_with_problems(document)
    assert recipe and not problems
    assert [r.use for r in recipe.reward] == ["dir/f.py:g", "a.b:fn"]


def test_no_run_in_the_folder_of_a_model_or_where_none_can_be(place: Path, model_folder: Path) -> None:
    assert "is the folder of a model" in problems_of_output(str(model_folder))[0]
    assert problems_of_output("p.jsonl/x") == ["output: cannot write to 'p.jsonl/x': 'p.jsonl' is a file."]
    assert "too long" in problems_of_output("x" * 300)[0]
    assert problems_of_output("new/folder") == problems_of_output(".") == []
    document = Document({"method": "sft", "model": str(model_folder), "data": "p.jsonl", "output": "p.jsonl"})
    with refused("cannot-write", said=r"output: cannot write to 'p\.jsonl': 'p\.jsonl' is a file"):
        check(document)


def test_a_template_that_is_a_folder_is_an_error(place: Path, model_folder: Path) -> None:
    values = {"method": "grpo", "data": "p.jsonl", "reward": "exact"}
    with refused("cannot-read", said=r"model\.chat_template: cannot read"):
        check(Document({**values, "model": {"path": str(model_folder), "chat_template": str(place)}}))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample m --prompt x --limit 1 --columns {}", "--columns, --limit would have no effect: there is no --data"),
        ("sample m --prompt x --reward-args {}", "--reward-args would have no effect: there is no --best-by"),
        ("sample m --data p.jsonl --columns {promt: a}", "--columns: is 'promt' meant to be 'prompt'?"),
        ("pairs m --data p.jsonl --out o --given chosen --reward-args {}", "effect: there is no --reward."),
        ("pairs m --data p.jsonl --out o --reward exact -n 1", "-n is 1, and a pair takes two answers"),
        ("pairs m --data p.jsonl --out o --reward exact --temperature 0", "every answer to a prompt would be the same"),
        ("pairs m --data p.jsonl --out o --reward exact --margin inf", "--margin must be a finite number, got inf"),
        ("eval m --data p.jsonl --reward exact --on-bad-row skip", "only rows for a reward model can be skipped"),
        ("eval m --data p.jsonl --reward exact --out .", "--out: cannot write '.': it is a folder."),
        (f"eval m --data p.jsonl --reward exact --out {'x' * 300}", "file name too long"),
        (
            "audit exact p.jsonl -n 2 --temperature 1",
            "--count, --temperature would have no effect: there is no --model",
        ),
        ("audit exact p.jsonl --out no/x.json", "the folder 'no' does not exist"),
        (
            "data convert rated.jsonl o --to pairs --threshold 3",
            "--threshold would have no effect: --to pairs makes no",
        ),
        ("data convert rated.jsonl o --to labels --threshold nan", "--threshold must be a finite number, got nan."),
        ("data convert rated.jsonl o --to sft --margin 1 --pairs all", "--pairs, --margin would have no effect"),
        ("data convert pairs.jsonl o --to labels --threshold 2", "which have no scores or ranks to go by"),
        (
            "constitution revise m --principles x --data p.jsonl --out o --temperature 1000",
            "--temperature must lie in [0, 100]",
        ),
        ("constitution compare m --principles x --data p.jsonl --out o --max-tokens 1000000000", "must be at most"),
        ("constitution revise m --principles x --data p.jsonl --out p.jsonl", "--out: cannot write 'p.jsonl'"),
        ("export nowhere o", "model: 'nowhere' does not exist"),
        ("config import p.yaml -o no/r.yaml", "--output: cannot write 'no/r.yaml': the folder 'no' does not exist"),
    ],
)
def test_options_are_read_or_refused_before_a_model_loads(place: Path, words: str, said: str) -> None:
    result = CliRunner().invoke(app, _split(words))
    assert isinstance(result.exception, ConfigError) and said in str(result.exception)


def _split(words: str) -> list[str]:
    """`{a: b}` is one word."""
    return [word.replace("\0", " ") for word in words.replace(": a", ":\0a").split(" ")]


def test_a_conversion_that_gives_nothing_is_no_success(place: Path) -> None:
    words = ["data", "convert", "rated.jsonl", "o.jsonl", "--to", "pairs", "--margin"]
    assert CliRunner().invoke(app, [*words, "4"]).exit_code == 0
    assert CliRunner().invoke(app, [*words, "5", "--force"]).exit_code == 1


def test_a_split_of_a_plain_file_is_told(place: Path) -> None:
    words = ["data", "convert", "rated.jsonl", "o.jsonl", "--to", "pairs", "--split", "test"]
    assert (
        "one file, which has no splits: all its rows are read, not only 'test'" in CliRunner().invoke(app, words).output
    )


def test_of_a_runs_own_recipe_only_what_is_set_beside_it_is_told(place: Path) -> None:
    """Its config.yaml has every key, also those that nobody set."""
    (place / "run").mkdir()
    (place / "run/config.yaml").write_text("method: grpo\nmodel: m\ndata: p.jsonl\nevaluate: {every: 5}\n")
    document = documents.read(place / "run/config.yaml")

    def lines(document: Document) -> list[str]:
        recipe, _ = resolve_with_problems(document)
        assert recipe
        return [line for line in unread(recipe, recipe.algorithm, document) if "evaluate" in line]

    assert lines(document)
    document.run = place / "run"
    assert not lines(document)
    documents.override(document, ["evaluate.every=7"])
    assert [line.partition(":")[0] for line in lines(document)] == ["evaluate.every"]
