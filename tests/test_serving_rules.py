"""What a recipe may say of vLLM servers: what contradicts what, what nothing reads, and each sentence."""

from __future__ import annotations

from typing import Any

import pytest

from postlude.check_servers import without_gpus
from postlude.engines.settings import Servers
from postlude.errors import Problem
from postlude.recipe import unread
from postlude.recipe.documents import Document
from postlude.recipe.resolution import resolve_with_problems
from postlude.recipe.serving import notes_on
from postlude.words import Once
from tests.refusals import Wrong

STARTED: dict[str, Any] = {"count": 1, "python": "python"}
RUNNING: dict[str, Any] = {"urls": ["http://10.0.0.5:8000"]}


def adapter(targets: str | list[str]) -> dict[str, Any]:
    return {"model": {"path": "m", "lora": {"targets": targets}}}


def document(servers: dict[str, Any] | None, engine: dict[str, Any] | None = None, **more: Any) -> Document:
    values: dict[str, Any] = {"method": "grpo", "model": "m", "data": "d.jsonl", "reward": "exact", **more}
    if values["method"] in ("sft", "dpo"):
        del values["reward"]
    return Document(values | {"engine": {"servers": servers, **(engine or {})}})


def problems(servers: dict[str, Any] | None, engine: dict[str, Any] | None = None, **more: Any) -> list[Problem]:
    return resolve_with_problems(document(servers, engine, **more))[1]


def idle(servers: dict[str, Any] | None, engine: dict[str, Any] | None = None, **more: Any) -> list[str]:
    made = document(servers, engine, **more)
    recipe, wrong = resolve_with_problems(made)
    assert recipe is not None and not wrong, wrong
    return unread(recipe, recipe.algorithm, made)


@pytest.mark.parametrize("servers", [STARTED, RUNNING, {**STARTED, "args": ["--max-num-seqs", "64"], "colocate": True}])
def test_servers_that_are_started_or_running_are_all_right(servers: dict[str, Any]) -> None:
    assert problems(servers) == [] and idle(servers) == []


def test_a_number_among_the_words_for_vllm_is_a_word() -> None:
    recipe, wrong = resolve_with_problems(document({**STARTED, "args": ["--max-num-seqs", 64, 0.5]}))
    assert not wrong and recipe is not None and recipe.servers is not None
    assert recipe.servers.args == ("--max-num-seqs", "64", "0.5")
    assert [one.code for one in problems({**STARTED, "args": [True]})] == ["wrong-type"]


LAGS = {"max_lag": 1, "objective": {"correction": {"high": 2.0}}}


@pytest.mark.parametrize(
    ("servers", "engine", "more", "code", "key", "said"),
    [
        ({}, {}, {}, "contradiction", "engine.servers", "give `count` .* or `urls` .*: neither is there"),
        ({"urls": []}, {}, {}, "contradiction", "engine.servers", "give `count` .* or `urls` .*: neither is there"),
        ({**STARTED, **RUNNING}, {}, {}, "contradiction", "engine.servers", "both are there, and only one may be"),
        (
            {"urls": ["http://10.0.0.5:1", "127.0.0.1:8000"]},
            {},
            {},
            "out-of-range",
            "engine.servers.urls.1",
            r"engine.servers.urls.1 must look like http://10.0.0.5:8000, got '127.0.0.1:8000'\.",
        ),
        (
            {"count": 1},
            {},
            {},
            "contradiction",
            "",
            "`count` needs `python`, an interpreter that has vllm: make vllm-env makes one",
        ),
        ({**RUNNING, "colocate": True}, {}, {}, "contradiction", "engine.servers.colocate", "Let postlude start them"),
        ({**STARTED, "colocate": True}, {}, LAGS, "contradiction", "engine.servers.colocate", "Set max_lag to 0, or"),
        (
            {**STARTED, "colocate": True, "args": ["--gpu_memory_utilization=0.5"]},
            {},
            {},
            "contradiction",
            "engine.servers.args",
            "is chosen from what the trainer holds",
        ),
        (STARTED, {"dtype": "float64"}, {}, "not-supported", "engine.dtype", "Take float32, or sample in this process"),
        (STARTED, {}, {"model": {"path": "m", "lora": {"rank": 513}}}, "not-supported", "model.lora.rank", "up to 512"),
        (
            STARTED,
            {},
            {"sampling": {"temperature": 0.001}},
            "not-supported",
            "sampling.temperature",
            "not at 0.001 .it would take 0.01 for anything lower",
        ),
        (
            STARTED,
            {},
            {"sampling": {"temperature": 3}},
            "not-supported",
            "sampling.temperature",
            "from 0.01 to 2, not at",
        ),
        (STARTED, {}, adapter(["q_proj", "lm_head"]), "not-supported", "model.lora.targets", "names lm_head, a layer"),
        (STARTED, {}, adapter("model.*"), "not-supported", "model.lora.targets", "names model.embed_tokens, model"),
        (STARTED, {"publish": "lora"}, {}, "contradiction", "engine.publish", "no adapter is trained"),
        (
            STARTED,
            {"publish": "stream"},
            {"model": {"path": "m", "lora": {}}},
            "contradiction",
            "engine.publish",
            "servers load as one. Take auto or lora",
        ),
        (STARTED, {}, {"sampler": {"url": "http://h/v1"}}, "not-of-method", "sampler", "weights are engine.servers"),
    ],
)
def test_what_cannot_be_is_refused(
    servers: dict[str, Any], engine: dict[str, Any], more: dict[str, Any], code: str, key: str, said: str
) -> None:
    assert Wrong(code, key, said=said).is_among(problems(servers, engine, **more))


