"""Layouts of public data sets: what is unambiguous is read, what leaves a choice is refused with a script for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postlude.screening.checked import KINDS, Need, check_rows
from postlude.screening.entries import entries
from postlude.sources.forms import Reading
from postlude.sources.layouts import LAYOUTS, layout_of
from postlude.sources.reading import read
from tests.refusals import refused


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def checked(folder: Path, need: Need, *rows: dict[str, Any]) -> Any:
    """Prompt, answers, rewards and gold of the first row."""
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = read(str(path))
    seen = check_rows(table, need, None, Reading())
    assert not table.problems, table.problems
    entry = entries(table, seen.kind, seen.compared)[0]
    return entry.prompt, entry.answers, entry.rewards, entry.gold


WHOLE = {"chosen": [user("q"), bot("good")], "rejected": [user("q"), bot("bad")]}
TWO = [{"response": "bad", "overall_score": 8.0}, {"response": "good", "overall_score": 9.0}]
READ: dict[str, tuple[Need, dict[str, Any], Any]] = {
    "ultrafeedback_binarized": (
        Need("preference", KINDS), {"prompt": "q", **WHOLE, "messages": WHOLE["chosen"], "score_chosen": 8.5},
        ("q", ("good", "bad"), (1.0, 0.0), None),
    ),
    "HH-RLHF": (
        Need("preference", KINDS),
        {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
        ("\n\nHuman: q\n\nAssistant:", (" good", " bad"), (1.0, 0.0), None),
    ),
    "Nectar": (
        Need("preference", KINDS),
        {"prompt": "q", "answers": [{"answer": "bad", "rank": 2.0}, {"answer": "good", "rank": 1.0}], "turns": 1},
        ("q", ("bad", "good"), (-2.0, -1.0), None),
    ),
    "UltraFeedback": (
        Need("preference", KINDS), {"instruction": "q", "completions": TWO, "models": ["a", "b"]},
        ("q", ("bad", "good"), (8.0, 9.0), None),
    ),
    "UltraFeedback with its mean of ratings": (
        Need("preference", KINDS),
        {"instruction": "q", "completions": [{**one, "fine-grained_score": n} for n, one in enumerate(TWO, 1)]},
        ("q", ("bad", "good"), (1.0, 2.0), None),
    ),
    "SHP, A is better": (
        Need("preference", KINDS), {"history": "q", "human_ref_A": "good", "human_ref_B": "bad", "labels": 1},
        ("q", ("good", "bad"), (1.0, 0.0), None),
    ),
    "SHP, B is better": (
        Need("preference", KINDS), {"history": "q", "human_ref_A": "bad", "human_ref_B": "good", "labels": 0},
        ("q", ("good", "bad"), (1.0, 0.0), None),
    ),
    "OpenAI preferences": (
        Need("preference", KINDS),
        {
            "input": {"messages": [user("q")], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [bot("good")], "non_preferred_output": [bot("bad")],
        },
        ("q", ("good", "bad"), (1.0, 0.0), None),
    ),
    "Chatbot Arena": (
        Need("preference", KINDS),
        {"conversation_a": WHOLE["rejected"], "conversation_b": WHOLE["chosen"], "winner": "model_b"},
        ("q", ("good", "bad"), (1.0, 0.0), None),
    ),
    "Orca's pairs": (
        Need("preference", KINDS), {"system": "s", "question": "q", "chosen": "good", "rejected": "bad"},
        ("q", ("good", "bad"), (1.0, 0.0), None),
    ),
    "GSM8K": (Need("rollout"), {"question": "1+1?", "answer": "1+1=2\n#### 2"}, ("1+1?", (), (), "1+1=2\n#### 2")),
    "MATH": (
        Need("rollout"), {"problem": "q", "level": "Level 1", "type": "Algebra", "solution": "So $\\boxed{2}$."},
        ("q", (), (), "So $\\boxed{2}$."),
    ),
    "verl": (
        Need("rollout"),
        {"data_source": "d", "prompt": [user("q")], "reward_model": {"style": "rule", "ground_truth": "2"}},
        ("q", (), (), "2"),
    ),
    "Alpaca": (
        Need("file"), {"instruction": "add", "input": "1 2", "output": "3"},
        ("Below is an instruction that describes a task, paired with an input that provides further context. Write a "
         "response that appropriately completes the request.\n\n### Instruction:\nadd\n\n### Input:\n1 2\n\n### "
         "Response:\n", ("3",), (), None),
    ),
    "ShareGPT": (
        Need("file"), {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        ("q", ("a",), (), None),
    ),
    "OpenAI": (Need("file"), {"messages": [user("q"), bot("a")]}, ("q", ("a",), (), None)),
    "Anthropic": (
        Need("file"),
        {
            "system": "be kind",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
            ],
        },
        ("be kind\nq", ("a",), (), None),
    ),
}  # fmt: skip
"""Layout -> (what it is read as, row, prompt, answers, rewards and gold)."""


@pytest.mark.parametrize("name", READ)
def test_a_layout_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    need, row, expected = READ[name]
    assert checked(tmp_path, need, row, row) == expected


def test_what_prefers_none_is_a_bad_row(tmp_path: Path) -> None:
    good = READ["Chatbot Arena"][1]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (good, {**good, "winner": "tie"})))
    table = read(str(tmp_path / "d.jsonl"))
    check_rows(table, Need("preference", KINDS), None, Reading())
    assert [(p.code, p.place) for p in table.problems] == [("no-preference", f"{table.path}:2")]


STEP = {"human_completion": None, "chosen_completion": 0}
CHOICES: dict[str, tuple[dict[str, Any], Any]] = {
    "PRM800K": (
        {
            "question": {"problem": "1+1?", "ground_truth_answer": "2"},
            "label": {
                "steps": [
                    {**STEP, "completions": [{"text": "one\nline", "rating": 0}]},
                    {**STEP, "chosen_completion": None, "completions": [{"text": "wrong", "rating": -1}]},
                ]
            },
        },
        {"prompt": "1+1?", "completions": ["one line", "wrong"], "labels": [True, False]},
    ),
    "Math-Shepherd": (
        {
            "input": "q Step 1: a \u043a\u0438\nStep 2: b \u043a\u0438",
            "label": "q Step 1: a +\nStep 2: b -",
            "task": "GSM8K",
        },
        {"prompt": "q", "completions": ["Step 1: a", "Step 2: b"], "labels": [True, False]},
    ),
    "WebGPT comparisons": (
        {"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 0.5, "score_1": -0.5},
        {"prompt": "q", "completions": ["a", "b"], "scores": [0.5, -0.5]},
    ),
    "PKU-SafeRLHF": (
        {"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 1, "safer_response_id": 0},
        {"prompt": "q", "chosen": "b", "rejected": "a"},
    ),
    "HelpSteer2": (
        {"prompt": "q", "response": "r", "helpfulness": 2, "correctness": 4},
        {"prompt": "q", "completion": "r", "label": False},
    ),
}
"""Layout that leaves a choice -> (row, what its script makes of it)."""


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_that_leaves_a_choice_is_refused_with_a_script_that_works(
    layout: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, expected = CHOICES[layout.name]
    assert layout_of(row) is layout
    monkeypatch.chdir(tmp_path)
    Path("IN").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    with refused("unknown-rows", said=f"This is the layout of {layout.name}: "):
        check_rows(read("IN"), Need("preference", KINDS), None, Reading())
    exec(layout.script, {})
    assert [json.loads(line) for line in Path("OUT.jsonl").read_text().splitlines()] == [expected]
    table = read("OUT.jsonl")
    check_rows(table, Need("preference", KINDS), None, Reading())
    assert (len(table.rows), table.problems) == (1, [])
