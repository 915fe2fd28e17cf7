"""Groups for tests of streams and critics, made without a model."""

from __future__ import annotations

import random

from postlude.data import Completion, Group, Prompt


def rolled_out(prompts: int, each: int, seed: int = 0) -> list[Group]:
    """Prompts with ragged completions, rewards, correctness and the sampler's log-probs; ids below 50."""
    rng = random.Random(seed)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 50) for _ in range(n))

    groups = []
    for g in range(prompts):
        completions = []
        for _ in range(each):
            tokens = ids(rng.randrange(1, 12))
            right = rng.random() < 0.5
            completions.append(Completion(tokens, "x", reward=float(right) + 0.1 * len(tokens), correct=right))
        groups.append(Group(Prompt(str(g), "q", tokens=ids(rng.randrange(2, 20))), tuple(completions)))
    return groups


def compared(prompts: int, each: int = 2, seed: int = 0) -> list[Group]:
    """As `rolled_out`, where the completions of a prompt are ranked: rewards 1, 0, -1, ..."""
    found = []
    for group in rolled_out(prompts, each, seed):
        ranked = tuple(
            Completion(c.tokens, c.text, reward=1.0 - i, steps=((len(c.tokens) - 1, float(i % 2)),))
            for i, c in enumerate(group.completions)
        )
        found.append(Group(group.prompt, ranked))
    return found
