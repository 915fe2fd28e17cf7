"""Where in the package something is done: files read as text, nothing imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
READERS = (
    "runs/figures/",
    "facts/",
    "explain/",
    "cli/",
    "watch/",
    "codes.py",
    "doctor/",
    "alarms.py",
    "screening/find",
)
"""Where names are written that others make."""

MAKERS = (
    "objectives/",
    "engines/",
    "rollouts/",
    "rewards/",
    "judge/",
    "sources/",
    "streams.py",
    "truth/",
    "evaluate.py",
    "lag.py",
    "loop.py",
    "review/",
)
"""Rooms in which things come about, in the order in which they are looked at; what others write is read there."""


@cache
def sources() -> dict[str, str]:
    """Path in the package -> text."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse((PACKAGE / path).read_text(encoding="utf-8"))


def symbols(path: str) -> Iterator[tuple[str, int, int]]:
    """(name, first line, last line) of what a file defines: `trainer.update` inside of a class `trainer`."""
    yield from _symbols(_tree(path), "")


def _symbols(node: ast.AST, prefix: str) -> Iterator[tuple[str, int, int]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield prefix + child.name, child.lineno, child.end_lineno or child.lineno
            if isinstance(child, ast.ClassDef):
                yield from _symbols(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield prefix + target.id, child.lineno, child.end_lineno or child.lineno


def exists(place: str) -> bool:
    """Whether a file of the package has the symbol: `objectives/advantages.py:GAE`; a file alone will do."""
    path, _, symbol = place.partition(":")
    if not (PACKAGE / path).is_file():
        return False
    return not symbol or any(name == symbol for name, _, _ in symbols(path))


@cache
def _literals() -> dict[str, list[str]]:
    """Text in double quotes -> the files that hold it."""
    files: dict[str, list[str]] = {}
    for path, source in sources().items():
        for text in dict.fromkeys(re.findall(r'"[^"\n]+"', source)):
            files.setdefault(text, []).append(path)
    return files


def written_in(text: str, readers: bool = False) -> list[str]:
    """Places where a piece of source stands; not in files that only read what others name so, unless asked."""
    whole = text.startswith('"') and text.endswith('"')
    files = _literals().get(text, []) if whole else [path for path, source in sources().items() if text in source]
    return [
        _around(path, sources()[path].partition(text)[0].count("\n") + 1)
        for path in sorted(files, key=_rank)
        if readers or not path.startswith(READERS)
    ]


def _rank(path: str) -> int:
    return next((i for i, room in enumerate(MAKERS) if path.startswith(room)), len(MAKERS))


_DEFINED = re.compile(r"^( *)(?:async )?(def|class) (\w+)|^()()([A-Za-z_]\w*)(?=[ :][^=\n]*=|: )")
"""A function or class at its indentation, or a name that a file gives a value."""


def _around(path: str, line: int) -> str:
    """The function or class that a line stands in (a method with its class), or the name whose value it is part of."""
    lines = sources()[path].split("\n")
    inside: list[tuple[str, str]] = []
    depth = len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 1
    for text in reversed(lines[:line]):
        match = _DEFINED.match(text)
        if match is None or not depth:
            continue
        indent, kind, name = match.group(1) or "", match.group(2) or "", match.group(3) or match.group(6)
        if len(indent) < depth:
            inside.insert(0, (kind, name))
            depth = len(indent)
    classes = list(takewhile(lambda one: one[0] == "class", inside))
    parts = [name for _, name in (*classes, *inside[len(classes) : len(classes) + 1])]
    return f"{path}:{'.'.join(parts)}" if parts else path


def docstring(place: str) -> str:
    """Of a symbol, or of a file."""
    path, _, symbol = place.partition(":")
    if not symbol:
        return ast.get_docstring(_tree(path)) or ""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef) and node.name == symbol:
            return ast.get_docstring(node) or ""
    return ""


def arguments(place: str) -> list[str]:
    """Of a function, as they are written: `after: str | None = None`."""
    path, _, symbol = place.partition(":")
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef) and node.name == symbol:
            args = [*node.args.args, *node.args.kwonlyargs]
            given_to = [*node.args.defaults, *node.args.kw_defaults]
            blank: list[ast.expr | None] = [None] * (len(args) - len(given_to))
            return [_argument(arg, value) for arg, value in zip(args, [*blank, *given_to], strict=True)]
    return []


def _argument(arg: ast.arg, value: ast.expr | None) -> str:
    hint = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
    return f"{arg.arg}{hint}" + (f" = {ast.unparse(value)}" if value is not None else "")


def place_of(kind: type) -> str:
    """Of a class of the package."""
    return f"{kind.__module__.removeprefix('postlude.').replace('.', '/')}.py:{kind.__name__}"


def place_of_function(function: Callable[..., object]) -> str:
    """Of a function of the package; what it is made by, where that makes several."""
    name = function.__qualname__.partition(".<locals>")[0]
    path = function.__module__.removeprefix("postlude.").replace(".", "/") + ".py"
    return f"{path}:{name}" if "<" not in name else path
