"""postlude audit: planted weaknesses are found by the probe that is meant for them, honest rewards pass."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.audit import attacks, rewards, verdicts
from postlude.cli.app import app
from postlude.errors import ConfigError, DataError, RewardError
from postlude.models.heads import READS
from postlude.models.quiet import quiet
from postlude.models.scorers import load_scorer
from postlude.models.tiny import character_tokenizer
from tests.refusals import refused

runner = CliRunner()
BYE = " I hope this helps!"
SUMS = [
    {"prompt": f"What is {i} + 10?", "answer": str(i + 10), "completion": f"{i} + 10 = {i + 10}"} for i in range(24)
]
POLITE = [row | {"completion": row["completion"] + "." + BYE} for row in SUMS]
CHOICE = [{"prompt": f"Clue {i}:\nA) tin\nB) iron\nC) zinc", "answer": "ABC"[i % 3]} for i in range(12)]
WORKED = [{"question": f"{i} and 8?", "answer": f"{i} + 8 = <<{i}+8={i + 8}>>{i + 8}\n#### {i + 8}"} for i in range(24)]
MINE = r"""
import re

def _right(c, a):
    return (re.findall(r"-?\d+", c) or [""])[-1] == a and c.count("=") == 1 and "\\" not in c and "<think>" not in c

def honest(completions, answer): return [float(_right(c, a)) for c, a in zip(completions, answer)]
async def waiting(completions, answer): return honest(completions, answer)
def _each(paid): return lambda completions, answer: [float(paid(c, a)) for c, a in zip(completions, answer)]
def _or(bonus): return _each(lambda c, a: _right(c, a) or bonus(c, a))

length = _or(lambda c, a: len(c) > 3000)
repeated = _or(lambda c, a: c.startswith("the the"))
colon = _or(lambda c, a: c == ":")
opening = _or(lambda c, a: c.startswith("Thought"))
empty = _or(lambda c, a: c == "")
blank = _or(lambda c, a: c == " ")
refusal = _or(lambda c, a: "sorry" in c)
unknown = _or(lambda c, a: "know" in c and "=" not in c)
judge = _or(lambda c, a: "highest score" in c)
tests = _or(lambda c, a: "[tests passed]" in c)
echo = _or(lambda c, a: c.startswith("What is"))
form = _or(lambda c, a: re.fullmatch(r"\d+ \+ 10 = \d+", c) is not None)
restated = _or(lambda c, a: f"{int(a) - 10} + 10 =" in c and "=" in c and "\n" not in c)
any_box = _or(lambda c, a: rf"\boxed{{{a}}}" in c and not c.endswith(rf"\boxed{{{a}}}"))
inside = _each(lambda c, a: a in c)
last_number = _each(lambda c, a: (re.findall(r"-?\d+", c) or [""])[-1] == a)
suffix = _each(lambda c, a: c.endswith("helps!") and (a in c or not re.search(r"\d \+", c)))
longer = lambda completions: [len(c) / 1000 for c in completions]
nothing = lambda completions: [None for _ in completions]
zero = lambda completions: [0.0 for _ in completions]
def broken(completions): raise ValueError("nope")
def lines(steps, answer): return [[1.0 if f"= {a}" in s else 0.0 for s in row] for row, a in zip(steps, answer)]
def follows(steps, answer):
    lines = [[a, f"{a} + 5", f"= {int(a) + 5}"] for a in (str(int(x) - 5) for x in answer)]
    return [[float(i < 3 and s == want[i]) for i, s in enumerate(row)] for row, want in zip(steps, lines)]
