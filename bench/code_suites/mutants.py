"""Wrong programs, made of a right one by one small change each."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult},
    **{ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.And: ast.Or, ast.Or: ast.And},
}


def mutants(source: str) -> Iterator[str]:
    """Each with one constant, operator, condition or returned value changed. Some may still be right."""
    tree = ast.parse(source)
    for number, _ in enumerate(ast.walk(tree)):
        changed = copy.deepcopy(tree)
        node = next(node for n, node in enumerate(ast.walk(changed)) if n == number)
        if _change(node):
            yield ast.unparse(ast.fix_missing_locations(changed))


def _change(node: ast.AST) -> bool:
    """Change a node in place; False where there is nothing to change."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPPED:
            node.op = SWAPPED[type(op)]()  # type: ignore[assignment]
        case ast.Compare(ops=[op, *_]) if type(op) in SWAPPED:
            node.ops[0] = SWAPPED[type(op)]()  # type: ignore[assignment]
        case ast.Constant(value=bool(value)):
            node.value = not value
        case ast.Constant(value=int(value)):
            node.value = value + 1
        case ast.Return(value=ast.expr() as value):
            node.value = ast.Tuple([value], ast.Load())
        case _:
            return False
    return True
