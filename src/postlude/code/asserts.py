"""Test code read as calls with expected values; where it is not that, rewritten so that it can run apart."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from postlude.code.cases import Call, Case, Check, checked

BUILTINS = set(dir(builtins))
LONGEST = 1_000_000
"""Characters of test code, for which the parser takes some hundred bytes each."""


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


def cases_in(source: str, entry: str | None = None) -> list[Case]:
    """One case for each `assert f(args) == literal`; code that holds anything else is a `Check` as a whole.

    `entry`: the function that a `def check(candidate)` in it tests. Raises ValueError, SyntaxError.
    """
    source = source.replace("\r\n", "\n")
    statements = _parsed(source).body
    check = next((s for s in statements if isinstance(s, ast.FunctionDef) and s.name == "check"), None)
    if check is not None and not entry and len(statements) == 1:
        raise ValueError("check() is defined and never called: the column entry_point must name what it tests")
    if check is not None and entry:
        simple = _calls(check.body, {arg.arg: entry for arg in check.args.args[:1]})
        return simple or [_check(f"{source}\ncheck({entry})\n", source)]
    if not any(isinstance(node, ast.Assert | ast.Raise | ast.Call) for s in statements for node in ast.walk(s)):
        raise ValueError("it asserts nothing")
    simple = _calls(statements, {})
    if simple:
        return simple
    asserts_only = all(isinstance(s, ast.Assert | ast.Import | ast.ImportFrom) for s in statements)
    return list(_one_by_one(statements)) if asserts_only else [_check(source, source)]


def _one_by_one(statements: Sequence[ast.stmt]) -> Iterator[Case]:
    """Asserts that do not depend on each other."""
    imports = [ast.unparse(s) for s in statements if not isinstance(s, ast.Assert)]
    for statement in statements:
        if isinstance(statement, ast.Assert):
            text = ast.unparse(statement)
            yield from _calls([statement], {}) or [_check("\n".join([*imports, text]), text)]


def _calls(statements: Sequence[ast.stmt], names: dict[str, str]) -> list[Case]:
    """The statements as calls, with some names replaced; empty unless every one of them is that."""
    calls = [_as_call(s, names) for s in statements if not _is_text(s)]
    return [call for call in calls if call is not None] if all(calls) else []


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _as_call(statement: ast.stmt, names: dict[str, str]) -> Call | None:
    """`assert f(args) == literal`, either way round, or with `is` and None, True or False; else None."""
    match statement:
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])):
            return _equation(left, right, names) or _equation(right, left, names)
        case ast.Assert(test=ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=value) as right])):
            return _equation(left, right, names) if value is None or isinstance(value, bool) else None
    return None


def _equation(left: ast.expr, right: ast.expr, names: dict[str, str]) -> Call | None:
    if not isinstance(left, ast.Call) or any(k.arg is None for k in left.keywords):
        return None
    root = _root(left.func)
    if root is None or root.id in BUILTINS:
        return None
    try:
        args = [ast.literal_eval(a) for a in left.args]
        kwargs = {str(k.arg): ast.literal_eval(k.value) for k in left.keywords}
        expected = ast.literal_eval(right)
    except (ValueError, TypeError, SyntaxError, MemoryError):
        return None
    root.id = names.get(root.id, root.id)
    return checked(Call(ast.unparse(left.func), args, expected, kwargs))


def _root(node: ast.expr) -> ast.Name | None:
    """The name a target begins with."""
    match node:
        case ast.Name():
            return node
        case ast.Attribute(value=ast.Call(func=inner, args=[], keywords=[])) | ast.Attribute(value=inner):
            return _root(inner)
    return None


# ------------------------------------------------------------------------------------------------ test code that runs


def _check(source: str, shown: str) -> Check:
    """The code with every use of a name of the program made a remote one."""
    tree = _parsed(source)
    remote = _free(tree)
    if not remote:
        raise ValueError("it calls no function of the program")
    return Check(ast.unparse(ast.fix_missing_locations(_Remote(remote).visit(tree))), shown, tuple(sorted(remote)))


def _free(tree: ast.AST) -> set[str]:
    """Names that are used but neither defined nor imported in the code nor built in."""
    used, bound = set(), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=other):
                bound.add(other or name.partition(".")[0])
    return used - bound - BUILTINS


class _Remote(ast.NodeTransformer):
    """`f(x)` becomes `_remote_call("f", x)`, and `f` elsewhere `_remote_name("f")`."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Call(self, node: ast.Call) -> Any:
        root = _root(node.func)
        if root is None or root.id not in self._names:
            return self.generic_visit(node)
        target = ast.Constant(ast.unparse(node.func))
        args = [self.visit(a) for a in node.args]
        keywords = [self.visit(k) for k in node.keywords]
        return ast.Call(ast.Name("_remote_call", ast.Load()), [target, *args], keywords)

    def visit_Name(self, node: ast.Name) -> Any:
        if node.id not in self._names:
            return node
        return ast.Call(ast.Name("_remote_name", ast.Load()), [ast.Constant(node.id)], [])
