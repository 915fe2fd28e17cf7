"""Feedback through the commands: converting, checking, making pairs, measuring reward models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.errors import DataError, EngineError
from postlude.models.quiet import quiet
from postlude.models.scorers import load_scorer
from postlude.models.tiny import character_tokenizer
from tests.refusals import refused

runner = CliRunner()


def call(*words: object) -> str:
    found = runner.invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def write(name: str, *values: Any) -> str:
    Path(name).write_text("".join(json.dumps(v) + "\n" for v in values))
    return name


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def counts(said: str) -> dict[str, int]:
    """Name -> number of the table of counts."""
    rows = (line.rsplit(maxsplit=1) for line in said.splitlines())
    return {r[0].strip(): int(r[1]) for r in rows if len(r) == 2 and r[1].isdigit() and ":" not in r[0]}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture(scope="module")
def scorers(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two untrained reward models."""
    import torch

    folders = []
    for seed in range(2):
        torch.manual_seed(seed)
        folders.append(tmp_path_factory.mktemp("scorer"))
        with quiet():
            load_scorer(str(model_folder), 0).save_pretrained(folders[-1])
        character_tokenizer().save_pretrained(folders[-1])
    return folders


PAIRS = [{"prompt": f"{i}+1=", "chosen": str(i + 1), "rejected": str(i * 7 + 10)} for i in range(9)]
DIGITS = """
def fn(completions):
    return [None if len(c) % 4 == 3 else float(sum(x.isdigit() for x in c)) for c in completions]
"""


# ------------------------------------------------------------------------------------------------ convert, check


def test_ratings_become_pairs_that_a_method_can_use(place: Path, model_folder: Path) -> None:
    row = {"prompt": "1+1=", "completions": ["2", "3", "2"], "scores": [1, 0, 1]}
    data = write("rated.jsonl", row, {**row, "scores": [0, 0, 0]}, {**row, "scores": [1]})
    with pytest.raises(DataError, match=r':3: "scores".*\n.*--on-bad-row skip'):
        call("data", "convert", data, "pairs.jsonl", "--to", "pairs")
    assert not Path("pairs.jsonl").exists()
    said = call("data", "convert", data, "pairs.jsonl", "--to", "pairs", "--on-bad-row", "skip")
    assert counts(said) == {
        "rows read": 3, "converted": 1, "no two answers make a pair": 1, "bad": 1,
        "comparisons": 6, "pairs written": 1, "equally good": 4, "pair repeated": 1,
    }  # fmt: skip
    assert "skipped: rated.jsonl:3" in said
    assert lines("pairs.jsonl") == [
        {"prompt": "1+1=", "chosen": "2", "rejected": "3", "chosen_score": 1, "rejected_score": 0}
    ]
    with refused("exists-already"):
        call("data", "convert", data, "pairs.jsonl", "--to", "pairs", "--on-bad-row", "skip")
    said = call("data", "check", "pairs.jsonl", "--for", "dpo", "--model", model_folder)
    assert counts(said) == {"rows read": 1, "used": 1} and "tokens per row" in said


@pytest.mark.parametrize("model", [False, True])
def test_a_check_lists_what_is_wrong(place: Path, model_folder: Path, model: bool) -> None:
    data = write("pairs.jsonl", PAIRS[0], {**PAIRS[1], "rejected": PAIRS[1]["chosen"]})
    more = ("--model", model_folder) if model else ()
    with refused("no-preference", at=":2"):
        call("data", "check", data, "--for", "dpo", *more)
    with refused("wrong-rows", said="this method learns from labelled steps"):
        call("data", "check", data, "--for", "reward_model_process", *more)
    call("data", "check", data, "--for", "grpo", *more)
    with refused("unknown-method"):
        call("data", "check", data, "--for", "dpoo", *more)
    written = write("sft.jsonl", {"prompt": "1", "completion": "2"}, {"prompt": "1", "completion": ""})
    with refused("empty-field", at=":2", said="completion"):
        call("data", "check", written, "--for", "sft", *more)


def test_files_of_several_kinds_are_refused(place: Path) -> None:
    data = write("mixed.jsonl", PAIRS[0], {"prompt": "1", "completion": "2", "label": True})
    with refused("mixed-rows"):
        call("data", "convert", data, "out.jsonl", "--to", "labels")


# --------------------------------------------------------------------------------------------------------- pairs


def sampled(*words: object) -> dict[str, int]:
    return counts(call("pairs", *words, "--max-tokens", "4", "-n", "4", "--out", "made.jsonl", "--force"))


def digits(text: str) -> int:
    return sum(x.isdigit() for x in text)


def test_pairs_of_own_answers_are_scored_and_counted(place: Path, model_folder: Path) -> None:
    write("prompts.jsonl", *({"prompt": f"{i}=", "topic": i, "margin": 3} for i in range(6)))
    Path("my.py").write_text(DIGITS)
    words = (model_folder, "--data", "prompts.jsonl", "--reward", "my.py:fn")
    for which in ("best-worst", "all"):
        n = sampled(*words, "--pairs", which, "--margin", 1)
        made = lines("made.jsonl")
        assert n["pairs written"] == len(made) > 0
        assert n["prompts"] == n.get("with pairs", 0) + n.get("without", 0) == 6
        unused = sum(n.get(k, 0) for k in ("not scored", "empty", "repeated"))
        assert n["answers"] == 24 == n["usable"] + unused
        assert n["comparisons"] == n["pairs written"] + n.get("equally good", 0) + n.get("closer than 1", 0)
        for row in made:
            assert row["chosen_score"] == digits(row["chosen"]) > row["rejected_score"] == digits(row["rejected"])
            assert row["prompt"] == f"{row['topic']}=" and "margin" not in row
    assert counts(call("data", "check", "made.jsonl", "--for", "dpo"))["used"] == len(made)


