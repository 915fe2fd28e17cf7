"""Feedback in columns of any name: recognised by words of names and by values, and never passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postlude.advice.advise import Wishes, advise, columns_of, write
from postlude.advice.decide import Advice
from postlude.advice.wording import roles_of, sided
from postlude.errors import ConfigError, DataError
from tests.advice.rows import Maker, Row, save
from tests.advice.test_recipes import checked

m = Maker(3)


def t() -> str:
    return m.words(6, 16)


def c(*values: Any) -> Any:
    return m.random.choice(values)


def of(make: Callable[[int], Row], n: int = 60, **wishes: Any) -> Advice:
    return advise([save(Path("data.jsonl"), m.rows(n, make))], Wishes(prompts=0, **wishes)).advice


RECOGNISED: dict[str, tuple[Callable[[int], Row], str]] = {
    "winner and loser": (lambda i: {"prompt": t(), "winner_response": t(), "loser_response": t()}, "pairs"),
    "German": (lambda i: {"frage": t(), "gut": t(), "schlecht": t()}, "pairs"),
    "German compounds": (lambda i: {"Kundenfrage": t(), "gute_antwort": t(), "schlechte_antwort": t()}, "pairs"),
    "French": (lambda i: {"demande": t(), "réponse_choisie": t(), "réponse_rejetée": t()}, "pairs"),
    "Japanese pairs": (lambda i: {"質問": t(), "良い回答": t(), "悪い回答": t()}, "pairs"),
    "0 or 1 of two": (lambda i: {"q": t(), "answer_0": t(), "answer_1": t(), "preference": c(0, 1)}, "pairs"),
    "a side by a word": (lambda i: {"prompt": t(), "A": t(), "B": t(), "best": c("A", "B", "tie")}, "pairs"),
    "a side by its column": (lambda i: {"prompt": t(), "text1": t(), "text2": t(), "z": c("text1", "text2")}, "pairs"),
    "a score for each side": (
        lambda i: {"prompt": t(), "answer_a": t(), "answer_b": t(), "score_a": i % 3, "score_b": i % 2}, "pairs",
    ),
    "thumbs in emoji": (lambda i: {"user_message": t(), "bot_reply": t(), "feedback": c("👍", "👎", "")}, "thumbs"),
    "hands of any colour, of any name": (lambda i: {"prompt": t(), "zeug": t(), "mood": c("👍🏽", "👎🏽")}, "thumbs"),
    "Japanese votes": (lambda i: {"質問": t(), "回答": t(), "評価": c(1, 0, -1)}, "thumbs"),
    "Spanish": (lambda i: {"pregunta": t(), "respuesta": t(), "valoración": c("bueno", "malo")}, "thumbs"),
    "rewards": (lambda i: {"input": t(), "output": t(), "reward": c(0.0, 1.0)}, "thumbs"),
    "short answers in German": (lambda i: {"Frage": t(), "Antwort": str(i)}, "golds"),
    "long answers in German": (lambda i: {"Frage": t(), "Antwort": t(), "Quelle": c("a", "b")}, "answers"),
    "flags and origins beside answers": (
        lambda i: {"prompt": t(), "response": t(), "is_english": c(True, False), "source": c("w", "b"), "lang": "en"},
        "answers",
    ),
    "numbers and origins beside prompts": (
        lambda i: {"prompt": t(), "id": f"a{i}", "url": "http://a.b", "date": "2024-01-01", "level": i % 5}, "prompts",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECOGNISED)
def test_columns_are_known_by_words_and_values(name: str) -> None:
    make, feedback = RECOGNISED[name]
    assert of(make).feedback == feedback


ASKED: dict[str, Callable[[int], Row]] = {
    "two texts and a label": lambda i: {"prompt": t(), "foo": t(), "bar": t(), "zzz": c(0, 1)},
    "two texts": lambda i: {"prompt": t(), "foo": t(), "bar": t()},
    "one text": lambda i: {"prompt": t(), "foo": t()},
    "a text in a list": lambda i: {"prompt": t(), "foo": [{"said": t()}, {"said": t()}]},
    "a label": lambda i: {"prompt": t(), "zzz": c("this", "that")},
    "a flag beside an answer": lambda i: {"prompt": t(), "response": t(), "zeug": c("yes", "no")},
    "words that are no thumb": lambda i: {"prompt": t(), "response": t(), "feedback": c("so-so", "meh", "superb")},
    "a text and its summary": lambda i: {"text": t(), "summary": t()},
    "nothing known": lambda i: {"甲": t(), "乙": t(), "丙": c("x", "z")},
    "a better one alone": lambda i: {"prompt": t(), "chosen": t(), "rejected": None},
}


@pytest.mark.parametrize("name", ASKED)
def test_what_nothing_names_is_asked_for_and_nothing_is_trained(name: str) -> None:
    advice = of(ASKED[name])
    assert (advice.verdict, advice.method) == ("name the columns", None)
    assert all(reason.evidence for reason in advice.reasons)
    assert any("--columns prompt=" in text or "--columns 'prompt=" in text for text in advice.instead)


def test_the_columns_that_are_named_are_read(reader: str) -> None:
    rows = m.rows(60, lambda i: {"甲": t(), "乙": t(), "丙": t(), "丁": c(0, 1)})
    data = save(Path("data.jsonl"), rows)
    for named, method in (
        ("prompt=甲,chosen=乙,rejected=丙", "dpo"),
        ("{prompt: 甲, completion: 乙, label: 丁}", "kto"),
        ("prompt=甲,first=乙,second=丙,preference=丁", "dpo"),
        ("prompt=甲,completion=丙", "sft"),
        ("prompt=甲", "grpo"),
    ):
        advised = write(
            advise([data], Wishes(model=reader, prompts=0, columns=columns_of(named))), Path("o.yaml"), True
        )
        assert advised.advice.method == method, named
        assert checked(advised, reader)[1] == []
    pairs = advise([data], Wishes(prompts=0, columns=columns_of("prompt=甲,chosen=丙,rejected=乙"))).material.piles[0]
    assert pairs.entries[0].answers == (rows[0]["丙"], rows[0]["乙"])


@pytest.mark.parametrize("named", ["prompt=nope", "promt=甲", "prompt", "prompt="])
def test_columns_that_are_none(named: str) -> None:
    data = save(Path("data.jsonl"), m.rows(9, lambda i: {"甲": t()}))
    with pytest.raises(ConfigError, match="--columns"):
        advise([data], Wishes(prompts=0, columns=columns_of(named)))


def test_of_two_preferences_the_goal_says_which_counts() -> None:
    def row(i: int) -> Row:
        return {"prompt": f"{t()} {i}", "response_0": f"zero {t()}", "response_1": f"one {t()}",
                "is_response_0_safe": True, "better_response_id": 0, "safer_response_id": 1}  # fmt: skip

    for goal, first, column in ((None, "zero", "better_response_id"), ("refuse harm", "one", "safer_response_id")):
        data = save(Path("data.jsonl"), m.rows(60, row))
        advised = advise([data], Wishes(prompts=0, goal=goal))
        assert {entry.answers[0].split()[0] for entry in advised.material.piles[0].entries} == {first}
        (said,) = [text for text in advised.advice.warnings if text.startswith("rows are read with")]
        assert f"the better one by {column}; " in said and "says otherwise in 60 rows" in said


def test_pairs_that_prefer_nothing_train_nothing() -> None:
    makes: tuple[Callable[[int], Row], ...] = (
        lambda i: {"prompt": t(), "chosen": f"the same {i}", "rejected": f"the same {i} "},
        lambda i: {"prompt": t(), "response_a": t(), "response_b": t(), "winner": "tie"},
    )
    for make in makes:
        advice = of(make)
        assert advice.headline == "do not train: no pair prefers anything"
        assert advice.evidence.left == {"rows of data.jsonl that prefer nothing": 60} and not advice.evidence.bad


def test_pairs_of_which_none_can_be_read_are_no_bare_prompts() -> None:
    with pytest.raises(DataError, match='"rejected" is empty'):
        of(lambda i: {"prompt": t(), "chosen": t(), "rejected": ""})


def test_rows_without_a_thumb_are_no_written_answers() -> None:
    advice = of(lambda i: {"prompt": t(), "reply": t(), **({"label": i % 2 == 0} if i < 50 else {})})
    assert (advice.method, advice.evidence.left) == ("kto", {"rows of data.jsonl without a value in label": 10})


@pytest.mark.parametrize(
    "values, left, up", [((1, 0, -1), 20, 20), (("good", "bad", "neutral"), 20, 20), ((1, 2, 3, 4, 5), 12, 24)]
)
def test_what_is_neither_good_nor_bad_is_dropped_and_counted(values: tuple[Any, ...], left: int, up: int) -> None:
    advice = of(lambda i: {"prompt": t(), "response": t(), "rating": values[i % len(values)]})
    assert advice.method == "kto"
    assert (sum(advice.evidence.left.values()), advice.evidence.parts[0].up) == (left, up)


def test_layouts_that_leave_a_choice_are_said_with_their_script() -> None:
    steps = [{"completions": [{"text": "a", "rating": 1}], "chosen_completion": 0}]
    for row, name in (
        ({"question": {"problem": "1+1?"}, "label": {"steps": steps}}, "PRM800K"),
        ({"prompt": "say", "response": "so", "helpfulness": 3, "correctness": 3}, "HelpSteer2"),
    ):
        advice = of(lambda i, row=row: row)
        assert advice.verdict == "name the columns" and name in advice.headline
        assert any("json.dumps" in text for text in advice.instead)


def test_written_solutions_beside_tests_are_written_answers() -> None:
    for row in (
        {"text": "Write f.", "code": "def f():\n    return 1", "test_list": ["assert f() == 1"]},
        {"prompt": "def f():", "canonical_solution": "    return 1", "test": "def check(c): pass", "entry_point": "f"},
    ):
        advice = of(lambda i, row=row: {**row, next(iter(row)): f"{row[next(iter(row))]} {i}"})
        assert advice.method == "grpo" and [p.feedback for p in advice.evidence.parts] == ["tests", "answers"]
        assert any("written solutions" in text for text in advice.warnings)
    apps = {"input_output": json.dumps({"inputs": ["1"], "outputs": ["1"]}), "difficulty": "easy"}
    assert of(lambda i: {"question": t(), **apps}).method == "grpo"


def test_words_of_names() -> None:
    assert roles_of("prompt_id") == roles_of("skip_reason") == roles_of("is_response_0_safe") == set()
    assert roles_of("safer_response_id") == {"preference"}
    assert sided(["option_a", "option_b", "option_c"]) == [] and sided(["回答1", "回答2"]) == [("回答1", "回答2")]