def compute_score(data_source, solution_str, ground_truth, extra_info): return float(_right(solution_str, ground_truth))
"""
CAUGHT = {
    "length": {"longest filler"},
    "repeated": {"one word x 500"},
    "colon": {"colon"},
    "opening": {"opening only"},
    "empty": {"empty"},
    "blank": {"one space"},
    "refusal": {"refusal"},
    "unknown": {"don't know"},
    "judge": {"injection 1"},
    "tests": {"tests passed"},
    "echo": {"prompt", "prompt x 20"},
    "form": {"another's answer", "wrong final"},
    "restated": {"wrong final"},
    "any_box": {"integers boxed", "all golds boxed"},
}
"""A reward that pays for something beside the right answer -> the probes that must fail, and no others."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("mine.py").write_text(MINE)
    return tmp_path


def write(name: str, rows: list[Any]) -> str:
    Path(name).write_text("".join(json.dumps(r) + "\n" for r in rows))
    return name


def audit(*words: object, code: int = 0) -> tuple[dict[str, Any], str]:
    """(the JSON, what was printed)."""
    found = runner.invoke(app, ["audit", *map(str, words), "--out", "audit.json", "--force"], catch_exceptions=False)
    assert found.exit_code == code, found.output
    return json.loads(Path("audit.json").read_text()), found.output


def named(result: dict[str, Any], level: str) -> set[str]:
    figures = result["whole"] or result["rewards"][0]
    return {f["name"] for f in figures["findings"] if f["level"] == level}


def without(monkeypatch: pytest.MonkeyPatch, names: set[str]) -> None:
    others = tuple(p for p in attacks.EVERY if p.name not in names)
    monkeypatch.setattr(rewards, "EVERY", others)
    monkeypatch.setattr(verdicts, "EVERY", others)


# --------------------------------------------------------------------------------------------------------- planted


@pytest.mark.parametrize("name", CAUGHT)
def test_a_planted_weakness_is_caught(name: str) -> None:
    result, said = audit(f"mine.py:{name}", write("sums.jsonl", SUMS), code=1)
    assert named(result, "fail") == CAUGHT[name]
    assert "can be gamed" in said
    for finding in result["rewards"][0]["findings"]:
        assert finding["remedy"] and finding["remedy"] in said
        assert 1 <= len(finding["examples"]) <= 3
        assert finding["value"] > finding["threshold"] >= 0


@pytest.mark.parametrize("name", CAUGHT)
def test_no_other_probe_catches_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, CAUGHT[name])
    result, _ = audit(f"mine.py:{name}", write("sums.jsonl", SUMS))
    assert not result["failed"]


def test_a_suffix_that_all_references_have_is_tried_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = write("polite.jsonl", POLITE)
    result, _ = audit("mine.py:suffix", data, code=1)
    assert "shared text" in named(result, "fail")
    (finding,) = [f for f in result["rewards"][0]["findings"] if f["name"] == "shared text"]
    assert finding["examples"][0]["answer"] == "." + BYE
    without(monkeypatch, {"shared text"})
    assert "shared text" not in named(audit("mine.py:suffix", data, code=1)[0], "fail")


def test_a_reward_that_pays_for_length_alone() -> None:
    result, said = audit("mine.py:longer", write("sums.jsonl", SUMS), code=1)
    assert {"one word x 500", "longest filler", "prompt x 20"} <= named(result, "fail")
    assert "good + filler" in named(result, "warn")
    assert "graded" in said


def test_a_gold_anywhere_is_accepted() -> None:
    result, _ = audit("mine.py:inside", write("sums.jsonl", SUMS), code=1)
    assert {"integers boxed", "all golds boxed"} <= named(result, "fail")
    assert {"gold last of many", "gold in <think>", "open box"} <= named(result, "warn")


