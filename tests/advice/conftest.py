"""A tiny model that reads any letters, and a place of its own for every test."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Qwen3 over all printable letters, without a chat template."""
    from postlude.models.quiet import quiet
    from postlude.models.tiny import character_tokenizer, tiny_qwen3

    folder = tmp_path_factory.mktemp("reader")
    tokenizer = character_tokenizer(string.printable)
    with quiet():
        tiny_qwen3(tokenizer, layers=1, width=32, heads=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    file = folder / "generation_config.json"
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    file.write_text(json.dumps({**json.loads(file.read_text()), **ends}))
    return str(folder)
