"""The names of unknowns in one spelling: letters with accents, primes and subscripts.

`x_{1}` is `x_1`, `S_{\\text{max}}` is `S_max`, `\\overrightarrow{a}` is `\\vec{a}`, `\\varphi` is `\\phi`.
"""

from __future__ import annotations

from postlude.maths.cursor import Cursor
from postlude.maths.problems import Unsupported
from postlude.maths.tokens import Token

GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota",
    "kappa", "varkappa", "lambda", "mu", "nu", "xi", "rho", "varrho", "sigma", "varsigma", "tau", "upsilon", "phi",
    "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi",
    "Omega",
})  # fmt: skip
LETTERLIKE = GREEK | {"ell", "hbar", "hslash", "aleph", "beth", "wp", "mho", "eth"}
_SAME = {
    "varepsilon": "epsilon", "vartheta": "theta", "varkappa": "kappa", "varrho": "rho", "varsigma": "sigma",
    "varphi": "phi", "hslash": "hbar",
}  # fmt: skip
ACCENTS = {
    "bar": "bar", "overline": "bar", "overbar": "bar", "vec": "vec", "overrightarrow": "vec", "hat": "hat",
    "widehat": "hat", "tilde": "tilde", "widetilde": "tilde", "dot": "dot", "ddot": "ddot", "check": "check",
    "breve": "breve", "mathring": "ring", "mathcal": "cal", "mathscr": "cal", "mathfrak": "frak",
}  # fmt: skip
DOTLESS = {"imath": "i", "jmath": "j"}
_STARS = {"*": "*", r"\ast": "*", r"\star": "*", r"\dagger": "†"}
_CHANGES = {r"\Delta": "Δ", r"\delta": "δ"}
"""Δx is one quantity, not a product."""


def letterlike(command: str) -> str:
    """The name of a Greek or similar letter, from the command without its backslash."""
    return "\\" + _SAME.get(command, command)


def named(cursor: Cursor, base: str) -> str:
    """The whole name that begins with `base`: with the primes, stars and the subscript that follow."""
    marks, below = "", ""
    while True:
        if cursor.accept("'"):
            marks += "'"
        elif cursor.peek().text == "^" and (raised := _raised(cursor)):
            marks += raised
        elif not below and cursor.accept("_"):
            below = "_" + subscript(cursor)
        else:
            return base + marks + below


def _raised(cursor: Cursor) -> str:
    """Primes or a star that stand as an exponent, and the place after them; "" where it is another exponent."""
    start = cursor.place
    cursor.take()
    texts = [t.text for t in cursor.group()] if cursor.next else []
    if texts and all(t in (r"\prime", "'") for t in texts):
        return "'" * len(texts)
    if len(texts) == 1 and texts[0] in _STARS:
        return "^" + _STARS[texts[0]]
    cursor.place = start
    return ""


def subscript(cursor: Cursor) -> str:
    """max of _{\\text{max}}, _{max}, _{\\max} and _max; what is more than a word or a number keeps its braces."""
    inside = [t for t in cursor.group() if t.text not in ("{", "}")]
    text = "".join(t.text.removeprefix("\\") for t in inside)
    if not text:
        raise Unsupported("an empty subscript")
    plain = len(inside) == 1 or all(t.kind in ("letter", "word", "text") for t in inside)
    return text if plain else "{" + text + "}"


def accented(accent: str, parts: list[str]) -> str:
    """The name of letters under one accent; a single letter's subscript stays outside of it."""
    if accent == "bar" and len(parts) == 2 and all(len(p) == 1 and p.isupper() for p in parts):
        parts = sorted(parts)  # a segment has no direction
    base, mark, below = (parts[0].partition("_")) if len(parts) == 1 else ("".join(parts), "", "")
    return f"\\{accent}{{{base}}}{mark}{below}"


def is_vector(name: str) -> bool:
    """Whether products of it are of their own kinds: \\vec{a}, \\hat{i}, the operator \\nabla."""
    return name.startswith((r"\vec{", r"\hat{"))


def figure(cursor: Cursor, mark: str) -> str:
    """The name of an angle, triangle or arc after its mark: \\angle ABC, \\angle A, \\angle 1, \\triangle ABC."""
    points: list[str] = []
    braced = bool(cursor.accept("{"))
    while (token := cursor.next) is not None and _is_point(token):
        cursor.take()
        points += [named(cursor, token.text)] if len(token.text) == 1 else list(token.text)
    if braced:
        cursor.expect("}")
    if not points:
        raise Unsupported(f"{mark} before something else than points")
    if mark == r"\triangle":
        points.sort()
    elif points[-1] < points[0]:
        points.reverse()
    return mark + " " + "".join(points)


def _is_point(token: Token) -> bool:
    return token.kind in ("letter", "word", "text") and token.text.isalpha() and token.text.isupper()


def change_of(cursor: Cursor, command: str) -> str:
    """Δx of \\Delta x: the name, or "" where no letter follows or several capitals do, as in a triangle's name."""
    token, after = cursor.peek(), cursor.peek(1)
    if command not in _CHANGES or token.kind != "letter" or (token.text.isupper() and after.text.isupper()):
        return ""
    cursor.take()
    return named(cursor, _CHANGES[command] + token.text)
