"""What reads a served run's folder finds what must not be in it, and finds nothing in a run as it should be."""

from __future__ import annotations

import asyncio
import os
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.scale_faults.judging import Expected, Judge, counts, repeated, versions
from bench.scale_servers.__main__ import main
from bench.scale_servers.exactness import covers
from bench.scale_servers.processes import below, kill
from bench.scale_servers.report import Report
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.servers.replies import Answer, Span
from postlude.models.tiny import save_tiny_model

EXPECTED = Expected(steps=2, groups=2, answers=2, lag=0, temperature=1.0)
PUBLISHED = {0: 0, 1: 1, 2: 1}
"""Version 2 is version 1 again, after a restart."""


def rows() -> dict[int, list[dict[str, Any]]]:
    """Of a run of two steps, as it should be."""
    return {
        step: [
            {"prompt_id": f"{step}{name}", "policy_version": step - 1, "spans": [[step - 1, 0]], "tokens": [5, 6, 7]}
            for name in "aabb"
        ]
        for step in (1, 2)
    }


def flaws(trained: dict[int, list[dict[str, Any]]], lag: int = 0) -> list[str]:
    return counts(trained, EXPECTED) + versions(trained, PUBLISHED, lag)


def test_a_run_as_it_should_be_has_no_flaws() -> None:
    trained = rows()
    assert flaws(trained) == []
    trained[2][0] |= {"policy_version": 1, "spans": [[1, 0], [2, 2]]}  # in mid-answer a restarted server took over
    assert flaws(trained) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spans": [[7, 0]], "policy_version": 7}, "step 2: version 7 was never published"),
        ({"spans": [[1, 0], [9, 2]]}, "step 2: version 9 was never published"),
        ({"spans": [[0, 0]], "policy_version": 0}, "step 2: version 0 is of step 0"),
        ({"spans": [[1, 1]]}, "step 2: spans [[1, 1]] and policy_version 1 of one answer"),
        ({"spans": []}, "step 2: spans () and policy_version 1 of one answer"),
        ({"policy_version": 2}, "step 2: spans [[1, 0]] and policy_version 2 of one answer"),
    ],
)
def test_a_span_that_must_not_be_is_found(change: dict[str, Any], said: str) -> None:
    trained = rows()
    trained[2][1] |= change
    assert said in flaws(trained)


def test_a_group_that_is_trained_twice_or_in_part_is_found() -> None:
    twice, part, both = rows(), rows(), rows()
    for row in twice[2][:2]:
        row["prompt_id"] = "1a"
    assert flaws(twice) == ["a group was trained in steps [1, 2]"]
    del part[1][0]
    assert flaws(part) == ["step 1: groups of [1, 2] answers were trained"]
    both[1] += deepcopy(both[1][:2])
    assert flaws(both) == ["step 1: groups of [2, 4] answers were trained"]


def test_log_probs_of_other_weights_are_found(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model", layers=1, width=32, heads=2)
    prompt = Prompt("p", "", tokens=(4, 5))
    judge = Judge(tmp_path / "model", [prompt])
    group = Group(prompt, (Completion((6, 7, 8), reward=1.0),))
    batch = pack([group], judge.engine.trainer.dtype, 1.0)
    right = asyncio.run(judge.engine.trainer.forward(batch, "policy")).logprobs
    assert isinstance(right, torch.Tensor)
    row = {"prompt_id": "p", "spans": [[0, 0]], "tokens": [6, 7, 8], "logprobs": right[-3:].tolist()}
    assert judge.logprobs(tmp_path, {1: [row]}, {0: 0}, 1.0) == []
    row["logprobs"][1] += 0.01
    assert judge.logprobs(tmp_path, {1: [row]}, {0: 0}, 1.0) == [
        "step 1: log-probs of version 0 are 0.01 nats beside its weights'"
    ]


def test_tokens_without_a_version_are_found() -> None:
    def answer(*spans: Span) -> Answer:
        return Answer((4, 5, 6, 7), (-1.0,) * 4, "stop", spans)

    known = {"3", "4"}
    assert covers(answer(Span("3", 0, 2), Span("4", 2, 4)), known)
    assert not covers(answer(Span("3", 0, 2), Span("4", 3, 4)), known)
    assert not covers(answer(Span("3", 0, 3)), known)
    assert not covers(answer(Span("2", 0, 4)), known)
    assert not covers(answer(), known)


def test_processes_that_are_left_are_found() -> None:
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    try:
        while not (left := [one for one in below(os.getpid()) if one.words.startswith("sleep 60")]):
            pass
    finally:
        shell.kill()
        shell.wait()
    (sleeper,) = left
    assert sleeper.lives
    kill(sleeper)
    while sleeper.lives:
        pass


def test_a_part_holds_where_every_claim_does_and_one_without_claims_does_not() -> None:
    report = Report("p", ())
    assert not report.holds
    report.claim("a", True, "1")
    assert report.holds
    report.claim("b", False, "2")
    assert not report.holds


def test_a_version_that_is_published_twice_is_found(tmp_path: Path) -> None:
    file = tmp_path / "published.jsonl"
    file.write_text('{"version": 0, "step": 0}\n{"version": 1, "step": 1}\n')
    assert repeated(tmp_path) == []
    file.write_text(file.read_text() + '{"version": 1, "step": 2}\n')
    assert repeated(tmp_path) == ["versions were published as [0, 1, 1]"]


def test_without_an_interpreter_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--python", str(tmp_path / "none"), "--folder", str(tmp_path)]) == 2
    assert "`make vllm-env` makes it" in capsys.readouterr().err
