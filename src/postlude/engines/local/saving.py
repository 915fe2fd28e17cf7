"""What a checkpoint holds of the local trainer: weights as Hugging Face writes them, the optimiser in `trainer/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from postlude import plain_json
from postlude.errors import EngineError, reason
from postlude.models import adapters, saved
from postlude.models.heads import VALUE_HEAD
from postlude.models.quiet import quiet

if TYPE_CHECKING:
    from postlude.engines.local.trainer import LocalTrainer

OPTIMIZER, COUNTERS = "optimizer.safetensors", "optimizer.json"
"""In `trainer/` of a checkpoint: moments and fp32 masters by parameter; steps, skips, references, version."""
REFERENCE = "reference.safetensors"
"""In `trainer/` of a checkpoint: the reference's weights, once it is no longer the start."""


def write(trainer: LocalTrainer, folder: Path) -> None:
    """Weights as Hugging Face wrote them (adapter only under LoRA) and `trainer/` with the optimiser."""
    folder.mkdir(parents=True, exist_ok=True)
    if trainer.has_adapter:
        adapters.save(trainer.model.net, folder)
    else:
        saved.save(trainer.model.net, folder)
    if trainer.critic is not None:
        saved.save(trainer.critic.net, folder / "critic")
    if trainer.model.value_head is not None:
        save_file(dict(trainer.model.value_head.state_dict()), folder / VALUE_HEAD)
    state = folder / "trainer"
    state.mkdir(exist_ok=True)
    _write_optimizer(trainer, state)
    trainer.reference.save(state / REFERENCE)


def _write_optimizer(trainer: LocalTrainer, state: Path) -> None:
    tensors: dict[str, Tensor] = {}
    steps: dict[str, float] = {}
    for name, p, owned in trainer.named:
        for key, value in trainer.optimizer.state.get(owned, {}).items():
            if key == "step":
                steps[name] = float(value)
            else:
                tensors[f"{name}::{key}"] = value.contiguous()
        if owned is not p:
            tensors[f"{name}::master"] = owned.detach().contiguous()
    save_file(tensors, state / OPTIMIZER)
    notes = {
        "steps": steps,
        "skipped": trainer.skipped,
        "references": trainer.references,
        "version": trainer.version,
    }
    (state / COUNTERS).write_text(json.dumps(notes))


def rehearse(trainer: LocalTrainer, folder: Path) -> None:
    """Everything of `write` but a whole model's weights and the optimiser; raises what it would raise."""
    if trainer.has_adapter:
        adapters.save(trainer.model.net, folder)
    for name, model in (("model", None if trainer.has_adapter else trainer.model), ("critic", trainer.critic)):
        if model is not None:
            model.net.save_pretrained(folder / name, state_dict={})  # type: ignore[operator]


@torch.no_grad()
def load_weights(trainer: LocalTrainer, folder: str) -> None:
    """Put a checkpoint's weights into the model (all of them, or the adapter's) and into the critic."""
    if trainer.critic is not None:
        _load_into(trainer.critic.net, str(Path(folder) / "critic"))
    if trainer.model.value_head is not None:
        trainer.model.value_head.load_state_dict(load_file(Path(folder) / VALUE_HEAD))
    if trainer.has_adapter:
        adapters.load(trainer.model.net, folder, str(trainer.model.device))
        return
    _load_into(trainer.model.net, folder)


@torch.no_grad()
def load_state(trainer: LocalTrainer, folder: Path, reference: bool = True) -> None:
    """Optimiser state, fp32 master and (unless `reference` is False) a refreshed reference; the weights themselves
    come with `load_weights`."""
    state = folder / "trainer"
    if not (state / OPTIMIZER).exists():
        raise EngineError(f"{folder} has no trainer/{OPTIMIZER}: it is a model, not a checkpoint", code="no-checkpoint")
    tensors = load_file(state / OPTIMIZER, device=str(trainer.model.device))
    try:
        notes = plain_json.read(state / COUNTERS)
    except (OSError, ValueError) as error:
        raise EngineError(f"{state / COUNTERS} cannot be read: {reason(error)}", code="damaged-run") from error
    trainer.skipped = notes["skipped"]
    trainer.version = notes.get("version", 0)
    for name, p, owned in trainer.named:
        moments = {k.split("::")[1]: v for k, v in tensors.items() if k.startswith(f"{name}::")}
        owned.data.copy_(moments.pop("master", p))  # the checkpoint may be of a model in another dtype
        if moments:
            step = torch.tensor(notes["steps"][name], device=p.device)
            trainer.optimizer.state[owned] = {**{k: v.to(owned.dtype) for k, v in moments.items()}, "step": step}
    trainer.copy_master()
    if reference and notes.get("references"):
        trainer.reference.load(state / REFERENCE, notes["references"])


@torch.no_grad()
def _load_into(net: Any, folder: str) -> None:
    """The weights of a folder that the same class of model wrote."""
    with quiet():
        loaded = type(net).from_pretrained(folder, dtype=torch.promote_types(net.dtype, torch.float32))
    net.load_state_dict(loaded.state_dict())
