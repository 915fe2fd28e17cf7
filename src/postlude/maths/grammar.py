"""Tokens -> expression tree. A tree is made of plain lists and strings, so that it can be sent to a worker as JSON.

["num", "3/2"]  ["sym", "x"]  ["+", a, b]  ["-", a, b]  ["*", a, b]  ["/", a, b]  ["^", a, b]  ["neg", a]
["root", "3", a]  ["call", "sin", a]  ["log", a]  ["log", a, base]  ["binom", n, k]
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from postlude.maths.problems import Refused, Unsupported
from postlude.maths.tokens import MAX_NESTING, Token

Node = list[Any]

GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota",
    "kappa", "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Phi", "Psi", "Omega", "ell",
})  # fmt: skip
INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc"}
_CALLS = frozenset({*INVERSE, *INVERSE.values(), "sinh", "cosh", "tanh", "ln", "exp"})
_OPERANDS = _CALLS | GREEK | {"frac", "sqrt", "surd", "pi", "infty", "binom", "log", "lg"}
_PAIRS = {"(": ")", "[": "]", "{": "}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_FRACTION = re.compile(r"\\frac(?:\{\d+\}|\d)(?:\{\d+\}|\d)")
"""A fraction of whole numbers."""
_TIMES = (r"\cdot", r"\times", "*", r"\ast")
_OVER = ("/", r"\div")
_REFUSED = frozenset({"sum", "prod", "int", "iint", "oint", "lim", "limsup", "bigcup"})


def parse(tokens: list[Token], sign: int = 1) -> Node:
    """The expression that all of the tokens are; `sign` is what \\pm stands for. Raises Unreadable."""
    reader = _Reader(tokens, sign)
    tree = reader.sum()
    if reader.next is not None:
        raise Unsupported(f"{reader.next.text!r} is not expected there")
    return tree


def literal(digits: str) -> Fraction:
    """A decimal number, exactly. Raises Refused for an exponent of more than three digits."""
    _, _, exponent = digits.lower().partition("e")
    if len(exponent.lstrip("+-")) > 3:
        raise Refused("an exponent of more than three digits")
    return Fraction(digits)


class _Reader:
    def __init__(self, tokens: list[Token], sign: int) -> None:
        self.tokens, self.sign, self.place, self.depth, self.bars = list(tokens), sign, 0, 0, 0

    @property
    def next(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self) -> Token:
        token = self.next
        if token is None:
            raise Unsupported("it ends too early")
        self.place += 1
        return token

    def accept(self, *texts: str) -> str | None:
        if self.next is not None and self.next.text in texts and self.next.kind in ("mark", "command"):
            return self.take().text
        return None

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise Unsupported(f"{text!r} is missing")

    # ------------------------------------------------------------------------------------------------ operators

    def sum(self) -> Node:
        self.enter()
        terms = [self.signed(self.product)]
        while mark := self.accept("+", "-", r"\pm", r"\mp"):
            term = self.signed(self.product)
            terms.append(term if self.operation(mark) == "+" else ["neg", term])
        self.depth -= 1
        return _flat("+", terms)

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Refused(f"more than {MAX_NESTING} brackets in each other")

    def operation(self, mark: str) -> str:
        if mark in "+-":
            return mark
        return "+" if (mark == r"\pm") == (self.sign > 0) else "-"

    def signed(self, inner: Callable[[], Node]) -> Node:
        flips = False
        while mark := self.accept("+", "-", r"\pm", r"\mp"):
            flips ^= self.operation(mark) == "-"
        tree = inner()
        return ["neg", tree] if flips else tree

    def product(self) -> Node:
        factors = [self.factor()]
        while True:
            if self.accept(*_TIMES):
                factors.append(self.signed(self.factor))
            elif self.accept(*_OVER):
                factors.append(["/", ["num", "1"], self.signed(self.factor)])
            elif self.begins_factor():
                factors.append(self.factor())
            else:
                return _flat("*", factors)

    def begins_factor(self) -> bool:
        """Whether a factor follows without a sign. A number does so only after a bracket."""
        token = self.next
        if token is None or token.kind == "word":
            return False
        if token.kind == "number":
            return self.tokens[self.place - 1].text in (")", "]", "}", "!") and not token.text.startswith(".")
        if token.kind == "command":
            return token.text[1:] in _OPERANDS
        if token.text == "|":
            return self.bars == 0
        return token.text in _PAIRS or (token.kind in ("letter", "text") and len(token.text) == 1)

    def factor(self) -> Node:
        tree = self.postfix(self.primary())
        if self.accept("^"):
            tree = self.postfix(["^", tree, self.exponent()])
            if self.next is not None and self.next.text == "^":
                raise Unsupported("two exponents in a row")
        return tree

    def postfix(self, tree: Node) -> Node:
        if mark := self.accept("!", "°"):
            if self.next is not None and self.next.text in ("!", "°"):
                raise Unsupported("two marks such as ! in a row")
            radian = ["/", ["sym", "π"], ["num", "180"]]
            tree = ["call", "factorial", tree] if mark == "!" else ["*", tree, radian]
        return tree

    def exponent(self) -> Node:
        return self.signed(self.primary)

    # ------------------------------------------------------------------------------------------------- operands

    def primary(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return self.number(token)
        if token.kind in ("letter", "text") and len(token.text) == 1:
            return self.symbol(token.text)
        if token.text == "|":
            return self.absolute()
        if token.text in _PAIRS and token.kind == "mark":
            return self.bracket(token.text)
        if token.kind == "command":
            return self.command(token.text[1:])
        raise Unsupported(f"{token.text!r} is not expected there")

    def number(self, token: Token) -> Node:
        whole = ["num", str(literal(token.text))]
        following = self.next
        if following is None or (following.kind == "mark" and following.text != "_"):
            return whole
        if following.text == "_":
            raise Unsupported("a number with a base inside an expression")
        if token.text.isdigit() and (part := self.mixed()):
            return ["+", whole, part]
        if following.kind == "number":
            raise Unsupported("two numbers in a row")
        return whole

    def mixed(self) -> Node | None:
        """The proper fraction right after a whole number, as in 1 1/2; None where there is none."""
        top, slash, bottom = [*self.tokens[self.place : self.place + 3], None, None, None][:3]
        if top and slash and bottom and slash.text == "/" and top.kind == bottom.kind == "number":
            self.place += 3
            return _proper(top.text, bottom.text)
        if not _FRACTION.match("".join(t.text for t in self.tokens[self.place : self.place + 7])):
            return None
        self.take()
        return _proper(self.argument()[1], self.argument()[1])

    def symbol(self, name: str) -> Node:
        if self.accept("_"):
            name += "_" + self.subscript()
        elif name in "fgh" and self.next is not None and self.next.text == "(":
            raise Unsupported("a function without a definition")
        return ["sym", name]

    def subscript(self) -> str:
        token = self.take()
        if token.text != "{":
            return token.text
        parts = []
        while not self.accept("}"):
            parts.append(self.take().text)
        return "".join(parts)

    def absolute(self) -> Node:
        self.bars += 1
        tree = self.sum()
        self.expect("|")
        self.bars -= 1
        return ["call", "abs", tree]

    def bracket(self, opening: str) -> Node:
        bars, self.bars = self.bars, 0
        tree = self.sum()
        self.expect(_PAIRS[opening])
        self.bars = bars
        names = {r"\lfloor": "floor", r"\lceil": "ceil"}
        return ["call", names[opening], tree] if opening in names else tree

    def command(self, name: str) -> Node:
        if name in _REFUSED:
            raise Refused(f"\\{name} is not computed")
        if name in _CALLS:
            return self.call(name)
        if name in ("log", "lg"):
            return self.logarithm(["num", "10"] if name == "lg" else None)
        if name in GREEK:
            return self.symbol("\\" + name)
        if name == "frac":
            return self.fraction()
        if name == "binom":
            return ["binom", self.argument(), self.argument()]
        if name in ("sqrt", "surd"):
            return self.root(name)
        if name in ("pi", "infty"):
            return ["sym", {"pi": "π", "infty": "∞"}[name]]
        raise Unsupported(f"\\{name} is not known")

    def fraction(self) -> Node:
        top, bottom = self.argument(), self.argument()
        if _starts_with_d(top) and _starts_with_d(bottom) and bottom[0] == "*":
            raise Unsupported("a derivative")
        return ["/", top, bottom]

    def argument(self) -> Node:
        """What a LaTeX command takes: a group, or a single character, so that \\frac12 is a half."""
        token = self.take()
        if token.text == "{" and token.kind == "mark":
            return self.bracket("{")
        if token.kind == "number" and token.text.isdigit():
            if token.text[1:]:
                self.place -= 1
                self.tokens[self.place] = Token("number", token.text[1:])
            return ["num", token.text[0]]
        if token.kind == "letter":
            return ["sym", token.text]
        if token.kind == "command" and (token.text[1:] in GREEK or token.text == r"\pi"):
            return self.command(token.text[1:])
        raise Unsupported(f"{token.text!r} is not expected there")

    def root(self, name: str) -> Node:
        degree = "2"
        if name == "sqrt" and self.accept("["):
            degree = self.take().text
            self.expect("]")
        if not degree.isdigit() or not 2 <= int(degree[:4]) <= 100:
            raise Unsupported("a root of an unusual degree")
        token = self.next
        if name == "sqrt" and token is not None and token.kind == "number":
            if len(token.text) > 1:
                raise Unsupported(r"\sqrt before several digits without braces")
            return ["root", degree, self.argument()]
        self.enter()
        tree = ["root", degree, self.primary()]
        self.depth -= 1
        return tree

    def call(self, name: str) -> Node:
        exponent = self.exponent() if self.accept("^") else None
        if exponent == ["neg", ["num", "1"]] and name in INVERSE:
            return ["call", INVERSE[name], self.operand()]
        tree = ["call", name, self.operand()]
        return ["^", tree, exponent] if exponent else tree

    def logarithm(self, base: Node | None) -> Node:
        if self.accept("_"):
            number = self.next is not None and self.next.kind == "number" and self.next.spaced is False
            base = ["num", self.take().text] if number and self.is_base() else self.argument()
        exponent = self.exponent() if self.accept("^") else None
        tree = ["log", self.operand()] if base is None else ["log", self.operand(), base]
        return ["^", tree, exponent] if exponent else tree

    def is_base(self) -> bool:
        """Whether all digits after `log_` are the base, as in log_10 100; log_28 is log_2 of 8."""
        token, after = self.next, [*self.tokens[self.place + 1 :], None][0]
        return token is not None and token.text.isdigit() and after is not None and after.text not in "+-*/)}],"

    def operand(self) -> Node:
        """What a function without brackets is of: `sin 2x` is of 2x, `sin x cos x` a product."""
        self.enter()
        if self.next is not None and self.next.text in ("(", "[", "{", "|"):
            tree = self.postfix(self.primary())
        else:
            factors = [self.signed(self.factor)]
            while self.next is not None and (self.next.kind == "letter" or self.next.text in (r"\pi", r"\theta")):
                factors.append(self.factor())
            tree = _flat("*", factors)
        self.depth -= 1
        return tree


def _starts_with_d(tree: Node) -> bool:
    """Whether it is d, d^2, or d times something."""
    first = tree[1] if tree[0] in ("*", "^") else tree
    return (first[1] if first[0] == "^" else first) == ["sym", "d"]


def _flat(tag: str, parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else [tag, *parts]


def _proper(top: str, bottom: str) -> Node:
    if not (top.isdigit() and bottom.isdigit() and 0 < int(top) < int(bottom)):
        raise Unsupported("a number before a fraction that could be added or multiplied")
    return ["num", str(Fraction(int(top), int(bottom)))]
