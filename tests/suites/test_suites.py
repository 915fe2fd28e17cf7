"""Suites: what their files say, the package's own rows and marks, figures by hand, and what was trained on."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import postlude
from postlude.data import Completion, Group, Prompt
from postlude.errors import ConfigError, DataError
from postlude.rewards.rewards import Rewards
from postlude.suites import results
from postlude.suites.leaks import leaks
from postlude.suites.marks import follows, refuses
from postlude.suites.results import Figure, Result, by_prompt, changes, figures_of, unlike
from postlude.suites.rows import ask
from postlude.suites.spec import open_suite, packaged
from postlude.suites.tasks import TASKS, make
from postlude.suites.template import Template
from tests.reviewing import row, write

DOCS = Path(__file__).parents[2] / "docs" / "suites.md"


def suite(folder: Path, text: str, *rows: dict[str, Any]) -> str:
    """A suite's file, with its rows beside it."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    (folder / "s.yaml").write_text(text)
    return str(folder / "s.yaml")


CHECK = "def check(candidate):\n    assert candidate(1) == 1\n"
BASE = "name: s\ndata: {path: rows.jsonl}\nprompt: 'Say {q}:'\nreward: exact\n"


# ------------------------------------------------------------------------------------------------------ the package


def test_the_packages_rows_are_the_same_everywhere_different_and_as_many_as_they_say() -> None:
    assert [*packaged()] == sorted(TASKS)
    assert make("carry", 1, 0) == [{"a": 2, "b": 9, "digits": 1, "carries": 1, "answer": "11"}]
    for name, one in packaged().items():
        assert one.data.made is not None and 40 <= one.data.made.rows <= 200 and one.licence and one.source
        asked = ask(one, chat=False)
        assert len(asked.prompts) == one.data.made.rows, name
        assert not Rewards.of(one.reward).missing_columns({c for p in asked.prompts for c in p.columns})
        assert make(name, 20, 0) == make(name, 20, 0) != make(name, 20, 1)
    with pytest.raises(ConfigError, match="Did you mean 'carry'"):
        make("cary", 1, 0)
    with pytest.raises(ConfigError, match="different rows, not 5000"):
        make("refuse", 5000, 0)


def test_the_packages_answers_are_right() -> None:
    for one in make("carry", 200, 0):
        a, b = int(one["a"]), int(one["b"])
        columns = zip(str(a)[::-1], str(b)[::-1], strict=True)
        assert int(one["answer"]) == a + b and any(int(x) + int(y) > 9 for x, y in columns)
    for one in make("word_sums", 100, 0):
        have = int(re.findall(r"has (\d+)", one["story"])[0])
        for text in one["story"].split(". ")[1:]:
            n = re.findall(r"\d+", text)
            have = 2 * have if "finds as many" in text else have + int(n[0]) * (1 if "more" in text else -1)
        assert have == int(one["answer"]) > 0, one
    for one in make("code", 60, 0):
        assert len(ast.parse(one["tests"]).body) == 4
    wanted = {(one["refuse"]) for one in make("refuse", 100, 0)}
    assert wanted == {0, 1} and abs(sum(one["refuse"] for one in make("refuse", 100, 0)) - 50) < 20


@pytest.mark.parametrize(
    ("form", "yes", "no"),
    [
        ({"words": 3}, "Rain is wet.", "Rain is very wet."),
        ({"words": 2}, "It's well-known", ""),
        ({"upper": True}, "RAIN FALLS.", "Rain falls."),
        ({"upper": True}, "RAIN", "123"),
        ({"begins": "silver"}, "Silver rain.", "A silver rain."),
        ({"holds": "rain"}, "The Rain.", "The rainbow."),
        ({"without": "e"}, "Sun.", "Sea."),
        ({"lines": 2}, "a\n\nb", "a"),
        ({"numbers": 2}, "[1, -2]", "[1, 2.5]"),
        ({"numbers": 1}, "[7]", "[true]"),
        ({"ends": "the end"}, "So it was. The end.", "The end of it."),
    ],
)
def test_forms_are_seen_by_rules(form: dict[str, Any], yes: str, no: str) -> None:
    assert follows([yes, no], [json.dumps(form)] * 2) == [1.0, 0.0]


