"""The model under test, with what the checks share: a batch, its log-probs and its gradient."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.model import LocalModel
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.settings import Local, Optimizer
from postlude.models.load import Facts
from postlude.models.lora import Lora
from postlude.models.spec import ModelSpec
from postlude.objectives import Objective
from postlude.selftest.tolerance import Tolerances

BUDGET = 16_384
"""Tokens of a pass where a check does not ask for fewer: more than the batch has."""
RATE = 1e-3
"""Learning rate of the steps: log-probs move far beyond rounding."""
CONTEXT = 128
"""Tokens that the longest row of any check may have."""
ANSWERS = ((14, (12, 5, 9, 3)), (3, (17, 1, 8)), (7, (6,)))
"""Prompts' lengths with those of their answers, in tokens: eight answers, ragged."""

Gradient = Mapping[str, Tensor]
"""Of each trained tensor by name."""


@dataclass(frozen=True)
class Setup:
    """What is tested, and how it is held."""

    path: str
    facts: Facts
    folder: Path
    """Where checks may write."""
    held: Local = Local()
    lora: Lora = Lora(rank=4)
    temperature: float = 0.7

    def engine(
        self, lora: bool = False, checkpoint: Path | None = None, path: str | None = None, own_sampler: bool = False
    ) -> LocalEngine:
        """A fresh engine of the model, or of another folder, on weights of its own."""
        spec = ModelSpec(path or self.path, self.lora if lora else None)
        continued = None if checkpoint is None else str(checkpoint)
        optimizer = Optimizer(max_grad_norm=0)
        held = replace(self.held, token_budget=BUDGET)
        with torch.random.fork_rng():  # pyright: ignore[reportUnknownMemberType]
            torch.manual_seed(0)  # pyright: ignore[reportUnknownMemberType]  # a fresh adapter's weights
            return LocalEngine.start(spec, self.facts, optimizer, held, checkpoint=continued, own_sampler=own_sampler)


@dataclass
class Subject:
    """A model, with all its weights trained or with an adapter on it."""

    setup: Setup
    engine: LocalEngine
    adapted: bool = False
    _places: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    @classmethod
    def of(cls, setup: Setup, adapted: bool) -> Subject:
        """Loads the model."""
        return cls(setup, setup.engine(lora=adapted), adapted)

    @property
    def model(self) -> LocalModel:
        return self.engine.model

    @property
    def trainer(self) -> LocalTrainer:
        return self.engine.trainer

    @cached_property
    def objective(self) -> Objective:
        """The likelihood of the answers: a mean over all tokens, so that a wrong denominator shows."""
        return ALGORITHMS["sft"].objective

    @cached_property
    def groups(self) -> list[Group]:
        """Prompts with their answers, of pseudo-random tokens."""
        return written(self.setup.facts.vocabulary, ANSWERS)

    @cached_property
    def batch(self) -> Batch:
        """The groups, with their weights."""
        return self.weighed(self.groups)

    def weighed(self, groups: Sequence[Group], objective: Objective | None = None) -> Batch:
        """Groups as an update of an objective, on the model's device."""
        objective = objective or self.objective
        batch = objective.weigh(objective.advantages(pack(groups, self.trainer.dtype)))
        return batch.to(self.model.device)

    @cached_property
    def logprobs(self) -> Tensor:
        """[N] of the batch's answers, in the engine's own way, with the weights as they were loaded."""
        return self.said(self.trainer, self.batch)

    @cached_property
    def gradient(self) -> Gradient:
        """Of the objective on the batch, in one pass, with the weights as they were loaded."""
        return gradient_of(self.trainer, [self.batch], self.objective)

    @staticmethod
    def said(trainer: LocalTrainer, batch: Batch) -> Tensor:
        """[N] log-probs of the trained tokens."""
        logprobs = trainer.outputs(batch, "policy").logprobs
        assert logprobs is not None
        return logprobs[batch.mask]

    @cached_property
    def tolerances(self) -> Tolerances:
        """How far apart rounding may put two ways of this model."""
        config: Any = self.model.config
        spread = float(plain_logits(self.model, self.groups[0]).std(-1).mean())
        layers, width = int(config.num_hidden_layers), int(config.hidden_size)
        return Tolerances(self.setup.held.dtype, layers, width, spread, self.setup.temperature)

    def fresh(
        self, token_budget: int = BUDGET, model: LocalModel | None = None, eps: float = Optimizer.eps
    ) -> LocalTrainer:
        """A trainer of this model that has not taken a step."""
        trainer = LocalTrainer(model or self.model, Optimizer(max_grad_norm=0, eps=eps), token_budget)
        trainer.workplace = self.trainer.workplace
        return trainer

    @property
    def noise(self) -> float:
        """What rounding may make of an entry of the gradient that is 0: AdamW's eps where steps are compared. Divided
        by its own size, noise such as the gradient of a bias on keys would become a step of full size."""
        count = sum(g.numel() for g in self.gradient.values())
        size = sum(_norm(g) ** 2 for g in self.gradient.values()) ** 0.5
        return self.tolerances.of("gradient") * size / count**0.5

    @contextmanager
    def moving(self) -> Generator[None]:
        """The weights may change inside, and are put back."""
        trained = [p for p in self.model.net.parameters() if p.requires_grad]
        before = [p.detach().clone() for p in trained]
        try:
            yield
        finally:
            with torch.no_grad():
                for p, value in zip(trained, before, strict=True):
                    p.copy_(value)
                    p.grad = None
            self.engine.sampler.prefixes.clear()

    def place(self) -> Path:
        """A folder that is not there yet."""
        return self.setup.folder / f"{'adapter' if self.adapted else 'model'}-{next(self._places)}"

    @contextmanager
    def padded(self) -> Generator[LocalModel]:
        """The same weights as plain padded rows, by the model's own attention."""
        with self.model.plain():
            yield replace(self.model, packed=False, direct=None)


