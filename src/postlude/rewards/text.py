"""Rewards on the text and length of an answer. Each factory returns a reward function in TRL's form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from postlude.bounds import Count, CountOrZero
from postlude.errors import Problem, RewardError, shown
from postlude.objectives.lengths import overlong_penalty
from postlude.rewards.functions import RewardFunction, tail, text_of


@dataclass(frozen=True)
class Exact:
    """1 where an answer is one of the right texts of its row (`golds.accepted`), else 0; None where that has none."""

    after: str | None = None
    ignore_case: bool = False
    strip: bool = True

    def __call__(self, completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        parts = [tail(text_of(c), self.after) for c in completions]
        return [self._score(f, right) for f, right in zip(parts, golds("exact", answer), strict=True)]

    def check_row(self, columns: Mapping[str, Any]) -> str | None:
        """Why a row cannot be scored; None where it can."""
        return problem_of("exact", columns)

    def _score(self, found: str | None, right: Sequence[str] | None) -> float | None:
        if right is None:
            return None
        return float(found is not None and self._clean(found) in map(self._clean, right))

    def _clean(self, text: str) -> str:
        text = text.strip() if self.strip else text
        return text.casefold() if self.ignore_case else text


def exact(after: str | None = None, ignore_case: bool = False, strip: bool = True) -> RewardFunction:
    """1 where the answer equals the column `answer` (or one of a list of them), else 0; None where that is null.

    `after`: compare what follows its last occurrence.
    """
    return Exact(after, ignore_case, strip)


@dataclass(frozen=True)
class GroupEquals:
    """1 where a group of the pattern's last match is one of the right texts of its row, else 0; None without any."""

    pattern: re.Pattern[str]
    group: int | str

    def __call__(self, completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        last = [list(self.pattern.finditer(text_of(c)))[-1:] for c in completions]
        return [self._score(m, right) for m, right in zip(last, golds("regex", answer), strict=True)]

    def check_row(self, columns: Mapping[str, Any]) -> str | None:
        """Why a row cannot be scored; None where it can."""
        return problem_of("regex", columns)

    def _score(self, match: Sequence[re.Match[str]], right: Sequence[str] | None) -> float | None:
        if right is None:
            return None
        return float(bool(match) and str(match[0].group(self.group)).strip() in [text.strip() for text in right])


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


# ----------------------------------------------------------------------------------------------- right answers


HASHES = "####"
"""What stands before the final answer of a worked solution (GSM8K)."""
THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
"""A number as GSM8K writes it; elsewhere a comma may part two numbers."""
MEND = "write it as text or a number, or name another column (data.columns={answer: COLUMN})"


class NoGold(ValueError):
    """A value that says no right answer; its text says why."""


def accepted(gold: Any) -> list[str]:
    """Every text that is the right answer, as it is written. Raises NoGold where there is none.

    A list holds several right answers. A whole number that was read as a float (42.0, as tables make of integers
    beside gaps) is 42 too, in text as well; true is True too; of a worked solution what follows `####` counts, 1,080
    as 1080 too.
    """
    plain = gold.tolist() if hasattr(gold, "tolist") else gold  # numpy's scalars and arrays
    if isinstance(plain, list | tuple | set | frozenset):
        if not plain:
            raise NoGold("it is an empty list")
        return [text for one in plain for text in _one(one)]
    return _one(plain)


def _one(gold: Any) -> list[str]:
    plain = gold.item() if hasattr(gold, "item") else gold
    if isinstance(plain, str):
        return _text(plain)
    if isinstance(plain, bool):
        return [str(plain), str(plain).lower(), str(plain).upper()]
    if isinstance(plain, int | float | Decimal):
        return _number(plain)
    raise NoGold("it is null" if plain is None else f"it is a {type(plain).__name__}")


def _text(gold: str) -> list[str]:
    solution = HASHES in gold
    final = gold.rpartition(HASHES)[2].strip() if solution else gold
    if not final.strip():
        raise NoGold(f"nothing follows {HASHES}" if solution else "it is empty")
    if final.strip().lower() == "nan":
        raise NoGold("it is nan, as tables write a missing value")
    plain = final.replace(",", "") if solution and THOUSANDS.fullmatch(final) else final
    whole, dot, rest = plain.strip().partition(".")
    as_integer = [whole] if dot and rest and not rest.strip("0") and _is_integer(whole) else []
    return list(dict.fromkeys([gold, final, plain, *as_integer]))


def _is_integer(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit()


def _number(gold: int | float | Decimal) -> list[str]:
    if not isinstance(gold, int) and not math.isfinite(gold):
        raise NoGold(f"it is {gold}")
    try:
        texts = [str(gold)]
        if not isinstance(gold, int):
            texts.append(f"{Decimal(str(gold)):f}")  # 1e-05 is 0.00001
        if gold == int(gold):
            texts.append(str(int(gold)))
    except ValueError as error:
        raise NoGold("it has more digits than Python writes") from error
    return list(dict.fromkeys(texts))


def golds(reward: str, column: Sequence[Any]) -> list[list[str] | None]:
    """The right texts of each row; None where it has none. Raises RewardError for a value that is none."""
    texts: list[list[str] | None] = []
    for gold in column:
        try:
            texts.append(None if gold is None else accepted(gold))
        except NoGold as error:
            raise RewardError(
                f"reward {reward}: the column answer holds {shown(gold)}: {error}; {MEND}.", code="unreadable-gold"
            ) from error
    return texts


def problem_of(reward: str, columns: Mapping[str, Any]) -> Problem | None:
    """What is wrong with a row's answer; None where nothing is."""
    gold = columns.get("answer")
    if gold is None:
        return Problem("missing-field", f'"answer" is missing or null, which the reward {reward} needs')
    try:
        accepted(gold)
    except NoGold as error:
        return Problem(
            "unreadable-gold", f'"answer" {shown(gold)} says no right answer for the reward {reward}: {error}; {MEND}'
        )
    return None
