"""Sampling completions: a fast path over a preallocated cache, and `generate` for everything else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt, Stop
from postlude.engines.local.attention import Decode, PromptCache, attending
from postlude.engines.local.model import LocalModel
from postlude.engines.local.sampling import choose, uniforms
from postlude.engines.protocol import Progress, Request, Sampling

KEEP_BELOW = 0.75
"""Finished sequences leave the batch once the rest is this share of it: leaving costs a copy of the cache."""


@dataclass
class _Trace:
    """A completion in the making."""

    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    stop: Stop | None = None


class LocalSampler:
    """Samples from a `LocalModel`. Batches are composed in the order of the requests, by a fixed cache budget."""

    def __init__(
        self,
        model: LocalModel,
        tokenizer: Any,
        stop_ids: frozenset[int],
        cache_bytes: int = 2 << 30,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.model, self.tokenizer, self.stop_ids = model, tokenizer, stop_ids
        self.cache_bytes = cache_bytes
        self.version = 0
        self.on_progress = on_progress
        self.fast = model.packed

    async def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """Completions as they finish. Equal neighbouring prompts are computed once."""
        progress = Progress(total=len(requests))
        run = self._decode if self.fast else self._generate
        for part in self._batches(requests, sampling):
            with self.model.evaluating():
                for index, trace in run(requests, part, sampling, progress):
                    yield index, self._completion(trace)

    def _completion(self, trace: _Trace) -> Completion:
        assert trace.stop is not None
        visible = trace.tokens[:-1] if trace.stop == "eos" else trace.tokens
        return Completion(
            tokens=tuple(trace.tokens),
            text=self.tokenizer.decode(visible, skip_special_tokens=True),
            logprobs=tuple(trace.logprobs),
            stop=trace.stop,
            policy_version=self.version,
        )

    def _batches(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[list[int]]:
        """Consecutive requests whose caches fit the budget together."""
        config = self.model.config
        heads = config.__dict__.get("num_key_value_heads") or config.num_attention_heads
        width = config.__dict__.get("head_dim") or config.hidden_size // config.num_attention_heads
        element = torch.finfo(self.model.dtype).bits // 8
        per_token = 2 * config.num_hidden_layers * heads * width * element
        part: list[int] = []
        used = 0
        for i, request in enumerate(requests):
            shared = part and requests[part[-1]].prompt == request.prompt
            cost = per_token * (sampling.max_tokens + (0 if shared else len(request.prompt)))
            if part and used + cost > self.cache_bytes:
                yield part
                part, used = [], 0
            part.append(i)
            used += cost
        if part:
            yield part

    # -------------------------------------------------------------------------------------------- fast path

    @torch.no_grad()
    def _decode(
        self, requests: Sequence[Request], part: list[int], sampling: Sampling, progress: Progress
    ) -> Iterator[tuple[int, _Trace]]:
        """Prefill each distinct prompt once, then one token per sequence and step."""
        device = self.model.device
        prompts, owner = _distinct([requests[i].prompt for i in part])
        cache, hidden = self._prefill(prompts)
        group = torch.tensor(owner, device=device)
        layout = Decode(cache, group, sampling.max_tokens)
        logits = self.model.head(hidden)[group]
        random = uniforms(np.array([requests[i].seed for i in part], dtype=np.uint64), sampling.max_tokens)
        randoms = torch.from_numpy(random).to(device)
        traces = [_Trace() for _ in part]
        alive = list(range(len(part)))  # index into `part` of each row of the cache
        ended = np.zeros(len(part), dtype=bool)
        rows = torch.arange(len(part), device=device)
        for t in range(sampling.max_tokens):
            token, logp = choose(logits, randoms[rows, t], sampling)
            for row, (k, lp) in enumerate(zip(token.tolist(), logp.tolist(), strict=True)):
                trace = traces[alive[row]]
                if trace.stop is None:
                    trace.tokens.append(k)
                    trace.logprobs.append(lp)
                    trace.stop = self._stopped(trace, sampling)
                    if trace.stop is not None:
                        ended[row] = True
                        progress.finished += 1
                        yield part[alive[row]], trace
            progress.tokens += int((~ended).sum())
            if self.on_progress and t % 16 == 0:
                self.on_progress(progress)
            if ended.all():
                return
            if (~ended).sum() < KEEP_BELOW * len(alive):
                kept = torch.from_numpy(np.flatnonzero(~ended)).to(device)
                layout.keep(kept)
                token, rows = token[kept], rows[kept]
                alive = [alive[i] for i in kept.tolist()]
                ended = np.zeros(len(alive), dtype=bool)
            with attending(layout):
                hidden = self.model.hidden(token, layout.position)
            layout.time += 1
            logits = self.model.head(hidden)

    def _prefill(self, prompts: list[tuple[int, ...]]) -> tuple[PromptCache, Tensor]:
        """Cache of the prompts and [G, D] the hidden state after each."""
        batch = pack([Group(Prompt(str(i), "", tokens=p), ()) for i, p in enumerate(prompts)]).to(self.model.device)
        cache = PromptCache(batch)
        with attending(cache):
            hidden = self.model.hidden(batch.tokens, batch.position)
        last = cache.table.gather(1, (cache.length - 1)[:, None]).squeeze(1)
        return cache, hidden[last]

    def _stopped(self, trace: _Trace, sampling: Sampling) -> Stop | None:
        if trace.tokens[-1] in self.stop_ids:
            return "eos"
        if sampling.stop and self._has_stop_string(trace.tokens, sampling.stop):
            return "string"
        return "length" if len(trace.tokens) >= sampling.max_tokens else None

    def _has_stop_string(self, tokens: list[int], stop: tuple[str, ...]) -> bool:
        """Only the newest token can complete a stop string, so a tail of the text is enough."""
        tail = tokens[-(max(map(len, stop)) + 4) :]
        text = self.tokenizer.decode(tail, skip_special_tokens=False)
        return any(s in text for s in stop)

    # ------------------------------------------------------------------------------------------- fall-back

    @torch.no_grad()
    def _generate(
        self, requests: Sequence[Request], part: list[int], sampling: Sampling, progress: Progress
    ) -> Iterator[tuple[int, _Trace]]:
        """Hugging Face `generate` on left-padded prompts; a logits processor draws the tokens, so that seeds,
        log-probs and stops are the same as on the fast path."""
        device = self.model.device
        prompts = [requests[i].prompt for i in part]
        longest = max(map(len, prompts))
        filler = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[filler] * (longest - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        drawer = _Drawer(self, [requests[i].seed for i in part], sampling, progress, filler)
        with self.model.plain(), _own_settings(self.model.hf):
            self.model.hf.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=sampling.max_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=filler,
                eos_token_id=None,
                logits_processor=[drawer],
                stopping_criteria=[drawer.finished],
            )
        yield from zip(part, drawer.traces, strict=True)


@contextmanager
def _own_settings(hf: Any) -> Iterator[None]:
    """Set the model's generation settings aside: a repetition penalty would change what is sampled."""
    before = hf.generation_config
    hf.generation_config = GenerationConfig()
    try:
        yield
    finally:
        hf.generation_config = before


