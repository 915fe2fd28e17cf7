"""Sampling over HTTP: the same answers as the local sampler, and a clear error for everything a server can do wrong."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from postlude.data import Completion
from postlude.engines.openai import OpenAISampler
from postlude.engines.protocol import Progress, Request
from postlude.engines.settings import Sampling, Served
from postlude.errors import EngineError
from tests.refusals import refused
from tests.serving import NAME, Server, Step

GREEDY = Sampling(temperature=0.0, max_tokens=12)
PROMPTS = ("12+", "abc", "12+", "7*8=")


def requests(server: Server, prompts: Sequence[str] = PROMPTS) -> list[Request]:
    encode = server.facts.tokenizer
    return [Request(tuple(encode(p).input_ids), 2**64 - 1 - i) for i, p in enumerate(prompts)]


def client(server: Server, **settings: Any) -> OpenAISampler:
    served = Served(server.url, **{"timeout": 30.0, "retries": 0, **settings})
    return OpenAISampler(served, server.facts.tokenizer, server.facts.stop_ids, server.facts.vocabulary)


def sampled(sampler: Any, wanted: Sequence[Request], sampling: Sampling = GREEDY) -> list[Completion]:
    async def gather() -> dict[int, Completion]:
        return {i: c async for i, c in sampler.sample(wanted, sampling)}

    found = asyncio.run(gather())
    return [found[i] for i in range(len(wanted))]


def failure(server: Server, prompts: Sequence[str] = PROMPTS[:1], **settings: Any) -> str:
    with pytest.raises(EngineError) as error:
        sampled(client(server, **settings), requests(server, prompts))
    return str(error.value)


# ------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("form", ["vllm", "names", "llama"])
@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(max_tokens=40),
        Sampling(temperature=0.7, top_p=0.9, top_k=20, max_tokens=30),
        Sampling(max_tokens=40, stop=("1", "ab")),
    ],
    ids=["greedy", "free", "truncated", "stop"],
)
def test_answers_over_http_are_those_of_the_local_sampler(model_folder: Path, form: str, sampling: Sampling) -> None:
    with Server(model_folder, form) as server:
        wanted = [Request(r.prompt, r.seed % 2**63) for r in requests(server)]
        there, here = sampled(client(server), wanted, sampling), sampled(server.local, wanted, sampling)
    for a, b in zip(there, here, strict=True):
        assert (a.tokens, a.text, a.stop, a.policy_version) == (b.tokens, b.text, b.stop, 0)
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_every_way_to_stop_is_met(model_folder: Path) -> None:
    with Server(model_folder) as server:
        wanted = requests(server, ["12+"] * 24)
        found = sampled(client(server), wanted, Sampling(max_tokens=40, stop=("1",)))
    assert {c.stop for c in found} == {"eos", "length", "string"}
    assert all((c.tokens[-1] in server.facts.stop_ids) == (c.stop == "eos") for c in found)
    assert all(c.text.endswith("1") for c in found if c.stop == "string")


def test_each_answer_is_asked_for_with_its_own_seed_and_every_setting(model_folder: Path) -> None:
    with Server(model_folder) as server:
        wanted = requests(server, ["12+", "12+"])
        sampled(client(server), wanted, Sampling(max_tokens=3))
    first = server.seen[0]
    assert sorted(b["seed"] for b in server.seen) == sorted(r.seed % 2**63 for r in wanted)
    assert len({b["seed"] for b in server.seen}) == 2
    assert first["prompt"] == list(wanted[0].prompt) and first["model"] == NAME
    # what is left out a server would take from the model's own generation settings
    assert (first["top_k"], first["min_p"], first["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert first["stop_token_ids"] == sorted(server.facts.stop_ids)
    assert first["return_token_ids"] and first["include_stop_str_in_output"]


def test_no_more_than_the_wanted_number_of_requests_is_under_way(model_folder: Path) -> None:
    with Server(model_folder, always=Step(together=3, delay=0.05)) as server:
        sampled(client(server, concurrency=3), requests(server, ["1"] * 10), Sampling(max_tokens=2))
    assert server.under_way.most == 3


def test_progress_counts_answers_and_tokens(model_folder: Path) -> None:
    seen: list[tuple[int, int, int]] = []

    def watch(p: Progress) -> None:
        seen.append((p.finished, p.total, p.tokens))

    with Server(model_folder) as server:
        sampler = client(server)
        sampler.on_progress = watch
        found = sampled(sampler, requests(server))
    assert [s[:2] for s in seen] == [(i + 1, 4) for i in range(4)]
    assert seen[-1][2] == sum(c.length for c in found)


# ------------------------------------------------------------------------------------------------------- patience


def test_a_busy_server_is_asked_again_when_it_says(model_folder: Path) -> None:
    with Server(model_folder, script=(Step(429, {"Retry-After": "1"}), Step(503))) as server:
        wanted = requests(server, PROMPTS[:1])
        assert sampled(client(server, retries=2), wanted) == sampled(server.local, wanted)
    assert len(server.seen) == 3
    assert server.times[1] - server.times[0] >= 1.0
    assert len({b["seed"] for b in server.seen}) == 1


def test_nobody_waits_as_long_as_a_server_likes(model_folder: Path) -> None:
    with Server(model_folder, always=Step(429, {"Retry-After": "500"})) as server:
        assert "the server asks to wait 500 s, and 120 are waited at most" in failure(server, retries=3)
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_server_that_stays_unwell_is_named_with_what_it_said(model_folder: Path, status: int) -> None:
    body = b'{"error": {"message": "out of memory."}}'
    with Server(model_folder, always=Step(status, body=body)) as server:
        said = failure(server, retries=1)
        assert said == f"{server.url}/completions: status {status}: out of memory in 2 tries."
    assert len(server.seen) == 2


def test_a_request_the_server_refuses_is_not_repeated(model_folder: Path) -> None:
    body = b'{"object": "error", "message": "max_tokens is too large"}'
    with Server(model_folder, always=Step(400, body=body)) as server:
        assert failure(server, retries=3).endswith("status 400: max_tokens is too large.")
    assert len(server.seen) == 1


def test_no_wait_is_longer_than_the_timeout(model_folder: Path) -> None:
    """Whether nothing comes, or a body that would take ten seconds in all."""
    over = threading.Event()
    for step in (Step(until=over), Step(body=b" " * 100, drip=0.1)):
        with Server(model_folder, always=step) as server:
            assert "no answer within 0.4 s" in failure(server, timeout=0.4)
            over.set()


def test_the_first_failure_cancels_the_rest(model_folder: Path) -> None:
    over = threading.Event()
    with Server(model_folder, script=(Step(400),), always=Step(until=over)) as server:
        assert "status 400" in failure(server, prompts=["1"] * 50, concurrency=2)
        asked = len(server.seen)
        over.set()
    assert asked <= 3, "two, and one in the place of that which failed"


def test_a_server_that_is_not_there(model_folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sampler = OpenAISampler(Served(f"http://127.0.0.1:{port}/v1", retries=0), None, frozenset({1}), 10)
    with refused("server-unreachable", said=f"127.0.0.1:{port}/v1/models: no connection: ", kind=EngineError):
        asyncio.run(sampler.check())


# -------------------------------------------------------------------------------------------------- wrong answers


def first(reply: dict[str, Any]) -> dict[str, Any]:
    return reply["choices"][0]


def cut(reply: dict[str, Any]) -> None:
    first(reply)["logprobs"]["token_logprobs"].pop()


def foreign(reply: dict[str, Any]) -> None:
    first(reply)["token_ids"][0] = 100_000


def unknown(reply: dict[str, Any]) -> None:
    first(reply)["logprobs"]["token_logprobs"][0] = None


def empty(reply: dict[str, Any]) -> None:
    first(reply)["token_ids"] = first(reply)["logprobs"]["token_logprobs"] = []


def longer(reply: dict[str, Any]) -> None:
    first(reply)["token_ids"] *= 2
    first(reply)["logprobs"]["token_logprobs"] *= 2


def begun(reply: dict[str, Any]) -> None:
    first(reply)["prompt_token_ids"] = [0, *first(reply)["prompt_token_ids"]]


def past(reply: dict[str, Any]) -> None:
    first(reply)["token_ids"][0] = 1  # the stop token


def stopped(reply: dict[str, Any]) -> None:
    first(reply)["token_ids"][-1] = 5
    first(reply)["finish_reason"] = "stop"


def aborted(reply: dict[str, Any]) -> None:
    first(reply)["token_ids"][-1] = 5
    first(reply)["finish_reason"] = "abort"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (cut, "12 token ids but 11 log-probs"),
        (foreign, "token id 100000 is not in the tokenizer's vocabulary"),
        (unknown, "None is not a log-prob"),
        (empty, "without a single token"),
        (longer, "24 tokens in an answer, but max_tokens is 12"),
        (begun, "another prompt was answered: 3 token ids were sent, 4 were used"),
        (past, "goes on after its stop token"),
        (stopped, "last token id 5 is no stop token"),
        (aborted, "finish_reason 'abort'"),
        (lambda reply: first(reply).pop("logprobs"), "without log-probs (it has finish_reason, index"),
        (lambda reply: reply.pop("choices"), "an answer without choices"),
    ],
)
def test_an_answer_that_does_not_add_up_is_refused(
    model_folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    with Server(model_folder, always=Step(change=change)) as server:
        assert len(sampled(server.local, requests(server, PROMPTS[:1]))[0].tokens) == 12, "the test needs a full answer"
        assert said in failure(server)


def test_token_ids_are_never_guessed_from_text(model_folder: Path) -> None:
    with Server(model_folder, "plain") as server:
        said = failure(server)
    assert "without token ids (it has finish_reason, index, logprobs, logprobs.text_offset" in said
    assert "vLLM" in said and "SGLang" in said and "llama.cpp" in said


def test_an_answer_with_entries_left_out_is_refused(model_folder: Path) -> None:
    step = Step(change=lambda reply: first(reply)["logprobs"]["content"].pop(0))
    with Server(model_folder, "llama", always=step) as server:
        assert "11 token ids for an answer of 12 tokens" in failure(server)


@pytest.mark.parametrize("body", [b"<html>hello</html>", b'{"choices": [', b"", b"[" * 100_000])
def test_what_is_not_json_is_shown(model_folder: Path, body: bytes) -> None:
    with Server(model_folder, always=Step(body=body)) as server:
        said = failure(server)
    assert "/completions: not JSON: " in said and len(said) < 500


# ---------------------------------------------------------------------------------------------- start and settings


def test_the_only_model_is_taken_and_a_wrong_name_lists_those_served(model_folder: Path) -> None:
    with Server(model_folder) as server:
        assert asyncio.run(client(server).check()) == NAME
        with refused("server-answer", said=r"no model 'tinny' here. Served: tiny\.", kind=EngineError):
            asyncio.run(client(server, model="tinny").check())
        server.names = ["a", "b"]
        with refused("server-answer", said=r"which model is meant\? Give its name. Served: a, b\.", kind=EngineError):
            asyncio.run(client(server).check())
        assert asyncio.run(client(server, model="b").check()) == "b"


def test_a_url_without_v1_is_explained(model_folder: Path) -> None:
    with Server(model_folder) as server:
        server.url = server.url.removesuffix("/v1")
        with refused("server-refused", said=r"status 404: .*usually ends in /v1", kind=EngineError):
            asyncio.run(client(server).check())


def test_the_key_comes_from_the_environment_and_is_not_shown(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with Server(model_folder, always=Step(401, body=b'{"message": "wrong key sk-secret"}')) as server:
        said = failure(server)
        assert server.keys == ["Bearer sk-secret"]
    assert "wrong key ***" in said and "secret" not in said and "OPENAI_API_KEY" in said


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "localhost:8000"}, "url must look like"),
        ({"url": "file:///etc/passwd"}, "url must look like"),
        ({"url": "https://me:secret@host/v1"}, "must not hold a user, a password"),
        ({"url": "http://host/v1", "concurrency": 0}, "concurrency must be at least 1"),
        ({"url": "http://host/v1", "timeout": 0}, "timeout must be positive"),
        ({"url": "http://host/v1", "retries": -1}, "retries must lie"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Served(**settings)
