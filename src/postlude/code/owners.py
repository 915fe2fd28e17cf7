"""Whose the names of test code are: the program's, the library's, or of nobody.

The comparison must never be the program's, or a program that brings `isclose` of its own passes. So only these are:

* what `entry_point` names, and what is imported from a module that stands for the program (`from solution import f`);
* else the names that the code uses and neither defines nor imports nor has from Python. A module of the library used as
  `math.isclose` is the library's always, and what a module of HELPERS has (`isclose`, `Counter`) is so unless a test asks
  for it alone (`assert factorial(5) == 120`).

A function of the program whose verdict on what another one gave would decide (`assert near(f(2), 0.5)`, with `near`
defined nowhere) makes the test unfit. Equality with a value that the program was not sent is no such verdict:
`assert decode(encode(s)) == s` tests both.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.metadata
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

BUILTINS = frozenset((*dir(builtins), "__name__", "__file__", "__doc__"))
PROGRAMS = frozenset(
    "solution solutions main __main__ answer submission program candidate implementation module code test task problem "
    "exercise script app src student user_code user_solution your_module your_solution your_code your_program "
    "your_script your_file my_module my_solution mymodule mysolution solution_module module_name".split()
)
"""Modules that stand for the program wherever they are imported."""
HELPERS = (
    "math collections itertools functools typing fractions decimal datetime statistics copy heapq bisect io contextlib "
    "dataclasses enum abc random string pathlib types"
).split()
"""Modules whose functions test code uses without an import, the first that has a name."""
SHORT = {"np": "numpy", "pd": "pandas", "dt": "datetime", "plt": "matplotlib.pyplot"}
PYTEST = frozenset(("approx", "raises", "fixture", "mark"))
TESTERS = frozenset(("pytest", "unittest", "doctest"))
KNOWN = frozenset(
    "numpy pandas scipy sympy torch tensorflow jax sklearn matplotlib hypothesis requests parameterized freezegun mock "
    "nose attr pydantic networkx yaml bs4 lxml PIL six dateutil pytz flask django aiohttp httpx sqlalchemy numba "
    "sortedcontainers more_itertools toolz pytest_mock pytest_asyncio cv2 nltk psutil responses ddt tornado "
    "regex simplejson cryptography".split()
)
"""Packages that are never the program."""


class Unfit(ValueError):
    """The test code cannot judge a program."""


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
    root = entry.partition(".")[0].partition("(")[0] if entry else None
    imported = _Imported.by(tree)
    free = [name for name in free_names(tree) if name not in imported.starred]
    modules = {name for name in free if name != root and name in _attribute_bases(tree) and _is_library(name)}
    shorts = {name for name in free if name != root and name in SHORT}
    rest = [name for name in free if name not in modules | shorts]
    own_modules = imported.of_program(bool(rest) or root is not None)
    aliases = tuple(alias.partition(".")[0] for m, alias, _ in _imports(tree) if m in own_modules.modules)
    flow = Flow.of(tree, {*rest, *own_modules.members, *aliases}, root)
    helpers = _helpers(rest, flow, root, bool(own_modules.members))
    program = [name for name in rest if name not in helpers]
    _check_judges(flow, {*program, *(aliases if own_modules.guessed else ()), *own_modules.guessed}, root)
    imports = [f"import {name}" for name in sorted(modules)]
    imports += [f"import {SHORT[name]} as {name}" for name in sorted(shorts)]
    imports += [f"from {helpers[name]} import {name}" for name in sorted(helpers)]
    packages = {*imported.packages, *(SHORT[name] for name in shorts if not _is_library(SHORT[name]))}
    return Owners(
        tuple(program), own_modules.modules, own_modules.members, aliases, tuple(imports), tuple(sorted(packages))
    )


def free_names(tree: ast.Module) -> list[str]:
    """Global names that the code uses and gives no value, those of Python apart, in the order of their use."""
    try:
        table = symtable.symtable(ast.unparse(tree), "<tests>", "exec")
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply") from error
    used, bound = set[str](), set[str]()
    _globals(table, used, bound)
    names = used - bound - BUILTINS
    ordered = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in names)
    return list(dict.fromkeys(ordered))


def _globals(table: symtable.SymbolTable, used: set[str], bound: set[str]) -> None:
    top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if not (top or symbol.is_global()):
            continue
        if symbol.is_referenced():
            used.add(symbol.get_name())
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
            bound.add(symbol.get_name())
    for child in table.get_children():
        _globals(child, used, bound)


def _is_library(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


def _attribute_bases(tree: ast.AST) -> set[str]:
    """Names that stand before a dot."""
    nodes = (node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


# ------------------------------------------------------------------------------------------------------------ imports


@dataclass(frozen=True)
class _OwnModules:
    modules: tuple[str, ...]
    members: tuple[str, ...]
    guessed: frozenset[str]
    """Members of modules that are taken for the program's because nothing else can be."""


