"""Every kind of data: which method, and a recipe that `postlude check` takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from postlude.advice.advise import Advised, Wishes, advise, write
from postlude.preflight.run import Options, preflight
from postlude.recipe.opening import document_of
from tests.advice import rows as r
from tests.advice.rows import Row, save

KINDS: dict[str, tuple[Callable[[], list[Row]], str, tuple[str, ...]]] = {
    "pairs": (r.pairs, "dpo", ("dpo",)),
    "pairs whose better answer is the longer one": (r.longer, "dpo_length_normalised", ("dpo_length_normalised",)),
    "two answers and the better one": (r.better_of_two, "dpo", ("dpo",)),
    "ranked lists": (r.lists, "dpo", ("dpo",)),
    "thumbs": (r.thumbs, "kto", ("kto",)),
    "thumbs in other words": (r.up_and_down, "kto", ("kto",)),
    "stars": (r.stars, "kto", ("kto",)),
    "labelled steps": (r.steps, "reward_model_process", ("reward_model_process", "grpo_process")),
    "steps as objects": (r.graded_steps, "reward_model_process", ("reward_model_process", "grpo_process")),
    "right answers": (r.golds, "grpo", ("grpo",)),
    "worked answers": (r.gsm, "grpo", ("grpo",)),
    "letters": (r.choices, "grpo", ("grpo",)),
    "labels of texts": (r.labels, "grpo", ("grpo",)),
    "tests": (r.tests, "grpo", ("grpo",)),
    "written answers": (r.written, "sft", ("sft",)),
    "Alpaca": (r.alpaca, "sft", ("sft",)),
    "text": (r.texts, "sft", ("sft",)),
    "prompts": (r.prompts, "grpo", ("grpo",)),
    "all thumbs up": (lambda: r.thumbs(up=lambda i: True), "sft", ("sft",)),
    "pairs and right answers in one file": (lambda: r.pairs() + r.golds(), "dpo", ("dpo", "grpo")),
    "written answers and pairs in one file": (lambda: r.written() + r.pairs(), "sft", ("sft", "dpo")),
    "pairs with the right answer beside": (
        lambda: [{**pair, "answer": str(i)} for i, pair in enumerate(r.pairs())], "dpo", ("dpo", "grpo"),
    ),
}  # fmt: skip


def checked(advised: Advised, model: str, *more: str) -> tuple[str, list[str]]:
    """What `postlude check --quick` says of the recipe that was written."""
    assert advised.path is not None
    report = preflight(document_of(advised.path, [f"model={model}", *more]), str(advised.path), Options(quick=True))
    return report.verdict, [finding.text for finding in report.findings if finding.level == "broken"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_method_and_a_recipe_that_passes_the_check(kind: str, reader: str) -> None:
    make, method, plan = KINDS[kind]
    data = save(Path("data.jsonl"), make())
    advised = write(advise([data], Wishes(model=reader, prompts=0)), None)
    assert (advised.advice.method, advised.advice.plan) == (method, plan)
    assert checked(advised, reader) == ("ok", [])


def test_several_files_of_one_kind_become_a_mixture(reader: str) -> None:
    files = [save(Path("a.jsonl"), r.pairs(200)), save(Path("b.jsonl"), r.pairs(100, seed=5))]
    advised = write(advise(files, Wishes(model=reader, prompts=0)), None)
    assert advised.recipe is not None and "mix:" in advised.recipe and "b.jsonl" in advised.recipe
    assert checked(advised, reader) == ("ok", [])


def test_a_folder_is_read_and_its_test_file_kept_for_measuring(reader: str) -> None:
    Path("mine").mkdir()
    save(Path("mine/train.jsonl"), r.golds(200))
    save(Path("mine/test.jsonl"), r.golds(260)[200:])
    advised = write(advise(["mine"], Wishes(model=reader, prompts=0)), None)
    held_out = advised.advice.evidence.held_out
    assert held_out is not None and (held_out.rows, held_out.leaked) == (60, 0)
    assert advised.recipe is not None and 'eval: "mine/test.jsonl"' in advised.recipe
    assert checked(advised, reader) == ("ok", [])


def test_bad_rows_are_counted_and_the_recipe_goes_on_without_them(reader: str) -> None:
    bad: list[Row] = [
        {"prompt": "one", "chosen": "same", "rejected": "same"},
        {"nothing": 1},
        {"prompt": "x", "chosen": None},
    ]
    data = save(Path("data.jsonl"), [*r.pairs(), *bad])
    advised = write(advise([data], Wishes(model=reader, prompts=0)), None)
    assert advised.advice.evidence.read == 303
    assert any("cannot be read" in warning for warning in advised.advice.warnings)
    assert checked(advised, reader)[0] in ("ok", "warning")


def test_right_answers_that_no_reward_reads_are_said_and_skipped(reader: str) -> None:
    data = save(Path("data.jsonl"), [*r.golds(), {"question": "and what is this?", "answer": "\\frac{1}{"}])
    advised = write(advise([data], Wishes(model=reader, prompts=0)), None)
    assert any("1 of 301 right answers" in warning for warning in advised.advice.warnings)
    assert advised.recipe is not None and 'on_bad_row: "skip"' in advised.recipe
    assert checked(advised, reader)[0] in ("ok", "warning")


def test_csv_and_a_json_array_are_read_as_well(reader: str) -> None:
    import csv

    with Path("data.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["Prompt", "Response A", "Response B", "Winner"])
        writer.writeheader()
        for _i, row in enumerate(r.better_of_two()):
            said = row["preference"] if row["preference"] != "tie" else "A"
            writer.writerow(
                {
                    "Prompt": row["question"],
                    "Response A": row["response_a"],
                    "Response B": row["response_b"],
                    "Winner": said,
                }
            )
    advised = write(advise(["data.csv"], Wishes(model=reader, prompts=0)), None)
    assert advised.advice.method == "dpo"
    assert checked(advised, reader) == ("ok", [])
    Path("data.json").write_text(json.dumps(r.thumbs()))
    assert advise(["data.json"], Wishes(prompts=0)).advice.method == "kto"


def test_every_value_of_a_recipe_says_why(reader: str) -> None:
    data = save(Path("data.jsonl"), r.pairs())
    advised = write(advise([data], Wishes(model=reader, prompts=0)), None)
    assert advised.recipe is not None
    lines = advised.recipe.splitlines()
    for i, line in enumerate(lines):
        if ": " in line and not line.lstrip().startswith("#") and not line.strip().startswith(("method", 'path: "/')):
            assert "#" in line or lines[i - 1].lstrip().startswith("#"), line


def test_held_out_rows_of_another_kind_or_that_are_trained_on_measure_nothing(reader: str) -> None:
    train = save(Path("train.jsonl"), r.golds(300))
    cases = ((r.pairs(50), "no held-out rows of this kind"), (r.golds(300)[:50], "they would measure memory"))
    for other, said in cases:
        advised = advise([train, save(Path("test.jsonl"), other)], Wishes(model=reader, prompts=0))
        assert any(said in warning for warning in advised.advice.warnings)
        advised = write(advised, Path("out.yaml"), force=True)
        assert advised.recipe is not None and "eval:" not in advised.recipe
        assert checked(advised, reader) == ("ok", [])


@pytest.mark.parametrize("make", [r.pairs, r.prompts])
def test_a_size_is_no_model_that_a_recipe_could_name(make: Callable[[], list[Row]], reader: str) -> None:
    data = save(Path("data.jsonl"), make())
    advised = write(advise([data], Wishes(model="0.5B", prompts=0, gpu_memory=80)), None)
    assert advised.recipe is not None and "0.5B" not in advised.recipe and "model=MODEL" in advised.recipe
    judge = [f"reward.args.model={reader}"] if make is r.prompts else []
    assert checked(advised, reader, *judge)[1] == []


def test_the_few_bad_answers_are_not_imitated(reader: str) -> None:
    data = save(Path("data.jsonl"), r.thumbs(up=lambda i: i >= 3))
    advised = write(advise([data], Wishes(model=reader, prompts=0)), None)
    assert advised.advice.method == "sft" and advised.data is not None and len(advised.data.rows) == 297
    assert checked(advised, reader) == ("ok", [])
