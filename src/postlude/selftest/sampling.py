"""What the sampler says of the tokens it drew, against what the trainer says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

import torch
from torch import Tensor

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.probing import small_window
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.protocol import Request
from postlude.engines.settings import Sampling
from postlude.selftest.check import Broken, Differences, Skipped
from postlude.selftest.subject import Subject, largest, run, update, written

ANSWERS = 3
"""To each prompt."""
LENGTH = 16
"""Tokens of an answer at most; long enough to reach beyond a shrunk sliding window."""
PROMPTS = (5, 19, 40)
"""Lengths; the last is one whose keys and values are kept in several blocks for the next turn."""


def decode(subject: Subject) -> Differences:
    """Log-probs while sampling, token by token with a cache, against one pass over answers; windows made short."""
    with small_window(subject.model.hf, subject.model.config):
        return {"log-prob": _mismatch(subject, 1.0)}


def temperature(subject: Subject) -> Differences:
    """The sampler's log-probs against the trainer's at the temperature of sampling: the ratio of step 0 is 1."""
    if not subject.setup.temperature:
        raise Skipped("sampling.temperature is 0: the likeliest token is taken, and log-probs are of temperature 1")
    return {"tempered": _mismatch(subject, subject.setup.temperature)}


def _mismatch(subject: Subject, at: float) -> float:
    groups = _sampled(subject.engine.sampler, _requests(subject), Sampling(temperature=at, max_tokens=LENGTH))
    return largest(_drawn(groups), _trainers(subject.trainer, groups, at))


def _requests(subject: Subject) -> list[Request]:
    prompts = [g.prompt.tokens for g in written(subject.setup.facts.vocabulary, [(n, ()) for n in PROMPTS])]
    return [Request(p, seed=977 * i + k) for i, p in enumerate(prompts) for k in range(ANSWERS)]


def _sampled(sampler: LocalSampler, requests: Sequence[Request], sampling: Sampling) -> list[Group]:
    """Each request with its answer, in the order of the requests."""

    async def answers() -> dict[int, Completion]:
        return {i: completion async for i, completion in sampler.sample(requests, sampling)}

    drawn: dict[int, Completion] = run(answers())
    return [
        Group(Prompt(str(i), "", tokens=request.prompt), (replace(drawn[i], reward=1.0),))
        for i, request in enumerate(requests)
    ]


def _drawn(groups: Sequence[Group]) -> Tensor:
    """[N] the sampler's log-probs."""
    return torch.tensor([x for g in groups for c in g.completions for x in c.logprobs or ()])


def _trainers(trainer: LocalTrainer, groups: Sequence[Group], at: float) -> Tensor:
    """[N] the trainer's log-probs of the same tokens."""
    batch = pack(groups, trainer.dtype, at).to(trainer.model.device)
    return Subject.said(trainer, batch).cpu()


def prefix_cache(subject: Subject) -> Differences:
    """The second turn of a conversation with what the first left in the cache, and without; both against one pass."""
    sampler = subject.engine.sampler
    if not sampler.fast:
        raise Skipped(f"this model is sampled by `generate`, which keeps nothing between turns: {subject.model.reason}")
    if sampler.without_prefixes:
        raise Skipped(f"its rotary scaling ({sampler.without_prefixes}) changes with the length: nothing is kept")
    sampling = Sampling(max_tokens=LENGTH)
    first = [replace(request, multi_turn=True) for request in _requests(subject)]
    sampler.prefixes.clear()
    answered = _sampled(sampler, first, sampling)
    second = [
        Request((*g.prompt.tokens, *g.completions[0].tokens, 0, 1, 2), seed=i, multi_turn=True)
        for i, g in enumerate(answered)
    ]
    before = sampler.prefixes.figures.reused
    cached = _sampled(sampler, second, sampling)
    if sampler.prefixes.figures.reused == before:
        raise Broken("the second turn took nothing from the cache")
    plain = _sampled(sampler, [replace(request, multi_turn=False) for request in second], sampling)
    sampler.prefixes.clear()
    of_cached = largest(_drawn(cached), _trainers(subject.trainer, cached, 1.0))
    return {"log-prob": max(of_cached, _while_equal(cached, plain))}


def _while_equal(one: Sequence[Group], other: Sequence[Group]) -> float:
    """Between the log-probs of two draws with the same seeds, as far as they drew the same tokens: where a draw falls
    on the border of two tokens rounding decides, and what follows has another context."""
    worst = 0.0
    for a, b in zip((g.completions[0] for g in one), (g.completions[0] for g in other), strict=True):
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a.tokens, b.tokens, strict=False))))
        pairs = zip((a.logprobs or ())[:same], (b.logprobs or ())[:same], strict=True)
        worst = max([worst, *(abs(x - y) for x, y in pairs)])
    return worst


def own_sampler(subject: Subject) -> Differences:
    """A sampler with a copy of the weights, as `max_lag: 1` has it: what it draws is of the version that was published,
    also while the trainer is a step ahead."""
    engine = subject.setup.engine(lora=subject.adapted, own_sampler=True)
    sampling = Sampling(max_tokens=LENGTH)
    update(engine.trainer, subject.batch, subject.objective)
    run(engine.publish())
    _require_version(engine, 1)
    groups = _sampled(engine.sampler, _requests(subject), sampling)
    published = _trainers(engine.trainer, groups, 1.0)
    update(engine.trainer, subject.batch, subject.objective)
    ahead = _sampled(engine.sampler, _requests(subject), sampling)
    if largest(_trainers(engine.trainer, groups, 1.0), published) == 0:
        raise Broken("an optimiser step changed no log-prob")
    return {"log-prob": max(largest(_drawn(groups), published), largest(_drawn(ahead), _drawn(groups)))}


def _require_version(engine: LocalEngine, version: int) -> None:
    if engine.sampler.version != version or engine.trainer.version != version:
        raise Broken(
            f"after {version} publications sampler and trainer say version {engine.sampler.version}, "
            f"{engine.trainer.version}"
        )
