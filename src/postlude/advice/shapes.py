"""Rows in columns that `sources.forms` does not know, as rows that it does: one line for each shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypeGuard

from postlude.advice.goals import Goal
from postlude.advice.names import column_of, number, thumb

Values = Mapping[str, Any]
Rows = Sequence[Values]
Feedback = Literal["steps", "lists", "pairs", "thumbs", "tests", "golds", "answers", "text", "prompts"]
ALIKE = 0.95
"""Share of rows whose value must be of a kind for a column to be."""
LOOKED_AT = 200
"""Rows whose values say whether a column holds what its name says."""


@dataclass(frozen=True)
class Shaped:
    """Rows in canonical columns, and how they came there."""

    feedback: Feedback
    rows: list[dict[str, Any]]
    columns: Mapping[str, str]
    """Canonical name -> column, where renaming is all there is to it; empty where values were turned into others."""
    renamed: bool
    """Whether renaming is all."""
    said: str
    """What was done, as a sentence goes on after `rows are read with`."""
    left: Mapping[str, int] = field(default_factory=dict[str, int])
    """What rows say nothing, as a tie, after `rows` -> how many."""
    used: tuple[str, ...] = ()
    """Columns of the file that were read."""


Shape = Callable[[Rows, Sequence[str], Goal], Shaped | None]


def find(name: str, rows: Rows, columns: Sequence[str], but: Sequence[str | None] = ()) -> str | None:
    """The column that is named for `name` and can be it by its values."""
    some = rows[:: max(1, len(rows) // LOOKED_AT)]
    return column_of(name, [column for column in columns if column not in but and _fits(name, some, column)])


def renamed(feedback: Feedback, *needs: str) -> Shape:
    """Rows that hold all of `needs` under other names."""

    def shape(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
        taken: dict[str, str] = {}
        for name in needs:
            column = find(name, rows, columns, [*taken.values()])
            if column is None or not _fits(name, rows, column):
                return None
            taken[name] = column
        read = [{**{k: v for k, v in row.items() if k not in taken.values()}, **_of(row, taken)} for row in rows]
        other = {name: column for name, column in taken.items() if name != column}
        said = ", ".join(f"{name} from {column}" for name, column in taken.items())
        return Shaped(feedback, read, other, True, said, used=tuple(taken.values()))

    return shape


def _of(row: Values, taken: Mapping[str, str]) -> dict[str, Any]:
    return {name: row.get(column) for name, column in taken.items()}


def _fits(name: str, rows: Rows, column: str) -> bool:
    """Whether the values of a column can be what it is named for."""
    return name not in _KINDS or _share(_KINDS[name](row.get(column)) for row in rows) >= ALIKE


def _share(flags: Any) -> float:
    seen = [bool(flag) for flag in flags]
    return sum(seen) / len(seen) if seen else 0.0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_said(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) > 0


def _is_numbers(value: Any) -> bool:
    return _is_list(value) and all(number(one) is not None for one in value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "prompt": is_said,
    "completion": is_said,
    "chosen": is_said,
    "rejected": is_said,
    "completions": _is_list,
    "ranks": _is_numbers,
    "scores": _is_numbers,
    "text": _is_text,
}


def _ranked(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """Answers that stand in the order of their rank, the best first, as the column's name says."""
    column = column_of("ranked", columns)
    prompt = column_of("prompt", columns, [column])
    if not (column and prompt):
        return None
    said = [(row.get(prompt), row.get(column)) for row in rows]
    if not all(isinstance(answers, list) and len(answers) > 1 and all(map(_is_text, answers)) for _, answers in said):
        return None
    read = [
        {"prompt": asked, "completions": answers, "ranks": [*range(1, len(answers) + 1)]}
        for asked, answers in said
        if isinstance(answers, list)
    ]
    return Shaped("lists", read, {}, False, f"the answers in {column} in their order, the best first",
                  used=(prompt, column))  # fmt: skip


def _listed(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """A list of answers, each an object with its grade, or beside a list of grades."""
    column = column_of("completions", columns)
    prompt = column_of("prompt", columns, [column])
    if not (column and prompt):
        return None
    read: list[dict[str, Any]] = []
    for row in rows:
        items = row.get(column)
        if not (_is_list(items) and all(isinstance(item, Mapping) for item in items)):
            return None
        names = [*items[0]]
        text = column_of("completion", names) or column_of("text", names) or column_of("answer", names)
        rank, score = column_of("ranks", names), column_of("scores", names)
        grade = rank or score
        if not (text and grade and all(number(item.get(grade)) is not None for item in items)):
            return None
        grades = [number(item.get(grade)) for item in items]
        read.append(
            {
                "prompt": row.get(prompt),
                "completions": [i.get(text) for i in items],
                "ranks" if rank else "scores": grades,
            }
        )
    return Shaped("lists", read, {}, False, f"the answers in {column} with their grades", used=(prompt, column))


def _stepped(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """Steps of an answer, each an object with its label, or beside a list of labels in other words."""
    steps = column_of("steps", columns)
    prompt = column_of("prompt", columns, [steps])
    if not (steps and prompt):
        return None
    labels = column_of("labels", columns, [steps, prompt])
    read: list[dict[str, Any]] = []
    for row in rows:
        items, marks = row.get(steps), row.get(labels) if labels else None
        if not _is_list(items):
            return None
        if all(isinstance(item, Mapping) for item in items):
            names = [*items[0]]
            text = column_of("text", names) or column_of("completion", names) or ("step" if "step" in names else None)
            mark = column_of("labels", names) or column_of("label", names)
            if not (text and mark):
                return None
            items, marks = [item.get(text) for item in items], [item.get(mark) for item in items]
        if not (_is_list(marks) and len(marks) == len(items) and all(isinstance(item, str) for item in items)):
            return None
        said = [None if mark is None else thumb(mark) for mark in marks]
        if any(mark is not None and one is None for mark, one in zip(marks, said, strict=True)):
            return None
        read.append({"prompt": row.get(prompt), "completions": [" ".join(i.split()) for i in items], "labels": said})
    return Shaped("steps", read, {}, False, f"the steps in {steps} with their labels",
                  used=(prompt, steps, *([labels] if labels else [])))  # fmt: skip


PAIRS = renamed("pairs", "chosen", "rejected", "prompt")
LISTS: Sequence[Shape] = (
    _stepped, _listed, _ranked, renamed("lists", "prompt", "completions", "ranks"),
    renamed("lists", "prompt", "completions", "scores"),
)  # fmt: skip
"""Shapes of several answers, or steps, in one row."""
ASKED: Sequence[Shape] = (
    renamed("tests", "prompt", "tests"), renamed("answers", "prompt", "completion"),
    renamed("golds", "prompt", "answer"), renamed("prompts", "prompt"), renamed("text", "text"),
)  # fmt: skip
"""Shapes of what is asked, with or without what is right."""


def is_gold(golds: Sequence[Any]) -> bool:
    """Whether a column of right answers holds results, to be compared, rather than answers written out."""
    texts = [str(gold) for gold in golds]
    marked = _share("####" in text or "\\boxed" in text for text in texts)
    return marked > 0.5 or (median(map(len, texts)) <= 60 and median(len(text.split()) for text in texts) <= 8)


def is_worked(golds: Sequence[Any]) -> bool:
    """Whether the right answers are also written out, with the result at their end."""
    return median(len(str(gold).split()) for gold in golds) > 8
