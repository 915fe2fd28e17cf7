"""The column `answer` of any shape as the texts that count as right."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from postlude.errors import Problem, RewardError, shown

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
    found: list[list[str] | None] = []
    for gold in column:
        try:
            found.append(None if gold is None else accepted(gold))
        except NoGold as error:
            raise RewardError(
                f"reward {reward}: the column answer holds {shown(gold)}: {error}; {MEND}.", code="unreadable-gold"
            ) from error
    return found


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
