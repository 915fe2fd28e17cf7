"""Answers that a judge compares or grades, row by row, as preference data; and how far it agrees with people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from postlude.errors import DataError, Problem
from postlude.judge.questions import Compared
from postlude.sources.compared import Stated, stated
from postlude.sources.formats import recognise
from postlude.sources.forms import Reading
from postlude.sources.table import Table
from postlude.sources.unused import WORDS
from postlude.statistics import clustered

SPOKEN_FOR = {
    "prompt", "chosen", "rejected", "completion", "completions", "ranks", "scores", "label", "labels", "margin",
    "probability",
}  # fmt: skip
"""Columns that speak of the old judgement: all others are kept."""
READ = {"prompt", "chosen", "rejected", "completion", "completions"}
"""Those of them that the answers are read from."""


@dataclass(frozen=True)
class Unlabelled:
    """A prompt with answers, and what people said of them where they did: the larger the better."""

    where: str
    row: dict[str, Any]
    said: Stated
    judged: bool

    @property
    def columns(self) -> dict[str, Any]:
        return {k: v for k, v in self.row.items() if k not in SPOKEN_FOR}

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two different answers; one that stands in the list again is asked about once."""
        answers = self.said.answers
        first = [i for i, a in enumerate(answers) if answers.index(a) == i]
        return [*combinations(first, 2)]


def unlabelled(table: Table, reading: Reading | None = None) -> list[Unlabelled]:
    """Lists of answers (with or without ranks or scores), pairs, or single answers grouped by their prompt.

    A row that is none of these goes to the table's problems.
    """
    if table.rows and all("completion" in r.values and "label" not in r.values for r in table.rows):
        return _by_prompt(table)
    bare = [_bare(row.values) for row in table.rows if "completions" in row.values]
    if any(bare) and not all(bare):
        raise DataError(
            f"{table.path}: some rows have ranks or scores and some have none; label them in two files.",
            code="mixed-rows",
        )
    if table.rows and not any({"completions", "chosen", "rejected"} & {*r.values} for r in table.rows):
        raise DataError(
            f"{table.path}: rows need prompt with completions (a list of answers), or chosen and rejected, or prompt "
            f"with completion; found columns {', '.join(sorted(table.columns))}.",
            code="unknown-rows",
        )
    items: list[Unlabelled] = []
    kind = None if any(bare) else recognise(table, "compared", reading, ("pair", "rated"))
    if kind not in (None, "pair", "rated"):
        raise DataError(
            f"{table.path} holds {table.form}: there is nothing to compare in one answer.", code="wrong-rows"
        )
    good = []
    for row in table.rows:
        try:
            values = dict(row.values)
            if kind is None and "completions" not in values:
                raise DataError('"completions" is missing', code="missing-field")
            if kind is None:
                said = stated({**values, "scores": [0.0] * len(_listed(values))}, "rated")
            else:
                said = stated(values, kind)
            _check_shown(said)
        except DataError as error:
            table.reject(row.where, error.problems[0])
            continue
        good.append(row)
        items.append(Unlabelled(row.where, values, said, judged=kind is not None))
    table.rows = good
    return items


def _check_shown(said: Stated) -> None:
    """A judge reads the words of one message: an answer of more is judged by less than it is (DataError)."""
    for answer in said.answers:
        if isinstance(answer, list) and (len(answer) > 1 or {*answer[0]} & {*WORDS}):
            raise DataError(
                "an answer holds more than the words of one message, which are all that a judge reads",
                code="wrong-field",
            )


def _bare(row: Any) -> bool:
    return "completions" in row and "ranks" not in row and "scores" not in row


def _listed(row: dict[str, Any]) -> list[Any]:
    answers = row["completions"]
    return answers if isinstance(answers, list) else []


def _lacks(answers: Sequence[Any], row: Mapping[str, Any]) -> Problem | None:
    """Why answers of a run cannot be compared."""
    if len(answers) < 2:
        return Problem("no-preference", "no second, different answer to this prompt")
    return None if "prompt" in row else Problem("missing-field", "no prompt")


