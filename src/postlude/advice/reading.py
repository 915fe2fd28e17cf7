"""Files as a new user has them, to what they hold: rows told apart by their columns, read as far as they can be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postlude.advice import shapes
from postlude.advice.names import TEST_COLUMNS, column_of, is_known
from postlude.advice.shapes import Feedback, Shaped, is_gold, is_worked
from postlude.errors import DataError, Problem
from postlude.screening.checked import Need, check_rows
from postlude.screening.entries import Entry, entries, normalised
from postlude.sources.forms import ANSWERS, CANONICAL, COMPARED, FORMS, Reading, given_answer, is_missing
from postlude.sources.reading import kind_of, read
from postlude.sources.table import Kind, Row, Table
from postlude.sources.tabular import is_data_set

HELD_OUT = re.compile(r"(^|[^a-z])(eval|evaluation|test|valid|validation|val|dev|held.?out|holdout)([^a-z]|$)")
"""Names of files that are for measuring."""
NEEDS: Mapping[Feedback, Need] = {
    "steps": Need("preference", ("steps",)),
    "lists": Need("preference", ("rated",)),
    "pairs": Need("preference", ("pair",)),
    "thumbs": Need("preference", ("binary",)),
    "tests": Need("rollout"),
    "golds": Need("rollout"),
    "answers": Need("file"),
    "text": Need("file"),
    "prompts": Need("rollout"),
}
"""What a method that learns from it reads."""
TOLD = {name for form in (*FORMS, *COMPARED) for name in (*form.needs, *form.also)}
TOLD |= {*CANONICAL, *ANSWERS, *TEST_COLUMNS}
"""Columns that are known by themselves, beside those that `names` knows."""
WORDS = 3
"""Of a text from which on it may be what somebody wrote or judged, and not a name or a date."""


@dataclass
class Pile:
    """Rows of one file that say the same kind of thing, in canonical columns."""

    feedback: Feedback
    path: str
    rows: list[Mapping[str, Any]]
    entries: list[Entry]
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    direct: bool = True
    """Whether a recipe can name the file as it is, as far as these rows go."""
    said: str = ""
    """How they were recognised."""
    others: bool = False
    """Whether they are also in a pile that says more."""


@dataclass
class Material:
    """Everything that was named, read."""

    tables: dict[str, Table] = field(default_factory=dict[str, Table])
    piles: list[Pile] = field(default_factory=list[Pile])
    held_out: list[Pile] = field(default_factory=list[Pile])
    bad: Counter[str] = field(default_factory=Counter[str])
    """File -> rows that can be read as nothing."""
    problems: list[Problem] = field(default_factory=list[Problem])
    """Of those, the first."""
    left: Counter[str] = field(default_factory=Counter[str])
    """What rows say nothing -> how many."""
    unread: Counter[str] = field(default_factory=Counter[str])
    """Column with text that is not read -> rows."""
    notes: list[str] = field(default_factory=list[str])

    @property
    def read(self) -> int:
        return sum(table.read for table in self.tables.values())


def read_all(paths: Sequence[str], split: str = "train") -> Material:
    """Read files and folders. Raises DataError where one cannot be read, or where no row of all says anything."""
    material = Material()
    files = [file for path in paths for file in _files(path)]
    twice = {path for path, n in Counter(files).items() if n > 1}
    if twice:
        material.notes.append(f"named twice and read once: {', '.join(sorted(twice))}")
    several = len({*files}) > 1
    for path in dict.fromkeys(files):
        table = read(path, split)
        if not table.read:
            raise table.no_rows
        material.tables[path] = table
        held_out = several and bool(HELD_OUT.search(Path(path).name.casefold()))
        _take(material, table, material.held_out if held_out else material.piles)
    if not material.piles:  # nothing but files named so: they are all there is
        material.piles, material.held_out = material.held_out, []
    if not material.piles:
        raise DataError([*material.problems[:5], _nothing(material)])
    return material


def _files(path: str) -> list[str]:
    """A path, or the files of a folder."""
    place = Path(path).expanduser()
    if path.startswith("hf:") or not place.is_dir() or is_data_set(place):
        return [path]
    inside = sorted(p for p in place.rglob("*") if p.is_file() and p.suffix and kind_of(p)[0] is not None)
    inside = [p for p in inside if not any(part.startswith(".") for part in p.relative_to(place).parts)]
    return [str(p) for p in inside] or [path]  # reading says what is wrong with a folder without any


def _nothing(material: Material) -> Problem:
    names = ", ".join(material.tables)
    seen = sorted({column for table in material.tables.values() for column in table.columns})
    columns = f"; the columns are {', '.join(seen[:12])}" if seen else ""
    return Problem(
        "unknown-rows",
        f"{names}: {material.read:,} rows, and none holds feedback, prompts or text that can be learned from{columns}. "
        "docs/data.md and docs/feedback.md list what is read.",
    )


# ------------------------------------------------------------------------------------------------------ one file


def _take(material: Material, table: Table, piles: list[Pile]) -> None:
    """Put every row of a table into the piles it belongs to."""
    material.notes += table.notes
    material.problems += table.problems[:5]
    material.bad[table.path] += table.read - len(table.rows)
    for rows in _alike(table.rows).values():
        good = _piles(material, table.path, rows)
        first = {entry.place for pile in good if not pile.others for entry in pile.entries}
        material.bad[table.path] += max(0, len(rows) - len(first)) if good and good[0].direct else 0
        if not good:
            material.bad[table.path] += len(rows)
            text = (
                f"{rows[0].where}: neither feedback nor a prompt or text is recognised in {', '.join(rows[0].values)}"
            )
            material.problems.append(Problem("unknown-rows", text, rows[0].where))
        piles += good
        material.unread += Counter({name: len(rows) for name in _unread(good, rows)})


def _alike(rows: Sequence[Row]) -> dict[frozenset[str], list[Row]]:
    """Rows by the columns that say something of what they are, those without a value left out."""
    alike: dict[frozenset[str], list[Row]] = {}
    for row in rows:
        values = {name: value for name, value in row.values.items() if value is not None}
        key = frozenset(name for name in values if _is_told(name))
        alike.setdefault(key, []).append(Row(row.where, values))
    return alike


def _is_told(column: str) -> bool:
    return column in TOLD or is_known(column)


def _unread(piles: Sequence[Pile], rows: Sequence[Row]) -> list[str]:
    """Columns with text of several words in half of the rows that no pile reads; where all that is read is a prompt,
    of every other column."""
    asked = {"prompt", "system", *(pile.columns.get("prompt", "prompt") for pile in piles)}
    only_asked = all(pile.feedback == "prompts" for pile in piles)
    said = [name for name in _columns(rows) if (name not in asked if only_asked else not _is_told(name))]
    return [n for n in said if 2 * sum(_is_wordy(row.values.get(n)) for row in rows) >= len(rows)] if piles else []


def _is_wordy(value: Any) -> bool:
    return isinstance(value, str) and len(value.split()) >= WORDS


def _piles(material: Material, path: str, rows: Sequence[Row]) -> list[Pile]:
    """What rows with the same columns say: compared answers before what is asked and answered."""
    compared = _compared(material, path, rows)
    asked = _asked(material, path, rows)
    if compared is None:
        return asked
    for pile in asked:
        pile.others = True
    said = {normalised(answer) for entry in compared.entries for answer in entry.answers}
    return [compared, *(pile for pile in asked if _is_beside(pile, said))]


def _is_beside(pile: Pile, said: set[str]) -> bool:
    """Whether rows hold right answers beside the judged ones: no label, and no judged answer once more."""
    if pile.feedback == "tests":
        return True
    named = pile.columns.get("answer", "answer") in ANSWERS
    golds = [normalised(str(entry.gold)) for entry in pile.entries]
    return pile.feedback == "golds" and named and sum(gold in said for gold in golds) < 0.5 * len(golds)


def _compared(material: Material, path: str, rows: Sequence[Row]) -> Pile | None:
    for feedback in ("steps", "lists", "pairs", "thumbs"):
        pile = _direct(feedback, path, rows)
        if pile:
            return pile
    for shape in shapes.COMPARED:
        pile = _shaped(material, path, rows, shape([row.values for row in rows], _columns(rows)))
        if pile:
            return pile
    return None


def _asked(material: Material, path: str, rows: Sequence[Row]) -> list[Pile]:
    """Prompts with what their rows hold beside them."""
    columns = _columns(rows)
    piles: list[Pile] = []
    prompts, answers = _direct("prompts", path, rows), _direct("answers", path, rows)
    if answers and all("text" in row and "prompt" not in row for row in answers.rows):
        return _of_text(path, rows, columns) or [_as(answers, "text")]
    if prompts is None and answers is None:
        first = (shape([row.values for row in rows], columns) for shape in shapes.ASKED)
        pile = next(filter(None, (_shaped(material, path, rows, one) for one in first)), None)
        if pile is None:
            return []
        prompts, answers = (pile, None) if pile.feedback != "answers" else (None, pile)
        if pile.feedback == "text":
            return [pile]
    if prompts is not None:
        piles += _verified(prompts, columns)
    if answers is not None:
        answers.others = bool(piles)
        piles.append(answers)
    if prompts is not None and answers is None and not piles:
        piles += _answered(prompts, columns) or [_as(prompts, "prompts")]
    return piles


def _of_text(path: str, rows: Sequence[Row], columns: Sequence[str]) -> list[Pile]:
    """Texts with tests, or with a label: tasks with a right answer."""
    if any(name in columns for name in TEST_COLUMNS) or column_of("tests", columns):
        task = _direct("prompts", path, rows, {"prompt": "text"})
        return _verified(task, columns) if task else []
    gold = column_of("answer", columns, ["text"])
    if gold is None or not is_gold([row.values[gold] for row in rows]):
        return []
    return [*filter(None, [_direct("golds", path, rows, {"prompt": "text", "answer": gold})])]


def _verified(pile: Pile, columns: Sequence[str]) -> list[Pile]:
    """Tests, results, or both of prompts."""
    tests = next((name for name in TEST_COLUMNS if name in columns), None)
    other = None if tests else column_of("tests", columns)
    if tests or other:
        return [_as(pile, "tests", {} if tests else {"tests": str(other)})]
    golds = [given_answer(row) for row in pile.rows]
    name = None
    if not any(not is_missing(gold) for gold in golds):
        name = column_of("answer", columns, [*pile.columns.values(), "prompt", "completion"])
        golds = [row.get(name) for row in pile.rows] if name else []
    there = [gold for gold in golds if not is_missing(gold)]
    if not there or not is_gold(there):
        return []
    result = [_as(pile, "golds", {"answer": name} if name else {})]
    if is_worked(there):
        result += _answered(pile, columns, others=True)
    return result


def _answered(pile: Pile, columns: Sequence[str], others: bool = False) -> list[Pile]:
    """Right answers that are written out, as answers to learn from."""
    name = next((n for n in ANSWERS if n in columns), None) or column_of("answer", columns, [*pile.columns.values()])
    if name is None:
        return []
    rows = [Row(e.place, row) for e, row in zip(pile.entries, pile.rows, strict=True) if not is_missing(row.get(name))]
    answers = _direct("answers", pile.path, rows, {**pile.columns, "completion": name})
    if answers:
        answers.others = others
    return [answers] if answers else []


def _as(pile: Pile, feedback: Feedback, columns: Mapping[str, str] | None = None) -> Pile:
    """The same rows as other feedback, with the columns that this reads."""
    named = {**pile.columns, **(columns or {})}
    rows = [{**row, **{name: row[column] for name, column in named.items() if column in row}} for row in pile.rows]
    seen = [Entry(e.place, e.prompt, e.answers, e.rewards, r.get("answer", e.gold), e.system) for e, r in
            zip(pile.entries, rows, strict=True)]  # fmt: skip
    if feedback == "golds":
        both = [(e, r) for e, r in zip(seen, rows, strict=True) if not is_missing(e.gold)]
        seen, rows = [e for e, _ in both], [r for _, r in both]
    return Pile(feedback, pile.path, [*rows], seen, named, pile.direct, pile.said)


def _columns(rows: Sequence[Row]) -> list[str]:
    return [*dict.fromkeys(name for row in rows for name in row.values)]


def _direct(
    feedback: Feedback, path: str, rows: Sequence[Row], columns: Mapping[str, str] | None = None
) -> Pile | None:
    """Rows as the sources read them; None where they do not."""
    table = Table(path, [*rows], read=len(rows), written={row.where: row.values for row in rows})
    need = NEEDS[feedback]
    try:
        checked = check_rows(table, need, None, Reading(columns or {}))
    except DataError:
        return None
    kinds: tuple[Kind, ...] = need.kinds
    if not table.rows or (kinds and checked.kind not in kinds):
        return None
    seen = entries(table, checked.kind, checked.compared)
    return Pile(feedback, path, [row.values for row in table.rows], seen, columns or {}, True, table.form)


def _shaped(material: Material, path: str, rows: Sequence[Row], shaped: Shaped | None) -> Pile | None:
    """Rows that another shape made readable."""
    if shaped is None:
        return None
    if shaped.renamed:
        pile = _direct(shaped.feedback, path, rows, shaped.columns)
    else:
        readable = [Row(row.where, values) for row, values in zip(rows, shaped.rows, strict=False)]
        pile = _direct(shaped.feedback, path, readable)
    if pile is None:
        return None
    pile.columns, pile.direct, pile.said = shaped.columns, shaped.renamed, shaped.said
    if shaped.left:
        material.left[f"rows of {path} that prefer nothing"] += shaped.left
    return pile
