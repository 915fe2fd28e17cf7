"""The one adapter for vLLM's endpoints: each call's effect, and each way in which a call can fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Request
from postlude.engines.servers import wire
from postlude.engines.servers.limits import unserved
from postlude.engines.servers.replies import Answer, Span
from postlude.engines.servers.wire import ServerFailure, VllmServer, adapter_name, adapter_version
from postlude.engines.settings import Sampling
from postlude.models.tiny import save_tiny_model
from postlude.waits import under_way
from tests.fake_vllm import CHANGES, FakeServer, Fault
from tests.fake_vllm.server import GENERATE

T = TypeVar("T")
REQUEST, SAMPLING = Request((5, 6, 7), 3), Sampling(temperature=0.7, max_tokens=12)


def asked(fake: FakeServer, call: Callable[[VllmServer], Awaitable[T]], timeout: float = 60.0) -> T:
    async def go() -> T:
        server = VllmServer(fake.url, timeout)
        try:
            return await call(server)
        finally:
            await server.close()

    return asyncio.run(go())


def answer(fake: FakeServer, sampling: Sampling = SAMPLING, model: str = "policy", timeout: float = 60.0) -> Answer:
    return asked(fake, lambda server: server.generate(model, REQUEST, sampling), timeout)


def failure(fake: FakeServer, call: Callable[[VllmServer], Awaitable[object]], timeout: float = 60.0) -> ServerFailure:
    with pytest.raises(ServerFailure) as raised:
        asked(fake, call, timeout)
    return raised.value


@pytest.fixture(scope="module")
def fake(model_folder: Path) -> Iterator[FakeServer]:
    with FakeServer(model_folder) as server:
        yield server


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "fake" in request.fixturenames:
        at = request.getfixturevalue("fake").at
        at.faults.clear(), at.always.clear(), at.calls.clear()
        at.label, at.paused, at.sleeping = "default", False, set()


def test_an_answer_has_ids_log_probs_and_the_label_of_its_weights(fake: FakeServer, model_folder: Path) -> None:
    """The same tokens as the local sampler's of the same seed, whose log-probs are at the temperature too."""
    seen = answer(fake)
    sampler = LocalEngine.open(str(model_folder)).sampler

    async def local() -> tuple[int, ...]:
        ((_, completion),) = [pair async for pair in sampler.sample([REQUEST], SAMPLING)]
        assert completion.logprobs == pytest.approx(seen.logprobs, abs=1e-6)
        return completion.tokens

    assert seen.tokens == asyncio.run(local()) and seen.finish == "length"
    assert seen.spans == (Span("default", 0, 12),)


def test_every_setting_of_sampling_is_said(fake: FakeServer) -> None:
    answer(fake, Sampling(0.5, 0.9, 5, 7, ("x",)))
    (body,) = fake.bodies()
    assert body["token_ids"] == [5, 6, 7]
    assert body["sampling_params"] == {
        "n": 1, "max_tokens": 7, "min_tokens": 0, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "seed": 3, "stop": ["x"],
        "stop_token_ids": [], "ignore_eos": False, "logprobs": 0, "detokenize": True, "skip_special_tokens": False,
        "spaces_between_special_tokens": False, "include_stop_str_in_output": True,
    }  # fmt: skip


def test_weights_labels_and_names_are_what_the_calls_made_them(fake: FakeServer, tmp_path: Path) -> None:
    save_tiny_model(tmp_path, seed=1, layers=2, width=64, heads=2)
    before = answer(fake)

    async def change(server: VllmServer) -> None:
        assert await server.version() == "0.32.0" and await server.weight_version() == "default"
        await server.reload(tmp_path)
        await server.label(7)
        (listed,) = await server.models()
        assert (listed.name, listed.parent, listed.max_length) == ("policy", None, 1024)

    asked(fake, change)
    after = answer(fake)
    assert after.spans == (Span("7", 0, 12),) and after.tokens != before.tokens
    asked(fake, lambda server: server.reload(fake.folder))
    assert answer(fake).tokens == before.tokens


def test_numbers_that_another_run_gave_are_not_taken_for_this_ones(model_folder: Path, tmp_path: Path) -> None:
    """Two runs on one server: both call their weights 7, and one samples from those of the other."""

    async def both(_: VllmServer) -> None:
        ours, theirs = (VllmServer(fake.url, 60.0, run=name) for name in ("a1", "b2"))
        await ours.label(7)
        assert await ours.weight_version() == "7" and await theirs.weight_version() == "7.a1"
        await theirs.label(7)
        answer = await ours.generate("policy", REQUEST, SAMPLING)
        assert [span.version for span in answer.spans] == ["7.b2"] and await theirs.weight_version() == "7"
        fake.at.label = "7"  # one that marks nothing
        assert await ours.weight_version() == "7 of another run"
        fake.at.adapters["v3.a1"] = fake.at.adapters["v3.b2"] = str(tmp_path)
        assert [one.name for one in await theirs.models()] == ["policy", "v3.a1", "v3"]
        await theirs.generate("v3", REQUEST, SAMPLING)
        assert fake.bodies(GENERATE)[-1]["model"] == "v3.b2"
        for server in (ours, theirs):
            await server.close()

    with FakeServer(model_folder) as fake:
        asked(fake, both)


