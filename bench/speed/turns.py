"""What the prefix cache saves in conversations: `make bench-turns`, for docs/performance.md.

The same conversations of four turns, in which the model writes 128 tokens each and a user 32 between them, sampled with
the cache and without, in alternation, in one process on one thread. Log-probs have to agree before anything is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from bench.speed.cells import SMALL, SMOLLM2, TINY, Shape
from bench.speed.material import real_model, save_model
from postlude.data import Completion
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Request
from postlude.engines.settings import Sampling

TURNS, ANSWER, WORDS, GROUPS, EACH = 4, 128, 32, 2, 4
PAIRS, REAL_PAIRS = 5, 3
TARGET = Path("docs/turns.json")


@dataclass(frozen=True)
class Saved:
    """One workload with and without the cache; CPU seconds of all turns."""

    parameters: int
    prompt: int
    prefilled: tuple[int, int]
    """Tokens of prompts that were computed, with and without."""
    held: float
    """MB that the cache held at the end."""
    cached: float
    plain: float
    ratio: float
    """Of plain over cached: the median of the pairs."""
    spread: tuple[float, float]
    equal: int
    """Answers that are the same to the last token."""
    apart: float
    """The largest difference of a token's log-prob, in answers up to their first token that differs."""


def conversations(prompt: int) -> list[Request]:
    """The first turns: groups of equal prompts of random tokens."""
    pick = random.Random(1)
    prompts = [tuple(pick.randrange(3, 50) for _ in range(prompt)) for _ in range(GROUPS)]
    return [Request(p, 977 * g + i, multi_turn=True) for g, p in enumerate(prompts) for i in range(EACH)]


def play(sampler: LocalSampler, prompt: int) -> list[Completion]:
    """All answers of all turns."""
    requests, answers = conversations(prompt), list[Completion]()
    pick = random.Random(2)
    for turn in range(TURNS):
        completions = asyncio.run(_sampled(sampler, requests))
        assert all(len(c.tokens) == ANSWER for c in completions), "an answer ended by itself"
        answers += completions
        requests = [
            Request((*r.prompt, *c.tokens, *(pick.randrange(3, 50) for _ in range(WORDS))), r.seed + 1000 * turn, True)
            for r, c in zip(requests, completions, strict=True)
        ]
    return answers


async def _sampled(sampler: LocalSampler, requests: Sequence[Request]) -> list[Completion]:
    completions = {i: c async for i, c in sampler.sample(requests, Sampling(max_tokens=ANSWER))}
    return [completions[i] for i in range(len(requests))]


def agreement(ours: list[Completion], plain: list[Completion]) -> tuple[int, float]:
    """(answers that are equal, largest difference of log-probs). A conversation is compared up to the first token that
    differs: rounding decides a draw now and then, and what follows is another conversation."""
    equal, apart, parted = 0, 0.0, set[int]()
    for i, (a, b) in enumerate(zip(ours, plain, strict=True)):
        if i % (GROUPS * EACH) in parted:
            continue
        same = next((t for t, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=True)) if x != y), len(a.tokens))
        gaps = [abs(x - y) for x, y in zip(a.logprobs or (), b.logprobs or (), strict=True)]
        apart = max([apart, *gaps[:same]])
        equal += same == len(a.tokens)
        if same < len(a.tokens):
            parted.add(i % (GROUPS * EACH))
    return equal, apart


def measure(shape: Shape, prompt: int) -> Saved:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        real_model(folder, Path(shape.folder)) if shape.folder else save_model(folder, shape, natural=False)
        sampler = LocalEngine.open(str(folder)).sampler
    torch.set_num_threads(1)
    limit = sampler.prefix_bytes

    def run(cached: bool) -> tuple[float, int, list[Completion]]:
        """(CPU seconds, tokens prefilled, answers), with an empty cache at the start"""
        sampler.prefixes.clear()
        sampler.prefix_bytes = limit if cached else 0
        before, begun = sampler.prefixes.figures.prefilled, time.process_time()
        answers = play(sampler, prompt)
        return time.process_time() - begun, sampler.prefixes.figures.prefilled - before, answers

    (_, with_cache, ours), held, (_, without, plainly) = run(True), sampler.prefixes.bytes, run(False)
    equal, apart = agreement(ours, plainly)
    assert apart < 1e-4, f"the cache changed log-probs by {apart}"
    pairs = [(run(True)[0], run(False)[0]) for _ in range(REAL_PAIRS if shape.folder else PAIRS)]
    ratios = [plain / cached for cached, plain in pairs]
    cached, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    spread = min(ratios), max(ratios)
    ratio = statistics.median(ratios)
    counts = with_cache, without
    return Saved(shape.parameters, prompt, counts, held / 1e6, cached, plain, ratio, spread, equal, apart)


def section() -> str:
    """The part of docs/performance.md, where it was measured."""
    if not TARGET.exists():
        return ""
    lines = [
        "",
        f"Conversations (`make bench-turns`): {GROUPS}x{EACH} of them, {TURNS} turns of {ANSWER} tokens each and "
        f"{WORDS} tokens of a user between",
        "them, sampled with the prefix cache and without, in alternation; CPU seconds of one thread for all turns.",
        "The last column is the largest difference of a token's log-prob, each conversation up to its first token that",
        "differs: with a large vocabulary rounding moves a draw now and then, as it does between any two layouts.",
        "",
        "| model | first prompt | tokens prefilled | held | with / without | saves | equal answers | log-probs |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in json.loads(TARGET.read_text()):
        prefilled = " / ".join(f"{count:,}" for count in row["prefilled"])
        seconds = f"{row['cached']:.2f} / {row['plain']:.2f} s"
        saves = f"**{row['ratio']:.2f}x** ({row['spread'][0]:.2f}-{row['spread'][1]:.2f})"
        columns = [
            f"{row['parameters'] / 1e6:.1f} M",
            row["prompt"],
            prefilled,
            f"{row['held']:.0f} MB",
            seconds,
            saves,
            f"{row['equal']} of {GROUPS * EACH * TURNS}",
            f"{row['apart']:.0e}",
        ]
        lines.append("| " + " | ".join(map(str, columns)) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    from bench.speed.result import PAGE

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=SMOLLM2.folder, help="folder of SmolLM2-135M-Instruct")
    real = replace(SMOLLM2, folder=parser.parse_args().model)
    shapes = [(TINY, 128), (TINY, 384), (SMALL, 128), (SMALL, 384)]
    if Path(real.folder).exists():
        shapes += [(real, 128)]
    else:
        print(f"left out: {real.folder} is not here (make real-model)", flush=True)
    before, rows = section(), list[Saved]()
    for shape, prompt in shapes:
        rows.append(measure(shape, prompt))
        print(rows[-1], flush=True)
    TARGET.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    page = PAGE.read_text()
    PAGE.write_text(page.replace(before, section()) if before and before in page else page + section())
    print(section())


if __name__ == "__main__":
    main()
