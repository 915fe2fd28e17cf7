"""The weights of a version as a folder that servers read: `RUN/served/v7`.

A whole model is a Hugging Face folder, where the step's checkpoint holds the same files by links to them. A model whose
output layer is its embedding is served with a matrix of its own for each: from a folder without one for the output
layer vLLM keeps the old one on CPUs. Under LoRA a version is an adapter, on a base that does not change.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from postlude import plain_json
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.policy import Policy
from postlude.engines.settings import Local, Optimizer
from postlude.errors import EngineError, TrainingError
from postlude.models import adapters, files, saved, scorers
from postlude.models.load import load
from postlude.models.paths import folder_of
from postlude.models.quiet import quiet
from postlude.models.spec import ModelSpec
from postlude.runs import durable
from postlude.runs.files import SERVED
from postlude.runs.space import free_bytes
from postlude.sizing.work import BUDGET
from postlude.words import size

NEWEST = 2
"""Versions that stay: the one that servers have, and the one before, which one of them may be reading."""
_VERSION = re.compile(r"v(\d+)")
_UNFINISHED = re.compile(r"\.v\d+\.\d+\.(?:new|old|saved)|\.base\.\d+\.new")
_CONFIGS = ("config.json", "generation_config.json")
_TIE = "tie_word_embeddings"


@dataclass
class Shelf:
    """The folders of one run. `place` writes a version; the newest two stay, and any that is `in_use`."""

    root: Path
    """RUN/served"""
    policy: Policy
    tokenizer: Any
    base: Path | None = None
    """Under LoRA the folder of the model below the adapters, which every server is started from."""
    in_use: Callable[[], Collection[Path]] = lambda: ()
    """Folders that servers are being started from."""

    @classmethod
    def open(cls, run: Path, policy: Policy, tokenizer: Any, path: str) -> Shelf:
        """The shelf of a run's folder, without what an earlier process left unfinished. `path`: where the policy began,
        a model's or an adapter's folder or a hub id. TrainingError where the disk refuses."""
        shelf = cls(run / SERVED, policy, tokenizer)
        with _disk_errors(shelf.root):
            shelf.root.mkdir(parents=True, exist_ok=True)
            for place in [p for p in shelf.root.iterdir() if _UNFINISHED.fullmatch(p.name)]:
                durable.remove(place)
        if policy.adapter_rank is not None:
            shelf.base = _base(shelf, path)
        return shelf

    def at(self, version: int) -> Path:
        """Where a version stands, or would."""
        return self.root / f"v{version}"

    def versions(self) -> list[int]:
        """What is there, the oldest first."""
        names = (_VERSION.fullmatch(place.name) for place in self.root.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def to_start_from(self) -> Path:
        """What a server is started with: the newest version, or the base of the adapters."""
        if self.base is not None:
            return self.base
        if not self.versions():
            raise EngineError(f"{self.root} holds no version yet to start a server from", code="no-checkpoint")
        return self.at(self.versions()[-1])

    def place(self, version: int, checkpoint: Path | None = None) -> Path:
        """Write the trainer's weights as they are now; what was written is compared with them. `checkpoint`: a folder
        that the trainer has saved since its last update, whose files serve for this too. TrainingError where the disk
        refuses: nothing half is left then, and earlier versions are untouched."""
        with self.written(self.at(version)) as fresh:
            if self.policy.adapter_rank is not None:
                _write_adapter(self.policy.net, fresh, checkpoint)
            else:
                _write_whole(self.policy, fresh, checkpoint)
                self.tokenizer.save_pretrained(fresh)
        self._tidy(version)
        return self.at(version)

    def read(self, version: int) -> LocalTrainer:
        """A version as it is on the disk, for passes without a gradient: on a CPU, where it takes room from nobody."""
        held = Local(dtype=self.policy.dtype, device="cpu")
        with quiet():
            net = load(ModelSpec(str(self.at(version))), held)
        without_dropout(net)
        model = LocalModel(net, "logprobs")
        model.choose_path(held.packed)
        trainer = LocalTrainer(model, Optimizer(), BUDGET)
        trainer.workplace.apart = True
        return trainer

    @contextmanager
    def written(self, target: Path) -> Generator[Path]:
        """A folder to write to, which has the name of `target` once it is on the disk, or is gone."""
        fresh = self.root / f".{target.name}.{os.getpid()}.new"
        try:
            with _disk_errors(target), quiet():
                durable.remove(fresh)
                fresh.mkdir(parents=True)
                yield fresh
                durable.flush_tree(fresh)
                durable.remove(target)  # of a process that ended before it had published this
                fresh.rename(target)
                durable.flush(self.root)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    @contextmanager
    def passing(self, version: int) -> Generator[Path]:
        """A folder that a checkpoint is saved to for a version to be made of it, and that is gone after."""
        place = self.root / f".v{version}.{os.getpid()}.saved"
        try:
            with _disk_errors(place):
                durable.remove(place)
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _tidy(self, newest: int) -> None:
        """Larger numbers than the newest are of a run whose ledger is gone."""
        busy = {place.resolve() for place in self.in_use()}
        there = self.versions()
        staying = [version for version in there if version <= newest][-NEWEST:]
        for version in there:
            place = self.at(version)
            if version not in staying and place.resolve() not in busy:
                gone = self.root / f".{place.name}.{os.getpid()}.old"  # no version that is there lacks a file
                with _disk_errors(place):
                    place.rename(gone)
                    durable.remove(gone)


@contextmanager
def _disk_errors(place: Path) -> Generator[None]:
    """What the disk refuses, as a sentence."""
    try:
        with durable.os_errors():
            yield
    except OSError as error:
        full = f" ({size(free_bytes(place.parent))} are free)" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise TrainingError(
            f"cannot write {place}, which servers read their weights from: {error.strerror or error}{full}. Nothing of "
            "it is left there; once that is mended, go on with --resume.",
            code="cannot-write",
        ) from error


# ------------------------------------------------------------------------------------------- whole models


def head_of(net: Any) -> tuple[str, Any]:
    """(name of the weights, weights) of the output layer."""
    head = net.get_output_embeddings()
    name = next(name for name, module in net.named_modules() if module is head)
    return f"{name}.weight", head.weight.detach()


def _write_whole(policy: Policy, folder: Path, checkpoint: Path | None) -> None:
    """What is written is compared with the weights as they are now, where they are here: ranks compare theirs as they
    write a checkpoint, and of a tied model's files the output layer is made."""
    net = policy.net
    if checkpoint is None:
        net.save_pretrained(folder)
    else:
        _take_over(checkpoint, folder)
    if policy.tied:
        _untie(*(head_of(net) if net is not None else _stored_head(folder)), folder)
    _without_manners(folder)
    if checkpoint is None:
        saved.require_saved(net, folder)
    elif policy.tied and net is not None:  # the rest was compared as the checkpoint was written
        name, head = head_of(net)
        shard = _index(folder)[name]
        saved.require_same({name: head}, [folder / shard])


