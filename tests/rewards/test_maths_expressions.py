"""Expressions: functions, derivatives, ways of counting, names, sums; and random terms against plain arithmetic."""

from __future__ import annotations

import cmath
import math
import random
import re
from typing import Any

import pytest

from postlude.maths.compare import Comparison
from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from tests.maths_tables import lopsided, misjudged, pairs_of
from tests.underway import in_little_time

PAIRS = pairs_of("maths_expressions.txt")
EXPENSIVE = [
    r"9^{9^{9^{9}}}", r"(10^{9})!", r"((10^9)!)!", r"10^{9}!!", r"\binom{10^9}{5\cdot10^8}", r"\prod_{k=1}^{10^9} k",
    r"\sum_{k=1}^{1000}\frac{1}{k}", r"\sum_{k=1}^{999}k^{k}", r"\sum_{k=1}^{999}\sum_{j=1}^{999}kj^k",
    "(" * 30 + "x+1" + ")^9+1" * 30, r"\sqrt{" * 39 + "2" + "}" * 39, r"\frac{1}{1+" * 38 + "x" + "}" * 38,
    "+".join(rf"\frac{{1}}{{x+{n}}}" for n in range(60)), "(a+b+c+d+e+f+g)^{40}", r"\sin(" * 38 + "1" + ")" * 38,
    r"x^{999999}+1", r"2^{99999}-2^{99998}", "1" * 900 + "^{900}", r"\gcd(2^{5000}-1,2^{2500}-1)",
    "f(" * 38 + "x" + ")" * 38,
    r"\log_2(" * 30 + "x" + ")" * 30, r"(n+20)!(n+19)!(n+18)!(n+17)!", r"P(10^{12}, 10^6)", r"\lim_{x\to0}" * 12 + "x",
]  # fmt: skip


def test_every_pair_of_the_table_is_judged_as_written() -> None:
    assert misjudged(PAIRS) == []
    assert len(PAIRS) > 400


def test_the_table_is_judged_the_same_way_round_from_both_sides() -> None:
    assert lopsided(PAIRS) == []


@pytest.mark.parametrize("text", EXPENSIVE)
def test_what_is_expensive_is_refused_or_kept_closed_in_little_time(text: str) -> None:
    with in_little_time():
        try:
            value = read(text)
            Comparison().same(value, read("7"))
            assert Comparison().same(value, read(text)) is True
            assert len(str(value)) < 2_000_000
        except Unreadable as problem:
            assert str(problem)


# ------------------------------------------------------------------------------- random terms, and plain arithmetic

Tree = tuple[Any, ...]


def _tree(random_: random.Random, depth: int) -> Tree:
    if depth == 0 or random_.random() < 0.15:
        return ("leaf", random_.choice(["x", "y", "a", str(random_.randint(1, 9)), str(random_.randint(1, 9))]))
    kind = random_.choice(["+", "+", "-", "*", "*", "/", "^", "root", "sin", "abs"])
    if kind == "^":
        return (kind, _tree(random_, depth - 1), random_.choice([2, 3]))
    if kind in ("root", "sin", "abs"):
        return (kind, _tree(random_, depth - 1))
    return (kind, _tree(random_, depth - 1), _tree(random_, depth - 1))


def _value(tree: Tree, letters: dict[str, float]) -> complex:
    kind, *parts = tree
    if kind == "leaf":
        return letters[parts[0]] if parts[0] in letters else int(parts[0])
    if kind == "^":
        return _value(parts[0], letters) ** parts[1]
    values = [_value(p, letters) for p in parts]
    one = {"root": cmath.sqrt, "sin": cmath.sin, "abs": abs}
    if kind in one:
        return one[kind](values[0])
    a, b = values
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[kind]()


def _latex(tree: Tree, random_: random.Random) -> str:
    kind, *parts = tree
    if kind == "leaf":
        return parts[0]
    if kind == "^":
        return rf"\left({_latex(parts[0], random_)}\right)^{{{parts[1]}}}"
    inner = [_latex(p, random_) for p in parts]
    if kind in "+*" and random_.random() < 0.5:
        inner.reverse()
    if kind == "-":
        return rf"{inner[0]}-\left({inner[1]}\right)"
    forms = {
        "+": ["{0}+{1}", "{1}+{0}"],
        "*": [r"\left({0}\right)\left({1}\right)", r"({0})\cdot({1})", r"({0})\times {{({1})}}"],
        "/": [r"\frac{{{0}}}{{{1}}}", r"\dfrac{{{0}}}{{{1}}}", r"({0})/({1})", r"({0})\div({1})"],
        "root": [r"\sqrt{{{0}}}", r"\sqrt[2]{{{0}}}", r"({0})^{{1/2}}"],
        "sin": [r"\sin\left({0}\right)", r"\operatorname{{sin}}({0})"],
        "abs": [r"\left|{0}\right|", r"\lvert {0}\rvert"],
    }
    return random_.choice(forms[kind]).format(*inner)


