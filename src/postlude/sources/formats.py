"""Rows of a table put into canonical columns, in whichever of the known formats (`forms`) they are.

All other columns, those that were read from too, stay in the row under their own names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache

from postlude.errors import DataError, Problem
from postlude.sources.cells import read_cells
from postlude.sources.forms import (
    CANONICAL,
    COMPARED,
    COMPLETIONS,
    CONVERSATIONS,
    FORMS,
    Form,
    Reading,
    Values,
    Want,
    prompt_beside,
)
from postlude.sources.layouts import way_out
from postlude.sources.messages import (
    ANSWERED,
    add_system,
    holds_prompt,
    is_chat,
    listed,
    message,
    take_out_prompt,
    to_chat,
    tools_of,
)
from postlude.sources.table import Kind, Row, Table
from postlude.words import counted, distance

# --------------------------------------------------------------------------------------------------- recognising


@dataclass(frozen=True)
class Found:
    """What one row is."""

    form: Form
    completion: str | None = None
    """The column that holds the written answer."""

    @property
    def label(self) -> str:
        if self.form.name == "prompt" and self.completion == "completion":
            return "prompt_completion"
        return f"{self.form.name} with {self.completion}" if self.completion else self.form.name


def candidates(row: Values, want: Want, kind: Kind | None = None, kinds: Sequence[Kind] = ()) -> list[Form]:
    """The forms a row fits, without those that another covers; of compared rows, those of `kinds` go before others."""
    if want == "compared":
        compared = [f for f in _with_columns(tuple(row), COMPARED) if f.when(row)]
        return [f for f in compared if f.kind in kinds] or compared
    fitting = [f for f in _with_columns(tuple(row), FORMS) if (kind is None or f.kind == kind) and f.when(row)]
    canonical = {f.kind for f in fitting if f.canonical}
    fitting = [f for f in fitting if f.canonical or f.kind not in canonical]
    fitting = [f for f in fitting if not any(other.covers(f) for other in fitting)]
    prompts = [f for f in fitting if f.kind != "text"]
    return prompts if want == "prompts" and prompts else fitting


@lru_cache(1024)
def _with_columns(columns: tuple[str, ...], forms: tuple[Form, ...]) -> tuple[Form, ...]:
    """The forms whose columns are there: rows of a file mostly have the same ones."""
    return tuple(form for form in forms if {*form.needs} <= {*columns})


def completions(row: Values) -> list[str]:
    """The columns that may hold the answer to the row's prompt."""
    return ["completion"] if "completion" in row else [name for name in COMPLETIONS if name in row]


def recognise(table: Table, want: Want, reading: Reading | None = None, kinds: Sequence[Kind] = ()) -> Kind:
    """Put every row into canonical columns, say in `table.form` what it was, and return the kind of rows.

    `kinds` of compared rows, those that a method learns from, decide where a row could be read in two ways.

    Rows of several formats, rows that fit two, and columns that are not there are errors. A table that was
    recognised before stays as it is.
    """
    if table.kind:
        return table.kind
    reading = reading or Reading()
    _rename(table, reading)
    _read_cells(table)
    if want == "compared":
        _name_prompts(table, reading)
    formats = [_found(row, want, reading, table, kinds) for row in table.rows]
    only = _only(table, _without_unknown(table, formats), want)
    _refuse_typos(table)
    table.kind = only.form.kind
    table.form = _compared(table, only.form) if want == "compared" else _sentence(table, only, reading)
    other_system = Counter[bool]()
    converted = [_canonical(table, row, only, reading, want, other_system) for row in table.rows]
    table.rows = [row for row in converted if row]
    if want != "prompts":
        _note_prompts(table)
    if other_system[True]:
        table.notes.append(
            f"{table.path}: in {other_system[True]} of {len(table.rows)} rows messages have a system message of their "
            'own, and the column "system" says another: it is not read'
        )
    return table.kind


def _read_cells(table: Table) -> None:
    """Lists that cells hold as text; a row with one that cannot be read is bad."""
    readable = []
    for row in table.rows:
        try:
            values = read_cells(row.values, CONVERSATIONS)
            table.changed["lists that stand as text are read as lists"] += values != row.values
            readable.append(replace(row, values=values))
        except DataError as error:
            table.reject(row.where, error.problems[0])
    table.rows = readable


