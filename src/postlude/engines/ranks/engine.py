"""Several ranks that train, and a sampler here that gets their weights; or none, where nothing is sampled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import device

from postlude.data import Completion
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.engine import LocalEngine
from postlude.engines.policy import Policy
from postlude.engines.protocol import Progress, Request, Sampler, Weights
from postlude.engines.ranks.crew import Blueprint, Facts
from postlude.engines.ranks.shares import Effort
from postlude.engines.ranks.supervision import Supervision
from postlude.engines.ranks.trainer import RankTrainer
from postlude.engines.settings import Sampling
from postlude.errors import EngineError
from postlude.models.load import Facts as ModelFacts
from postlude.runs import durable
from postlude.sizing.work import GIB, Work
from postlude.words import counted

GATHERED = ".gathered.safetensors"
"""In a run's folder, for as long as weights are on their way from the ranks to the sampler."""


class NoSampler:
    """Of a run that samples nothing, or whose servers do: no weights are held here."""

    version = 0
    on_progress: Callable[[Progress], None] | None = None

    def __init__(self) -> None:
        self.on_smaller: Callable[[str], None] = lambda text: None

    async def load(self, weights: Weights) -> None:
        self.version = weights.version

    async def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        raise EngineError("this run has no sampler: nothing of its recipe asks for answers", code="not-supported")
        yield  # pyright: ignore[reportUnreachable]  # it is a generator

    def give_way(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        return False


@dataclass
class Copy:
    """A `LocalSampler` over weights of its own, which it gets through a file."""

    sampler: LocalSampler
    file: Path

    @classmethod
    def of(cls, blueprint: Blueprint, facts: ModelFacts, folder: Path) -> Copy:
        """The model as the ranks hold it. What else a rank holds (masters of bf16 weights) is let go at once."""
        work = replace(blueprint.work or Work(), trains=False)
        held = blueprint.held
        engine = LocalEngine.start(blueprint.spec, facts, held=held, checkpoint=blueprint.checkpoint, work=work)
        return cls(engine.sampler, folder / GATHERED)

    async def fill(self, trainer: RankTrainer, version: int) -> None:
        """Take the trained weights as they are now. EngineError where one is missing."""
        import torch
        from safetensors import safe_open

        net = self.sampler.model.net
        try:
            with trainer.ranks.tally.timing("gather"):
                await trainer.gather(self.file)
            with safe_open(self.file, framework="pt") as stored, torch.no_grad():
                sent, weights = {*stored.keys()}, dict(net.named_parameters())
                _require_all(sent, {*trainer.ranks.facts.trained}, {*weights})
                for name in sent:
                    weights[name].copy_(stored.get_tensor(name))
        finally:
            durable.remove(self.file)
        await self.sampler.load(Weights(version, list(net.parameters())))


@dataclass
class RankedEngine:
    """An `Engine` of a `RankTrainer` and a sampler in this process."""

    trainer: RankTrainer
    tokenizer: Any
    copy: Copy | None = None
    """What samples; None where nothing does here."""
    served_lag: Callable[[int], int | None] = lambda version: None
    """Steps from the weights of a version that servers had, while there were some; None of any other."""
    _none: NoSampler = field(default_factory=NoSampler)

    @classmethod
    async def open(cls, ranks: Supervision, facts: ModelFacts, folder: Path | None = None) -> RankedEngine:
        """Start the ranks; and build a sampler where there is a `folder`, which weights pass through. Whatever goes
        wrong, no rank is left."""
        try:
            await ranks.open()
            trainer = RankTrainer(ranks, _effort(ranks))
            await trainer.rehearse()
            copy = Copy.of(ranks.blueprint, facts, folder) if folder else None
        except BaseException:
            await ranks.close()
            raise
        return cls(trainer, facts.tokenizer, copy)

    @property
    def sampler(self) -> Sampler:
        return self.copy.sampler if self.copy else self._none

    @property
    def policy(self) -> Policy:
        """What servers have to be told of it."""
        facts, said = self.facts, self.facts.describe
        return Policy(said["dtype"], device(said["device"]), facts.adapter_rank, facts.ties, facts.tied)

    def work_apart(self) -> None:
        """Ranks do."""

    @property
    def facts(self) -> Facts:
        """What the ranks hold."""
        return self.trainer.ranks.facts

    async def begin(self) -> None:
        """Nothing: ranks and sampler began alike."""

    async def close(self) -> None:
        """Leave no rank."""
        await self.trainer.ranks.close()

    async def publish(self) -> Weights:
        """The sampler takes the trained weights."""
        weights = await self.trainer.publish()
        await self._hand_over(weights.version)
        return weights

    async def relabel(self, version: int) -> None:
        """The weights as they are now have this version from here on."""
        self.trainer.version = version
        await self._hand_over(version)

    async def _hand_over(self, version: int) -> None:
        if self.copy:
            await self.copy.fill(self.trainer, version)
        else:
            self._none.version = version

    async def read(self, version: int) -> None:
        """No version but the newest is anywhere."""

    def lag(self, version: int) -> int | None:
        """Each step publishes once; of versions that servers had, their ledger knows."""
        known = self.served_lag(version)
        return self.trainer.version - version if known is None else known

    def figures(self) -> dict[str, float]:
        """How evenly updates were shared out, since this was asked last."""
        return self.trainer.ranks.tally.figures()

    @property
    def seconds(self) -> dict[str, float]:
        """What ranks cost beside training, since this was asked last."""
        return self.trainer.ranks.tally.take()

    @property
    def restarting(self) -> float:
        return self.trainer.ranks.tally.restarting

    async def save(self, folder: Path) -> None:
        """A checkpoint as one process writes it."""
        await self.trainer.save(folder)

    async def load(self, folder: Path, reference: bool = True) -> None:
        """The inverse of `save`; the sampler gets the weights, too."""
        await self.trainer.load(folder, reference)
        await self._hand_over(self.trainer.version)

    def saved_bytes(self) -> int:
        return self.facts.saved_bytes

    def held_bytes(self) -> Mapping[str, int]:
        """Of the whole model, on all ranks together."""
        return self.facts.held_bytes

    async def prints(self) -> list[int]:
        return await self.trainer.fingerprint()

    def settings(self) -> dict[str, Any]:
        """What was chosen where the recipe left it open: keys of its `engine`."""
        assert self.trainer.ranks.limits is not None
        budget, chunk = self.trainer.ranks.limits
        cache = self.copy.sampler.cache_bytes / GIB if self.copy else self.facts.settings["cache_gib"]
        return {"token_budget": budget, "head_chunk": chunk, "cache_gib": cache}

    def describe(self) -> dict[str, Any]:
        """Facts of one rank, and how many there are."""
        size, hosts, dtype = self.trainer.size, self.trainer.ranks.hosts, self.facts.describe["dtype"]
        numbers = dtype if dtype in ("float32", "float64") else f"float32, passes {dtype}"
        topology = f"{counted(size, 'trainer rank')} on {counted(hosts, 'host')}, FSDP2 {numbers}"
        return {**self.facts.describe, "trainers": size, "topology": topology}


def _require_all(sent: set[str], trained: set[str], weights: set[str]) -> None:
    """EngineError where the sampler would answer with other weights than the trained ones."""
    if lacking := trained - sent or sent - weights:
        what = "the trainers did not send it" if trained - sent else "the sampler's model does not have it"
        raise EngineError(f"{min(lacking)} is trained, and {what}", code="misfit-weights")


def _effort(ranks: Supervision) -> Effort:
    """What a sequence costs the model that the ranks hold."""
    shares_prompts = ranks.facts.describe["path"] != "padded"
    return Effort.of_model(ranks.blueprint.spec.path, shares_prompts)
