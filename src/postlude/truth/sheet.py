"""A run's fixed sheet of prompts as it was answered after some of its steps, and what changed from one to the next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal, Self

from postlude.data import Prompt
from postlude.errors import ConfigError
from postlude.runs.history import History
from postlude.shapes import is_mapping, is_series
from postlude.words import counted

SHARED = 0.4
"""Share of words in common below which an answer counts as another one: marks would only tear it to pieces."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Answer:
    """One answer to a prompt of the sheet."""

    step: int
    """Steps finished when it was given."""
    number: int
    """Among the answers to its prompt, from 1."""
    text: str
    reward: float | None
    correct: bool | None
    metrics: Mapping[str, float | None]
    cut: bool
    """Whether the length limit ended it."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row of sheet.jsonl. Raises KeyError, TypeError or ValueError for what is none."""
        metrics = row.get("metrics", {})
        if not isinstance(row["completion"], str) or not is_mapping(metrics):
            raise TypeError("no answer of a sheet")
        numbers = {str(name): None if value is None else float(value) for name, value in metrics.items()}
        reward = None if row["reward"] is None else float(row["reward"])
        cut = row.get("stop") == "length"
        return cls(
            int(row["step"]), int(row.get("number", 1)), row["completion"], reward, row.get("correct"), numbers, cut
        )


@dataclass(frozen=True)
class Question:
    """A prompt of the sheet with its answers, step by step."""

    text: str
    gold: Any
    answers: tuple[Answer, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(answer.step for answer in self.answers))

    def at(self, step: int) -> list[Answer]:
        """The answers that were given after a step."""
        return [answer for answer in self.answers if answer.step == step]


def questions_of(history: History) -> list[Question]:
    """The sheet of a run. Raises ConfigError for a run without one, or where its file is damaged."""
    if not history.sheet:
        raise ConfigError(
            f"the run {str(history.folder)!r} has no sheet: nothing was answered again and again. In its recipe: "
            "evaluate.sheet=true.",
            code="no-effect",
        )
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for number, row in enumerate(history.sheet, 1):
        try:
            Answer.of(row)
            rows.setdefault(str(row["prompt_id"]), []).append(row)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{history.folder / 'sheet.jsonl'} line {number} is no answer of a sheet. The file is damaged.",
                code="damaged-run",
            ) from error
    return [
        Question(_asked(some[0].get("prompt", "")), some[0].get("answer"), tuple(Answer.of(row) for row in some))
        for some in rows.values()
    ]


def _asked(messages: Any) -> str:
    if is_series(messages) and all(is_mapping(one) and "role" in one for one in messages):
        return Prompt("", [*messages]).text
    return str(messages)


def steps_shown(steps: Sequence[int], wanted: Sequence[int] | None, most: int) -> list[int]:
    """The steps to look at: those that are wanted, else the first, the last and some between. Raises ConfigError where
    one was not answered after."""
    if wanted is None:
        last = len(steps) - 1
        places = range(last + 1) if len(steps) <= most else [round(i * last / (most - 1)) for i in range(most)]
        return [steps[place] for place in places]
    gone = [step for step in wanted if step not in steps]
    if gone:
        there = ", ".join(map(str, steps))
        raise ConfigError(
            f"--steps: the sheet was not answered after {counted(len(gone), 'step')} of them "
            f"({', '.join(map(str, gone))}); it was after {there}.",
            code="no-such-entry",
            key="--steps",
        )
    return sorted({*wanted})


# ------------------------------------------------------------------------------------------------------ changes


@dataclass(frozen=True)
class Piece:
    """A part of an answer against the one before."""

    text: str
    kind: Literal["same", "new", "gone"]


def changes(before: str, now: str) -> list[Piece] | None:
    """The answer in pieces, with what went; None where so little stayed that it is another answer."""
    old, new = _WORDS.findall(before), _WORDS.findall(now)
    matcher = SequenceMatcher(None, old, new, autojunk=len(old) + len(new) > 2000)
    words = [word for word in (*old, *new) if not word.isspace()]
    blocks = matcher.get_matching_blocks()
    shared = [word for block in blocks for word in old[block.a :][: block.size] if not word.isspace()]
    if words and 2 * len(shared) < SHARED * len(words):
        return None
    pieces: list[Piece] = []
    for i, j, k, m in _stretches(matcher.get_opcodes(), new):
        if old[i:j] == new[k:m]:
            pieces.append(Piece("".join(new[k:m]), "same"))
            continue
        pieces += [Piece("".join(old[i:j]), "gone")] if j > i else []
        pieces += [Piece("".join(new[k:m]), "new")] if m > k else []
    return pieces


def _stretches(
    opcodes: Sequence[tuple[str, int, int, int, int]], new: Sequence[str]
) -> list[tuple[int, int, int, int]]:
    """Where old and new words are the same or differ, in turn: changes with nothing but space between them are one."""
    result: list[tuple[int, int, int, int]] = []
    differs: list[bool] = []
    for place, (kind, i, j, k, m) in enumerate(opcodes):
        inside = 0 < place < len(opcodes) - 1 and all(word.isspace() for word in new[k:m])
        change = kind != "equal" or inside
        if differs and differs[-1] and change:
            result[-1] = (result[-1][0], j, result[-1][2], m)
        else:
            result.append((i, j, k, m))
            differs.append(change)
    return result
