"""Test code read as calls with expected values; where it is not that, as checks that run apart from the program."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

from postlude.code.cases import Call, Case, Check, checked
from postlude.code.discovery import Discovered, discovered
from postlude.code.imports import absolute
from postlude.code.names import LONGEST, is_text
from postlude.code.obstacles import needs_of
from postlude.code.owners import Owners, owners


def is_target(text: str) -> bool:
    """Whether it is a name or a path of attributes and calls without arguments: `f`, `a.f`, `Solution().f`."""
    try:
        return _root(_parsed(text, "eval").body) is not None
    except (SyntaxError, ValueError):
        return False


def _parsed(source: str, mode: Literal["exec", "eval"] = "exec") -> Any:
    """The source as a tree. Raises SyntaxError, and ValueError for what Python's own parser has no room for."""
    if len(source) > LONGEST:
        raise ValueError(f"{len(source):,} characters of code (limit {LONGEST:,})")
    try:
        return ast.parse(source, mode=mode)
    except (MemoryError, RecursionError) as error:
        raise ValueError("it is nested too deeply") from error


def cases_in(source: str, entry: str | None = None, setup: str = "") -> list[Case]:
    """The tests in it: a case for each `assert f(args) == literal`, a check for each other assert or test function.

    Code that is neither asserts alone nor defines tests is one check. `entry`: what a `def check(candidate)` tests.
    `setup`: code of the tests that stands before it. Raises ValueError, SyntaxError.
    """
    return list(_cases_in(source.replace("\r\n", "\n"), entry or None, setup.replace("\r\n", "\n").strip()))


@lru_cache(256)
def _cases_in(source: str, entry: str | None, setup: str) -> tuple[Case, ...]:
    """Kept, since every answer to a row asks for the same."""
    statements = absolute(_parsed(source)).body
    before = absolute(_parsed(setup)).body
    tests = discovered(ast.Module([*before, *statements], []), entry)
    taker = _taker(tests, statements, entry)
    if taker is not None:
        simple = _calls(taker.body, {taker.args.args[0].arg: str(entry)}, set())
        if simple:
            return tuple(simple)
    if taker is not None:
        statements = [*statements, *_parsed(f"{taker.name}({entry})").body]
    if not any(_can_fail(node) for s in [*before, *statements] for node in ast.walk(s)):
        raise ValueError("it asserts nothing")
    asserts_only = all(isinstance(s, ast.Assert | ast.Import | ast.ImportFrom) or is_text(s) for s in statements)
    if asserts_only:
        return tuple(_one_by_one(before, statements, entry))
    return tuple(_checks([*before, *statements], source, tests.tests if taker is None else (), entry))


def _can_fail(node: ast.AST) -> bool:
    """An assert, a raise, or a call such as `self.assertEqual`, `pytest.fail`, `raises`."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2].lower()
        return name.startswith(("assert", "fail", "raises", "warns", "exit", "_exit"))
    return isinstance(node, ast.Assert | ast.Raise)


def _taker(tests: Discovered, statements: Sequence[ast.stmt], entry: str | None) -> ast.FunctionDef | None:
    """The function that must be called with what it tests. Raises ValueError where nothing names that."""
    functions = {s.name: s for s in statements if isinstance(s, ast.FunctionDef)}
    takers = [name for name in tests.takers if name in functions]
    named = [name for name in takers if name.startswith(("check", "test"))]
    if not entry:
        runs = any(
            not isinstance(s, ast.FunctionDef | ast.Import | ast.ImportFrom) and not is_text(s) for s in statements
        )
        if takers and (named or not runs) and not tests.tests and not _acting(statements):
            raise ValueError(
                f"{takers[0]}() is defined and never called: the column entry_point must name what it tests"
            )
        return None
    chosen = [*named, *([] if tests.tests or _acting(statements) else takers)]
    return functions[chosen[0]] if chosen else None


def _acting(statements: Sequence[ast.stmt]) -> bool:
    """Whether the top level tests something itself."""
    return any(
        isinstance(node, ast.Assert | ast.Call | ast.Raise)
        for s in statements
        if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Assign)
        for node in ast.walk(s)
    )


def _one_by_one(before: Sequence[ast.stmt], statements: Sequence[ast.stmt], entry: str | None) -> Iterator[Case]:
    """Asserts that do not depend on each other."""
    imports = [s for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    for statement in statements:
        if isinstance(statement, ast.Assert):
            body = [*before, *imports, statement]
            names = _owners(body, entry)
            yield from _calls([statement], {}, names.program) or _checks(body, ast.unparse(statement), (), entry)


def _owners(body: Sequence[ast.stmt], entry: str | None) -> Owners:
    """Raises ValueError where nothing of the program is used."""
    tree = ast.Module([*body], [])
    names = owners(tree, entry)
    loads = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    if not names.program and not (loads & {*names.aliases}):
        raise ValueError("it calls no function of the program")
    return names


def _checks(body: Sequence[ast.stmt], shown: str, tests: Sequence[str], entry: str | None) -> list[Case]:
    names = _owners(body, entry)
    tree = ast.Module([*body], [])
    source = "\n".join([*names.imports, ast.unparse(tree)])
    named = tuple(dict.fromkeys([*names.program, *names.members]))
    needs = needs_of(tree, names.packages, (*names.program, *names.members, *names.aliases))
    return [Check(source, shown, named, names.modules, test, needs) for test in tests or (None,)]


def _calls(statements: Sequence[ast.stmt], names: dict[str, str], program: Collection[str]) -> list[Case]:
    """The statements as calls, with some names replaced; empty unless every one of them is that."""
    calls = [_as_call(s, names, program) for s in statements if not is_text(s)]
    return [call for call in calls if call is not None] if all(calls) else []


def _as_call(statement: ast.stmt, names: dict[str, str], program: Collection[str]) -> Call | None:
    """`assert f(args) == literal`, either way round, or with `is` and None, True or False; else None."""
    match statement:
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            return _equation(left, right, names, program) or _equation(right, left, names, program)
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=value) as right])):
            return _equation(left, right, names, program) if value is None or isinstance(value, bool) else None
    return None


def _equation(left: ast.expr, right: ast.expr, names: dict[str, str], program: Collection[str]) -> Call | None:
    """The call of a function that is in `program`, or goes by another name in `names`."""
    if not isinstance(left, ast.Call) or any(k.arg is None for k in left.keywords):
        return None
    root = _root(left.func)
    if root is None or (root.id not in program and root.id not in names):
        return None
    try:
        args = [ast.literal_eval(a) for a in left.args]
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in left.keywords}
        expected = ast.literal_eval(right)
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return None
    target, name = ast.unparse(left.func), names.get(root.id, root.id)
    return checked(Call(target.replace(root.id, name, 1), args, expected, kwargs))


def _root(node: ast.expr) -> ast.Name | None:
    """The name a target begins with."""
    match node:
        case ast.Name():
            return node
        case ast.Attribute(value=ast.Call(func=inner, args=[], keywords=[])) | ast.Attribute(value=inner):
            return _root(inner)
    return None
