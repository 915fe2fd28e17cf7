"""What is said of runs that are sound, and of prompts in the wrong form: no false alarm, the likelier cause by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from postlude.check import check
from postlude.data import Completion
from postlude.launch import launch
from postlude.preflight.causes import likelier, of_answers
from postlude.preflight.probing import Paid
from postlude.recipe.opening import document_of
from postlude.runs import read
from tests.preflight.conftest import ONE, ONLINE, look, write


@pytest.mark.parametrize(
    ("prompt", "chat", "code"),
    [
        ("{}+1=", "false", "plain-text"),
        ("<|im_start|>user\n{}+1=<|im_end|>\n<|im_start|>assistant\n", "true", "control-tokens"),
        ("<|im_start|>user\n{}+1=<|im_end|>\n<|im_start|>assistant\n", "false", None),
        ("{}+1=", "true", None),
    ],
)
def test_prompts_in_the_wrong_form_are_named_also_as_the_cause(
    broken: Path, tmp_path: Path, prompt: str, chat: str, code: str | None
) -> None:
    data = write(broken / "form.jsonl", [{"prompt": prompt.format(i), "answer": str(i + 1)} for i in range(24)])
    settings = ("model=chat", f"data={data}", f"data.chat={chat}", "reward=r.py:zero", "sampling.max_tokens=1")
    report = look("grpo", *settings)
    assert report.section("template").level == ("ok" if code is None else "warning")
    assert code is None or [f.code for f in report.section("template").findings] == [code]
    (signal,) = [f for f in report.section("signal").findings if f.level == "broken"]
    assert signal.mend.startswith("The likelier cause: ") == (code is not None)
    if code == "plain-text":
        launch(document_of(Path("grpo"), [*settings, "steps=1", "prompts_per_step=2", f"output={tmp_path}/run"]))
        notes = [row["text"] for row in read(tmp_path / "run").of("note")]
        assert any("24 of 24 prompts are plain text" in note and "data.chat=true" in note for note in notes)


def test_empty_answers_and_a_hot_temperature_are_named(broken: Path) -> None:
    prepared = check(document_of(Path("grpo"), [*ONLINE, "reward=r.py:vowels", "sampling.temperature=2"]))
    empty, full = Completion((1,), text=" "), Completion((1, 2), text="a")
    assert of_answers([empty, empty, full]) == "2 of 3 answers are empty" and of_answers([empty, full]) is None
    assert "sampling.temperature is 2" in likelier(prepared, [full])


def test_a_reward_that_only_takes_off_calls_no_answer_wrong(broken: Path, tmp_path: Path) -> None:
    report = look("grpo", *ONLINE, "reward=r.py:brief")
    signal = report.section("signal")
    assert report.codes("broken") == [] and signal.findings == [] and "right" not in signal.summary
    assert signal.figures["pass_rate"] is None and signal.figures["share"] > 0.9
    few = ["steps=1", "prompts_per_step=8", f"output={tmp_path}/run"]
    launch(document_of(Path("grpo"), [*ONLINE, "reward=r.py:brief", *few]))
    notes = [row["text"] for row in read(tmp_path / "run").of("note") if row["step"] == 0]
    assert [note for note in notes if "cut off" not in note] == []


def test_where_all_are_wrong_the_other_rewards_are_the_signal(broken: Path) -> None:
    signal = look("grpo", *ONE, "reward=[exact, {use: 'r.py:vowels', weight: 0.1}]").section("signal")
    assert signal.level == "note" and "none of 128 answers are right" in signal.findings[0].text
    assert signal.figures["share"] > 0.5 and signal.figures["pass_rate"] == 0


def test_a_bare_answer_says_nothing_against_a_model_that_rewards(broken: Path) -> None:
    for seed in range(2):
        reward = "reward={use: implicit, args: {policy: plain, reference: other, beta: 0.1}}"
        section = look("grpo", *ONLINE, reward, seed=seed).section("reward")
        assert [f.level for f in section.findings if f.code == "reward-not-telling"] in ([], ["note"])


def test_the_sign_of_a_reward_is_doubted_only_where_the_rows_agree() -> None:
    assert Paid("{}", 0.0, 1.0, better=0, worse=10).is_clear(1.0)
    assert not Paid("{}", 0.0, 1.0, better=0, worse=6).is_clear(1.0)  # 2 / 2^6: three in a hundred by chance
    assert not Paid("{}", 0.0, 1.0, better=3, worse=7).is_clear(1.0)
    assert not Paid("{}", 2.13, 2.24, better=0, worse=10).is_clear(4.0)  # small beside what it gives otherwise


@pytest.mark.parametrize("solution", ["    return n + n\n", None])
def test_the_reward_code_is_tried_with_the_rows_own_right_programs(broken: Path, solution: str | None) -> None:
    test = "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(5) == 10\n"
    row = {"test": test, "entry_point": "twice", "canonical_solution": solution}
    rows = [{**row, "prompt": f"def twice(n):\n    '{i}'\n"} for i in range(8)]
    data = write(broken / "programs.jsonl", rows)
    section = look("grpo", "model=chat", f"data={data}", "reward=code", "sampling.max_tokens=4").section("reward")
    assert section.level != "broken" and section.figures["good"] == (None if solution is None else 1)
    assert any("no right answer" in f.text for f in section.findings) == (solution is None)
    assert not any('"answer"' in name for name, _ in section.table)
