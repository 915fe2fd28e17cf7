"""Asking language models in words: over HTTP, where much can go wrong, and in this process."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from postlude.engines.chat import ServedChat
from postlude.engines.local.chat import LocalChat
from postlude.engines.protocol import Likely, Reply, Usage
from postlude.engines.settings import ChatSpec, Local, Sampling
from postlude.errors import EngineError
from postlude.models.tiny import save_tiny_model
from tests.judging import Bad, ChatServer
from tests.refusals import refused

SAMPLING = Sampling(temperature=0.0, max_tokens=8)


def replies(chat: ServedChat | LocalChat, texts: list[str], seeds: list[int] | None = None) -> list[Reply]:
    told: dict[int, Reply] = {}
    asyncio.run(chat.replies(texts, SAMPLING, seeds or [*range(len(texts))], told.__setitem__))
    return [told[i] for i in range(len(texts))]


def likelihoods(chat: ServedChat | LocalChat, text: str, options: list[str]) -> Likely:
    told: dict[int, Likely] = {}
    asyncio.run(chat.likelihoods([text], options, told.__setitem__))
    return told[0]


def ask(server: ChatServer, texts: list[str], **spec: Any) -> tuple[ServedChat, list[Reply]]:
    chat = ServedChat(ChatSpec(url=server.url, **{"pause": 0.001, **spec}))
    return chat, replies(chat, texts)


def test_replies_come_in_the_order_of_the_questions() -> None:
    with ChatServer(lambda m: m[-1]["content"].upper()) as server:
        chat, found = ask(server, ["a", "b", "c"], concurrency=2)
    assert found == [Reply(x) for x in "ABC"]
    assert chat.name == "judge-1" and server.under_way.most <= 2
    assert server.seen[0]["temperature"] == 0.0 and server.seen[0]["max_tokens"] == 8


@pytest.mark.parametrize("bad", [Bad(429), Bad(500), Bad(503, body=b"<html>"), Bad(body=b"garbage"), Bad(body=b"{}")])
def test_what_may_pass_is_tried_again(bad: Bad) -> None:
    with ChatServer(script=(bad, bad)) as server:
        chat, (reply,) = ask(server, ["a"])
    assert (reply.text, len(server.seen), chat.failures) == ("yes", 3, 0)


def test_retry_after_is_honoured() -> None:
    with ChatServer(script=(Bad(429, {"Retry-After": "0.3"}),)) as server:
        ask(server, ["a"])
    assert server.times[1] - server.times[0] >= 0.3


@pytest.mark.parametrize(("status", "hint"), [(401, "Set OPENAI_API_KEY"), (404, "does the URL end in /v1")])
def test_what_cannot_pass_is_an_error_at_once(status: int, hint: str) -> None:
    with ChatServer(always=Bad(status)) as server, refused("server-refused", said=hint, kind=EngineError):
        ask(server, ["a"])
    assert len(server.seen) == 1


def test_a_question_that_fails_for_good_has_a_reason_and_the_others_an_answer() -> None:
    with ChatServer(script=(Bad(500), Bad(500), Bad(500))) as server:
        _, (first, second) = ask(server, ["a", "b"], concurrency=1, retries=2)
    assert "status 500" in str(first.problem) and "in 3 tries" in str(first.problem)
    assert second.text == "yes"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_question_that_a_server_refuses_fails_alone_and_at_once(status: int) -> None:
    with ChatServer(script=(Bad(status, body=b'{"error": {"message": "too long"}}'),)) as server:
        _, (first, second) = ask(server, ["a", "b"], concurrency=1)
    assert f"status {status}: too long" in str(first.problem) and second.text == "yes" and len(server.seen) == 2


def test_thinking_that_was_cut_before_the_answer_is_not_paid_for_again() -> None:
    body = b'{"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [{"index": 0, '
    body += b'"finish_reason": "length", "message": {"role": "assistant", "content": null}}]}'
    with ChatServer(always=Bad(body=body)) as server:
        _, (reply,) = ask(server, ["a"])
    assert "no text within max_tokens" in str(reply.problem) and len(server.seen) == 1


def test_calls_at_the_same_time_share_the_limit() -> None:
    with ChatServer(always=Bad(together=2, delay=0.05)) as server:
        chat = ServedChat(ChatSpec(url=server.url, model="m", concurrency=2))

        async def many() -> None:
            ask_ = lambda: chat.replies(["a", "b", "c"], SAMPLING, [0, 1, 2], lambda i, r: None)
            await asyncio.gather(*(ask_() for _ in range(4)))

        asyncio.run(many())
    assert server.under_way.most == 2


def test_every_try_is_metered() -> None:
    """What was sent counts, whatever came back: an answer's own figures, else the estimate, else nothing."""
    seen: list[Usage] = []

    @contextmanager
    def meter(read: int, written: int) -> Iterator[Usage]:
        usage = Usage(read, written)
        seen.append(usage)
        yield usage

    with ChatServer(script=(Bad(500), Bad(body=b"garbage"))) as server:
        chat = ServedChat(ChatSpec(url=server.url, model="m", pause=0.001))
        asyncio.run(chat.replies(["abc" * 100], SAMPLING, [0], lambda i, r: None, meter))
    assert [(u.read, u.written) for u in seen] == [(0, 0), (108, 8), (100, 10)]