@dataclass(frozen=True)
class _Imported:
    """What the code imports that is not of the library."""

    members: Mapping[str, frozenset[str]]
    """Module -> names used of it, taken `from` it or as its attributes."""
    packages: frozenset[str]
    starred: frozenset[str]
    """Names that an `import *` of the library brings."""

    @classmethod
    def by(cls, tree: ast.Module) -> _Imported:
        members: dict[str, set[str]] = {}
        packages, starred = set[str](), set[str]()
        for module, alias, name in _imports(tree):
            top = module.partition(".")[0]
            if top in PROGRAMS or (top not in KNOWN | TESTERS and not _is_library(top) and not _installed(top)):
                used = members.setdefault(module, set())
                used |= {name} - {"*"} if name else _attributes(tree, alias)
            elif _is_library(top):
                starred |= _public(module) if name == "*" else set()
            elif top not in TESTERS:
                packages.add(top)
        named = {module: frozenset(used) for module, used in members.items()}
        return cls(named, frozenset(packages), frozenset(starred))

    def of_program(self, others: bool) -> _OwnModules:
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
        return _OwnModules(tuple(sorted(self.members)), tuple(sorted(names)), frozenset(guessed))


def _imports(tree: ast.Module) -> Iterator[tuple[str, str, str | None]]:
    """(module, the name it goes by, the name taken from it or None) of every import."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from ((a.name, a.asname or a.name, None) for a in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                if module:
                    yield from (("solution." + module if level else module, a.asname or a.name, a.name) for a in aliases)
                else:
                    yield from ((f"solution.{a.name}", a.asname or a.name, None) for a in aliases)


def _attributes(tree: ast.AST, base: str) -> set[str]:
    """What is used as `base.name`."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in nodes if ast.unparse(node.value) == base}


def _public(module: str) -> set[str]:
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


# ----------------------------------------------------------------------------------------------------- who decides


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

    def _assign(
        self, targets: Sequence[ast.expr], going: frozenset[str], values: dict[str, frozenset[str]]
    ) -> None:
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
        names = self._going_into(node, values)
        judges = frozenset[str]() if is_equation(node) else frozenset(self._judging(node, values))
        self.uses.append(Use(node, names, judges))

    def _judging(self, node: ast.expr, values: Mapping[str, frozenset[str]]) -> Iterator[str]:
        for call in ast.walk(node):
            if not isinstance(call, ast.Call):
                continue
            name = called(call)
            args = [*call.args, *(k.value for k in call.keywords)]
            given = {n for a in args for n in self._going_into(a, values) if not n[:1].isupper()}
            if name in self._names and given - {name}:
                yield str(name)


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


@cache
def _home(name: str) -> str | None:
    """The module of HELPERS that has a function or value of that name."""
    if name in PYTEST:
        return "pytest"
    return next((m for m in HELPERS if name in _public(m)), None)


def _helpers(names: Sequence[str], flow: Flow, root: str | None, others: bool) -> dict[str, str]:
    """Name -> module of those that are the library's."""
    homes = {name: home for name in names if name != root and (home := _home(name))}
    if root is not None or others:
        return homes
    asked = {next(iter(use.names)) for use in flow.uses if len(use.names) == 1}
    library = {name: home for name, home in homes.items() if name not in asked}
    if len(library) == len(names):  # something must be the program's: the one used first
        library.pop(names[0], None)
    return library


def _check_judges(flow: Flow, names: set[str], root: str | None) -> None:
    asked = {next(iter(use.names)) for use in flow.uses if len(use.names) == 1}
    judges = sorted({name for use in flow.uses for name in use.judges} & names - asked - {root or ""})
    if judges:
        raise Unfit(
            f"{judges[0]}() judges what the program gives, and nothing but the program would define it: define it in the "
            "tests, or in test_setup_code"
        )
