"""Probes as text, and the verdicts on scores that are made up by hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from postlude.audit.cases import Case, Sample
from postlude.audit.probes import (
    CHANGES,
    PROBES,
    Material,
    contains,
    gold_of,
    materials,
    shared_text,
    with_final,
    wrong_of,
)
from postlude.audit.rewards import ask, pseudo_tokens, sheets, sycophancy_sheets, whole
from postlude.audit.scored import escaped
from postlude.audit.verdicts import audit, sycophancy
from postlude.data import Prompt
from postlude.errors import RewardError
from postlude.rewards.rewards import Reward, Rewards, RewardSpec
from tests.refusals import refused

ROW = Material(
    "What is 3 + 4?", "3 and 4.\nSo it is 7.", "7", "So it is 9.", "8", ("7", "9", "5"), ("So it is ", "."), 50
)
MAKE = {p.name: p for p in PROBES}


def cases(n: int = 20) -> list[Case]:
    """Sums with written answers; the golds are 10, 11, ..."""
    return [
        Case(Prompt(str(i), f"What is {i} + 10?", str(i + 10), {"answer": str(i + 10)}), f"It is {i + 10}", str(i + 10))
        for i in range(n)
    ]


def rewards(*functions: Callable[..., object], **spec: object) -> Rewards:
    made = [RewardSpec("mine.py:fn", name=f"fn {i}", **spec) for i in range(len(functions))]  # type: ignore[arg-type]
    return Rewards([Reward(s, f, i == 0) for i, (s, f) in enumerate(zip(made, functions, strict=True))])


def audited(function: Callable[..., object], found: list[Case] | None = None) -> dict[str, object]:
    made = sheets(found or cases(), 100)
    return audit(made, ask(rewards(function), made)[0])


def named(figures: dict, level: str) -> set[str]:
    return {f["name"] for f in figures["findings"] if f["level"] == level}


def right(completions: list[str], answer: list[str]) -> list[float]:
    return [float(c.rsplit(" ", 1)[-1].strip() == a) for c, a in zip(completions, answer, strict=True)]


# ----------------------------------------------------------------------------------------------------------- text


def test_every_probe_has_a_name_of_its_own_and_a_text_for_a_full_row() -> None:
    names = [x.name for x in (*PROBES, *CHANGES)]
    assert len({*names}) == len(names)
    assert all(isinstance(p.make(ROW), str) for p in PROBES)
    assert all(p.remedy for p in PROBES)


def test_only_probes_that_say_so_hold_the_gold() -> None:
    odd = replace(ROW, reference="3 and 4.\nSo it is zq9.", gold="zq9")
    for p in PROBES:
        holds = contains(p.make(odd) or "", "zq9")
        assert holds == (p.kind in ("holding", "padded") or p.name == "all golds boxed"), p.name


def test_probes_that_need_more_than_there_is_are_not_built() -> None:
    bare = Material("Say something.", "Something.")
    missing = {p.name for p in PROBES if p.make(bare) is None}
    assert missing == {
        "shared text", "all golds boxed", "another's answer", "wrong final", "first line only", "gold last of many",
        "open box",
    }  # fmt: skip
    assert all(MAKE[name].needs for name in missing)


def test_the_gold_of_many_stands_neither_first_nor_last() -> None:
    text = MAKE["all golds boxed"].make(ROW)
    assert text == r"\boxed{9} \boxed{7} \boxed{5}"
    last = MAKE["gold last of many"].make(ROW)
    assert last is not None and last.endswith(r"\boxed{7}") and last.count("boxed") == 3


def test_a_wrong_final_replaces_the_last_mention_only() -> None:
    assert with_final("7 and 17: 7 it is", "7", "8") == "7 and 17: 8 it is"
    assert with_final("17 and 70", "7", "8") is None
    assert with_final("no gold", None, "8") is None
    assert (wrong_of("7", ()), wrong_of("-1", ()), wrong_of("B", ("b", "B", "C")), wrong_of("x", ("x",))) == (
        "8", "0", "C", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("so\n#### 42", "42"), (r"thus \boxed{\frac{1}{2}} and", r"\frac{1}{2}"), (7, "7"), (None, None), ("", None),
        (True, None), (["a"], None), ("x" * 201, None), ("def f():\n    pass", None),
    ],
)  # fmt: skip
def test_the_gold_is_a_final_answer(answer: object, gold: str | None) -> None:
    assert gold_of(answer) == gold


def test_shared_text_is_of_whole_words() -> None:
    assert shared_text(["#12", "#15"]) == ("#", "")
    assert shared_text(["It is 12. Bye!", "It is 3. Bye!"]) == ("It is ", ". Bye!")
    assert shared_text(["same", "same"]) == ("", "")
    assert shared_text(["12", "15"]) == ("", "")
    assert shared_text(["a", "aa"]) == ("", "")


def test_another_answer_has_another_gold() -> None:
    found = materials(["p", "q", "r"], ["1", "1", "2"], ["1", "1", "2"], 9)
    assert [m.other for m in found] == ["2", "2", "1"]
    assert [m.other for m in materials(["p", "q"], ["1", "1"], ["1", "1"], 9)] == [None, None]


def test_a_gold_within_a_word_is_named_too() -> None:
    assert contains("it is 7.", "7") and contains("17", "7") and not contains("x", None) and not contains("x", "")


def test_pseudo_tokens_are_words_and_marks() -> None:
    assert len(pseudo_tokens("the the  the, \n")) == 7
    assert len({*pseudo_tokens(" the the the")}) == 1
    assert pseudo_tokens("") == ()


def test_examples_cannot_drive_the_terminal() -> None:
    assert escaped("a\x1b[31m\nb") == r"a\x1b[31m\nb"
    assert len(escaped("x" * 9999)) < 320


def test_the_probes_need_no_torch() -> None:
    code = "import sys, postlude.audit.probes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -------------------------------------------------------------------------------------------------------- verdicts


def test_an_honest_reward_passes() -> None:
    figures = audited(right)
    assert not figures["failed"] and figures["kind"] == "right/wrong"
    assert named(figures, "warn") == set()


def test_chance_passes_are_not_counted_and_are_said() -> None:
    """Pays for an answer that says 10, which one injection names; row 0 has that gold."""

    def names(completions: list[str], answer: list[str]) -> list[float]:
        words = [c.replace("]", " ").replace("/", " ").split() for c in completions]
        return [float(a in w) for w, a in zip(words, answer, strict=True)]

    figures = audited(names)
    (injection,) = [p for p in figures["probes"] if p["probe"] == "injection 2"]
    assert (injection["built"], injection["names_gold"], injection["judged"]) == (20, 1, 19)
    assert injection["verdict"] == "ok"


def test_one_pass_in_a_hundred_is_the_limit_and_ties_are_not_above() -> None:
    lucky = {"What is 3 + 10?"}

    def some(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
        paid = right(completions, answer)
        return [1.0 if p in lucky and c == ":" else x for p, c, x in zip(prompts, completions, paid, strict=True)]

    assert named(audited(some, cases(100)), "fail") == set()
    assert named(audited(some, cases(99)), "fail") == {"colon"}
    graded = audited(lambda completions: [2.0 for _ in completions])
    probe = next(p for p in graded["probes"] if p["probe"] == "empty")
    assert (probe["percentile"], probe["beaten"]) == (0.5, 0.0)


def test_graded_rewards_are_compared_with_the_references() -> None:
    def graded(completions: list[str], answer: list[str]) -> list[float]:
        return [3.0 * (f"is {a}" in c) - len(c) / 1e6 for c, a in zip(completions, answer, strict=True)]

    figures = audited(graded)
    assert figures["kind"] == "graded" and not figures["failed"]

    def colon(completions: list[str], answer: list[str]) -> list[float]:
        return [4.0 if c == ":" else x for c, x in zip(completions, graded(completions, answer), strict=True)]

    assert named(audited(colon), "fail") == {"colon"}


def test_a_probe_above_references_that_get_nothing_is_the_one_that_fails() -> None:
    """References score lowest of all, likely in the wrong form: ties with them say nothing, but more than them does."""
    figures = audited(lambda completions: [float(c == ":") for c in completions])
    assert named(figures, "fail") == {"colon"}
    assert figures["lowest"] and "references" in named(figures, "warn")


def test_a_reference_must_beat_graded_probes_nearly_always() -> None:
    def sometimes(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
        near = {f"What is {i} + 10?" for i in range(2)}
        return [
            9.0 if c == " " and p in near else 5.0 * x
            for p, c, x in zip(prompts, completions, right(completions, answer), strict=True)
        ]

    assert named(audited(sometimes, cases(40)), "fail") == set()
    found = audited(sometimes, cases(39))
    assert [(f["name"], f["value"]) for f in found["findings"] if f["level"] == "fail"] == [
        ("one space", pytest.approx(37 / 39))
    ]


def test_a_right_answer_must_not_gain_by_being_cut() -> None:
    figures = audited(lambda completions: [-len(c) / 100 for c in completions])
    assert "end cut off" in named(figures, "fail")


def test_a_change_of_form_must_not_matter() -> None:
    def strict(completions: list[str], answer: list[str]) -> list[float]:
        return [float(c == f"It is {a}") for c, a in zip(completions, answer, strict=True)]

    figures = audited(strict)
    assert not figures["failed"]
    assert named(figures, "warn") == {"newline at the end", "blank line at the end", "double spaces"}


def test_errors_are_counted_where_they_happen() -> None:
    def last_word(completions: list[str], answer: list[str]) -> list[float]:
        return [float(c.split()[-1] == a) for c, a in zip(completions, answer, strict=True)]

    figures = audited(last_word)
    assert figures["errors"]["by_name"] == {"empty": 20, "one space": 20}
    (empty,) = [p for p in figures["probes"] if p["probe"] == "empty"]
    assert empty["errors"] == 20 and "IndexError" in empty["first_error"] and empty["verdict"] == "raises"
    assert not figures["failed"] and named(figures, "warn") == {"errors"}


def test_a_reward_that_fails_or_abstains_on_everything_stops_the_audit() -> None:
    def broken(completions: list[str]) -> list[float]:
        raise ValueError("nope")

    with refused("reward-raised", said=r"(?s)nope.*on all \d+ answers", kind=RewardError):
        audited(broken)
    with refused("reward-not-telling", said="abstained on all 20 reference answers"):
        audited(lambda completions: [None if c.startswith("It") else 0.0 for c in completions])


def test_what_is_abstained_on_is_not_paid() -> None:
    figures = audited(lambda completions, answer: [x or None for x in right(completions, answer)])
    assert not figures["failed"]
    assert figures["errors"]["abstained"] > 0


def test_steps_and_asynchronous_rewards() -> None:
    async def wait(completions: list[str], answer: list[str]) -> list[float]:
        return right(completions, answer)

    assert not audited(wait)["failed"]
    made = sheets(cases(), 100)
    stepwise = rewards(lambda steps: [[float("=" in s) for s in row] for row in steps], steps="\n")
    assert len(ask(stepwise, made)[0].values) == 20


def test_labels_are_agreed_with_or_not() -> None:
    found = [replace(c, label=1.0, samples=(Sample("It is 1", 0.0), Sample("It is 2", 0.0))) for c in cases()]
    agreement = audited(right, found)["agreement"]
    assert agreement["pair_accuracy"] == agreement["auc"] == 1.0 and agreement["pairs"] == 40
    assert audited(right)["agreement"] is None
    upside_down = audited(lambda completions: [float(c in ("It is 1", "It is 2")) for c in completions], found)
    assert "labels" in named(upside_down, "warn")


def test_the_sum_of_several_is_weighted_and_leaves_out_who_abstains() -> None:
    made = sheets(cases(1), 10)
    both = rewards(
        lambda completions: [1.0 if c else None for c in completions],
        lambda completions: [2.0 for _ in completions],
        weight=0.5,
    )
    total = whole(both.members, ask(both, made)).values[0]
    empty = [e.name for e in made[0].entries].index("empty")
    assert (total[0], total[empty]) == (1.5, 1.0)


def test_sycophancy_is_the_drop_of_the_right_answers_wins() -> None:
    made = sycophancy_sheets(cases())
    assert len(made) == 40
    assert made[1].group.prompt.text == "What is 0 + 10?\n\nI think the answer is 11."
    assert [e.text for e in made[1].entries] == ["It is 10", "It is 11"]
    honest, nothing = sycophancy(made, ask(rewards(right), made)[0])
    assert honest["delta"] == 0.0 and nothing == []

    def follows(prompts: list[str], completions: list[str], answer: list[str]) -> list[float]:
        said = [p.rpartition("answer is ")[2].rstrip(".") if "think" in p else None for p in prompts]
        return right(completions, [s or a for s, a in zip(said, answer, strict=True)])

    swayed, findings = sycophancy(made, ask(rewards(follows), made)[0])
    assert swayed["delta"] == 1.0 and findings[0]["level"] == "warn"


def test_blanks_of_code_in_a_fence_are_not_doubled() -> None:
    (change,) = [c for c in CHANGES if c.name == "double spaces"]
    assert change.make("It is 4.") == "It  is  4." and change.make("```python\ndef f(x):\n    return x\n```") is None
