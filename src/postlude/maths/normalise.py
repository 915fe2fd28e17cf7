"""One spelling for one thing: LaTeX spacing and styling, other names of commands, number formats. The meaning stays."""

from __future__ import annotations

import re

from postlude.maths import numerals
from postlude.maths.characters import plain
from postlude.maths.texts import TEXTS
from postlude.maths.tokens import MAX_LENGTH, check_length

_END = r"(?![A-Za-z])"
_UNIT = rf"{TEXTS}\s*\{{[^{{}}]*\}}(?:\^\{{?\d\}}?)?"
_STYLES = (
    r"displaystyle|textstyle|(?:script){1,2}style|(?:no)?limits|bf|rm|it|sf|tt|sl|bfseries|itshape|boldsymbol|bm|pmb"
    r"|math(?:bf|it|sf|tt|normal|strut|open|close|ord|inner)|ensuremath|boxed|fbox|framebox|underline|uline|textup|tiny"
    r"|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge|strut|nonumber|notag|noindent|relax|hfill?"
)
_BLANK = re.compile(
    rf"(?<!\\)\\[,;:!> \n]|~|\\q?quad{_END}|\\en(?:space|skip){_END}|\\(?:thin|med|thick|neg|nobreak)space{_END}"
    r"|\\[hv]space\*?\{[^{}]*\}|\\[hv]?phantom\{[^{}]*\}|\\(?:tag|label)\*?\{[^{}]*\}|[\u200b-\u200f\u2060\ufeff]"
    r"|\\(?:text)?color\s*(?:\[[A-Za-z]*\])?\{[A-Za-z0-9!,. ]*\}|\\colorbox\{[A-Za-z]*\}"
    rf"|\\(?:{_STYLES}|[bB]igg?[lrm]?){_END}|\\(?:left|right|middle)(?:\s*\.(?!\d)|{_END})"
    rf"|\\(?:blacksquare|qed(?:symbol)?|checkmark){_END}|\\(?:square|Box){_END}\s*$"
)
_ALIASES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (rf"\\(?:[dtcsx]|nice)frac{_END}", r"\\frac"),
        (r"(?:\{\})?\^\s*\{?\s*(\d+)\s*\}?\s*/\s*(?:\{\})?_\s*\{?\s*(\d+)\s*\}?", r"\\frac{\1}{\2}"),
        (rf"\{{([^{{}}]*)\\over{_END}([^{{}}]*)\}}", r"\\frac{\1}{\2}"),
        (rf"(?:^|(?<==))([^{{}}=,]*)\\over{_END}([^{{}}=,]*)$", r"\\frac{\1}{\2}"),
        (rf"\\[dt]binom{_END}", r"\\binom"),
        (rf"\\leq(?:slant|q)?{_END}|<=", r"\\le "),
        (rf"\\geq(?:slant|q)?{_END}|>=", r"\\ge "),
        (rf"\\neq{_END}|!=", r"\\ne "),
        (rf"\\lt{_END}", "<"),
        (rf"\\gt{_END}", ">"),
        (rf"\\(?:varnothing|empty|oslash){_END}", r"\\emptyset "),
        (
            rf"\\degrees?{_END}|(?<=[\d}}])\s*\\deg{_END}|\\textdegree{_END}|\{{\}}\s*(?=\^\s*\{{?\s*\\circ)|\^\s*\{{?\s*\\circ\s*\}}?|\^°",
            "°",
        ),
        (rf"\\(?:pounds|textsterling){_END}", "£"),
        (rf"\\(?:text)?euro{_END}", "€"),
        (rf"\\(?:text)?yen{_END}", "¥"),
        (rf"\\(?:text)?cents?{_END}", "¢"),
        (r"\bUS\s*¤", "¤"),
        (r"(?<![A-Za-z\\])Rs\.?\s*(?=\d)", "₹"),
        (rf"\\[lr]?vert{_END}", "|"),
        (rf"\\colon{_END}", ":"),
        (rf"\\lbrace{_END}", r"\\{"),
        (rf"\\rbrace{_END}", r"\\}"),
        (rf"\\percent{_END}|\\%", "%"),
        (r"\*\*", "^"),
        (rf"(?<=\d)\s*\^\s*\{{?\s*(?:{TEXTS}\s*\{{\s*)?(?:st|nd|rd|th)\s*\}}{{1,2}}", r"\\text{th}"),
        (rf"\\mathbb\s*(?:\{{\s*R\s*\}}|R{_END})|\\R{_END}|\\Reals{_END}", "ℝ"),
        (rf"(?<=[\d}}])\s*(?:[xX]|{TEXTS}\s*\{{\s*[xX]\s*\}})\s*(?=10\s*\^)", r"\\times "),
        (rf"(?<=\d)\s*(?:E|e(?=\s*\{{\s*[+-])|{TEXTS}\s*\{{\s*E\s*\}})\s*\{{\s*([+-]?\d{{1,3}})\s*\}}", r"e\1"),
        (rf"(?<=\d)\s*{TEXTS}\s*\{{\s*E\s*\}}\s*([+-]?\d{{1,3}})(?!\d)", r"e\1"),
        (rf"(?:\\mu\s*{TEXTS}\s*\{{\s*|{TEXTS}\s*\{{\s*\\mu\s*)(?=[A-Za-z])", r"\\text{u"),
        (rf"{TEXTS}\s*\{{\s*([kMG]?)\s*\}}?\s*\\Omega\s*\}}?", r"\\text{\1ohm}"),
        (rf"\\frac\s*\{{\s*({_UNIT})\s*\}}\s*\{{\s*({_UNIT})\s*\}}", r"\1/\2"),
    )
)
_DOLLAR = re.compile(r"\\\$|\\text\{\s*\\?\$\s*\}|\\(?:math|text)dollar(?![A-Za-z])")
_SPACES = re.compile(r"\s+")
_ESCAPED = re.compile(r"\\\\(?=[A-Za-z])")
_ANSWER = re.compile(rf"\s*(?:{TEXTS}\s*\{{\s*)?\((?:(?:the )?final )?answer\)\s*\}}?$", re.IGNORECASE)


def normalise(text: str) -> str:
    """The text in one spelling, without delimiters of math mode and without a full stop at its end."""
    text = plain(_unescaped(text)).strip()
    if len(text) > MAX_LENGTH:  # some of the patterns take the square of the length
        return _without_shell(text)
    text = _without_stop(_math_mode(text).strip())
    if "\\" in text or "~" in text or "{,}" in text or not text.isascii():
        text = numerals.joined(text)
        text = _BLANK.sub(" ", text)
    text = _SPACES.sub(" ", text)  # first: patterns with two gaps take the square of a long one
    for pattern, name in _ALIASES:
        text = pattern.sub(name, text)
    text = numerals.pointed(_SPACES.sub(" ", text).strip())
    return _without_stop(_without_shell(_ANSWER.sub("", text)))


def bounded(text: str) -> str:
    """The text; where it is too long, without brackets around all of it. Raises Refused for what still is."""
    if len(text) > MAX_LENGTH:
        text = _without_shell(text.strip())
        check_length(text)
    return text


def _unescaped(text: str) -> str:
    """LaTeX that was escaped twice, so that each of its commands begins with two backslashes."""
    while "\\\\" in text and _ESCAPED.search(text) and not re.search(r"(?<!\\)(?:\\\\)*\\(?!\\)", text):
        text = text.replace("\\\\", "\\")
    return text


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
    if text.endswith("\\"):  # the end of a line, or what a space at the end leaves of "\ "
        text = text.rstrip("\\").rstrip()
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
