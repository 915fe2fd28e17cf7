"""Rewards on the text and length of an answer. Each factory returns a reward function in TRL's form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from postlude.rewards.length import overlong_penalty

RewardFunction = Callable[..., Any]


def text_of(completion: Any) -> str:
    """The answer's text: a string, or the last message of a chat completion."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def tail(text: str, after: str | None) -> str | None:
    """What follows the last `after`; None where it is not there."""
    if after is None:
        return text
    _, found, tail = text.rpartition(after)
    return tail if found else None


def exact(after: str | None = None, ignore_case: bool = False, strip: bool = True) -> RewardFunction:
    """1 where the answer equals the column `answer`, else 0; None where that is null.

    `after`: compare what follows its last occurrence.
    """

    def clean(text: str) -> str:
        text = text.strip() if strip else text
        return text.casefold() if ignore_case else text

    def exact_match(completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        found = [tail(text_of(c), after) for c in completions]
        return [
            None if a is None else float(f is not None and clean(f) == clean(str(a)))
            for f, a in zip(found, answer, strict=True)
        ]

    return exact_match


def regex(pattern: str, group: int | str | None = None) -> RewardFunction:
    """1 where the pattern is found in the answer; with `group`, where that group of the last match equals `answer`."""
    compiled = re.compile(pattern, re.DOTALL)
    if group is None:
        return lambda completions: [float(bool(compiled.search(text_of(c)))) for c in completions]

    def group_equals(completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        last = [list(compiled.finditer(text_of(c)))[-1:] for c in completions]
        return [
            None if a is None else float(bool(m) and str(m[0].group(group)).strip() == str(a).strip())
            for m, a in zip(last, answer, strict=True)
        ]

    return group_equals


def format_(pattern: str) -> RewardFunction:
    """1 where the whole answer has the form of the pattern, else 0."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda completions: [float(bool(compiled.fullmatch(text_of(c).strip()))) for c in completions]


def _penalty(function: RewardFunction) -> RewardFunction:
    """A price on a property of an answer, which says nothing of right or wrong."""
    function.says_right = False  # type: ignore[attr-defined]  # as `member.Traits` reads it
    return function


def length(limit: int) -> RewardFunction:
    """-(tokens/limit), at least -1: a plain price on length."""
    return _penalty(lambda completion_ids: [-min(len(ids) / limit, 1.0) for ids in completion_ids])


def overlong(limit: int, cache: int | None = None) -> RewardFunction:
    """DAPO's soft overlong punishment: 0 up to limit - cache tokens, -1 at the limit."""
    ramp = limit // 5 if cache is None else cache
    return _penalty(lambda completion_ids: [overlong_penalty(len(ids), limit, ramp) for ids in completion_ids])


def repetition(ngram: int = 4) -> RewardFunction:
    """-(share of n-grams of tokens that were there before): 0 where all differ, near -1 where one is all there is."""
    if ngram < 1:
        raise ValueError(f"ngram must be at least 1, got {ngram}")

    def repeated(ids: Sequence[int]) -> float:
        grams = list(zip(*(ids[i:] for i in range(ngram)), strict=False))
        return len(set(grams)) / len(grams) - 1 if grams else 0.0

    return _penalty(lambda completion_ids: [repeated(ids) for ids in completion_ids])