@pytest.mark.parametrize(
    "words",
    [
        ["--model", "other"],
        ["--max_model_len=100"],
        ["--served-model", "x"],
        ["-tp", "2"],
        ["--logprobs-mode", "raw_logprobs"],
        ["--host", "0.0.0.0"],
    ],
)
def test_what_the_run_sets_is_no_argument_of_vllm(words: list[str]) -> None:
    (problem,) = problems({**STARTED, "args": words})
    assert Wrong("contradiction", "engine.servers.args", said="which the run sets: ").fits(problem)
    assert words[0].partition("=")[0] in problem


def test_all_of_it_is_told_at_once() -> None:
    servers = {**STARTED, "colocate": True, "args": ["--port", "1", "--dtype=half"]}
    assert len(problems(servers, {"dtype": "float64", "publish": "lora"}, **LAGS)) == 5


def test_what_nothing_reads_is_said() -> None:
    assert idle(None, {"publish": "files", "probe_every": 3}) == [
        "engine.probe_every, engine.publish: no effect here, since there are no engine.servers"
    ]
    assert idle({**RUNNING, "gpus": 2, "start_timeout": 60}) == [
        "engine.servers.gpus, engine.servers.start_timeout: no effect here, since servers that run already are not "
        "started here"
    ]
    assert idle({**STARTED, "gpus": 2}, {"device": "cpu", "cache_gib": 1.0}) == [
        "engine.cache_gib: no effect here, since engine.servers sample",
        "engine.servers.gpus: no effect here, since engine.device is cpu",
    ]


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_method_that_samples_nothing_starts_no_server_and_says_so(method: str) -> None:
    (line,) = idle(STARTED, {"commit_every": 5}, method=method)
    assert line.startswith("engine.commit_every, engine.servers.count, engine.servers.python: no effect here")
    assert line.endswith(f"since {method} samples no answers: no server is started")


def test_held_out_answers_of_a_method_that_trains_on_written_ones_come_from_the_servers() -> None:
    evaluated = {"path": "d.jsonl", "eval": "e.jsonl"}
    made = document(STARTED, method="sft", data=evaluated)
    made.values["reward"] = "exact"
    recipe, wrong = resolve_with_problems(made)
    assert recipe is not None and not wrong and unread(recipe, recipe.algorithm, made) == []


def noted(engine: dict[str, Any], mismatch: float, servers: dict[str, Any] | None = None, **more: Any) -> list[str]:
    recipe, wrong = resolve_with_problems(document(RUNNING if servers is None else servers, engine, **more))
    assert recipe is not None and not wrong, wrong
    return notes_on(recipe, {"mismatch/k1": mismatch})


def test_a_mismatch_in_low_precision_that_nothing_corrects_for_is_noted() -> None:
    half, plain = {"dtype": "bfloat16"}, {"objective": {"correction": None}}
    for apart in (0.02, -0.02):
        (note,) = noted(half, apart, **plain)
        assert "0.02 nats apart on average" in note and "objective.correction.mode=token_truncate" in note
        assert isinstance(note, Once)
    assert noted(half, 0.009, **plain) == [] and noted({}, 0.02, **plain) == [], "little, or float32"
    assert noted(half, 0.02, objective={"correction": {"mode": "token_truncate"}}) == []
    assert noted(half, 0.02, **LAGS) == [], "of older weights that says nothing"
    recipe, _ = resolve_with_problems(document(None, half, **plain))
    assert recipe is not None and notes_on(recipe, {"mismatch/k1": 1.0}) == [], "without servers"


def test_what_is_meant_for_gpus_is_told_on_a_cpu() -> None:
    one, two = without_gpus(Servers(count=1, python="p", gpus=2, colocate=True), "auto")
    assert one.startswith("engine.servers.gpus: no effect here, since this process sees no GPU")
    assert two.startswith("engine.servers.colocate: saves no memory here") and "good for trying a recipe" in two
    assert without_gpus(Servers(count=1, python="p", gpus=2), "cpu") == [], "the recipe says it"


def test_a_key_of_other_objectives_is_not_taken_for_a_misspelt_one() -> None:
    values = {"method": "dpo", "model": "m", "data": "d.jsonl", "objective": {"kl": {"coef": 0.1}}}
    [problem] = resolve_with_problems(Document(values))[1]
    assert str(problem).partition(" [")[0] == "unknown key 'objective.kl': dpo has no objective.kl."
