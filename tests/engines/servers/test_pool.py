"""Sampling from several servers: the local sampler's answers, whatever fails on the way; nothing of unknown weights."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from postlude.data import Completion
from postlude.engines.local.engine import LocalEngine
from postlude.engines.protocol import Request, Sampler, Weights
from postlude.engines.servers import pool as pool_module
from postlude.engines.servers.fleet import Member
from postlude.engines.servers.pool import PoolSampler
from postlude.engines.settings import Sampling
from postlude.errors import EngineError
from tests.fake_vllm import CHANGES, FakeServer, Fault
from tests.fake_vllm.server import GENERATE
from tests.pooling import pooled

T = TypeVar("T")
SAMPLING = Sampling(temperature=0.7, max_tokens=12)
GROUPS = [(5, 6, 7), (8, 9), (4, 5, 6, 7, 8, 9, 10), (11, 12, 13)]
REQUESTS = [Request(prompt, 10 * i + k) for i, prompt in enumerate(GROUPS) for k in range(4)]


@pytest.fixture(scope="module")
def pair(model_folder: Path) -> Iterator[list[FakeServer]]:
    with FakeServer(model_folder) as one, FakeServer(model_folder) as two:
        yield [one, two]


@pytest.fixture(scope="module")
def expected(model_folder: Path) -> list[Completion]:
    """What the local sampler answers to the requests."""
    return asyncio.run(drawn(LocalEngine.open(str(model_folder)).sampler))


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "PAUSE", 0.01)
    for fake in request.getfixturevalue("pair") if "pair" in request.fixturenames else ():
        fake.at.faults.clear(), fake.at.always.clear(), fake.at.calls.clear()
        fake.at.busiest = 0


async def drawn(
    sampler: Sampler, requests: Sequence[Request] = REQUESTS, sampling: Sampling = SAMPLING
) -> list[Completion]:
    by_index = {i: completion async for i, completion in sampler.sample(requests, sampling)}
    assert sorted(by_index) == list(range(len(requests)))
    return [by_index[i] for i in range(len(requests))]


def run(fakes: Sequence[FakeServer], work: Callable[[PoolSampler], Awaitable[T]], **keys: object) -> T:
    async def go() -> T:
        async with pooled(fakes[0].folder, [fake.url for fake in fakes], **keys) as pool:
            return await work(pool)

    return asyncio.run(go())


def same(seen: Sequence[Completion], expected: Sequence[Completion]) -> bool:
    for a, b in zip(seen, expected, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-5)
    return [(a.tokens, a.text, a.stop) for a in seen] == [(b.tokens, b.text, b.stop) for b in expected]


def asked(fakes: Sequence[FakeServer]) -> int:
    return sum(len(fake.bodies()) for fake in fakes)


@pytest.mark.parametrize(
    "sampling",
    [
        SAMPLING,
        Sampling(temperature=0.0, max_tokens=12),
        Sampling(max_tokens=30, top_p=0.8, top_k=7),
        Sampling(max_tokens=60, stop=("a", "1", "e")),
    ],
    ids=["plain", "greedy", "truncated", "stops"],
)
def test_answers_are_the_local_samplers(pair: list[FakeServer], model_folder: Path, sampling: Sampling) -> None:
    local = asyncio.run(drawn(LocalEngine.open(str(model_folder)).sampler, REQUESTS, sampling))
    seen = run(pair, lambda pool: drawn(pool, REQUESTS, sampling))
    assert same(seen, local) and {(c.policy_version, c.spans) for c in seen} == {(0, ((0, 0),))}
    if sampling.stop:
        assert "string" in {c.stop for c in seen}


def test_a_group_goes_to_one_server_and_groups_to_the_emptier_one(pair: list[FakeServer]) -> None:
    run(pair, drawn)
    prompts = [{tuple(body["token_ids"]) for body in fake.bodies()} for fake in pair]
    assert not prompts[0] & prompts[1] and len(prompts[0]) == len(prompts[1]) == 2
    assert asked(pair) == len(REQUESTS)


async def held(pool: PoolSampler, fakes: Sequence[FakeServer], requests: Sequence[Request], most: int) -> int:
    """The largest number under way while every server is paused, once it stands still."""
    servers = [member.server for member in pool.fleet.members]
    for server in servers:
        await server.pause()
    task = asyncio.create_task(drawn(pool, requests, Sampling(max_tokens=2)))
    while sum(len(fake.at.jobs) for fake in fakes) < most:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)
    seen = sum(len(fake.at.jobs) for fake in fakes)
    assert sum(member.under_way for member in pool.fleet.members) == 2 * seen
    for server in servers:
        await server.resume()
    await task
    assert sum(member.under_way for member in pool.fleet.members) == 0
    return seen


def test_512_answers_are_under_way_at_once(pair: list[FakeServer]) -> None:
    requests = [Request((5, 6, 7 + i // 8 % 40), i) for i in range(600)]
    assert run(pair, lambda pool: held(pool, pair, requests, 512)) == 512


def test_no_server_is_asked_for_more_than_may_be(pair: list[FakeServer]) -> None:
    assert run(pair, lambda pool: held(pool, pair, REQUESTS, 6), concurrency=3) == 6
    assert [fake.at.busiest for fake in pair] == [3, 3]


FAILING: dict[str, tuple[Fault, int]] = {
    "503": (Fault(status=503), 0),
    "500": (Fault(status=500, body=b"x" * 100_000), 0),
    "429": (Fault(status=429), 0),
    "dropped": (Fault(drop=True), 0),
    "cut": (Fault(cut=True), 0),
    "garbage": (Fault(body=b"<html>"), 1),
    "aborted": (Fault(change=CHANGES["abort"]), 0),
    "no label": (Fault(change=CHANGES["default"]), 1),
    "another label": (Fault(change=CHANGES["unpublished"]), 1),
    "no spans": (Fault(change=CHANGES["no spans"]), 1),
    "nan": (Fault(change=CHANGES["nan"]), 1),
    "strange id": (Fault(change=CHANGES["a strange id"]), 1),
    "another finish": (Fault(change=CHANGES["another finish"]), 1),
}


@pytest.mark.parametrize("name", FAILING)
def test_what_fails_once_is_asked_again(pair: list[FakeServer], expected: list[Completion], name: str) -> None:
    fault, refused = FAILING[name]

    async def work(pool: PoolSampler) -> list[Completion]:
        seen = await drawn(pool)
        assert pool.counted() == {"requeued": 1.0, "refused_answers": float(refused)}
        assert pool.counted() == {"requeued": 0.0, "refused_answers": 0.0}
        return seen

    pair[0].next(GENERATE, fault)
    assert same(run(pair, work), expected)
    assert asked(pair) == len(REQUESTS) + 1


def test_a_server_that_does_not_answer_in_time_is_asked_elsewhere(
    pair: list[FakeServer], expected: list[Completion]
) -> None:
    pair[0].next(GENERATE, Fault(hang=True))
    assert same(run(pair, drawn, timeout=4.0), expected)


def test_a_server_that_always_fails_is_avoided(pair: list[FakeServer], expected: list[Completion]) -> None:
    pair[0].at.always[GENERATE] = Fault(status=500)
    seen = run(pair, drawn)
    assert same(seen, expected) and len(pair[1].bodies()) == len(REQUESTS)


def test_a_server_of_unknown_weights_gets_nothing_before_it_is_admitted_again(
    pair: list[FakeServer], expected: list[Completion]
) -> None:
    """As one that was restarted behind our back: every call is answered, under no label."""
    heard: list[str] = []

    async def work(pool: PoolSampler) -> list[Completion]:
        pool.fleet.say = heard.append
        pair[0].restart()
        seen = await drawn(pool)
        assert pool.refused_answers > 0
        return seen

    seen = run(pair, work)
    assert same(seen, expected) and {c.policy_version for c in seen} == {0}
    assert "names version 'default' of the weights" in heard[0].replace("answers name", "answer names")
    labelled = [path for path in pair[0].calls if path in (GENERATE, "/update_weight_version")]
    assert labelled[0] == GENERATE  # refused


def test_a_server_that_lacks_the_model_is_admitted_again(pair: list[FakeServer], expected: list[Completion]) -> None:
    async def work(pool: PoolSampler) -> list[Completion]:
        (member,) = pool.fleet.members

        async def admit(again: Member) -> None:
            again.model = "policy"

        pool.fleet.admit, member.model = admit, "v9"
        seen = await drawn(pool)
        assert re.search(r"The model `v9\.[0-9a-f]{8}` does not exist\.$", member.trouble) and not pool.refused_answers
        return seen

    assert same(run(pair[:1], work), expected)


def test_a_server_that_dies_leaves_its_requests_to_the_other(model_folder: Path, expected: list[Completion]) -> None:
    with FakeServer(model_folder) as one, FakeServer(model_folder) as two:
        one.at.faults[GENERATE] += [Fault(), Fault(), Fault(die=True)]
        assert same(run([one, two], drawn), expected)
        assert len(two.bodies()) > len(REQUESTS) // 2


def test_a_server_that_hangs_is_not_waited_for_once_it_is_taken_out(
    pair: list[FakeServer], expected: list[Completion]
) -> None:
    async def work(pool: PoolSampler) -> list[Completion]:
        task = asyncio.create_task(drawn(pool))
        while len(pair[0].bodies()) < len(REQUESTS) // 2:
            await asyncio.sleep(0.005)
        pair[0].at.always["*"] = Fault(hang=True)
        pool.fleet.ailing(pool.fleet.members[0], "it hangs")
        answers = await task
        del pair[0].at.always["*"]  # or the fleet, as it closes, would wait for it
        return answers

    pair[0].at.always[GENERATE] = Fault(hang=True)
    assert same(run(pair, work), expected)


def ended(fakes: Sequence[FakeServer], sampling: Sampling = SAMPLING) -> EngineError:
    with pytest.raises(EngineError) as raised:
        run(fakes, lambda pool: drawn(pool, REQUESTS[:1], sampling))
    return raised.value


def test_five_failures_on_healthy_servers_end_the_run_with_their_text(pair: list[FakeServer]) -> None:
    for fake in pair:
        fake.at.always[GENERATE] = Fault(status=500, body=b'{"error": {"message": "out of cheese"}}')
    error = ended(pair)
    assert asked(pair) == 5 and error.code == "server-refused"
    assert str(error).endswith(f"{GENERATE}: status 500: out of cheese. One request failed 5 times.")
    for fake in pair:
        fake.at.always[GENERATE] = Fault(change=CHANGES["a strange id"])
    error = ended(pair)
    assert "token id 1000000 is not in the tokenizer's vocabulary" in str(error) and error.code == "server-answer"


def test_a_request_that_is_refused_ends_the_run_at_once(pair: list[FakeServer]) -> None:
    pair[0].at.always[GENERATE] = pair[1].at.always[GENERATE] = Fault(status=400)
    error = ended(pair)
    assert asked(pair) == 1 and "refuses a request" in str(error) and "status 400: told to fail" in str(error)


def test_what_cannot_be_asked_of_a_server_is_said(pair: list[FakeServer]) -> None:
    assert "not at 0.001 (it would take 0.01" in str(ended(pair, Sampling(temperature=0.001)))

    async def load(pool: PoolSampler) -> None:
        assert not pool.give_way(REQUESTS, SAMPLING)
        with pytest.raises(EngineError, match="from the engine that publishes them"):
            await pool.load(Weights(1, ()))

    run(pair[:1], load)
    assert asked(pair) == 0


def test_an_answer_of_two_versions_says_where_each_begins(model_folder: Path) -> None:
    async def work(pool: PoolSampler) -> list[Completion]:
        pool.published = {0, 1}
        server = pool.fleet.members[0].server
        task = asyncio.create_task(drawn(pool, REQUESTS[:2], Sampling(max_tokens=200)))
        while not fake.at.jobs or not fake.at.jobs[0].tokens:
            await asyncio.sleep(0.001)
        await server.pause()
        await server.label(1)
        await server.resume()
        return await task

    with FakeServer(model_folder, piece=4) as fake:
        seen = run([fake], work)
    mixed = [c for c in seen if len(c.spans) > 1]
    assert mixed and all(c.policy_version == 0 for c in mixed)
    for completion in mixed:
        ((old, start), (new, first)) = completion.spans
        assert (old, start, new) == (0, 0, 1) and 0 < first < len(completion.tokens) and first % 4 == 0


def test_an_adapters_name_is_the_version_of_its_answers(
    pair: list[FakeServer], tmp_path: Path, expected: list[Completion]
) -> None:
    """The base's label stays, whatever adapters are loaded, so it says nothing of them."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    net = AutoModelForCausalLM.from_pretrained(pair[0].folder)
    adapted = get_peft_model(net, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path)

    async def work(pool: PoolSampler) -> list[Completion]:
        (member,) = pool.fleet.members
        await member.server.load_adapter("v7", tmp_path)
        member.model, pool.published = "v7", {0, 7}
        seen = await drawn(pool)
        assert not pool.requeued
        pool.published = {0}
        pool.fleet.admit = lambda _: asyncio.Event().wait()  # type: ignore[assignment,return-value]
        task = asyncio.create_task(drawn(pool))
        while member.state == "ready":
            await asyncio.sleep(0.005)
        assert "name version '7'" in member.trouble
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return seen

    seen = run(pair[:1], work)
    assert {(c.policy_version, c.spans) for c in seen} == {(7, ((7, 0),))} and [c.tokens for c in seen] != [
        c.tokens for c in expected
    ]


