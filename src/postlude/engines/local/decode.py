"""Sampling completions: a fast path over a preallocated cache, and `generate` for everything else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt, Stop
from postlude.engines.local.attention import attending
from postlude.engines.local.cache import Decode, Past, PromptCache, token_bytes
from postlude.engines.local.giving_way import smaller_cache
from postlude.engines.local.model import LocalModel
from postlude.engines.local.prefixes import Lease, PrefixCache, probe_tokens, varying_rope
from postlude.engines.local.sampling import choose, uniforms
from postlude.engines.local.threads import Workplace
from postlude.engines.protocol import Progress, Request, Weights
from postlude.engines.settings import Sampling
from postlude.engines.stopping import completes_stop
from postlude.models.said import answer_text
from postlude.sizing.work import SHARED_BEYOND, columns

KEEP_BELOW = 0.75
"""Finished sequences leave the batch once the rest is this share of it: leaving costs a copy of the cache."""
_RANDOM = 64
"""Steps whose random numbers are made at a time."""


class End:
    """That nothing more is sampled."""


END = End()


@dataclass
class _Trace:
    """A completion in the making, and the request it answers."""

    request: int
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
        self.prefix_bytes = cache_bytes // 2
        """Of `cache_bytes`, at most so many for what finished turns leave to the next; 0 is off."""
        self.prefixes = PrefixCache()
        self.without_prefixes = varying_rope(model.net)
        """The rotary scaling for which no keys can be taken from an earlier turn; empty for all others."""
        self.version = 0
        self.workplace = Workplace()
        self.on_progress = on_progress
        self.on_smaller: Callable[[str], None] = lambda text: None
        self.fast = model.packed

    async def load(self, weights: Weights) -> None:
        """Copy the weights, where the sampler has a model of its own. Nothing may be being sampled."""
        self.prefixes.clear()
        with torch.no_grad():
            for ours, theirs in zip(self.model.net.parameters(), weights.tensors, strict=True):
                if ours.data_ptr() != theirs.data_ptr():
                    ours.copy_(theirs)
        self.version = weights.version

    async def sample(self, requests: Sequence[Request], sampling: Sampling) -> AsyncIterator[tuple[int, Completion]]:
        """Completions as they finish. Equal neighbouring prompts are computed once."""
        progress = Progress(total=len(requests))
        run = self._decode if self.fast else self._generate
        with self.model.evaluating():
            traces = run(requests, sampling, progress)
            while True:
                with self.workplace:
                    trace = next(traces, END)
                if isinstance(trace, End):
                    return
                if trace is not None:
                    yield trace.request, self._completion(trace)
                await asyncio.sleep(0)  # whoever waits for finished answers, a reward say, gets its turn

    def give_way(self, requests: Sequence[Request], sampling: Sampling) -> bool:
        """Take less memory from now on, after it ran out in sampling these; False where there is nothing to give."""
        text = smaller_cache(self, requests, sampling.max_tokens)
        if text is not None:
            self.on_smaller(text)
        return text is not None

    def _completion(self, trace: _Trace) -> Completion:
        assert trace.stop is not None
        return Completion(
            tokens=tuple(trace.tokens),
            text=answer_text(self.tokenizer, trace.tokens, self.stop_ids),
            logprobs=tuple(trace.logprobs),
            stop=trace.stop,
            policy_version=self.version,
        )

    # -------------------------------------------------------------------------------------------- fast path

    @torch.inference_mode()
    def _decode(self, requests: Sequence[Request], sampling: Sampling, progress: Progress) -> Iterator[_Trace | None]:
        """One token per sequence and step; as sequences end, the next requests take their place in the cache.

        None now and then: nothing is finished, but others may want a turn.
        """
        flow = _Flow(self, requests, sampling)
        while flow.advance():
            for row, (trace, token, logp) in enumerate(zip(flow.traces, *flow.drawn, strict=True)):
                if trace.stop is None:
                    trace.tokens.append(token)
                    trace.logprobs.append(logp)
                    trace.stop = self._stopped(trace, sampling)
                    progress.tokens += 1
                    if trace.stop is not None:
                        progress.finished += 1
                        flow.remember(row)
                        yield trace
            if flow.steps % 16 == 0:
                if self.on_progress:
                    self.on_progress(progress)
                yield None

    def take(
        self, requests: Sequence[Request], waiting: deque[int], each: int, held: int, shared: bool, reserved: int = 0
    ) -> list[int]:
        """The next requests that fit beside `held` cached tokens and `reserved` bytes, with `each` for every one and
        prompts once per run of equal ones where they are `shared`; at least one where none are held."""
        room = (self.cache_bytes - reserved) // token_bytes(self.model) - held
        part: list[int] = []
        while waiting:
            prompt = requests[waiting[0]].prompt
            new = shared and not (part and requests[part[-1]].prompt == prompt)
            cost = each + (len(prompt) if new else 0)
            if cost > room and (part or held):
                break
            part.append(waiting.popleft())
            room -= cost
        return part

    def prefill(
        self, prompts: Sequence[tuple[int, ...]], blocks: Sequence[Sequence[Tensor]] = ()
    ) -> tuple[PromptCache, Tensor]:
        """Cache of the prompts and [G, D] the hidden state after each; `blocks`: what is known of each one's beginning,
        [n, W] keys and values."""
        known = [sum(map(len, each)) for each in blocks] or [0] * len(prompts)
        rests = [
            Group(Prompt(str(i), "", tokens=p[n:]), ()) for i, (p, n) in enumerate(zip(prompts, known, strict=True))
        ]
        batch = pack(rests).to(self.model.device)
        past = None
        if any(known):
            past = Past(torch.tensor(known, device=self.model.device), torch.cat([b for each in blocks for b in each]))
            batch = replace(batch, position=batch.position + past.length[batch.group])
        cache = PromptCache(batch, past)
        last = cache.table.gather(1, (cache.length - 1)[:, None]).squeeze(1)
        with attending(cache):
            hidden = self.model.hidden(batch.tokens, batch.position, last)
        cache.past = None
        return cache, hidden

    def lease(self, requests: Sequence[Request]) -> Lease | None:
        """Leave to use the prefix cache, for requests that are turns of conversations."""
        if self.without_prefixes or not self.prefix_bytes or not any(r.multi_turn for r in requests):
            return None
        self.prefixes.shrink(min(self.prefix_bytes, self.cache_bytes // 2))
        probe = probe_tokens(self.model.config.vocab_size)
        return self.prefixes.open(self.model.net, lambda: self.prefill([probe])[0].first())

    def _stopped(self, trace: _Trace, sampling: Sampling) -> Stop | None:
        if trace.tokens[-1] in self.stop_ids:
            return "eos"
        if sampling.stop and completes_stop(self.tokenizer, trace.tokens, sampling.stop):
            return "string"
        return "length" if len(trace.tokens) >= sampling.max_tokens else None

    # ------------------------------------------------------------------------------------------- fall-back

    @torch.no_grad()
    def _generate(self, requests: Sequence[Request], sampling: Sampling, progress: Progress) -> Iterator[_Trace]:
        """Batches of consecutive requests that fit the cache, through Hugging Face `generate`."""
        waiting = deque(range(len(requests)))
        longest = sampling.max_tokens + max((len(r.prompt) for r in requests), default=0)
        while waiting:
            part = self.take(requests, waiting, longest, 0, shared=False)
            yield from self._generate_batch([requests[i] for i in part], part, sampling, progress)

    def _generate_batch(
        self, requests: list[Request], part: list[int], sampling: Sampling, progress: Progress
    ) -> Iterator[_Trace]:
        """Left-padded prompts; a logits processor draws the tokens, so that seeds, log-probs and stops are the same
        as on the fast path."""
        device = self.model.device
        prompts = [r.prompt for r in requests]
        longest = max(map(len, prompts))
        filler = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[filler] * (longest - len(p)) + list(p) for p in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        drawer = _Drawer(self, requests, part, sampling, progress, filler)
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
        progress.finished += len(part)
        yield from drawer.traces


class _Flow:
    """The sequences that are being decoded: who is in the cache, what each samples next, who leaves and comes in."""

    def __init__(self, sampler: LocalSampler, requests: Sequence[Request], sampling: Sampling) -> None:
        self.sampler, self.requests, self.sampling = sampler, requests, sampling
        self.device = sampler.model.device
        self.waiting = deque(range(len(requests)))
        self.traces: list[_Trace] = []
        self.steps = 0
        most = max((len(r.prompt) for r in requests), default=0)
        self._shared = most > SHARED_BEYOND
        self._lease = sampler.lease(requests)
        self._longest = sampling.max_tokens + (0 if self._shared else most)
        self._columns = columns(self._longest)
        # a finished row stays until enough others have, while its position goes on
        sampler.model.reserve(most + 2 * sampling.max_tokens)
        self._layout = Decode(self._shared, self._longest)
        self._hidden, self._head = sampler.model.stepper()
        self.drawn: tuple[list[int], list[float]] = ([], [])
        """Token and log-prob of every row in the step just taken."""
        self._tokens = torch.empty(0, dtype=torch.long, device=self.device)

    def advance(self) -> bool:
        """Draw the next token of every sequence; False once all have ended."""
        alive = [row for row, trace in enumerate(self.traces) if trace.stop is None]
        if not alive and not self.waiting:
            return False
        logits: list[Tensor] = []
        if len(alive) < KEEP_BELOW * len(self.traces) or not alive or self._layout.time >= self._columns:
            self._keep(alive)
        if alive:
            with attending(self._layout):
                hidden = self._hidden(self._tokens, self._layout.position)
            self._layout.time += 1
            logits.append(self._head(hidden))
        admitted = self._admit() if self.waiting and len(self.traces) == len(alive) else []
        logits += admitted
        if self.steps % _RANDOM == 0 or admitted:
            self._refresh()
        column = self._random[:, self.steps % _RANDOM]
        self._tokens, logp = choose(torch.cat(logits) if len(logits) > 1 else logits[0], column, self.sampling)
        self.drawn = self._tokens.tolist(), logp.tolist()
        self.steps += 1
        return True

    def _keep(self, alive: list[int]) -> None:
        rows = torch.tensor(alive, device=self.device, dtype=torch.long)
        self.traces = [self.traces[i] for i in alive]
        self._tokens = self._tokens[rows]
        if alive:
            self._layout.keep(rows)
            self._random = self._random[rows]
        else:
            self._layout = Decode(self._shared, self._longest)

    def _admit(self) -> list[Tensor]:
        """Prefill the next requests that fit; the logits of their first tokens."""
        prefixes = self.sampler.prefixes
        reserved = prefixes.bytes if self._lease is None else prefixes.limit
        part = self.sampler.take(self.requests, self.waiting, self._columns, self._held, self._shared, reserved)
        if not part:
            return []
        prompts, owner = _distinct([self.requests[i].prompt for i in part])
        known = self._known(prompts, part)
        cache, hidden = self.sampler.prefill(prompts, known)
        prefixes.figures.prefilled += sum(map(len, prompts)) - sum(len(block) for blocks in known for block in blocks)
        group = torch.tensor(owner, device=self.device)
        self._layout.admit(cache, group)
        self.traces += [_Trace(i) for i in part]
        prefixes.shrink(min(prefixes.limit, self.sampler.cache_bytes - self._held * token_bytes(self.sampler.model)))
        return [self._head(hidden)[group]]

    @property
    def _held(self) -> int:
        """Tokens that the cache has places for."""
        return len(self.traces) * self._columns + (self._layout.prompt_tokens if self.traces else 0)

    def _known(self, prompts: list[tuple[int, ...]], part: list[int]) -> list[list[Tensor]]:
        """Of each prompt what an earlier turn has left of its beginning."""
        turns = {self.requests[i].prompt for i in part if self.requests[i].multi_turn}
        return [self._lease.find(p) if self._lease is not None and p in turns else [] for p in prompts]

    def remember(self, row: int) -> None:
        """Leave what was computed for a finished sequence to the next turn: its last token was drawn and never read."""
        trace = self.traces[row]
        request = self.requests[trace.request]
        if self._lease is not None and request.multi_turn:
            self._lease.add(request.prompt + tuple(trace.tokens[:-1]), partial(self._layout.rows, row))

    def _refresh(self) -> None:
        """The next random numbers of every row, placed so that the column is that of the step."""
        ages = np.array([len(trace.tokens) for trace in self.traces])
        seeds = np.array([self.requests[trace.request].seed for trace in self.traces], dtype=np.uint64)
        done = self.steps % _RANDOM
        fresh = uniforms(seeds, _RANDOM - done, ages)
        self._random = torch.from_numpy(np.pad(fresh, ((0, 0), (done, 0)))).to(self.device)


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
        self,
        sampler: LocalSampler,
        requests: list[Request],
        part: list[int],
        sampling: Sampling,
        progress: Progress,
        filler: int,
    ) -> None:
        self.sampler, self.sampling, self.progress, self.filler = sampler, sampling, progress, filler
        seeds = np.array([r.seed for r in requests], dtype=np.uint64)
        self.random = torch.from_numpy(uniforms(seeds, sampling.max_tokens))
        self.traces = [_Trace(i) for i in part]
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