def _stored_head(folder: Path) -> tuple[str, Any]:
    """What `head_of` says, from the files of a tied model. EngineError where they do not hold its embedding."""
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    name, embedding = _names_of_ends(folder)
    place = _index(folder).get(embedding)
    if place is None:
        raise EngineError(f"{folder} holds no {embedding}, which its output layer is made of", code="missing-weights")
    return name, cast("dict[str, Any]", load_file(folder / place))[embedding]


def _names_of_ends(folder: Path) -> tuple[str, str]:
    """Names of the weights of the output layer and of the embedding, as a model's files have them: of one without any
    weights, which costs no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    build = cast("Callable[[Any], Any]", AutoModelForCausalLM.from_config)  # pyright: ignore[reportUnknownMemberType]
    with quiet(), torch.device("meta"):
        net = build(scorers.config_of(str(folder)))
    names = {module: f"{name}.weight" for name, module in net.named_modules()}
    return names[net.get_output_embeddings()], names[net.get_input_embeddings()]


def _take_over(checkpoint: Path, folder: Path) -> None:
    """A checkpoint's model: its configs, which may change here, copied; its weights linked."""
    for name in _CONFIGS:
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, folder / name)
    index = checkpoint / f"{files.WHOLE}.index.json"
    if index.exists():
        shutil.copyfile(index, folder / index.name)
    for name in sorted({*_index(checkpoint).values()}):
        link(checkpoint / name, folder / name)


