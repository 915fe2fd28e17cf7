"""Cases of files of public data, as their authors publish them: the reference solutions and changes of them."""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.code_suites.cases import Case, read
from bench.code_suites.mutants import mutants

ARGS = {"types": "loose", "memory": 4096, "seconds": 10}
EACH = 3
"""Changed programs of every reference solution."""


def cases_of(file: Path) -> Iterator[Case]:
    """Of HumanEval, HumanEval+ and MBPP+ in HumanEval's form, and MBPP. Raises ValueError for another."""
    suite = file.name.split(".")[0]
    for row in read(file):
        name = str(row.get("task_id"))
        source, columns = _parts(row)
        for number, program in enumerate([source, *_some(source, name)]):
            told = f"{name} change {number}" if number else name
            alone = "\n".join([program, *_tests(columns)])
            yield Case(suite, told, columns, _fenced(program), "wrong" if number else "right", ARGS, alone)


def _parts(row: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """(the reference solution, the columns with tests)."""
    if "canonical_solution" in row and "test" in row:
        source = row["prompt"] + row["canonical_solution"]
        return source, {name: row[name] for name in ("prompt", "test", "entry_point")}
    if "test_list" in row and "code" in row:
        names = ("test_list", "test", "test_imports", "test_setup_code", "challenge_test_list")
        return row["code"], {name: row[name] for name in names if name in row}
    raise ValueError(f"the columns {', '.join(row)} are none of HumanEval's and MBPP's")


def _tests(columns: Mapping[str, Any]) -> Iterator[str]:
    """The row's test code as its authors run it: behind the program, in the same process."""
    for name in ("test_imports", "test_setup_code", "test_list", "challenge_test_list", "test"):
        value = columns.get(name) or []
        if isinstance(value, str):
            value = ast.literal_eval(value) if value.startswith("[") else [value]
        yield from value
    if "entry_point" in columns:
        yield f"check({columns['entry_point']})"


def _some(source: str, name: str) -> list[str]:
    try:
        changed = list(itertools.islice(mutants(source), 400))
    except (SyntaxError, RecursionError):
        return []
    random.Random(name).shuffle(changed)
    return changed[:EACH]


def _fenced(source: str) -> str:
    return f"The program:\n\n```python\n{source}\n```\n"