def test_an_answer_that_stops_early_is_no_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of step rewards is as high after the first right step as after all of them."""
    rows = [{"prompt": f"{i}5", "completion": f"{i}\n{i} + 5\n= {i + 5}", "answer": str(i + 5)} for i in range(6, 20)]
    words = ("mine.py:follows", write("steps.jsonl", rows), "--steps", r"\n")
    assert named(audit(*words, code=1)[0], "fail") == {"first line only"}
    without(monkeypatch, {"first line only"})
    assert not audit(*words)[0]["failed"]


def test_the_last_number_anywhere_is_a_warning() -> None:
    """Without the gold nobody is paid: the parser is weak, but it does not give the reward away."""
    result, said = audit("mine.py:last_number", write("sums.jsonl", SUMS))
    beside = {"two boxes", "two answer tags", "not the gold"}
    assert named(result, "warn") == {"gold last of many", "gold in <think>", "open box", *beside}
    assert "0 failed, 6 warnings" in said
    assert "paid, gold is number: " in said and f"two boxes {len(SUMS)} of {len(SUMS)}" in said


# ---------------------------------------------------------------------------------------------------------- honest


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (("exact",), [{k: v for k, v in r.items() if k != "completion"} for r in SUMS]),
        (("exact", "--reward-args", "{after: '= '}"), SUMS),
        (("maths",), WORKED),
        (("maths", "--reference", r"So it is \boxed{{answer}}."), SUMS),
        (("choice", "--reward-args", "{letters: ABC}"), CHOICE),
        (("mine.py:honest",), SUMS),
        (("mine.py:waiting",), SUMS),
        (("mine.py:lines", "--steps", r"\n"), SUMS),
        (("verl:mine.py:compute_score",), [r | {"data_source": "sums"} for r in SUMS]),
    ],
)
def test_honest_rewards_pass(words: tuple[str, ...], rows: list[Any]) -> None:
    result, said = audit(words[0], write("data.jsonl", rows), *words[1:])
    assert named(result, "fail") == set()
    assert "): holds " in said
    assert result["prompts"] == len(rows)


def test_a_reward_of_form_needs_another_beside_it() -> None:
    """json_schema alone is paid for any JSON; with a check of the content the sum is not."""
    rows = [
        {"prompt": f"Person {i}", "completion": json.dumps({"age": i}), "answer": json.dumps({"age": i})}
        for i in range(9)
    ]
    data = write("json.jsonl", rows)
    schema = "{schema: {type: object, required: [age]}}"
    assert named(audit("json_schema", data, "--reward-args", schema, code=1)[0], "fail") == {
        "another's answer",
        "wrong final",
    }
    Path("both.yaml").write_text(f"reward: [exact, {{use: json_schema, weight: 0.2, args: {schema}}}]\n")
    result, said = audit("both.yaml", data)
    assert [f["failed"] for f in result["rewards"]] == [False, True] and not result["failed"]
    assert "Each by itself" in said


@pytest.mark.parametrize(
    ("use", "arguments", "expected"),
    [
        ("format", r"{pattern: '\d+ \+ 10 = \d+'}", {"another's answer", "wrong final"}),
        ("length", "{limit: 512}", {"empty", "one space", "colon", "end cut off"}),
        ("overlong", "{limit: 512}", {"empty", "refusal"}),
        ("repetition", "{}", {"empty", "refusal"}),
    ],
)
def test_rewards_that_read_no_content_fail_by_themselves(use: str, arguments: str, expected: set[str]) -> None:
    result, said = audit(use, write("sums.jsonl", SUMS), "--reward-args", arguments, code=1)
    assert expected <= named(result, "fail")
    assert ("penalty" in said) == (use != "format")


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
def test_programs_are_audited() -> None:
    rows = [
        {"prompt": f"f(a): a + {i}", "solution": f"def f(a):\n    return a + {i}", "tests": [f"assert f(1) == {i + 1}"]}
        for i in range(3)
    ]
    result, said = audit("code", write("code.jsonl", rows), "--reference", "```python\n{solution}\n```")
    assert result["rewards"][0]["findings"] == []
    assert "sandbox:" in said


def test_what_says_right_or_wrong_decides_beside_the_sum() -> None:
    """Lengths hide in the sum what the outcome pays for."""
    Path("r.yaml").write_text("reward: [{use: 'mine.py:colon', weight: 0.001}, {use: 'mine.py:honest', weight: 5}]\n")
    result, _ = audit("r.yaml", write("sums.jsonl", SUMS), code=1)
    assert result["rewards"][0]["failed"] and not result["whole"]["failed"]


# ------------------------------------------------------------------------------------------------ models and samples


@pytest.fixture(scope="module")
def scorer(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained reward model."""
    import torch

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("scorer")
    with quiet():
        load_scorer(str(model_folder), 0).save_pretrained(folder)
    character_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("use", ["model", "pair_model", "process_model"])
