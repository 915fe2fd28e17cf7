"""What reads on behind a command of LaTeX, or behind a function's name that is spelt."""

from __future__ import annotations

from collections.abc import Callable

from postlude.maths import calculus
from postlude.maths.problems import Unsupported
from postlude.maths.reader import Command, Node, Reader, letters_of
from postlude.maths.symbols import ACCENTS, DOTLESS, accented, figure, letterlike, named
from postlude.maths.tokens import Token

INVERSE = {
    "sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc",
    "sinh": "arsinh", "cosh": "arcosh", "tanh": "artanh",
}  # fmt: skip
_OTHERS = {
    "tg": "tan", "ctg": "cot", "cosec": "csc", "arctg": "arctan", "arcctg": "arccot", "arccosec": "arccsc",
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "arcsinh": "arsinh", "arccosh": "arcosh",
    "arctanh": "artanh", "asinh": "arsinh", "acosh": "arcosh", "atanh": "artanh", "sign": "sgn", "ceiling": "ceil",
}  # fmt: skip
"""Other spellings of functions."""
_ONE = (*INVERSE, *INVERSE.values(), "sech", "csch", "coth", "ln", "exp", "cis", "sgn")
_SEVERAL = ("gcd", "lcm", "max", "min")
_LOGARITHMS: dict[str, Node] = {"lg": ["num", "10"], "lb": ["num", "2"]}
_CLOSING = {"(": ")", "[": "]", r"\{": r"\}", "{": "}"}
_BOUND = "①②③④⑤⑥⑦⑧⑨"
"""What the variable of a sum is called: one name by depth, so that the name it was given does not count."""


def _fraction(reader: Reader, _: str) -> Node:
    quotient = calculus.fraction(reader)
    if quotient is None:
        return ["/", reader.argument(), reader.argument()]
    if quotient.above:
        name, length = quotient.of(quotient.above)
        if length == len(quotient.above):
            return ["sym", name]
        raise Unsupported("a derivative of an expression")
    name, length = quotient.of(reader.tokens[reader.place :])
    reader.place += length
    if reader.peek().text in ("^", "!") or reader.begins_factor():
        raise Unsupported("a derivative of an expression")
    return ["sym", name]


def _partial(reader: Reader, _: str) -> Node:
    reader.place -= 1
    name = calculus.slashed(reader)
    if name is None:
        raise Unsupported("a derivative of an expression")
    return ["sym", name]


def _binomial(reader: Reader, _: str) -> Node:
    return ["binom", reader.argument(), reader.argument()]


def _root(reader: Reader, name: str) -> Node:
    degree: Node = ["num", "2"]
    if reader.accept("["):
        degree = reader.sum()
        reader.expect("]")
    token = reader.peek()
    if name == "sqrt" and token.kind == "number":
        if len(token.text) > 1:
            raise Unsupported(r"\sqrt before several digits without braces")
        radicand = reader.argument()
    else:
        reader.enter()
        radicand = reader.primary()
        reader.depth -= 1
    if degree[0] != "num":
        return ["^", radicand, ["/", ["num", "1"], degree]]
    if not degree[1].isdigit() or not 2 <= int(degree[1][:4]) <= 100:
        raise Unsupported("a root of an unusual degree")
    return ["root", degree[1], radicand]


def _call(reader: Reader, name: str) -> Node:
    name = _OTHERS.get(name, name)
    exponent = reader.exponent() if reader.accept("^") else None
    if exponent == ["neg", ["num", "1"]] and name in INVERSE:
        return ["call", INVERSE[name], reader.operand()]
    tree = ["call", name, reader.operand()]
    return ["^", tree, exponent] if exponent else tree


def _logarithm(reader: Reader, name: str) -> Node:
    base = _LOGARITHMS.get(name)
    if reader.accept("_"):
        number = reader.peek().kind == "number" and not reader.peek().spaced
        base = ["num", reader.take().text] if number and _is_base(reader) else reader.argument()
    exponent = reader.exponent() if reader.accept("^") else None
    tree = ["log", reader.operand()] if base is None else ["log", reader.operand(), base]
    return ["^", tree, exponent] if exponent else tree


def _is_base(reader: Reader) -> bool:
    """Whether all digits after `log_` are the base, as in log_10 100; log_28 is log_2 of 8."""
    after = reader.peek(1).text
    return reader.peek().text.isdigit() and bool(after) and after not in "+-*/)}],"


def _several(reader: Reader, name: str) -> Node:
    """gcd(24, 36), max{1, 2}."""
    opening = reader.accept(*_CLOSING)
    if opening is None:
        raise Unsupported(f"{name} without brackets")
    return ["call", name, *reader.arguments(_CLOSING[opening])]


