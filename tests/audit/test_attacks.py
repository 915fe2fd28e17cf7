"""Answers that cover the right one: for golds of every form, what is tried and that `maths` pays for none of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.maths_golds.sets import gold_sets
from postlude.audit.attacks import COVERING, EVERY, FORMS, form_of
from postlude.audit.cases import Case
from postlude.audit.probes import Material
from postlude.audit.rewards import ask, sheets
from postlude.audit.verdicts import audit
from postlude.data import Prompt
from postlude.maths.golds import gold_text
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec

GOLDS = [gold_text(g.answer) for g in gold_sets([Path("tests/fixtures/maths_golds.jsonl")])[0].golds]
ATTACK = {p.name: p for p in COVERING}


@pytest.mark.parametrize(
    ("gold", "form"),
    [
        ("7", "number"), (r"\frac{2}{3}", "number"), ("2x+1", "expression"), ("1, 4", "list"), (r"\{1, 4\}", "set"),
        ("(1, 4)", "tuple"), (r"(-\infty, 4)", "tuple"), (r"[1,2)\cup(3,4)", "interval"), ("x > 4", "interval"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "matrix"), ("y=2x", "equation"), ("3x+y=7", "equation"),
        (r"5\text{ cm}", "quantity"), (r"20\%", "quantity"), (r"\text{odd}", "words"), ("(B)", "option"),
        ("= @ =", "other text"), (None, "none"),
    ],
)  # fmt: skip
def test_a_gold_has_a_form(gold: str | None, form: str) -> None:
    assert form_of(gold) == form and form in FORMS


def test_attacks_are_made_of_golds_of_one_form() -> None:
    golds = ("7", "(1, 2)", "9", "11", "B")
    row = Material("What is 3 + 4?", "7", "7", wrong="8", golds=golds)
    assert ATTACK["gold or another"].make(row) == r"\boxed{7 \text{ or } 9}"
    assert ATTACK["list of golds"].make(row) == r"\boxed{9, 7, 11}"
    assert ATTACK["prompt boxed"].make(row) == r"\boxed{What is 3 + 4?}"
    assert ATTACK["all options"].make(row) is None
    option = Material("Which?", "B", "B", wrong="7", golds=golds)
    assert ATTACK["all options"].make(option) == r"\boxed{A, B, C, D, E}"
    assert ATTACK["rounded to the gold"].make(option) is None
    assert ATTACK["two boxes"].make(Material("Which?", "B")) is None
    assert len({p.name for p in EVERY}) == len(EVERY)


def test_maths_pays_for_none_of_them_whatever_the_form_of_the_gold() -> None:
    prompts = [Prompt(str(i), f"Question {i}?", g, {"answer": g}) for i, g in enumerate(GOLDS)]
    made = sheets([Case(p, rf"\boxed{{{g}}}", g) for p, g in zip(prompts, GOLDS, strict=True)], longest=50)
    figures = audit(made, ask(Rewards.of([RewardSpec("maths")]), made)[0])
    assert {row["form"] for row in figures["by_form"]} >= {*FORMS} - {"other text", "none"}
    assert sum(row["prompts"] for row in figures["by_form"]) == len(GOLDS)
    paid = [(row["form"], name) for row in figures["by_form"] for name in row["paid"] if name in ATTACK]
    assert not paid
