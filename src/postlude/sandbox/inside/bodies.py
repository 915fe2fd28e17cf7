"""Whether the bodies of tests have run that the program decorates, or whose class it decorates or is a base of.

A decorator of the program may give anything in the place of a test. So the first statement of such a test counts here.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Collection, Iterator
from types import CodeType
from typing import Any

_STARTED = "__started__"
_Test = ast.FunctionDef | ast.AsyncFunctionDef


class Bodies:
    """Of the tests in a module."""

    def __init__(self, source: str, file: str, names: Collection[str], modules: Collection[str]) -> None:
        """`names` of the program, `modules` that stand for it. Raises SyntaxError."""
        tree = ast.parse(source, file)
        of_program = {*names, *_aliases(tree, modules)}
        self._watched = {path: test for path, test in _tests(tree) if _uses(of_program, path, tree)}
        for path, test in self._watched.items():
            _count(test, path)
        self._started = Counter[str]()
        self.names: dict[str, Any] = {_STARTED: lambda path: self._started.update([path])}
        self.code: CodeType = compile(ast.fix_missing_locations(tree) if self._watched else source, file, "exec")

    def missing(self, test: str | None, passes: int) -> str | None:
        """A test that has passed that often, or any where none is named, and whose body has not run as often."""
        tests = [test] if test is not None else [*self._watched]
        return next((t for t in tests if t in self._watched and self._started[t] < passes), None)


def _aliases(tree: ast.Module, modules: Collection[str]) -> set[str]:
    imports = [a for s in ast.walk(tree) if isinstance(s, ast.Import) for a in s.names if a.name in modules]
    return {(a.asname or a.name).partition(".")[0] for a in imports}


def _tests(tree: ast.Module) -> Iterator[tuple[str, _Test]]:
    for statement in tree.body:
        if isinstance(statement, _Test) and statement.name.startswith("test"):
            yield statement.name, statement
        if isinstance(statement, ast.ClassDef):
            for member in statement.body:
                if isinstance(member, _Test) and member.name.startswith("test"):
                    yield f"{statement.name}.{member.name}", member


def _uses(names: set[str], path: str, tree: ast.Module) -> bool:
    """Whether a decorator of the test or of its class, or a base of that, is one of the names."""
    *owners, name = path.split(".")
    body = tree.body
    heads: list[ast.expr] = []
    for owner in owners:
        cls = next(s for s in body if isinstance(s, ast.ClassDef) and s.name == owner)
        heads += [*cls.decorator_list, *cls.bases, *(k.value for k in cls.keywords)]
        body = cls.body
    heads += [d for s in body if isinstance(s, _Test) and s.name == name for d in s.decorator_list]
    return any(isinstance(n, ast.Name) and n.id in names for head in heads for n in ast.walk(head))


def _count(test: _Test, path: str) -> None:
    place = int(ast.get_docstring(test) is not None)
    call = ast.Call(ast.Name(_STARTED, ast.Load()), [ast.Constant(path)], [])
    test.body.insert(place, ast.copy_location(ast.Expr(call), test.body[place - 1 if place else 0]))