def test_an_answer_that_is_paused_goes_on_under_the_new_label(model_folder: Path) -> None:
    async def pause(server: VllmServer) -> Answer:
        task = asyncio.create_task(server.generate("policy", REQUEST, Sampling(max_tokens=200)))
        while not fake.at.jobs or not fake.at.jobs[0].tokens:
            await asyncio.sleep(0.001)
        await server.pause()
        count = len(fake.at.jobs[0].tokens)
        await asyncio.sleep(0.05)
        assert not task.done() and len(fake.at.jobs[0].tokens) == count
        await server.label(1)
        await server.resume()
        return await task

    with FakeServer(model_folder, piece=4) as fake:
        seen = asked(fake, pause)
    assert [span.version for span in seen.spans] == ["default", "1"]


def test_asleep_nothing_is_answered_and_level_2_forgets_the_weights(model_folder: Path) -> None:
    async def sleep(server: VllmServer) -> None:
        before = await server.generate("policy", REQUEST, SAMPLING)
        await server.sleep(1)
        assert await server.is_sleeping()
        with pytest.raises(ServerFailure, match=r"no reply within 0\.2 s") as raised:
            await VllmServer(server.url, 0.2).generate("policy", REQUEST, SAMPLING)
        assert raised.value.kind == "timeout"
        await server.wake()
        assert await server.generate("policy", REQUEST, SAMPLING) == before
        await server.sleep(2)
        await server.wake(["weights"])
        assert await server.is_sleeping()
        await server.wake(["kv_cache"])
        assert not await server.is_sleeping()
        assert await server.generate("policy", REQUEST, SAMPLING) != before
        await server.reload(fake.folder)
        assert await server.generate("policy", REQUEST, SAMPLING) == before

    with FakeServer(model_folder) as fake:
        asked(fake, sleep)


def test_a_model_or_an_adapter_that_is_not_there_is_named(fake: FakeServer, tmp_path: Path) -> None:
    missing = failure(fake, lambda server: server.generate("v9", REQUEST, SAMPLING))
    assert missing.status == 404 and str(missing).endswith("The model `v9` does not exist.")
    missing = failure(fake, lambda server: server.load_adapter("v1", tmp_path))
    assert "No adapter found" in missing.text
    missing = failure(fake, lambda server: server.reload(tmp_path))
    assert missing.status == 500 and str(tmp_path) in missing.text


CLOSED: list[tuple[str, Callable[[VllmServer], Awaitable[object]], str]] = [
    ("dev", lambda server: server.pause(), "Start the server with VLLM_SERVER_DEV_MODE=1 in its environment"),
    ("dev", lambda server: server.weight_version(), "Start the server with VLLM_SERVER_DEV_MODE=1"),
    ("dev", lambda server: server.sleep(1), "Start the server with VLLM_SERVER_DEV_MODE=1"),
    ("runtime_lora", lambda server: server.load_adapter("v1", Path()), "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"),
    ("scale_out", lambda server: server.generate("policy", REQUEST, SAMPLING), "with --enable-scale-out"),
]


@pytest.mark.parametrize(("option", "call", "sense"), CLOSED)
def test_an_endpoint_that_is_not_open_says_what_opens_it(
    model_folder: Path, option: str, call: Callable[[VllmServer], Awaitable[object]], sense: str
) -> None:
    with FakeServer(model_folder, **{option: False}) as fake:
        seen = failure(fake, call)
    assert (seen.kind, seen.status) == ("status", 404) and sense in seen.text and not seen.refuses


BROKEN: list[tuple[Fault, str, str]] = [
    (Fault(status=503), "status", "status 503: told to fail"),
    (Fault(status=500, body=b"x" * 1_000_000), "status", "status 500: xxx"),
    (Fault(status=307, headers={"location": "http://127.0.0.1:9/"}), "status", "status 307"),
    (Fault(status=401), "status", "Start the server without --api-key"),
    (Fault(drop=True), "connection", "no connection, or a broken one"),
    (Fault(cut=True), "connection", "no connection, or a broken one"),
    (Fault(hang=True), "timeout", "no reply within 0.3 s"),
    (Fault(drip=0.01), "timeout", "no reply within 0.3 s"),
    (Fault(body=b"<html>"), "answer", "not JSON: a page of HTML"),
    (Fault(body=b""), "answer", "not JSON: ''"),
    (Fault(body=b"[1]"), "answer", "an answer is no JSON object: [1]"),
    (Fault(body=b" " * (5 << 20)), "answer", "a reply of more than 4,206,592 bytes"),
]


