"""postlude label and constitution, against a real server on loopback and with a model in this process."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from postlude.cli.app import app
from postlude.models.tiny import save_tiny_model
from tests.judging import Bad, ChatServer, Messages
from tests.refusals import refused
from tests.rewards.test_judge import between, honest, worth


def call(*words: Any, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def likely(messages: Messages) -> dict[str, float]:
    """The honest judge's verdict as log-probs of "1" and "2"."""
    text = messages[0]["content"]
    difference = worth(between(text, "answer 1")) - worth(between(text, "answer 2"))
    return {"1": -0.7 + 0.2 * difference, "2": -0.7 - 0.2 * difference}


# ----------------------------------------------------------------------------------------------------------- label


def test_lists_become_pairs_with_chances(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "q", "completions": ["x", "xxx", "x", "y"], "kept": 1}])
    with ChatServer(top=likely) as server:
        said = call("label", source, tmp_path / "out.jsonl", "--judge", "j", "--url", server.url)
    rows = read(tmp_path / "out.jsonl")
    assert [(r["chosen"], r["rejected"]) for r in rows] == [("xxx", "x"), ("x", "y"), ("xxx", "y")]
    assert rows[0]["probability"] == pytest.approx(1 / (1 + 2.718281828 ** (-0.8)), abs=1e-6)
    assert rows[0]["kept"] == 1 and len(server.seen) == 6, "both orders of three pairs"
    assert re.search(r"pairs asked about\s+3\n\s+pairs written\s+3", said), said
    call("data", "check", tmp_path / "out.jsonl", "--for", "reward_model_soft")


def test_agreement_with_people_is_measured(tmp_path: Path) -> None:
    rows = [{"prompt": str(i), "chosen": "xx", "rejected": "x"} for i in range(9)]
    rows += [{"prompt": "odd", "chosen": "x", "rejected": "xx"}, {"prompt": "tie", "chosen": "a", "rejected": "b"}]
    source = write(tmp_path / "in.jsonl", rows)
    with ChatServer(honest) as server:
        out = tmp_path / "out.jsonl"
        said = call("label", source, out, "--judge", "j", "--url", server.url, "--read", "reply", "--hard")
    assert "90.0% of 10 pairs (95 % 59.6% to 98.2%)" in said
    assert re.search(r"tie\s+1", said) and re.search(r"pairs written\s+10", said)
    assert read(out)[9] == {"prompt": "odd", "chosen": "xx", "rejected": "x"}


def test_a_judge_that_goes_by_the_place_labels_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": str(i), "completions": ["a", "b"]} for i in range(3)])
    with ChatServer(lambda m: '{"better": 1}') as server:
        said = call(
            "label", source, tmp_path / "o.jsonl", "--judge", "j", "--url", server.url, "--read", "reply", code=1
        )
    assert "no pair was written" in said
    assert "verdict changed with the order: 100.0%; first place preferred by +0.500" in said
    assert "more than one verdict in five" in said and read(tmp_path / "o.jsonl") == []


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": str(i), "completions": ["x", "xx"]} for i in range(5)])
    words = ("label", source, tmp_path / "o.jsonl", "--judge", "j", "--read", "reply", "--judge-args")
    with ChatServer(honest, script=(None, None, Bad(401))) as server:
        with refused("server-refused", said="status 401"):
            call(*words, "{concurrency: 1}", "--url", server.url)
        assert not (tmp_path / "o.jsonl").exists() and len(server.seen) == 3
        call(*words, "{concurrency: 1}", "--url", server.url)
        assert len(server.seen) == 11, "two of ten were answered before the failure"
        call(*words, "{concurrency: 1}", "--url", server.url, "--force")
        assert len(server.seen) == 11, "a second run asks nothing"


def test_sure_verdicts_after_thinking_survive_the_threshold(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "q", "completions": ["x", "xxxxxxx"], "gold": "g"}])
    args = "{think: true, clamp: [0.4, 0.6], reference: gold}"
    with ChatServer(lambda m: "hm", top=likely) as server:
        out = tmp_path / "o.jsonl"
        call("label", source, out, "--judge", "j", "--url", server.url, "--judge-args", args, "--threshold", 0.1)
        assert "reference answer" in server.seen[0]["messages"][0]["content"]
    assert [r["probability"] for r in read(out)] == [0.6]


