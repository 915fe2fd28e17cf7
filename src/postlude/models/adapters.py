"""LoRA adapters on a model: a fresh one, one on top of another, and how a checkpoint keeps them.

A policy that starts from an adapter (of SFT, say) keeps it, frozen, beside the one that is trained: switching only the
new one off gives the policy's start, which is the reference. A checkpoint holds both joined to one adapter on the model
underneath, so that every tool can load it, and the new one alone in `trainer/adapter`, to go on from.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NEW, START, JOINED = "default", "start", "joined"
"""Names of the adapter that is trained, the one the policy starts from, and both as one."""
OWN = Path("trainer") / "adapter"
"""Where a checkpoint keeps the trained adapter by itself, if it stands on another."""


def is_adapter(path: str) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(path).expanduser() / "adapter_config.json").exists()


def merged(net: Any, path: str) -> Any:
    """The model with an adapter folder's weights added to its own, in the model's precision."""
    from peft import PeftModel

    return PeftModel.from_pretrained(net, path).merge_and_unload().requires_grad_(True)


def with_adapter(net: Any, config: Any, start: str | None, checkpoint: str | None) -> Any:
    """The model with an adapter to train, a fresh one of `config` or a checkpoint's, on a frozen one of `start`."""
    from peft import PeftModel, get_peft_model

    if start is None:
        if checkpoint:
            return PeftModel.from_pretrained(net, checkpoint, is_trainable=True)
        adapted = get_peft_model(net, config)
        place = Path(net.name_or_path)
        if place.exists():  # a relative path would only work from this folder
            adapted.peft_config[NEW].base_model_name_or_path = str(place.resolve())
        return adapted
    adapted = PeftModel.from_pretrained(net, start, adapter_name=START)
    if checkpoint:
        adapted.load_adapter(str(Path(checkpoint) / OWN), adapter_name=NEW, is_trainable=True)
    else:
        adapted.add_adapter(NEW, config)
    _activate(adapted, [START, NEW])
    for name, p in adapted.named_parameters():
        p.requires_grad_(f".{NEW}." in name)
    return adapted


def has_start(net: Any) -> bool:
    """Whether the trained adapter stands on a frozen one."""
    return START in getattr(net, "peft_config", {})


@contextmanager
def without_trained(net: Any) -> Iterator[None]:
    """The policy as it started: the trained adapter off, one that it stands on still on."""
    if not has_start(net):
        with net.disable_adapter():
            yield
        return
    _activate(net, [START])
    try:
        yield
    finally:
        _activate(net, [START, NEW])


def save(net: Any, folder: Path) -> None:
    """One adapter that any tool can load; beside it the trained one by itself where it stands on another."""
    if not has_start(net):
        net.save_pretrained(folder)
        return
    net.add_weighted_adapter([START, NEW], [1.0, 1.0], JOINED, combination_type="cat")
    _activate(net, [START, NEW])
    net.peft_config[JOINED].base_model_name_or_path = net.peft_config[START].base_model_name_or_path
    try:
        net.save_pretrained(folder, selected_adapters=[JOINED])
        net.save_pretrained(folder / OWN.parent, selected_adapters=[NEW])
    finally:
        net.delete_adapter(JOINED)
        _activate(net, [START, NEW])
    for path in (folder / JOINED).iterdir():
        shutil.move(path, folder / path.name)
    (folder / JOINED).rmdir()
    _own_folder(folder)


def _own_folder(folder: Path) -> None:
    """peft writes the adapter called `default` to the folder itself, others to folders of their names."""
    own = folder / OWN
    own.mkdir(parents=True, exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.move(folder / OWN.parent / name, own / name)


def load(net: Any, folder: str, device: str) -> None:
    """Put a checkpoint's trained adapter into the model."""
    from peft import load_peft_weights, set_peft_model_state_dict

    place = str(Path(folder) / OWN) if has_start(net) else folder
    set_peft_model_state_dict(net, load_peft_weights(place, device=device), adapter_name=NEW)


def _activate(net: Any, names: Sequence[str]) -> None:
    """Which adapters take part. Not peft's own way, which also changes what is trained."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in net.modules():
        if isinstance(module, BaseTunerLayer):
            module._active_adapter = list(names)
