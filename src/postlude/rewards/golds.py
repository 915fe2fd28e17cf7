"""The column `answer` of a row as what is right: texts, and the numbers they are."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from postlude.errors import Problem, RewardError, shown

HASHES = "####"
"""What stands before the final answer of a worked solution (GSM8K)."""
THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
"""A number as GSM8K writes it; elsewhere a comma may part two numbers."""
MEND = "write it as text or a number, or name another column (data.columns={answer: COLUMN})"


_NUMERAL = re.compile(r"[+-]?(?:(?:0|[1-9]\d*|[1-9]\d{0,2}(?:,\d{3})+)(?:\.\d+)?|\.\d+)", re.ASCII)
"""A plain number: no leading zeros (007 is a name), commas only between thousands."""
_PLAIN = re.compile(r"-?(?:0|[1-9]\d*)(?:\.(?:0+|\d*[1-9]))?", re.ASCII)
"""Text of a gold that can only be a number: 3.10 may be a version, 1,080 two numbers."""


class NoGold(ValueError):
    """A value that says no right answer; its text says why."""


@dataclass(frozen=True)
class Right:
    """What is right for a row."""

    texts: tuple[str, ...]
    numbers: frozenset[Decimal]
    """The values of those that are numbers."""

    @classmethod
    def of(cls, gold: Any) -> Right:
        """Raises NoGold where there is none."""
        texts = tuple(accepted(gold))
        return cls(texts, frozenset(Decimal(text.strip()) for text in texts if _PLAIN.fullmatch(text.strip())))

    def takes(self, text: str, clean: Callable[[str], str], numbers: bool = True) -> bool:
        """Whether a text, cleaned already, is right; by value too, where both are plain numbers."""
        if text in map(clean, self.texts):
            return True
        return numbers and bool(_NUMERAL.fullmatch(text)) and Decimal(text.replace(",", "")) in self.numbers


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


def golds(reward: str, column: Sequence[Any]) -> list[Right | None]:
    """What is right for each row; None where the row has none. Raises RewardError for a value that is none."""
    rights: list[Right | None] = []
    for gold in column:
        try:
            rights.append(None if gold is None else Right.of(gold))
        except NoGold as error:
            raise RewardError(
                f"reward {reward}: the column answer holds {shown(gold)}: {error}; {MEND}.", code="unreadable-gold"
            ) from error
    return rights


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