def _by_prompt(table: Table) -> list[Unlabelled]:
    """The rollouts of a run: its answers to each prompt; a prompt with one answer has nothing to compare."""
    groups: dict[str, list[Any]] = {}
    for row in table.rows:
        groups.setdefault(repr(row.values.get("prompt")), []).append(row)
    items, good = [], []
    for members in groups.values():
        answers = [*dict.fromkeys(m.values["completion"] for m in members if isinstance(m.values["completion"], str))]
        lacks = _lacks(answers, members[0].values)
        if lacks:
            for member in members:
                table.reject(member.where, lacks)
            continue
        good += members
        prompt = members[0].values["prompt"]
        said: tuple[Any, ...] = tuple(a if isinstance(prompt, str) else [_assistant(a)] for a in answers)
        first = members[0].values  # what is of one answer alone says nothing of the pair
        row = {k: v for k, v in first.items() if all(m.values.get(k) == v for m in members)}
        items.append(Unlabelled(members[0].where, row, Stated(prompt, said, (0.0,) * len(said)), judged=False))
    table.rows = good
    return items


def _assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@dataclass
class Labelled:
    """New rows and counts. Pairs asked about = rows + `dropped`."""

    threshold: float = 0.0
    """Pairs whose chance is nearer to one half than this are dropped; so is a chance of exactly one half."""
    hard: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    prompts: int = 0
    alone: int = 0
    """Prompts without two different answers."""
    asked: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    verdicts: list[Compared] = field(default_factory=list[Compared])
    agreements: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    """1 or 0 for each pair on which people and the judge both have a preference, and the number of its prompt."""

    def add(self, item: Unlabelled, pairs: Sequence[tuple[int, int]], verdicts: Sequence[Compared | None]) -> None:
        """The verdicts on the pairs of one row."""
        self.prompts += 1
        self.alone += not pairs
        for (i, j), verdict in zip(pairs, verdicts, strict=True):
            self.asked += 1
            reason = self._no_pair(verdict)
            if reason:
                self.dropped[reason] += 1
            if verdict is None:
                continue
            self.verdicts.append(verdict)
            self._compare(item, i, j, verdict)
            if not reason:
                self.rows.append(self._row(item, i, j, verdict))

    def _no_pair(self, verdict: Compared | None) -> str | None:
        if verdict is None:
            return "no readable verdict"
        distance = abs(verdict.p - 0.5)
        if distance == 0:
            return "tie"
        close = distance < self.threshold - 1e-9  # 0.6 is not closer than 0.1, whatever its last bit says
        return f"closer to one half than {self.threshold:g}" if close else None

    def _compare(self, item: Unlabelled, i: int, j: int, verdict: Compared) -> None:
        difference = item.said.rewards[i] - item.said.rewards[j]
        if item.judged and difference and verdict.p != 0.5:
            self.agreements.append((float((difference > 0) == (verdict.p > 0.5)), self.prompts))

    def _row(self, item: Unlabelled, i: int, j: int, verdict: Compared) -> dict[str, Any]:
        better, worse = (i, j) if verdict.p > 0.5 else (j, i)
        row = {**item.columns, "prompt": item.said.prompt}
        row |= {"chosen": item.said.answers[better], "rejected": item.said.answers[worse]}
        return row if self.hard else {**row, "probability": max(verdict.p, 1 - verdict.p)}

    @property
    def figures(self) -> dict[str, float]:
        """Order consistency, place bias (of the answer shown first, beyond one half), and agreement with people."""
        verdicts = self.verdicts
        if not verdicts:
            return {}
        figures = {
            "flip rate": sum(v.flipped for v in verdicts) / len(verdicts),
            "place bias": sum(v.place for v in verdicts) / len(verdicts),
        }
        if self.agreements:
            agreed, prompts = zip(*self.agreements, strict=True)
            low, high = clustered(agreed, prompts)
            figures |= {"agreement": sum(agreed) / len(agreed), "agreement low": low, "agreement high": high}
        return figures
