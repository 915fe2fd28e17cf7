"""What test code needs that a tester may not have: packages, files, the network, other processes."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Literal

from postlude.code.execution import run_by_tests

Kind = Literal["package", "files", "network", "processes", "input", "doctest", "execution"]
Need = tuple[Kind, str]
"""What kind, and by what it shows."""

MODULES: dict[str, Kind] = {
    "subprocess": "processes",
    "multiprocessing": "processes",
    "pty": "processes",
    "socket": "network",
    "socketserver": "network",
    "urllib.request": "network",
    "http.client": "network",
    "http.server": "network",
    "smtplib": "network",
    "ftplib": "network",
    "tempfile": "files",
    "shutil": "files",
    "doctest": "doctest",
}
PATHS = frozenset(("write_text", "read_text", "write_bytes", "read_bytes", "mkdir", "unlink", "touch"))
REASONS: dict[Kind, str] = {
    "package": "the tests import {}, which the sandbox does not have",
    "files": "the tests use files ({}), and a sandbox has none: `profile: files` gives it a folder",
    "network": "the tests use the network ({}), which a sandbox never has",
    "processes": "the tests start processes ({}), which a sandbox never does",
    "input": "the tests replace {} for the program, which runs in another process: test what it returns or prints",
    "execution": (
        "the tests run what the program gives ({}), so it could make them pass: compare the text or the bytes, or read "
        "them with ast.literal_eval or json.loads"
    ),
    "doctest": "the tests are examples for {}, which are not run",
}


def reason(need: Need) -> str:
    kind, what = need
    return REASONS[kind].format(what)


def needs_of(tree: ast.AST, packages: Sequence[str], program: Sequence[str] = ()) -> tuple[Need, ...]:
    """`program`: names that the code has of the program."""
    executed: list[Need] = [("execution", what) for what in run_by_tests(tree, program)]
    return tuple(dict.fromkeys([*(("package", p) for p in packages), *_found(tree), *executed]))


def _found(tree: ast.AST) -> Iterator[Need]:
    loads = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    if alias.name in MODULES and (alias.asname or alias.name.partition(".")[0]) in loads:
                        yield MODULES[alias.name], alias.name
            case ast.ImportFrom(module=str(module), names=aliases) if module in MODULES:
                if any((alias.asname or alias.name) in loads for alias in aliases):
                    yield MODULES[module], module
            case ast.Call(func=ast.Name(id="open")):
                yield "files", "open()"
            case ast.Call(func=ast.Attribute(attr=name), args=args):
                if name in PATHS:
                    yield "files", f"{name}()"
                if name in ("patch", "setattr") and args and (replaced := _replaced(args)):
                    yield "input", replaced
            case ast.Call(func=ast.Name(id="patch"), args=args) if args and (replaced := _replaced(args)):
                yield "input", replaced
            case _:
                pass


def _replaced(args: Sequence[ast.expr]) -> str | None:
    """What of Python a patch would replace that the program uses. What it reads and prints goes by the tester."""
    words = [str(a.value) for a in args[:2] if isinstance(a, ast.Constant)]
    text = ".".join([ast.unparse(args[0]), *words]) if not isinstance(args[0], ast.Constant) else ".".join(words[:1])
    return text if text in ("builtins.print", "builtins.open", "sys.argv", "os.environ") else None
