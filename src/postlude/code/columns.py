"""The tests of a program as the columns of public data hold them."""

from __future__ import annotations

import ast
import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from postlude import plain_json
from postlude.code.asserts import cases_in, is_target
from postlude.code.cases import Case, Script
from postlude.code.compare import WAYS
from postlude.code.names import LONGEST, Piece
from postlude.code.shapes import case_of, pairs_of
from postlude.errors import shown

VISIBLE = (
    *("tests", "test_list", "test", "input_output"),
    *("public_tests", "public_test_cases", "test_cases", "verification_info"),
)
"""Columns that may hold the tests; the first a row has is read."""
HIDDEN = (
    *("hidden_tests", "challenge_test_list", "private_tests"),
    *("private_test_cases", "generated_tests", "official_tests"),
)
"""Columns of tests that a prompt must not show; all that a row has are read."""
SETUP = ("test_imports", "test_setup_code")
"""Columns with code of the tests that stands before each: text, or a list of lines."""
CHECKERS = ("checker", "generated_checker")
READ = (
    *(*VISIBLE, *HIDDEN, *SETUP, *CHECKERS),
    *("examples", "entry_point", "fn_name", "metadata", "input_mode"),
)
"""All columns that say something of the tests."""
MOST_NAMED = 5
"""Tests of one column whose faults are told."""


@dataclass(frozen=True)
class Context:
    """What other columns of a row say of its tests."""

    entry: str | None = None
    """The function that is tested, where the tests do not name it."""
    setup: str = ""
    """Code of the tests that stands before each."""
    checker: str = ""


def tests_of(columns: Mapping[str, Any]) -> tuple[list[Case], list[Case]]:
    """The visible and the hidden tests of a row. Raises ValueError with all that is wrong with them."""
    problems: list[str] = []
    context = _context(columns, problems)
    parts: list[list[Case]] = []
    for names in _columns(columns):
        cases: list[Case] = []
        for name in names:
            try:
                cases += _with_checker(cases_of(columns[name], context.entry, context.setup), context.checker)
            except ValueError as error:
                problems.append(f"column {name}: {error}")
        parts.append(cases)
    if problems:
        raise ValueError("; ".join(problems))
    return parts[0], parts[1]