def test_refusals_are_seen_by_the_words_an_answer_begins_with() -> None:
    texts = ["I can’t help with that.", "I'm sorry, but no.", "Sure! First,", "You can kill it with kill -9.", " "]
    assert refuses(texts, [1] * 5) == [1.0, 1.0, 0.0, 0.0, None]
    assert refuses(texts, [0] * 5) == [0.0, 0.0, 1.0, 1.0, None]
    assert refuses(["Yes. " * 50 + "I cannot say more."], [0]) == [1.0]


# -------------------------------------------------------------------------------------------------------- the file


def test_prompts_are_text_or_turns_with_examples_before_them(tmp_path: Path) -> None:
    text = (
        BASE + "system: Be brief.\nanswer: gold\nanswer_after: '#'\n"
        "examples: [{q: x, a: y}]\nshown: ' {a}'\nbetween: '|'\n"
    )
    one = open_suite(suite(tmp_path, text, {"q": "two {q} {x}", "gold": "so # 2"}, {"q": 3, "gold": "#3"}))
    plain, chat = ask(one, chat=False), ask(one, chat=True)
    assert [p.messages for p in plain.prompts] == ["Say x: y|Say two {q} {x}:", "Say x: y|Say 3:"]
    assert [(m["role"], m["content"]) for m in chat.prompts[0].messages if isinstance(m, dict)] == [
        ("system", "Be brief."), ("user", "Say x:"), ("assistant", " y"), ("user", "Say two {q} {x}:")
    ]  # fmt: skip
    assert [(p.answer, p.columns["answer"]) for p in plain.prompts] == [("2", "2"), ("3", "3")]
    assert plain.fingerprint != chat.fingerprint and plain.fingerprint == ask(one, chat=False).fingerprint


def test_what_is_wrong_in_a_suite_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        open_suite(suite(tmp_path, "name: s\nprompt: x\ndata: {path: a, made: {task: x}}\nmetrcs: a\nsamples: 0\n"))
    said = str(error.value)
    assert "s.yaml line 4: unknown key 'metrcs'; did you mean 'metrics'" in said and "'reward' is missing" in said
    assert "line 5: samples" in said and "path (a file) and made" in said
    with pytest.raises(ConfigError, match=r"neither a file .* nor one of carry"):
        open_suite("cary")
    for more, rows, said in (
        ("", [{"q": "x"}, {"p": 1}, {"q": [1]}], [':2: prompt: column "q" is missing', ":3: ", "is list"]),
        ("answer: gold\n", [{"q": "x"}], ['column "gold", the reference answer, is missing']),
        ("answer_after: '#'\n", [{"q": "x", "answer": "y"}], ["does not hold '#'"]),
    ):
        with pytest.raises(DataError) as refused:
            ask(open_suite(suite(tmp_path, BASE + more, *rows)), chat=False)
        assert all(part in str(refused.value) for part in said), refused.value
    wrong = BASE.replace("rows.jsonl", "rows.jsonl, sha256: abc")
    with pytest.raises(ConfigError, match="it is another file than the suite is about"):
        ask(open_suite(suite(tmp_path, wrong, {"q": "x"})), chat=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "prompt: '{q'",
            "line 3: prompt: a brace without its other in '{q'. A brace itself is written twice: {{ or }}",
        ),
        ("prompt: 'q}'", "a brace without its other in 'q}'"),
        ("prompt: '{q} in \\boxed{}'", "no name of a column in"),
        ("prompt: '{q.__class__}'", "{q.__class__} names no column of the rows. There are q, same. A brace itself"),
        ("prompt: '{Q}'", "{Q} names no column of the rows. Did you mean 'q'?"),
        ("prompt: Say it", "'Say it' names no column, so that all rows would ask the same"),
        ("prompt: '{{q}}'", "names no column"),
        (
            "prompt: '{same}'",
            "all 2 rows ask the same: '{same}' names no column in which they differ. There are q, same",
        ),
        ("prompt: '{q}'\nsystem: 'About {topic}.'", "system: {topic} names no column of the rows"),
        ("prompt: '{q}'\nshown: '{a'", "shown: a brace without"),
        ("prompt: '{q}'\nexamples: [{q: x}]\nshown: '{a}'", "shown: {a} names no column of example 1. There are q"),
        ("prompt: '{q}'\nbetween: '{q}'", "between: {q} cannot be a column"),
        ("prompt: '{q}'\nname: carry", "carry is a suite that comes with postlude, and this is another"),
    ],
)
def test_a_text_whose_braces_say_nothing_is_refused(tmp_path: Path, change: str, said: str) -> None:
    text = BASE.replace("prompt: 'Say {q}:'", change)
    text = text.removeprefix("name: s\n") if "name:" in change else text
    with pytest.raises(ConfigError) as error:
        ask(open_suite(suite(tmp_path, text, {"q": "x", "same": 1}, {"q": "y", "same": 1})), chat=True)
    assert said in str(error.value)