def _spelt(name: str, count: int = 1) -> Command:
    """A function that is only one before a bracket."""

    def read(reader: Reader, _: str) -> Node:
        node = _several(reader, name)
        if len(node) - 2 != count:
            raise Unsupported(f"{name} of {len(node) - 2} values")
        return node[1:] if name in ("binom", "perm", "mod") else node

    return read


def _cube_root(reader: Reader, _: str) -> Node:
    return ["root", "3", reader.primary()]


def _dots(reader: Reader, command: str) -> Node:
    """What goes on at the end of a sum, as in 1 + x + \\cdots: a term like any other."""
    if reader.peek().text not in ("", ")", "]", "}") or reader.peek(-2).text != "+":
        raise Unsupported(f"\\{command} elsewhere than at the end of a sum")
    return ["sym", "…"]


def _constant(name: str) -> Command:
    return lambda _, __: ["sym", name]


# ---------------------------------------------------------------------------------------------------- names, figures


def _accent(reader: Reader, command: str) -> Node:
    accent = ACCENTS[command]
    tokens = [Token("letter", DOTLESS[t.text[1:]]) if t.text[1:] in DOTLESS else t for t in reader.group()]
    if accent in ("vec", "hat"):
        reader.has_vectors = True
    if len(tokens) == 1 and tokens[0].kind in ("letter", "text", "word"):
        name = accented(accent, [tokens[0].text])
    else:
        tree = reader.inside(tokens)
        parts = [p[1] for p in (tree[1:] if tree[0] == "*" else [tree]) if p[0] in ("sym", "num")]
        if len(parts) != (len(tree) - 1 if tree[0] == "*" else 1):
            if accent == "bar":
                return ["call", "conj", tree]
            raise Unsupported(f"\\{command} over an expression")
        name = accented(accent, parts)
    name = named(reader, name)
    if accent in ("dot", "ddot"):
        base = name.removeprefix(f"\\{accent}{{").replace("}", "", 1)
        calculus.skip_arguments(reader, {"t"})
        return ["sym", calculus.of_function(base, "'" * (1 + (accent == "ddot")), "t")]
    return ["sym", name]


def _nabla(reader: Reader, _: str) -> Node:
    """The operator with what it is applied to: a gradient, divergence, rotation or Laplacian."""
    kind = "∇"
    if mark := reader.accept(r"\cdot", r"\times"):
        kind = {r"\cdot": "∇·", r"\times": "∇×"}[mark]
    elif reader.accept("^"):
        kind = "∇^" + "".join(t.text for t in reader.group())
    if not reader.begins_factor():
        return ["sym", kind]
    return ["apply", kind, reader.factor()]


def _angle(reader: Reader, command: str) -> Node:
    """∠ABC, or the direction of a complex number: 2∠60°."""
    token = reader.peek()
    if token.kind == "number" and command == "angle":
        following = [t.text for t in reader.tokens[: reader.place - 1]]
        if following:
            return ["call", "cis", reader.factor()]
        reader.take()
        return ["sym", "\\angle " + token.text]
    if token.text.removeprefix("\\") in ("alpha", "beta", "gamma", "theta"):
        return ["sym", "\\angle " + letterlike(reader.take().text[1:])]
    return ["sym", figure(reader, "\\" + {"measuredangle": "angle"}.get(command, command))]


# ------------------------------------------------------------------------------------------------------ sums, limits


def _repeated(reader: Reader, name: str) -> Node:
    """["sum", variable, from, to, of] and the same of a product."""
    below = above = None
    while mark := reader.accept("_", "^"):
        if mark == "_":
            below = reader.group()
        else:
            above = reader.group()
    if below is None or above is None or len(below) < 3 or below[0].kind != "letter" or below[1].text != "=":
        raise Unsupported(f"\\{name} without a variable that runs from one number to another")
    low, high = reader.inside(below[2:]), reader.inside(above)
    bound, body = _bound(reader, below[0].text, lambda: reader.signed(reader.product))
    return [name, bound, low, high, body]


def _bound(reader: Reader, variable: str, read: Callable[[], Node]) -> tuple[str, Node]:
    """What is read with the variable under another name: that name, and the tree."""
    if reader.bound == len(_BOUND):
        raise Unsupported("a sum too deep inside others")
    name, tokens = _BOUND[reader.bound], reader.tokens
    reader.bound += 1
    reader.tokens = [Token("letter", name) if t.kind == "letter" and t.text == variable else t for t in tokens]
    tree = read()
    reader.tokens = tokens
    reader.bound -= 1
    return name, tree


