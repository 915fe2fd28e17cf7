"""Names that mean the same although they are spelt otherwise: constants of integration, derivatives of one variable.

x^2 + C is x^2 + c, C_1 e^x + C_2 e^{-x} is c_1 e^x + c_2 e^{-x}: where one side has the capital and the other the
small letter, and it stands as such a constant does, as a term of its own, or once in a term with a function. The letter
alone, in a product (mC) or beside other letters in a sum (a + b + C) is a letter like any other. y'' is d^2y/dx^2 and
d^2y/dt^2 where the other side has no primes and derives by one variable only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from postlude.maths.polynomials import Monomial
from postlude.maths.ratios import Ratio
from postlude.maths.reader import Node
from postlude.maths.trees import replaced

_CONSTANT = re.compile(r"[Cc](_\d+)?")
_QUOTIENT = re.compile(r"d(?:\^(\d+))?(.+)/d([^/^]+?)(?:\^\d+)?")
_PRIMED = re.compile(r"[^'/]+'+(?:_.*)?")


def renaming(a: Ratio, b: Ratio, constants: bool = True) -> Mapping[str, str]:
    """Names of either side -> the names to compare them under; empty where they are not the same.

    `constants`: whether those of integration may differ in case.
    """
    here, there = a.symbols, b.symbols
    respelt = _constants(a, b, here - there, there - here) if constants else {}
    return respelt or derivatives(here - there, there - here)


def renamed(tree: Node, names: Mapping[str, str]) -> Node:
    return replaced(tree, {name: ["sym", other] for name, other in names.items()})


def _constants(a: Ratio, b: Ratio, here: set[str], there: set[str]) -> Mapping[str, str]:
    matched = [{n for n in names if _CONSTANT.fullmatch(n)} for names in (here, there)]
    if not here or matched != [here, there] or {n.lower() for n in here} != {n.lower() for n in there}:
        return {}
    if len({n[0] for n in here}) != 1 or {n[0] for n in here} == {n[0] for n in there}:
        return {}
    return (
        {n: n.upper() for n in here | there} if _stand_as_constants(a, here) and _stand_as_constants(b, there) else {}
    )


def _stand_as_constants(value: Ratio, names: set[str]) -> bool:
    inside = [atom for atom in value.atoms if atom[0] == "["]
    if any(re.search(rf"(?<![A-Za-z_]){re.escape(n)}(?![A-Za-z_\d])", atom) for n in names for atom in inside):
        return False
    if any(atom in names for monomial in value.bottom for atom, _ in monomial) or value.symbol:
        return False
    others = value.symbols - names
    if not others and not inside:
        return False
    if len(names) == 1 and len(others) > 1 and (len(others) > 2 or all(not m or _is_letter(m) for m in value.top)):
        return False
    for monomial in value.top:
        constants = [exponent for atom, exponent in monomial if atom in names]
        function = len(monomial) == 1 or len(names) > 1 or any(atom[0] == "[" for atom, _ in monomial)
        if constants and (constants != [1] or not function):
            return False
    return True


def _is_letter(monomial: Monomial) -> bool:
    return [exponent for _, exponent in monomial] == [1]


def derivatives(here: set[str], there: set[str]) -> Mapping[str, str]:
    """dy/dx -> y', where one side has the quotients of one variable and the other primes; else empty."""
    for primed, quotients in ((here, there), (there, here)):
        found = {n: m for n in quotients if (m := _QUOTIENT.fullmatch(n))}
        if not found or len(found) != len(quotients) or not primed or not all(map(_PRIMED.fullmatch, primed)):
            continue
        if len({m.group(3) for m in found.values()}) == 1:
            return {n: _prime(m.group(2), int(m.group(1) or 1)) for n, m in found.items()}
    return {}


def _prime(name: str, order: int) -> str:
    base, mark, below = name.partition("_")
    return base + "'" * order + mark + below
