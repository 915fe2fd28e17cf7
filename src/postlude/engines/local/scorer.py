"""A reward model that gives numbers to text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt, joined_pair
from postlude.engines.local.model import LocalModel, read_frozen, without_dropout
from postlude.engines.settings import ScorerSpec
from postlude.errors import EngineError
from postlude.models.chat import Renderer
from postlude.models.heads import reads_pairs
from postlude.models.load import Facts, inspect, load
from postlude.models.scorers import require_head
from postlude.models.spec import Holding, ModelSpec
from postlude.models.steps import ends


@dataclass
class LocalScorer:
    """A frozen model with a scalar head, and the tokenizer it was trained with."""

    model: LocalModel
    facts: Facts
    separator: str = "\n"

    @classmethod
    def open(cls, spec: ScorerSpec) -> LocalScorer:
        """Load the weights. A tokenizer that gives ids beyond the embedding is an error."""
        require_head(spec.path, "reward model")
        model_spec = ModelSpec(spec.path)
        facts = inspect(model_spec)
        if len(facts.tokenizer) > facts.vocabulary:
            raise EngineError(
                f"reward model {spec.path!r}: its tokenizer has {len(facts.tokenizer)} tokens, its embedding "
                f"{facts.vocabulary} rows; the tokenizer is not the model's. Save the right one into the folder.",
                code="bad-tokenizer",
            )
        net = load(model_spec, Holding(spec.dtype, spec.device), scalar=True).requires_grad_(False).eval()
        without_dropout(net)
        model = LocalModel(net, "scores")
        model.choose_path()
        return cls(model, facts, spec.separator)

    @property
    def reads_pairs(self) -> bool:
        """Whether it reads two answers at once, so that `prefer` is what it can do."""
        return reads_pairs(self.facts.config)

    def score(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[float]:
        """The score of each answer, read at its last token, in logits."""
        groups = self.groups(prompts, answers)
        return self.of_groups(groups)

    def score_steps(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[list[float]]:
        """The score at the end of each step of each answer, in logits."""
        groups = []
        for group in self.groups(prompts, answers):
            (completion,) = group.completions
            step_ends = ends(self.facts.tokenizer, completion.tokens, self.separator, self.facts.stop_ids)
            marked = replace(completion, steps=tuple((end, 0.0) for end in step_ends))
            groups.append(replace(group, completions=(marked,)))
        return self.steps_of_groups(groups)

    def steps_of_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        """The score at the end of each of the `steps` of every completion, in logits."""
        batch = pack(groups)
        scores = self._scores(batch)
        rows = (batch.sequence >= 0).nonzero().squeeze(1)
        sizes = torch.bincount(batch.sequence[rows], minlength=batch.n_sequences).tolist()
        by_sequence = [scores[part] for part in rows.split(sizes)]
        completions = [c for g in groups for c in g.completions]
        return [[float(x[end]) for end, _ in c.steps] for x, c in zip(by_sequence, completions, strict=True)]

    def prefer(self, prompts: Sequence[Any], pairs: Sequence[tuple[str, str]]) -> list[tuple[float, float]]:
        """Of a pair model: logits that the answer it reads first is better, in the order given and swapped."""
        firsts = self.groups(prompts, [a for a, _ in pairs])
        seconds = self.groups(prompts, [b for _, b in pairs])
        both = [replace(a, completions=a.completions + b.completions) for a, b in zip(firsts, seconds, strict=True)]
        joined = [joined_pair(g) for g in both]
        self._check_lengths(joined)
        logits = iter(self.of_groups(joined))
        return list(zip(logits, logits, strict=True))

    def of_groups(self, groups: Sequence[Group]) -> list[float]:
        """The score of every completion of groups that hold this model's tokens, in order."""
        batch = pack(groups)
        scores = self._scores(batch)
        last = torch.full((batch.n_sequences,), -1).scatter_reduce(
            0, batch.sequence[batch.mask], torch.arange(batch.tokens.shape[0])[batch.mask], "amax"
        )
        return [float(scores[row]) if row >= 0 else 0.0 for row in last.tolist()]

    def groups(self, prompts: Sequence[Any], answers: Sequence[str]) -> list[Group]:
        """Neighbouring answers to one prompt, each as a group of its own, in this model's tokens."""
        renderer = self._renderer
        known: dict[str, Prompt] = {}
        result = []
        for prompt, answer in zip(prompts, answers, strict=True):
            asked = known.setdefault(repr(prompt), renderer.with_tokens(Prompt("", prompt)))
            said: Any = answer if isinstance(prompt, str) else [{"role": "assistant", "content": answer}]
            completion = renderer.completion(asked, said)
            last = max((i for i, action in enumerate(completion.has_action) if action), default=-1)
            tokens = completion.tokens[: last + 1]
            result.append(Group(asked, (Completion(tokens, reward=0.0, sampled=completion.sampled[: last + 1]),)))
        self._check_lengths(result)
        return result

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.facts.tokenizer, self.facts.stop_ids)

    def _check_lengths(self, groups: Sequence[Group]) -> None:
        longest = max((len(g.prompt.tokens) + len(c.tokens) for g in groups for c in g.completions), default=0)
        if self.facts.context is not None and longest > self.facts.context:
            raise EngineError(
                f"prompt and answer take {longest} tokens of the reward model's tokenizer, its context holds "
                f"{self.facts.context}. Lower sampling.max_tokens, or leave longer prompts out.",
                code="too-long",
            )

    def _scores(self, batch: Batch) -> Tensor:
        """[T] scores where the head is read, 0 elsewhere."""
        return read_frozen(self.model, batch, lambda outputs: outputs.scores)