def _integral(reader: Reader, _: str) -> Node:
    """["int", variable, from, to, of], or without limits ["int", of, variable]."""
    limits: dict[str, Node] = {}
    while mark := reader.accept("_", "^"):
        limits[mark] = reader.inside(reader.group())
    length, depth = 0, 0
    while (token := reader.peek(length)).text and not (token.text == "d" and not depth):
        depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(token.text, 0)
        length += 1
    variable = reader.peek(length + 1)
    if not length or token.text != "d" or variable.kind != "letter":
        raise Unsupported("an integral without its variable at the end")
    inner = reader.tokens[reader.place : reader.place + length]
    reader.place += length + 2
    if not limits:
        return ["int", reader.inside(inner), ["sym", variable.text]]
    if len(limits) != 2:
        raise Unsupported("an integral with one limit")
    bound, body = _bound_inside(reader, variable.text, inner)
    return ["int", bound, limits["_"], limits["^"], body]


def _bound_inside(reader: Reader, variable: str, tokens: list[Token]) -> tuple[str, Node]:
    rest = reader.tokens, reader.place
    reader.tokens, reader.place = tokens, 0
    found = _bound(reader, variable, reader.all)
    reader.tokens, reader.place = rest
    return found


def _limit(reader: Reader, _: str) -> Node:
    """["lim", variable, where, side, of]."""
    reader.expect("_")
    below = reader.group()
    if len(below) < 3 or below[0].kind != "letter" or below[1].text not in (r"\to", r"\rightarrow"):
        raise Unsupported("a limit without a variable that goes to a value")
    where, side = below[2:], ""
    if len(where) > 2 and where[-2].text == "^" and where[-1].text in "+-":
        where, side = where[:-2], where[-1].text
    elif len(where) > 4 and [t.text for t in where[-4:-2]] == ["^", "{"] and where[-2].text in "+-":
        where, side = where[:-4], where[-2].text
    place = reader.inside(where)
    bound, body = _bound(reader, below[0].text, lambda: reader.signed(reader.product))
    return ["lim", bound, place, ["sym", "side" + side], body]


COMMANDS: dict[str, Command] = {
    "frac": _fraction, "partial": _partial, "binom": _binomial, "sqrt": _root, "surd": _root, "log": _logarithm,
    "nabla": _nabla, "sum": _repeated, "prod": _repeated, "int": _integral, "lim": _limit,
    **dict.fromkeys(("cdots", "ldots", "dots"), _dots), "mid": lambda reader, _: reader.absolute(r"\mid"),
    "pi": _constant("π"), "infty": _constant("∞"), "cbrt": _cube_root,
    **dict.fromkeys(_LOGARITHMS, _logarithm), **dict.fromkeys((*_ONE, *_OTHERS), _call),
    **dict.fromkeys(_SEVERAL, _several), **dict.fromkeys(ACCENTS, _accent),
    **dict.fromkeys(("angle", "measuredangle", "triangle", "overparen"), _angle),
}  # fmt: skip
WORDS: dict[str, Command] = {
    "exp": _call, "floor": _spelt("floor"), "ceil": _spelt("ceil"), "ceiling": _spelt("ceil"), "abs": _spelt("abs"),
    "cbrt": _cube_root, "mod": _spelt("mod", 2), "sgn": _spelt("sgn"), "conj": _spelt("conj"),
    **dict.fromkeys(_SEVERAL, _several), **dict.fromkeys((*_ONE, *_OTHERS), _call),
    **dict.fromkeys(("nCr", "binom", "binomial", "comb", "choose"), _spelt("binom", 2)),
    **dict.fromkeys(("nPr", "perm"), _spelt("perm", 2)),
}  # fmt: skip
"""Names that are functions only before a bracket."""

_BEFORE_POINTS = frozenset({r"\angle", r"\triangle", r"\measuredangle", r"\overparen", r"\Delta", r"\log"})


def is_term(tokens: list[Token], place: int, is_unit: bool) -> bool:
    """Whether a word behind a number or term is a part of the expression and no unit.

    A function before its bracket, the points of a figure, letters written close behind (4abc); `is_unit`: it is a known
    unit, which letters close behind may also be (4cm).
    """
    token, before = tokens[place], tokens[place - 1]
    if token.text == "choose" or before.text in _BEFORE_POINTS:
        return True
    if token.text in WORDS and place + 1 < len(tokens) and tokens[place + 1].text in ("(", "[", r"\{"):
        return True
    return not is_unit and not token.spaced and bool(letters_of(token))


__all__ = ["COMMANDS", "INVERSE", "WORDS", "is_term"]
