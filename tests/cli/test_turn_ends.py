"""Where the chat template ends turns otherwise than the settings say, answers end there too, and that is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.check import check
from postlude.cli.app import app
from postlude.launch import launch
from postlude.models.load import inspect
from postlude.models.quiet import quiet
from postlude.models.spec import ModelSpec
from postlude.models.tiny import tiny_qwen3
from postlude.recipe.documents import Document
from postlude.runs import read
from tests.models import templates

USER, ASSISTANT = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}


def base(folder: Path, template: str) -> Path:
    """A base model: its template has its own end of turn, its settings know only EOS."""
    tokenizer = templates.renderer(template).tokenizer
    with quiet():
        tiny_qwen3(tokenizer, layers=1, width=32, heads=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("chatml"), templates.CHATML)


def named(folder: Path, ids: Any) -> set[str]:
    tokenizer = inspect(ModelSpec(str(folder))).tokenizer
    return {*tokenizer.convert_ids_to_tokens(sorted(ids))}


def test_the_end_of_turn_is_a_stop_and_said(chatml: Path) -> None:
    facts = inspect(ModelSpec(str(chatml)))
    assert named(chatml, facts.stop_ids) == {"<eos>", "<|im_end|>"}
    (note,) = facts.notes
    assert note.startswith("model: the chat template ends a turn with '<|im_end|>', while tokenizer and generation")


@pytest.mark.parametrize("template", [templates.MISTRAL, templates.ZEPHYR, templates.DEEPSEEK], ids=["m", "z", "d"])
def test_a_template_that_ends_turns_with_eos_needs_no_word(tmp_path: Path, template: str) -> None:
    facts = inspect(ModelSpec(str(base(tmp_path, template))))
    assert named(tmp_path, facts.stop_ids) == {"<eos>"} and not facts.notes


def test_a_run_says_it_and_saves_it_for_other_tools(chatml: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"messages": [USER, ASSISTANT]}) + "\n")
    values = {"method": "sft", "model": str(chatml), "data": str(tmp_path / "m.jsonl"), "steps": 1}
    run = launch(Document({**values, "output": str(tmp_path / "run")}))
    (start,) = read(run.folder).of("start")
    assert any("'<|im_end|>'" in line for line in start["data"])
    assert start["engine"]["stops"] == ["<eos>", "<|im_end|>"]
    settings = json.loads((run.folder / "model" / "generation_config.json").read_text())
    assert named(chatml, settings["eos_token_id"]) == {"<eos>", "<|im_end|>"}
    assert not inspect(ModelSpec(str(run.folder / "model"))).notes, "the next tool stops there by itself"


def test_an_exported_model_ends_there_too(chatml: Path, tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"messages": [USER, ASSISTANT]}) + "\n")
    model = {"path": str(chatml), "lora": {"rank": 2}}
    values = {"method": "sft", "model": model, "data": str(tmp_path / "m.jsonl"), "steps": 1}
    launch(Document({**values, "output": str(tmp_path / "run")}))
    found = CliRunner().invoke(app, ["export", str(tmp_path / "run"), str(tmp_path / "whole")])
    assert found.exit_code == 0, found.output
    settings = json.loads((tmp_path / "whole" / "generation_config.json").read_text())
    assert named(chatml, settings["eos_token_id"]) == {"<eos>", "<|im_end|>"}


def test_sample_says_it(chatml: Path) -> None:
    found = CliRunner().invoke(app, ["sample", str(chatml), "-p", "hi", "--max-tokens", "3"])
    assert found.exit_code == 0, found.output
    assert "note: model: the chat template ends a turn with '<|im_end|>'" in found.stderr


def test_a_judge_in_this_process_says_it(chatml: Path, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": [USER]}) + "\n")
    values = {
        "method": "grpo", "model": str(chatml), "data": str(tmp_path / "p.jsonl"), "steps": 1,
        "reward": {"use": "judge", "args": {"model": str(chatml)}}, "sampling": {"max_tokens": 4},
    }  # fmt: skip
    notes = check(Document(values)).notes
    assert sum(note.startswith("reward judge: model: the chat template ends a turn with") for note in notes) == 1


def test_rewards_that_ask_a_model_say_that_it_sees_no_tools(tmp_path: Path) -> None:
    folder = base(tmp_path / "qwen", templates.QWEN)
    tool = {"type": "function", "function": {"name": "f"}}
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": [USER], "tools": [tool]}) + "\n")
    values = {
        "method": "grpo", "model": str(folder), "data": str(tmp_path / "p.jsonl"), "steps": 1,
        "reward": {"use": "judge", "args": {"model": str(folder)}}, "sampling": {"max_tokens": 4},
    }  # fmt: skip
    assert "reward judge: its model reads the prompts without their tools" in check(Document(values)).notes
