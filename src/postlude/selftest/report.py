"""What a self-test says: of the model, of the limits, and of every check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postlude.selftest.check import Result
from postlude.selftest.subject import Subject
from postlude.selftest.tolerance import SAFETY, UNIT, WORDS, Tolerances
from postlude.words import counted


@dataclass(frozen=True)
class About:
    """The model that was tested, and how it was run."""

    name: str
    facts: Mapping[str, Any]
    """As an engine describes itself."""
    tolerances: Tolerances

    @classmethod
    def of(cls, name: str, subject: Subject) -> About:
        """Of a model that is open."""
        return cls(name, subject.engine.describe(), subject.tolerances)

    def lines(self) -> Iterator[str]:
        """For people."""
        facts, limits = self.facts, self.tolerances
        why = f" ({facts['path_reason']})" if facts["path_reason"] else ""
        yield (
            f"{self.name}: {facts['architecture']}, {counted(facts['parameters'], 'parameter')}, {facts['dtype']} on "
            f"{facts['device']}, path {facts['path']}{why}"
        )
        half = limits.dtype == "bfloat16"
        yield (
            f"a log-prob may be off by {SAFETY:g} u sqrt({'L' if half else 'L d'}) s = {limits.of('log-prob'):.1e} "
            f"nats (u {UNIT[limits.dtype]:.0e}, L {limits.layers} layers, {'' if half else f'd {limits.width}, '}"
            f"s {limits.spread:.2g}, how far logits spread); a gradient by {limits.of('gradient'):.1e} of its norm"
        )


@dataclass(frozen=True)
class Report:
    """The whole of it."""

    about: About
    results: Sequence[Result]

    @property
    def holds(self) -> bool:
        """Whether no check failed."""
        return all(result.status != "FAILED" for result in self.results)

    def conclusion(self) -> str:
        """One line."""
        count = {word: sum(r.status == word for r in self.results) for word in ("ok", "FAILED", "skipped")}
        told = [f"{number} {word}" for word, number in count.items() if number]
        time = sum(result.seconds for result in self.results)
        return f"{', '.join(told)} of {counted(len(self.results), 'check')}, {time:.0f} s"

    def json(self) -> dict[str, Any]:
        """As plain JSON values."""
        facts, limits = self.about.facts, self.about.tolerances
        names = ("architecture", "parameters", "dtype", "device", "path", "path_reason")
        return {
            "model": self.about.name,
            **{name: facts[name] for name in names},
            "tolerances": {kind: {"limit": limits.of(kind), "in": words} for kind, words in WORDS.items()},
            "checks": [result.row() for result in self.results],
            "holds": self.holds,
        }


HEAD = ("check", "result", "difference", "tolerance", "seconds", "what was compared")
"""Columns of the table."""


def cells(result: Result) -> tuple[str, ...]:
    """A row of the table."""
    kind = result.worst
    numbers = ("", "") if kind is None else (_number(result.differences[kind]), _number(result.tolerances[kind]))
    text = result.check.compares + (f" ({kind})" if kind else "") + (f": {result.reason}" if result.reason else "")
    return (result.check.name, result.status, *numbers, f"{result.seconds:.1f}", text)


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
