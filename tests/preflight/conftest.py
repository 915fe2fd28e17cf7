"""A tiny chat model and a tiny plain one with rows for them, made once."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from postlude.models.quiet import quiet
from postlude.models.tiny import character_tokenizer, save_tiny_model, tiny_qwen3
from postlude.preflight.report import Report
from postlude.preflight.run import Options, preflight
from postlude.recipe.opening import document_of
from tests.models.templates import CHATML, SPECIAL


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path.name


def chat_model(folder: Path, template: str = CHATML, special: Iterable[str] = SPECIAL[CHATML]) -> None:
    """A random model over printable characters, whose tokenizer knows the marks of turns."""
    tokenizer = character_tokenizer(string.printable, template)
    tokenizer.add_special_tokens({"additional_special_tokens": [*special]})
    with quiet():
        tiny_qwen3(tokenizer, layers=1, width=32, heads=2, spread=0.2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(settings))


def conversation(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("preflight")
    chat_model(place / "chat")
    save_tiny_model(place / "plain", layers=1, width=32, heads=2, spread=0.2)
    write(place / "prompts.jsonl", [{"prompt": f"{i}+{i}=", "answer": str(2 * i)} for i in range(24)])
    write(place / "sft.jsonl", [conversation(f"what is {i}+{i}?", f"it is {2 * i}") for i in range(24)])
    pairs = [{"prompt": f"what is {i}+{i}?", "chosen": str(2 * i), "rejected": str(2 * i + 1)} for i in range(24)]
    write(place / "pairs.jsonl", pairs)
    return place


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(world)
    return world


def look(recipe: str, *settings: str, **options: Any) -> Report:
    """What `postlude check RECIPE KEY=VALUE...` finds."""
    return preflight(document_of(Path(recipe), [*settings]), recipe, Options(**options))