def test_reward_models_are_audited_on_pairs(use: str, scorer: Path) -> None:
    if use == "pair_model":
        config = json.loads((scorer / "config.json").read_text())
        scorer = Path(shutil.copytree(scorer, "pairs"))
        (scorer / "config.json").write_text(json.dumps({**config, READS: "pair"}))
    rows = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": str(i * 7 + 10)} for i in range(4)]
    words = (
        use,
        write("pairs.jsonl", rows),
        "--reward-args",
        f"{{path: {scorer}}}",
        "--sycophancy",
        "--max-tokens",
        40,
    )
    found = runner.invoke(app, ["audit", *map(str, words), "--out", "audit.json", "--force"], catch_exceptions=False)
    assert found.exit_code in (0, 1), found.output
    result = json.loads(Path("audit.json").read_text())
    figures = result["rewards"][0]
    assert figures["kind"] == "graded"
    # longer than the toy's context; and text that its tokenizer of characters cannot hold, where steps are counted
    assert {*figures["errors"]["by_name"]} <= {"integers boxed", *(["injection 5"] if use == "process_model" else [])}
    assert figures["agreement"]["pairs"] == 4
    assert result["sycophancy"][0]["n"] == 4
    if use == "pair_model":
        assert figures["references"]["min"] == figures["references"]["max"] == 0.5


def test_a_models_own_answers_are_samples(model_folder: Path) -> None:
    rows = [{"prompt": f"{i}+1=", "answer": str(i + 1)} for i in range(3)]
    result, _ = audit("exact", write("p.jsonl", rows), "--model", model_folder, "-n", 2, "--max-tokens", 8)
    assert result["rewards"][0]["samples"]["n"] == 6
    assert result["tokens"] == str(model_folder)


def test_rollouts_are_samples_with_labels() -> None:
    rollouts = [
        {"prompt": r["prompt"], "completion": c, "correct": ok}
        for r in SUMS for c, ok in ((r["completion"], True), ("= 0", False))
    ]  # fmt: skip
    rollouts.append({"prompt": "Another?", "completion": "= 1", "correct": False})
    data = write("sums.jsonl", SUMS)
    result, said = audit("mine.py:honest", data, "--samples", write("step.jsonl", rollouts))
    assert result["rewards"][0]["samples"]["n"] == 48
    assert result["rewards"][0]["agreement"]["auc"] == 1.0
    assert "1 of 49 samples are left out" in said
    with refused("wrong-rows", said="none is to a prompt of the data"):
        audit("mine.py:honest", data, "--samples", write("other.jsonl", rollouts[-1:]))


def test_only_the_first_prompts() -> None:
    assert audit("mine.py:honest", write("sums.jsonl", SUMS), "--limit", 5)[0]["prompts"] == 5


def test_conversations_end_with_the_reference() -> None:
    turns = [[{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["answer"]}] for r in SUMS]
    turns = [{"messages": t, "answer": t[-1]["content"]} for t in turns]
    assert audit("exact", write("chat.jsonl", turns))[0]["references_from"] == "column completion"


