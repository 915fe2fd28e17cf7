"""Failures of a test that the program must not end.

A program may catch what passes through it: an exception of a callback, or of the block of a `with`. The test would go
on without the assertion that failed, or that was never reached. So an exception that passes through the program is

* a failure of the test where it is an AssertionError, or what `fail`, `skip` or `raises` of a framework raise;
* otherwise its own to catch where the test says `raise`, but in the block of a `with` only if that is unconditional;
* else a failure where it leaves out something that could fail: from the line it left on, or in a loop around that, in
  the block of the `with` and in each function of the test that it ended.
"""

from __future__ import annotations

import ast
import linecache
import sys
from functools import lru_cache
from opcode import opmap
from types import FunctionType, MethodType, TracebackType
from typing import Any

from . import pytest_standin as standin
from .peer import Passing

FILE = "<answer>"
"""The name of the file that test code is compiled as."""
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


def remember(source: str) -> None:
    """The test code, for its lines to be looked up."""
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)


class Leaving(Passing):
    """A failure of the test is not the program's to end, nor to give another name."""

    def __init__(self, error: BaseException | None, spoiled: list[str]) -> None:
        """`spoiled`: takes what happened where the program gave the failure another name."""
        self._error, self._spoiled = error, spoiled
        self._fails = error is not None and is_failure(error, line_in_test())

    def __exit__(self, kind: Any, other: BaseException | None, trace: Any) -> None:
        if self._fails and self._error is not None:
            self.caught = False
            if other is not None and other is not self._error:
                self._spoiled.append(said(self._error))


def said(error: BaseException) -> str:
    """The exception in one line; its text may itself fail."""
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except Exception:
        return type(error).__name__[:80]


def is_failure(error: BaseException, block: int | None = None) -> bool:
    """`block`: the line of the `with` whose block it leaves, if it is not a function of the test that it leaves."""
    if isinstance(error, AssertionError | standin.Failed | standin.Skipped | standin.ExpectedToFail | skip_test()):
        return True
    traces = [trace for trace in _traces(error) if trace.tb_frame.f_code.co_filename == FILE]
    explicit = bool(traces) and traces[-1].tb_next is None and _says_raise(traces[-1])
    for number, trace in enumerate(traces):
        within = _block(block) if number == 0 and block is not None else None
        if within is not None and explicit and len(traces) == 1:
            return _is_conditional(within, trace.tb_lineno)
        scope = within or _function(trace.tb_frame.f_code)
        if not explicit and scope is not None and _leaves_out(scope, trace.tb_lineno):
            return True
    return False


def never_ran(error: BaseException, function: Any) -> bool:
    """Whether the error is that of a call that the function, which could fail, does not take."""
    trace = error.__traceback__
    if trace is None or trace.tb_next is not None or not isinstance(function, FunctionType | MethodType):
        return False
    scope = _function(function.__code__)
    return scope is not None and _leaves_out(scope, 0)


def line_in_test() -> int | None:
    """The line of the test that is being run."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename != FILE:
        frame = frame.f_back
    return frame.f_lineno if frame is not None else None


def can_fail(node: ast.AST) -> bool:
    """An assert, or a call such as `self.assertEqual`, `pytest.fail`, `raises`."""
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func).rpartition(".")[2].lower()
        return name.startswith(("assert", "fail", "raises", "warns", "exit", "_exit", "skip"))
    return isinstance(node, ast.Assert)


def skip_test() -> type[BaseException]:
    """unittest's exception, where that is loaded."""
    return sys.modules["unittest"].SkipTest if "unittest" in sys.modules else standin.Skipped


def _traces(error: BaseException) -> list[TracebackType]:
    traces, trace = list[TracebackType](), error.__traceback__
    while trace is not None:
        traces.append(trace)
        trace = trace.tb_next
    return traces


def _says_raise(trace: TracebackType) -> bool:
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == opmap["RAISE_VARARGS"]


def _leaves_out(scope: list[ast.stmt], line: int) -> bool:
    nodes = [node for statement in scope for node in ast.walk(statement)]
    start = min((n.lineno for n in nodes if isinstance(n, _LOOPS) and _holds(n, line)), default=line)
    return any(can_fail(node) and node.end_lineno >= start for node in nodes)  # type: ignore[attr-defined]


def _is_conditional(scope: list[ast.stmt], line: int) -> bool:
    """Whether the line stands under an `if`, or the like, of the scope."""
    return any(_holds(s, line) and not isinstance(s, ast.Raise | ast.With | ast.AsyncWith) for s in scope)


def _holds(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


@lru_cache(4)
def _nodes(source: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(source)))


def _of_test() -> list[ast.AST]:
    return _nodes("".join(linecache.getlines(FILE)))


def _block(line: int) -> list[ast.stmt] | None:
    """The block of the `with` that has the line at its head."""
    for node in _of_test():
        if isinstance(node, ast.With | ast.AsyncWith):
            if line in (node.lineno, *(item.context_expr.lineno for item in node.items)):
                return node.body
    return None


def _function(code: Any) -> list[ast.stmt] | None:
    """The body of a function of the test."""
    for node in _of_test():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == code.co_name:
            if code.co_firstlineno in (node.lineno, *(d.lineno for d in node.decorator_list)):
                return node.body
    return None