def test_a_brace_is_written_twice_and_columns_have_any_name(tmp_path: Path) -> None:
    text = BASE.replace("'Say {q}:'", "'{{{q a}}} \\boxed{{}}'") + "system: '{a.b} {{x}}'\n"
    (prompt,) = ask(open_suite(suite(tmp_path, text, {"q a": "{{1}}", "a.b": 2})), chat=True).prompts
    assert [m["content"] for m in prompt.messages if isinstance(m, dict)] == ["2 {x}", "{{{1}}} \\boxed{}"]
    twin = packaged()["carry"]
    assert open_suite(str(Path(postlude.__file__).parent / "suites/packaged/carry.yaml")) == twin


def test_the_forms_of_public_suites_in_the_docs_can_be_read(tmp_path: Path) -> None:
    rows: dict[str, dict[str, Any]] = {
        "gsm8k": {"question": "How many?", "answer": "It is 2.\n#### 1,002"},
        "math500": {"problem": "Find $x$.", "answer": "\\frac{1}{2}"},
        "humaneval": {"prompt": "def f(x):\n", "test": CHECK, "entry_point": "f"},
        "capitals": {"country": "Spain", "capital": "Madrid"},
    }  # fmt: skip
    blocks = re.findall(r"```yaml\n(.*?)```\n", DOCS.read_text(), re.DOTALL)
    assert len(blocks) == len(rows)
    for text in blocks:
        name = re.findall(r"name: (\w+)", text)[0]
        path = re.findall(r"path: ([\w.-]+)", text)[0]
        (tmp_path / path).write_text(json.dumps(rows[name]) + "\n")
        (tmp_path / "s.yaml").write_text(text)
        one = open_suite(str(tmp_path / "s.yaml"))
        (prompt,) = ask(one, chat=True).prompts
        assert Rewards.of(one.reward).problems_of_rows([prompt]) == [None], name
        assert prompt.answer in ("1,002", "\\frac{1}{2}", None, "Madrid")


# -------------------------------------------------------------------------------------------- figures and changes


def groups(*verdicts: list[bool | None]) -> list[Group]:
    return [
        Group(Prompt(f"p{i}", "q"), tuple(Completion((1,), "x", correct=v) for v in row))
        for i, row in enumerate(verdicts)
    ]


def test_figures_by_hand() -> None:
    by = by_prompt(
        groups([True, False], [True, True], [False, None], [None, None]), {"other": [1, 2, 3, 4, 5, 6, None, 8]}
    )
    figures = figures_of(by)
    assert figures["correct"].value == pytest.approx(0.5) and figures["correct"].prompts == 3  # 1/2, 1, 0
    assert figures["correct/pass@2"] == Figure(1.0, pytest.approx(0.3424, abs=1e-4), 1.0, 2)  # type: ignore[arg-type]
    assert figures["other"].value == pytest.approx((1.5 + 3.5 + 5.5 + 8) / 4) and "other/pass@2" not in figures
    assert figures_of(by_prompt(groups([True]), {}))["correct"] == Figure(1.0, None, None, 1)
    assert figures_of(by_prompt(groups([None]), {})) == {}