def written(vocabulary: int, lengths: Sequence[tuple[int, Sequence[int]]]) -> list[Group]:
    """Groups of pseudo-random tokens: (length of the prompt, lengths of its answers) each."""
    groups: list[Group] = []
    start = 0

    def tokens(n: int) -> tuple[int, ...]:
        nonlocal start
        start += n
        return tuple((7919 * i * i + 104_729 * i + 13) % max(vocabulary - 1, 1) for i in range(start - n, start))

    for number, (prompt, answers) in enumerate(lengths):
        asked = Prompt(str(number), "", tokens=tokens(prompt))
        groups.append(Group(asked, tuple(Completion(tokens(n), reward=1.0) for n in answers)))
    return groups


def gradient_of(trainer: LocalTrainer, parts: Sequence[Batch], objective: Objective) -> Gradient:
    """What the parts of an update add up to, as the optimiser would be given it; nothing is left behind."""
    for part in parts:
        trainer.forward_backward(part, objective)
    named = trainer.parts["policy"]
    gradient = {
        name: p.grad.detach().clone() for name, p in zip(named.names, named.owned, strict=True) if p.grad is not None
    }
    named.forget()
    return gradient


def apart(one: Gradient, other: Gradient) -> float:
    """The largest difference of a tensor's gradient, as a share of its norm and a hundredth of the whole one's.

    Some gradients are 0 but for rounding, such as that of a bias on keys, which no softmax sees.
    """
    if one.keys() != other.keys():
        return float("inf")
    whole = sum(_norm(g) ** 2 for g in other.values()) ** 0.5
    return max(_norm(one[name] - g) / (_norm(g) + 0.01 * whole + 1e-300) for name, g in other.items())


def _norm(tensor: Tensor) -> float:
    return float(tensor.double().square().sum().sqrt())


def largest(one: Tensor, other: Tensor) -> float:
    """Of the differences; infinite where any is not a number, or there are none to compare."""
    if one.shape != other.shape or not one.numel():
        return float("inf")
    difference = float((one.double() - other.double()).abs().max())
    return difference if difference == difference else float("inf")


def update(trainer: LocalTrainer, batch: Batch, objective: Objective) -> None:
    """One optimiser step."""
    trainer.forward_backward(batch, objective)
    trainer.step(RATE)


def owned(trainer: LocalTrainer) -> list[Tensor]:
    """A copy of the trained weights, as the optimiser holds them."""
    return [p.detach().clone() for p in trainer.parts["policy"].owned]


def moved(one: Sequence[Tensor], other: Sequence[Tensor], start: Sequence[Tensor]) -> float:
    """How far two sets of weights lie apart, as a share of how far the second came from the start."""
    difference = sum(_norm(a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
    way = sum(_norm(b - s) ** 2 for b, s in zip(other, start, strict=True)) ** 0.5
    return difference / way if way else float("inf")


@torch.no_grad()
def plain_logits(model: LocalModel, group: Group) -> Tensor:
    """[T, V] logits of a group's first answer behind its prompt, by the model alone, in float32 or wider."""
    ids = torch.tensor([group.prompt.tokens + group.completions[0].tokens], device=model.device)
    with model.plain(), model.evaluating():
        logits: Tensor = model.hf(input_ids=ids, use_cache=False).logits[0]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def transformers_said(net: Any, groups: Sequence[Group], dtype: torch.dtype) -> Tensor:
    """[N] log-probs of the groups' answers by a model of transformers alone: one row at a time, none of our code."""
    net.eval()
    result: list[Tensor] = []
    with torch.no_grad():
        for group in groups:
            for completion in group.completions:
                ids = torch.tensor([group.prompt.tokens + completion.tokens], device=next(net.parameters()).device)
                logits: Tensor = net(input_ids=ids, use_cache=False).logits[0, len(group.prompt.tokens) - 1 : -1]
                wide = logits.to(dtype).log_softmax(-1)
                result.append(wide.gather(1, ids[0, len(group.prompt.tokens) :, None]).squeeze(1))
    return torch.cat(result)


def run(work: Any) -> Any:
    """The result of a coroutine."""
    return asyncio.run(work)