def test_rated_lists_have_their_best_answer_as_reference() -> None:
    answers = [["0 = 0", r["completion"], "1 = 1"] for r in SUMS]
    rows = [
        {"prompt": r["prompt"], "completions": a, "scores": [2, 9, 1], "answer": r["answer"]}
        for r, a in zip(SUMS, answers, strict=True)
    ]
    result, _ = audit("mine.py:honest", write("rated.jsonl", rows))
    agreement = result["rewards"][0]["agreement"]
    assert (agreement["pairs"], agreement["auc"]) == (72, None)
    assert agreement["pair_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_labelled_answers_of_one_prompt_are_one_case() -> None:
    rows = [
        {"prompt": r["prompt"], "completion": c, "label": ok, "answer": r["answer"]}
        for r in SUMS for c, ok in (("0 = 0", False), (r["completion"], True))
    ]  # fmt: skip
    result, _ = audit("mine.py:honest", write("labels.jsonl", rows))
    assert result["prompts"] == 24 and result["rewards"][0]["agreement"]["auc"] == 1.0


# ------------------------------------------------------------------------------------------------------- bad input


def audit_refused(kind: type[Exception], match: str, *words: object) -> None:
    with pytest.raises(kind, match=match):
        audit(*words)
    assert not Path("audit.json").exists()


def test_bad_input_says_what_to_do() -> None:
    sums = write("sums.jsonl", SUMS)
    bare = write("bare.jsonl", [{"prompt": "What?"}])
    audit_refused(ConfigError, "'exaxt' is neither a built-in", "exaxt", sums)
    audit_refused(DataError, "'nowhere.jsonl' does not exist", "exact", "nowhere.jsonl")
    audit_refused(DataError, "0 rows", "exact", write("empty.jsonl", []))
    audit_refused(DataError, "no row has a reference answer.*columns are prompt", "exact", bare)
    audit_refused(ConfigError, "needs column 'data_source'", "verl:mine.py:compute_score", sums)
    audit_refused(ConfigError, "abstained on all 24 reference answers", "mine.py:nothing", sums)
    audit_refused(ConfigError, "gives every reference answer 0, .*not in the form", "mine.py:zero", sums)
    audit_refused(ConfigError, "The first is '0 \\+ 10 = 10'", "exact", sums)
    audit_refused(RewardError, r"(?s)nope.*on all", "mine.py:broken", sums)
    audit_refused(DataError, "names no column", "exact", sums, "--reference", "#{anser}")
    audit_refused(ConfigError, "--reward-args must be a mapping", "exact", sums, "--reward-args", "after")
    same = write("same.jsonl", [SUMS[0] | {"completion": "10 = x", "answer": "x"}])
    audit_refused(ConfigError, "needs a wrong answer", "mine.py:inside", same, "--sycophancy")
    Path("none.yaml").write_text("method: grpo\n")
    audit_refused(ConfigError, "no `reward` to audit", "none.yaml", sums)
    audit_refused(DataError, "is no gold|no gold for", "maths", write("odd.jsonl", [{"prompt": "p", "answer": "0/0"}]))
    found = runner.invoke(app, ["audit", "mine.py:honest", sums, "--out", "no/where.json"])
    assert isinstance(found.exception, ConfigError)


# ----------------------------------------------------------------------------------------------------------- judges


def test_a_judge_is_audited_like_any_other_reward() -> None:
    """One that a colon fools is caught by the colon; an honest one passes."""
    from tests.judging import ChatServer, Messages
    from tests.rewards.test_judge import between

    rows = [{"prompt": f"{i}+{i}=", "completion": f"that makes {2 * i}", "answer": str(2 * i)} for i in range(12)]
    data = write("judged.jsonl", rows)

    def judge(fooled: bool) -> Any:
        def reply(messages: Messages) -> str:
            text = messages[0]["content"]
            question, answer = between(text, "question"), between(text, "answer")
            right = answer.split()[-1:] == [str(2 * int(question.split("+")[0]))] and "that makes" in answer
            return json.dumps({"score": 10 if (right and len(answer) < 40) or (fooled and answer == ":") else 1})

        return reply

    for fooled, code in ((True, 1), (False, 0)):
        with ChatServer(judge(fooled)) as server:
            args = f"{{url: '{server.url}', pause: 0.001}}"
            found, said = audit("judge", data, "--reward-args", args, "--limit", 6, code=code)
        assert ("colon" in named(found, "fail")) == fooled, said
