"""Which names go into which test of some test code, and which of them decide it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Use:
    """A statement that tests, and what goes into it."""

    node: ast.expr
    names: frozenset[str]
    """Those watched that it uses, itself or by values of variables."""
    judges: frozenset[str]
    """Functions among them that are called on what another one gave, where their result decides."""


class Flow:
    """Which names go into which test, read statement after statement. Branches are read one after the other."""

    def __init__(self, names: set[str], entry: str | None) -> None:
        self._names, self._entry = names, entry
        self.uses: list[Use] = []

    @classmethod
    def of(cls, tree: ast.Module, names: set[str], entry: str | None = None) -> Flow:
        """`entry`: what the arguments of its functions may be."""
        flow = cls(names, entry)
        flow._block(tree.body, {})
        return flow

    def _block(self, body: Sequence[ast.stmt], values: dict[str, frozenset[str]]) -> None:
        for statement in body:
            self._statement(statement, values)

    def _statement(self, statement: ast.stmt, values: dict[str, frozenset[str]]) -> None:
        match statement:
            case ast.FunctionDef(body=body, args=args) | ast.AsyncFunctionDef(body=body, args=args):
                entry = frozenset((self._entry,)) if self._entry else frozenset[str]()
                self._block(body, {**values, **{arg.arg: entry for arg in args.args[:1]}})
                return
            case ast.ClassDef(body=body):
                self._block(body, dict(values))
                return
            case ast.Assign(targets=targets, value=value):
                self._assign(targets, self._going_into(value, values), values)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign([target], self._going_into(value, values), values)
            case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
                self._assign([target], self._going_into(value, values), values)
            case ast.With(items=items) | ast.AsyncWith(items=items):
                for item in items:
                    targets = [item.optional_vars] if item.optional_vars is not None else []
                    self._assign(targets, self._going_into(item.context_expr, values), values)
            case ast.Assert(test=test) | ast.If(test=test) | ast.While(test=test):
                self._use(test, values)
            case ast.Expr(value=value):
                self._use(value, values)
            case _:
                pass
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for inner in getattr(statement, part, []):
                self._block(inner.body, values) if not isinstance(inner, ast.stmt) else self._statement(inner, values)

    def _assign(self, targets: Sequence[ast.expr], going: frozenset[str], values: dict[str, frozenset[str]]) -> None:
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
            for part in parts:
                values[ast.unparse(part)] = going

    def _going_into(self, node: ast.AST, values: Mapping[str, frozenset[str]]) -> frozenset[str]:
        going = set[str]()
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name | ast.Attribute):
                text = ast.unparse(inner)
                going |= values.get(text, frozenset())
                going |= {text} & self._names
                going |= {inner.attr} & self._names if isinstance(inner, ast.Attribute) else set()
        return frozenset(going)

    def _use(self, node: ast.expr, values: Mapping[str, frozenset[str]]) -> None:
        values = dict(values)
        for inner in ast.walk(node):
            if isinstance(inner, ast.comprehension):
                self._assign([inner.target], self._going_into(inner.iter, values), values)
            if isinstance(inner, ast.NamedExpr):
                self._assign([inner.target], self._going_into(inner.value, values), values)
        names = self._going_into(node, values)
        judges = frozenset[str]() if is_equation(node) else frozenset(self._judging(node, values))
        self.uses.append(Use(node, names, judges))

    def _judging(self, node: ast.expr, values: Mapping[str, frozenset[str]]) -> Iterator[str]:
        for call in ast.walk(node):
            if not isinstance(call, ast.Call):
                continue
            name = _first_name(call.func)
            name = name if name in self._names else called(call)
            args = [*call.args, *(k.value for k in call.keywords)]
            taken = {n for a in args for n in self._going_into(a, values) if not n[:1].isupper()}
            if name in self._names and taken - {name}:
                yield str(name)


def _first_name(node: ast.expr) -> str | None:
    """`a` of `a.b().c`."""
    while isinstance(node, ast.Attribute | ast.Call):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else None


def called(call: ast.Call) -> str | None:
    """`f` of `f(x)`, and of `module.f(x)`."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name, value=ast.Name()):
            return name
    return None


def is_equation(node: ast.expr) -> bool:
    """Whether a value must equal another that is neither true nor false: `a == b`, `self.assertEqual(a, b)`."""
    match node:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            return not (_is_truth(left) or _is_truth(right))
        case ast.Call(func=ast.Attribute(attr=name), args=[left, right, *_]) if name.endswith(("Equal", "Equals")):
            return "Not" not in name and "Almost" not in name and not (_is_truth(left) or _is_truth(right))
    return False


def _is_truth(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)
