"""What a checkpoint holds of the local trainer: weights as Hugging Face writes them, the optimiser in `trainer/`.

Several ranks write the files of one process, byte for byte: rank 0 gathers what they hold and writes it. Only an
optimiser that is too large for that is written by all of them, each its own rows, as `trainer/parts/`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from postlude import plain_json
from postlude.errors import EngineError, reason
from postlude.models import adapters, pieces, saved
from postlude.models.heads import HEAD, VALUE_HEAD
from postlude.models.pieces import Pieces
from postlude.models.spread import apart, by_first
from postlude.runs.durable import flush

if TYPE_CHECKING:
    from postlude.engines.local.model import LocalModel
    from postlude.engines.local.ranks import Ranks
    from postlude.engines.local.trainer import LocalTrainer

OPTIMIZER, COUNTERS = "optimizer.safetensors", "optimizer.json"
"""In `trainer/` of a checkpoint: moments and fp32 masters by parameter; steps, skips, references, version."""
MASTER = "master"
"""Of a tensor of the optimiser, behind its parameter's name and `::`, beside the names that AdamW gives."""
PARTS = "parts"
"""In `trainer/` of a checkpoint, in the place of OPTIMIZER: a file of each rank, which holds its rows of the same
tensors."""
LARGEST = 8 * 10**9
"""Bytes of an optimiser that rank 0 gathers, and any single process can read: the moments of 1 B parameters in float32.
A larger one would take minutes through one process, and memory that it need not have."""
REFERENCE = "reference.safetensors"
"""In `trainer/` of a checkpoint: the reference's weights, once it is no longer the start."""


def write(trainer: LocalTrainer, folder: Path) -> None:
    """Weights as Hugging Face wrote them (adapter only under LoRA) and `trainer/` with the optimiser. Called by all
    ranks; where one cannot write, that one raises its error and the others LeftOff."""
    ranks, state = trainer.ranks, folder / "trainer"
    by_first(ranks, lambda: state.mkdir(parents=True, exist_ok=True))
    if trainer.has_adapter:
        adapters.save(trainer.model.net, folder, ranks)
    else:
        saved.save(trainer.model.net, folder, ranks, trainer.model.dtype)
    if trainer.critic is not None:
        saved.save(trainer.critic.net, folder / "critic", ranks, trainer.critic.dtype)
    if trainer.model.value_head is not None:
        pieces.write(folder / VALUE_HEAD, trainer.model.value_head.state_dict(), ranks)
    _write_optimizer(trainer, state)
    trainer.reference.save(state / REFERENCE, ranks, partial(written, trainer))


def gather(trainer: LocalTrainer, file: Path, names: Collection[str] | None = None) -> None:
    """The policy's trained weights, or those of `names`, in one file, as whoever samples holds them. It is there at
    once, under its name, when it is whole."""
    policy = trainer.parts["policy"]
    tensors = {n: p for n, p in zip(policy.names, policy.params, strict=True) if names is None or n in names}
    fresh = file.with_name(f".{file.name}.new")
    try:
        pieces.write(fresh, tensors, trainer.ranks, partial(written, trainer))
        by_first(trainer.ranks, lambda: (flush(fresh), fresh.replace(file)))
    finally:
        if trainer.ranks.rank == 0:
            with suppress(OSError):  # it has its name; else half a file on a disk that may be full
                fresh.unlink()


def written(trainer: LocalTrainer, name: str, parameter: Tensor) -> torch.dtype:
    """In what a checkpoint holds a trained parameter: what one process has, where ranks have finer ones."""
    model, inside = trainer.model, name
    if name.startswith("critic."):
        model, inside = trainer.critic, name.removeprefix("critic.")
    if model is None or adapters.is_trained(inside) or inside.startswith(f"{HEAD}."):
        return parameter.dtype
    return model.dtype


def _write_optimizer(trainer: LocalTrainer, state: Path) -> None:
    ranks = trainer.ranks
    tensors = dict(_tensors(trainer))
    if ranks.size > 1 and sum(one.numel() * one.itemsize for one in tensors.values()) > LARGEST:
        by_first(ranks, lambda: (_clear(state), (state / PARTS).mkdir()))
        apart(ranks, lambda: _write_part(trainer, tensors, state / PARTS))
    else:
        by_first(ranks, lambda: _clear(state))
        pieces.write(state / OPTIMIZER, tensors, ranks)
    owned = ((name, trainer.optimizer.state.get(one, {})) for name, _, one in trainer.named)
    notes = {
        "steps": {name: float(entry["step"]) for name, entry in owned if "step" in entry},
        "skipped": trainer.skipped,
        "references": trainer.references,
        "version": trainer.version,
    }
    by_first(ranks, lambda: (state / COUNTERS).write_text(json.dumps(notes)))


def _tensors(trainer: LocalTrainer) -> Iterator[tuple[str, Tensor]]:
    """The optimiser's tensors, and the weights themselves where the checkpoint's are coarser, as ranks hold them."""
    for name, p, owned in trainer.named:
        for key, value in trainer.optimizer.state.get(owned, {}).items():
            if key != "step":
                yield f"{name}::{key}", value.contiguous()
        if owned is not p or written(trainer, name, p) != p.dtype:
            yield f"{name}::{MASTER}", owned.detach().contiguous()


def _clear(state: Path) -> None:
    """Take away an optimiser that lies there, in the other form or of another number of ranks: which counts?"""
    (state / OPTIMIZER).unlink(missing_ok=True)
    if (state / PARTS).exists():
        shutil.rmtree(state / PARTS)


