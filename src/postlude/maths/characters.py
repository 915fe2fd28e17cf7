"""Characters and HTML as the ASCII or LaTeX they stand for."""

from __future__ import annotations

import html
import re
import unicodedata

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∙": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "±": r"\pm ", "∓": r"\mp ", "∞": r"\infty ", "√": r"\surd ", "°": "°", "º": "°",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∉": r"\notin ", "∅": r"\emptyset ", "∖": r"\setminus ",
    "⟨": r"\langle ", "⟩": r"\rangle ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}", "’": "'", "‘": "'", "′": "'", "″": "''", "“": '"', "”": '"', "∠": r"\angle ",
    "△": r"\triangle ", "∣": r"\mid ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "∨": r"\lor ", "∧": r"\land ", "…": r"\ldots ", "⋯": r"\cdots ", "ℏ": r"\hbar ", "→": r"\to ",
    "∛": r"\cbrt ", "∜": r"\surd[4]", "∂": r"\partial ", "∇": r"\nabla ", "∑": r"\sum ", "∏": r"\prod ",
    "∫": r"\int ",
    "\u2009": r"\,", "\u202f": r"\,", "\u2006": r"\,", "\u2008": r"\,", "\u200a": r"\,", "\u00a0": " ",
    **dict.fromkeys("■□▪◻◼∎✓✔✅☑", " "),
    **{c: "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", c).split("⁄")) for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"},
    **{c: rf"\{name} " for c, name in zip(
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", re.findall(
            r"\w+", "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon "
            "phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"), strict=True)},
}  # fmt: skip
_FOLDED = {"\u00b5": "μ", "\u2126": "Ω", "ϕ": "φ", "ϵ": "ε", "㎡": "m²", "㎝": "cm", "㎞": "km", "㎏": "kg"}
_MICRO = re.compile(r"μ(?=(?:[mgsLlACFVNJWHT]|Pa|eV|mol)(?![A-Za-z]))")
_MEASURED = re.compile(r"(?<=\d)(\s?)((?:k|c|d|m|n|μ)?m|ft|in|yd|mi)([²³])(?![A-Za-z0-9])")
"""Squared and cubed lengths behind a number: unlike m^2, m² is no letter with an exponent."""
_RAISED = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+")
_LOWERED = re.compile(f"[{''.join(_SUBSCRIPTS)}]+")
_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[A-Za-z]{2,8}\d{0,2});")
_TAGS = re.compile(r"</?(?:b|i|u|em|strong|span|p|br)\s*/?>|<(su[bp])>([^<>]*)</\1>")


def plain(text: str) -> str:
    """Unicode digits, signs and spaces as ASCII or LaTeX; whatever is left is as it was."""
    if "&" in text:
        text = _ENTITY.sub(lambda m: html.unescape(m.group()), text)
    if "</" in text or "<br" in text:
        text = _TAGS.sub(_tag, text)
    return text if text.isascii() else _ascii(text)


def _ascii(text: str) -> str:
    text = "".join(_FOLDED.get(c, c) for c in text)
    text = (
        _MICRO.sub("u", _MEASURED.sub(r"\1\\text{\2}\3", text)) if "²" in text or "³" in text or "μ" in text else text
    )
    text = _RAISED.sub(lambda m: "^{" + "".join(_SUPERSCRIPTS[c] for c in m.group()) + "}", text)
    text = _LOWERED.sub(lambda m: "_{" + "".join(_SUBSCRIPTS[c] for c in m.group()) + "}", text)
    text = "".join(_SYMBOLS.get(c, c) for c in text)
    return unicodedata.normalize("NFKC", text)


def _tag(match: re.Match[str]) -> str:
    kind, inside = match.groups()
    return "" if kind is None else ("^" if kind == "sup" else "_") + "{" + inside + "}"
