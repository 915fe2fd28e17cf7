"""What the parts are made of: models, data, servers, and postlude's own commands."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.scale_servers.processes import gone
from postlude.cli.demo import prepare_demo
from postlude.cli.demos import run_recipe
from postlude.engines.servers.process import ServerProcess
from postlude.engines.servers.starting import launch_of
from postlude.engines.settings import Local, Publishing, Servers
from postlude.errors import EngineError

START = 600.0
"""Seconds until a server must be healthy."""
REWARD: Mapping[str, Any] = {"use": "exact", "args": {"after": "#"}}
LIMIT = 48
"""Tokens of an answer to the demo's task."""


@dataclass(frozen=True)
class Place:
    """Where the study works, and what with."""

    folder: Path
    python: Path
    """The servers' interpreter."""
    real: Path | None
    """A real model's folder, where there is one."""
    is_fake: bool
    """Whether that interpreter starts the fake server of the tests."""
    steps: int
    """Of each run that learns."""

    @property
    def started_here(self) -> dict[str, Any]:
        """For a recipe's `engine.servers`: one of its own."""
        return {"count": 1, "python": str(self.python)}

    def demo(self) -> Path:
        """The demo's folder: model, data, and the model after its SFT stage. Made once, in half a minute."""
        folder = self.folder / "demo"
        if not (folder / "sft/model/model.safetensors").exists():
            prepare_demo(folder, 0)
            run_recipe(folder, "sft", Console(file=io.StringIO()))
        return folder


def untied(folder: Path) -> Path:
    """A Llama of random weights, whose output layer is its own; returns its folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from postlude.models.tiny import character_tokenizer

    tokenizer = character_tokenizer()
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=0.08,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def server(place: Place, model: Path, way: Publishing = "files", rank: int | None = None) -> Generator[str]:
    """The address of one that is ready, started as a run starts it; nothing of it is left."""
    held = Local(servers=Servers(count=1, python=str(place.python)))
    launch = launch_of(held, longest=512, seed=0, rank=rank, way=way, gpus=0)
    process = ServerProcess(launch, 0, model, place.folder / "servers")
    try:
        _wait(process)
        yield process.url
    finally:
        process.end()


def _wait(process: ServerProcess) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until and process.ended() is None:
        try:
            urllib.request.urlopen(f"{process.url}/health", timeout=3).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise EngineError(f"the server did not come up. {process.account()}", code="server-unreachable")


def command(*words: str) -> list[str]:
    """Of postlude."""
    return [str(Path(sys.executable).with_name("postlude")), *words]


def environment() -> dict[str, str]:
    """For commands whose output is read line by line."""
    return os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "4000", "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}


def finished(words: Sequence[str]) -> str:
    """What a command printed. Raises EngineError with its last lines where it failed."""
    done = subprocess.run(command(*words), env=environment(), capture_output=True, text=True)
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise EngineError(f"postlude {' '.join(words)} ended with {done.returncode}:\n{said}", code="server-refused")
    return done.stdout


def recipe(folder: Path, name: str, values: Mapping[str, Any]) -> Path:
    """Write one; its run goes into a folder beside it, of which nothing was left."""
    file = folder / f"{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    gone(folder / name)
    file.write_text(json.dumps({**values, "output": str(folder / name)}, indent=1))
    return file


def learning_recipe(demo: Path, **values: Any) -> dict[str, Any]:
    """GRPO on the demo's task."""
    return {
        "method": "grpo",
        "model": str(demo / "sft/model"),
        "data": {"path": str(demo / "prompts.jsonl"), "eval": str(demo / "eval.jsonl")},
        "reward": REWARD,
        "sampling": {"max_tokens": LIMIT},
        "prompts_per_step": 16,
        "group_size": 8,
        "objective": {"kl": None},
        "schedule": {"lr": 3e-4, "decay": "linear"},
        **values,
    }
