"""The prefix cache: later turns begin with what earlier ones computed, sample the same, never from other weights."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from postlude.algorithms import ALGORITHMS
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local import cache, decode
from postlude.engines.local.cache import token_bytes
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.free import Free
from postlude.engines.local.memory import choose
from postlude.engines.local.model import LocalModel, probe_batch, without_dropout
from postlude.engines.local.prefixes import BLOCK, PrefixCache
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.protocol import Request
from postlude.engines.settings import Optimizer, Sampling
from postlude.sizing.work import Asked, Held, Work
from tests.conftest import PACKED, VOCABULARY, build
from tests.engines.test_parity import lora

WIDTH = 3
"""Numbers per token of the made-up blocks."""
SAMPLING = Sampling(max_tokens=24, temperature=0.8)


def model_of(name: str, adapter: bool = False, dtype: torch.dtype = torch.float32, packed: bool = True) -> LocalModel:
    net = build(name).to(dtype)
    without_dropout(net)
    model = LocalModel(lora(net) if adapter else net)
    model.choose_path(packed)
    return model


def sampler_of(model: LocalModel, tokenizer: Any, caches: bool = True) -> LocalSampler:
    sampler = LocalSampler(model, tokenizer, frozenset({1, 7}))
    if not caches:
        sampler.prefix_bytes = 0
    return sampler


def sampled(sampler: LocalSampler, requests: list[Request], sampling: Sampling = SAMPLING) -> list[Completion]:
    async def run() -> dict[int, Completion]:
        return {i: c async for i, c in sampler.sample(requests, sampling)}

    completions = asyncio.run(run())
    return [completions[i] for i in range(len(requests))]


def first_turn(groups: int = 3, each: int = 3) -> list[Request]:
    """Groups whose prompts have 20, 33, 46, ... tokens."""
    prompts = [tuple(3 + (5 * g + 3 * i) % 50 for i in range(20 + 13 * g)) for g in range(groups)]
    return [Request(p, 977 * g + i, multi_turn=True) for g, p in enumerate(prompts) for i in range(each)]


def continued(requests: list[Request], completions: list[Completion]) -> list[Request]:
    """The next turn: everything so far, and a user's words."""
    words = (9, 11, 13, 15, 17)
    return [
        replace(request, prompt=request.prompt + done.tokens + words, seed=request.seed + 10_000)
        for request, done in zip(requests, completions, strict=True)
    ]


def conversation(sampler: LocalSampler, turns: int = 3) -> list[Completion]:
    """The answers of all turns; the last one has a group of new conversations between the old ones."""
    requests, everything = first_turn(), []
    for turn in range(turns):
        if turn == turns - 1:
            fresh = [Request(tuple(range(40, 3, -1)), seed, multi_turn=True) for seed in (5, 6)]
            requests = [*requests[:4], *fresh, *requests[4:]]
        completions = sampled(sampler, requests)
        everything += completions
        requests = continued(requests, completions)
    return everything


def require_equal(got: list[Completion], expected: list[Completion], tolerance: float) -> None:
    assert [c.tokens for c in got] == [c.tokens for c in expected]
    assert [c.stop for c in got] == [c.stop for c in expected]
    for a, b in zip(got, expected, strict=True):
        ours, plain = (torch.tensor(c.logprobs, dtype=torch.float64) for c in (a, b))
        torch.testing.assert_close(ours, plain, atol=tolerance, rtol=0)


# ------------------------------------------------------------------------------------------------------ parity


