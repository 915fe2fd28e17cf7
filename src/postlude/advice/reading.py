"""Files as a new user has them, to what they hold: rows told apart by their columns, read as far as they can be."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postlude.advice import judging, shapes
from postlude.advice.evidence import Unnamed
from postlude.advice.goals import Goal
from postlude.advice.names import SOLUTIONS, TEST_COLUMNS, column_of, is_known
from postlude.advice.naming import has_named, named_in, require_named
from postlude.advice.shapes import Feedback, Shaped, is_gold, is_worked
from postlude.advice.unnamed import is_wordy, unnamed_in
from postlude.advice.wording import is_beside, kinds_of
from postlude.errors import DataError, Problem
from postlude.screening.checked import Need, check_rows
from postlude.screening.entries import Entry, entries, normalised
from postlude.sources.forms import ANSWERS, CANONICAL, COMPARED, COMPLETIONS, FORMS, Reading, given_answer, is_missing
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
COMPARED_KINDS: tuple[Feedback, ...] = ("steps", "lists", "pairs", "thumbs")


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
    used: tuple[str, ...] = ()
    """Columns that were read, where that is not what the names of `sources.forms` say."""
    idle: int = 0
    """Further rows, which prefer nothing."""
    lost: int = 0
    """Further rows, which are read as this and are wrong."""


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
    """Column with text or grades that is not read -> rows."""
    unnamed: list[Unnamed] = field(default_factory=list[Unnamed])
    """What stands in the way of any advice, where it is much."""
    goal: Goal = field(default_factory=Goal)
    """What it is read for: of two columns that prefer an answer, which one counts."""
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    """What columns were named: name here -> column."""
    notes: list[str] = field(default_factory=list[str])

    @property
    def read(self) -> int:
        return sum(table.read for table in self.tables.values())


def read_all(
    paths: Sequence[str], split: str = "train", goal: Goal | None = None, columns: Mapping[str, str] | None = None
) -> Material:
    """Read files and folders. Raises DataError where one cannot be read, or where no row of all says anything, and
    ConfigError where no file has the columns that were named."""
    material = Material(goal=goal or Goal(), columns=columns or {})
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
    require_named(material.tables, material.columns)
    if not material.piles and not material.unnamed and not material.left:
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
    named = has_named(table, material.columns)
    rows_of = _alike([named_in(row, material.columns) for row in table.rows] if named else table.rows)
    taken = {key: _piles(material, table.path, rows) for key, rows in rows_of.items()}
    for key, rows in rows_of.items():
        lacking = _lacking(key, taken)
        if lacking:
            material.left[f"rows of {table.path} without a value in {', '.join(lacking)}"] += len(rows)
        good = [p for p in taken[key] if not lacking or p.feedback in ("golds", "tests")]
        _count(material, table, rows, good, bool(lacking))
        piles += [_as_named(pile, material.columns) if named else pile for pile in good if pile.entries]
        if not named and not lacking:
            _look_for_unread(material, table.path, rows, good)


def _count(material: Material, table: Table, rows: Sequence[Row], good: Sequence[Pile], lacking: bool) -> None:
    """Rows that prefer nothing, and those that cannot be read."""
    first = next((pile for pile in good if not pile.others), None)
    if first is not None:
        if first.idle:
            material.left[f"rows of {table.path} {judging.NOTHING}"] += first.idle
        read = {entry.place for pile in good if not pile.others for entry in pile.entries}
        material.bad[table.path] += max(0, len(rows) - len(read) - first.idle) if first.direct else first.lost
    elif not lacking:
        material.bad[table.path] += len(rows)
        text = f"{rows[0].where}: neither feedback nor a prompt or text is recognised in {', '.join(rows[0].values)}"
        material.problems.append(Problem("unknown-rows", text, rows[0].where))


def _lacking(key: frozenset[str], taken: Mapping[frozenset[str], Sequence[Pile]]) -> list[str]:
    """The columns that make other rows of a file judged ones, and that these have no value in."""
    if any(pile.feedback in COMPARED_KINDS for pile in taken[key]):
        return []
    judged = [
        more for more, piles in taken.items() if key and key < more and any(p.feedback in COMPARED_KINDS for p in piles)
    ]
    return sorted(judged[0] - key) if judged else []


# ------------------------------------------------------------------------------------------------- columns by name


def _as_named(pile: Pile, columns: Mapping[str, str]) -> Pile:
    """With the columns as the file has them."""
    if pile.direct:
        read = {**{name: name for name in columns if name in CANONICAL or name == "tests"}, **pile.columns}
        names = {name: columns.get(column, column) for name, column in read.items()}
        pile.columns = {name: column for name, column in names.items() if name != column}
    pile.said = ", ".join(f"{name} from {column}" for name, column in columns.items())
    return pile


# ----------------------------------------------------------------------------------------- what is not read at all


def _look_for_unread(material: Material, path: str, rows: Sequence[Row], piles: Sequence[Pile]) -> None:
    """Columns with text or grades that no pile reads, and what they stand in the way of."""
    kinds: set[Feedback] = {pile.feedback for pile in piles}
    used = _used(piles)
    if not kinds & {*COMPARED_KINDS}:
        unnamed = unnamed_in(path, rows, kinds, used & {*_columns(rows)})
        material.unnamed += [unnamed] if unnamed else []
    if piles:
        values = [row.values for row in rows]
        free = [name for name in _columns(rows) if name not in used and not is_beside(name)]
        graded = [name for name in free if "judged" in kinds_of(name) and kinds == {"answers"}]
        said = [name for name in free if name in graded or name == "solutions" or is_wordy(values, name, 0.5)]
        material.unread += Counter({name: len(rows) for name in said})


def _used(piles: Sequence[Pile]) -> set[str]:
    """The columns that were read."""
    used = {"system", "tools"}
    for pile in piles:
        used |= {*pile.columns.values(), *pile.used}
        if pile.used:
            continue
        if pile.feedback in ("prompts", "text"):
            forms = [form for form in FORMS if form.fits(pile.rows[0])] if pile.rows else []
            used |= {"prompt", "text", *(name for form in forms for name in (*form.needs, *form.also))}
        elif pile.feedback in ("golds", "tests", "answers"):
            used |= {*(name for form in FORMS for name in (*form.needs, *form.also)), *COMPLETIONS, "answer"}
            used |= {*TEST_COLUMNS, "entry_point"} if pile.feedback == "tests" else {*ANSWERS}
        else:
            used |= {name for form in COMPARED for name in (*form.needs, *form.also)} | {*TOLD}
    return used


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
    """Compared or judged answers; a pile without any where all that are in such columns are wrong."""
    failed, wrong = None, list[Problem]()
    for feedback in ("steps", "lists", "pairs", "thumbs"):
        pile = _direct(feedback, path, rows, said=wrong)
        if pile and (pile.entries or not pile.lost):
            return pile
        failed = failed or pile
    for shape in judging.COMPARED:
        pile = _shaped(material, path, rows, shape([row.values for row in rows], _columns(rows), material.goal))
        if pile:
            return pile
    material.problems += wrong if failed else []
    return failed


def _asked(material: Material, path: str, rows: Sequence[Row]) -> list[Pile]:
    """Prompts with what their rows hold beside them."""
    columns = _columns(rows)
    piles: list[Pile] = []
    prompts, answers = _direct("prompts", path, rows), _direct("answers", path, rows)
    if answers and all("text" in row and "prompt" not in row for row in answers.rows):
        return _of_text(path, rows, columns) or [_as(answers, "text")]
    if prompts is None and answers is None:
        first = (shape([row.values for row in rows], columns, material.goal) for shape in shapes.ASKED)
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
        return [_as(pile, "tests", {} if tests else {"tests": str(other)}), *_solved(pile, columns)]
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


def _solved(pile: Pile, columns: Sequence[str]) -> list[Pile]:
    """Written solutions beside tests, as answers to learn from."""
    name = next((n for n in SOLUTIONS if n in columns and all(isinstance(r.get(n), str) for r in pile.rows)), None)
    return _answers(pile, name, True) if name else []


def _answered(pile: Pile, columns: Sequence[str], others: bool = False) -> list[Pile]:
    """Right answers that are written out, as answers to learn from."""
    name = next((n for n in ANSWERS if n in columns), None) or column_of(
        "answer", columns, [pile.columns.get("prompt", "prompt")]
    )
    return _answers(pile, name, others) if name else []


def _answers(pile: Pile, name: str, others: bool) -> list[Pile]:
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
    feedback: Feedback,
    path: str,
    rows: Sequence[Row],
    columns: Mapping[str, str] | None = None,
    said: list[Problem] | None = None,
) -> Pile | None:
    """Rows as the sources read them; None where they do not. Of compared answers that are all wrong, or prefer nothing,
    a pile without any; then what is wrong comes into `said`."""
    table = Table(path, [*rows], read=len(rows), written={row.where: row.values for row in rows})
    need = NEEDS[feedback]
    try:
        checked = check_rows(table, need, None, Reading(columns or {}))
    except DataError:
        return None
    kinds: tuple[Kind, ...] = need.kinds
    if (not table.rows and not kinds) or (kinds and checked.kind not in kinds):
        return None
    seen = entries(table, checked.kind, checked.compared)
    pile = Pile(feedback, path, [row.values for row in table.rows], seen, columns or {}, True, table.form)
    wrong = {problem.place: problem for problem in reversed(table.problems)}
    pile.idle = sum(problem.code == "no-preference" for problem in wrong.values())
    pile.lost = len(rows) - len(seen) - pile.idle
    if pile.lost and not seen and said is not None:
        said.extend([*wrong.values()][:5])
    return pile


def _shaped(material: Material, path: str, rows: Sequence[Row], shaped: Shaped | None) -> Pile | None:
    """Rows that another shape made readable."""
    if shaped is None:
        return None
    if not shaped.rows:
        pile = Pile(shaped.feedback, path, [], [])
    elif shaped.renamed:
        pile = _direct(shaped.feedback, path, rows, shaped.columns)
    else:
        readable = [Row(row.where, values) for row, values in zip(rows, shaped.rows, strict=False)]
        pile = _direct(shaped.feedback, path, readable)
    if pile is None:
        return None
    pile.columns, pile.direct, pile.said, pile.used = shaped.columns, shaped.renamed, shaped.said, shaped.used
    for why, count in shaped.left.items():
        material.left[f"rows of {path} {why}"] += count
    return pile
