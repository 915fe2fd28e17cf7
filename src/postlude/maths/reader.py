"""Tokens of an expression -> its tree, by recursive descent: operators, brackets, numbers and names.

What a command of LaTeX makes of the tokens behind it is in `commands`, which `grammar` puts together with this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from postlude.maths import calculus
from postlude.maths.cursor import Cursor
from postlude.maths.problems import Refused, Unsupported
from postlude.maths.symbols import LETTERLIKE, change_of, is_vector, letterlike, named
from postlude.maths.tokens import Token

Node = list[Any]
Command = Callable[["Reader", str], Node]

_PAIRS = {"(": ")", "[": "]", "{": "}", r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"}
_ROUNDED = {r"\lfloor": "floor", r"\lceil": "ceil"}
_FRACTION = re.compile(r"\\frac(?:\{\d+\}|\d)(?:\{\d+\}|\d)")
"""A fraction of whole numbers."""
_TIMES = (r"\cdot", r"\times", "*", r"\ast", r"\bullet")
_OVER = ("/", r"\div")
_FUNCTION_LETTERS = "fgh"
"""What stands in brackets behind them is their argument; behind other letters it is multiplied, but I(0) and P(2)."""
_COUNTS = {"C": "binom", "P": "perm", "A": "perm"}
_BETWEEN = {r"\over": "/", r"\choose": "binom", "choose": "binom", r"\bmod": "mod"}
"""What divides all of a group in two."""


class Reader(Cursor):
    """`sign` is what \\pm stands for; `commands` and `words`: what reads on behind a command or a spelt name."""

    def __init__(
        self, tokens: list[Token], sign: int, commands: Mapping[str, Command], words: Mapping[str, Command]
    ) -> None:
        super().__init__(tokens)
        self.sign, self.bars, self.commands, self.words = sign, 0, commands, words
        self.has_vectors = self.has_counts = False
        self.bound = 0  # variables of sums around this place

    def inside(self, tokens: list[Token]) -> Node:
        """The expression that all of some other tokens are."""
        rest = self.tokens, self.place, self.bars
        self.tokens, self.place, self.bars = list(tokens), 0, 0
        tree = self.all()
        self.tokens, self.place, self.bars = rest
        return tree

    def all(self) -> Node:
        tree = self.whole()
        if self.next is not None:
            raise Unsupported(f"{self.next.text!r} is not expected there")
        return tree

    # ------------------------------------------------------------------------------------------------ operators

    def whole(self) -> Node:
        """A sum, or two with something between that takes all of a group: {n \\choose k}, 17 \\bmod 5."""
        tree = self.sum()
        tag = _BETWEEN.get(self.next.text) if self.next is not None else None
        if tag is None:
            return tree
        if tag == "mod" and tree[0] == "+":
            raise Unsupported("a remainder beside other terms")
        self.take()
        return [tag, tree, self.sum()]

    def sum(self) -> Node:
        self.enter()
        terms = [self.signed(self.product)]
        while mark := self.accept("+", "-", r"\pm", r"\mp"):
            term = self.signed(self.product)
            terms.append(term if self.operation(mark) == "+" else ["neg", term])
        self.depth -= 1
        return flat("+", terms)

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
            if mark := self.accept(*_TIMES):
                right = self.signed(self.factor)
                if self.has_vectors and _has_vector(factors[-1]) and _has_vector(right):
                    right = ["apply", "×" if mark == r"\times" else "·", factors.pop(), right]
                factors.append(right)
            elif self.accept(*_OVER):
                right = self.signed(self.factor)
                quotient = calculus.of_differentials(factors[-1], right)
                factors[-1:] = [["sym", quotient]] if quotient else [factors[-1], ["/", ["num", "1"], right]]
            elif self.begins_factor():
                factors.append(self.factor())
            else:
                return flat("*", factors)

    def begins_factor(self) -> bool:
        """Whether a factor follows without a sign. A number does so only after a bracket."""
        token = self.next
        if token is None:
            return False
        kind, text = token.kind, token.text
        if kind == "number":
            return self.tokens[self.place - 1].text in (")", "]", "}", "!") and text[0] != "."
        if kind == "command":
            return text[1:] in LETTERLIKE or (text[1:] in self.commands and (text != r"\mid" or self.bars == 0))
        if kind == "mark":
            return text in _PAIRS or (text in ("|", r"\|") and self.bars == 0)
        return (kind != "word" and len(text) == 1) or self.is_called(token) or bool(letters_of(token))

    def is_called(self, token: Token) -> bool:
        return token.text in self.words and self.peek(1).text in ("(", "[", r"\{")

    def factor(self) -> Node:
        tree = self.primary()
        following = self.next
        if following is None or following.text not in ("^", "!", "°"):
            return tree
        tree = self.postfix(tree)
        if self.accept("^"):
            tree = self.postfix(["^", tree, self.exponent()])
            if self.next is not None and self.next.text == "^":
                raise Unsupported("two exponents in a row")
        return tree

    def postfix(self, tree: Node) -> Node:
        mark = self.accept("!", "°")
        if mark is None:
            return tree
        name = "factorial"
        if mark == "!" and self.accept("!"):
            name = "double factorial"
        if self.next is not None and self.next.text in ("!", "°"):
            raise Unsupported("marks such as ! in a row")
        return ["call", name, tree] if mark == "!" else ["*", tree, ["/", ["sym", "π"], ["num", "180"]]]

    def exponent(self) -> Node:
        return self.signed(self.primary)

    # ------------------------------------------------------------------------------------------------- operands

    def primary(self) -> Node:
        token = self.take()
        kind, text = token.kind, token.text
        if kind == "number":
            return self.number(token)
        if kind == "letter" or (kind == "text" and len(text) == 1):
            return self.symbol(text)
        if kind == "command":
            return self.command(text[1:])
        if kind == "mark":
            return self.mark(text)
        self.place -= 1
        if self.is_called(token):
            return self.words[self.take().text](self, text)
        return self.letters(token)

    def mark(self, text: str) -> Node:
        if text in ("|", r"\|"):
            return self.absolute(text)
        if text == "{" and self.peek().text == "}" and self.peek(1).text in ("_", "^"):
            self.place += 1
            return self.prefixed(self.take())
        if text in _PAIRS:
            tree = self.bracket(text)
            if text == "{" and tree[0] == "sym" and self.peek().text in ("_", "'"):  # what \mathbf{u}_1 leaves
                return ["sym", named(self, tree[1])]
            return tree
        if text in ("_", "^"):
            return self.prefixed(Token("mark", text))
        raise Unsupported(f"{text!r} is not expected there")

    def number(self, token: Token) -> Node:
        whole = ["num", str(literal(token.text))]
        following = self.next
        if following is None or (following.kind == "mark" and following.text != "_"):
            return whole
        if following.text == "_":
            raise Unsupported("a number with a base inside an expression")
        if token.text.isdigit():
            if part := self.mixed():
                return ["+", whole, part]
            if following.text in _COUNTS and following.kind == "letter" and self.peek(1).text.isdigit():
                return [_COUNTS[self.take().text], whole, ["num", self.take().text]]
        if following.kind == "number":
            raise Unsupported("two numbers in a row")
        return whole

    def mixed(self) -> Node | None:
        """The proper fraction right after a whole number, as in 1 1/2; None where there is none."""
        top = self.peek()
        if top.kind == "number":
            bottom = self.peek(2)
            if self.peek(1).text == "/" and bottom.kind == "number":
                self.place += 3
                return _proper(top.text, bottom.text)
            return None
        if top.text != r"\frac" or not _FRACTION.match("".join(t.text for t in self.tokens[self.place :][:7])):
            return None
        self.take()
        return _proper(self.argument()[1], self.argument()[1])

    def letters(self, token: Token) -> Node:
        """A run of letters that is no word, such as abc: their product."""
        letters = letters_of(token)
        if not letters:
            raise Unsupported(f"{token.text!r} is not expected there")
        self.take()
        return ["*", *(["sym", c] for c in letters[:-1]), self.symbol(letters[-1])]

    def symbol(self, base: str) -> Node:
        if base == "d" and self.next is not None and (name := self.differential()):
            return ["sym", name]
        following = self.next
        if following is None or following.text not in ("'", "^", "_", "("):
            return ["sym", base]
        previous = self.tokens[self.place - 2] if self.place > 1 else Token("mark", "")
        name = named(self, base)
        if base in _COUNTS and (tree := self.counted(base, name)):
            return tree
        marks = name[len(base) :].partition("_")[0].replace("^", "")
        function = base == "f" or (base in _FUNCTION_LETTERS and previous.kind != "letter")
        return self.application(base, name, marks, function)

    def differential(self) -> str:
        """The name of dy/dx or dx, at the place behind d."""
        self.place -= 1
        quotient = calculus.slashed(self)
        if quotient:
            return quotient
        self.place += 1
        return calculus.differential(self)

    def application(self, base: str, name: str, marks: str, function: bool) -> Node:
        """f(x), f'(2), f^{-1}(x), y^{(4)}: a function of its arguments, or the plain name."""
        if self.peek().text == "^" and (function or base in "yuvw"):
            start = self.place
            self.take()
            inside = [t.text for t in self.group()]
            if len(inside) == 3 and inside[0] == "(" and inside[1].isdigit() and len(inside[1]) == 1:
                marks, name = marks + "'" * int(inside[1]), name + "'" * int(inside[1])
            elif function and self.peek().text == "(":
                name += "^" + "".join(inside)
            else:
                self.place = start
        single = self.peek(2).text == ")"
        at_zero = single and (self.peek(1).text == "0" or (base.isupper() and self.peek(1).kind == "number"))
        if self.peek().text != "(" or not (function or at_zero or ("'" in marks and single)):
            return ["sym", name]
        self.take()
        arguments = self.arguments(")")
        if marks and name == base + marks and len(arguments) == 1 and arguments[0][0] == "sym":
            return ["sym", calculus.of_function(base, marks, arguments[0][1])]
        return ["apply", name, *arguments]

    def arguments(self, closing: str) -> list[Node]:
        """What stands between commas up to the closing bracket."""
        bars, self.bars = self.bars, 0
        found = [self.whole()]
        while self.accept(",", ";"):
            found.append(self.whole())
        self.expect(closing)
        self.bars = bars
        return found

    # ------------------------------------------------------------------------------------------- ways of counting

    def counted(self, letter: str, name: str) -> Node | None:
        """C(5,2), C_5^2 and C^2_5; None, and the place as before, for a letter that is only one."""
        start = self.place
        if name == letter != "A" and self.accept("("):
            arguments = self.arguments(")")
            if len(arguments) == 2:
                return [_COUNTS[letter], *arguments]
        elif self.accept("^"):
            above = self.group()
            below = named(self, letter) if name == letter else name
            k, n = above[0].text if len(above) == 1 else "", below[2:]
            if k.isdigit() and n.isdigit() and int(k[:9]) <= int(n[:9]):
                self.has_counts = True
                power: Node = ["^", ["sym", below], ["num", k]]
                return ["count", _COUNTS[letter], ["num", n], ["num", k], power]
        self.place = start
        return None

    def prefixed(self, mark: Token) -> Node:
        """{}_5C_2 and {}^5P_2, behind the first mark."""
        n = self.inside(self.group())
        letter = self.take().text
        if mark.text not in ("_", "^") or letter not in _COUNTS:
            raise Unsupported(f"{mark.text!r} is not expected there")
        if not self.accept("_", "^") and self.peek().kind != "number":
            raise Unsupported(f"something is missing behind {letter}")
        return [_COUNTS[letter], n, self.inside(self.group())]

    # ------------------------------------------------------------------------------------------------- brackets

    def absolute(self, mark: str) -> Node:
        self.bars += 1
        tree = self.sum()
        self.expect(mark)
        self.bars -= 1
        return ["call", "abs", tree]

    def bracket(self, opening: str) -> Node:
        bars, self.bars = self.bars, 0
        tree = self.whole()
        self.expect(_PAIRS[opening])
        self.bars = bars
        return ["call", _ROUNDED[opening], tree] if opening in _ROUNDED else tree

    def command(self, name: str) -> Node:
        if change := change_of(self, "\\" + name):
            return ["sym", change]
        if name in LETTERLIKE:
            return self.symbol(letterlike(name))
        if name not in self.commands:
            raise Unsupported(f"\\{name} is not known")
        return self.commands[name](self, name)

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
        if token.kind == "command" and (token.text[1:] in LETTERLIKE or token.text in (r"\pi", r"\sqrt", r"\frac")):
            return self.command(token.text[1:])
        raise Unsupported(f"{token.text!r} is not expected there")

    def operand(self) -> Node:
        """What a function without brackets is of: `sin 2x` is of 2x, `sin x cos x` a product."""
        self.enter()
        if self.peek().text in ("(", "[", "{", "|"):
            tree = self.postfix(self.primary())
        else:
            factors = [self.signed(self.factor)]
            while self.peek().kind == "letter" or (self.peek().text[1:] in LETTERLIKE or self.peek().text == r"\pi"):
                factors.append(self.factor())
            tree = flat("*", factors)
        self.depth -= 1
        return tree


