"""Whose the names of test code are: the program's, the library's, or of nobody.

The comparison must never be the program's, or a program that brings `isclose` of its own passes. So only these are:

* what `entry_point` names, and what is imported from a module that stands for the program (`from solution import f`);
* else the names that the code uses and neither defines nor imports nor has from Python. A module of the library used as
  `math.isclose` is the library's always, and what a module of HELPERS has (`isclose`, `Counter`) is so unless a test
  asks for it alone (`assert factorial(5) == 120`).

A function of the program whose verdict on what another one gave would decide (`assert near(f(2), 0.5)`, with `near`
defined nowhere) makes the test unfit. Equality with a value that the program was not sent is no such verdict:
`assert decode(encode(s)) == s` tests both.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from postlude.code.cases import root_of
from postlude.code.flow import Flow
from postlude.code.imports import HELPERS, PYTEST, SHORT, Imported, Unfit, imported_names, is_library, public
from postlude.code.names import Piece


@dataclass(frozen=True)
class Owners:
    """Of the names in one piece of test code."""

    program: tuple[str, ...]
    """Global names of the program, in the order of their use."""
    modules: tuple[str, ...]
    """Modules that stand for the program."""
    members: tuple[str, ...]
    """What is used of those modules."""
    aliases: tuple[str, ...]
    """By which names the code has them and their members."""
    imports: tuple[str, ...]
    """Statements that bring what the code uses of the library without importing it."""
    packages: tuple[str, ...]
    """Packages it imports that are not of the library."""


def owners(tree: ast.Module, entry: str | None = None) -> Owners:
    """Raises Unfit."""
    root = root_of(entry) if entry else None
    imported = Imported.by(tree)
    free = [name for name in free_names(tree) if name not in imported.starred]
    modules = {name for name in free if name != root and name in _attribute_bases(tree) and is_library(name)}
    shorts = {name for name in free if name != root and name in SHORT}
    rest = [name for name in free if name not in modules | shorts]
    own_modules = imported.of_program(bool(rest) or root is not None)
    aliases = tuple(alias.partition(".")[0] for m, alias, _ in imported_names(tree) if m in own_modules.modules)
    flow = Flow.of(tree, {*rest, *own_modules.members, *aliases}, root)
    helpers = _helpers(rest, flow, root, bool(own_modules.members))
    program = [name for name in rest if name not in helpers]
    _check_judges(flow, {*program, *(aliases if own_modules.guessed else ()), *own_modules.guessed}, root)
    imports = [f"import {name}" for name in sorted(modules)]
    imports += [f"import {SHORT[name]} as {name}" for name in sorted(shorts)]
    imports += [f"from {helpers[name]} import {name}" for name in sorted(helpers)]
    packages = {*imported.packages, *(SHORT[name] for name in shorts if not is_library(SHORT[name]))}
    return Owners(
        tuple(program), own_modules.modules, own_modules.members, aliases, tuple(imports), tuple(sorted(packages))
    )


def free_names(tree: ast.Module) -> list[str]:
    """Global names that the code uses and gives no value, those of Python apart, in the order of their use."""
    names = Piece(ast.unparse(tree)).lacking
    ordered = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names)
    return list(dict.fromkeys(ordered))


def _attribute_bases(tree: ast.AST) -> set[str]:
    """Names that stand before a dot."""
    nodes = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


@cache
def _home(name: str) -> str | None:
    """The module of HELPERS that has a function or value of that name."""
    if name in PYTEST:
        return "pytest"
    return next((m for m in HELPERS if name in public(m)), None)


def _helpers(names: Sequence[str], flow: Flow, root: str | None, others: bool) -> dict[str, str]:
    """Name -> module of those that are the library's."""
    homes = {name: home for name in names if name != root and (home := _home(name))}
    if root is not None or others:
        return homes
    asked = {next(iter(use.names)) for use in flow.uses if len(use.names) == 1}
    library = {name: home for name, home in homes.items() if name not in asked}
    if names and len(library) == len(names):  # something must be the program's: the one used first
        del library[names[0]]
    return library


def _check_judges(flow: Flow, names: set[str], root: str | None) -> None:
    asked = {next(iter(use.names)) for use in flow.uses if len(use.names) == 1}
    judges = sorted({name for use in flow.uses for name in use.judges} & names - asked - {root or ""})
    if judges:
        raise Unfit(
            f"{judges[0]}() judges what the program gives, and nothing but the program would define it: define it "
            "in the tests, or in test_setup_code"
        )
