"""The fake server's model: weights that can be read anew, adapters, answers in pieces, log-probs of either kind."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.model import LocalModel
from postlude.engines.protocol import Request
from postlude.engines.settings import Sampling
from postlude.models.load import inspect, load
from postlude.models.spec import ModelSpec
from tests.fake_vllm.options import Options


@dataclass(eq=False)
class Job:
    """An answer under way."""

    request: Request
    sampling: Sampling
    model: str
    done: asyncio.Future[None]
    tokens: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    labels: list[str] = field(default_factory=list[str])
    """Of each token."""
    finish: str | None = None


class Engine:
    """Holds the weights of a folder; everything here blocks, and one thread at a time may be in it."""

    def __init__(self, folder: Path, options: Options) -> None:
        spec = ModelSpec(str(folder))
        self.options, self.facts = options, inspect(spec)
        torch.set_num_threads(1)
        self.net: Any = load(spec).requires_grad_(False)
        self.tied = bool(self.net.config.tie_word_embeddings)
        if self.tied and options.tied_head:
            self.net.lm_head.weight = nn.Parameter(self.net.lm_head.weight.detach().clone(), requires_grad=False)
        self._quantise()
        self.base = self._sampler(self.net)
        self.adapters: dict[str, LocalSampler] = {}

    def _sampler(self, net: Any) -> LocalSampler:
        model = LocalModel(net)
        model.choose_path()
        return LocalSampler(model, self.facts.tokenizer, self.facts.stop_ids)

    def reload(self, folder: Path) -> None:
        """The tensors of a folder's files into the model as it was built at the start, its config unread."""
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"Cannot find any model weights with `{folder}`")
        self.take(pair for file in files for pair in load_file(file).items())

    @torch.no_grad()
    def take(self, tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Tensors by name; those that the model has not are passed over, as the real one does."""
        weights = dict(self.net.named_parameters(remove_duplicate=False))
        for name, tensor in tensors:
            if name in weights and not (self.tied and self.options.tied_head and name == "lm_head.weight"):
                weights[name].copy_(tensor)
        self._quantise()
        self.base.prefixes.clear()

    @torch.no_grad()
    def drop(self) -> None:
        """Lose the weights, as sleeping at level 2 does."""
        for p in self.net.parameters():
            p.zero_()

    @torch.no_grad()
    def _quantise(self) -> None:
        if self.options.quantised:
            for p in self.net.parameters():
                step = p.abs().max() / 8 + 1e-9
                p.copy_((p / step).round() * step)

    def load_adapter(self, name: str, folder: Path) -> None:
        """An adapter folder as PEFT writes it, on a copy of the base."""
        from peft import PeftModel

        # the packed path holds the attention's name: PEFT copies a config that must be an ordinary one
        self.adapters[name] = self._sampler(PeftModel.from_pretrained(deepcopy(self.net), str(folder)))

    def answer(self, jobs: list[Job], label: str) -> None:
        """The next tokens of some answers with the same settings and the same number of tokens so far."""
        first = jobs[0]
        start, piece = len(first.tokens), self.options.piece
        room = min(first.sampling.max_tokens, self.options.max_model_len - len(first.request.prompt)) - start
        count = min(room, piece) if piece else room
        sampler = self.adapters.get(first.model, self.base)
        requests = [self._rest(job) for job in jobs]
        for index, completion in asyncio.run(_drawn(sampler, requests, replace(first.sampling, max_tokens=count))):
            job, values = jobs[index], completion.logprobs or ()
            if self.options.raw_logprobs:
                values = self._raw(sampler, requests[index].prompt, completion.tokens)
            job.tokens += completion.tokens
            job.logprobs += values
            job.labels += [label] * len(completion.tokens)
            if completion.stop != "length" or len(job.tokens) >= start + room:
                job.finish = "length" if completion.stop == "length" else "stop"

    def _rest(self, job: Job) -> Request:
        start = len(job.tokens)
        seed = job.request.seed if not start else (job.request.seed * 1_000_003 + start) % (1 << 63)
        return Request((*job.request.prompt, *job.tokens), seed)

    @torch.no_grad()
    def _raw(self, sampler: LocalSampler, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> tuple[float, ...]:
        """Log-probs at temperature 1, whatever was sampled at."""
        with sampler.model.plain():
            logits = sampler.model.hf(torch.tensor([[*prompt, *tokens]])).logits[0, len(prompt) - 1 : -1]
        picked = logits.log_softmax(-1).gather(1, torch.tensor(tokens).unsqueeze(1))
        return tuple(picked.squeeze(1).tolist())


async def _drawn(sampler: LocalSampler, requests: list[Request], sampling: Sampling) -> list[tuple[int, Any]]:
    return [pair async for pair in sampler.sample(requests, sampling)]
