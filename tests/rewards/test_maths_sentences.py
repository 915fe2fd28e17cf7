"""Right answers that are sentences: the value that one states, and else its words and values in order."""

from __future__ import annotations

import pytest

from postlude.maths.verify import Verifier

AREA = "The area is $3/4$."
SIDE = r"The side next to $\alpha$ has length $8 \cos(20^{\circ})$"
LENGTH = r"The height has length $\frac{70}{9} \approx 7.78$ meters."
FIELD = "Yes. $F(x, y) = 5x^2y + y$"
BENT = r"concave up on $(2, \infty)$, concave down on $(-\infty, 2)$"
POINTS = "local min. $(3,4)$; saddle pt. $(-3,5)$"
SOLVED = r"$\sin(t) = 0$ when $t = \pi k$ or $t = 2\pi k$ for any integer $k$."


@pytest.mark.parametrize(
    ("gold", "right", "wrong"),
    [
        (AREA, ["3/4", "0.75", r"The area is $\frac{3}{4}$", AREA], ["4/3", "The volume is $3/4$"]),
        (SIDE, [r"8\cos(20^\circ)", SIDE], [r"8\sin(20^\circ)", SIDE.replace(r"\alpha", r"\beta")]),
        (LENGTH, [r"\frac{70}{9}", r"\frac{70}{9} \text{ meters}"], [r"\frac{9}{70}", r"\frac{70}{9} \text{ feet}"]),
        ("The mode is $x = 2$.", ["2", "x=2"], ["y=2", "3"]),
        ("Solution is: $k = 9$.", ["k=9", "9"], ["8", "k=-9"]),
        ("About 41.3 miles per hour", ["41.3"], ["41.2"]),
        (FIELD, ["F(x,y)=5x^2y+y", FIELD], ["Yes", "No. $F(x, y) = 5x^2y + y$", "F(x,y)=5x^2y-y"]),
        (BENT, [BENT, BENT.replace("concave up", "Concave up")], [r"(2, \infty)"]),
        (BENT, [BENT + "."], [BENT.replace("(2", "[2"), BENT.replace(" 2)", " 3)"), BENT.replace("up", "down")]),
        (BENT, [BENT.replace(", c", ",\\, c")], [BENT.replace(", c", " and c")]),
        (POINTS, [POINTS, "Local min. $(3, 4)$, saddle pt. $(-3, 5)$"], [POINTS.replace("min", "max"), "(3,4)"]),
        (SOLVED, [SOLVED], [SOLVED.replace("any integer", "some integer"), SOLVED.replace("2", "3")]),
        ("Yes. It has one root.", ["yes, it has one root"], ["Yes", "No. It has one root.", "Yes. It has two roots."]),
        ("The rank is 3, so the area is $5$", [], ["5", "3"]),
        ("The mean is not $5$.", [], ["5"]),
        ("The mean is more than $5$.", [], ["5"]),
        ("$A$ is $3$ and $B$ is $4$", [], ["4", "3"]),
        ("The area is $5$ or $6$", [], ["5", "6"]),
        ("any integer above $e^{9}$", [], ["e^9"]),
        ("Only $u$ is a unit vector.", [], ["u", "1"]),
        ("8", [], ["The wrong answer is $8$", "The other root is $8$"]),
    ],
)  # fmt: skip
def test_a_sentence_is_answered_by_what_it_states(gold: str, right: list[str], wrong: list[str]) -> None:
    verifier = Verifier()
    assert [r for r in right if verifier.verify(gold, rf"\boxed{{{r}}}").score != 1] == []
    assert [w for w in wrong if verifier.verify(gold, rf"\boxed{{{w}}}").score == 1] == []


def test_an_explanation_is_no_right_answer_and_a_sentence_is_told_as_text() -> None:
    verifier = Verifier()
    explained = "We first add the two rows and then see that none of them is left over at all."
    assert "more than 8 words" in (verifier.problem_of_gold(explained) or "")
    assert verifier.problem_of_gold(BENT) is None and verifier.only_text(BENT) == "it is values with words around them"
    assert verifier.problem_of_gold(AREA) is None and verifier.only_text(AREA) is None