def _plain(tree: Tree) -> str:
    kind, *parts = tree
    if kind == "leaf":
        return parts[0]
    if kind == "^":
        return f"({_plain(parts[0])})^{parts[1]}"
    inner = [_plain(p) for p in parts]
    return {
        "+": "({0} + {1})", "-": "({0} - ({1}))", "*": "({0})*({1})", "/": "(({0})/({1}))", "root": "sqrt({0})",
        "sin": "sin({0})", "abs": "abs({0})",
    }[kind].format(*inner, "")  # fmt: skip


def _changed(tree: Tree, random_: random.Random) -> Tree:
    """One leaf, sign or exponent is another."""
    kind, *parts = tree
    if kind == "leaf":
        return ("leaf", random_.choice([c for c in ("x", "y", "a", "2", "5") if c != parts[0]]))
    if random_.random() < 0.25 and kind in "+-*/":
        return (random_.choice([k for k in "+-*/" if k != kind]), *parts)
    if kind == "^":
        return (
            (kind, parts[0], 5 - parts[1]) if random_.random() < 0.5 else (kind, _changed(parts[0], random_), parts[1])
        )
    place = random_.randrange(len(parts))
    return (kind, *(_changed(p, random_) if i == place else p for i, p in enumerate(parts)))


POINTS = [{"x": 1.237, "y": 0.731, "a": 2.119}, {"x": 0.417, "y": 1.913, "a": 0.853}, {"x": -1.31, "y": 2.7, "a": -0.6}]


def _differ(a: Tree, b: Tree) -> bool | None:
    """Whether two terms have different values somewhere; None where one has none."""
    try:
        pairs = [(_value(a, p), _value(b, p)) for p in POINTS]
    except (ZeroDivisionError, OverflowError):
        return None
    return any(not cmath.isclose(u, v, rel_tol=1e-9, abs_tol=1e-9) for u, v in pairs)


def _check(seed: int) -> None:
    random_ = random.Random(seed)
    tree = _tree(random_, random_.randint(1, 4))
    other = _changed(tree, random_)
    try:
        values = [read(text) for text in (_latex(tree, random_), _latex(tree, random_), _plain(tree))]
        changed = read(_latex(other, random_))
    except Unreadable as problem:  # 1/(x - x), or too large
        assert re.search("zero|power 0|too many|logarithm", str(problem)), (seed, str(problem))
        return
    for value in values[1:]:
        assert Comparison().same(values[0], value) is not False, (seed, str(values[0]), str(value))
    differ = _differ(tree, other)
    same = Comparison().same(values[0], changed)
    if differ is not None:
        assert same is not differ, (seed, str(values[0]), str(changed))


def test_random_terms_agree_with_arithmetic_in_every_spelling() -> None:
    for seed in range(300):
        _check(seed)


def test_powers_and_factorials_agree_with_arithmetic() -> None:
    random_ = random.Random(7)
    for _ in range(200):
        n = random_.randint(0, 30)
        k = random_.randint(0, n)
        forms = [rf"\binom{{{n}}}{{{k}}}", rf"\frac{{{n}!}}{{{k}!({n}-{k})!}}", rf"{{}}_{{{n}}}C_{{{k}}}",
                 rf"C_{{{n}}}^{{{k}}}", rf"{{{n} \choose {k}}}", str(math.comb(n, k))]  # fmt: skip
        one, other = random_.sample(forms, 2)
        assert Comparison().same(read(one), read(other)) is True, (one, other)
        assert Comparison().same(read(one), read(str(math.comb(n, k) + 1))) is False
        total = sum(j**2 for j in range(k, n + 1))
        assert Comparison().same(read(rf"\sum_{{j={k}}}^{{{n}}}j^2"), read(str(total))) is True
