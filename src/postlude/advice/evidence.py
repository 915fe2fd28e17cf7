"""What advice rests on: numbers only, so that the same evidence gives the same advice, whoever measured it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postlude.advice.goals import Goal
from postlude.advice.shapes import Feedback
from postlude.facts.tables import Moves
from postlude.sizing.shape import Shape

WORDS: Mapping[Feedback, str] = {
    "steps": "answers with a label for each step",
    "lists": "ranked or rated lists",
    "pairs": "preference pairs",
    "thumbs": "thumbs up or down",
    "tests": "prompts with tests",
    "golds": "prompts with right answers",
    "answers": "written answers",
    "text": "plain text",
    "prompts": "prompts without any feedback",
}
"""Feedback in words."""
IN_EARNEST_ROWS, IN_EARNEST_SHARE = 200, 0.05
"""Rows of a kind that decide beside others: so many, or this share of the kind with most."""


@dataclass(frozen=True)
class Share:
    """How many of how many, with Wilson's 95 % interval or one that counts prompts."""

    count: float
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.count / self.of if self.of else 0.0

    def __str__(self) -> str:
        return f"{self.value:.0%} ({self.low:.0%} to {self.high:.0%})"


@dataclass(frozen=True)
class Lengths:
    """In tokens."""

    median: int = 0
    high: int = 0
    """95 of 100 are no longer."""
    longest: int = 0
    total: int = 0


@dataclass(frozen=True)
class Part:
    """All rows that say one kind of thing. Counts but for the first two are of distinct rows."""

    feedback: Feedback
    rows: int
    files: tuple[str, ...]
    distinct: int
    prompts: int
    """Different prompts."""
    near: int
    """Rows whose prompt is nearly an earlier one."""
    others: bool
    """Whether all of these rows also say something that says more."""
    asked: Lengths
    answered: Lengths
    """Of each answer."""
    said: str = ""
    """How rows were read, where that was not as they stand."""
    conflicts: int = 0
    """Pairs of which another row says the opposite; golds that another row contradicts."""
    longer: Share | None = None
    """Comparisons of different length in which the better answer is the longer one."""
    correlation: float | None = None
    """Of an answer's length with how good it is said to be, within prompts."""
    close: int = 0
    """Comparisons whose answers differ in length by less than a tenth."""
    up: int = 0
    """Answers with a thumb up."""
    size: float = 0.0
    """Answers in a list, steps in an answer, tests of a prompt: the median."""
    ties: float = 0.0
    """Share of the comparisons within lists that prefer neither."""
    wrong: float = 0.0
    """Share of labelled steps that are wrong."""
    readable: int = 0
    """Right answers whose value the maths reward compares."""
    letters: int = 0
    """Right answers that are a letter from A to H."""
    constant: bool = False
    """Whether all right answers, or all written ones, are the same."""
    cut_off: int = 0
    """Rows with an answer that stops within a sentence."""
    copied: int = 0
    """Rows whose prompt holds the answer."""
    chat: bool = False
    """Whether they are messages."""

    @property
    def words(self) -> str:
        return WORDS[self.feedback]

    @property
    def repeated(self) -> int:
        return self.rows - self.distinct

    @property
    def down(self) -> int:
        return self.distinct - self.up if self.feedback == "thumbs" else 0


@dataclass(frozen=True)
class HeldOut:
    """Rows kept for measuring."""

    files: tuple[str, ...]
    rows: int
    leaked: int
    """Whose prompt is also trained on."""
    kinds: tuple[Feedback, ...] = ()


@dataclass(frozen=True)
class Model:
    """The model that is to be trained."""

    path: str
    billions: float | None
    """Of parameters; None where nothing tells."""
    known_by: str
    """What the size was read from."""
    chat: bool | None = None
    """Whether it has a chat template; None where that was not looked at."""
    context: int | None = None
    local: bool = False
    """Whether its folder is here."""
    shape: Shape | None = None
    named: bool = True
    """Whether it is a model; else a size alone, which no recipe can name."""


@dataclass(frozen=True)
class Device:
    """Where it is to run."""

    kind: str
    """`gpu` or `cpu`."""
    gib: float
    """Memory of one device."""
    count: int = 1
    known_by: str = ""
    flops: float = 0.0
    """Floating point operations a second that training is likely to get out of it; 0 where nothing tells."""


@dataclass(frozen=True)
class Base:
    """How the model answers before any training."""

    prompts: int
    each: int
    """Answers to a prompt."""
    right: Share
    """The interval counts prompts."""
    none: Share
    """Prompts without a right answer."""
    all: Share
    """Prompts with nothing but right ones."""
    signal: Share
    """Groups of 8 that hold both, as is to be expected."""
    cut_off: float
    """Share of answers that ran into the length limit."""
    tokens: float
    """Of an answer: the mean."""
    rate: float
    """Tokens a second, in sampling, on this machine."""
    longest: int = 0
    """Tokens of the longest answer."""
    room: int = 0
    """Tokens that an answer could have; 0 where nobody said."""
    graded: bool = True
    """Whether rewards are verdicts, right or wrong; else `right` is the mean reward."""
    remark: str = ""


@dataclass(frozen=True)
class Unnamed:
    """Rows of a file that may hold feedback in columns that nothing names."""

    path: str
    rows: int
    columns: tuple[tuple[str, tuple[str, ...]], ...]
    """(column, two of its values)."""
    guess: tuple[tuple[str, str], ...] = ()
    """(name here, column), as it may be meant."""
    way_out: str = ""
    """Of a layout that leaves a choice: the choice, and a script that makes it."""
    layout: str = ""


@dataclass(frozen=True)
class Evidence:
    """All of it."""

    parts: tuple[Part, ...]
    """The one with most distinct rows first."""
    read: int = 0
    bad: int = 0
    left: Mapping[str, int] = field(default_factory=dict[str, int])
    """Rows that say nothing, by what they are."""
    unread: Mapping[str, int] = field(default_factory=dict[str, int])
    """Columns with text that nothing here reads, and the rows that have them."""
    unnamed: tuple[Unnamed, ...] = ()
    """Of those, the ones without which nothing is advised."""
    language: str = "English"
    """Of most rows, as far as letters and small words tell."""
    estimated: bool = True
    """Whether tokens are estimated from letters."""
    held_out: HeldOut | None = None
    model: Model | None = None
    device: Device | None = None
    goal: Goal = field(default_factory=Goal)
    reward: Mapping[str, Any] | None = None
    """The reward that the user named: `use`, and `args` where it has some."""
    moves: Moves | None = None
    base: Base | None = None
    unasked: str = ""
    """Why the model could not be asked, where that was tried."""

    def part(self, *feedback: Feedback) -> Part | None:
        """The first of these kinds that is there in earnest: no few rows beside many of another kind."""
        most = max((part.distinct for part in self.parts), default=0)
        enough = [part for part in self.parts if part.distinct >= min(IN_EARNEST_ROWS, IN_EARNEST_SHARE * most)]
        return next((part for kind in feedback for part in enough if part.feedback == kind), None)

    def measured_by(self, feedback: Feedback) -> HeldOut | None:
        """The held-out rows that a run on this kind of feedback can be measured on."""
        held_out = self.held_out
        return held_out if held_out and feedback in held_out.kinds and not held_out.leaked else None

    def count(self, *feedback: Feedback) -> int:
        """Distinct rows of these kinds."""
        return sum(part.distinct for part in self.parts if part.feedback in feedback)