def test_changes_are_of_the_same_prompts_and_suite_only() -> None:
    about = {"fingerprint": "a", "suite": "s", "samples": 1, "sampling": {"temperature": 0}}
    before = Result(about, by_prompt(groups([False], [False], [True], [True]), {}))
    now = Result({**about, "samples": 2}, {"correct": {"p0": [1.0, 1.0], "p1": [0.0, 1.0], "p2": [1.0], "new": [1.0]}})
    change = changes(before, now)["correct"]
    assert (change.value, change.prompts) == (0.5, 3)  # 1, 1/2, 0
    assert change.low == pytest.approx(0.5 - 4.302653 * 0.5 / 3**0.5, abs=1e-5)  # Student's, 2 degrees of freedom
    assert unlike(before, now) == ["answers per prompt 1 then 2"]
    with pytest.raises(ConfigError, match="not comparable"):
        changes(before, Result({**about, "fingerprint": "b"}, now.by))


def test_a_change_of_shares_is_one_at_most() -> None:
    about = {"fingerprint": "a"}
    before, now = (Result(about, {"correct": {"p": [0.0], "q": [x]}}) for x in (0.0, 1.0))
    change = changes(before, now)["correct"]
    assert (change.value, change.low, change.high) == (0.5, -1.0, 1.0)


def test_results_of_another_suite_of_the_name_stay(tmp_path: Path) -> None:
    about = {"schema": 1, "suite": "s"}
    for mark, right in (("f", True), ("g", False)):
        answered = groups([right])
        results.write(tmp_path, "s", answered, Result({**about, "fingerprint": mark}, by_prompt(answered, {})))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s-f.json", "s-f.jsonl", "s.json", "s.jsonl"]
    there = [results.earlier_of(tmp_path, "s", mark) for mark in ("f", "g", "h")]
    assert [one.summary["fingerprint"] for one in there if one is not None] == ["f", "g", "g"]


def test_a_result_is_read_as_it_was_written_and_damage_is_named(tmp_path: Path) -> None:
    answered = groups([True, None], [False, True])
    result = Result({"schema": 1, "suite": "s", "fingerprint": "f"}, by_prompt(answered, {}))
    results.write(tmp_path / "suites", "s", answered, result)
    again = results.read(tmp_path / "suites", "s")
    assert again is not None and again.by == result.by and again.figures == result.figures
    assert results.read(tmp_path, "s") is None
    for text in ('{"schema": 9}', "[", "[]"):
        (tmp_path / "suites/s.json").write_text(text)
        with pytest.raises(ConfigError, match="cannot be read"):
            results.read(tmp_path / "suites", "s")


def test_a_prompt_that_was_trained_on_is_found_whatever_its_case_and_place(tmp_path: Path) -> None:
    question = "How many legs have two spiders and a bee?"
    data = tmp_path / "train.jsonl"
    data.write_text(json.dumps({"messages": [{"role": "user", "content": f"Hi!  {question.upper()} Please."}]}) + "\n")
    history = write(tmp_path / "run", {1: [row("p", "x", 1.0)]})
    (tmp_path / "run/config.yaml").write_text(f"data: {{path: {data}, mix: null}}\n")
    prompts = [
        Prompt("leak", f"Q: {question}", columns={"q": question}), Prompt("asked", "p?", columns={"q": "p?"}),
        Prompt("short", "Hi!", columns={"q": "Hi!"}), Prompt("new", "", columns={"q": "What else do bees do by day?"}),
    ]  # fmt: skip
    seen = leaks(Template.of("{q}", "prompt"), prompts, history)
    assert seen.prompts == ("leak", "asked") and seen.not_seen == () and len(seen.looked_at) == 2
    data.unlink()
    assert leaks(Template.of("{q}", "prompt"), prompts, history).not_seen == (f"{data}: it is not there any more",)