def literal(digits: str) -> Fraction:
    """A decimal number, exactly. Raises Refused for an exponent of more than three digits."""
    _, _, exponent = digits.lower().partition("e")
    if len(exponent.lstrip("+-")) > 3:
        raise Refused("an exponent of more than three digits")
    return Fraction(digits)


def flat(tag: str, parts: list[Node]) -> Node:
    return parts[0] if len(parts) == 1 else [tag, *parts]


_SPOKEN = frozenset({
    "or", "if", "is", "no", "to", "in", "of", "at", "by", "cm", "mm", "km", "kg", "mg", "ft",
    "and", "not", "the", "all", "any", "for", "are", "but", "has", "let", "per", "one", "two", "real", "each",
    "when", "with", "then", "that", "this", "from", "such", "where", "some", "else", "only", "none", "true", "even",
    "odd", "more", "less", "than", "over", "both", "yes", "max", "min", "mod", "gcd", "lcm", "abs", "inf", "sup", "det",
    "ways", "apart", "into", "onto", "also", "thus", "have", "left", "right", "does", "exist", "holds", "never",
    "always", "times", "plus", "minus", "squared", "cubed", "root", "base", "about", "infinity", "choose", "undefined",
})  # fmt: skip
"""Words that are never a product of letters."""


def letters_of(token: Token) -> str:
    """The letters that a run of up to five multiplies, as in 4abc or \\mathrm{PQ}; "" for words and in other tokens."""
    text = token.text
    if len(text) == 2 and token.kind == "word" and text[0].islower() and text[1].isupper():
        return text  # kM, which is no km
    short, long = {"word": (3, 5), "text": (2, 3)}.get(token.kind, (1, 0))
    if not short <= len(text) <= long or not (text.isascii() and text.isalpha()) or text.lower() in _SPOKEN:
        return ""
    return text


def _has_vector(tree: Node) -> bool:
    if tree[0] == "sym":
        return is_vector(tree[1])
    if tree[0] in ("call", "apply"):
        return tree[0] == "apply" and tree[1] == "×"
    return any(_has_vector(part) for part in tree[1:] if isinstance(part, list))


def _proper(top: str, bottom: str) -> Node:
    if not (top.isdigit() and bottom.isdigit() and 0 < int(top) < int(bottom)):
        raise Unsupported("a number before a fraction that could be added or multiplied")
    return ["num", str(Fraction(int(top), int(bottom)))]