def link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system has no such links. Raises OSError."""
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS):
            raise
        shutil.copyfile(source, target)


def _index(folder: Path) -> dict[str, str]:
    """Names of tensors to the file that holds each."""
    index = folder / f"{files.WHOLE}.index.json"
    if not index.exists():
        return dict.fromkeys(files.header(folder / files.WHOLE), files.WHOLE)
    return dict(plain_json.read(index)["weight_map"])


def _untie(name: str, head: Any, folder: Path) -> None:
    """Make the output layer a matrix of its own in a folder: one more shard, in an index with the others."""
    from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]  # os.PathLike of anything

    places = _index(folder)
    if name in places:
        raise EngineError(f"{folder} holds {name} already, which its config calls tied", code="wrong-checkpoint")
    olds = sorted({*places.values()})
    names = {old: f"model-{i:05}-of-{len(olds) + 1:05}.safetensors" for i, old in enumerate([*olds, ""], 1)}
    for old in reversed(olds):  # the last first, where the new name of one is the old of the next
        (folder / old).rename(folder / names[old])
    save_file({name: head.cpu().contiguous().clone()}, folder / names[""], metadata={"format": "pt"})
    where = {tensor: names[file] for tensor, file in places.items()} | {name: names[""]}
    total = sum((folder / file).stat().st_size for file in names.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / f"{files.WHOLE}.index.json").write_text(json.dumps(index, indent=2))
    _set_untied(folder)


def _set_untied(folder: Path) -> None:
    config: dict[str, Any] = plain_json.read(folder / "config.json")
    inner = [cast("dict[str, Any]", value) for value in config.values() if isinstance(value, dict)]
    for part in (config, *(part for part in inner if _TIE in part)):
        part[_TIE] = False
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def _without_manners(folder: Path) -> None:
    """Leave of the generation settings only which ids begin, end and pad: a server takes the rest (a temperature, a
    penalty on repetition) for every request that does not say otherwise."""
    place = folder / "generation_config.json"
    if place.exists():
        settings = plain_json.read(place)
        ids = {name: value for name, value in settings.items() if name.endswith("_token_id")}
        place.write_text(json.dumps(ids, indent=2))


# ---------------------------------------------------------------------------------------------- adapters


def _write_adapter(net: Any, folder: Path, checkpoint: Path | None) -> None:
    """The adapter, joined with one that the policy began from: what a checkpoint holds."""
    if checkpoint is None:
        adapters.save_joined(net, folder)
        return
    link(checkpoint / files.ADAPTER, folder / files.ADAPTER)
    shutil.copyfile(checkpoint / files.ADAPTER_CONFIG, folder / files.ADAPTER_CONFIG)


def _base(shelf: Shelf, path: str) -> Path:
    """The folder of the model under the adapters: where it lies, unless its config calls one matrix what its files hold
    as two."""
    folder = folder_of(adapters.base_path(path))
    said: Any = scorers.config_of(str(folder)).get_text_config()
    if not said.tie_word_embeddings or shelf.policy.ties:
        return folder
    target = shelf.root / "base"
    with shelf.written(target) as fresh:
        _take_over(folder, fresh)
        _set_untied(fresh)
        _without_manners(fresh)
        shelf.tokenizer.save_pretrained(fresh)
    return target


def named_weights(net: Any, folder: Path) -> dict[str, Any]:
    """Every tensor of a served folder by its name there, as the trainer holds it now; nothing is copied. EngineError
    where the trainer's model has other names."""
    live, names = net.state_dict(), sorted(_index(folder))
    strange = [name for name in names if name not in live]
    if strange:
        raise EngineError(
            f"engine.publish is stream, and the weights files of this model name {files.some(strange)} otherwise than "
            "the model in memory does, so servers could not tell what they are sent. Use engine.publish: files.",
            code="not-supported",
        )
    return {name: live[name].detach() for name in names}


def stored_weights(folder: Path) -> dict[str, Any]:
    """Every tensor of a served folder, on the CPU, in the order of `named_weights`."""
    from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

    places = _index(folder)
    tensors: dict[str, Any] = {}
    for file in sorted({*places.values()}):
        tensors |= cast("dict[str, Any]", load_file(folder / file))
    return {name: tensors[name] for name in sorted(places)}