def _name_prompts(table: Table, reading: Reading) -> None:
    """The prompt of compared answers under its own name, where it has another one of the usual."""
    taken = Counter[str]()
    named = []
    for row in table.rows:
        try:
            beside = prompt_beside(row.values, reading.chat)
        except DataError as error:
            table.reject(row.where, error.problems[0])
            continue
        if beside:
            taken[beside[0]] += 1
        named.append(replace(row, values={**row.values, "prompt": beside[1]}) if beside else row)
    table.rows = named
    table.notes += [
        f"{table.path}: in {n} of {counted(len(named), 'row')} the prompt is taken from {names}"
        for names, n in taken.items()
    ]


def _note_prompts(table: Table) -> None:
    """Say where an answer begins with its prompt, and where the prompt is nothing but the first words of both."""
    repeated = sum(map(_repeats_prompt, (row.values for row in table.rows)))
    guessed = sum(
        "prompt" not in row.values
        and isinstance(row.values.get("chosen"), str)
        and not holds_prompt(row.values["chosen"])
        for row in table.rows
    )
    rows = counted(len(table.rows), "row")
    if repeated:
        table.notes.append(
            f"{table.path}: in {repeated} of {rows} answers begin with the prompt, which so stands there twice and is "
            "trained as part of the answer; leave it out of one of them"
        )
    if guessed:
        table.notes.append(
            f'{table.path}: in {guessed} of {rows} there is no "prompt", and the first words that both answers share '
            "are taken for it; columns can name another"
        )


def _repeats_prompt(row: Values) -> bool:
    """Whether every answer of a row begins with a prompt of several words."""
    asked = _words(row.get("prompt"), -1)
    answers = [row[n] for n in ("completion", "chosen", "rejected") if n in row]
    if "labels" not in row and isinstance(row.get("completions"), list):
        answers += row["completions"]
    return len(asked.split()) > 1 and bool(answers) and all(_words(a, 0).startswith(asked) for a in answers)


def _words(said: object, place: int) -> str:
    """A text, or what one of its messages says."""
    if isinstance(said, list) and said and isinstance(said[place], dict):
        said = said[place].get("content")
    return said.strip() if isinstance(said, str) else ""


def require_one_shape(table: Table) -> None:
    """Good rows are all text or all messages: a file of both kinds holds two formats (DataError)."""
    shapes = [(row, _shape(row.values)) for row in table.rows]
    counts = Counter(shape for _, shape in shapes if shape)
    if len(counts) > 1:
        most = counts.most_common(1)[0][0]
        said = ", ".join(f"{n} rows are {shape}" for shape, n in counts.most_common())
        odd = next(row for row, shape in shapes if shape and shape != most)
        raise DataError(
            f"{table.path}: mixed formats: {said} (first odd one: {odd.where}). Put them into two files, or let "
            "data.chat=true make messages of text.",
            code="mixed-rows",
        )


def _shape(row: Values) -> str | None:
    value = next((row[n] for n in ("prompt", "messages", "text", "chosen") if row.get(n) is not None), None)
    return "text" if isinstance(value, str) else "chat messages" if isinstance(value, list) else None