def test_rollouts_of_a_run_are_grouped_by_prompt(tmp_path: Path) -> None:
    rows = [
        {"prompt": p, "completion": c, "answer": p.upper()}
        for p, c in (("a", "x"), ("b", "x"), ("a", "xx"), ("b", "xxx"))
    ]
    source = write(tmp_path / "in.jsonl", rows)
    with ChatServer(honest) as server:
        call("label", source, tmp_path / "o.jsonl", "--judge", "j", "--url", server.url, "--read", "reply")
    assert [r["chosen"] for r in read(tmp_path / "o.jsonl")] == ["xx", "xxx"]
    assert {r["answer"] for r in read(tmp_path / "o.jsonl")} == {"A", "B"}


def test_bad_rows_and_bad_settings_are_said(tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"prompt": "q", "completions": ["x", None]}, {"prompt": "q"}])
    with refused("missing-option", said="give --judge"):
        call("label", source, tmp_path / "o.jsonl")
    with refused("missing-field", said=r"\"completion.?\"|is missing|none of the formats|mixed formats"):
        call("label", source, tmp_path / "o.jsonl", "--judge", "j", "--url", "http://localhost:1/v1")
    source = write(tmp_path / "in2.jsonl", [{"prompt": "q", "completions": ["x", None]}])
    with refused("missing-field", said="completion 2 of 2"):
        call("label", source, tmp_path / "o.jsonl", "--judge", "j", "--url", "http://localhost:1/v1")
    with refused("no-effect", said=r"--judge-args: mode cannot be set"):
        call("label", source, tmp_path / "o.jsonl", "--judge", "j", "--judge-args", "{mode: score}")
    with refused("wrong-type", said="--judge-args must be a mapping"):
        call("label", source, tmp_path / "o.jsonl", "--judge", "j", "--judge-args", "rubric")
    with refused("unknown-key", "speed"):
        call("label", source, tmp_path / "o.jsonl", "--judge", "j", "--judge-args", "{speed: 1}")
    write(tmp_path / "there.jsonl", [])
    with refused("exists-already"):
        call("label", source, tmp_path / "there.jsonl", "--judge", "j")


# ----------------------------------------------------------------------------------------------------- constitution


def helpful(messages: Messages) -> str:
    """Answers, criticises and revises: it is rude until told not to be."""
    text = messages[0]["content"]
    if "Reply with the criticism only" in text:
        return "It is rude." if "you fool" in between(text, "answer") else "Nothing to criticise."
    if "Reply with the new answer only" in text:
        return between(text, "answer").replace(", you fool", "")
    return f"{text.split()[-1]} is fine, you fool"


