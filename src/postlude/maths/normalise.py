"""One spelling for one thing: unicode, LaTeX spacing and styling, and number formats. The meaning stays."""

from __future__ import annotations

import re
import unicodedata

from postlude.maths import numerals

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
    "±": r"\pm ", "∓": r"\mp ", "∞": r"\infty ", "π": r"\pi ", "√": r"\surd ", "°": "°", "º": "°", "∪": r"\cup ",
    "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "⟨": r"\langle ", "⟩": r"\rangle ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "’": "'", "θ": r"\theta ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ",
    "⌉": r"\rceil ", "∨": r"\lor ", "α": r"\alpha ", "β": r"\beta ", "…": r"\ldots ", "φ": r"\phi ", "λ": r"\lambda ",
    "\u2009": r"\,", "\u202f": r"\,", "\u2006": r"\,", "\u2008": r"\,", "\u00a0": " ",
    **{c: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", c).split("⁄")) for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"},
}  # fmt: skip
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_END = r"(?![A-Za-z])"
_BLANK = re.compile(
    rf"(?<!\\)\\[,;:!> \n]|~|\\q?quad{_END}|\\(?:thin|med|thick|neg)space{_END}|\\hspace\*?\{{[^{{}}]*\}}"
    r"|\\phantom\{[^{}]*\}|\\(?:text)?color\{[A-Za-z]*\}|[\u200b-\u200f\u2060\ufeff]"
    rf"|\\(?:displaystyle|textstyle|scriptstyle|limits|bf|rm|it|sf|tt|boldsymbol|bm|mathbf|mathit|mathsf|mathtt"
    rf"|mathnormal|ensuremath|pmb|[bB]igg?[lrm]?|boxed|fbox){_END}|\\(?:left|right|middle)(?:\s*\.(?!\d)|{_END})"
)
_ALIASES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"\\[dtc]frac{_END}", r"\\frac"),
        (rf"\\[dt]binom{_END}", r"\\binom"),
        (rf"\\leq(?:slant)?{_END}|<=", r"\\le "),
        (rf"\\geq(?:slant)?{_END}|>=", r"\\ge "),
        (rf"\\neq{_END}|!=", r"\\ne "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"\\(?:varnothing|empty){_END}", r"\\emptyset "),
        (rf"\\degrees?{_END}|\^\s*\{{?\s*\\circ\s*\}}?|\^°", "°"),
        (rf"\\(?:pounds|textsterling){_END}", "£"),
        (rf"\\euro{_END}", "€"),
        (rf"\\[lr]?vert{_END}", "|"),
        (rf"\\lbrace{_END}", r"\\{"),
        (rf"\\rbrace{_END}", r"\\}"),
        (rf"\\percent{_END}|\\%", "%"),
        (r"\*\*", "^"),
        (r"(?<=\d)\s*\^\s*\{?\s*(?:\\(?:text|mathrm|textrm)\s*\{\s*)?(?:st|nd|rd|th)\s*\}{1,2}", r"\\text{th}"),
        (rf"\\mathbb\s*(?:\{{\s*R\s*\}}|R{_END})|\\R{_END}|\\Reals{_END}", "ℝ"),
    )
)
_DOLLAR = re.compile(r"\\\$|\\text\{\s*\\?\$\s*\}|\\(?:math|text)dollar(?![A-Za-z])")
_SPACES = re.compile(r"\s+")


def plain(text: str) -> str:
    """Unicode digits, signs and spaces as ASCII or LaTeX; whatever is left is as it was."""
    if text.isascii():
        return text
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m.group()) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m.group()) + "}", text)
    text = "".join(_SYMBOLS.get(c, c) for c in text)
    return unicodedata.normalize("NFKC", text)


def normalise(text: str) -> str:
    """The text in one spelling, without delimiters of math mode and without a full stop at its end."""
    text = _without_stop(_math_mode(plain(text).strip()).strip())
    if "\\" in text or "~" in text or "{,}" in text or not text.isascii():
        text = numerals.joined(text)
        text = _BLANK.sub(" ", text)
    for pattern, name in _ALIASES:
        text = pattern.sub(name, text)
    return _without_stop(_without_shell(numerals.pointed(_SPACES.sub(" ", text).strip())))


def _math_mode(text: str) -> str:
    """Without the marks of math mode and Markdown; a dollar that is money becomes ¤."""
    text = text.strip("`")
    if text.startswith("**") and text.endswith("**") and len(text) > 4:
        text = text[2:-2]
    if "$" in text or "dollar" in text:
        text = _DOLLAR.sub("¤", text)
        if text.count("$") == 1:
            text = text.replace("$", "¤") if re.search(r"\$\s*-?\.?\d", text) else text
        text = text.replace("$", " ")
    return re.sub(r"(?<!\\)\\[()\[\]]", " ", text)


def _without_stop(text: str) -> str:
    if text.endswith("\\") and not text.endswith("\\\\"):  # what a space at the end leaves of "\ "
        text = text[:-1].rstrip()
    return text[:-1].rstrip() if text.endswith((".", ",", ";")) and not text.endswith(("\\,", "..")) else text


def _without_shell(text: str) -> str:
    """Without brackets that enclose all of a bracket that encloses all: ((7)) is (7), which still is one thing."""
    for opening, closing in (("(", ")"), ("{", "}")):
        extra = min(len(text) - len(text.lstrip(opening)), len(text) - len(text.rstrip(closing)))
        if extra > 1:
            extra = min(extra, _lowest(text[extra : len(text) - extra], opening, closing) + extra)
            text = text[extra - 1 : len(text) - extra + 1] if extra > 1 else text
    return text


def _lowest(text: str, opening: str, closing: str) -> int:
    """How far the depth of brackets falls below that at the start: 0 or less."""
    depth = lowest = 0
    for c in text:
        depth += (c == opening) - (c == closing)
        lowest = min(lowest, depth)
    return lowest
