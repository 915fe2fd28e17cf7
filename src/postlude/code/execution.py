"""Test code that would run what the program gives it: `eval(f(x))` makes the program a part of its own judge."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator

RUNNERS = frozenset(
    (
        *("eval", "exec", "compile", "__import__"),
        *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads"),
        *("importlib.import_module", "runpy.run_path", "runpy.run_module", "timeit.timeit", "timeit.repeat"),
        *("types.FunctionType", "types.CodeType", "code.InteractiveInterpreter", "shelve.open"),
    )
)
"""What runs a text, or makes whatever objects some bytes ask for; `ast.literal_eval` and `json.loads` do not."""


def run_by_tests(tree: ast.AST, program: Collection[str]) -> Iterator[str]:
    """Calls of RUNNERS with what comes from these names of the program, each as `eval()`.

    A name comes from there once any value that is assigned to it mentions one that does, anywhere in the code.
    """
    names = _imported(tree)
    tainted = _tainted(tree, program)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        runner = _full_name(call.func, names).removeprefix("builtins.")
        if runner in RUNNERS and any(_mentions(one, tainted) for one in (*call.args, *call.keywords)):
            yield f"{runner}()"
        if any(_full_name(one, names) in RUNNERS for one in call.args) and _mentions(call, tainted):
            yield f"{next(n for one in call.args if (n := _full_name(one, names)) in RUNNERS)}()"


def _imported(tree: ast.AST) -> dict[str, str]:
    """Name in the code -> what it stands for, of imports anywhere and of `name = module.function`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = _full_name(node.value, names)
            names |= {node.targets[0].id: value} if value in RUNNERS else {}
    return names


def _full_name(node: ast.expr, names: dict[str, str]) -> str:
    """`pickle.loads` of `loads` and of `p.loads`; empty where it is no name."""
    match node:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Attribute(value=value, attr=attr):
            before = _full_name(value, names)
            return f"{before}.{attr}" if before else ""
    return ""


def _tainted(tree: ast.AST, program: Collection[str]) -> set[str]:
    """Names that hold what comes from the program."""
    tainted = {*program}
    bindings = list(_bindings(tree))
    while new := {name for targets, value in bindings if _mentions(value, tainted) for name in targets} - tainted:
        tainted |= new
    return tainted


def _bindings(tree: ast.AST) -> Iterator[tuple[list[str], ast.AST]]:
    """(names, what they are given); a function's arguments are given all that any call of it mentions."""
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield _names(*targets), value
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.AugAssign(target=target, value=value):
                yield _names(target), value
            case ast.NamedExpr(target=target, value=value):
                yield _names(target), value
            case ast.For(target=target, iter=value) | ast.AsyncFor(target=target, iter=value):
                yield _names(target), value
            case ast.comprehension(target=target, iter=value):
                yield _names(target), value
            case ast.withitem(context_expr=value, optional_vars=ast.expr() as target):
                yield _names(target), value
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in functions:
                arguments = functions[name].args
                taken = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                for argument in (*node.args, *node.keywords):
                    yield taken, argument
            case _:
                pass


def _names(*targets: ast.expr) -> list[str]:
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def _mentions(node: ast.AST, names: Collection[str]) -> bool:
    return any(isinstance(inner, ast.Name) and inner.id in names for inner in ast.walk(node))
