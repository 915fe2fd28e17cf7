"""What the parts are made of: groups, updates, models, crews; and how they print."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from postlude.algorithms import ALGORITHMS
from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.ranks.crew import Blueprint, Start, Terms
from postlude.engines.ranks.supervision import Supervision
from postlude.engines.settings import Local, Optimizer
from postlude.models.spec import ModelSpec
from postlude.models.tiny import save_tiny_model
from postlude.objectives import TokenObjective
from tests.ranks import Processes

PROMPT, ANSWER, EACH = 100, 110, 8
"""Tokens of a prompt and of an answer, which are about log-normal, and answers to a prompt: a group is about 1,000."""
VOCABULARY = 42
"""Of the tiny models."""
MODELS = {
    "0.6 M": {},
    "25 M": {"layers": 8, "width": 512, "heads": 8},
    "126 M": {"layers": 10, "width": 1024, "heads": 16},
}
"""Parameters -> the shape of a tiny model; the first is the demo's."""


def groups_of(tokens: int, vocabulary: int = VOCABULARY) -> list[Group]:
    """Groups of unequal answers, about so many tokens in all, as a sampler gives them."""
    draw = random.Random(0)

    def ids(middle: int, sigma: float) -> tuple[int, ...]:
        number = max(1, round(middle * draw.lognormvariate(-sigma * sigma / 2, sigma)))
        return tuple(draw.choices(range(3, vocabulary), k=number))

    def completion() -> Completion:
        answer = ids(ANSWER, 0.6)
        logprobs = tuple(-draw.random() for _ in answer)
        return Completion(answer, logprobs=logprobs, reward=float(draw.random() < 0.5), stop="eos")

    number = max(1, round(tokens / (PROMPT + EACH * ANSWER)))
    return [
        Group(Prompt(str(g), "", tokens=ids(PROMPT, 0.3)), tuple(completion() for _ in range(EACH)))
        for g in range(number)
    ]


def objective() -> TokenObjective:
    """GRPO's, without a reference."""
    entry = ALGORITHMS["grpo"].objective
    assert isinstance(entry, TokenObjective)
    return replace(entry, kl=None)


def weighed(batch: Batch) -> Batch:
    """An update, ready for the trainer."""
    of = objective()
    return of.weigh(of.advantages(batch))


def update_of(tokens: int) -> Batch:
    return weighed(pack(groups_of(tokens)))


def model(folder: Path, name: str) -> Path:
    """The folder of a tiny model, written once."""
    place = folder / f"model-{name.replace(' ', '')}"
    if not place.exists():
        save_tiny_model(place, **MODELS[name])
    return place


def supervised(path: Path, size: int, crews: list[Processes]) -> Supervision:
    """Ranks as plain processes of this machine, not started yet; `crews` gets each crew that is."""
    held = Local(device="cpu", threads=1, token_budget=4096, trainers=size)

    async def start(blueprint: Blueprint) -> Processes:
        crews.append(await Processes.start(blueprint, size))
        return crews[-1]

    begin: Start = start
    return Supervision(begin, Blueprint(ModelSpec(str(path)), Optimizer(), held, 0), Terms.of(held))


def cpu_seconds(work: Callable[[], object], times: int = 3) -> float:
    """The least of several times, on one core."""

    def once() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return min(once() for _ in range(times))
    finally:
        torch.set_num_threads(threads)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, numbers to the right."""
    widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
    for row in (heads, *rows):
        print(
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
