"""Data as people have it, through the commands: what is recognised is said, what is wrong is listed."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from postlude.check import check
from postlude.cli.app import app
from postlude.errors import ConfigError
from postlude.launch import launch
from postlude.recipe import documents
from postlude.recipe.documents import Document
from postlude.recipe.resolution import resolve
from postlude.runs import read
from postlude.runs.folder import Run
from tests.refusals import refused

runner = CliRunner()
CHAT = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<eos>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    (tmp_path / "chat.jinja").write_text(CHAT)
    return tmp_path


def call(*words: str) -> str:
    found = runner.invoke(app, list(words), catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def write(name: str, *values: Any) -> None:
    raw = "".join(json.dumps(v) + "\n" for v in values).encode()
    Path(name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    return [*read(run).of(kind)]


# ------------------------------------------------------------------------------------------------- single files


def test_a_verl_file_is_checked_for_grpo(place: Path, model_folder: Path) -> None:
    pytest.importorskip("datasets")
    import pyarrow
    from pyarrow.parquet import write_table

    values = [
        {
            "data_source": "sums", "prompt": [{"role": "user", "content": f"{i}+1="}], "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(i + 1)}, "extra_info": {"index": i, "split": "train"},
        }
        for i in range(6)
    ]  # fmt: skip
    write_table(pyarrow.Table.from_pylist(values), "train.parquet")
    (place / "my.py").write_text(
        "def fn(completions, answer, data_source, extra_info):\n"
        "    return [float(a in c[-1]['content']) for c, a in zip(completions, answer)]\n"
    )
    words = ("grpo", f"model={model_folder}", "data=train.parquet", "reward=my.py:fn", "model.chat_template=chat.jinja",
             "sampling.max_tokens=4", "prompts_per_step=3", "steps=1")  # fmt: skip
    said = call("config", "check", *words)
    assert "train.parquet: 6 rows, verl (prompt, reward_model)" in said
    assert "train.parquet used: 6" in said
    call("train", *words, "output=run")
    rollouts = [json.loads(line) for line in Path("run/rollouts/step-000001.jsonl").read_text().splitlines()]
    assert {(r["prompt"][0]["content"], r["answer"]) for r in rollouts} <= {(f"{i}+1=", str(i + 1)) for i in range(6)}


def test_sharegpt_in_gzip_is_trained_on(place: Path, model_folder: Path) -> None:
    turns = [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]
    write("talk.jsonl.gz", *[{"conversations": turns * (1 + i % 2), "id": i} for i in range(5)])
    words = ("sft", f"model={model_folder}", "data=talk.jsonl.gz", "model.chat_template=chat.jinja", "steps=2",
             "prompts_per_step=4", "output=run")  # fmt: skip
    said = call("train", *words)
    line = "talk.jsonl.gz: 5 rows, ShareGPT (conversations)"
    assert said.count(line) == 1
    assert events(Path("run"), "start")[0]["data"] == [line]
    assert events(Path("run"), "step")[-1]["trained_tokens"] > 0


def test_alpaca_in_csv_is_trained_on_as_text_and_as_chat(place: Path, model_folder: Path) -> None:
    Path("a.csv").write_text('instruction,input,output\n"add, please",1 2,3\nsay hi,,hi\n')
    model = {"path": str(model_folder), "chat_template": "chat.jinja"}
    base = {"method": "sft", "model": model, "prompts_per_step": 2}
    plain = check(Document({**base, "data": "a.csv"}))
    assert plain.notes[0] == "a.csv: 2 rows, Alpaca (instruction, input, output)"
    assert "no token for some characters" in plain.notes[1], "the frame has capitals, which this tokenizer has not"
    assert isinstance(plain.items[0].prompt.messages, str)
    chat = check(Document({**base, "data": {"path": "a.csv", "chat": True}}))
    assert chat.notes == ["a.csv: 2 rows, Alpaca (instruction, input, output), as chat messages"]
    assert chat.items[0].prompt.messages == [{"role": "user", "content": "add, please\n\n1 2"}]
    assert chat.items[0].completions[0].text == "3"


def test_rows_that_are_skipped_are_counted_beside_what_the_rest_is(place: Path, model_folder: Path) -> None:
    Path("q.csv").write_text("question,gold\n1=,1\n,2\n3=,3,3\n4=,4\n")
    values = {
        "method": "grpo", "model": str(model_folder), "reward": "exact", "sampling": {"max_tokens": 4},
        "data": {"path": "q.csv", "columns": {"answer": "gold"}, "on_bad_row": "skip"}, "prompts_per_step": 2,
    }  # fmt: skip
    found = check(Document(values))
    assert found.notes == ["q.csv: 2 of 4 rows, question as prompt (answer from gold)"]
    assert found.counts == {"q.csv read": 4, "q.csv used": 2, "q.csv rejected": 2}
    assert [p.answer for p in found.prompts] == ["1", "4"]
    assert len(found.rejected) == 2


def test_turns_that_are_not_trained_are_told(place: Path, model_folder: Path) -> None:
    forgetful = CHAT.replace("m['content']", "(m['content'] if loop.last or m['role'] == 'user' else '')")
    Path("chat.jinja").write_text(forgetful)
    user, assistant = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}
    write("m.jsonl", {"messages": [user, assistant]}, {"messages": [user, assistant, user, assistant]})
    model = {"path": str(model_folder), "chat_template": "chat.jinja"}
    found = check(Document({"method": "sft", "model": model, "data": "m.jsonl"}))
    assert found.notes[0] == "m.jsonl: 2 rows, messages"
    assert found.notes[1].startswith("m.jsonl: in 1 of 2 rows not every turn of the assistant is trained")


def test_held_out_prompts_may_have_columns_of_their_own(place: Path, model_folder: Path) -> None:
    write("train.jsonl", {"q": "1=", "a": "1"}, {"q": "2=", "a": "2"})
    write("held.jsonl", {"frage": "3=", "antwort": "3"})
    values = {
        "method": "grpo", "model": str(model_folder), "reward": "exact", "sampling": {"max_tokens": 4},
        "data": {"path": "train.jsonl", "eval": "held.jsonl", "columns": {"prompt": "q", "answer": "a"}},
    }  # fmt: skip
    with refused("missing-column", said=r"'q', which is not there.* data.eval_columns can name others"):
        check(Document(values))
    document = Document(values)
    documents.override(document, ["data.eval_columns={prompt: frage, answer: antwort}"])
    found = check(document)
    assert [(p.text, p.answer) for p in found.held_out] == [("3=", "3")]


def test_sample_and_eval_read_the_same_columns(place: Path, model_folder: Path) -> None:
    Path("q.csv").write_text("frage,gold\n1=,1\n2=,2\n")
    columns = "{prompt: frage, answer: gold}"
    said = call("sample", str(model_folder), "--data", "q.csv", "--columns", columns, "--max-tokens", "2", "--json")
    assert [json.loads(line)["prompt"] for line in said.splitlines()] == ["1=", "2="]
    call("eval", str(model_folder), "--data", "q.csv", "--columns", columns, "--reward", "exact", "--max-tokens", "2",
         "--out", "e.json")  # fmt: skip
    assert json.loads(Path("e.json").read_text())["prompts"] == 2
    with refused("wrong-type", said="--columns must be a mapping"):
        call("sample", str(model_folder), "--data", "q.csv", "--columns", "frage")
    with refused("missing-column", said=r"--columns takes prompt from column 'fage'.*Did you mean 'frage'"):
        call("sample", str(model_folder), "--data", "q.csv", "--columns", "{prompt: fage}")


def test_a_held_out_prompt_that_is_nearly_trained_on_is_told(place: Path, model_folder: Path) -> None:
    story = "say how many apples are left of nine when two of them are eaten and one falls down"
    write("train.jsonl", {"prompt": story, "answer": "6"}, {"prompt": "3+4=", "answer": "7"})
    write("held.jsonl", {"prompt": story + " again", "answer": "6"}, {"prompt": "3*4=", "answer": "12"})
    values = {"method": "grpo", "model": str(model_folder), "reward": "exact", "sampling": {"max_tokens": 4},
              "data": {"path": "train.jsonl", "eval": "held.jsonl"}}  # fmt: skip
    (note,) = [note for note in check(Document(values)).notes if note.startswith("data.eval")]
    assert note.startswith("data.eval: 1 of 2 rows of the held-out file are nearly the same as one that is trained on")
    assert note.endswith("(held.jsonl:1 as train.jsonl:1)")


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_a_held_out_prompt_under_another_system_message_is_told(place: Path, model_folder: Path, method: str) -> None:
    def row(text: str, answer: str, *system: str) -> dict[str, Any]:
        turns = [{"role": "system", "content": words} for words in system]
        turns.append({"role": "user", "content": text})
        said = {"answer": answer} if method == "grpo" else {"completion": [{"role": "assistant", "content": answer}]}
        return {"prompt": turns, **said}

    write("train.jsonl", row("3+4=", "7"), row("5+4=", "9", "be short"))
    write("held.jsonl", row("3+4=", "7", "add"), row("3*4=", "12", "be short"))
    values = {"method": method, "model": {"path": str(model_folder), "chat_template": "chat.jinja"},
              "data": {"path": "train.jsonl", "eval": "held.jsonl"}}  # fmt: skip
    if method == "grpo":
        values |= {"reward": "exact", "sampling": {"max_tokens": 4}}
    (note,) = [note for note in check(Document(values)).notes if note.startswith("data.eval")]
    assert note == (
        "data.eval: 1 of 2 rows of the held-out file ask what is trained on, under another system message "
        "(held.jsonl:1 as train.jsonl:1), so they may measure memory"
    )


# ----------------------------------------------------------------------------------------------------- mixtures


def sets(n: int = 12) -> None:
    """Two sets; the first rows of both are the same."""
    write("sums.jsonl", *[{"prompt": f"{i}+1=", "completion": str(i + 1), "answer": str(i + 1)} for i in range(n)])
    rows = ["question,reply,gold", "0+1=,1,1", *(f"{i}-1=,{i - 1},{i - 1}" for i in range(2, 7))]
    Path("less.csv").write_text("\n".join(rows) + "\n")


LESS = {"path": "less.csv", "weight": 1, "columns": {"prompt": "question", "completion": "reply", "answer": "gold"}}
MIX = [{"path": "sums.jsonl", "weight": 3}, LESS]


def train(model: Path, method: str, output: str, resume: bool = False, **values: Any) -> Run:
    base = {
        "method": method, "model": str(model), "data": {"mix": MIX}, "output": output, "steps": 6,
        "prompts_per_step": 4, "group_size": 2, "sampling": {"max_tokens": 4}, "schedule": {"lr": 1e-3},
    }  # fmt: skip
    if method != "sft":
        base["reward"] = "exact"
    return launch(Document({**base, **values}), resume)


def weights(run: Run) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(run.folder / "model" / "model.safetensors")


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_a_resumed_mixture_ends_like_one_that_never_stopped(place: Path, model_folder: Path, method: str) -> None:
    sets()
    whole = train(model_folder, method, "whole")
    part = train(model_folder, method, "part", checkpoint_every=3)
    shutil.rmtree(part.checkpoints[-1])  # as if it had been killed after step 3
    again = train(model_folder, method, "part", resume=True, checkpoint_every=3)
    assert again.step == 6
    assert events(whole.folder, "step") == events(again.folder, "step")
    for key, value in weights(whole).items():
        assert torch.equal(value, weights(again)[key]), key


def test_a_mixture_tells_its_sets_and_the_share_of_each_step(place: Path, model_folder: Path) -> None:
    sets()
    run = train(model_folder, "sft", "run")
    (start,) = events(run.folder, "start")
    assert [line for line in start["data"] if "no effect" not in line] == [
        "sums (sums.jsonl): 12 rows, prompt and completion",
        "less (less.csv): 6 rows, prompt and completion "
        "(prompt from question, completion from reply, answer from gold)",
    ]
    assert start["counts"]["sums (sums.jsonl) used"] == 12
    assert start["counts"]["less (less.csv) used"] == 6
    steps = events(run.folder, "step")
    assert all(s["data/sums"] + s["data/less"] == 1 for s in steps)
    mean = sum(s["data/sums"] for s in steps) / len(steps)
    assert steps[-1]["epoch/sums"] == pytest.approx(mean * 24 / 12)
    manifest = read(run.folder).manifest
    assert {name: one["rows"] for name, one in manifest["inputs"]["data"].items()} == {"sums": 12, "less": 6}


@pytest.mark.parametrize("method", ["sft", "grpo"])
def test_rows_of_a_mixture_have_ids_of_their_own(place: Path, model_folder: Path, method: str) -> None:
    one, two = ({"prompt": f"{i}=", "completion": str(i), "answer": str(i)} for i in (1, 2))
    write("a.jsonl", one, one)
    write("b.jsonl", one, two)
    values = {"method": method, "model": str(model_folder), "sampling": {"max_tokens": 4}}
    reward = {} if method == "sft" else {"reward": "exact"}
    found = check(Document({**values, **reward, "data": ["a.jsonl", "b.jsonl"]}))
    ids = [p.id for p in found.prompts or [g.prompt for g in found.items]]
    assert len(ids) == len(set(ids)) == 4
    assert ids[2] == f"{ids[0]}-3"
    assert [(s.name, s.size, s.weight) for s in found.shares] == [("a", 2, 1.0), ("b", 2, 1.0)]


def test_everything_wrong_with_every_set_is_listed_at_once(place: Path, model_folder: Path) -> None:
    sets()
    write("bad.jsonl", {"prompt": None, "answer": "1"})
    write("bare.jsonl", {"prompt": "1="})
    mix = [
        *MIX,
        {"path": "missing.jsonl"},
        {"path": "bad.jsonl"},
        {"path": "bare.jsonl"},
        {"path": "less.csv", "name": "other", "columns": {"prompt": "qestion"}},
    ]
    (place / "my.py").write_text("def fn(completions, answer):\n    return [0.0] * len(completions)\n")
    with pytest.raises(ConfigError) as error:
        train(model_folder, "grpo", "run", data={"mix": mix}, reward="my.py:fn")
    for part in (
        "'missing.jsonl' does not exist",
        'bad.jsonl:1: "prompt" is null',
        "data.mix, set 'bare': reward fn needs column 'answer'",
        "data.mix.5.columns takes prompt from column 'qestion', which is not there",
        "Did you mean 'question'?",
    ):
        assert part in str(error.value)


# ------------------------------------------------------------------------------------------------------- recipes

BASE = "method: grpo\nmodel: m\nreward: exact\n"


def resolved(place: Path, text: str, *overrides: str) -> Any:
    (place / "r.yaml").write_text(BASE + text)
    document = documents.read(place / "r.yaml")
    documents.override(document, overrides)
    return resolve(document).data


WRONG = {
    "path and mix": ("data: {path: a, mix: [{path: b}]}", "line 4: data.path and data.mix are both given"),
    "neither": ("data: {eval: a}", "line 4: data names no file: give data.path, or several sets as data.mix"),
    "nothing": ("data: {path: null}", "data names no file"),
    "no sets": ("data: []", "data names no file"),
    "a weight of 0": ("data:\n  mix:\n  - {path: a, weight: 0}", "line 6: data.mix.0.weight must be positive, got 0."),
    "a negative weight": ("data: [{path: a, weight: -1}]", "must be positive, got -1."),
    "an endless weight": ("data: [{path: a, weight: .inf}]", "must be"),
    "one name twice": ("data: [x/a.jsonl, y/a.csv]", "2 sets of data.mix are called 'a'; give each its own `name`"),
    "an unknown key": ("data:\n  mix:\n  - {path: a, wieght: 2}", "unknown key 'data.mix.0.wieght'; did you mean"),
    "no path in a set": ("data: {mix: [{weight: 2}]}", "'data.mix.0.path' is missing"),
    "a column of a wrong type": ("data: {path: a, columns: {prompt: 3}}", "data.columns.prompt must be text, found 3"),
    "a mistyped name": ("data: {path: a, columns: {promt: q}}", "data.columns: is 'promt' meant to be 'prompt'?"),
    "two kinds": ("data: {path: a, columns: {prompt: q, messages: m}}", "data.columns names messages and prompt"),
}
"""Kind -> (text, what is said)."""


@pytest.mark.parametrize("kind", WRONG)
def test_a_mistake_in_the_data_part_is_one_sentence(place: Path, kind: str) -> None:
    text, said = WRONG[kind]
    with pytest.raises(ConfigError) as error:
        resolved(place, text + "\n")
    assert len(error.value.problems) == 1, error.value.problems
    assert said in error.value.problems[0]


def test_short_forms_of_data(place: Path) -> None:
    assert resolved(place, "data: a.jsonl\n").sets[0].path == "a.jsonl"
    assert [s.path for s in resolved(place, "data: [a.jsonl, {path: b.csv}]\n").sets] == ["a.jsonl", "b.csv"]
    assert resolved(place, "data: a.jsonl\n", "data.columns.prompt=question").columns == {"prompt": "question"}
    labels = [s.label for s in resolved(place, "data: [x/a.b.jsonl.gz, hf:o/n-1.5, {path: c, name: d}]\n").sets]
    assert labels == ["a.b", "n-1.5", "d"]


def test_data_on_the_command_line_takes_the_place_of_the_recipes(place: Path) -> None:
    mix = "data: {mix: [{path: a}, {path: b}], eval: e}\n"
    found = resolved(place, mix, "data=c.jsonl")
    assert (found.path, found.mix, found.eval) == ("c.jsonl", (), "e")
    found = resolved(place, "data: {path: c, eval: e}\n", "data=[a, {path: b, weight: 2}]")
    assert (found.path, [s.weight for s in found.mix], found.eval) == (None, [1.0, 2.0], "e")
    found = resolved(place, "data: [a, b]\n", "data.eval=e")
    assert ([s.path for s in found.mix], found.eval) == (["a", "b"], "e")


def test_the_recipe_of_a_mixture_resolves_to_itself(place: Path, model_folder: Path) -> None:
    sets()
    run = train(model_folder, "sft", "run", steps=1)
    again = resolve(documents.read(run.folder / "config.yaml"))
    assert [s.path for s in again.data.mix] == [str(place / "sums.jsonl"), str(place / "less.csv")]
    absolute = [{**one, "path": str(place / one["path"])} for one in MIX]
    assert again == resolve(Document({**documents.read(run.folder / "config.yaml").values, "data": {"mix": absolute}}))
