"""What a piece of Python defines and what it lacks, as its text shows. Nothing is run."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

BUILTINS = frozenset((*dir(builtins), "__name__", "__file__", "__doc__"))
LONGEST = 1_000_000
"""Characters of code that are read: the parser takes some hundred bytes for each."""
_HEAD = re.compile(r"^(?:async[ \t]+def|def|class)[ \t]+(\w+)", re.MULTILINE)
_INVISIBLE = {
    **{ord(c): None for c in "\ufeff\u200b\u200c\u200d\u2060"},
    **{ord(c): " " for c in "\u00a0\u2007\u202f\u3000"},
}
"""Marks of no width, and spaces that are not Python's: what copying text out of a page leaves in code."""


@dataclass(frozen=True)
class Piece:
    """Some Python: a block of an answer, or a statement of one."""

    code: str

    @classmethod
    def of(cls, code: str) -> Piece:
        """The code, without invisible characters where only they keep it from being Python."""
        if code.isascii() or _tree(code) is not None:
            return cls(code)
        visible = code.translate(_INVISIBLE)
        return cls(visible if _tree(visible) is not None else code.lstrip("\ufeff"))

    @cached_property
    def tree(self) -> ast.Module | None:
        """None where it is not Python."""
        return _tree(self.code)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Functions, classes and values that its top level names, imports apart; of broken code by its heads."""
        if self.tree is None:
            return frozenset(_HEAD.findall(self.code))
        return frozenset(name for s in _flat(self.tree.body) if not _is_import(s) for name in bound_by(s))

    @cached_property
    def methods(self) -> dict[str, list[str]]:
        """Method -> the classes of the top level that have it."""
        methods: dict[str, list[str]] = {}
        for statement in self.tree.body if self.tree is not None else ():
            if isinstance(statement, ast.ClassDef):
                for name in {name for inner in _flat(statement.body) for name in bound_by(inner)}:
                    methods.setdefault(name, []).append(statement.name)
        return methods

    @cached_property
    def lacking(self) -> frozenset[str]:
        """Global names that it uses and neither defines nor imports, those of Python apart."""
        try:
            table = symtable.symtable(self.code, "<answer>", "exec")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return frozenset()
        used, assigned = set[str](), set[str]()
        _globals(table, used, assigned)
        return frozenset(used - assigned - BUILTINS)

    @cached_property
    def stars(self) -> list[ast.stmt]:
        """Its `from x import *`."""
        imports = self.tree.body if self.tree is not None else []
        return [s for s in imports if isinstance(s, ast.ImportFrom) and s.names[0].name == "*"]

    def segment(self, statement: ast.stmt) -> str:
        """The statement as it is written, decorators included."""
        decorators = getattr(statement, "decorator_list", [])
        first = min([statement.lineno, *(d.lineno for d in decorators)])
        return "\n".join(self.code.split("\n")[first - 1 : statement.end_lineno]) + "\n"


def bound_by(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of the top level gives a value, those of the blocks in it included."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in names)
        case ast.Assign(targets=targets):
            yield from _stored(targets)
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target) | ast.For(target=target):
            yield from _stored([target])
        case ast.With(items=items):
            yield from _stored([item.optional_vars for item in items if item.optional_vars is not None])
        case _:
            return


def is_definition(statement: ast.stmt) -> bool:
    """Whether running it does no more than to define: a function, a class, an import, a value without a call."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Assign() | ast.AnnAssign():
            return not any(isinstance(node, ast.Call | ast.Await) for node in ast.walk(statement))
    return False


def is_quiet(statement: ast.stmt) -> bool:
    """Whether a script of such statements alone would do nothing."""
    return is_text(statement) or is_definition(statement)


def is_text(statement: ast.stmt) -> bool:
    """A docstring, or another constant that stands alone."""
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_import(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _flat(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements, and those below `if`, `try`, `with` and loops."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            inner = [getattr(statement, part, []) for part in ("body", "orelse", "finalbody")]
            handlers = statement.handlers if isinstance(statement, ast.Try) else []
            for part in (*inner, *(handler.body for handler in handlers)):
                yield from _flat(part)


def _stored(targets: Iterable[ast.expr]) -> Iterator[str]:
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _globals(table: symtable.SymbolTable, used: set[str], assigned: set[str]) -> None:
    """Add the global names that are used in the table and those below it, and those that get a value."""
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if not (top or symbol.is_global()):
            continue
        if symbol.is_referenced():
            used.add(symbol.get_name())
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            assigned.add(symbol.get_name())
    for child in table.get_children():
        _globals(child, used, assigned)


def _tree(code: str) -> ast.Module | None:
    if len(code) > LONGEST:
        return None
    try:
        return ast.parse(code, "<answer>")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
