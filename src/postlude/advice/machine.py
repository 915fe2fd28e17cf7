"""The machine and the model, as evidence: memory, speed, size, template."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import numpy as np

from postlude.advice.evidence import Device, Model
from postlude.engines.local.free import free
from postlude.errors import ConfigError
from postlude.footprint import numbers
from postlude.models.load import Facts, base_path, inspect
from postlude.models.spec import ModelSpec

GIB = 2**30
SPEEDS = ((10, 8e12), (17, 2e13), (25, 4e13), (50, 8e13), (90, 2e14), (10_000, 3e14))
"""(GiB of a GPU up to, operations a second that training usually gets out of one with so much memory): a guess by the
cards there are, at a third of what their makers say of bfloat16."""
_SIZE = re.compile(r"(?<![\w.])(\d+(?:[._]\d+)?)\s*([bm])(?:illion)?(?![a-z0-9])", re.IGNORECASE)


def device_of(gpu_memory: float | None, gpus: int | None) -> Device:
    """What was named, or this machine. Raises ConfigError for sizes that are none."""
    if gpu_memory is not None and not 0 < gpu_memory < 10_000:
        raise ConfigError(f"--gpu-memory is GiB of one GPU, above 0, got {gpu_memory:g}.", code="out-of-range")
    if gpus is not None and not 1 <= gpus <= 10_000:
        raise ConfigError(f"--gpus is a number of GPUs, at least 1, got {gpus}.", code="out-of-range")
    if gpu_memory is not None:
        speed = next(flops for most, flops in SPEEDS if gpu_memory <= most)
        known_by = f"{speed / 1e12:g} TFLOP/s, a guess by the GPU's memory"
        return Device("gpu", gpu_memory, gpus or 1, known_by, speed)
    if Path("/dev/nvidia0").exists():
        import torch

        if torch.cuda.is_available():
            gib = torch.cuda.get_device_properties(0).total_memory / GIB
            speed = next(flops for most, flops in SPEEDS if gib <= most)
            known_by = f"{speed / 1e12:g} TFLOP/s, a guess by this GPU's memory"
            return Device("gpu", gib, gpus or torch.cuda.device_count(), known_by, speed)
    if gpus is not None:
        raise ConfigError(
            "--gpus: give the memory of one too (--gpu-memory GiB); none is seen here.", code="missing-option"
        )
    return _this_machine()


def _this_machine() -> Device:
    import torch

    room = free(torch.device("cpu"))
    speed = _speed()
    return Device("cpu", room.bytes / GIB, 1, f"{speed / 1e9:,.0f} GFLOP/s, measured on this CPU", speed)


def _speed() -> float:
    """Operations a second of a product of float32 matrices here, at half of the best of three."""
    a = np.ones((1024, 1024), np.float32)
    spent: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        np.matmul(a, a)
        spent.append(time.perf_counter() - began)
    return 0.5 * 2 * 1024**3 / min(spent)


def model_of(name: str) -> tuple[Model, Facts | None]:
    """What is known of a model: of a folder by its files, else by its name. Raises ConfigError for a broken folder."""
    folder = Path(name).expanduser()
    if not folder.is_dir():
        if name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise ConfigError(f"--model: {name!r} is no folder here.", code="no-such-model")
        return _by_name(name), None
    billions, known_by = _by_files(folder)
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        return Model(name, billions, f"{known_by}; it has no tokenizer, so tokens are estimated", local=False), None
    facts = inspect(ModelSpec(name))
    chat = bool(facts.tokenizer.chat_template)
    weights = any(folder.glob("*.safetensors"))
    return Model(name, billions, known_by, chat, facts.context, weights), facts


def _by_name(name: str) -> Model:
    match = _SIZE.search(name.replace("_", "."))
    if match is None:
        return Model(name, None, "neither its name nor a folder here says how large it is")
    size = float(match.group(1)) / (1 if match.group(2).casefold() == "b" else 1000)
    return Model(name, size, "its name", chat=True if re.search(r"instruct|chat|-it\b", name, re.IGNORECASE) else None)


def _by_files(folder: Path) -> tuple[float | None, str]:
    count = numbers(str(folder))
    if count:
        return count / 1e9, "its weights files"
    config = Path(base_path(str(folder))).expanduser() / "config.json"
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
        return _parameters(values) / 1e9, "its config.json"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"--model: {str(folder)!r} has no config.json that says its size ({error}).", code="not-a-model"
        ) from error


def _parameters(c: dict[str, int]) -> float:
    """Of a decoder of the usual make."""
    width, layers, heads = c["hidden_size"], c["num_hidden_layers"], c["num_attention_heads"]
    head = c.get("head_dim") or width // heads
    keys = (c.get("num_key_value_heads") or heads) * head
    layer = width * (2 * heads * head + 2 * keys) + 3 * width * c["intermediate_size"]
    return layers * layer + c["vocab_size"] * width * (1 if c.get("tie_word_embeddings") else 2)
