"""Asking language models in words: over HTTP, where much can go wrong, and in this process."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from postlude.engines.chat import ServedChat
from postlude.engines.local.chat import LocalChat
from postlude.engines.protocol import ChatSpec, Sampling
from postlude.errors import ConfigError, EngineError
from postlude.models.tiny import save_tiny_model
from tests.judging import Bad, ChatServer

SAMPLING = Sampling(temperature=0.0, max_tokens=8)


def ask(server: ChatServer, texts: list[str], **spec: Any) -> Any:
    chat = ServedChat(ChatSpec(url=server.url, **{"pause": 0.001, **spec}))
    return chat, asyncio.run(chat.replies(texts, SAMPLING, [*range(len(texts))]))


def test_replies_come_in_the_order_of_the_questions() -> None:
    with ChatServer(lambda m: m[-1]["content"].upper()) as server:
        chat, replies = ask(server, ["a", "b", "c"], concurrency=2)
    assert [(r.text, r.prompt_tokens, r.tokens, r.problem) for r in replies] == [(x, 100, 10, None) for x in "ABC"]
    assert chat.name == "judge-1" and server.busiest <= 2
    assert server.seen[0]["temperature"] == 0.0 and server.seen[0]["max_tokens"] == 8


@pytest.mark.parametrize("bad", [Bad(429), Bad(500), Bad(503, body=b"<html>"), Bad(body=b"garbage"), Bad(body=b"{}")])
def test_what_may_pass_is_tried_again(bad: Bad) -> None:
    with ChatServer(script=(bad, bad)) as server:
        chat, (reply,) = ask(server, ["a"])
    assert (reply.text, chat.requests, chat.failures) == ("yes", 4, 0)  # the list of models is one of them


def test_retry_after_is_honoured() -> None:
    with ChatServer(script=(Bad(429, {"Retry-After": "0.3"}),)) as server:
        ask(server, ["a"])
    assert server.times[1] - server.times[0] >= 0.3


@pytest.mark.parametrize(
    ("status", "hint"), [(401, "Set OPENAI_API_KEY"), (404, "does the URL end in /v1"), (400, "400")]
)
def test_what_cannot_pass_is_an_error_at_once(status: int, hint: str) -> None:
    with ChatServer(always=Bad(status)) as server, pytest.raises(EngineError, match=hint):
        ask(server, ["a"])
    assert len(server.seen) == 1


def test_a_question_that_fails_for_good_has_a_reason_and_the_others_an_answer() -> None:
    with ChatServer(script=(Bad(500), Bad(500), Bad(500))) as server:
        _, replies = ask(server, ["a", "b"], concurrency=1, retries=2)
    assert "status 500" in replies[0].problem and "in 3 tries" in replies[0].problem
    assert replies[1].text == "yes"


def test_a_server_that_fails_again_and_again_is_left_alone() -> None:
    with ChatServer(always=Bad(500)) as server, pytest.raises(EngineError, match="6 requests in a row have failed"):
        ask(server, ["a", "b", "c", "d"], concurrency=1, retries=2, breaker=6)
    assert len(server.seen) == 6


@pytest.mark.parametrize("bad", [Bad(delay=1.0), Bad(drip=0.05)])
def test_no_wait_is_longer_than_its_limit(bad: Bad) -> None:
    with ChatServer(always=bad) as server:
        chat = ServedChat(ChatSpec(url=server.url, model="m", timeout=0.2, retries=1, pause=0.001))
        (reply,) = asyncio.run(chat.replies(["a"], SAMPLING, [0]))
    assert "no answer within 0.2 s in 2 tries" in str(reply.problem)


def test_the_key_goes_out_and_never_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret")
    with ChatServer(always=Bad(403, body=b'{"error": {"message": "bad key sk-secret"}}')) as server:
        with pytest.raises(EngineError) as error:
            ask(server, ["a"], key="MY_KEY")
        assert server.keys == ["Bearer sk-secret"]
    assert "sk-secret" not in str(error.value) and "***" in str(error.value)


def test_which_model_is_asked() -> None:
    with ChatServer() as server:
        server.names = ["a", "b"]
        with pytest.raises(EngineError, match="which model"):
            ask(server, ["x"])
    with pytest.raises(ConfigError, match="must look like"):
        ServedChat(ChatSpec(url="localhost"))
    with pytest.raises(ConfigError, match="put the key into"):
        ServedChat(ChatSpec(url="http://me:pw@localhost/v1"))
    with pytest.raises(EngineError, match="no connection"):
        chat = ServedChat(ChatSpec(url="http://127.0.0.1:9/v1", retries=0))
        asyncio.run(chat.replies(["a"], SAMPLING, [0]))


def test_likelihoods_over_http_are_those_of_first_tokens() -> None:
    with ChatServer(top=lambda m: {"1": -0.1, " 1": -5.0, "2": -2.5, "the": -3.0}) as server:
        chat = ServedChat(ChatSpec(url=server.url))
        assert asyncio.run(chat.likelihoods(["a"], ["1", "2", "3"])) == [(-0.1, -2.5, None)]
    with ChatServer() as server, pytest.raises(EngineError, match="read: reply"):
        asyncio.run(ServedChat(ChatSpec(url=server.url)).likelihoods(["a"], ["1"]))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    folder = tmp_path_factory.mktemp("chat") / "model"
    save_tiny_model(folder, layers=2, width=64, heads=4)
    return LocalChat.open(ChatSpec(str(folder)))


def test_a_local_model_replies_and_says_what_is_too_long(local: LocalChat) -> None:
    long = "ab" * (local.facts.context or 0)
    first, second = asyncio.run(local.replies(["1+1=", long], SAMPLING, [0, 1]))
    assert first.problem is None and 0 < first.tokens <= 8
    assert "exceed the context" in str(second.problem)
    again = asyncio.run(local.replies(["1+1="], SAMPLING, [0]))
    assert again[0] == first, "the same question, the same reply, whatever else is asked"


def test_local_likelihoods_are_those_of_the_whole_string(local: LocalChat) -> None:
    """Against a plain forward pass of transformers, token by token, with the end where options overlap."""
    (found,) = asyncio.run(local.likelihoods(["12="], ["1", "10", "2"]))
    tokenizer = local.facts.tokenizer
    net = AutoModelForCausalLM.from_pretrained(local.path)
    for option, value in zip(["1", "10", "2"], found or (), strict=True):
        prompt = tokenizer("12=").input_ids
        answer = [*tokenizer(option, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        logits = net(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        plain = sum(float(logits.detach()[len(prompt) + i - 1, t]) for i, t in enumerate(answer))
        assert value is not None and math.isclose(value, plain, abs_tol=1e-4)


def test_a_folder_that_cannot_write_is_said(tmp_path: Path) -> None:
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.local.trainer import Optimizer
    from postlude.models.load import ModelSpec, inspect

    save_tiny_model(tmp_path / "model", layers=1, width=32, heads=2)
    spec = ModelSpec(str(tmp_path / "model"))
    LocalEngine.start(spec, inspect(spec), Optimizer(), 1024, False, scores=True).save(tmp_path / "rm")
    with pytest.raises(EngineError, match="is a reward model, which cannot write"):
        LocalChat.open(ChatSpec(str(tmp_path / "rm")))