class _Drawer:
    """Draws each token inside `generate` and forces it; also says when every sequence has ended."""

    def __init__(
        self, sampler: LocalSampler, seeds: list[int], sampling: Sampling, progress: Progress, filler: int
    ) -> None:
        self.sampler, self.sampling, self.progress, self.filler = sampler, sampling, progress, filler
        self.random = torch.from_numpy(uniforms(np.array(seeds, dtype=np.uint64), sampling.max_tokens))
        self.traces = [_Trace() for _ in seeds]
        self.time = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        token, logp = choose(scores, self.random[:, self.time].to(scores.device), self.sampling)
        self.time += 1
        for trace, k, lp in zip(self.traces, token.tolist(), logp.tolist(), strict=True):
            if trace.stop is None:
                trace.tokens.append(k)
                trace.logprobs.append(lp)
                trace.stop = self.sampler._stopped(trace, self.sampling)
                self.progress.tokens += 1
        if self.sampler.on_progress:
            self.sampler.on_progress(self.progress)
        forced = torch.full_like(scores, -float("inf"))
        return forced.scatter(1, token[:, None], 0.0)

    def finished(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
        done = all(trace.stop is not None for trace in self.traces)
        return torch.full((input_ids.shape[0],), done, dtype=torch.bool, device=input_ids.device)


def _distinct(prompts: list[tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[int]]:
    """Runs of equal prompts, and the run of each."""
    runs: list[tuple[int, ...]] = []
    owner: list[int] = []
    for prompt in prompts:
        if not runs or runs[-1] != prompt:
            runs.append(prompt)
        owner.append(len(runs) - 1)
    return runs, owner