def _write_part(trainer: LocalTrainer, tensors: dict[str, Tensor], folder: Path) -> None:
    ranks = trainer.ranks
    rows = {name: ranks.part(one).cpu() for name, one in tensors.items()}
    file = folder / f"{ranks.rank + 1:05d}-of-{ranks.size:05d}.safetensors"
    save_file({name: one.contiguous() for name, one in rows.items() if one.numel()}, file)
    flush(file)


def rehearse(trainer: LocalTrainer, folder: Path) -> None:
    """Everything of `write` but a whole model's weights and the optimiser; raises what it would raise."""
    ranks = trainer.ranks
    if trainer.has_adapter:
        adapters.save(trainer.model.net, folder, ranks)
    for name, model in (("model", None if trainer.has_adapter else trainer.model), ("critic", trainer.critic)):
        if model is not None:
            net: Any = model.net
            by_first(ranks, lambda net=net, name=name: net.save_pretrained(folder / name, state_dict={}))


def load(trainer: LocalTrainer, folder: Path, reference: bool = True) -> None:
    """Take up a checkpoint, whoever wrote it; without a refreshed reference where `reference` is False."""
    load_weights(trainer, str(folder))
    load_state(trainer, folder, reference)


@torch.no_grad()
def load_weights(trainer: LocalTrainer, folder: str) -> None:
    """Put a checkpoint's weights into the model (all of them, or the adapter's) and into the critic."""
    if trainer.critic is not None:
        _load_into(trainer, trainer.critic, Path(folder) / "critic")
    if trainer.model.value_head is not None:
        trainer.model.value_head.load_state_dict(load_file(Path(folder) / VALUE_HEAD))
    if trainer.has_adapter:
        adapters.load(trainer.model.net, folder, str(trainer.model.device), trainer.ranks)
        return
    _load_into(trainer, trainer.model, Path(folder))


def _load_into(trainer: LocalTrainer, model: LocalModel, folder: Path) -> None:
    saved.load(model.net, folder, trainer.ranks, torch.promote_types(model.dtype, torch.float32))


@torch.no_grad()
def load_state(trainer: LocalTrainer, folder: Path, reference: bool = True) -> None:
    """Optimiser state, fp32 master and (unless `reference` is False) a refreshed reference; the weights themselves
    come with `load_weights`."""
    state, files = folder / "trainer", _files_of_optimizer(folder)
    try:
        notes = plain_json.read(state / COUNTERS)
    except (OSError, ValueError) as error:
        raise EngineError(f"{state / COUNTERS} cannot be read: {reason(error)}", code="damaged-run") from error
    trainer.skipped = notes["skipped"]
    trainer.version = notes.get("version", 0)
    with Pieces(files) as stored:
        for name, p, owned in trainer.named:
            _take_up(trainer, stored, name, p, owned, notes["steps"].get(name))
    trainer.copy_master()
    if reference and notes.get("references"):
        trainer.reference.load(state / REFERENCE, notes["references"], trainer.ranks)


def _files_of_optimizer(folder: Path) -> list[Path]:
    """The one file, or those that ranks wrote. Raises EngineError where any is missing."""
    state = folder / "trainer"
    if (state / OPTIMIZER).exists():
        return [state / OPTIMIZER]
    files = sorted((state / PARTS).glob("*-of-*.safetensors"))
    if not files:
        raise EngineError(f"{folder} has no trainer/{OPTIMIZER}: it is a model, not a checkpoint", code="no-checkpoint")
    count = int(files[0].stem.rpartition("-")[2])
    if [file.stem for file in files] != [f"{n + 1:05d}-of-{count:05d}" for n in range(count)]:
        raise EngineError(
            f"{state / PARTS} holds {len(files)} of the {count} files that as many ranks wrote: the checkpoint is "
            "damaged.",
            code="damaged-run",
        )
    return files


def _take_up(trainer: LocalTrainer, stored: Pieces, name: str, p: Tensor, owned: Tensor, step: float | None) -> None:
    """One parameter's moments, and its master where there is one: the checkpoint may be of a model in another dtype."""
    moments: dict[str, Tensor] = {}
    for key in stored.fields(name):
        moments[key] = owned.detach() if key == MASTER else torch.empty_like(owned.detach())
        stored.fill(moments[key], f"{name}::{key}", trainer.ranks)
    if moments.pop(MASTER, None) is None and owned is not p:
        owned.detach().copy_(p)
    if moments:
        trainer.optimizer.state[owned] = {**moments, "step": torch.tensor(step, device=p.device)}


@torch.no_grad()
def fingerprint(trainer: LocalTrainer) -> list[int]:
    """Of each trained tensor of the policy, the sum of its bits with its largest weight added: the same on any number
    of ranks."""
    ranks, policy = trainer.ranks, trainer.parts["policy"]
    named = zip(policy.names, policy.params, strict=True)
    parts = [_at_least_single(ranks.part(p.detach()).to(written(trainer, name, p))) for name, p in named]
    largest = ranks.most([float(part.abs().max()) if part.numel() else 0.0 for part in parts])
    sums: list[int] = []
    for part, most in zip(parts, largest, strict=True):
        bits = (part + most).view(torch.int64 if part.element_size() == 8 else torch.int32)
        sums.append(int(bits.sum(dtype=torch.int64)))
    return _added(ranks, sums)


def _at_least_single(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _added(ranks: Ranks, numbers: Sequence[int]) -> list[int]:
    """Sums over the ranks, as int64 adds: through two halves of 32 bits, whose sums float64 holds exactly."""
    totals = ranks.total([*(n >> 32 for n in numbers), *(n & 0xFFFFFFFF for n in numbers)])
    halves = zip(totals[: len(numbers)], totals[len(numbers) :], strict=True)
    sums = [(int(high) << 32) + int(low) for high, low in halves]
    return [(n + 2**63) % 2**64 - 2**63 for n in sums]
