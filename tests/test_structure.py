"""The shape of the house: functions and files one can finish, no circles, little written twice, layers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "postlude"
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FUNCTION = 60
LONGEST_FILE = 450
WINDOW = 6
"""So many equal lines in a row count as written twice."""
MOST_TWICE = 0.02
"""Share of the source's lines."""
VAGUE = {"found", "given", "own", "mine", "told", "kept", "made"}
"""Names that do not say what they hold."""
SETTLED = (
    "recipe", "runs", "sources", "objectives", "rollouts", "engines", "code", "facts", "explain", "advice", "doctor",
    "truth", "review", "contest", "preflight", "watch",
)  # fmt: skip
"""Rooms in which nothing has such a name."""


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_functions_and_files_can_be_finished() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"  # type: ignore[operator]
        for path in FILES
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    sizes = {path: len(path.read_text().splitlines()) for path in FILES}
    long += [f"{path.relative_to(ROOT)} has {size} lines" for path, size in sizes.items() if size > LONGEST_FILE]
    assert not long


def test_the_loop_is_short() -> None:
    (loop,) = [node for node in functions(PACKAGE / "loop.py") if node.name == "_train"]
    assert (loop.end_lineno or 0) - loop.lineno < LONGEST_FUNCTION


def test_little_is_written_twice() -> None:
    lines: dict[Path, list[tuple[int, str]]] = {}
    places: dict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path in FILES:
        code = [(i, line.strip()) for i, line in enumerate(path.read_text().splitlines())]
        lines[path] = [(i, line) for i, line in code if line and not line.startswith(("#", "from ", "import "))]
        for start in range(len(lines[path]) - WINDOW + 1):
            places[tuple(line for _, line in lines[path][start : start + WINDOW])].append((path, start))
    twice = {
        (path, number)
        for where in places.values()
        if len(where) > 1
        for path, start in where
        for number, _ in lines[path][start : start + WINDOW]
    }
    assert len(twice) <= MOST_TWICE * sum(map(len, lines.values())), sorted({str(path) for path, _ in twice})


def test_imports_make_no_circle() -> None:
    graph = grimp.build_graph("postlude", exclude_type_checking_imports=True)
    before = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    state: dict[str, int] = {}

    def circle(module: str, path: list[str]) -> list[str]:
        state[module] = 1
        for other in sorted(before[module]):
            if state.get(other) == 1:
                return [*path, module, other]
            if other not in state and (ring := circle(other, [*path, module])):
                return ring
        state[module] = 2
        return []

    for module in sorted(graph.modules):
        if module not in state:
            assert not circle(module, [])


def test_every_room_stands_in_a_layer() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers, *_ = [contract["layers"] for contract in settings if contract["type"] == "layers"]
    named = {part.strip().split(".")[1] for layer in layers for part in layer.split(":")}
    rooms = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert rooms - named == {"__init__"}


def test_every_room_is_described() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text()
    table = page[page.index("## Rooms") : page.index("## Contracts")]
    firsts = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    rooms = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert rooms - {"__init__"} == firsts & rooms and firsts - rooms <= {"recipes"}


def test_the_layers_hold() -> None:
    done = subprocess.run([Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


IMPORTS = [
    ("postlude", ("torch", "numpy", "pydantic")),
    ("postlude.recipe", ("torch", "transformers", "postlude.maths", "postlude.judge", "postlude.sandbox")),
    ("postlude.runs", ("torch", "transformers", "pydantic")),
    ("postlude.explain.topics", ("torch", "transformers")),
    ("postlude.facts.methods, postlude.facts.tables", ("torch", "numpy", "pydantic")),
    (
        "postlude.loop",
        (
            "postlude.rewards",
            "postlude.maths",
            "postlude.sandbox",
            "postlude.judge",
            "postlude.code",
            "postlude.recipe",
        ),
    ),
]


@pytest.mark.parametrize(("module", "unwanted"), IMPORTS, ids=[module for module, _ in IMPORTS])
def test_a_room_loads_only_what_it_needs(module: str, unwanted: tuple[str, ...]) -> None:
    code = (
        f"import sys, {module}; loaded = sorted(m for m in sys.modules if m.startswith({unwanted!r})); "
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_names_say_what_they_hold() -> None:
    vague = [
        f"{path.relative_to(PACKAGE)}:{line} {name}"
        for path in FILES
        if path.relative_to(PACKAGE).parts[0] in SETTLED
        for name, line in names_in(path)
        if name in VAGUE
    ]
    assert not vague


def names_in(path: Path) -> Iterator[tuple[str, int]]:
    """What a file gives a name to, with the line: variables, arguments, attributes, functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno


NEARLY = ("s", "es")


def test_no_two_names_of_the_batch_are_one_letter_apart() -> None:
    for path in (PACKAGE / "batch.py", PACKAGE / "data.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                fields = [
                    x.target.id
                    if isinstance(x, ast.AnnAssign) and isinstance(x.target, ast.Name)
                    else getattr(x, "name", "")
                    for x in node.body
                ]
                pairs = [(a, b) for a, b in pairwise(sorted(filter(None, fields))) if b in {a + end for end in NEARLY}]
                assert not pairs, (node.name, pairs)