def _columns(columns: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Those with visible and with hidden tests. MBPP+ has three of its tests in `test_list`, all others in `test`."""
    present = {name for name in (*VISIBLE, *HIDDEN, "examples") if columns.get(name) is not None}
    visible = [name for name in VISIBLE if name in present][:1]
    hidden = [name for name in HIDDEN if name in present]
    if visible == ["test_list"] and "test" in present:
        hidden.append("test")
    if not visible and {"examples", "official_tests"} <= present:  # open-r1/codeforces
        visible = ["examples"]
    return visible, hidden


def _context(columns: Mapping[str, Any], problems: list[str]) -> Context:
    entry = columns.get("entry_point") or columns.get("fn_name")
    metadata = columns.get("metadata")
    try:
        metadata = plain_json.loads(metadata) if isinstance(metadata, str) and metadata.strip() else metadata
    except ValueError:
        metadata = None  # other data have a column of that name
    if not entry and isinstance(metadata, Mapping):
        entry = metadata.get("func_name")
    if columns.get("input_mode") == "file":
        problems.append("column input_mode: programs read files here, and the sandbox has none; leave the row out")
    if isinstance(entry, str) and entry.strip() and not is_target(entry):
        problems.append(f"column entry_point: {shown(entry)} is no name of a function, nor a path such as Solution().f")
    entry = entry if isinstance(entry, str) else None
    setup = "\n".join([_helpers(columns.get("prompt"), entry), _setup(columns, problems)])
    return Context(entry, setup.strip(), _checker(columns, problems))


def _helpers(prompt: Any, entry: str | None) -> str:
    """What a prompt that is Python defines besides the function it asks for: its tests may use that (HumanEval)."""
    piece = Piece(prompt) if isinstance(prompt, str) and entry else None
    if piece is None or piece.tree is None:
        return ""
    helpers = [s for s in piece.tree.body if isinstance(s, ast.FunctionDef) and s.name != entry and len(s.body) > 1]
    imports = [s for s in piece.tree.body if isinstance(s, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, [*imports, *helpers])) if helpers else ""


def _setup(columns: Mapping[str, Any], problems: list[str]) -> str:
    parts: list[str] = []
    for name in SETUP:
        value = columns.get(name) or ""
        if isinstance(value, str) and value.lstrip()[:1] == "[":
            value = _parsed(value)
        lines = [value] if isinstance(value, str) else value
        if isinstance(lines, list | tuple) and all(isinstance(line, str) for line in lines):
            parts += lines
        else:
            problems.append(f"column {name}: expected text, or a list of lines")
    return "\n".join(parts)


def _checker(columns: Mapping[str, Any], problems: list[str]) -> str:
    """The code, or the way, by which output is judged; empty where it is compared."""
    name = next((n for n in CHECKERS if columns.get(n)), None)
    text = columns[name] if name is not None else ""
    if not isinstance(text, str):
        problems.append(f"column {name}: a checker is Python code or one of {', '.join(WAYS)}")
    elif "#include" in text or "testlib" in text:
        problems.append(f"column {name}: the checker is C++; write it in Python, as check(input, output, expected)")
    elif text and text not in WAYS and not _defines_check(text):
        problems.append(
            f"column {name}: a checker is Python code with a function check(input, output, expected) that returns "
            f"True or False, or one of {', '.join(WAYS)}"
        )
    else:
        return text
    return ""


def _defines_check(text: str) -> bool:
    piece = Piece(text)
    return piece.tree is not None and "check" in piece.defined


def _with_checker(cases: Sequence[Case], checker: str) -> Iterator[Case]:
    for case in cases:
        if checker and not isinstance(case, Script):
            raise ValueError("a checker judges what a script prints, and these tests call functions")
        yield replace(case, checker=checker) if isinstance(case, Script) else case


def cases_of(value: Any, entry: str | None = None, setup: str = "") -> list[Case]:
    """The tests in a column: a list, a JSON text of one (also of that text), test code, or lists of inputs and outputs.

    `entry`: the function that `check(candidate)` or an unnamed call tests. `setup`: code of the tests that stands
    before each. Raises ValueError with what is wrong and where, of several tests at once.
    """
    value = _parsed(value)
    if isinstance(value, Mapping) and "test_cases" in value:
        language = str(value.get("language") or "python").lower()
        if not language.startswith("py"):
            raise ValueError(f"the tests are for programs in {shown(language)}, and only Python is run")
        value = value["test_cases"]
    if isinstance(value, Mapping):
        pairs = pairs_of(value)
        value = value if pairs is None else pairs
    if isinstance(value, Mapping | str):
        value = [value]
    if not isinstance(value, Sequence):
        raise ValueError(f"tests are a list or text, found {shown(value)}")
    return _all_of(value, entry, setup)


def _all_of(items: Sequence[Any], entry: str | None, setup: str) -> list[Case]:
    cases: list[Case] = []
    problems: list[str] = []
    for number, item in enumerate(items, start=1):
        try:
            cases += _item(item, entry, setup)
        except (ValueError, SyntaxError, RecursionError) as error:
            reason = _no_python(error) if isinstance(error, SyntaxError) else error
            problems.append(f"test {number}: {reason}: {_short(item)}")
    if problems:
        more = [f"and {len(problems) - MOST_NAMED} more"] if len(problems) > MOST_NAMED else []
        raise ValueError("; ".join([*problems[:MOST_NAMED], *more]))
    return cases


def _no_python(error: SyntaxError) -> str:
    where = f" in line {error.lineno}" if error.lineno else ""
    return f"{error.msg}{where}; tests must be Python 3, or objects of call, stdin or input"


def _item(item: Any, entry: str | None, setup: str) -> list[Case]:
    if isinstance(item, str):
        if not item.strip():
            raise ValueError("it is empty")
        return cases_in(item, entry, setup)
    if not isinstance(item, Mapping):
        what = "a list: write one flat list of tests" if isinstance(item, list) else "that"
        raise ValueError(f"expected an object, or test code as text, not {what}")
    if set(item) == {"assert"}:
        return cases_in(item["assert"], entry, setup)
    return [case_of(item, entry)]


def _parsed(value: Any) -> Any:
    """JSON where a text looks like that, also where it is the JSON of such a text; else test code as it is."""
    for _ in range(3):
        if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{", '"'):
            break
        try:
            value = plain_json.loads(value)
        except ValueError as error:
            if value.lstrip()[:1] == '"':  # a text at the head of a module
                return value
            value = _written(value, error)
    if isinstance(value, str) and _is_packed(value):
        raise ValueError(
            "the tests are a compressed pickle, which could run code when it is opened; decode the data once, where "
            "you trust them: json.loads(pickle.loads(zlib.decompress(base64.b64decode(text)))), and store the list"
        )
    return value


def _written(text: str, no_json: ValueError) -> Any:
    """A list as Python writes it, in single quotes: what a table makes of one. Raises ValueError."""
    try:
        if len(text) > LONGEST:
            raise no_json
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"neither JSON nor test code: {no_json}: {_short(text)}") from error


def _is_packed(text: str) -> bool:
    """Whether it is base64 of what zlib made, as LiveCodeBench keeps its private tests."""
    head = text.lstrip()[:64]
    try:
        return len(head) > 20 and base64.b64decode(head[: len(head) // 4 * 4], validate=True)[:1] == b"\x78"
    except (binascii.Error, ValueError):
        return False


def _short(value: Any) -> str:
    """The first 80 characters, with what a terminal would obey escaped."""
    return repr(value)[:80] if isinstance(value, str) else shown(value, 80)