def test_one_given_side_gets_the_other_from_the_model(place: Path, model_folder: Path) -> None:
    write("given.jsonl", *({"prompt": f"{i}=", "good": "12"} for i in range(4)))
    Path("my.py").write_text(DIGITS)
    words = (model_folder, "--data", "given.jsonl", "--columns", "{chosen: good}", "--given", "chosen")
    n = sampled(*words, "--reward", "my.py:fn", "--pairs", "all")
    made = lines("made.jsonl")
    assert made and all(r["chosen"] == "12" and r["chosen_score"] == 2 > r["rejected_score"] for r in made)
    reasons = ("equally good", "not worse than the given answer", "same as the given answer")
    assert n["comparisons"] == n["usable"] == len(made) + sum(n.get(k, 0) for k in reasons)
    assert sampled(*words)["pairs written"] == len(lines("made.jsonl"))
    bad = write("bad.jsonl", {"prompt": "1=", "rejected": ["12"]}, {"prompt": "2="})
    with pytest.raises(DataError, match=r':1: "rejected" must be text.*\n.*:2: "rejected" is missing') as error:
        sampled(model_folder, "--data", bad, "--given", "rejected")
    assert "on_bad_row" not in str(error.value)


def test_pairs_need_a_reward_or_a_side(place: Path, model_folder: Path, scorers: list[Path]) -> None:
    data = write("prompts.jsonl", {"prompt": "1="})
    with refused("missing-option", said="give --reward, or --given"):
        sampled(model_folder, "--data", data)
    n = sampled(model_folder, "--data", data, "--reward", "model", "--reward-args", f"{{path: {scorers[0]}}}")
    assert n["pairs written"] == 1
    with refused("exists-already"):
        call("pairs", model_folder, "--data", data, "--reward", "length", "--out", "made.jsonl")


# ---------------------------------------------------------------------------------------------------- evaluation


def test_a_reward_model_is_measured_on_pairs(place: Path, scorers: list[Path]) -> None:
    data = write("pairs.jsonl", *PAIRS)
    said = call("eval", scorers[0], "--data", data, "--ensemble", scorers[1], "--out", "rm.json")
    assert "pair accuracy" in said and "Ensemble of 2" in said and "came true" in said
    found = json.loads(Path("rm.json").read_text())
    right = [row["scores"][0] > row["scores"][1] for row in found["scores"]]
    assert found["figures"]["accuracy"] == pytest.approx(sum(right) / len(PAIRS))
    assert found["ensemble"]["each"][0] == pytest.approx(found["figures"]["accuracy"])
    assert sum(b["pairs"] for b in found["figures"]["by_length"]) == len(PAIRS)


def test_scores_of_an_evaluation_are_those_of_the_reward(place: Path, scorers: list[Path]) -> None:
    from postlude.engines.local.scorer import LocalScorer
    from postlude.engines.settings import ScorerSpec

    data = write("lists.jsonl", {"prompt": "1=", "completions": ["1", "22", "3"], "scores": [3, 1, 1]})
    call("eval", scorers[0], "--data", data, "--out", "rm.json")
    found = json.loads(Path("rm.json").read_text())
    alone = LocalScorer.open(ScorerSpec(str(scorers[0]))).score(["1="] * 3, ["1", "22", "3"])
    assert found["scores"][0]["scores"] == pytest.approx(alone, abs=1e-4)
    assert found["figures"]["pairs"] == 2


def test_labels_and_steps_are_measured(place: Path, scorers: list[Path]) -> None:
    labels = [{"prompt": "1+1=", "completion": str(i), "label": i == 2} for i in range(6)]
    said = call("eval", scorers[0], "--data", write("labels.jsonl", *labels), "--out", "l.json")
    assert "AUC" in said and json.loads(Path("l.json").read_text())["figures"]["judged"] == 6
    steps = [{"prompt": "1+1=", "completions": ["1", "2"], "labels": [True, None]}] * 2
    bad = {"prompt": "1+1=", "completions": ["1"], "labels": []}
    data = write("steps.jsonl", *steps, bad)
    with refused("bad-rows"):
        call("eval", scorers[0], "--data", data)
    said = call("eval", scorers[0], "--data", data, "--on-bad-row", "skip", "--out", "s.json")
    found = json.loads(Path("s.json").read_text())
    assert found["figures"]["judged"] == 2 and found["rows_bad"] == 1 and "step accuracy" in said


def test_models_and_data_that_do_not_fit_are_refused(place: Path, model_folder: Path, scorers: list[Path]) -> None:
    data = write("pairs.jsonl", *PAIRS)
    with refused("reward-model-cannot-write", said="leave out --reward"):
        call("eval", scorers[0], "--data", data, "--reward", "exact")
    with refused("missing-option", said="give --reward"):
        call("eval", model_folder, "--data", data)
    with refused("not-a-reward-model"):
        call("eval", model_folder, "--data", data, "--ensemble", scorers[0])
    with refused("not-a-reward-model", kind=EngineError):
        call("eval", scorers[0], "--data", data, "--ensemble", model_folder)
    with refused("unknown-rows"):
        call("eval", scorers[0], "--data", write("p.jsonl", {"prompt": "1"}))
