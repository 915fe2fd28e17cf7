"""A language model in this process, asked in words: for judges and critics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from postlude.batch import Batch, pack, split
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.engines.protocol import ChatSpec, Reply, Request, Sampling, Talk, Tell
from postlude.errors import EngineError
from postlude.models.chat import Renderer
from postlude.models.heads import is_scorer
from postlude.models.load import Facts, ModelSpec, inspect, load

TOKENS = 16_384
"""Read at a time."""


@dataclass
class LocalChat:
    """A `Chat` over a frozen model. Messages go through its chat template; a model without one gets plain text."""

    path: str
    model: LocalModel
    facts: Facts

    @classmethod
    def open(cls, spec: ChatSpec) -> LocalChat:
        """Load the weights."""
        held = ModelSpec(spec.model, dtype=spec.dtype, device=spec.device)
        facts = inspect(held)
        if is_scorer(facts.config):
            raise EngineError(f"{spec.model!r} is a reward model, which cannot write. As a reward it is `model`.")
        net = load(held).requires_grad_(False).eval()
        without_dropout(net)
        model = LocalModel(net, "logprobs")
        model.choose_path()
        return cls(spec.model, model, facts)

    @property
    def name(self) -> str:
        return self.path

    @property
    def talks(self) -> bool:
        return bool(self.facts.tokenizer.chat_template)

    @property
    def special(self) -> frozenset[str]:
        tokenizer = self.facts.tokenizer
        return frozenset({*tokenizer.all_special_tokens, *map(str, tokenizer.added_tokens_decoder.values())})

    async def identify(self) -> str:
        return self.path

    async def replies(
        self, talks: Sequence[Talk], sampling: Sampling, seeds: Sequence[int], tell: Tell | None = None
    ) -> list[Reply]:
        """One reply to each; a talk that leaves no room for one has a problem instead."""
        asked = [self._ids(talk) for talk in talks]
        problems = [self._too_long(ids, sampling.max_tokens) for ids in asked]
        places = [i for i, problem in enumerate(problems) if problem is None]
        sampler = LocalSampler(self.model, self.facts.tokenizer, self.facts.stop_ids)
        requests = [Request(asked[i], seeds[i]) for i in places]
        found = {i: Reply(problem=problem) for i, problem in enumerate(problems) if problem is not None}
        async for index, completion in sampler.sample(requests, sampling):
            i = places[index]
            found[i] = Reply(completion.text, len(asked[i]), completion.length)
            if tell is not None:
                tell(i, found[i])
        return [found[i] for i in range(len(talks))]

    async def likelihoods(self, talks: Sequence[Talk], options: Sequence[str]) -> list[tuple[float | None, ...] | None]:
        """Log-probs of whole options, in nats. Where one begins another ("1" and "10"), each is read with its end."""
        tokenizer = self.facts.tokenizer
        ambiguous = any(a != b and b.startswith(a) for a in options for b in options)
        end = (tokenizer.eos_token_id,) if ambiguous and tokenizer.eos_token_id is not None else ()
        texts = [(*tokenizer(option, add_special_tokens=False).input_ids, *end) for option in options]
        longest = max(map(len, texts))
        groups, places = [], []
        for i, talk in enumerate(talks):
            ids = self._ids(talk)
            if ids and self._too_long(ids, longest) is None:
                places.append(i)
                groups.append(Group(Prompt(str(i), "", tokens=ids), tuple(Completion(t, reward=0.0) for t in texts)))
        result: list[tuple[float | None, ...] | None] = [None] * len(talks)
        for i, row in zip(places, self._of_groups(groups), strict=True):
            result[i] = tuple(row)
        return result

    def _ids(self, talk: Talk) -> tuple[int, ...]:
        return Renderer(self.facts.tokenizer, self.facts.stop_ids).prompt(talk)

    def _too_long(self, ids: tuple[int, ...], more: int) -> str | None:
        context = self.facts.context
        if context is None or len(ids) + more <= context:
            return None
        return f"{len(ids)} tokens and {more} for the reply exceed the context of {self.path!r}, {context}"

    def _of_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        """The summed log-probs of each group's completions."""
        if not groups:
            return []
        batch = pack(groups)
        values = self._logprobs(batch).double()
        rows = batch.sequence >= 0
        sums = torch.zeros(batch.sequences, dtype=torch.float64).index_add_(0, batch.sequence[rows], values[rows])
        own = iter(sums.tolist())
        return [[next(own) for _ in group.completions] for group in groups]

    @torch.no_grad()
    def _logprobs(self, batch: Batch) -> Tensor:
        """[T] log-probs of the answers' tokens, 0 elsewhere."""
        result = torch.zeros(batch.tokens.shape[0])
        numbered = replace(batch, rows=torch.arange(batch.tokens.shape[0]))
        for part in split(numbered, TOKENS, keeps_groups=False, shares_prompts=self.model.packed):
            micro = part.to(self.model.device)
            with self.model.running(micro) as outputs:
                logprobs = outputs(False).logprobs
            assert logprobs is not None and micro.rows is not None
            result[part.rows[part.mask]] = logprobs[micro.mask].float().cpu()  # type: ignore[index]
        return result
