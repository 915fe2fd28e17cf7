"""What `postlude check` finds without weights: rows, template, trained tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.preflight.report import Report, Section
from tests.models.templates import LLAMA, SPECIAL, ZEPHYR
from tests.preflight.conftest import chat_model, conversation, look, write

SFT = ("model=chat", "data=sft.jsonl")


def test_a_sound_run_has_nothing_but_notes(here: Path) -> None:
    report = look("sft", *SFT, quick=True)
    assert (report.verdict, report.method, report.codes("warning"), report.codes("broken")) == ("ok", "sft", [], [])
    rows = report.section("rows").figures
    assert rows["files"] == {"sft.jsonl": {"read": 24, "used": 24, "rejected": 0}}
    tokens = report.section("tokens").figures
    # each answer is "it is N" (6 characters and the digits) with the end of turn
    assert tokens["trained"] == sum(6 + len(str(2 * i)) + 1 for i in range(24))
    assert (tokens["answers"], tokens["ends_trained"], tokens["answers_without"]) == (24, 24, 0)


def test_a_row_is_shown_with_what_is_trained_and_its_end(here: Path) -> None:
    first = look("sft", *SFT, quick=True).section("tokens").rows[0]
    assert [(piece.kind, piece.text) for piece in first] == [
        ("prompt", "<|im_start|>user\nwhat is 0+0?<|im_end|>\n<|im_start|>assistant\n"),
        ("trained", "it is 0"),
        ("end", "<|im_end|>"),
    ]


def test_rows_left_out_are_counted_by_reason(here: Path) -> None:
    good = [conversation(f"q{i}", "a") for i in range(3)]
    write(here / "some.jsonl", [*good, {"messages": []}, conversation("q", "")])
    report = look("sft", "model=chat", "data=some.jsonl", "data.on_bad_row=skip", quick=True)
    figures = report.section("rows").figures
    assert figures["files"]["some.jsonl"] == {"read": 5, "used": 3, "rejected": 2}
    assert sum(figures["rejected_by_reason"].values()) == 2
    assert report.codes("warning") == ["bad-rows"]


def test_one_prompt_with_two_answers_is_a_warning(here: Path) -> None:
    write(here / "torn.jsonl", [{"prompt": "1+1=", "answer": "2"}, {"prompt": " 1+1= ", "answer": "3"}])
    report = look("grpo", "model=plain", "data=torn.jsonl", "reward=exact", "prompts_per_step=2", quick=True)
    assert report.section("rows").figures["prompts_with_several_golds"] == 1
    assert "duplicate-rows" in report.codes("warning")


@pytest.mark.parametrize(
    ("template", "special", "code"),
    [
        (LLAMA.replace("{{ bos_token }}", ""), ["<|im_start|>", "<|im_end|>"], "wrong-template"),
        (LLAMA.replace("{{ bos_token }}", ""), [], "wrong-template"),
        (ZEPHYR, ["<|im_start|>", "<|im_end|>"], "wrong-template"),
        (ZEPHYR, [], None),
        (LLAMA.replace("{{ bos_token }}", ""), SPECIAL[LLAMA], None),
    ],
    ids=["llama's on chatml", "letters at the end", "zephyr's on chatml", "zephyr's", "llama's own"],
)
def test_a_template_of_another_model(
    tmp_path: Path, here: Path, template: str, special: list[str], code: str | None
) -> None:
    chat_model(tmp_path / "model", template, special)
    report = look("sft", f"model={tmp_path}/model", "data=sft.jsonl", quick=True)
    assert report.codes("broken") == ([code] if code else [])


def test_a_template_with_two_beginnings(tmp_path: Path, here: Path) -> None:
    chat_model(tmp_path / "model", "{{ '<s><s>' }}" + LLAMA.replace("{{ bos_token }}", ""), ["<s>", *SPECIAL[LLAMA]])
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "bos_token": "<s>"}))
    report = look("sft", f"model={tmp_path}/model", "data=sft.jsonl", quick=True)
    assert report.codes("broken") == ["control-tokens"]


def test_padding_that_ends_answers_is_harmless_and_says_so(tmp_path: Path, here: Path) -> None:
    chat_model(tmp_path / "model")
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": "<|im_end|>"}))
    report = look("sft", f"model={tmp_path}/model", "data=sft.jsonl", quick=True)
    assert (report.verdict, report.section("tokens").figures["ends_trained"]) == ("ok", 24)
    assert "pad-is-end" in report.codes("note")


def test_the_command_prints_one_object_and_fails_on_what_is_broken(here: Path) -> None:
    run = CliRunner()
    fine = run.invoke(app, ["check", "sft", *SFT, "--quick", "--json"])
    assert (fine.exit_code, json.loads(fine.stdout)["schema"], json.loads(fine.stdout)["verdict"]) == (0, 1, "ok")
    wrong = run.invoke(app, ["check", "sft", *SFT, "data.eval=sft.jsonl", "--quick", "--json"])
    findings = json.loads(wrong.stdout)["sections"][0]["findings"]
    assert (wrong.exit_code, [one["code"] for one in findings]) == (2, ["held-out-overlap"])
    shown = run.invoke(app, ["check", "sft", *SFT, "--quick"])
    assert "24 rows read, 24 used" in shown.stdout and "ready" in shown.stdout


def test_a_number_that_is_none_is_null_in_the_object() -> None:
    section = Section("step_0", "Step 0", figures={"ratio": float("nan"), "parts": {"a": [float("inf"), 1.5]}})
    rows = Report("r", sections=[section]).to_json()["sections"]
    assert rows[0]["figures"] == {"ratio": None, "parts": {"a": [None, 1.5]}}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ((), "reward"),
        (("reward=exact", "group_size=1"), "group_size"),
        (("reward=exact", "sampling.top_p=0.5"), "top_p"),
        (("reward=exact", "sampling.temperature=0"), "temperature"),
        (("reward=exact", "model.chat_template=nofile.jinja"), "nofile.jinja"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said_though_no_tokenizer_was_read(
    here: Path, settings: tuple[str, ...], said: str
) -> None:
    asked = {"prompt": [{"role": "user", "content": "1+1="}], "answer": "2"}
    write(here / "asked.jsonl", [asked, {**asked, "prompt": [{"role": "user", "content": "1+0="}], "answer": "1"}])
    report = look("grpo", "model=chat", "data=asked.jsonl", "prompts_per_step=2", *settings, quick=True)
    assert [section.name for section in report.sections] == ["refused"]
    assert any(said in finding.text for finding in report.findings), report.findings


def test_right_answers_that_are_compared_as_text_are_named(here: Path) -> None:
    write(here / "words.jsonl", [{"prompt": f"{i}?", "answer": a} for i, a in enumerate(["7", "even", "odd", "x^2"])])
    report = look("grpo", "model=plain", "data=words.jsonl", "reward=maths", "prompts_per_step=2", quick=True)
    assert report.section("rows").figures["text_only_golds"] == 2
    (said,) = (f.text for f in report.section("rows").findings if f.code == "text-only-gold")
    assert said.startswith("2 of 4 right answers are compared as text: it is words (2 rows: 2, 3; first 'even')")
    report = look("grpo", "model=plain", "data=words.jsonl", "reward=exact", "prompts_per_step=2", quick=True)
    assert "text-only-gold" not in report.codes("note")
