"""A policy and the one it was trained from as a reward model: the implicit reward of DPO (specification, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from postlude.batch import Batch, pack
from postlude.data import Group
from postlude.engines.local.model import LocalModel, read_frozen, without_dropout
from postlude.engines.local.scorer import LocalScorer
from postlude.engines.settings import ImplicitSpec, ScorerSpec
from postlude.models import adapters
from postlude.models.load import base_path, inspect, load
from postlude.models.quiet import quiet
from postlude.models.spec import Holding, ModelSpec


@dataclass(kw_only=True)
class ImplicitScorer(LocalScorer):
    """Scores beta (log policy(y|x) - log reference(y|x)), over an answer's tokens with the one that ends it.

    `model` is the policy. Where it is an adapter on the reference itself, one model does for both.
    """

    spec: ImplicitSpec
    reference: LocalModel

    @classmethod
    def open(cls, spec: ScorerSpec) -> ImplicitScorer:
        """Load the weights of both; what can be wrong with the folders is the reward's to check."""
        assert isinstance(spec, ImplicitSpec)
        facts = inspect(ModelSpec(spec.path))
        context = inspect(ModelSpec(spec.reference)).context
        if context is not None:
            facts = replace(facts, context=min(context, facts.context or context))
        policy = _frozen(spec.path, spec, spec.reference if _stands_on(spec.path, spec.reference) else None)
        reference = policy if _has_adapter(policy) else _frozen(spec.reference, spec)
        return cls(policy, facts, spec.separator, spec=spec, reference=reference)

    @property
    def reads_pairs(self) -> bool:
        return False

    def of_groups(self, groups: Sequence[Group]) -> list[float]:
        """The implicit reward of every completion, in order."""
        batch = pack(groups)
        scores = self._scores(batch).double()
        total = scores.new_zeros(batch.n_sequences).index_add_(0, batch.sequence[batch.mask], scores[batch.mask])
        return total.tolist()

    def steps_of_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        """The part of each of the `steps` of every completion: they add up to the whole, the last one has the end."""
        batch = pack(groups)
        scores = self._scores(batch).double()
        rows = (batch.sequence >= 0).nonzero().squeeze(1)
        sizes = torch.bincount(batch.sequence[rows], minlength=batch.n_sequences).tolist()
        running_sums = [scores[part].cumsum(0) for part in rows.split(sizes)]
        completions = [c for g in groups for c in g.completions]
        differences = []
        for running, completion in zip(running_sums, completions, strict=True):
            reached = [0.0, *(float(running[end]) for end, _ in completion.steps)]
            differences.append([b - a for a, b in pairwise(reached)])
        return differences

    def _scores(self, batch: Batch) -> Tensor:
        """[T] beta times the log-ratio of each of the answer's tokens, 0 elsewhere; divided by how many there are
        where the mean is wanted."""
        policy = read_frozen(self.model, batch, lambda outputs: outputs.logprobs)
        with self._as_reference():
            apart = policy - read_frozen(self.reference, batch, lambda outputs: outputs.logprobs)
        if self.spec.per_token:
            counts = torch.bincount(batch.sequence[batch.mask], minlength=batch.n_sequences).clamp(min=1)
            apart[batch.mask] /= counts[batch.sequence[batch.mask]]
        return self.spec.beta * apart

    def _as_reference(self) -> AbstractContextManager[Any]:
        return self.model.without_adapter() if self.reference is self.model else nullcontext()


def _frozen(path: str, spec: ImplicitSpec, base: str | None = None) -> LocalModel:
    """A model that is only read; with `base`, the adapter of `path` is kept beside that and not merged."""
    net = load(ModelSpec(base or path), Holding(spec.dtype, spec.device))
    if base is not None:
        from peft import PeftModel

        device = next(net.parameters()).device
        with quiet():
            net = PeftModel.from_pretrained(net, path).to(device)
    net.requires_grad_(False).eval()
    without_dropout(net)
    model = LocalModel(net)
    model.choose_path()
    return model


def _has_adapter(model: LocalModel) -> bool:
    return hasattr(model.net, "disable_adapter")


def _stands_on(policy: str, reference: str) -> bool:
    """Whether the policy is an adapter on the reference that can be switched off without a trace."""
    from peft import PeftConfig

    if not adapters.is_adapter(policy) or adapters.is_adapter(reference):
        return False
    same = Path(base_path(policy)).expanduser().resolve() == Path(reference).expanduser().resolve()
    return same and getattr(PeftConfig.from_pretrained(policy), "bias", "none") == "none"
