"""The contract of a sampler (`engines.protocol.Sampler`), held against every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from postlude.data import Completion
from postlude.engines.local.engine import LocalEngine
from postlude.engines.openai import OpenAISampler
from postlude.engines.protocol import Progress, Request, Sampler
from postlude.engines.servers.command import Launch
from postlude.engines.servers.fleet import Fleet
from postlude.engines.settings import Local, Sampling, Served, Servers
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec
from tests.fake_vllm import FakeServer
from tests.pooling import fleet_of, labelled, pool_of
from tests.serving import Server

SAMPLING = Sampling(max_tokens=12)
PROMPTS = ((5, 6, 7), (5, 6, 7), (8, 9), (4, 5, 6, 7, 8, 9, 10))
REQUESTS = [Request(prompt, seed) for seed, prompt in enumerate(PROMPTS)]


def local(folder: Path) -> Iterator[Sampler]:
    yield LocalEngine.open(str(folder)).sampler


def padded(folder: Path) -> Iterator[Sampler]:
    yield LocalEngine.open(str(folder), packed=False).sampler


def apart(folder: Path) -> Iterator[Sampler]:
    spec = ModelSpec(str(folder))
    yield LocalEngine.start(spec, inspect(spec), held=Local(), own_sampler=True).sampler


def served(folder: Path) -> Iterator[Sampler]:
    facts = inspect(ModelSpec(str(folder)))
    with Server(folder) as server:
        yield OpenAISampler(Served(server.url, retries=0), facts.tokenizer, facts.stop_ids, facts.vocabulary)


def pool(folder: Path) -> Iterator[Sampler]:
    with FakeServer(folder) as one, FakeServer(folder) as two:
        fleet = fleet_of([one.url, two.url], label=3)
        asyncio.run(fleet.open())
        sampler = pool_of(folder, fleet, {3})
        sampler.version = 3
        yield sampler


def vllm(folder: Path) -> Iterator[Sampler]:
    """The real one, started by the first test that asks for it."""
    if "fleet" not in _started:
        if not VLLM.is_file():
            pytest.skip("no .venv-vllm here: make vllm-env")
        launch = Launch(VLLM, "float32", max_length=256, args=("--enforce-eager", "--max-num-seqs", "16"))
        fleet = Fleet(Servers(count=1, python=str(VLLM)), folder.parent, launch)
        fleet.newest, fleet.admit = lambda: folder, labelled(3)
        asyncio.run(fleet.open())
        _started["fleet"] = fleet
    sampler = pool_of(folder, _started["fleet"], {3})
    sampler.version = 3
    yield sampler


_started: dict[str, Fleet] = {}
VLLM = Path(__file__).parents[2] / ".venv-vllm" / "bin" / "python"
SAMPLERS: list[Callable[[Path], Iterator[Sampler]]] = [local, padded, apart, served, pool]


@pytest.fixture(scope="module", autouse=True)
def ended() -> Iterator[None]:
    yield
    for member in [member for fleet in _started.values() for member in fleet.members]:
        assert member.process is not None
        member.process.end()


@pytest.fixture(params=[*SAMPLERS, pytest.param(vllm, marks=pytest.mark.slow)], ids=lambda make: make.__name__)
def sampler(request: pytest.FixtureRequest, model_folder: Path) -> Iterator[Sampler]:
    yield from request.param(model_folder)


def drawn(sampler: Sampler, requests: Sequence[Request], sampling: Sampling = SAMPLING) -> list[Completion]:
    async def all_of_them() -> dict[int, Completion]:
        return {i: completion async for i, completion in sampler.sample(requests, sampling)}

    by_index = asyncio.run(all_of_them())
    assert sorted(by_index) == list(range(len(requests)))
    return [by_index[i] for i in range(len(requests))]


def test_every_request_is_answered_once_and_within_its_limit(sampler: Sampler) -> None:
    for completion in drawn(sampler, REQUESTS):
        assert 1 <= len(completion.tokens) <= SAMPLING.max_tokens
        assert completion.logprobs is not None and len(completion.logprobs) == len(completion.tokens)
        assert all(x <= 1e-3 for x in completion.logprobs)
        assert completion.stop in ("eos", "length", "string")
        assert (completion.stop == "length") <= (len(completion.tokens) == SAMPLING.max_tokens)


def test_a_seed_fixes_an_answer_whatever_stands_beside_it(sampler: Sampler) -> None:
    together = drawn(sampler, REQUESTS)
    alone = [drawn(sampler, [request])[0] for request in REQUESTS]
    assert [c.tokens for c in together] == [c.tokens for c in alone]
    backwards = drawn(sampler, REQUESTS[::-1])[::-1]
    assert [c.tokens for c in backwards] == [c.tokens for c in together]


def test_seeds_tell_answers_to_one_prompt_apart(sampler: Sampler) -> None:
    answers = drawn(sampler, [Request(PROMPTS[0], seed) for seed in range(8)])
    assert len({c.tokens for c in answers}) > 1


def test_temperature_0_is_the_most_likely_answer(sampler: Sampler) -> None:
    greedy = drawn(sampler, [Request(PROMPTS[0], seed) for seed in range(3)], replace(SAMPLING, temperature=0.0))
    assert len({c.tokens for c in greedy}) == 1


def test_a_turn_is_a_request_whose_prompt_is_every_token_so_far(sampler: Sampler) -> None:
    """Greedy: a second request goes on where the first was cut off, as one long answer would have."""
    greedy = replace(SAMPLING, temperature=0.0)
    (whole,) = drawn(sampler, [Request(PROMPTS[2], 0)], replace(greedy, max_tokens=12))
    (first,) = drawn(sampler, [Request(PROMPTS[2], 0)], replace(greedy, max_tokens=5))
    if first.stop == "length":
        (second,) = drawn(sampler, [Request((*PROMPTS[2], *first.tokens), 0)], replace(greedy, max_tokens=7))
        assert first.tokens + second.tokens == whole.tokens


def test_progress_is_told(sampler: Sampler) -> None:
    seen: list[Progress] = []
    sampler.on_progress = lambda progress: seen.append(replace(progress))
    drawn(sampler, REQUESTS * 4, replace(SAMPLING, max_tokens=40))
    assert not seen or (seen[-1].total == 16 and seen[-1].finished <= 16)


def test_answers_carry_the_version_of_the_weights(sampler: Sampler) -> None:
    assert {c.policy_version for c in drawn(sampler, REQUESTS)} == {sampler.version}