@pytest.fixture
def principles(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text("- {id: kind, principle: Be kind.}\n- {id: brief, principle: Be brief.}\n")
    return tmp_path / "p.yaml"


def test_revise_keeps_every_step(tmp_path: Path, principles: Path) -> None:
    data = write(tmp_path / "prompts.jsonl", [{"prompt": f"what of {i}", "n": i} for i in range(4)])
    words = ("constitution", "revise", "m", "--principles", principles, "--data", data, "--out", tmp_path / "o")
    with ChatServer(helpful) as server:
        said = call(*words, "--url", server.url, "--rounds", 2)
        asked = len(server.seen)
        trace, rows = read(tmp_path / "o" / "trace.jsonl"), read(tmp_path / "o" / "sft.jsonl")
        call(*words, "--url", server.url, "--rounds", 2, "--force")
        assert len(server.seen) == asked, "re-runs use what was answered"
    assert trace[0]["response"] == "0 is fine, you fool" and trace[0]["final"] == "0 is fine"
    first, second = trace[0]["rounds"]
    assert first["critique"] == "It is rude." and first["revision"] == "0 is fine"
    assert second["note"] == "the revision changed nothing" and {first["principle"]} <= {"kind", "brief"}
    assert rows[0] == {"prompt": "what of 0", "n": 0, "completion": "0 is fine", "principle": first["principle"]}
    assert re.search(r"rounds\s+8\n\s+revised\s+4\n\s+the revision changed nothing\s+4", said), said
    with refused("exists-already"):
        call(*words, "--url", "http://localhost:1/v1")


def test_thoughts_and_cut_answers_are_not_learned(tmp_path: Path, principles: Path) -> None:
    def thinker(messages: Messages) -> str:
        return "<think>the answer stands between marks</think>" + helpful(messages)

    data = write(tmp_path / "prompts.jsonl", [{"prompt": f"what of {i}"} for i in range(2)])
    words = ("constitution", "revise", "m", "--principles", principles, "--data", data)
    with ChatServer(thinker) as server:
        call(*words, "--out", tmp_path / "o", "--url", server.url, "--rounds", 1)
    assert [r["completion"] for r in read(tmp_path / "o" / "sft.jsonl")] == ["0 is fine", "1 is fine"]
    with ChatServer(helpful, finish="length") as server:
        said = call(*words, "--out", tmp_path / "p", "--url", server.url, "--asking", "{concurrency: 1}", code=1)
    assert re.search(r"cut by --max-tokens\s+2", said), said
    with refused("missing-option", said="--asking"):
        call(*words, "--out", tmp_path / "q", "--url", "http://localhost:1/v1", "--asking", "{speed: 1}")


def test_compare_prefers_by_a_principle(tmp_path: Path, principles: Path) -> None:
    answers = iter(["x", "y", "z", "xx", "yxx", "zxxx"])

    def speak(messages: Messages) -> str:
        return honest(messages) if "Reply with JSON" in messages[0]["content"] else next(answers)

    data = write(tmp_path / "prompts.jsonl", [{"prompt": [{"role": "user", "content": str(i)}]} for i in range(3)])
    words = ("constitution", "compare", "m", "--principles", principles, "--data", data, "--out", tmp_path / "o")
    with ChatServer(speak) as server:
        said = call(*words, "--url", server.url, "--read", "reply")
    rows = read(tmp_path / "o" / "pairs.jsonl")
    chosen = [r["chosen"][0]["content"] for r in rows]
    assert len(rows) == 3 and all(
        worth(c) > worth(r["rejected"][0]["content"]) for c, r in zip(chosen, rows, strict=True)
    )
    assert all(r["probability"] == 1.0 for r in rows) and "verdict changed with the order: 0.0%" in said
    trace = read(tmp_path / "o" / "trace.jsonl")
    assert {t["principle"] for t in trace} <= {"kind", "brief"} and trace[0]["verdicts"][0]["p"] in (0.0, 1.0)
    call("data", "check", tmp_path / "o" / "pairs.jsonl", "--for", "dpo")


def test_a_local_model_does_both_without_a_network(tmp_path: Path, principles: Path) -> None:
    save_tiny_model(tmp_path / "m", layers=1, width=32, heads=2)
    data = write(tmp_path / "prompts.jsonl", [{"prompt": f"{i}+1="} for i in range(3)])
    for kind, text in (("revise", "{{ prompt }}{{ answer }}?"), ("pairs", "{{ first }}|{{ second }}>")):
        (tmp_path / f"{kind}.jinja").write_text(text)
    own = ("--principles", principles, "--data", data, "--max-tokens", 400)
    template = tmp_path / "revise.jinja"
    call("constitution", "revise", tmp_path / "m", *own, "--out", tmp_path / "r",
         "--critique-template", template, "--revise-template", template, code=1)  # nothing criticised # fmt: skip
    call(
        "constitution", "compare", tmp_path / "m", *own, "--out", tmp_path / "c", "--template", tmp_path / "pairs.jinja"
    )
    assert len(read(tmp_path / "r" / "trace.jsonl")) == 3 == len(read(tmp_path / "c" / "trace.jsonl"))
    first = (tmp_path / "c" / "pairs.jsonl").read_text()
    (tmp_path / "c" / "cache.sqlite").unlink()
    call("constitution", "compare", tmp_path / "m", *own, "--out", tmp_path / "c", "--force",
         "--template", tmp_path / "pairs.jinja")  # fmt: skip
    assert (tmp_path / "c" / "pairs.jsonl").read_text() == first, "the same seed, the same pairs"