def _rename(table: Table, reading: Reading) -> None:
    """Put the columns that the recipe names under their canonical names."""
    there = table.columns
    problems: list[Problem] = []
    for name, column in reading.columns.items():
        if table.rows and column not in there:
            close = get_close_matches(column, there, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            if reading.own_key != reading.key:
                hint += f" {reading.own_key} can name others for this file."
            problems.append(
                Problem(
                    "missing-column",
                    f"{table.path}: {reading.key} takes {name} from column {column!r}, which is not there; the columns "
                    f"are {', '.join(sorted(there))}.{hint}",
                )
            )
    if problems:
        raise DataError(problems)
    renamed = []
    for row in table.rows:
        lacking = [column for column in reading.columns.values() if column not in row.values]
        if lacking:
            table.reject(
                row.where, Problem("missing-field", f"column {lacking[0]!r}, which {reading.key} names, is missing")
            )
        else:
            values = {name: row.values[column] for name, column in reading.columns.items()}
            renamed.append(Row(row.where, {**row.values, **values}))
    table.rows = renamed


def _found(row: Row, want: Want, reading: Reading, table: Table, kinds: Sequence[Kind]) -> Found | None:
    forms = candidates(row.values, want, reading.kind, kinds)
    if len(forms) > 1:
        names = " and ".join(f"{f.name} ({', '.join(f.needs)})" for f in forms)
        ways = " or ".join(f"{reading.own_key}={_way_out(f, row.values)}" for f in forms)
        advice = f"Say which one is meant: {ways}."
        if want == "compared":
            advice = "The method learns from either: remove the columns of the one that is not meant."
        raise DataError(
            f"{table.path}: rows fit {'two' if len(forms) == 2 else len(forms)} formats, {names} (first: {row.where}). "
            f"{advice}",
            code="ambiguous-rows",
        )
    if not forms:
        return None
    answers = completions(row.values) if forms[0].kind == "prompt" else []
    if want == "prompts":  # other answers in the file are columns like any other
        answers = [name for name in answers if name == "completion"]
    if len(answers) > 1:
        raise DataError(
            f"{table.path}: the answer may stand in {' or '.join(answers)} (first: {row.where}). Say which one is "
            f"meant: {' or '.join(f'{reading.own_key}={{completion: {name}}}' for name in answers)}.",
            code="ambiguous-rows",
        )
    return Found(forms[0], answers[0] if answers else None)


def _way_out(form: Form, row: Values) -> str:
    """The columns that, once named, settle on this form."""
    if form.kind != "prompt":
        return f"{{{form.kind}: {form.needs[0]}}}"
    answers = completions(row)
    if form.name == "Alpaca" and answers:  # naming the prompt would leave its input out
        return f"{{completion: {answers[0]}}}"
    return f"{{prompt: {form.needs[0]}}}"


def _without_unknown(table: Table, formats: list[Found | None]) -> list[Found | None]:
    """Rows of no known form are bad rows, as long as others have one that says what is missing from them."""
    kinds = {f.label for f in formats if f}
    if len(kinds) != 1 or all(formats):
        return formats
    example = next(f for f in formats if f)
    for row, f in zip(table.rows, formats, strict=True):
        if f is None:
            lacking = [n for n in example.form.needs if n not in row.values]
            table.reject(
                row.where, Problem("missing-field", f'"{lacking[0] if lacking else example.form.needs[0]}" is missing')
            )
    table.rows = [row for row, f in zip(table.rows, formats, strict=True) if f]
    return [f for f in formats if f]


def _only(table: Table, formats: list[Found | None], want: Want) -> Found:
    """What all rows are; rows of several kinds are counted, and the first odd one is named."""
    if not formats:
        raise DataError(table.problems or table.no_rows.problems)
    counts = Counter(f.label if f else "none of the formats" for f in formats)
    most = counts.most_common(1)[0][0]
    if len(counts) > 1:
        said = ", ".join(f"{n} rows look like {name}" for name, n in counts.most_common())
        labels = (f.label if f else "none of the formats" for f in formats)
        odd = next(row for row, label in zip(table.rows, labels, strict=True) if label != most)
        raise DataError(f"{table.path}: mixed formats: {said} (first odd one: {odd.where}).", code="mixed-rows")
    if formats[0] is None and want == "compared":
        raise DataError(
            f"{table.path}: rows of compared answers have "
            + ", or ".join(" + ".join(f'"{n}"' for n in f.needs) for f in COMPARED if f.name in _PLAIN_NAMES)
            + f"; found columns {', '.join(sorted(table.columns))}."
            + (_PROMPTS if _are_prompts(table) else _typo(table.columns - {"completion"}, _COMPARED_COLUMNS))
            + way_out(table.rows[0].values),
            code="unknown-rows",
        )
    if formats[0] is None:
        raise DataError(
            f'{table.path}: rows need "prompt" (and "completion" for SFT), "messages" or "text", under these or other '
            f"usual names, or named by data.columns={{prompt: COLUMN}}; found columns "
            f"{', '.join(sorted(table.columns))}.{_typo(table.columns)}{way_out(table.rows[0].values)}",
            code="unknown-rows",
        )
    return formats[0]


def _refuse_typos(table: Table) -> None:
    """A column that is read where it is there, and stands under nearly its name, would be passed over in silence."""
    for column in sorted(table.columns - {*CANONICAL}):
        for name in _OPTIONAL:
            if name not in table.columns and column != f"{name}s" and distance(column.casefold(), name) <= 1:
                raise DataError(
                    f"{table.path}: column {column!r} is not read. Is it meant to be {name!r}? Rename it, or give it "
                    "another name.",
                    code="missing-column",
                )


_OPTIONAL = ("answer", "system", "tools", "margin", "probability")
"""Columns that change what is learned and that no row must have."""
_PLAIN_NAMES = ("pairs", "ranked", "rated", "labelled", "labelled steps")
_COMPARED_COLUMNS = ("chosen", "rejected", "completions", "ranks", "scores", "label", "labels")


_PROMPTS = " These are prompts; `postlude pairs` makes pairs of a model's own answers to them."


def _are_prompts(table: Table) -> bool:
    """Whether all rows ask something, and no column is one of compared answers but for a letter (`level` is none)."""
    asks = all(any(f.kind == "prompt" and f.fits(row.values) for f in FORMS) for row in table.rows)
    return asks and not any(distance(column, name) <= 1 for column in table.columns for name in _COMPARED_COLUMNS)


def _typo(columns: set[str], known: tuple[str, ...] = ("prompt", "completion", "messages", "text")) -> str:
    """A hint where a column looks like one that is needed."""
    for column in sorted(columns - {*known}):
        close = get_close_matches(column, [name for name in known if name not in columns], 1)
        if close:
            return f' Is {column!r} meant to be "{close[0]}"?'
    return ""


def _compared(table: Table, form: Form) -> str:
    """What rows of compared answers are, for people."""
    read = [*form.needs, *(name for name in form.also if name in table.columns)]
    return f"{form.name} ({', '.join(read)})"


def _sentence(table: Table, fitted: Found, reading: Reading) -> str:
    """What the rows are, for people."""
    form, there = fitted.form, table.columns
    sources = {name: column for name, column in reading.columns.items() if name != column}
    if fitted.completion not in (None, "completion"):
        sources["completion"] = str(fitted.completion)
    answer = sources.get("completion", fitted.completion)
    if form.canonical and form.name != "verl":
        said = form.name + (" and completion" if answer else "")
    elif form.name == form.needs[0]:
        said = f"{form.name} as prompt" + (f" and {answer} as completion" if answer else "")
        sources.pop("completion", None)
    else:
        read = [*form.needs, *(name for name in form.also if name in there)]
        said = f"{form.name} ({', '.join([*read, answer] if answer and answer not in read else read)})"
        sources.pop("completion", None)
    named = ", ".join(f"{name} from {column}" for name, column in sources.items())
    chat = ", as chat messages" if reading.chat and form.kind == "prompt" else ""
    return said + (f" ({named})" if named else "") + chat


# ----------------------------------------------------------------------------------------------------- converting


def _canonical(
    table: Table, row: Row, fitted: Found, reading: Reading, want: Want, other_system: Counter[bool]
) -> Row | None:
    """The row with canonical columns; None where it cannot be converted, which is noted. `other_system` counts the rows
    whose messages have another system message than the column of that name."""
    values = dict(row.values)
    try:
        values |= fitted.form.convert(row.values, reading.chat)
        if fitted.completion:
            values["completion"] = row.values[fitted.completion]
        if reading.chat and fitted.form.kind not in ("messages", "text"):
            to_chat(values)
        for name in ("prompt", "completion", "messages", "chosen", "rejected"):
            if name in ANSWERED and name in values:
                values[name] = listed(values[name])
            if isinstance(values.get(name), list):
                values[name] = [message(item) for item in values[name]]
        if fitted.form.kind == "rated" and isinstance(values["completions"], list):
            values["completions"] = [
                [message(item) for item in one] if isinstance(one, list) else one for one in values["completions"]
            ]
        if want != "prompts":
            before = {name: values.get(name) for name in (*ANSWERED, "completions")}
            take_out_prompt(values)
            after = {name: values.get(name) for name in before}
            table.changed["whole conversations are parted into prompt and answer"] += before != after
        if fitted.form.name != "Alpaca" or reading.chat:  # text in Alpaca's own frame holds it already
            other_system[add_system(values)] += 1
        if is_chat(values):
            values |= tools_of(values)
    except DataError as error:
        table.reject(row.where, error.problems[0])
        return None
    return replace(row, values=values)
