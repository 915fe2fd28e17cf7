"""A language model in this process, asked in words: for judges and critics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.memory import spare_cache
from postlude.engines.local.model import LocalModel, read_frozen, without_dropout
from postlude.engines.local.threads import Workplace
from postlude.engines.protocol import Likely, Meter, Reply, Request, Talk, Tell, unmetered
from postlude.engines.settings import ChatSpec, Sampling
from postlude.errors import EngineError
from postlude.models.chat import Renderer
from postlude.models.dtypes import Dtype
from postlude.models.heads import is_scorer
from postlude.models.load import Facts, inspect, load
from postlude.models.spec import Holding, ModelSpec


@dataclass
class LocalChat:
    """A `Chat` over a frozen model. Messages go through its chat template; a model without one gets plain text."""

    path: str
    model: LocalModel
    facts: Facts
    dtype: Dtype = "float32"

    @classmethod
    def open(cls, spec: ChatSpec) -> LocalChat:
        """Load the weights."""
        model_spec = ModelSpec(spec.model)
        facts = inspect(model_spec)
        if is_scorer(facts.config):
            raise EngineError(
                f"{spec.model!r} is a reward model, which cannot write. As a reward it is `model`.",
                code="reward-model-cannot-write",
            )
        net = load(model_spec, Holding(spec.dtype, spec.device)).requires_grad_(False).eval()
        without_dropout(net)
        model = LocalModel(net, "logprobs")
        model.choose_path()
        return cls(spec.model, model, facts, spec.dtype)

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
        return self._identity

    @cached_property
    def _identity(self) -> str:
        """Path, precision, and size and time of the files there: a folder can be saved over."""
        folder = Path(self.path).expanduser()
        files = sorted(f for f in folder.glob("*") if f.is_file()) if folder.is_dir() else []
        facts = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return f"{self.path} {self.dtype} {facts}"

    async def replies(
        self, talks: Sequence[Talk], sampling: Sampling, seeds: Sequence[int], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """One reply to each; a talk that leaves no room for one has a problem instead."""
        asked = [self._ids(talk) for talk in talks]
        places = self._fitting(asked, sampling.max_tokens, tell, Reply)
        sampler = LocalSampler(self.model, self.facts.tokenizer, self.facts.stop_ids, spare_cache(self.model))
        sampler.workplace = Workplace.of(self.model.net)
        requests = [Request(asked[i], seeds[i]) for i in places]
        with ExitStack() as stack:
            usages = [stack.enter_context(meter(len(asked[i]), sampling.max_tokens)) for i in places]
            async for index, completion in sampler.sample(requests, sampling):
                usages[index].written = completion.length
                tell(places[index], Reply(completion.text, completion.truncated))

    async def likelihoods(
        self, talks: Sequence[Talk], options: Sequence[str], tell: Tell, meter: Meter = unmetered
    ) -> None:
        """Log-probs of whole options. Where one begins another ("1" and "10"), each is read with its end: whichever of
        the model's stop tokens."""
        ambiguous = any(a != b and b.startswith(a) for a in options for b in options)
        ends = [(i,) for i in sorted(self.facts.stop_ids)] if ambiguous else []
        texts = [(*self._plain(option), *end) for option in options for end in ends or [()]]
        asked = [self._ids(talk) for talk in talks]
        places = self._fitting(asked, max(map(len, texts)), tell, Likely)
        answers = tuple(Completion(t, reward=0.0) for t in texts)
        groups = [Group(Prompt(str(i), "", tokens=asked[i]), answers) for i in places]
        with ExitStack() as stack:
            for i in places:
                stack.enter_context(meter(len(asked[i]), sum(map(len, texts))))
            for i, row in zip(places, self._of_groups(groups), strict=True):
                each = len(ends) or 1
                pieces = [row[k : k + each] for k in range(0, len(row), each)]
                tell(i, Likely(tuple(float(torch.logsumexp(torch.tensor(x), 0)) if each > 1 else x[0] for x in pieces)))

    def _plain(self, option: str) -> tuple[int, ...]:
        return tuple(self.facts.tokenizer(option, add_special_tokens=False).input_ids)

    def _ids(self, talk: Talk) -> tuple[int, ...]:
        return self._renderer.prompt(talk)

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.facts.tokenizer, self.facts.stop_ids)

    def _fitting(
        self, asked: Sequence[tuple[int, ...]], more: int, tell: Tell, kind: type[Reply] | type[Likely]
    ) -> list[int]:
        """Places of the talks that leave room for `more` tokens; the others are told why not."""
        room = math.inf if self.facts.context is None else self.facts.context - more
        for i, ids in enumerate(asked):
            if not 0 < len(ids) <= room:
                text = f"{len(ids)} tokens and {more} for the reply exceed the context of {self.path!r}"
                tell(i, kind(problem=f"{text}, {self.facts.context}" if ids else "the question has no token"))
        return [i for i, ids in enumerate(asked) if 0 < len(ids) <= room]

    def _of_groups(self, groups: Sequence[Group]) -> list[list[float]]:
        """The summed log-probs of each group's completions."""
        if not groups:
            return []
        batch = pack(groups)
        values = read_frozen(self.model, batch, lambda outputs: outputs.logprobs).double()
        rows = batch.sequence >= 0
        sums = torch.zeros(batch.n_sequences, dtype=torch.float64).index_add_(0, batch.sequence[rows], values[rows])
        numbers = iter(sums.tolist())
        return [[next(numbers) for _ in group.completions] for group in groups]
