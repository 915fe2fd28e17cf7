"""The local engine: one model that samples and trains, on CPU or one GPU."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.engines.local.trainer import LocalTrainer, Optimizer
from postlude.models.chat import Renderer
from postlude.models.heads import READS
from postlude.models.load import Critic, Facts, ModelSpec, inspect, load, name_stops, note_of_half, quiet

SMALL = 5_000_000
"""Parameters under which one CPU thread is faster than several."""


def _cache_bytes(gib: float | None, device: Any) -> int:
    """Room for keys and values: what was asked for, else 40 % of a GPU's memory or 2 GiB."""
    if gib is not None:
        return int(gib * 2**30)
    if device.type == "cuda":
        return int(0.4 * torch.cuda.get_device_properties(device).total_memory)
    return 2 << 30


@dataclass
class LocalEngine:
    """A `LocalSampler` and a `LocalTrainer` over the same weights: publishing them costs nothing."""

    model: LocalModel
    sampler: LocalSampler
    trainer: LocalTrainer
    token_budget: int

    @classmethod
    def open(
        cls,
        path: str,
        optimizer: Optimizer | None = None,
        token_budget: int = 16384,
        keep_reference: bool = False,
        **model: Any,
    ) -> LocalEngine:
        """An engine to drive by hand; `model` holds further fields of `ModelSpec` (dtype, device, lora, ...).

        `keep_reference` keeps the starting weights for `trainer.forward(batch, "reference")`; under LoRA they are
        there anyway.
        """
        spec = ModelSpec(path, **model)
        return cls.start(spec, inspect(spec), optimizer or Optimizer(), token_budget, keep_reference)

    @property
    def renderer(self) -> Renderer:
        """Text and messages to the ids this engine samples from and trains on."""
        return Renderer(self.sampler.tokenizer, self.sampler.stop_ids)

    @classmethod
    def start(
        cls,
        spec: ModelSpec,
        facts: Facts,
        optimizer: Optimizer,
        token_budget: int,
        keep_reference: bool,
        dropout: bool = False,
        threads: int | None = None,
        cache_gib: float | None = None,
        checkpoint: str | None = None,
        own_sampler: bool = False,
        scores: bool = False,
        critic: Critic | None = None,
        pairs: bool = False,
    ) -> LocalEngine:
        """Load the weights (of a checkpoint, where one is given), choose the path, build sampler and trainer.

        `own_sampler` gives the sampler a copy of the weights, so that it can work while the trainer does; `scores`
        makes it a reward model, with `pairs` one that reads two answers; `critic` adds a value function. The reference
        is always taken from the model the recipe names, never from a checkpoint.
        """
        net = load(spec, adapter_from=checkpoint if spec.lora else None, scalar=scores)
        if pairs:
            setattr(net.config, READS, "pair")  # for whoever opens the folder: such scores mean nothing of one answer
        count = sum(p.numel() for p in net.parameters())
        if threads or count < SMALL:
            torch.set_num_threads(threads or 1)
        if not dropout:
            without_dropout(net)
        if not scores:
            name_stops(net, facts.stop_ids)
        model = LocalModel(net, "scores" if scores else "logprobs")
        model.choose_path(spec.packed)
        beside = _second_model(spec, critic) if critic and critic.form == "own" else None
        if critic and critic.form == "trunk":
            model.value_head = _value_head(model)
        trainer = LocalTrainer(model, optimizer, token_budget, keep_reference, beside)
        trainer.skips_idle = not dropout
        if checkpoint:
            trainer.load_weights(checkpoint)
        sampled = model.copy(deepcopy(net).requires_grad_(False)) if own_sampler else model
        sampler = LocalSampler(sampled, facts.tokenizer, facts.stop_ids, _cache_bytes(cache_gib, model.device))
        return cls(model, sampler, trainer, token_budget)

    @property
    def tokenizer(self) -> Any:
        return self.sampler.tokenizer

    @property
    def version(self) -> int:
        """How many times the weights were published to the sampler."""
        return self.sampler.version

    @version.setter
    def version(self, number: int) -> None:
        self.sampler.version = number

    @property
    def shares_prompts(self) -> bool:
        return self.model.packed

    def save(self, folder: Path) -> None:
        """A checkpoint: weights, tokenizer, and the optimiser in `trainer/`."""
        with quiet():
            self.trainer.save(folder)
            self.sampler.tokenizer.save_pretrained(folder)

    def load(self, folder: Path) -> None:
        """Take up a checkpoint that `save` wrote: weights, optimiser, and the reference where that was refreshed."""
        self.trainer.load_weights(str(folder))
        self.trainer.load(folder)
        self._publish()

    def sync(self) -> None:
        """The sampler reads the trained weights in place, or gets them copied; nothing may be being sampled."""
        self._publish()
        self.version += 1

    @torch.no_grad()
    def _publish(self) -> None:
        if self.sampler.model is not self.model:
            for mine, new in zip(self.sampler.model.net.parameters(), self.model.net.parameters(), strict=True):
                mine.copy_(new)

    def describe(self) -> dict[str, Any]:
        """Facts for the manifest and the first lines of a run."""
        trainable, total = self.trainer.parameters()
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {
            "architecture": type(self.model.hf).__name__,
            "parameters": total,
            "trainable": trainable,
            "device": str(self.model.device),
            "dtype": dtype,
            "path": "direct" if self.model.direct else "packed" if self.model.packed else "padded",
            "path_reason": self.model.reason or self.model.indirect,
            "attention": self.model.layout.__name__,
            "stops": [self.tokenizer.convert_ids_to_tokens(i) for i in sorted(self.sampler.stop_ids)],
            "memory_mb": self.memory(),
            "slow": note_of_half(dtype, self.model.device.type),
        }

    def memory(self) -> dict[str, float]:
        """MB held by weights, the optimiser once it has taken a step, gradients, and copies of the weights."""
        weights = _bytes(self.model.net)
        trained = self.trainer.parameters()[0]
        master = 4 * trained if self.model.dtype in (torch.bfloat16, torch.float16) else 0
        parts = {
            "weights": weights,
            "optimizer": 8 * trained + master,
            "gradients": 4 * trained,
            "reference": sum(p.numel() * p.element_size() for p in self.trainer.reference_weights),
            "critic": _bytes(self.trainer.critic.net) if self.trainer.critic else 0,
            "sampler": weights if self.sampler.model is not self.model else 0,
        }
        return {name: round(size / 1e6, 1) for name, size in parts.items() if size}


def _bytes(net: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in net.parameters())


def _second_model(spec: ModelSpec, critic: Critic) -> LocalModel:
    """A critic of its own, beside the policy."""
    mine = replace(spec, path=critic.path or spec.path, lora=None)
    model = LocalModel(load(mine, scalar=True, zero=True), "values")
    without_dropout(model.net)
    model.choose_path(spec.packed)
    return model


def _value_head(model: LocalModel) -> nn.Linear:
    """A map of zeros from the policy's hidden states to a value."""
    width = model.config.hidden_size
    head = nn.Linear(width, 1, device=model.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
