"""Two answers and the better one, answers with a thumb or a grade: by names of columns, else by what is in them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from postlude.advice.goals import MEANINGS, Goal
from postlude.advice.names import (
    DOWN,
    FIRST,
    FLAGS,
    NEUTRAL,
    SECOND,
    SIGNED,
    TIE,
    UP,
    column_of,
    number,
    plain,
    thumb,
    word,
)
from postlude.advice.shapes import ALIKE, LISTS, PAIRS, Rows, Shape, Shaped, find, is_said
from postlude.advice.wording import is_beside, kinds_of, roles_of, side_words, sided, words_of

FEW_GRADES = 11
"""Different values of a scale of ratings."""
NOTHING = "that prefer nothing"
UNJUDGED = "whose answer is judged neither good nor bad"

# ---------------------------------------------------------------------------------------------- two answers, one better


def _two(rows: Rows, columns: Sequence[str]) -> tuple[str, str, str] | None:
    """Columns of the prompt and of two answers that are told apart by a word of their names."""
    texts = [name for name in columns if _holds_text(rows, name)]
    both = next(iter(sided(texts)), None)
    if both is None:
        first = column_of("first", texts)
        second = column_of("second", texts, [first])
        if first is None or second is None:
            return None
        both = first, second
    prompt = find("prompt", rows, columns, both) or _only_text(rows, columns, both)
    return (prompt, *both) if prompt else None


def _holds_text(rows: Rows, column: str) -> bool:
    said = [row.get(column) for row in rows if row.get(column) is not None]
    return len(said) >= 0.5 * len(rows) and sum(map(is_said, said)) >= ALIKE * len(said) > 0


def _only_text(rows: Rows, columns: Sequence[str], but: Sequence[str | None]) -> str | None:
    """The one other column whose values are texts of some words, each its own for the most part."""
    texts = [
        c for c in columns if c not in but and not is_beside(c) and not _few_values(rows, c) and _holds_text(rows, c)
    ]
    return texts[0] if len(texts) == 1 else None


def _few_values(rows: Rows, column: str) -> bool:
    return len(rows) >= 4 and len({word(row.get(column)) for row in rows}) <= min(FEW_GRADES, len(rows) // 2)


def _choices(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """Two answers and which one is better."""
    two = _two(rows, columns)
    if two is None:
        return None
    prompt, first, second = two
    said = {name: which for name in columns if name not in two and (which := _sides(rows, name, first, second))}
    named = [name for name in said if "preference" in roles_of(name) or name == column_of("preference", [name])]
    better = _wanted(named, goal) or (next(iter(said)) if len(said) == 1 and not is_beside(next(iter(said))) else None)
    if better is None:
        return None
    read: list[dict[str, Any]] = []
    for row, which in zip(rows, said[better], strict=True):
        pair = (row.get(first), row.get(second))
        if which is not None:
            chosen, rejected = pair if which == 0 else (pair[1], pair[0])
            read.append({"prompt": row.get(prompt), "chosen": chosen, "rejected": rejected})
    words = f"{first} and {second}, the better one by {better}{_others(named, better, said)}"
    return Shaped("pairs", read, {}, False, words, _left(rows, read, NOTHING), used=(*two, *said))


def _others(named: Sequence[str], better: str, said: Mapping[str, Sequence[int | None]]) -> str:
    """What else prefers one, and how often it says another thing."""
    others = [
        f"{name} says otherwise in {sum(x != y for x, y in zip(said[name], said[better], strict=True)):,} rows and is "
        f"not read (--goal says which counts, or --columns preference={name})"
        for name in named
        if name != better
    ]
    return "; " + "; ".join(others) if others else ""


def _wanted(named: Sequence[str], goal: Goal) -> str | None:
    """Of columns that prefer one, the one that the goal is about, else one that is about no goal."""
    about = {
        name: {g for g, (_, pattern) in MEANINGS.items() if re.search(pattern, " ".join(words_of(name)))}
        for name in named
    }
    asked = [name for name in named if about[name] & {*goal.names}]
    plainly = [name for name in named if not about[name] & {"safer", "shorter", "longer"}]
    return next(iter([*asked, *plainly, *named]), None)


def _sides(rows: Rows, column: str, first: str, second: str) -> list[int | None] | None:
    """0 or 1 for each row, None for neither; None where a column says anything else, or nothing."""
    values = [row.get(column) for row in rows]
    said = {word(value) for value in values if not isinstance(value, list | dict)}
    ones, twos = _side_words(said, first, second)
    result: list[int | None] = []
    for row, value in zip(rows, values, strict=True):
        which = _side(value, ones, twos, (row.get(first), row.get(second)))
        if which is None and word(value) not in TIE | NEUTRAL:
            return None
        result.append(which)
    ties = "preference" in roles_of(column) and any(word(value) in TIE - {""} for value in values)
    return result if ties or any(which is not None for which in result) else None


def _side(value: Any, ones: set[str], twos: set[str], answers: tuple[Any, Any]) -> int | None:
    if isinstance(value, str) and value in answers and answers[0] != answers[1]:
        return answers.index(value)
    said = word(value)
    said = said if said in ones | twos else plain(said).rpartition("_")[2]
    return None if (said in ones) == (said in twos) else int(said in twos)


def _side_words(said: set[str], first: str, second: str) -> tuple[set[str], set[str]]:
    """Values that mean the first column, and those that mean the second: numbers count as the names do, or from 0."""
    ones, twos = FIRST | {word(first), plain(first)}, SECOND | {word(second), plain(second)}
    sides = side_words(first, second) if (first, second) in sided([first, second]) else ("", "")
    zero = "0" in said or (sides == ("0", "1") and "2" not in said)
    ones = ones - {"0", "1"} | ({"0"} if zero else {"1"})
    twos = twos - {"1", "2"} | ({"1"} if zero else {"2"})
    if not all(side.isdigit() for side in sides):
        ones, twos = ones | {sides[0]}, twos | {sides[1]}
    return ones - {""}, twos - {""}


def _scored(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """Two answers, each with its score in a column of its own."""
    two = _two(rows, columns)
    if two is None or (two[1], two[2]) not in sided([two[1], two[2]]):
        return None
    prompt, first, second = two
    scores = [c for c in columns if "judged" in kinds_of(c) and _are_numbers(rows, c)]
    both = [pair for pair in sided(scores) if side_words(*pair) == side_words(first, second)]
    if len(both) != 1:
        return None
    read: list[dict[str, Any]] = []
    for row in rows:
        x, y = (number(row.get(name)) or 0.0 for name in both[0])
        if x != y:
            better, worse = (first, second) if x > y else (second, first)
            read.append({"prompt": row.get(prompt), "chosen": row.get(better), "rejected": row.get(worse)})
    words = f"{first} and {second}, the better one by {both[0][0]} and {both[0][1]}, the higher the better"
    return Shaped("pairs", read, {}, False, words, _left(rows, read, NOTHING), used=(*two, *both[0]))


def _are_numbers(rows: Rows, column: str) -> bool:
    return all(number(row.get(column)) is not None for row in rows)


def _left(rows: Rows, read: Sequence[Any], why: str) -> Mapping[str, int]:
    return {why: len(rows) - len(read)} if len(rows) > len(read) else {}


# ------------------------------------------------------------------------------------------------- one answer, judged


def _one(rows: Rows, columns: Sequence[str], label: str | None) -> tuple[str, str] | None:
    """Columns of the prompt and of the answer to it: of the two at least one by its name."""
    texts = [name for name in columns if _holds_text(rows, name)]
    answer = find("completion", rows, texts, [label]) or find("answer", rows, texts, [label])
    prompt = find("prompt", rows, columns, [answer, label])
    if answer is None and prompt is not None:
        answer = _only_text(rows, columns, [prompt, label])
    if prompt is None and answer is not None:
        prompt = _only_text(rows, columns, [answer, label])
    return (prompt, answer) if prompt and answer else None


def _values(rows: Rows, column: str) -> set[str]:
    return {word(row.get(column)) for row in rows if not isinstance(row.get(column), list | dict)} - NEUTRAL


def _judging(rows: Rows, columns: Sequence[str]) -> str | None:
    """The one column whose values judge, whatever its name: emoji, good and bad, signed votes."""
    return next(iter(some), None) if len(some := [c for c in columns if is_judging(rows, c)]) == 1 else None


def is_judging(rows: Rows, column: str) -> bool:
    """Whether the values of a column say good or bad by themselves: a yes or a 1 may be of anything."""
    values = _values(rows, column)
    known = all(thumb(value) is not None for value in values)
    return bool(values) and known and not is_beside(column) and (not values <= FLAGS or "-1" in values)


def _thumbs(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """One answer, liked or not. Beside -1 a 0 is no vote."""
    named = column_of("label", columns, [*filter(None, (find(n, rows, columns) for n in ("completion", "prompt")))])
    label = named if named and _values(rows, named) <= {*UP, *DOWN} else _judging(rows, columns)
    one = _one(rows, columns, label) if label else None
    values = _values(rows, label) if label else set[str]()
    if not (label and one and values and all(thumb(value) is not None for value in values)):
        return None
    prompt, answer = one
    signed = "-1" in values and values <= SIGNED
    judged = [row for row in rows if thumb(row.get(label)) is not None and not (signed and word(row.get(label)) == "0")]
    read = [{"prompt": r.get(prompt), "completion": r.get(answer), "label": thumb(r.get(label))} for r in judged]
    direct = all(word(row.get(label)) in ("true", "false") for row in rows)
    taken = {"prompt": prompt, "completion": answer, "label": label}
    other = {name: column for name, column in taken.items() if name != column}
    said = f"{answer} as the answer, {label} as the thumb" + (", 0 as no vote since there is -1" if signed else "")
    left = _left(rows, read, UNJUDGED)
    return Shaped("thumbs", read, other if direct else {}, direct, said, left, used=(*taken.values(),))


def _graded(rows: Rows, columns: Sequence[str], goal: Goal) -> Shaped | None:
    """One answer to a row with a grade on a scale: lists where prompts come again, else good above the middle."""
    graded_by = _grade(rows, columns)
    one = _one(rows, columns, graded_by[0]) if graded_by else None
    if graded_by is None or one is None:
        return None
    (grade, sign), (prompt, answer) = graded_by, one
    graded = [(row, sign * n) for row in rows if (n := number(row.get(grade))) is not None]
    lists = _lists_of([(row.get(prompt), row.get(answer), n) for row, n in graded])
    if lists and len(lists) * 3 >= len({str(row.get(prompt)) for row, _ in graded}):
        said = f"the answers of a prompt ({answer}) put together, compared by {grade}"
        return Shaped(
            "lists", lists, {}, False, said, _left(rows, graded, "without a grade"), used=(prompt, answer, grade)
        )
    grades = sorted({n for _, n in graded})
    if sign < 0 or not 2 <= len(grades) <= FEW_GRADES:
        return None
    middle = (grades[0] + grades[-1]) / 2
    read = [
        {"prompt": r.get(prompt), "completion": r.get(answer), "label": n > middle} for r, n in graded if n != middle
    ]
    between = len(graded) - len(read)
    left = {
        **_left(rows, graded, "without a grade"),
        **({f"graded {middle:g}, the middle, neither good nor bad": between} if between else {}),
    }
    said = (
        f"{answer} as the answer, good where {grade} is above {middle:g}, the middle of {grades[0]:g} to {grades[-1]:g}"
    )
    return Shaped("thumbs", read, {}, False, said, left, used=(prompt, answer, grade)) if read else None


def _grade(rows: Rows, columns: Sequence[str]) -> tuple[str, int] | None:
    """The column with grades of nearly all rows, and 1 where more is better."""
    for name, sign in (("scores", 1), ("label", 1), ("ranks", -1)):
        column = column_of(name, columns)
        if column is None:
            continue
        grades = [number(row.get(column)) for row in rows if word(row.get(column)) not in NEUTRAL]
        if grades and sum(grade is not None for grade in grades) >= ALIKE * len(grades) and len({*grades}) > 1:
            return column, sign
    return None


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


COMPARED: Sequence[Shape] = (*LISTS, _choices, _scored, PAIRS, _thumbs, _graded)
"""Shapes of compared and judged answers, the one that says most first."""


# ------------------------------------------------------------------------------------------------ what nothing names


def labels_in(rows: Rows, columns: Sequence[str]) -> list[str]:
    """Columns with few values that come again, which may be labels."""
    return [name for name in columns if not is_beside(name) and _is_label(rows, name)]


def _is_label(rows: Rows, column: str) -> bool:
    values = Counter(word(row[column]) for row in rows if isinstance(row.get(column), str | bool | int | float))
    for one in NEUTRAL:
        values.pop(one, None)
    if len(values) < 2 or len(values) > FEW_GRADES or values.total() < 2 * len(values):
        return False
    return not all(number(value) is not None for value in values) or {*values} <= SIGNED


def is_flag(rows: Rows, column: str) -> bool:
    """Whether all values say yes or no, up or down."""
    values = _values(rows, column)
    return len(values) > 1 and all(thumb(value) is not None for value in values)