def test_a_server_that_fails_again_and_again_is_left_alone() -> None:
    with (
        ChatServer(always=Bad(500)) as server,
        refused("server-unreachable", said="2 questions in a row have failed", kind=EngineError),
    ):
        ask(server, ["a", "b", "c", "d"], concurrency=1, retries=2, breaker=2)
    assert len(server.seen) == 6


def test_no_wait_is_longer_than_its_limit() -> None:
    """Whether nothing comes, or a body that would take many seconds in all."""
    over = threading.Event()
    for bad in (Bad(until=over), Bad(drip=0.05)):
        with ChatServer(always=bad) as server:
            chat = ServedChat(ChatSpec(url=server.url, model="m", timeout=0.2, retries=1, pause=0.001))
            (reply,) = replies(chat, ["a"])
        over.set()
        assert "no answer within 0.2 s in 2 tries" in str(reply.problem)


def test_the_key_goes_out_and_never_into_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret\n")
    with ChatServer(always=Bad(403, body=b'{"error": {"message": "bad key sk-secret"}}')) as server:
        with pytest.raises(EngineError) as error:
            ask(server, ["a"], key="MY_KEY")
        assert server.keys == ["Bearer sk-secret"]
    assert "sk-secret" not in str(error.value) and "***" in str(error.value)
    with ChatServer(always=Bad(500, body=b"sk-secret")) as server:
        _, (reply,) = ask(server, ["a"], key="MY_KEY", retries=0)
    assert "sk-secret" not in str(reply.problem)
    monkeypatch.setenv("MY_KEY", "sk-sécret")
    with refused("wrong-type", said="no header can carry") as error:
        ServedChat(ChatSpec(url="http://localhost:1/v1", key="MY_KEY"))
    assert "sécret" not in str(error.value)


def test_which_model_is_asked() -> None:
    with ChatServer() as server:
        server.names = ["a", "b"]
        with refused("unknown-name", kind=EngineError):
            ask(server, ["x"])
    with pytest.raises(ValueError, match="must look like"):
        ChatSpec(url="localhost")
    with pytest.raises(ValueError, match="put the key into"):
        ChatSpec(url="http://me:pw@localhost/v1")
    with refused("server-unreachable", kind=EngineError):
        replies(ServedChat(ChatSpec(url="http://127.0.0.1:9/v1", retries=0)), ["a"])


def test_likelihoods_over_http_are_those_of_first_tokens() -> None:
    with ChatServer(top=lambda m: {"1": -0.1, " 1": -5.0, "2": -2.5, "the": -3.0}) as server:
        chat = ServedChat(ChatSpec(url=server.url))
        # what is not listed lies a nat below the last that is
        assert likelihoods(chat, "a", ["1", "2", "3"]) == Likely((-0.1, -2.5, -4.0), 1)
        assert "none of 4, 5" in str(likelihoods(chat, "a", ["4", "5"]).problem)
    with ChatServer() as server, refused("server-answer", kind=EngineError):
        likelihoods(ServedChat(ChatSpec(url=server.url)), "a", ["1"])


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    folder = tmp_path_factory.mktemp("chat") / "model"
    save_tiny_model(folder, layers=2, width=64, heads=4)
    return LocalChat.open(ChatSpec(str(folder)))


def test_a_local_model_replies_and_says_what_is_too_long(local: LocalChat) -> None:
    long = "ab" * (local.facts.context or 0)
    first, second = replies(local, ["1+1=", long])
    assert first.problem is None and first.text
    assert "exceed the context" in str(second.problem)
    assert replies(local, ["1+1="]) == [first], "the same question, the same reply, whatever else is asked"


def test_a_folder_saved_over_is_another_model(tmp_path: Path) -> None:
    names = []
    for seed in (0, 1):
        save_tiny_model(tmp_path / "m", seed, layers=1, width=32, heads=2)
        names.append(asyncio.run(LocalChat.open(ChatSpec(str(tmp_path / "m"))).identify()))
    assert names[0] != names[1]


def test_local_likelihoods_are_those_of_the_whole_string(local: LocalChat) -> None:
    """Against a plain forward pass of transformers, token by token, with the end where options overlap."""
    found = likelihoods(local, "12=", ["1", "10", "2"]).values
    tokenizer = local.facts.tokenizer
    net = AutoModelForCausalLM.from_pretrained(local.path)
    for option, value in zip(["1", "10", "2"], found, strict=True):
        prompt = tokenizer("12=").input_ids
        answer = [*tokenizer(option, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        logits = net(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
        plain = sum(float(logits.detach()[len(prompt) + i - 1, t]) for i, t in enumerate(answer))
        assert math.isclose(value, plain, abs_tol=1e-4)


def test_a_folder_that_cannot_write_is_said(tmp_path: Path) -> None:
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.settings import Optimizer
    from postlude.models.load import inspect
    from postlude.models.spec import ModelSpec

    save_tiny_model(tmp_path / "model", layers=1, width=32, heads=2)
    spec = ModelSpec(str(tmp_path / "model"))
    LocalEngine.start(spec, inspect(spec), Optimizer(), Local(token_budget=1024), False, scores=True).write(
        tmp_path / "rm"
    )
    with pytest.raises(EngineError, match="is a reward model, which cannot write"):
        LocalChat.open(ChatSpec(str(tmp_path / "rm")))
