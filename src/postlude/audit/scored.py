"""The scores of an audit by what was scored, the scale they are on, and what is found wrong with them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import pstdev
from typing import Any

from postlude.audit.rewards import Given, Sheet
from postlude.errors import visible

Figures = dict[str, Any]
EXAMPLES = 3
"""Answers shown with each finding."""


@dataclass(frozen=True)
class Scored:
    """One answer with its score, beside that of its prompt's reference."""

    prompt: str
    text: str
    score: float | None
    reference: float | None
    named: bool = False
    error: str | None = None
    length: int = 0
    label: float | None = None
    form: str = "none"
    """Of the prompt's gold."""

    @property
    def beaten(self) -> bool:
        return self.reference is not None and (self.score is None or self.reference > self.score)

    @property
    def shift(self) -> float:
        """By how much it scores more than the reference; 0 where either has no score."""
        return 0.0 if self.score is None or self.reference is None else self.score - self.reference


@dataclass(frozen=True)
class Book:
    """All scores of one reward by the name of what was scored."""

    answers: dict[str, list[Scored]]

    @classmethod
    def of(cls, sheets: Sequence[Sheet], given: Given) -> Book:
        answers: dict[str, list[Scored]] = {}
        for sheet, values, errors in zip(sheets, given.values, given.errors, strict=True):
            prompt = sheet.group.prompt.text
            for place, (entry, length) in enumerate(zip(sheet.entries, sheet.lengths, strict=True)):
                error = errors.get(place)
                score, label = values[place], entry.label
                one = Scored(prompt, entry.text, score, values[0], entry.named, error, length, label, sheet.form)
                answers.setdefault(entry.name, []).append(one)
        return cls(answers)

    def scores(self, *names: str) -> list[float]:
        return [a.score for name in names for a in self.answers.get(name, []) if a.score is not None]

    @property
    def real(self) -> list[Scored]:
        """References and samples."""
        return self.answers["reference"] + self.answers.get("sample", [])


@dataclass
class Scale:
    """What scores mean for this reward."""

    references: list[float]
    says_right: bool
    """It says right or wrong: 1 passes."""
    spread: float
    """Standard deviation of references and samples; of everything, where those do not vary."""
    lowest: bool
    """All references score the same, and nothing scores less: they are likely not in the form the reward reads."""

    only_takes: bool
    """No score is above 0, and some are below: a price on something, which any harmless answer escapes."""

    @classmethod
    def of(cls, book: Book, learned: bool) -> Scale:
        references, everything = book.scores("reference"), book.scores(*book.answers)
        passing = sum(s >= 1 for s in references)
        says_right = not learned and max(everything) <= 1 and 2 * passing >= len(references)
        lowest = not says_right and len({*references}) == 1 and min(everything) == references[0]
        spread = pstdev(book.scores("reference", "sample")) or pstdev(everything)
        only_takes = not learned and max(everything) <= 0 and min(everything) < 0
        return cls(references, says_right, spread, lowest, only_takes)

    def percentile(self, score: float) -> float:
        """Share of references below, and half of those equal."""
        below = sum(r < score for r in self.references) + sum(r == score for r in self.references) / 2
        return below / len(self.references)


@dataclass
class Findings:
    """What is wrong, each with value, threshold, examples and what to do."""

    items: list[Figures] = field(default_factory=list[Figures])

    def add(
        self, level: str, name: str, what: str, value: float, limit: float, remedy: str, examples: Any = ()
    ) -> None:
        shown = [_example(e) for e in list(examples)[:EXAMPLES]]
        self.items.append(
            {"level": level, "name": name, "what": what, "value": value, "threshold": limit, "remedy": remedy}
            | {"examples": shown}
        )


def escaped(text: str, most: int = 300) -> str:
    """Control characters as text, and the middle left out of what is long: it goes to a terminal."""
    short = text if len(text) <= most else f"{text[: most // 2]} [...] {text[-most // 2 :]}"
    return visible(short)


def _example(a: Scored) -> Figures:
    shown = {"prompt": escaped(a.prompt), "answer": escaped(a.text), "score": a.score, "reference_score": a.reference}
    return shown | ({"error": a.error} if a.error else {})
