"""Right answers of every form are equal to themselves and to their other spellings, and to no change of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.maths_golds.__main__ import main
from bench.maths_golds.measure import measure
from bench.maths_golds.mutations import MUTATIONS
from bench.maths_golds.sets import gold_sets
from bench.maths_golds.spellings import SPELLINGS
from postlude.maths.golds import gold_text

FIXTURE = Path(__file__).parent.parent / "fixtures" / "maths_golds.jsonl"


def test_own_right_answers_are_sound_and_cannot_be_changed() -> None:
    (golds,) = gold_sets([FIXTURE])
    found = measure(golds)
    assert len(golds.golds) == 62 and not golds.without
    assert not found.bad and not found.only_text and not found.unlike
    assert not found.lost and not found.paid


def test_every_spelling_and_change_has_something_to_say_of_the_fixture() -> None:
    (golds,) = gold_sets([FIXTURE])
    found = measure(golds)
    assert {s.name for s in SPELLINGS} == {*found.spelled}
    assert {m.name for m in MUTATIONS} == {*found.changed}


@pytest.mark.parametrize(
    ("name", "text", "spelled"),
    [
        ("1,234", "-13500", "-13,500"),
        ("1,234", "135", None),
        ("1234", r"1,\!250,\!000", "1250000"),
        ("1234", "1,25", None),
        ("other order", r"\{1, 4\}", r"\{4, 1\}"),
        ("other order", "(1, 4)", None),
        ("other order", "1,000", None),
        ("other order", "(1,2),(3,4)", "(3,4), (1,2)"),
        ("both signs", r"2\pm\sqrt{3}", r"2+\sqrt{3}, 2-\sqrt{3}"),
        ("no label", "x=5", "5"),
        ("no label", "y=2x", None),
        ("(a)/(b)", r"\frac{x+1}{3}", "((x+1)/(3))"),
        ("(a)/(b)", r"2\frac{1}{3}", None),
        ("2a/2b", r"-\frac{3}{4}", r"-\frac{6}{8}"),
        ("set-builder", "(1,4]", r"\{x \mid 1 < x \le 4\}"),
        ("set-builder", "(1,4)", None),
    ],
)
def test_a_spelling_is_made_where_the_value_stays(name: str, text: str, spelled: str | None) -> None:
    (one,) = (s for s in SPELLINGS if s.name == name)
    assert one.of(text) == (spelled and rf"\boxed{{{spelled}}}")


@pytest.mark.parametrize(
    ("name", "text", "changed"),
    [
        ("digit", r"\frac{1}{9}", [r"\frac{2}{9}", r"\frac{1}{1}"]),
        ("digit", r"x_{1}=2", [r"x_{1}=3"]),
        ("digit", r"i^{4}=1", []),
        ("one digit more", "0", []),
        ("sign", "-5", ["5"]),
        ("sign", r"\pm 5", []),
        ("sign", "0.0", []),
        ("bracket", "(1,2]", ["[1,2]", "(1,2)"]),
        ("bracket", r"(-\infty,2)", [r"(-\infty,2]"]),
        ("member dropped", "1,234", []),
        ("member dropped", "2,2,7", ["2, 7", "2, 2"]),
        ("order of a tuple", "(3,3)", []),
        ("exponent", "x^{2}+1", ["x^{3}+1"]),
        ("label", "x=5", ["q=5"]),
        ("relation", "x<3", ["x>3", r"x\le 3"]),
        ("sign inside", "x^2+C", []),
        ("point moved", "0.0", []),
    ],
)
def test_a_change_is_made_where_the_value_changes(name: str, text: str, changed: list[str]) -> None:
    (one,) = (m for m in MUTATIONS if m.name == name)
    assert one.of(text) == changed


def test_the_table_has_a_row_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"final_answer": ["7"]},
        {"Answer": 8.0, "solution": "so 8"},
        {"solution": r"so $\boxed{9}$"},
        {"answer": "?"},
    ]
    (tmp_path / "a_test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*rows, {"other": 1}]))
    (tmp_path / "b.json").write_text(json.dumps([{"answer": "the whole truth of it is not a thing one can say"}]))
    (tmp_path / "c.txt").write_text("no rows")
    main([str(tmp_path), "--list", "1"])
    printed = capsys.readouterr().out
    assert [line.split()[:4] for line in printed.split("\n")[1:3]] == [["a", "4", "1", "0"], ["b", "1", "1", "0"]]
    assert "a_test.jsonl:4" in printed and "more than 8 words" in printed


def test_a_file_that_is_no_json_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text("{")
    assert main([str(tmp_path)]) == 2
    assert "a.jsonl: not JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("solution", "gold"),
    [
        (r"Half of $1,$ or $\boxed{\frac{1}{2}}.$", r"\frac{1}{2}"),
        (r"So $x$ is $\boxed{3}$ or $\boxed{\frac{2}{5}}$.", r"3, \frac{2}{5}"),
        (r"This yields $\boxed{x+11}$ or $\boxed{11+x}$.", r"11+x"),
        (r"We have $444^\circ-288^\circ=\boxed{156^\circ}$ for the smaller angle.", r"156^\circ"),
    ],
)
def test_a_worked_solution_has_the_answers_in_its_boxes_and_no_others(solution: str, gold: str) -> None:
    assert gold_text(solution) == gold
