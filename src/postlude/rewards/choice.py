"""The letter of a multiple-choice answer, by a rule that never guesses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postlude.errors import Problem, RewardError, shown
from postlude.rewards.functions import RewardFunction, text_of
from postlude.thinking import tail


class Letters:
    """Finds the letters an answer commits to.

    1. Marked letters: in a closed \\boxed{}, <answer></answer> or the like; right after "answer", "answer is",
       "answer:", "correct option is", "I choose"; before "is correct".
    2. Where nothing is marked: letters that stand as an option does, `(B)`, `B)`, `B.`, `B:`, or alone on a line.

    Only capitals of the alphabet given count, only as whole words, and not after "not". "A and B" are two letters.
    """

    def __init__(self, alphabet: str) -> None:
        # every run of spaces and marks is possessive (*+): long runs must not make matching slow
        one, end = f"[{alphabet}]", r"(?!['’-]?\w|\+\+|\#)"
        opening = r"(?:[\s*_$(\[{\"'“‘]|\\[(\[])*+"
        joined = r"[\s*_)\]$}]*+(?:,\s*+(?:and\b|or\b)?|/|&|and\b|or\b)" + opening
        several = f"{one}{end}(?:{joined}{one}{end})*+"
        few = f"{one}{end}(?:{joined}{one}{end}){{0,3}}+"  # it is tried at every letter
        name = r"(?:\\(?:text|mathrm|textbf|mathbf)\s*+\{)?+"
        verb = r"(?:(?:is|was|(?:must|would|should)\s+be)\b)?+"
        says = (
            rf"(?:(?i:\b(?:answer|(?:correct|right|best)\s(?:option|choice|one))\b[*_]*+\s*+{verb})[\s*_]*+[:=–-]?+"
            r"|(?i:\bI(?:\s+would|'d|’d|\s+will|'ll)?\s+(?:choose|pick|select|go\s+with)\b)|答案\s*+[是为]?+\s*+[：:]?+)"
        )
        option = r"(?i:(?:the\s+)?(?:option|choice|letter)\b)?+"
        value = f"{opening}{option}{opening}{name}{opening}({several})"
        positive = r"(?<!\b[Nn]ot )(?<!n't )(?<!n’t )"
        right = r"(?:the\s+)?(?:correct|right|best|answer)\b(?!\s+(?:only|if|unless|or)\b)"
        self.marked = (
            re.compile(rf"\\boxed\s*+\{{{opening}{name}{opening}({several})(?=[^{{}}]*+\}})"),
            re.compile(rf"(?i:<answer>){value}(?=[^<]*+(?i:</answer>))"),
            re.compile(rf"<\|begin_of_box\|>{value}(?=[^<]*+<\|end_of_box\|>)"),
            re.compile(f"{says}{value}"),
            re.compile(rf"{positive}(?<![\w'’])({few})[\s*_)\]$}}]++(?i:is\s+{right})"),
        )
        self.standing = re.compile(
            rf"{positive}\(({one})\)|{positive}(?<![\w'’(.])({one})[).:](?!\w)"
            rf"|^[ \t*_$\[{{(]*+({one})[ \t*_$\]}})]*+$",
            re.MULTILINE,
        )
        self.one = re.compile(one + end)

    def of(self, text: str) -> set[str]:
        """Every letter the text commits to: one, several (ambiguous), or none."""
        spans = [m.group(1) for pattern in self.marked for m in pattern.finditer(text)]
        if spans:
            return {letter for span in spans for letter in self.one.findall(span)}
        return {next(filter(None, m.groups())) for m in self.standing.finditer(text)}


def choice(letters: str = "ABCD", after: str | None = None) -> RewardFunction:
    """1 where the answer commits to exactly one letter and it is that of the column `answer`, else 0; None where that
    is null. What a model thought before (`thinking.MARKS`) does not count. `after`: read only what follows its last
    occurrence.
    """
    if len(set(letters)) != len(letters) or not letters.isalpha() or not letters.isupper() or len(letters) < 2:
        raise ValueError(f"letters must be two or more different capitals, got {letters!r}")
    return Choice(Letters(letters), letters, after)


@dataclass(frozen=True)
class Choice:
    """The reward `choice`."""

    rule: Letters
    letters: str
    after: str | None

    def __call__(self, completions: Sequence[Any], answer: Sequence[Any]) -> list[float | None]:
        parts = [tail(text_of(c), self.after) for c in completions]
        return [
            None if a is None else float(f is not None and self.rule.of(f) == {_expected(a, self.letters)})
            for f, a in zip(parts, answer, strict=True)
        ]

    def check_row(self, columns: Mapping[str, Any]) -> Problem | None:
        """Why a row cannot be scored; None where it can."""
        gold = columns.get("answer")
        if gold is None:
            return Problem("missing-field", '"answer" is missing or null, which the reward choice needs')
        try:
            _expected(gold, self.letters)
        except RewardError as error:
            return Problem(error.code, error.what)
        return None


def _expected(answer: Any, letters: str) -> str:
    letter = answer.strip() if isinstance(answer, str) else ""
    letter = letter.strip("().").upper()
    if len(letter) != 1 or letter not in letters:
        raise RewardError(
            f"reward choice: the column answer holds {shown(answer)}, which is none of the letters {letters}. Write "
            "the right option's letter there (a number could count from 0 or from 1).",
            code="unreadable-gold",
        )
    return letter
