"""Which tests a piece of test code defines: functions, methods of classes, of pytest and of unittest."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from postlude.sandbox.inside.fixtures import BUILT_IN

Function = ast.FunctionDef | ast.AsyncFunctionDef
GIVEN = frozenset(("self", "cls", "request", *BUILT_IN))
"""Arguments that the tester has for a test."""
NOT_GIVEN = {
    "tmp_path": "files",
    "tmpdir": "files",
    "tmp_path_factory": "files",
    "tmpdir_factory": "files",
    "mocker": "pytest-mock",
    "benchmark": "pytest-benchmark",
    "caplog": "the log of the program's process",
    "httpserver": "the network",
}
"""Arguments that pytest would have, and what they need."""
CASES = ("TestCase", "IsolatedAsyncioTestCase")


@dataclass(frozen=True)
class Discovered:
    tests: tuple[str, ...] = ()
    """`test_a`, `TestB.test_c`, in the order of the code."""
    takers: tuple[str, ...] = ()
    """Functions of one argument, called nowhere, that could be given what they test; `check` first."""


def discovered(tree: ast.Module, entry: str | None = None) -> Discovered:
    """`entry`: what a taker can be given. Raises ValueError for a test that asks for what the tester does not have."""
    definitions = list(_definitions(tree.body))
    classes = {d.name: d for d in definitions if isinstance(d, ast.ClassDef)}
    functions = {d.name: d for d in definitions if isinstance(d, Function)}
    fixtures = {d.name for d in _all_functions(tree) if _is_fixture(d)}
    referenced = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    tests: dict[str, None] = {}
    takers: list[str] = []
    for name, definition in {**functions, **classes}.items():
        if isinstance(definition, ast.ClassDef):
            tests |= dict.fromkeys(f"{name}.{test}" for test in _methods(definition, classes, fixtures))
        elif _is_fixture(definition):
            continue
        elif name.startswith("test") and not (unknown := _unknown(definition, fixtures)):
            tests[name] = None
        elif name in referenced:
            continue
        elif name.startswith("test") and (not entry or unknown[0] in NOT_GIVEN or len(required(definition)) > 1):
            raise ValueError(_missing(name, unknown[0]))
        elif len(required(definition)) == 1:
            takers.append(name)
    takers.sort(key=lambda name: (name != "check", not name.startswith(("check", "test"))))
    order = {d.name: d.lineno for d in definitions}
    return Discovered(tuple(sorted(tests, key=lambda t: order[t.partition(".")[0]])), tuple(takers))


def _definitions(body: Iterable[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Of the top level, also below `if`, `try` and `with`, a main guard apart."""
    for statement in body:
        if isinstance(statement, Function | ast.ClassDef):
            yield statement
        elif isinstance(statement, ast.If | ast.Try | ast.With) and not _is_main_guard(statement):
            for part in ("body", "orelse", "finalbody"):
                yield from _definitions(getattr(statement, part, []))


def _is_main_guard(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            sides = {ast.unparse(left), ast.unparse(right)}
            return sides == {"__name__", "'__main__'"}
    return False


def _all_functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def required(function: Function) -> list[str]:
    """Its arguments without a default value."""
    args = function.args
    plain = [*args.posonlyargs, *args.args]
    without = plain[: len(plain) - len(args.defaults)]
    keyword = [a for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None]
    return [a.arg for a in (*without, *keyword)]


def _last_name(node: ast.expr) -> str:
    """`c` of `a.b.c(x)`."""
    node = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(node).rpartition(".")[2]


def _is_fixture(function: Function) -> bool:
    return any(_last_name(d) == "fixture" for d in function.decorator_list)


def _parameters(decorators: Iterable[ast.expr]) -> set[str] | None:
    """Names that `parametrize` gives; None where its first argument is not written out."""
    names = set[str]()
    for decorator in decorators:
        if not isinstance(decorator, ast.Call):
            continue
        if _last_name(decorator) in ("patch", "object"):  # unittest.mock gives its arguments by position
            return None
        if _last_name(decorator) != "parametrize":
            continue
        argument = decorator.args[0] if decorator.args else decorator.keywords[0].value
        try:
            value = ast.literal_eval(argument)
        except ValueError:
            return None
        names |= {n.strip() for n in (value.split(",") if isinstance(value, str) else map(str, value))}
    return names


def _unknown(function: Function, fixtures: set[str], outer: Iterable[ast.expr] = ()) -> list[str]:
    """Arguments that nobody gives."""
    parameters = _parameters([*function.decorator_list, *outer])
    if parameters is None:
        return []
    return [name for name in required(function) if name not in {*fixtures, *parameters, *GIVEN}]


def _missing(test: str, argument: str) -> str:
    reason = NOT_GIVEN.get(argument)
    if reason:
        return f"{test} needs {argument}, that is {reason}, which the tests of a program do not have here"
    return f"{test} takes {argument}, which is no fixture of the code, and nothing calls {test}"


# ------------------------------------------------------------------------------------------------------------ classes


def _methods(definition: ast.ClassDef, classes: Mapping[str, ast.ClassDef], fixtures: set[str]) -> Iterator[str]:
    """Its tests, inherited ones included; none where it is no class of tests."""
    line = list(_line(definition, classes, set()))
    bodies = [statement for c in reversed(line) for statement in c.body]
    names = {ast.unparse(t) for s in definition.body if isinstance(s, ast.Assign) for t in s.targets}
    case = any(_last_name(base) in CASES for c in line for base in c.bases)
    initialised = any(isinstance(s, Function) and s.name == "__init__" for s in bodies)
    if "__test__" in names or not (case or (definition.name.startswith("Test") and not initialised)):
        return
    methods = {s.name: s for s in bodies if isinstance(s, Function) and s.name.startswith("test")}
    for name, method in methods.items():
        if _is_fixture(method):
            continue
        unknown = [] if case else _unknown(method, fixtures, definition.decorator_list)
        if unknown and not _has_static(method):
            raise ValueError(_missing(f"{definition.name}.{name}", unknown[0]))
        yield name
    for inner in definition.body:
        if isinstance(inner, ast.ClassDef) and not case:
            yield from (f"{inner.name}.{name}" for name in _methods(inner, classes, fixtures))


def _has_static(method: Function) -> bool:
    return any(_last_name(d) == "staticmethod" for d in method.decorator_list)


def _line(definition: ast.ClassDef, classes: Mapping[str, ast.ClassDef], seen: set[str]) -> Iterator[ast.ClassDef]:
    """The class and those of the code that it comes from, the class first."""
    yield definition
    seen.add(definition.name)
    for base in definition.bases:
        name = ast.unparse(base)
        if name in classes and name not in seen:
            yield from _line(classes[name], classes, seen)
