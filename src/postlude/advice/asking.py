"""How well a model answers before any training: a few prompts, sampled and judged, in bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from postlude.advice.evidence import Base, Share
from postlude.advice.measures import share
from postlude.build import build_engine
from postlude.check import check
from postlude.engines.protocol import Engine
from postlude.preflight.sampled import Sampled, chosen
from postlude.preflight.signal import Tried, share_with_signal
from postlude.prepared import Prepared
from postlude.process import in_an_event_loop
from postlude.recipe import Document
from postlude.recipe.documents import long_form
from postlude.rollouts.rollout import answer
from postlude.statistics import clustered, mean

PROMPTS, EACH = 16, 4
"""Prompts that are asked, and answers to each."""
FIRST = 8
"""Prompts of the first round, whose time says how many more can be asked; fewer would say too little."""
SECONDS = 25.0
"""Of sampling, where nobody said how many prompts to ask, unless the first round takes longer."""
LIMIT = 180.0
"""Seconds after which a round is given up."""
LONGEST = 256
"""Tokens of a sampled answer, however long the recipe lets them be."""
GROUP = 8
"""Answers to a prompt in training, of which some should be right and some wrong."""


def ask(
    recipe: Mapping[str, Any],
    tell: Callable[[str], None],
    prompts: int | None = None,
    max_tokens: int | None = None,
    seed: int = 0,
) -> Base:
    """Ask the model of a recipe with a reward. Raises PostludeError or TimeoutError where it cannot."""
    values = {key: recipe[key] for key in ("model", "data", "reward", "engine") if key in recipe}
    longest = max_tokens or min(LONGEST, recipe["sampling"]["max_tokens"])
    values |= {"method": "rft", "sampling": {"max_tokens": longest}, "prompts_per_step": 4, "group_size": EACH}
    tell("reading the model")
    prepared = check(Document(long_form(values)))
    with TemporaryDirectory() as place:
        prepared.rewards.keep_in(Path(place))
        engine = build_engine(prepared, reference=False)
        sampled = _run(lambda: asyncio.run(_sample(prepared, engine, prompts, seed, tell)))
    return base_of(sampled, longest, recipe["sampling"]["max_tokens"])


def _run(work: Callable[[], Sampled]) -> Sampled:
    if not in_an_event_loop():
        return work()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


async def _sample(
    prepared: Prepared, engine: Engine, prompts: int | None, seed: int, tell: Callable[[str], None]
) -> Sampled:
    """Answers in rounds of whole groups, so that those which end soon count no more than others; then their rewards."""
    asked = chosen(prepared.prompts, prompts or PROMPTS, seed)
    result, size = Sampled(), min(FIRST, prompts or FIRST)
    while len(result.groups) < len(asked):
        done = len(result.groups)
        said = f"asking the model: {done} of {len(asked)} prompts"
        engine.sampler.on_progress = lambda p, said=said: tell(f"{said}, {p.tokens:,} tokens")
        began = time.monotonic()
        batch = asked[done : done + size]
        sampling = prepared.recipe.sampling
        try:
            async with asyncio.timeout(LIMIT):
                result.groups += await answer(engine.sampler, batch, EACH, sampling, seed, f"advise.{done}")
        except TimeoutError as error:
            text = f"{len(batch)} prompts took over {LIMIT:.0f} seconds (--prompts 4 asks fewer, --prompts 0 none)"
            raise TimeoutError(text) from error
        result.sampling += time.monotonic() - began
        each = result.sampling / len(result.groups)
        left = len(asked) - len(result.groups)
        size = left if prompts else min(left, int((SECONDS - result.sampling) / each))
        if left and size < 1:
            result.shortened = f"more prompts would have taken over {SECONDS:.0f} seconds (--prompts N asks more)"
            break
    tell("judging the answers")
    scored = await prepared.rewards.score(result.groups)
    result.groups = scored.groups
    return result


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
    signal = share_with_signal([Tried(len(r), int(sum(r))) for r in groups], GROUP) if graded else None
    cut = [c.truncated for c in sampled.completions]
    remark, lengths = sampled.shortened, [c.length for c in sampled.completions] or [0]
    if longest < wanted and any(cut):
        remark = f"{remark}; answers were sampled to {longest} tokens only".lstrip("; ")
    return Base(
        prompts=len(groups),
        each=EACH,
        right=Share(total, len(values), low, high),
        none=share(none, len(groups)),
        all=share(every, len(groups)),
        signal=Share(signal.mean * len(groups), len(groups), signal.low, signal.high) if signal else share(0, 0),
        cut_off=sum(cut) / len(cut) if cut else 0.0,
        tokens=mean(lengths),
        rate=sampled.tokens / max(sampled.sampling, 1e-9),
        longest=max(lengths),
        room=longest,
        graded=graded,
        remark=remark,
    )