def test_whoever_stops_listening_stops_the_servers_too(pair: list[FakeServer]) -> None:
    async def work(pool: PoolSampler) -> None:
        pair[0].at.always[GENERATE] = Fault(delay=30)
        answers = pool.sample(REQUESTS, SAMPLING)
        await anext(answers)  # of the other
        assert pool.fleet.members[0].under_way
        await answers.aclose()  # type: ignore[attr-defined]
        assert [member.under_way for member in pool.fleet.members] == [0, 0]
        left = [pair[0].listener.hung_up, len(pair[0].at.jobs) + len(pair[1].at.jobs)]
        while left != [len(REQUESTS) // 2, 0]:
            await asyncio.sleep(0.005)
            left = [pair[0].listener.hung_up, len(pair[0].at.jobs) + len(pair[1].at.jobs)]

    pair[0].listener.hung_up = 0
    run(pair, work)


def test_progress_is_told(pair: list[FakeServer]) -> None:
    seen: list[tuple[int, int, int]] = []

    async def work(pool: PoolSampler) -> list[Completion]:
        pool.on_progress = lambda progress: seen.append((progress.tokens, progress.finished, progress.total))
        return await drawn(pool)

    completions = run(pair, work)
    assert seen[-1] == (sum(c.length for c in completions), len(REQUESTS), len(REQUESTS))
    assert [finished for _, finished, _ in seen] == list(range(1, len(REQUESTS) + 1))
