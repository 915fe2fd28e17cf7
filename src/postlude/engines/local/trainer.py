"""The local trainer: weights, optimiser, reference; forward and backward over packed micro-batches."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from postlude.batch import Batch, split
from postlude.engines.local.model import LocalModel
from postlude.errors import EngineError, TrainingError
from postlude.events import Stats
from postlude.objectives import Objective, Outputs, TokenObjective, Want


@dataclass(frozen=True)
class Optimizer:
    """AdamW and what surrounds it. The rate comes with every step."""

    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 is off."""

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError(f"beta1 and beta2 must lie in [0, 1), got {self.beta1:g} and {self.beta2:g}")
        if self.max_grad_norm < 0 or self.weight_decay < 0:
            raise ValueError("max_grad_norm and weight_decay must not be negative")


MAX_SKIPPED = 3
"""Consecutive optimiser steps with a non-finite gradient before a run stops."""


class LocalTrainer:
    """Trains one `LocalModel`. In bf16 or fp16 the optimiser works on an fp32 master copy of the weights."""

    def __init__(
        self, model: LocalModel, optimizer: Optimizer, token_budget: int, keep_reference: bool = False
    ) -> None:
        self.model, self.settings, self.token_budget = model, optimizer, token_budget
        self._named = [(n, p) for n, p in model.net.named_parameters() if p.requires_grad]
        self._params = [p for _, p in self._named]
        low = any(p.dtype in (torch.bfloat16, torch.float16) for p in self._params)
        self._master = [p.detach().float().clone() for p in self._params] if low else None
        owned = self._params if self._master is None else [m.requires_grad_() for m in self._master]
        decayed = [p for p in owned if p.ndim > 1]
        other = [p for p in owned if p.ndim <= 1]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": other, "weight_decay": 0.0}],
            lr=0.0,
            betas=(optimizer.beta1, optimizer.beta2),
            eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
            fused=True if model.device.type in ("cuda", "cpu") else None,
        )
        self._owned = owned
        self._reference = self._frozen_copy() if keep_reference and not self._has_adapter else None
        self._skipped = 0

    # ------------------------------------------------------------------------------------------- reference

    @property
    def _has_adapter(self) -> bool:
        return hasattr(self.model.net, "disable_adapter")

    @property
    def keeps_reference(self) -> bool:
        """Whether a copy of the starting weights is held."""
        return self._reference is not None

    def _frozen_copy(self) -> LocalModel:
        net = deepcopy(self.model.net).requires_grad_(False).eval()
        return self.model.copy(net)

    def _reference_model(self) -> tuple[LocalModel, AbstractContextManager[Any]]:
        if self._has_adapter:
            return self.model, self.model.without_adapter()
        if self._reference is None:
            raise EngineError("a reference was asked for, and none was kept")
        return self._reference, nullcontext()

    # --------------------------------------------------------------------------------------------- passes

    @torch.no_grad()
    def forward(self, batch: Batch, want: Want) -> Outputs:
        """[T] log-probs and entropy under the policy or the reference, without gradient."""
        model, context = self._reference_model() if want == "reference" else (self.model, nullcontext())
        if want not in ("policy", "reference"):
            raise EngineError(f"the local trainer cannot compute {want}")
        width = torch.promote_types(model.dtype, torch.float32)
        logprobs = torch.zeros(batch.tokens.shape[0], dtype=width, device=model.device)
        entropy = torch.zeros_like(logprobs)
        numbered = replace(batch, rows=torch.arange(batch.tokens.shape[0]))
        with context, model.evaluating():
            for part in split(numbered, self.token_budget, keeps_groups=False, shares_prompts=model.packed):
                micro = part.to(model.device)
                with model.running(micro) as outputs:
                    result = outputs(False)
                logprobs[micro.rows[micro.mask]] = result.logprobs[micro.mask]  # type: ignore[index]
                entropy[micro.rows[micro.mask]] = result.entropy[micro.mask]  # type: ignore[index]
        return Outputs(logprobs.to(batch.tokens.device), entropy.to(batch.tokens.device))

    def forward_backward(self, batch: Batch, objective: Objective, coef: float = 1.0) -> Stats:
        """Add the gradient of coef * loss; a non-finite loss stops the run before any weight changes."""
        micro = batch.to(self.model.device)
        wants_entropy = isinstance(objective, TokenObjective) and objective.entropy > 0
        with self.model.running(micro) as outputs:
            loss = objective.loss(micro, outputs(wants_entropy))
            if not torch.isfinite(loss.total):
                raise TrainingError(_not_finite(micro, float(loss.total)))
            (coef * loss.total).backward()
        self._collect()
        return Stats.of(loss)

    @torch.no_grad()
    def _collect(self) -> None:
        """Add half-precision gradients up in float32, where there is a master copy."""
        if self._master is None:
            return
        for master, p in zip(self._owned, self._params, strict=True):
            if p.grad is not None:
                master.grad = p.grad.float() if master.grad is None else master.grad.add_(p.grad)
                p.grad = None

    # ----------------------------------------------------------------------------------------------- step

    @torch.no_grad()
    def step(self, lr: float) -> Stats:
        """Clip, update, forget the gradient. A non-finite gradient is skipped; three in a row stop the run."""
        norm = _grad_norm(self._owned)
        finite = math.isfinite(norm)
        if finite:
            self._skipped = 0
            limit = self.settings.max_grad_norm
            if limit and norm > limit:
                for p in self._owned:
                    if p.grad is not None:
                        p.grad.mul_(limit / (norm + 1e-6))
            for group in self._optimizer.param_groups:
                group["lr"] = lr
            self._optimizer.step()
        else:
            self._skip(norm)
        self._optimizer.zero_grad(set_to_none=True)
        self._copy_master()
        for p in self._params:
            p.grad = None
        sums = {
            "update/grad_norm": norm if finite else 0.0,
            "update/lr": lr,
            "skipped_updates": float(not finite),
        }
        return Stats(sums, updates=1)

    def _skip(self, norm: float) -> None:
        self._skipped += 1
        bad = [
            n
            for (n, _), p in zip(self._named, self._owned, strict=True)
            if p.grad is not None and not torch.isfinite(p.grad).all()
        ]
        if self._skipped >= MAX_SKIPPED:
            raise TrainingError(
                f"the gradient was not finite in {MAX_SKIPPED} updates in a row (norm {norm}; first in "
                f"{bad[0] if bad else 'the norm itself'}). Lower the learning rate, or train in float32."
            )

    def _copy_master(self) -> None:
        if self._master is not None:
            for master, p in zip(self._owned, self._params, strict=True):
                p.copy_(master)

    # ------------------------------------------------------------------------------------------ save, load

    def save(self, folder: Path) -> None:
        """Weights as Hugging Face wrote them (adapter only under LoRA) and `trainer/` with the optimiser."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.net.save_pretrained(folder)  # type: ignore[operator]
        state = folder / "trainer"
        state.mkdir(exist_ok=True)
        tensors: dict[str, Tensor] = {}
        steps: dict[str, float] = {}
        for (name, _), p in zip(self._named, self._owned, strict=True):
            for key, value in self._optimizer.state.get(p, {}).items():
                if key == "step":
                    steps[name] = float(value)
                else:
                    tensors[f"{name}::{key}"] = value.contiguous()
            if self._master is not None:
                tensors[f"{name}::master"] = p.detach().contiguous()
        save_file(tensors, state / "optimizer.safetensors")
        (state / "optimizer.json").write_text(json.dumps({"steps": steps, "skipped": self._skipped}))

    @torch.no_grad()
    def load_weights(self, folder: str) -> None:
        """Put a checkpoint's weights into the model: all of them, or the adapter's."""
        if self._has_adapter:
            from peft import load_peft_weights, set_peft_model_state_dict

            set_peft_model_state_dict(self.model.net, load_peft_weights(folder, device=str(self.model.device)))
            return
        from transformers import AutoModelForCausalLM

        loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=self.model.dtype)
        self.model.net.load_state_dict(loaded.state_dict())

    def load(self, folder: Path) -> None:
        """Optimiser state and fp32 master; the weights themselves come with `load_weights`."""
        state = folder / "trainer"
        if not (state / "optimizer.safetensors").exists():
            raise EngineError(f"{folder} has no trainer/optimizer.safetensors: it is a model, not a checkpoint")
        tensors = load_file(state / "optimizer.safetensors", device=str(self.model.device))
        notes = json.loads((state / "optimizer.json").read_text())
        self._skipped = notes["skipped"]
        for (name, _), p in zip(self._named, self._owned, strict=True):
            if f"{name}::master" in tensors:
                p.data.copy_(tensors[f"{name}::master"])
            found = {k.split("::")[1]: v for k, v in tensors.items() if k.startswith(f"{name}::")}
            found.pop("master", None)
            if found:
                self._optimizer.state[p] = {**found, "step": torch.tensor(notes["steps"][name], device=p.device)}
        self._copy_master()

    def parameters(self) -> tuple[int, int]:
        """(trainable, all) parameters."""
        return sum(p.numel() for p in self._params), sum(p.numel() for p in self.model.net.parameters())


def _grad_norm(params: Sequence[Tensor]) -> float:
    grads = [p.grad for p in params if p.grad is not None]
    if not grads:
        return 0.0
    return float(torch.stack([g.float().norm() for g in grads]).norm())


def _not_finite(micro: Batch, loss: float) -> str:
    rewards = ", ".join(f"{r:g}" for r in micro.reward.tolist()[:8])
    return (
        f"the loss is {loss} on a micro-batch of {micro.sequences} completions (rewards {rewards}, ...). The weights "
        "were not changed. Common causes: a learning rate that is too high, or float16 overflow; try float32 or bf16."
    )
