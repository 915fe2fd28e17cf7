"""How well a model answers before any training: a few prompts, sampled and judged, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from postlude.advice.evidence import Base, Share
from postlude.advice.measures import share
from postlude.build import build_engine
from postlude.check import check
from postlude.preflight.sampled import Sampled, sample
from postlude.preflight.signal import Tried, share_with_signal
from postlude.process import in_an_event_loop
from postlude.recipe import Document
from postlude.recipe.documents import long_form
from postlude.statistics import clustered, mean

EACH = 8
"""Answers to a prompt."""
LONGEST = 512
"""Tokens of a sampled answer, however long the recipe lets them be."""


def ask(recipe: Mapping[str, Any], tell: Callable[[str], None], prompts: int | None = None, seed: int = 0) -> Base:
    """Ask the model of a recipe with a reward. Raises ConfigError, DataError or EngineError where it cannot."""
    values = {key: recipe[key] for key in ("model", "data", "reward", "engine") if key in recipe}
    longest = min(LONGEST, recipe["sampling"]["max_tokens"])
    values |= {"method": "rft", "sampling": {"max_tokens": longest}, "prompts_per_step": 4, "group_size": EACH}
    tell("reading the model")
    prepared = check(Document(long_form(values)))
    with TemporaryDirectory() as place:
        prepared.rewards.keep_in(Path(place))
        engine = build_engine(prepared, reference=False)
        engine.sampler.on_progress = lambda p: tell(f"{p.finished} of {p.total} answers, {p.tokens:,} tokens")
        sampled = _run(lambda: asyncio.run(sample(prepared, engine, prompts, None, seed, EACH)))
    if sampled.error is not None:
        raise sampled.error
    return base_of(sampled, longest, recipe["sampling"]["max_tokens"])


def _run(work: Callable[[], Sampled]) -> Sampled:
    if not in_an_event_loop():
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def base_of(sampled: Sampled, longest: int, wanted: int) -> Base:
    """Figures of sampled and judged answers."""
    groups = [[c.reward for c in g.completions if c.reward is not None] for g in sampled.groups]
    groups = [rewards for rewards in groups if rewards]
    values = [reward for rewards in groups for reward in rewards]
    graded = {*values} <= {0.0, 1.0}
    owners = [i for i, rewards in enumerate(groups) for _ in rewards]
    total = sum(values)
    low, high = clustered(values, owners) if graded and values else (0.0, 1.0)
    none, every = (sum(all(r == right for r in rewards) for rewards in groups) for right in (0.0, 1.0))
    signal = share_with_signal([Tried(len(r), int(sum(r))) for r in groups], EACH) if graded else None
    cut = [c.truncated for c in sampled.completions]
    remark = sampled.shortened
    if longest < wanted:
        remark = f"{remark}; answers were sampled to {longest} tokens only".lstrip("; ")
    return Base(
        len(groups), EACH, Share(total, len(values), low, high), share(none, len(groups)), share(every, len(groups)),
        Share(signal.mean * len(groups), len(groups), signal.low, signal.high) if signal else share(0, 0),
        sum(cut) / len(cut) if cut else 0.0, mean([c.length for c in sampled.completions] or [0]),
        sampled.tokens / max(sampled.sampling, 1e-9), graded, remark,
    )  # fmt: skip
