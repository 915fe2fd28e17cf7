"""What test code imports: of the library, of other packages, and of modules that stand for the program."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

_PROGRAMS = (
    "solution solutions main __main__ answer submission program candidate implementation module code test task "
    "problem exercise script app src student user_code user_solution your_module your_solution your_code "
    "your_program your_script your_file my_module my_solution mymodule mysolution solution_module module_name"
)
PROGRAMS = frozenset(_PROGRAMS.split())
"""Modules that stand for the program wherever they are imported."""
_HELPERS = (
    "math collections itertools functools typing fractions decimal datetime statistics copy heapq bisect io "
    "contextlib dataclasses enum abc random string pathlib types"
)
HELPERS = _HELPERS.split()
"""Modules whose functions test code uses without an import, the first that has a name."""
SHORT = {"np": "numpy", "pd": "pandas", "dt": "datetime", "plt": "matplotlib.pyplot"}
PYTEST = frozenset(("approx", "raises", "fixture", "mark"))
TESTERS = frozenset(("pytest", "unittest", "doctest"))
_KNOWN = (
    "numpy pandas scipy sympy torch tensorflow jax sklearn matplotlib hypothesis requests parameterized freezegun "
    "mock nose attr pydantic networkx yaml bs4 lxml PIL six dateutil pytz flask django aiohttp httpx sqlalchemy "
    "numba sortedcontainers more_itertools toolz pytest_mock pytest_asyncio cv2 nltk psutil responses ddt tornado "
    "regex simplejson cryptography"
)
KNOWN = frozenset(_KNOWN.split())
"""Packages that are never the program."""


class Unfit(ValueError):
    """The test code cannot judge a program."""


def is_library(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


@dataclass(frozen=True)
class OwnModules:
    modules: tuple[str, ...]
    members: tuple[str, ...]
    guessed: frozenset[str]
    """Members of modules that are taken for the program's because nothing else can be."""


@dataclass(frozen=True)
class Imported:
    """What the code imports that is not of the library."""

    members: Mapping[str, frozenset[str]]
    """Module -> names used of it, taken `from` it or as its attributes."""
    packages: frozenset[str]
    starred: frozenset[str]
    """Names that an `import *` of the library brings."""

    @classmethod
    def by(cls, tree: ast.Module) -> Imported:
        members: dict[str, set[str]] = {}
        packages, starred = set[str](), set[str]()
        optional = _optional(tree)
        for module, alias, name in imported_names(tree):
            top = module.partition(".")[0]
            if module in optional and top not in PROGRAMS and not is_library(top):
                continue
            if top in PROGRAMS or (top not in KNOWN | TESTERS and not is_library(top) and not _installed(top)):
                used = members.setdefault(module, set())
                used |= {name} - {"*"} if name else _attributes(tree, alias)
            elif is_library(top):
                starred |= public(module) if name == "*" else set()
            elif top not in TESTERS:
                packages.add(top)
        named = {module: frozenset(used) for module, used in members.items()}
        return cls(named, frozenset(packages), frozenset(starred))

    def of_program(self, others: bool) -> OwnModules:
        """Which modules stand for the program; `others`: whether it has names besides. Raises Unfit."""
        sure = {m for m in self.members if m.partition(".")[0] in PROGRAMS}
        unsure = self.members.keys() - sure
        if unsure and (sure or others):
            raise Unfit(
                f"it imports {', '.join(sorted(unsure))}, which is neither Python's library nor the program "
                "(solution, main, answer and the like): put what it needs into the tests, or in test_setup_code"
            )
        names = {name for module in self.members for name in self.members[module]}
        guessed = {name for module in unsure for name in self.members[module]}
        return OwnModules(tuple(sorted(self.members)), tuple(sorted(names)), frozenset(guessed))


def imported_names(tree: ast.AST) -> Iterator[tuple[str, str, str | None]]:
    """(module, the name it goes by, the name taken from it or None) of every import."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from ((a.name, a.asname or a.name, None) for a in aliases)
            case ast.ImportFrom(module=str(module), names=aliases):
                yield from ((module, a.asname or a.name, a.name) for a in aliases)


def absolute(tree: ast.Module) -> ast.Module:
    """The code with `from .x import y` as `from solution.x import y`: what lies beside the tests is the program."""
    return _Absolute().visit(tree)


class _Absolute(ast.NodeTransformer):
    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt:
        if not node.level:
            return node
        if node.module is None and all(a.name in PROGRAMS for a in node.names):
            return ast.copy_location(ast.Import(node.names), node)
        module = "solution" if node.module is None else f"solution.{node.module}"
        return ast.copy_location(ast.ImportFrom(module, node.names, 0), node)


def _optional(tree: ast.AST) -> set[str]:
    """Modules imported where it is no error that they are not there."""
    tries = (node for node in ast.walk(tree) if isinstance(node, ast.Try))
    caught = [(t, ast.unparse(h.type) if h.type is not None else "") for t in tries for h in t.handlers]
    lenient = [t for t, text in caught if not text or any(w in text for w in ("Import", "ModuleNot", "Exception"))]
    return {m for t in lenient for s in t.body for m, _, _ in imported_names(s)}


def _attributes(tree: ast.AST, base: str) -> set[str]:
    """What is used as `base.name`."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if ast.unparse(node.value) == base}


def public(module: str) -> set[str]:
    if module.partition(".")[0] not in HELPERS:
        return set()
    loaded = importlib.import_module(module)
    names: Iterable[str] = getattr(loaded, "__all__", None) or (n for n in dir(loaded) if not n.startswith("_"))
    return set(names)


@cache
def _packages() -> frozenset[str]:
    return frozenset(importlib.metadata.packages_distributions())


def _installed(name: str) -> bool:
    return name in _packages()
