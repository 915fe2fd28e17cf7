"""A source with the objective it is trained under, and what has to be known of a draw before training on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postlude.batch import Batch, integers, pack, select, with_mismatched
from postlude.data import Group
from postlude.engines.protocol import Engine, Trainer
from postlude.lazy import torch
from postlude.objectives import Need, Objective, Outputs, TokenObjective
from postlude.objectives.divergence import KLControl
from postlude.runs.stats import Stats
from postlude.sources.source import Source

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class ReferenceMemory:
    """Log-probs of written answers under the reference: looked up once for as long as that stays what it is.

    Saved with a checkpoint, so that a resumed run sees the very same numbers.
    """

    known: dict[str, Tensor] = field(default_factory=dict[str, "Tensor"])
    """Prompt id and place of the answer -> log-prob of each of its tokens."""
    of: int = 0
    """Which reference they are of, by how often it had been refreshed."""

    async def fill(self, trainer: Trainer, batch: Batch, groups: Sequence[Group]) -> Tensor:
        """[T] log-probs of a batch that was packed from `groups`; extra sequences of KTO are looked up every time."""
        if self.of != trainer.references:
            self.known, self.of = {}, trainer.references
        names = [f"{g.prompt.id}/{j}" for g in groups for j in range(len(g.completions))]
        real = integers((~batch.mismatched).nonzero().squeeze(1))
        extra = integers(batch.mismatched.nonzero().squeeze(1))
        result = torch.zeros_like(batch.tokens, dtype=batch.dtype)
        rows = _rows(batch)
        missing = [s for s, name in zip(real, names, strict=True) if name not in self.known]
        wanted = sorted([*missing, *extra])
        if wanted:
            part = select(replace(batch, rows=torch.arange(batch.tokens.shape[0])), torch.tensor(wanted))
            logprobs = (await trainer.forward(part, "reference")).logprobs
            assert logprobs is not None and part.rows is not None
            result[part.rows[part.mask]] = logprobs[part.mask]
        for s, name in zip(real, names, strict=True):
            if name in self.known:
                result[rows[s]] = self.known[name].to(result.dtype)
            else:
                self.known[name] = result[rows[s]].clone()
        return result

    def save(self, path: Path) -> None:
        from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]

        save_file(self.known, path)

    def load(self, path: Path) -> None:
        from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]

        self.known = load_file(path) if path.exists() else {}


def _rows(batch: Batch) -> tuple[Tensor, ...]:
    """The rows of each sequence."""
    inside = (batch.sequence >= 0).nonzero().squeeze(1)
    return inside.split_with_sizes(integers(torch.bincount(batch.sequence[inside], minlength=batch.n_sequences)))


@dataclass
class Stream:
    """What one kind of data does in every step."""

    name: str
    source: Source
    objective: Objective
    updates: int
    epochs: int
    temperature: float
    coef: float = 1.0
    control: KLControl | None = None
    """Adapts the objective's KL coefficient after every draw."""
    stop_kl: float | None = None
    """Nats per token that the policy may move within a draw; beyond that the rest of its updates is left out."""
    truncated: bool = False
    """Whether answers are sampled from a part of the distribution (top-p, top-k): the sampler's log-probs are then of
    that part, the trainer's of the whole, and nothing compares the two."""
    memory: ReferenceMemory | None = None
    """Of written answers, where the objective compares with the reference."""

    @property
    def passes(self) -> int:
        """Optimiser steps per draw."""
        return self.updates * self.epochs

    @property
    def kl_coef(self) -> float | None:
        """The coefficient in force; None where the objective has none."""
        return self.objective.kl_coef if isinstance(self.objective, TokenObjective) else None

    def observe(self, figures: Mapping[str, float], last: Mapping[str, float]) -> None:
        """After a draw: let the controller see the figures of all its updates, and those of the last one."""
        if self.control is None or not isinstance(self.objective, TokenObjective):
            return
        beta = self.control(self.objective.kl_coef, figures, last)
        self.objective = self.objective.with_kl_coef(beta)

    async def prepare(self, engine: Engine, groups: Sequence[Group]) -> Batch:
        """Pack a draw and look up what the objective wants to know of it: often nothing."""
        wants, trainer = self.objective.wants(self.passes), engine.trainer
        pack_ = with_mismatched if Need.MISMATCHED in wants else pack
        batch = pack_(groups, trainer.dtype, self.temperature)
        if self.truncated:
            batch = replace(batch, rollout_logprobs=None)
        if Need.OLD in wants:
            old = await trainer.forward(batch, "policy")
            batch = replace(batch, old_logprobs=old.logprobs, old_entropy=old.entropy)
        if Need.REFERENCE in wants:
            batch = replace(batch, ref_logprobs=await self._reference(trainer, batch, groups))
        if Need.VALUES in wants:
            batch = replace(batch, old_values=(await trainer.forward(batch, "values")).values)
        return self.objective.advantages(batch)

    async def _reference(self, trainer: Trainer, batch: Batch, groups: Sequence[Group]) -> Tensor | None:
        if self.memory is not None:
            return await self.memory.fill(trainer, batch, groups)
        return (await trainer.forward(batch, "reference")).logprobs

    async def live(self, engine: Engine, part: Batch, fresh: bool) -> Outputs | None:
        """The current policy's outputs, for the few objectives that weigh with them; before the first update, the old.

        KTO's reference point needs its extra sequences only.
        """
        if fresh and part.old_logprobs is not None:
            return Outputs(logprobs=part.old_logprobs, entropy=part.old_entropy)
        if not self.objective.live:
            return None
        if Need.MISMATCHED not in self.objective.needs:
            return await engine.trainer.forward(part, "policy")
        logprobs = torch.zeros_like(part.tokens, dtype=part.dtype)
        extra = part.mismatched.nonzero().squeeze(1)
        if extra.numel():
            chosen = select(replace(part, rows=torch.arange(part.tokens.shape[0])), extra)
            live = (await engine.trainer.forward(chosen, "policy")).logprobs
            assert live is not None and chosen.rows is not None
            logprobs[chosen.rows] = live.to(logprobs.dtype)
        return Outputs(logprobs=logprobs)

    async def weigh(self, engine: Engine, part: Batch, fresh: bool) -> Batch:
        """An update with its weights set; sequences that only served to set them are left out."""
        live = await self.live(engine, part, fresh)
        weighed = self.objective.weigh(part, live)
        if live is not None and live.entropy is not None:  # whoever has no gradient need not be asked again
            weighed = replace(weighed, live_logprobs=live.logprobs, live_entropy=live.entropy)
        if not bool(weighed.mismatched.any()):
            return weighed
        real = (~weighed.mismatched).nonzero().squeeze(1)
        return replace(select(weighed, real), report=weighed.report)

    async def measure(self, engine: Engine, groups: Sequence[Group]) -> dict[str, float]:
        """The objective's figures on held-out groups: loss, accuracy, margins."""
        weighed = await self.weigh(engine, await self.prepare(engine, groups), fresh=False)
        outputs = await engine.trainer.forward(weighed, "scores" if Need.SCORES in self.objective.needs else "policy")
        with torch.no_grad():
            stats = Stats.of(self.objective.loss(weighed, outputs))
        stats.updates = 1
        return stats.summary()

    def state(self) -> dict[str, Any]:
        state = {"source": self.source.state(), "kl_coef": self.kl_coef}
        return state if self.memory is None else {**state, "reference": self.memory.of}

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Take up where a checkpoint in `folder` was written."""
        self.source.restore(state["source"])
        if self.control is not None and isinstance(self.objective, TokenObjective):
            self.objective = self.objective.with_kl_coef(state["kl_coef"])
        if self.memory is not None:
            self.memory.load(self._memory_file(folder))
            self.memory.of = state.get("reference", 0)

    def save(self, folder: Path) -> None:
        """What a checkpoint keeps beside `state`."""
        if self.memory is not None and self.memory.known:
            self.memory.save(self._memory_file(folder))

    def _memory_file(self, folder: Path) -> Path:
        return folder / "trainer" / f"reference-{self.name}.safetensors"