@pytest.mark.parametrize("shared_beyond", [0, 1000], ids=["prompt per group", "prompt per sequence"])
@pytest.mark.parametrize("name", PACKED)
def test_turns_sample_the_same_with_the_cache_as_without(
    name: str, shared_beyond: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows, soft caps, grouped heads and learned positions; groups share prompts, and some prompts are new."""
    monkeypatch.setattr(decode, "SHARED_BEYOND", shared_beyond)
    model = model_of(name)
    assert model.packed, model.reason
    cached, plain = sampler_of(model, tokenizer), sampler_of(model, tokenizer, caches=False)
    require_equal(conversation(cached), conversation(plain), 1e-5)
    figures = cached.prefixes.figures
    assert figures.lookups == 3 + 9 + 10, "equal prompts are looked up once"
    assert figures.hits == 9 + 9
    assert figures.prefilled + figures.reused == plain.prefixes.figures.prefilled
    assert figures.reused > 0.6 * plain.prefixes.figures.prefilled
    assert plain.prefixes.figures.lookups == 0


@pytest.mark.parametrize("name", ["qwen3", "llama", "mistral"])
def test_in_float64_turns_are_the_same_to_ten_digits(name: str, tokenizer: Any) -> None:
    model = model_of(name, dtype=torch.float64)
    assert model.direct is not None
    cached, plain = sampler_of(model, tokenizer), sampler_of(model, tokenizer, caches=False)
    require_equal(conversation(cached), conversation(plain), 1e-10)
    assert cached.prefixes.figures.hits == 18


@pytest.mark.parametrize("name", ["qwen3", "gpt2"])
def test_turns_are_the_same_under_lora(name: str, tokenizer: Any) -> None:
    model = model_of(name, adapter=True)
    cached, plain = sampler_of(model, tokenizer), sampler_of(model, tokenizer, caches=False)
    require_equal(conversation(cached), conversation(plain), 1e-5)
    assert cached.prefixes.figures.hits == 18


def test_a_small_budget_changes_no_answer(tokenizer: Any) -> None:
    """Sequences come and go while the cache evicts; both together stay within the budget."""
    model = model_of("mistral")
    plain = conversation(sampler_of(model, tokenizer, caches=False))
    for tokens in (150, 400, 900):
        sampler = sampler_of(model, tokenizer)
        sampler.cache_bytes = tokens * token_bytes(model)
        require_equal(conversation(sampler), plain, 1e-5)
        assert sampler.prefixes.bytes <= sampler.cache_bytes // 2
        assert sampler.prefixes.figures.evicted > 0


@pytest.mark.parametrize("tokens", [130, 300, 900])
def test_what_is_sampled_and_what_is_kept_stay_within_the_budget(tokens: int, tokenizer: Any) -> None:
    model = model_of("qwen3")
    sampler = sampler_of(model, tokenizer)
    sampler.cache_bytes = tokens * token_bytes(model)
    requests = [Request(tuple(3 + (i + k) % 50 for k in range(60)), i, multi_turn=True) for i in range(12)]
    sampled(sampler, [*requests, replace(requests[0], prompt=requests[0].prompt[:40])])
    flow = decode._Flow(sampler, requests, SAMPLING)
    with torch.inference_mode():
        while flow.advance():
            for row, (trace, token) in enumerate(zip(flow.traces, flow.drawn[0], strict=True)):
                if trace.stop is None:
                    trace.tokens.append(token)
                    if len(trace.tokens) == SAMPLING.max_tokens:
                        trace.stop = "length"
                        flow.remember(row)
            columns = max((k.shape[2] for k in flow._layout._keys.values()), default=0)
            held = len(flow.traces) * columns + flow._layout.prompt_tokens
            assert held * token_bytes(model) + sampler.prefixes.bytes <= sampler.cache_bytes


def test_a_prompt_that_leaves_in_the_middle_of_a_block_uses_the_blocks_before(tokenizer: Any) -> None:
    model = model_of("llama")
    cached, plain = sampler_of(model, tokenizer), sampler_of(model, tokenizer, caches=False)
    cached.stop_ids = plain.stop_ids = frozenset()
    start = first_turn(1, 1)[0]
    (answer,) = sampled(cached, [start])
    whole = start.prompt + answer.tokens
    for shared in (len(whole) - 1, 2 * BLOCK + 5, 2 * BLOCK, 2 * BLOCK - 1, BLOCK + 1, BLOCK, 3):
        other = replace(start, prompt=(*whole[:shared], (whole[shared] + 1) % 50, 8, 9))
        before = cached.prefixes.figures.reused
        require_equal(sampled(cached, [other]), sampled(plain, [other]), 1e-5)
        assert cached.prefixes.figures.reused - before == shared // BLOCK * BLOCK


def test_a_prompt_that_is_there_as_a_whole_still_computes_a_token(tokenizer: Any) -> None:
    model = model_of("qwen3")
    cached, plain = sampler_of(model, tokenizer), sampler_of(model, tokenizer, caches=False)
    request = Request(tuple(range(3, 3 + 2 * BLOCK)), 1, multi_turn=True)
    sampled(cached, [request])
    require_equal(sampled(cached, [request]), sampled(plain, [request]), 1e-5)
    assert cached.prefixes.figures.reused == BLOCK


# ------------------------------------------------------------------------------------------- who uses it at all


def test_requests_that_are_no_turns_neither_leave_nor_find_anything(tokenizer: Any) -> None:
    model = model_of("llama")
    sampler, plain = sampler_of(model, tokenizer), sampler_of(model, tokenizer)
    single = [replace(r, multi_turn=False) for r in first_turn()]
    first = sampled(sampler, single)
    second = sampled(sampler, continued(single, first))
    assert len(sampler.prefixes) == sampler.prefixes.bytes == sampler.prefixes.figures.lookups == 0
    turns = first_turn()
    assert sampled(plain, turns) == first
    mixed = continued(turns, first)
    mixed[0] = replace(mixed[0], multi_turn=False)
    require_equal(sampled(plain, mixed), second, 1e-5)
    assert plain.prefixes.figures.hits == 8


@pytest.mark.parametrize("name", ["llama", "gpt_neo"])
def test_the_padded_path_does_without(name: str, tokenizer: Any) -> None:
    model = model_of(name, packed=False)
    sampler = sampler_of(model, tokenizer)
    assert not sampler.fast
    first = sampled(sampler, first_turn())
    second = sampled(sampler, continued(first_turn(), first))
    assert len(sampler.prefixes) == 0
    if name == "llama":
        fast = sampler_of(model_of(name), tokenizer)
        require_equal(sampled(fast, first_turn()), first, 2e-5)
        require_equal(sampled(fast, continued(first_turn(), first)), second, 2e-5)


def test_angles_that_change_with_the_length_leave_nothing(tokenizer: Any) -> None:
    """Under a dynamic scaling the keys of a short prompt are not those that it has within a longer one."""
    import transformers as t

    from tests.conftest import COMMON

    scaling = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    torch.manual_seed(0)
    config = t.LlamaConfig(**{**COMMON, "max_position_embeddings": 32}, num_key_value_heads=2, rope_parameters=scaling)
    model = LocalModel(t.LlamaForCausalLM(config))
    model.choose_path()
    sampler = sampler_of(model, tokenizer)
    assert sampler.without_prefixes == "dynamic"
    sampled(sampler, first_turn())
    assert len(sampler.prefixes) == 0


# ------------------------------------------------------------------------------------------ never from other weights


def optimiser_step(model: LocalModel) -> None:
    """A step of the library's own trainer, whose fused optimiser moves no counter of writes; nothing is published."""
    objective = ALGORITHMS["sft"].objective
    trainer = LocalTrainer(model, Optimizer(), 10_000)
    trainer.forward_backward(objective.weigh(objective.advantages(probe_batch(VOCABULARY))), objective)
    trainer.step(1e-4)


def write_through_data(model: LocalModel) -> None:
    for p in model.net.parameters():
        p.data.mul_(1.001)


def one_row_of_the_embedding(model: LocalModel) -> None:
    """A token that the probe does not hold."""
    with torch.no_grad():
        model.hf.get_input_embeddings().weight[41] += 0.1


def other_tensors(model: LocalModel) -> None:
    for p in model.net.parameters():
        p.data = p.data * 1.001


def state_of_another(model: LocalModel) -> None:
    model.net.load_state_dict({k: v * 1.001 for k, v in model.net.state_dict().items()})


CHANGES = (optimiser_step, write_through_data, one_row_of_the_embedding, other_tensors, state_of_another)


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("change", CHANGES)
def test_after_any_change_of_the_weights_nothing_old_is_used(
    change: Callable[[LocalModel], None], adapter: bool, tokenizer: Any
) -> None:
    model = model_of("qwen3", adapter)
    sampler = sampler_of(model, tokenizer)
    answers = sampled(sampler, first_turn())
    assert len(sampler.prefixes) > 0
    change(model)
    second = continued(first_turn(), answers)
    got = sampled(sampler, second)
    assert got == sampled(sampler_of(model, tokenizer, caches=False), second), "to the last bit: nothing was found"
    assert (sampler.prefixes.figures.hits, sampler.prefixes.figures.emptied) == (0, 1)
    third = continued(second, got)
    require_equal(sampled(sampler, third), sampled(sampler_of(model, tokenizer, caches=False), third), 1e-5)
    assert sampler.prefixes.figures.hits == 9, "and what the new weights computed is used"


def test_an_adapter_that_is_switched_off_is_another_model(tokenizer: Any) -> None:
    model = model_of("qwen3", adapter=True)
    sampler = sampler_of(model, tokenizer)
    answers = sampled(sampler, first_turn())
    second = continued(first_turn(), answers)
    with model.without_adapter():
        off = sampled(sampler, second)
        assert off == sampled(sampler_of(model, tokenizer, caches=False), second)
    on = sampled(sampler, second)
    assert on == sampled(sampler_of(model, tokenizer, caches=False), second)
    assert off != on
    assert (sampler.prefixes.figures.hits, sampler.prefixes.figures.emptied) == (0, 2)


def test_weights_that_stay_keep_the_cache(tokenizer: Any) -> None:
    """Forward passes, other samplers and saving write nothing."""
    model = model_of("qwen3")
    sampler = sampler_of(model, tokenizer)
    answers = sampled(sampler, first_turn())
    LocalTrainer(model, Optimizer(), 10_000).outputs(probe_batch(VOCABULARY), "policy")
    sampled(sampler_of(model, tokenizer), first_turn())
    sampled(sampler, continued(first_turn(), answers))
    assert (sampler.prefixes.figures.hits, sampler.prefixes.figures.emptied) == (9, 0)


def test_who_began_under_other_weights_leaves_nothing_to_who_began_after(tokenizer: Any) -> None:
    """Two calls at once, and the weights change between their beginnings."""
    model = model_of("qwen3")
    sampler = sampler_of(model, tokenizer)
    requests = first_turn()
    short = Request((4, 5, 6) * 7, 1, multi_turn=True)

    async def run() -> list[Completion]:
        old = sampler.sample(requests, SAMPLING)
        await anext(old)
        write_through_data(model)
        async for _ in sampler.sample([short], SAMPLING):
            pass
        blocks = len(sampler.prefixes)
        async for _ in old:
            pass
        assert len(sampler.prefixes) == blocks
        return [c async for _, c in sampler.sample([requests[0]], SAMPLING)]

    assert asyncio.run(run()) == sampled(sampler_of(model, tokenizer, caches=False), [requests[0]])


@contextmanager
def engine_with_a_turn(folder: Path, **more: Any) -> Iterator[tuple[LocalEngine, list[Request]]]:
    engine = LocalEngine.open(str(folder), **more)
    requests = first_turn(2, 2)
    answers = sampled(engine.sampler, requests)
    assert len(engine.sampler.prefixes) > 0
    yield engine, continued(requests, answers)


def test_publishing_loading_and_training_empty_it(model_folder: Path, tmp_path: Path) -> None:
    """Training was promised the memory that sampling had."""
    with engine_with_a_turn(model_folder) as (engine, second):
        prefixes = engine.sampler.prefixes
        asyncio.run(engine.publish())
        assert prefixes.bytes == len(prefixes) == 0
        engine.write(tmp_path)
        sampled(engine.sampler, second)
        asyncio.run(engine.load(tmp_path))
        assert prefixes.bytes == 0
        sampled(engine.sampler, second)
        objective = ALGORITHMS["sft"].objective
        group = Group(Prompt("0", "", tokens=(3, 4)), (Completion((5, 6, 1), reward=1.0),))
        engine.trainer.forward_backward(objective.weigh(objective.advantages(pack([group]))), objective)
        assert prefixes.bytes == 0
        assert prefixes.figures.emptied == 3


# -------------------------------------------------------------------------------------------------- the store itself


def rows_of(tokens: tuple[int, ...]) -> Callable[[int, int], Tensor]:
    """Numbers that tell which token of which sequence they are of."""
    x = torch.tensor([[hash(tokens[: i + 1]) % 2**31, t, i] for i, t in enumerate(tokens)], dtype=torch.float64)
    return lambda start, stop: x[start:stop]


def block_bytes(blocks: int) -> int:
    return blocks * BLOCK * WIDTH * 8


def counted(start: int, length: int) -> tuple[int, ...]:
    return tuple(range(start, start + length))


def test_what_was_not_used_for_longest_goes_first_and_its_end_before_its_beginning() -> None:
    prefixes = PrefixCache()
    prefixes.shrink(block_bytes(6))
    a, b, c = counted(0, 2 * BLOCK), counted(1000, 2 * BLOCK), counted(2000, 2 * BLOCK)
    for tokens in (a, b, c):
        prefixes.add(tokens, rows_of(tokens))
    assert (len(prefixes), prefixes.bytes) == (6, block_bytes(6))
    assert len(prefixes.find((*a, 0))) == 2  # used now: b is the oldest
    d = counted(3000, BLOCK)
    prefixes.add(d, rows_of(d))
    assert [len(prefixes.find((*x, 0))) for x in (a, b, c, d)] == [2, 1, 2, 1]
    prefixes.shrink(block_bytes(3))
    assert [len(prefixes.find((*x, 0))) for x in (a, b, c, d)] == [0, 0, 2, 1]
    assert prefixes.figures.evicted == 4
    prefixes.clear()
    assert (len(prefixes), prefixes.bytes, prefixes.find((*c, 0))) == (0, 0, [])


def test_a_sequence_longer_than_the_limit_keeps_its_beginning() -> None:
    prefixes = PrefixCache()
    prefixes.shrink(block_bytes(3))
    long = counted(0, 5 * BLOCK)
    prefixes.add(long, rows_of(long))
    assert len(prefixes.find(long)) == 3
    prefixes.add(long, rows_of(long))
    assert prefixes.bytes == block_bytes(3)


def test_equal_blocks_after_different_beginnings_are_different() -> None:
    prefixes = PrefixCache()
    prefixes.shrink(block_bytes(10))
    a, b, tail = counted(0, BLOCK), counted(500, BLOCK), counted(900, BLOCK)
    prefixes.add(a + tail, rows_of(a + tail))
    prefixes.add(b, rows_of(b))
    assert [len(prefixes.find((*x, 0))) for x in (a + tail, b + tail, tail)] == [2, 1, 0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.integers(0, 12))
def test_the_bytes_never_pass_the_limit_and_what_is_found_is_the_sequences_own(seed: int, limit: int) -> None:
    """Random conversations over few tokens, so that many share their beginnings."""
    pick, prefixes = random.Random(seed), PrefixCache()
    prefixes.shrink(block_bytes(limit))
    paragraphs = [tuple(pick.randrange(50) for _ in range(pick.choice((5, BLOCK, 20)))) for _ in range(4)]
    for _ in range(30):
        tokens = sum((pick.choice(paragraphs) for _ in range(pick.randrange(1, 8))), ())
        blocks = prefixes.find(tokens)
        reach = BLOCK * len(blocks)
        assert reach < len(tokens)
        if blocks:
            assert torch.equal(torch.cat(blocks), rows_of(tokens)(0, reach))
        prefixes.add(tokens, rows_of(tokens))
        true = sum(b.rows.untyped_storage().nbytes() for b in prefixes._blocks.values())
        assert prefixes.bytes == true <= block_bytes(limit)
        numbers = {0} | {b.number for b in prefixes._blocks.values()}
        assert all(before in numbers for before, _ in prefixes._blocks), "no block without the one before it"


# ------------------------------------------------------------------------------------------------------ its memory


def test_the_plan_counts_what_turns_leave(tokenizer: Any) -> None:
    """A run of single turns plans as before; one of several has room for both, within the cache."""
    model = model_of("qwen3")
    each = cache.columns(128) * token_bytes(model)
    single = Work(sequence=128, piece=128, update=512, answers=8)
    held, left = Held(0, 0, 0, 0, False), Free(1 << 33, "a test")
    plain, several = (choose(model, None, held, left, w, Asked()) for w in (single, replace(single, multi_turn=True)))
    assert plain.prefix_bytes == 0
    assert several.prefix_bytes == 8 * each
    assert several.cache_bytes == plain.cache_bytes
    assert several.text != plain.text, "the first lines say so"
    by_hand = choose(model, None, held, left, Work(), Asked(cache_gib=1.0))
    assert by_hand.prefix_bytes == 1 << 29
