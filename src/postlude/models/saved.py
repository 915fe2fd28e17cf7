"""What was written is what was trained: weights files compared with live tensors, one tensor at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, EngineError
from postlude.models import files, fit
from postlude.models.heads import HEAD, is_scorer
from postlude.models.pieces import fill_all
from postlude.models.quiet import quiet
from postlude.models.spread import UNDIVIDED, Spread, by_first, gathered, plain_class

LARGEST = 5 * 10**9
"""Bytes of a weights file, from which on another is begun: what other tools, and file systems of others, take. A single
larger tensor has a file of its own."""


def require_same(live: Mapping[str, Any], written: Sequence[Path]) -> None:
    """Raise EngineError unless the files hold exactly these tensors, bit by bit."""
    import torch
    from safetensors import safe_open

    left = {*live}
    for file in written:
        with safe_open(file, framework="pt") as stored:
            for name in stored.keys():  # noqa: SIM118  # it is no mapping
                if name not in live:
                    raise EngineError(
                        f"{file} holds {name!r}, which was not trained: the checkpoint is wrong.",
                        code="wrong-checkpoint",
                    )
                left.discard(name)
                one, other = stored.get_tensor(name), live[name].detach().cpu()
                if one.dtype != other.dtype or not torch.equal(_bits(one), _bits(other)):
                    raise EngineError(
                        f"{file}: {name!r} is not what was trained: the checkpoint is wrong.", code="wrong-checkpoint"
                    )
    if left:
        raise EngineError(
            f"{written[0].parent} lacks {files.some(sorted(left))}: the checkpoint is wrong.", code="wrong-checkpoint"
        )


def _bits(tensor: Any) -> Any:
    """A tensor as integers, so that NaN equals itself."""
    import torch

    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(sizes[tensor.element_size()])


def save(net: Any, folder: Path, spread: Spread = UNDIVIDED, dtype: Any = None) -> None:
    """A whole model as Hugging Face writes it, read again and compared. `dtype`: in what one process holds its weights,
    where those who hold it together hold finer ones."""
    parameters = {name for name, _ in net.named_parameters(remove_duplicate=False)}

    def written(name: str, tensor: Any) -> Any:
        coarse = dtype is not None and name in parameters and not name.startswith(f"{HEAD}.")
        return dtype if coarse else tensor.dtype

    state = gathered(spread, net.state_dict(keep_vars=True), written)
    by_first(spread, lambda: _write(net, folder, state, dtype))


def _write(net: Any, folder: Path, state: Mapping[str, Any], dtype: Any) -> None:
    net.save_pretrained(folder, state_dict=dict(state), max_shard_size=LARGEST)
    if dtype not in (None, net.dtype):
        net.config.dtype = str(dtype).removeprefix("torch.")
        net.config.save_pretrained(folder)
    require_saved(net, folder, state)


def require_saved(net: Any, folder: Path, state: Mapping[str, Any] | None = None) -> None:
    """Raise EngineError unless opening a folder gives this model: every weight, and what it shares. `state`: its
    tensors, where they have been gathered."""
    from transformers import AutoConfig

    try:
        stored = files.whole(folder)
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        again = fit.skeleton(config, is_scorer(config), stored, str(folder))
    except ConfigError as error:
        raise EngineError(f"the checkpoint cannot be opened again: {error}", code="wrong-checkpoint") from error
    for one, other in again.all_tied_weights_keys.items():
        if one in stored and other in stored:
            raise EngineError(
                f"{folder}: its config says that {one} and {other} are one matrix; they were two.",
                code="wrong-checkpoint",
            )
    live = net.state_dict() if state is None else state
    if not {*stored} <= {*live}:  # transformers writes this architecture under older names
        with quiet():
            again = plain_class(net).from_pretrained(folder, dtype=config.dtype)
        _require_equal(live, again.state_dict(), folder)
        return
    shared = {live[name].data_ptr() for name in stored}
    unshared = {name: tensor for name, tensor in live.items() if name in stored or tensor.data_ptr() not in shared}
    require_same(unshared, sorted(folder.glob("model*.safetensors")))


def load(net: Any, folder: Path, spread: Spread, dtype: Any) -> None:
    """Put into a model the weights of a folder that the same class of model wrote: this rank's share of each, read one
    at a time, where the files have the names that the model has. Else each rank opens it all, in `dtype`."""
    if fill_all(net, files.weights(folder), spread):
        return
    with quiet():
        opened = plain_class(net).from_pretrained(folder, dtype=dtype).state_dict()
    for name, tensor in net.state_dict(keep_vars=True).items():
        spread.put(tensor.detach(), opened[name])


def _require_equal(live: Mapping[str, Any], again: Mapping[str, Any], folder: Path) -> None:
    import torch

    wrong = [n for n, t in live.items() if n not in again or not torch.equal(_bits(t.cpu()), _bits(again[n]))]
    if wrong:
        raise EngineError(
            f"{folder}: {files.some(wrong)} are not what was trained: the checkpoint is wrong.", code="wrong-checkpoint"
        )
