r"""Other ways to write one answer. Each keeps the value: what a rewriting cannot be sure of, it leaves alone.

A spelling maps the text of a right answer to a response, or to None where it has nothing to change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from bench.maths_golds.texts import THOUSANDS, grouped, members

Rewrite = Callable[[str], str | None]
_NUMBER = r"(?<![\w.,{\\^}])-?\d+(?:\.\d+)?(?![\w.,]|\{,|\\[!,])"


@dataclass(frozen=True)
class Spelling:
    """`rewrite` gives the answer in other letters; `response` what stands around it."""

    name: str
    rewrite: Rewrite
    response: str = r"\boxed{%s}"

    def of(self, text: str) -> str | None:
        """The whole response; None where the text is already spelled so."""
        changed = self.rewrite(text)
        same = changed is None or (changed == text and self.response == r"\boxed{%s}")
        return None if same else self.response.replace("%s", changed or "")


def _same(text: str) -> str:
    return text


def _bare(text: str) -> str:
    """Without dollar signs around everything; those around parts of it stay."""
    inside = text.strip()
    whole = inside.startswith("$") and inside.endswith("$") and "$" not in inside.strip("$")
    return inside.strip("$").strip() if whole else inside


def _fractions(name: str) -> Rewrite:
    return lambda text: re.sub(r"\\[dt]?frac(?![A-Za-z])", rf"\\{name}", text)


def _inline(text: str) -> str | None:
    """Fractions of whole numbers with a slash, alone or after a minus sign: nothing binds tighter there."""
    return re.sub(r"^(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}$", r"\1\2/\3", text)


def _grouped_inline(text: str) -> str | None:
    if re.search(r"[\d)}]\s*\\[dt]?frac|text|begin|\^\s*\\|\{\s*\\[dt]?frac[^{}]*\{[^{}]*\}\{[^{}]*\}\s*\}\s*\{", text):
        return None
    return grouped(text, lambda m: f"(({m[1]})/({m[2]}))")


def _unreduced(text: str) -> str | None:
    """A fraction of whole numbers that stands alone, with both doubled."""
    match = re.fullmatch(r"(-?)\\[dt]?frac\{(\d+)\}\{(\d+)\}", text)
    return rf"{match[1]}\frac{{{2 * int(match[2])}}}{{{2 * int(match[3])}}}" if match else None


def _sized(text: str) -> str | None:
    r"""Brackets without \\left and \\right, or with them where there are none."""
    if re.search(r"\\left|\\right", text):
        return re.sub(r"\\(?:left|right)(?![A-Za-z])(?!\s*\.)", "", text) if r"\right." not in text else None
    unsure = re.search(r"\\big|\\begin|\\text|\\mathrm|\\[lr]floor|\\[lr]ceil", text)
    if unsure or text.count("(") + text.count("[") != text.count(")") + text.count("]"):
        return None
    sized = lambda m: rf"\left{m[1]}" if m[1] else rf"\right{m[2]}"
    return re.sub(r"(?<![\\A-Za-z])([(\[])|(?<!\\)([)\]])", sized, text)


def _spaced(text: str) -> str | None:
    return None if "text" in text or "begin" in text else re.sub(r"(?<![\\{,])([+=<>])(?!\})", r" \1 ", text)


def _thin(text: str) -> str | None:
    """A thin space after every comma that has a space behind it."""
    return re.sub(r", (?!\d{3}(?!\d))", r",\\, ", text)


def _thousands(mark: str) -> Rewrite:
    def rewrite(text: str) -> str | None:
        plain = re.fullmatch(r"-?\d{4,}", text)
        return f"{int(text):,}".replace(",", mark) if plain else None

    return rewrite


def _without_thousands(text: str) -> str | None:
    return re.sub(r"\D", "", text) if re.fullmatch(THOUSANDS, text) and text[0] != "0" else None


def _words(wrapper: str) -> Rewrite:
    """\\text{...} in another command, or in none where the answer is nothing but words."""

    def rewrite(text: str) -> str | None:
        if not wrapper:
            return re.sub(r"^\\text\s*\{\s*([^{}]*?)\s*\}$", r"\1", text)
        return re.sub(r"\\text\s*\{", rf"\\{wrapper}{{", text)

    return rewrite


def _other_order(text: str) -> str | None:
    """A list without brackets, or a set, turned round; one with names or gaps is left."""
    match = re.fullmatch(r"(\\left)?\\\{(.*?)(\\right)?\\\}", text)
    inside = match[2] if match else text
    unsure = re.search(r"\\(?:text|ldots|dots|cdots|mid)|[|:=$]|\.\.\.|\.\s*$|" + THOUSANDS, inside)
    if unsure or _looks_grouped(inside):
        return None
    parts = members(inside)
    if len(parts) < 2 or not all(parts) or (match is None and len({p[0] in "([" for p in parts}) > 1):
        return None
    turned = ", ".join(reversed(parts))
    return rf"\{{{turned}\}}" if match else turned


def _looks_grouped(text: str) -> bool:
    """Whether a comma may be one between thousands."""
    return re.search(r"\d(?:,|\{,\}|,\\[!,; ])\d{3}(?!\d)", text) is not None


def _degrees(sign: str) -> Rewrite:
    """An angle that stands alone."""
    angle = re.compile(r"(-?[\d.]+|-?\\[dt]?frac\{\d+\}\{\d+\})\s*\^\s*(?:\{\s*\\circ\s*\}|\\circ)")
    return lambda text: match[1] + sign if (match := angle.fullmatch(text)) else None


def _products(sign: str) -> Rewrite:
    return lambda text: re.sub(r"\\(?:cdot|times)(?![A-Za-z])", lambda m: sign, text)


def _braced(text: str) -> str:
    return re.sub(r"([\^_])\s*([0-9A-Za-z])(?![\w}])", r"\1{\2}", text)


def _unbraced(text: str) -> str:
    return re.sub(r"([\^_])\s*\{\s*([0-9A-Za-z])\s*\}(?!\w)", r"\1\2", text)


_UNICODE = {r"\pi": "π", r"\infty": "∞", r"\cup": "∪", r"\leq": "≤", r"\le": "≤", r"\geq": "≥", r"\ge": "≥",
            r"\pm": "±", r"\cdot": "·", r"\times": "×", r"\theta": "θ", r"\neq": "≠", r"\ne": "≠"}  # fmt: skip
_RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _unicode(text: str) -> str:
    text = re.sub(r"(?<!\\circ)\^\s*(?:\{(\d+)\}|(\d))", lambda m: (m[1] or m[2]).translate(_RAISED), text)
    return re.sub(r"\\[a-z]+", lambda m: _UNICODE.get(m[0], m[0]), text)


def _slanted(text: str) -> str:
    return re.sub(r"\\(l|g)eq?(?![A-Za-z])", r"\\\1eqslant", text)


def _zeros(text: str) -> str | None:
    """A decimal or whole number that stands alone, with zeros behind the point."""
    match = re.fullmatch(r"-?(?:0|[1-9]\d*)(\.\d+)?", text)
    return text + ("0" if match[1] else ".0") if match else None


def _point_first(text: str) -> str | None:
    return re.sub(r"^(-?)0(\.\d+)$", r"\1\2", text)


def _whole_over_one(text: str) -> str | None:
    match = re.fullmatch(r"(-?)(\d{1,15})", text)
    return rf"{match[1]}\frac{{{int(match[2]) * 3}}}{{3}}" if match else None


def _range(text: str) -> str | None:
    r"""An interval with two finite ends as what holds of x."""
    match = re.fullmatch(r"(?:\\left)?([(\[])([^,()\[\]]+),([^,()\[\]]+?)(?:\\right)?([)\]])", text)
    if not match or "infty" in text or match[1] + match[4] in ("()", "[]"):
        return None
    low, high = (r"\le" if mark in "[]" else "<" for mark in (match[1], match[4]))
    return rf"\{{x \mid {match[2].strip()} {low} x {high} {match[3].strip()}\}}"


def _matrix(kind: str) -> Rewrite:
    return lambda text: re.sub(r"\{[pb]matrix\}", f"{{{kind}}}", text)


def _both_signs(text: str) -> str | None:
    if text.count(r"\pm") != 1 or re.search(r"[$,=(\[]|\\neq?|\\(?:text|mp|infty|left)", text):
        return None
    plus = re.sub(r"^\s*\\pm\s*", "", text) if re.match(r"\s*\\pm", text) else re.sub(r"\\pm", "+", text)
    return f"{plus}, " + re.sub(r"\\pm", "-", text)


def _unlabelled(text: str) -> str | None:
    """Without the name before the value: no relation in what follows it, and no letters that make it an equation."""
    match = re.fullmatch(r"\s*([A-Za-z])\s*=\s*([^=<>,]*)", text)
    if not match or re.search(r"\\(?:text|leq?|geq?|neq?|in)(?![A-Za-z])", text):
        return None
    return match[2] if not re.search(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", match[2]) else None


UNITS = {"cm": "centimeters", "mm": "millimeters", "km": "kilometers", "m": "meters", "kg": "kilograms", "g": "grams",
         "s": "seconds", "h": "hours", "mph": "miles per hour", "ft": "feet", "in": "inches", "L": "liters",
         "min": "minutes", "hr": "hours", "sec": "seconds", "lb": "pounds", "yd": "yards", "J": "joules"}  # fmt: skip
_UNIT = re.compile(r"^(-?[\d.,]+)(\s*(?:\\[,; ]|~)*\s*)\\(?:text|mathrm|textrm)\s*\{\s*~?\s*([A-Za-z]+)\s*\.?\s*\}$")


def _long_unit(text: str) -> str | None:
    match = _UNIT.match(text)
    return rf"{match[1]} \text{{ {UNITS[match[3]]}}}" if match and match[3] in UNITS else None


def _without_unit(text: str) -> str | None:
    match = _UNIT.match(text)
    return match[1] if match and match[3] in {*UNITS, *UNITS.values()} else None


def _double_escaped(text: str) -> str | None:
    """Where every backslash begins a command of letters."""
    plain = "\\" in text and not re.search(r"\\(?![A-Za-z])", text)
    return text.replace("\\", "\\\\") if plain else None


def _one_line(text: str) -> str | None:
    return text if "\n" not in text and "$" not in text else None


def _no_point_at_end(text: str) -> str | None:
    return text if not text.endswith(".") else None


def _is_maths(text: str) -> str | None:
    """For responses without a box: words would run into the sentence."""
    return _bare(text) if not re.search(r"text|[A-Za-z]{3,} [A-Za-z]{2,}|\$|\n|\\mbox", _bare(text)) else None


SPELLINGS: tuple[Spelling, ...] = (
    Spelling("dollars inside", lambda t: f"${_bare(t)}$" if _one_line(_bare(t)) else None),
    Spelling("spaces around", lambda t: f"\n  {t} \n"),
    Spelling("point at the end", lambda t: f"{t}." if _no_point_at_end(t) else None),
    Spelling(r"\displaystyle", lambda t: rf"\displaystyle {_bare(t)}" if _one_line(_bare(t)) else None),
    Spelling(r"\dfrac", _fractions("dfrac")),
    Spelling(r"\tfrac", _fractions("tfrac")),
    Spelling("a/b", _inline),
    Spelling("(a)/(b)", _grouped_inline),
    Spelling("2a/2b", _unreduced),
    Spelling(r"\left \right", _sized),
    Spelling("spaced operators", _spaced),
    Spelling("thin spaces", _thin),
    Spelling("1,234", _thousands(",")),
    Spelling("1{,}234", _thousands("{,}")),
    Spelling(r"1,\!234", _thousands(",\\!")),
    Spelling(r"1\,234", _thousands("\\,")),
    Spelling("1234", _without_thousands),
    Spelling(r"\mathrm words", _words("mathrm")),
    Spelling(r"\textbf words", _words("textbf")),
    Spelling("plain words", _words("")),
    Spelling("other order", _other_order),
    Spelling(r"^{\circ}", _degrees(r"^{\circ}")),
    Spelling("degree sign", _degrees("°")),
    Spelling("degrees", _degrees(r"\text{ degrees}")),
    Spelling(r"\times", _products(r"\times")),
    Spelling("*", _products("*")),
    Spelling("x^{2}", _braced),
    Spelling("x^2", _unbraced),
    Spelling("unicode", _unicode),
    Spelling(r"\leqslant", _slanted),
    Spelling("more zeros", _zeros),
    Spelling(".5", _point_first),
    Spelling("3n/3", _whole_over_one),
    Spelling("set-builder", _range),
    Spelling("pmatrix", _matrix("pmatrix")),
    Spelling("bmatrix", _matrix("bmatrix")),
    Spelling("both signs", _both_signs),
    Spelling("no label", _unlabelled),
    Spelling("long unit", _long_unit),
    Spelling("no unit", _without_unit),
    Spelling("double escaped", _double_escaped),
    Spelling("answer tags", _bare, "<think>\nSo.\n</think>\n<answer> %s </answer>"),
    Spelling("The answer is", _is_maths, "So we are done. The answer is $%s$."),
    Spelling("Final Answer", lambda t: _one_line(_bare(t)),
             "Final Answer: The final answer is $\\boxed{%s}$. I hope it is correct."),
    Spelling("markdown answer", _is_maths, "We add.\n\n**Answer:** $%s$"),
)  # fmt: skip
"""In the order of the table."""