@pytest.mark.parametrize(("fault", "kind", "sense"), BROKEN)
def test_a_call_that_fails_says_how_in_a_short_text(fake: FakeServer, fault: Fault, kind: str, sense: str) -> None:
    fake.next(GENERATE, fault)
    seen = failure(fake, lambda server: server.generate("policy", REQUEST, SAMPLING), 0.3 if kind == "timeout" else 30)
    assert seen.kind == kind and sense in seen.text and len(seen.text) < 500


def test_nobody_there_is_no_connection(fake: FakeServer) -> None:
    async def go() -> None:
        await VllmServer("http://127.0.0.1:9").health()

    with pytest.raises(ServerFailure, match="no connection") as raised:
        asyncio.run(go())
    assert raised.value.kind == "connection"


UNSOUND = {
    "no ids": "without token_ids .*--enable-scale-out",
    "no log-probs": "without log-probs .*--logprobs-mode processed_logprobs",
    "no spans": "without weight_versions .*--enable-scale-out",
    "no choices": r"without choices \(it has model, request_id, usage\)",
    "two choices": "2 answers to a request for one",
    "a span short": "weight_versions do not cover the 12 tokens of an answer one by one: default: 0-11",
    "a span late": "do not cover the 12 tokens",
    "an id short": "log-probs of an answer are of other tokens",
    "nan": "nan is not a log-prob",
    "above 0": "0.5 is not a log-prob",
    "none": r"-9999.0 is not a log-prob\. That is what vLLM writes where it has none",
    "text": "'-1' is not a log-prob",
    "usage": "12 token ids for an answer of 13 tokens",
    "another prompt": "another prompt was answered: 3 token ids were sent, 4 were used",
    "another finish": "finish_reason 'error'",
}


@pytest.mark.parametrize("name", UNSOUND)
def test_an_answer_that_is_not_whole_is_refused(fake: FakeServer, name: str) -> None:
    fake.next(GENERATE, Fault(change=CHANGES[name]))
    seen = failure(fake, lambda server: server.generate("policy", REQUEST, SAMPLING))
    assert seen.kind == "answer"
    with pytest.raises(ServerFailure, match=UNSOUND[name]):
        raise seen


def test_an_answer_that_the_servers_limit_cuts_short_is_refused(model_folder: Path) -> None:
    with FakeServer(model_folder, max_model_len=8) as fake:
        seen = failure(fake, lambda server: server.generate("policy", REQUEST, SAMPLING))
        long = failure(fake, lambda server: server.generate("policy", Request((5,) * 9, 0), SAMPLING))
    assert "cut after 5 tokens, but max_tokens is 12" in seen.text and "--max-model-len 15" in seen.text
    assert long.refuses and long.status == 400


def test_who_leaves_ends_the_answer_on_the_server(fake: FakeServer) -> None:
    async def leave(server: VllmServer) -> None:
        await server.pause()
        task = asyncio.create_task(server.generate("policy", REQUEST, SAMPLING))
        while not fake.at.jobs:
            await asyncio.sleep(0.001)
        assert [(wait.who, wait.what) for wait in under_way()] == [
            (f"the server {server.url}", "an answer of up to 12 tokens")
        ]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        while fake.at.jobs:
            await asyncio.sleep(0.001)

    asked(fake, leave)
    assert not under_way()


def test_connections_serve_one_loop_after_another_and_no_proxy(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = VllmServer(fake.url)
    for _ in range(2):
        asyncio.run(server.health())


def test_a_big_answer_is_read_in_a_thread(fake: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    small = answer(fake)
    monkeypatch.setattr(wire, "BIG", 0)
    assert answer(fake) == small
    fake.next(GENERATE, Fault(body=b"nothing"))
    assert failure(fake, lambda server: server.generate("policy", REQUEST, SAMPLING)).kind == "answer"


def test_adapters_are_named_by_their_version() -> None:
    assert [adapter_version(name) for name in (adapter_name(12), "v0", "policy", "v", "vv1", "v1a", "12", "v²")] == [
        12, 0, None, None, None, None, None, None,
    ]  # fmt: skip


def test_temperatures_that_vllm_changes_or_refuses_are_said() -> None:
    assert [unserved(Sampling(temperature=t)) is None for t in (0, 0.009, 0.01, 1, 2, 2.1)] == [
        True, False, True, True, True, False,
    ]  # fmt: skip
