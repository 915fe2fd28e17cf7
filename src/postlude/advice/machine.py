"""The machine and the model, as evidence: memory, speed, size, template."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np

from postlude.advice.evidence import Device, Model
from postlude.engines.local.free import free
from postlude.errors import ConfigError
from postlude.models.load import Facts, inspect
from postlude.models.spec import ModelSpec
from postlude.runs.checkpoints import latest_model
from postlude.sizing.shape import Shape
from postlude.sizing.work import GIB

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
    shape = Shape.of_config(latest_model(name))
    billions, known_by = shape.parameters / 1e9, "its config.json"
    if not any((folder / file).exists() for file in TOKENIZERS) and latest_model(name) == name:
        known_by += "; it has no tokenizer, so tokens are estimated"
        return Model(name, billions, known_by, shape=shape), None
    facts = inspect(ModelSpec(latest_model(name)))
    weights = any(Path(latest_model(name)).expanduser().glob("*.safetensors"))
    return Model(name, billions, known_by, bool(facts.tokenizer.chat_template), facts.context, weights, shape), facts


TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def _by_name(name: str) -> Model:
    """Of a name on the hub, by its config where that was downloaded before, else by the size in the name."""
    chat = True if re.search(r"instruct|chat|-it\b", name, re.IGNORECASE) else None
    try:
        shape = Shape.of_config(name)
        return Model(name, shape.parameters / 1e9, "its config.json in Hugging Face's cache", chat, shape=shape)
    except ConfigError:
        pass
    match = _SIZE.search(name.replace("_", "."))
    if match is None:
        return Model(name, None, "neither its name nor a folder here says how large it is", chat)
    shape = Shape.of_size(match.group(1) + match.group(2))
    billions = float(match.group(1)) / (1 if match.group(2).casefold() == "b" else 1000)
    alone = _SIZE.fullmatch(name.strip()) is not None
    return Model(name, billions, "its size" if alone else "the size in its name", chat, shape=shape, named=not alone)
