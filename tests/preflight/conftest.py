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
from tests.models.templates import CHATML, LLAMA, SPECIAL, ZEPHYR

REWARDS = """
def level(completions, level, **columns):
    return [float(one in c) for c, one in zip(completions, level)]

def hidden(completions, **columns):
    return [float(one in c) for c, one in zip(completions, columns["level"])]

def lucky(completions, level, **columns):
    return [float(one in c or i == 0) for i, (c, one) in enumerate(zip(completions, level))]

def gone(completions, **columns):
    return [float(c == one) for c, one in zip(completions, columns.get("gold", ["..."] * len(completions)))]

def brief(completions, **columns):
    return [-len(set(c)) / 100 for c in completions]

def flipped(completions, answer, **columns):
    return [-float(a == c) for c, a in zip(completions, answer)]

def half(completions, **columns):
    return [0.5] * len(completions)

def zero(completions, **columns):
    return [0.0] * len(completions)

def nan(completions, **columns):
    return [float("nan")] * len(completions)

def infinite(completions, **columns):
    return [float("inf")] * len(completions)

def nan_of_nothing(completions, **columns):
    return [len(set(c)) / len(c) if c.strip(". ") else float("nan") for c in completions]

def unscored(completions, **columns):
    return [None] * len(completions)

def rare(completions, **columns):
    return [float(c == "a") for c in completions]

def vowels(completions, **columns):
    return [float(c[:1] in "aeiou0123456789") for c in completions]
"""
LIKE = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
MARKED_NOTHING = CHATML.replace("{% for", "{% generation %}{% endgeneration %}{% for", 1)
MARKED_USER = LIKE + (
    "{% if m.role == 'user' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETS_USER = CHATML.replace("(m.content or '')", "(m.content if m.role == 'assistant' else '')")
LEVELS = ("model=plain", "data=levels.jsonl", "seed=1")
ONLINE = (*LEVELS, "sampling.max_tokens=4")
ONE = (*LEVELS, "sampling.max_tokens=1")


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


@pytest.fixture(scope="session")
def files(world: Path) -> Path:
    """What the broken runs name."""
    (world / "r.py").write_text(REWARDS)
    for name, text in {
        "llama": LLAMA.replace("{{ bos_token }}", ""), "zephyr": ZEPHYR, "marked_nothing": MARKED_NOTHING,
        "marked_user": MARKED_USER, "forgets_user": FORGETS_USER,
    }.items():  # fmt: skip
        (world / f"{name}.jinja").write_text(text)
    rows = [{"prompt": f"{i}+{i}=", "answer": str(2 * i), "level": ("easy", "hard")[i % 2]} for i in range(24)]
    write(world / "levels.jsonl", rows)
    write(world / "long.jsonl", [*rows, {"prompt": "1" * 1100, "answer": "1", "level": "hard"}])
    write(world / "long_sft.jsonl", [conversation("q", "a"), conversation("q", "a" * 1100)])
    write(world / "long_pairs.jsonl", [{"prompt": "q", "chosen": "a" * 1100, "rejected": "b"}])
    write(world / "held.jsonl", [{"prompt": " 3+3= ", "answer": "6", "level": "x"}])
    write(world / "held_sft.jsonl", [conversation("What is  5+5?", "ten")])
    write(world / "texts.jsonl", [{"text": f"some text {i}"} for i in range(4)])
    write(world / "held_texts.jsonl", [{"text": "Some text 2"}])
    other = world / "other"
    with quiet():
        tiny_qwen3(character_tokenizer(), seed=5, layers=1, width=32, heads=2, spread=0.6).save_pretrained(other)
    character_tokenizer().save_pretrained(other)
    return world


@pytest.fixture
def broken(files: Path, here: Path) -> Path:
    return files
