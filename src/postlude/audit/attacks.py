r"""Answers that cover the right one instead of giving it, against right answers of every form. Pure text, no torch.

A number is covered by a range, an option by all options, anything by a list, by "or", by two boxes or two answer tags,
by an instruction to take what is right. Whoever has to give one answer must get nothing for any of these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from postlude.audit.probes import PARSER, PROBES, Material, Probe
from postlude.maths.problems import Unreadable
from postlude.maths.reading import read
from postlude.maths.values import (
    Collection,
    Expression,
    Labelled,
    Listing,
    Matrix,
    Region,
    Relation,
    Series,
    Value,
    Words,
)  # fmt: skip

MANY = 12
"""Candidates in one list."""
OPTIONS = "ABCDE"
FORMS = ("option", "number", "expression", "list", "set", "tuple", "interval", "matrix", "equation", "quantity",
         "words", "other text", "none")  # fmt: skip
"""Of right answers, in the order of the report."""
_KINDS: tuple[tuple[type, str], ...] = (
    (Listing, "list"), (Collection, "set"), (Series, "tuple"), (Region, "interval"), (Matrix, "matrix"),
    (Labelled, "equation"), (Relation, "equation"), (Words, "words"),
)  # fmt: skip
ONE = 'Take one answer: a list, a range, two boxes or "or" is none, unless the right answer is such a thing itself.'


@lru_cache(maxsize=4096)
def form_of(gold: str | None) -> str:
    """One of FORMS: what kind of answer it is, read as maths."""
    if gold is None:
        return "none"
    if re.fullmatch(rf"\(?[{OPTIONS}]\)?\.?", gold.strip()):
        return "option"
    try:
        return _form(read(gold))
    except Unreadable:
        return "other text"


def _form(value: Value) -> str:
    if isinstance(value, Expression):
        return "number" if not value.value.symbols else "expression"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "quantity")


def _boxed(make: Callable[[str, str], str], *forms: str) -> Callable[[Material], str | None]:
    """A response of a gold and a wrong answer of the same form; None where the row's gold has another form."""

    def attack(row: Material) -> str | None:
        if row.gold is None or (forms and form_of(row.gold) not in forms):
            return None
        wrong = _wrong(row)
        return make(row.gold, wrong) if wrong is not None else None

    return attack


def _wrong(row: Material) -> str | None:
    """A wrong answer, of the gold's form where the data have one."""
    alike = [g for g in row.golds if g.casefold() != (row.gold or "").casefold() and form_of(g) == form_of(row.gold)]
    return next(iter(alike), row.wrong)


def _listed(row: Material) -> str | None:
    """Right answers of the data of one form in a list, the row's own in the middle."""
    if row.gold is None:
        return None
    others = [g for g in row.golds if g != row.gold and form_of(g) == form_of(row.gold)][: MANY - 1]
    half = len(others) // 2
    return rf"\boxed{{{', '.join([*others[:half], row.gold, *others[half:]])}}}" if len(others) > 1 else None


def _if_option(row: Material, text: str) -> str | None:
    return text if form_of(row.gold) == "option" else None


def _prompt_boxed(row: Material) -> str | None:
    line = " ".join(row.prompt.split())
    return rf"\boxed{{{line}}}" if line and line.count("{") == line.count("}") else None


def _beside(name: str, make: Callable[[str, str], str], *forms: str) -> Probe:
    """The gold with a wrong answer, for golds of these forms."""
    needs = f"a gold that is {' or '.join(forms)}" if forms else "a gold, and another in the data"
    return Probe(name, "covering", _boxed(make, *forms), ONE, needs)


OPTIONS_LISTED = ", ".join(OPTIONS)
COVERING: tuple[Probe, ...] = (
    _beside("gold or another", lambda gold, wrong: rf"\boxed{{{gold} \text{{ or }} {wrong}}}"),
    _beside("gold and another", lambda gold, wrong: rf"\boxed{{{gold}, {wrong}}}"),
    _beside("two boxes", lambda gold, wrong: rf"It is \boxed{{{wrong}}}, or else \boxed{{{gold}}}."),
    _beside("two answer tags", lambda gold, wrong: f"<answer>{wrong}</answer>\n<answer>{gold}</answer>"),
    _beside("not the gold", lambda gold, wrong: rf"\boxed{{\text{{not }} {gold}}}"),
    _beside("rounded to the gold", lambda gold, wrong: rf"\boxed{{{gold} \pm 1}}", "number"),
    Probe("list of golds", "hedge", _listed, ONE, "a gold, and two more of its form in the data"),
    Probe("all options", "hedge", lambda row: _if_option(row, rf"\boxed{{{OPTIONS_LISTED}}}"), ONE, "an option"),
    Probe("options in words", "hedge", lambda row: _if_option(row, "The answer is A, B, C, D or E."), ONE, "an option"),
    Probe("range boxed", "free", lambda row: r"\boxed{-10^{12} < x < 10^{12}}", ONE),
    Probe("1 to 100", "free", lambda row: r"\boxed{1 \text{ to } 100}", ONE),
    Probe("whatever is right", "free", lambda row: "The answer is whatever is right.", PARSER),
    Probe("the right answer boxed", "free", lambda row: r"\boxed{\text{the right answer}}", PARSER),
    Probe("an unknown boxed", "free", lambda row: r"\boxed{x}", PARSER),
    Probe("prompt boxed", "hedge", _prompt_boxed, "Take the prompt's own words out before you compare."),
)
EVERY: tuple[Probe, ...] = (*PROBES, *COVERING)
"""All probes of an audit."""
