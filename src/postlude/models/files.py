"""What the files of a model folder hold, from their headers: whole, cut off, placeholders, pickle, quantised.

Reads a few kilobytes of each file and imports nothing heavy, so that every problem shows before weights are read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude import plain_json
from postlude.errors import ConfigError, Problem
from postlude.runs.sealed import unsound

WHOLE, ADAPTER = "model.safetensors", "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
LFS = b"version https://git-lfs"
LONGEST_HEADER = 100_000_000
"""Bytes; safetensors itself reads no longer ones."""
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number, for every kind of number that weights are read from."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a file, unread."""

    dtype: str
    """As safetensors names it: F32, BF16, ..."""
    shape: tuple[int, ...]


def header(file: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file by name. Raises ConfigError where the file cannot be whole."""
    size = file.stat().st_size
    with file.open("rb") as f:
        start = f.read(len(LFS))
        if start == LFS:
            raise ConfigError(
                f"{file} is a placeholder of git-lfs, not the weights. Get them with: git lfs pull",
                code="damaged-weights",
            )
        if size < 8:
            raise ConfigError(
                f"{file} has {size} bytes, so it is no weights file. Copy or download it again.", code="damaged-weights"
            )
        f.seek(0)
        (length,) = struct.unpack("<Q", f.read(8))
        if length > min(LONGEST_HEADER, size - 8):
            raise ConfigError(
                f"{file} is not a safetensors file, or is cut off in its header. Download it again.",
                code="damaged-weights",
            )
        text = f.read(length)
    try:
        entries: dict[str, Any] = plain_json.loads(text)
        entries.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
        tensors = {name: _stored(entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"{file} is not a safetensors file: its header cannot be read. Download it again.", code="damaged-weights"
        ) from error
    if end != size:
        what = "is cut off" if size < end else "is longer than its header says"
        raise ConfigError(f"{file} {what}: {size} bytes of {end}. Copy or download it again.", code="damaged-weights")
    if not tensors:
        raise ConfigError(f"{file} holds no tensor. Save or download the weights again.", code="damaged-weights")
    return tensors


def _stored(entry: Mapping[str, Any]) -> Stored:
    """An entry of a header. Raises an error where its values are of other kinds."""
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    if not isinstance(dtype, str) or not all(isinstance(size, int) for size in shape):
        raise TypeError("a tensor's type is a text and its shape whole numbers")
    return Stored(dtype, shape)


def require_sound(folder: Path) -> None:
    """Raise ConfigError where a folder is a checkpoint whose model is not what was saved."""
    if why := unsound(folder):
        raise ConfigError(
            f"{folder} is not what was saved: {why}. Take another checkpoint of its run. To use this one all the same, "
            "move its trainer/ folder away: it is a model folder like any other then.",
            code="damaged-weights",
        )


def weights(folder: Path) -> list[Path]:
    """The weights files of a model folder: one, or its shards. Raises ConfigError where one is missing."""
    return [folder / name for name in sorted({*_places(folder).values()})] or [folder / WHOLE]


def whole(folder: Path) -> dict[str, Stored]:
    """The tensors of a model folder, from one file or its shards. Raises ConfigError with every problem found."""
    require_sound(folder)
    places = _places(folder)
    tensors = _joined(weights(folder))
    absent = sorted({*places} - {*tensors})
    if absent:
        raise ConfigError(
            f"{folder}: the index names tensors that no weights file holds: {some(absent)}.", code="missing-weights"
        )
    return tensors


def _places(folder: Path) -> Mapping[str, str]:
    """Tensor -> file, from the index of a sharded model; empty of one that is one file."""
    index = folder / f"{WHOLE}.index.json"
    if (folder / WHOLE).exists():
        return {}
    if not index.exists():
        raise ConfigError(_no_weights(folder, WHOLE, "model"))
    try:
        places: Mapping[str, str] = plain_json.read(index)["weight_map"]
        shards = sorted({*places.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{index} cannot be read as the index of a sharded model. Download it again.", code="damaged-weights"
        ) from error
    missing = [name for name in shards if not (folder / name).exists()]
    if missing:
        raise ConfigError(
            f"{folder}: the index names {len(shards)} weights files, and {len(missing)} of them are missing: "
            f"{some(missing)}. Download them too.",
            code="missing-weights",
        )
    return places


def adapter(folder: Path) -> dict[str, Stored]:
    """The tensors of an adapter folder. Raises ConfigError."""
    require_sound(folder)
    if not (folder / ADAPTER).exists():
        raise ConfigError(_no_weights(folder, ADAPTER, "adapter"))
    return _joined([folder / ADAPTER])


def _joined(files: Sequence[Path]) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    problems: list[Problem] = []
    for file in files:
        try:
            tensors |= header(file)
        except ConfigError as error:
            problems += error.problems
    odd = [name for name, stored in tensors.items() if stored.dtype not in BYTES]
    if odd:
        kinds = ", ".join(sorted({tensors[name].dtype for name in odd}))
        problems.append(
            Problem(
                "unread-weights",
                f"{files[0].parent}: {len(odd)} tensors hold {kinds} numbers, as quantised models do (first {odd[0]}). "
                "Give the model in float32, bfloat16 or float16.",
            )
        )
    if problems:
        raise ConfigError(problems)
    return tensors


def _no_weights(folder: Path, name: str, what: str) -> Problem:
    stem = name.removesuffix(".safetensors")
    pickles = sorted(p.name for p in folder.glob("*.bin") if p.name.startswith((stem, "pytorch_model")))
    if pickles:
        return Problem(
            "unread-weights",
            f"{folder}: its weights are a pickle ({pickles[0]}), which can run code when it is opened; only "
            "safetensors are read. Where you trust it, open it with the library that made it and save it again with "
            f"save_pretrained(FOLDER), which writes {name}.",
        )
    other = sorted(p.name for p in folder.glob("*.gguf")) if folder.is_dir() else []
    if other:
        return Problem(
            "unread-weights",
            f"{folder}: its weights are a GGUF file ({other[0]}). Read it once with transformers "
            "(from_pretrained(FOLDER, gguf_file=...)) and save it with save_pretrained(FOLDER).",
        )
    return Problem(
        "missing-weights", f"{folder} has no {name}, so there are no weights. Download or save the {what} again."
    )


def some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
