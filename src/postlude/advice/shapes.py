"""Rows in columns that `sources.forms` does not know, as rows that it does: one line for each shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, TypeGuard

from postlude.advice.names import DOWN, FIRST, SECOND, TIE, UP, column_of, number, thumb, word

Values = Mapping[str, Any]
Rows = Sequence[Values]
Feedback = Literal["steps", "lists", "pairs", "thumbs", "tests", "golds", "answers", "text", "prompts"]
ALIKE = 0.95
"""Share of rows whose value must be of a kind for a column to be."""
FEW_GRADES = 11
"""Different values of a scale of ratings."""


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
    left: int = 0
    """Rows that say nothing, as a tie."""


def _renamed(feedback: Feedback, *needs: str) -> Callable[[Rows, Sequence[str]], Shaped | None]:
    """Rows that hold all of `needs` under other names."""

    def shape(rows: Rows, columns: Sequence[str]) -> Shaped | None:
        taken: dict[str, str] = {}
        for name in needs:
            column = column_of(name, columns, [*taken.values()])
            if column is None or not _fits(name, rows, column):
                return None
            taken[name] = column
        read = [{**{k: v for k, v in row.items() if k not in taken.values()}, **_of(row, taken)} for row in rows]
        other = {name: column for name, column in taken.items() if name != column}
        said = ", ".join(f"{name} from {column}" for name, column in taken.items())
        return Shaped(feedback, read, other, True, said)

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


def _is_said(value: Any) -> bool:
    return _is_text(value) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and len(value) > 0


def _is_numbers(value: Any) -> bool:
    return _is_list(value) and all(number(one) is not None for one in value)


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "prompt": _is_said,
    "completion": _is_said,
    "chosen": _is_said,
    "rejected": _is_said,
    "completions": _is_list,
    "ranks": _is_numbers,
    "scores": _is_numbers,
    "text": _is_text,
}


def _choices(rows: Rows, columns: Sequence[str]) -> Shaped | None:
    """Two answers and which one is better."""
    first = column_of("first", columns)
    second = column_of("second", columns, [first])
    prompt = column_of("prompt", columns, [first, second])
    better = column_of("preference", columns, [first, second, prompt])
    if not (first and second and prompt and better):
        return None
    zero = any(word(row.get(better)) == "0" for row in rows)
    ones, twos = FIRST | {word(first)}, (SECOND | {word(second)}) - ({"2"} if zero else set[str]())
    if zero:  # counted from 0
        ones, twos = ones - {"1"}, twos | {"1"}
    read: list[dict[str, Any]] = []
    for row in rows:
        said = word(row.get(better))
        pair = (row.get(first), row.get(second))
        if said in ones and said not in twos:
            read.append({"prompt": row.get(prompt), "chosen": pair[0], "rejected": pair[1]})
        elif said in twos and said not in ones:
            read.append({"prompt": row.get(prompt), "chosen": pair[1], "rejected": pair[0]})
        elif said not in TIE:
            return None
    said = f"{first} and {second}, the better one by {better}"
    return Shaped("pairs", read, {}, False, said, len(rows) - len(read)) if read else None


def _thumbs(rows: Rows, columns: Sequence[str]) -> Shaped | None:
    """One answer, liked or not."""
    answer = column_of("completion", columns) or column_of("answer", columns)
    prompt = column_of("prompt", columns, [answer])
    label = column_of("label", columns, [answer, prompt])
    if not (answer and prompt and label):
        return None
    words = {word(row.get(label)) for row in rows if row.get(label) is not None}
    if not words or not words <= UP | DOWN:
        return None
    judged = [row for row in rows if thumb(row.get(label)) is not None]
    read = [{"prompt": r.get(prompt), "completion": r.get(answer), "label": thumb(r.get(label))} for r in judged]
    plain = all(word(one) in ("true", "false") for one in words)
    taken = {"prompt": prompt, "completion": answer, "label": label}
    other = {name: column for name, column in taken.items() if name != column}
    said = f"{answer} as the answer, {label} as the thumb"
    return Shaped("thumbs", read, other if plain else {}, plain, said, len(rows) - len(judged))


def _graded(rows: Rows, columns: Sequence[str]) -> Shaped | None:
    """One answer to a row with a grade on a scale: lists where prompts come again, else good from the middle on."""
    answer = column_of("completion", columns) or column_of("answer", columns)
    prompt = column_of("prompt", columns, [answer])
    grade = column_of("scores", columns, [answer, prompt]) or column_of("label", columns, [answer, prompt])
    rank = None if grade else column_of("ranks", columns, [answer, prompt])
    grade, sign = grade or rank, -1 if rank else 1
    if not (answer and prompt and grade):
        return None
    graded = [(row, sign * n) for row in rows if (n := number(row.get(grade))) is not None]
    grades = sorted({n for _, n in graded})
    if len(graded) < ALIKE * len(rows) or not 2 <= len(grades) <= FEW_GRADES:
        return None
    lists = _lists_of([(row.get(prompt), row.get(answer), n) for row, n in graded])
    if len(lists) * 3 >= len({str(row.get(prompt)) for row, _ in graded}) and lists:
        said = f"the answers of a prompt ({answer}) put together, compared by {grade}"
        return Shaped("lists", lists, {}, False, said, len(rows) - len(graded))
    if rank:
        return None
    middle = (grades[0] + grades[-1]) / 2
    read = [{"prompt": r.get(prompt), "completion": r.get(answer), "label": n > middle} for r, n in graded]
    said = (
        f"{answer} as the answer, good where {grade} is above {middle:g}, the middle of {grades[0]:g} to {grades[-1]:g}"
    )
    return Shaped("thumbs", read, {}, False, said, len(rows) - len(graded))


def _lists_of(graded: Sequence[tuple[Any, Any, float]]) -> list[dict[str, Any]]:
    """A list for each prompt that has two answers of different grades, or more."""
    prompts: dict[str, tuple[Any, list[Any], list[float]]] = {}
    for prompt, answer, grade in graded:
        _, answers, grades = prompts.setdefault(str(prompt), (prompt, [], []))
        if answer not in answers:
            answers.append(answer)
            grades.append(grade)
    return [
        {"prompt": prompt, "completions": answers, "scores": grades}
        for prompt, answers, grades in prompts.values()
        if len({*grades}) > 1
    ]


def _ranked(rows: Rows, columns: Sequence[str]) -> Shaped | None:
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
    return Shaped("lists", read, {}, False, f"the answers in {column} in their order, the best first")


def _listed(rows: Rows, columns: Sequence[str]) -> Shaped | None:
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
    return Shaped("lists", read, {}, False, f"the answers in {column} with their grades")


def _stepped(rows: Rows, columns: Sequence[str]) -> Shaped | None:
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
    return Shaped("steps", read, {}, False, f"the steps in {steps} with their labels")


COMPARED: Sequence[Callable[[Rows, Sequence[str]], Shaped | None]] = (
    _stepped, _listed, _ranked, _renamed("lists", "prompt", "completions", "ranks"),
    _renamed("lists", "prompt", "completions", "scores"), _renamed("pairs", "chosen", "rejected", "prompt"), _choices,
    _thumbs, _graded,
)  # fmt: skip
"""Shapes of compared and judged answers, the one that says most first."""
ASKED: Sequence[Callable[[Rows, Sequence[str]], Shaped | None]] = (
    _renamed("tests", "prompt", "tests"), _renamed("answers", "prompt", "completion"),
    _renamed("golds", "prompt", "answer"), _renamed("prompts", "prompt"), _renamed("text", "text"),
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
