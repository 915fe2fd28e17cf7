"""Rewards on the text and length of an answer. Each factory returns a reward function in TRL's form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postlude.bounds import Count, CountOrZero
from postlude.errors import Problem
from postlude.objectives.lengths import overlong_penalty
from postlude.rewards.functions import RewardFunction, text_of
from postlude.rewards.golds import Right, golds, problem_of
from postlude.thinking import end_of, spoken, tail


@dataclass(frozen=True)
class Exact:
    """1 where an answer is right for its row (`golds.Right`), else 0; None where that says nothing."""

    after: str | None = None
    ignore_case: bool = False
    strip: bool = True
    numbers: bool = True

    def __call__(self, completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        parts = [tail(text_of(c), self.after) for c in completions]
        return [self._score(text, right) for text, right in zip(parts, golds("exact", answer), strict=True)]

    def check_row(self, columns: Mapping[str, Any]) -> Problem | None:
        """Why a row cannot be scored; None where it can."""
        return problem_of("exact", columns)

    def _score(self, text: str | None, right: Right | None) -> float | None:
        if right is None:
            return None
        return float(text is not None and right.takes(self._clean(text), self._clean, self.numbers))

    def _clean(self, text: str) -> str:
        text = text.strip() if self.strip else text
        return text.casefold() if self.ignore_case else text


def exact(
    after: str | None = None, ignore_case: bool = False, strip: bool = True, numbers: bool = True
) -> RewardFunction:
    """1 where the answer equals the column `answer` (or one of a list of them), else 0; None where that is null.

    What a model thought before (`thinking.MARKS`) does not count. `after`: compare what follows its last occurrence.
    `numbers`: where both are a plain number, they are equal by value: 42, 42.0 and +42; 1,080 for 1080.
    """
    return Exact(after, ignore_case, strip, numbers)


@dataclass(frozen=True)
class GroupEquals:
    """1 where a group of the pattern's last match is right for its row (`golds.Right`), else 0; None without any.

    What was only thought is no answer: the group must stand after the thinking.
    """

    pattern: re.Pattern[str]
    group: int | str

    def __call__(self, completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        texts = [self._group(text_of(c)) for c in completions]
        return [self._score(text, right) for text, right in zip(texts, golds("regex", answer), strict=True)]

    def check_row(self, columns: Mapping[str, Any]) -> Problem | None:
        """Why a row cannot be scored; None where it can."""
        return problem_of("regex", columns)

    def _group(self, text: str) -> str | None:
        """What the group of the last match holds; None where it is none, or was only thought."""
        last = [*self.pattern.finditer(text)][-1:]
        if not last or last[0].start(self.group) < end_of(text) or spoken(text) is None:
            return None  # a group that took no part starts at -1
        return str(last[0].group(self.group))

    def _score(self, text: str | None, right: Right | None) -> float | None:
        if right is None:
            return None
        return float(text is not None and right.takes(text.strip(), str.strip))


def regex(pattern: str, group: int | str | None = None) -> RewardFunction:
    """1 where the pattern is found in the answer; with `group`, where that group of the last match equals `answer`."""
    compiled = re.compile(pattern, re.DOTALL)
    if group is None:
        return lambda completions: [float(bool(compiled.search(text_of(c)))) for c in completions]
    if group not in (compiled.groupindex if isinstance(group, str) else range(compiled.groups + 1)):
        raise ValueError(f"the pattern has no group {group!r}")
    return GroupEquals(compiled, group)


def format_(pattern: str) -> RewardFunction:
    """1 where the whole answer has the form of the pattern, else 0."""
    compiled = re.compile(pattern, re.DOTALL)
    return lambda completions: [float(bool(compiled.fullmatch(text_of(c).strip()))) for c in completions]


def _penalty(function: RewardFunction) -> RewardFunction:
    """A price on a property of an answer, which says nothing of right or wrong."""
    function.says_right = False  # type: ignore[attr-defined]  # as `member.Traits` reads it
    return function


def length(limit: Count) -> RewardFunction:
    """-(tokens/limit), at least -1: a plain price on length."""
    return _penalty(lambda completion_ids: [-min(len(ids) / limit, 1.0) for ids in completion_ids])


def overlong(limit: Count, cache: CountOrZero | None = None) -> RewardFunction:
    """DAPO's soft overlong punishment: 0 up to limit - cache tokens, -1 at the limit."""
    ramp = limit // 5 if cache is None else cache
    return _penalty(lambda completion_ids: [overlong_penalty(len(ids), limit, ramp) for ids in completion_ids])


def repetition(ngram: Count = 4) -> RewardFunction:
    """-(share of n-grams of tokens that were there before): 0 where all differ, near -1 where one is all there is."""
    if ngram < 1:
        raise ValueError(f"ngram must be at least 1, got {ngram}")

    def repeated(ids: Sequence[int]) -> float:
        grams = list(zip(*(ids[i:] for i in range(ngram)), strict=False))
        return len(set(grams)) / len(grams) - 1 if grams else 0.0

    return _penalty(lambda completion_ids: [repeated(ids) for ids in completion_ids])
