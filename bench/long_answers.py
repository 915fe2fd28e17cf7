"""A task whose right answers are sometimes long: two sums modulo 10, of the digits at odd and at even places.

Of two or three digits the result can be said at once. Of six or seven it needs its working, and one guess in a
hundred is right. The teachers write more than either needs: they hum after most steps, and work out what could be said.
A policy taught by them is long everywhere, so that a preference for short answers has much to gain on the short
prompts, and the working of the long ones to lose.
"""

from __future__ import annotations

import random

from postlude.sources.tasks import Task

SHORT, LONG = (2, 3), (6, 7)
"""Digits of the two kinds of prompts."""
HUM = "hm,"


def is_long(prompt: str) -> bool:
    """Whether a prompt needs a working."""
    return len(prompt) - 1 >= LONG[0]


def draw(rng: random.Random) -> str:
    digits = rng.choice(LONG if rng.random() < 0.5 else SHORT)
    return "".join(rng.choice("1234") for _ in range(digits)) + "="


def _sums(prompt: str) -> list[int]:
    """After each digit, the sum of those at the places of its kind, modulo 10."""
    totals, result = [0, 0], []
    for place, digit in enumerate(prompt[:-1]):
        totals[place % 2] = (totals[place % 2] + int(digit)) % 10
        result.append(totals[place % 2])
    return result


def solve(prompt: str) -> str:
    last = _sums(prompt)[-2:]
    return f"{last[0]}{last[1]}"


def working(prompt: str, rng: random.Random, humming: float) -> str:
    """Each digit and its sum so far; after a step a hum with probability `humming`."""
    steps = zip(prompt[:-1], _sums(prompt), strict=True)
    return "".join(f"+{digit}={total}" + (HUM if rng.random() < humming else "") for digit, total in steps)


def teach(prompt: str, rng: random.Random) -> str:
    """A tenth of the long prompts is answered at once and three tenths are worked out plainly, the rest with hums; of
    the short ones a quarter, a quarter and the rest."""
    direct, plain = (0.1, 0.4) if is_long(prompt) else (0.25, 0.5)
    how = rng.random()
    if how < direct:
        return "#" + solve(prompt)
    return working(prompt, rng, 0.0 if how < plain else 0.9) + "#" + solve(prompt)


TASK = Task("two sums modulo 10, of few digits or of many", draw, solve, teach)
