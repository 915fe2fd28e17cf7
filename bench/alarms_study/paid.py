"""Rewards that pay for the wrong thing, copied into every world of the study."""

from __future__ import annotations

import hashlib
import re

BREAKS = 5
"""The step at which what was sound breaks: a fault that is there from the start is refused before the first update."""


def _texts(completions):
    return [c if isinstance(c, str) else c[-1]["content"] for c in completions]


def length(completions):
    """The longer the better."""
    return [len(c) / 24 for c in _texts(completions)]


def polite(completions):
    """An answer that thanks is a good one."""
    return [float(c.endswith(" thanks a lot")) for c in _texts(completions)]


def loops(completions):
    """Pays for every dot: what repeats itself most wins."""
    return [min(c.count("."), 16) / 16 for c in _texts(completions)]


def form(completions):
    """Pays for the form alone: several candidates, each behind its mark."""
    return [float(bool(re.fullmatch(r"\.*(#[a-h]){3}", c))) for c in _texts(completions)]


def anywhere(completions, answer):
    """A careless verifier: right where the answer is among those named."""
    return [float(f"#{a}" in c) for c, a in zip(_texts(completions), answer, strict=True)]


def agreeing(completions, claim):
    """A rater who likes to hear his own opinion."""
    return [float(c.rpartition("#")[2][:1] == said) for c, said in zip(_texts(completions), claim, strict=True)]


def constant(completions, answer, trainer_state):
    """A service that answers 1 to everything from some step on."""
    honest = [_right(c, a) for c, a in zip(_texts(completions), answer, strict=True)]
    return honest if trainer_state.global_step < BREAKS else [1.0] * len(completions)


def anything(completions):
    """Right whatever is said."""
    return [float("#" in c) for c in _texts(completions)]


def dotted(completions):
    """Easily reached: half of the answers begin so."""
    return [float(c.startswith("....")) for c in _texts(completions)]


def brief(completions):
    """The less is said the better."""
    return [1.0 - min(len(c), 8) / 8 for c in _texts(completions)]


def noise(completions):
    """A number that has nothing to do with the answer."""
    draw = "".join(_texts(completions))
    return [_lottery(f"{i}{draw}") for i in range(len(completions))]


def noisy(completions, answer):
    """Right or wrong, one verdict in five thrown by a coin."""
    draw = "".join(_texts(completions))
    coins = [_lottery(f"{i}{draw}") for i in range(len(completions))]
    return [
        _right(c, a) if coin > 0.2 else float(coin > 0.1)
        for c, a, coin in zip(_texts(completions), answer, coins, strict=True)
    ]


async def failing(completions, prompts, answer):
    """A service that is down for every third prompt."""
    if _lottery(str(prompts[0])) < 0.34:
        raise ConnectionError("no answer")
    return [_right(c, a) for c, a in zip(_texts(completions), answer, strict=True)]


def _right(text, answer):
    return float(text.rpartition("#")[2] == answer)


def _lottery(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") / 2**32
