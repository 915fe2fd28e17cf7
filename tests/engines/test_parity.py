"""Every fast path beside the plain one: packed against padded, cached decoding against `generate`."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

import pytest
import torch

from postlude.algorithms import ALGORITHMS
from postlude.batch import split
from postlude.engines.local import head as head_module
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.model import LocalModel, probe_batch, without_dropout
from postlude.engines.local.trainer import LocalTrainer, Optimizer
from postlude.engines.protocol import Request, Sampling
from tests.conftest import PACKED, VOCABULARY, build


def local(name: str, packed: bool = True) -> LocalModel:
    net = build(name)
    without_dropout(net)
    model = LocalModel(net.train())
    model.choose_path(packed)
    return model


def lora(net: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(net, LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p.normal_(0, 0.1)
    return adapted


def gradients(model: LocalModel) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probs on the probe, and the gradient of an SFT loss on it."""
    objective = ALGORITHMS["sft"].objective
    batch = objective.weigh(objective.advantages(probe_batch(VOCABULARY)))
    model.net.zero_grad()
    with model.running(batch) as outputs:
        result = outputs(False)
        objective.loss(batch, result).total.backward()
    return result.logprobs.detach(), {n: p.grad.clone() for n, p in model.net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", PACKED)
def test_packed_equals_padded_in_log_probs_and_gradients(name: str) -> None:
    packed, padded = local(name), local(name, packed=False)
    assert packed.packed, packed.reason
    assert not padded.packed
    logp, grads = gradients(packed)
    expected, expected_grads = gradients(padded)
    torch.testing.assert_close(logp, expected, atol=1e-5, rtol=0)
    assert grads.keys() == expected_grads.keys()
    for key, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[key], atol=1e-5, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_packed_equals_padded_under_lora_enabled_and_disabled(name: str) -> None:
    net = build(name)
    without_dropout(net)
    net = lora(net)
    packed, padded = LocalModel(net), LocalModel(deepcopy(net))
    packed.choose_path()
    padded.choose_path(False)
    assert packed.packed, packed.reason
    for model_pair in (False, True):
        if model_pair:
            with packed.without_adapter(), padded.without_adapter(), torch.no_grad():
                batch = probe_batch(VOCABULARY)
                with packed.running(batch) as a, padded.running(batch) as b:
                    torch.testing.assert_close(a(False).logprobs, b(False).logprobs, atol=1e-5, rtol=0)
        else:
            logp, grads = gradients(packed)
            expected, expected_grads = gradients(padded)
            torch.testing.assert_close(logp, expected, atol=1e-5, rtol=0)
            for key, grad in grads.items():
                torch.testing.assert_close(grad, expected_grads[key], atol=1e-5, rtol=1e-4)


def test_an_architecture_that_ignores_the_registered_attention_takes_the_padded_path() -> None:
    model = local("gpt_neo")
    assert not model.packed
    assert model.reason


def test_gradient_checkpointing_changes_no_gradient() -> None:
    plain, saving = local("qwen3"), local("qwen3")
    saving.net.gradient_checkpointing_enable({"use_reentrant": False})
    _, expected = gradients(plain)
    _, got = gradients(saving)
    for key, grad in got.items():
        torch.testing.assert_close(grad, expected[key], atol=1e-6, rtol=1e-5)


def test_chunked_head_equals_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = gradients(local("llama"))
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", 5 * VOCABULARY)
    _, got = gradients(local("llama"))
    for key, grad in got.items():
        torch.testing.assert_close(grad, expected[key], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("budget", [20, 35, 60])
def test_micro_batches_add_up_exactly(budget: int) -> None:
    model = local("llama")
    objective = ALGORITHMS["sft"].objective
    batch = objective.weigh(objective.advantages(probe_batch(VOCABULARY)))
    trainer = LocalTrainer(model, Optimizer(), 10_000)
    trainer.forward_backward(batch, objective)
    expected = {n: p.grad.clone() for n, p in model.net.named_parameters()}
    model.net.zero_grad()
    parts = list(split(batch, budget, keeps_groups=False))
    assert len(parts) > 1
    for part in parts:
        trainer.forward_backward(part, objective)
    for key, p in model.net.named_parameters():
        torch.testing.assert_close(p.grad, expected[key], atol=1e-6, rtol=1e-5)


def test_forward_in_parts_gives_the_same_log_probs() -> None:
    model = local("qwen3")
    batch = probe_batch(VOCABULARY)
    whole = LocalTrainer(model, Optimizer(), 10_000).forward(batch, "policy").logprobs
    parts = LocalTrainer(model, Optimizer(), 25).forward(batch, "policy").logprobs
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_rows_that_are_packed_together_do_not_see_each_other(name: str) -> None:
    """Positions, attention and the token that predicts the first one: each row is as if it were alone."""
    from postlude.batch import pack
    from postlude.data import Completion, Group, Prompt

    def written(start: int, prompt: int, answer: int) -> Group:
        tokens = tuple(3 + (start + 7 * i) % 50 for i in range(prompt + answer))
        return Group(Prompt(str(start), "", tokens=tokens[:prompt]), (Completion(tokens[prompt:], reward=1.0),))

    model = local(name)
    assert model.packed, model.reason
    trainer = LocalTrainer(model, Optimizer(), 10_000)
    rows = [written(1, 5, 9), written(2, 12, 3), written(3, 1, 20)]
    together = pack(rows)
    logprobs = trainer.forward(together, "policy").logprobs[together.mask]
    alone = [pack([row]) for row in rows]
    expected = torch.cat([trainer.forward(b, "policy").logprobs[b.mask] for b in alone])
    assert logprobs.shape == expected.shape == (32,)
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)


def test_bf16_training_keeps_an_fp32_master() -> None:
    net = build("llama").to(torch.bfloat16)
    model = LocalModel(net.train())
    model.choose_path()
    assert model.packed, model.reason
    trainer = LocalTrainer(model, Optimizer(max_grad_norm=0), 10_000)
    objective = ALGORITHMS["sft"].objective
    batch = objective.weigh(objective.advantages(probe_batch(VOCABULARY)))
    before = [m.clone() for m in trainer._owned]
    for _ in range(4):
        trainer.forward_backward(batch, objective)
        trainer.step(1e-5)  # far below the resolution of bf16 at these weights
    moved = max(float((m - b).abs().max()) for m, b in zip(trainer._owned, before, strict=True))
    assert moved > 2e-5, "four small steps must add up in the master copy"
    assert all(p.dtype == torch.bfloat16 for p in net.parameters())


# --------------------------------------------------------------------------------------------------- decoding


def requests(groups: int = 3, each: int = 4) -> list[Request]:
    prompts = [tuple(3 + (5 * g + i) % 50 for i in range(4 + 5 * g)) for g in range(groups)]
    return [Request(p, seed=977 * g + i) for g, p in enumerate(prompts) for i in range(each)]


def answers(sampler: LocalSampler, wanted: list[Request], sampling: Sampling) -> list[Any]:
    async def run() -> dict[int, Any]:
        return {i: c async for i, c in sampler.sample(wanted, sampling)}

    found = asyncio.run(run())
    return [found[i] for i in range(len(wanted))]


@pytest.mark.parametrize("name", PACKED)
def test_cached_decoding_equals_generate(name: str, tokenizer: Any) -> None:
    model = local(name)
    sampling = Sampling(max_tokens=20, temperature=0.8)
    fast = LocalSampler(model, tokenizer, frozenset({1, 7}))
    slow = LocalSampler(model, tokenizer, frozenset({1, 7}))
    slow.fast = False
    got, expected = (answers(s, requests(), sampling) for s in (fast, slow))
    assert [c.tokens for c in got] == [c.tokens for c in expected]
    assert [c.stop for c in got] == [c.stop for c in expected]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=2e-5, rtol=0)


def test_sampled_log_probs_are_the_trainers(tokenizer: Any) -> None:
    """The step-0 ratio is 1: temperature, shift, masks and cache all agree."""
    from postlude.batch import pack
    from postlude.data import Group, Prompt

    model = local("qwen3")
    sampling = Sampling(max_tokens=24, temperature=0.7)
    wanted = requests()
    found = answers(LocalSampler(model, tokenizer, frozenset({1})), wanted, sampling)
    from dataclasses import replace

    groups = [
        Group(
            Prompt(str(g), "", tokens=wanted[4 * g].prompt),
            tuple(replace(c, reward=1.0) for c in found[4 * g : 4 * g + 4]),
        )
        for g in range(3)
    ]
    batch = pack(groups, temperature=0.7)
    logp = LocalTrainer(model, Optimizer(), 10_000).forward(batch, "policy").logprobs
    torch.testing.assert_close(logp[batch.mask], batch.rollout_logprobs[batch.mask], atol=2e-5, rtol=0)


def test_an_answer_does_not_depend_on_its_neighbours(tokenizer: Any) -> None:
    sampler = LocalSampler(local("llama"), tokenizer, frozenset({1, 9}))
    sampling = Sampling(max_tokens=16)
    together = answers(sampler, requests(), sampling)
    for i, alone in enumerate(requests()):
        assert answers(sampler, [alone], sampling)[0].tokens == together[i].tokens


def test_a_small_cache_budget_changes_no_answer(tokenizer: Any) -> None:
    model = local("qwen3")
    sampling = Sampling(max_tokens=12)
    whole = answers(LocalSampler(model, tokenizer, frozenset({1})), requests(), sampling)
    cut = answers(LocalSampler(model, tokenizer, frozenset({1}), cache_bytes=30_000), requests(), sampling)
    assert [c.tokens for c in cut] == [c.tokens for c in whole]


def test_bf16_keeps_rotary_frequencies_in_float32(tmp_path: Any) -> None:
    """Rounded frequencies turn positions beyond a few hundred by a radian."""
    from postlude.models.load import ModelSpec, load

    build("llama").save_pretrained(tmp_path)
    loaded = load(ModelSpec(str(tmp_path), dtype="bfloat16", device="cpu"))
    assert loaded.model.rotary_emb.inv_freq.dtype == torch.float32
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}


def test_half_precision_gradients_add_up_in_float32() -> None:
    model = LocalModel(build("llama").to(torch.bfloat16).train())
    model.choose_path()
    trainer = LocalTrainer(model, Optimizer(), 10_000)
    objective = ALGORITHMS["sft"].objective
    batch = objective.weigh(objective.advantages(probe_batch(VOCABULARY)))
    trainer.forward_backward(batch, objective)
    once = [p.grad.clone() for p in trainer._owned if p.grad is not None]
    for _ in range(63):
        trainer.forward_backward(batch, objective)
    for p, first in zip([p for p in trainer._owned if p.grad is not None], once, strict=True):
        torch.testing.assert_close(p.grad, 64 * first, rtol=1e-5, atol=1e-7)


def test_dropout_is_applied_in_packed_training_only() -> None:
    net = build("gpt2")
    net.train()
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
    model = LocalModel(net)
    model.choose_path()
    assert model.packed, model.reason
    batch = probe_batch(VOCABULARY)
    trainer = LocalTrainer(model, Optimizer(), 10_000)
    assert torch.equal(trainer.forward(batch, "policy").logprobs, trainer.forward(batch, "policy").logprobs)
    with torch.no_grad(), model.running(batch) as outputs:
        assert not torch.equal(outputs(False).logprobs, outputs(False).logprobs)


def test_the_fall_back_ignores_a_models_own_generation_settings(tokenizer: Any) -> None:
    model = local("gpt_neo")
    sampler = LocalSampler(model, tokenizer, frozenset({1}))
    plain = answers(sampler, requests(), Sampling(max_tokens=12))
    model.hf.generation_config.repetition_penalty = 5.0
    model.net.gradient_checkpointing_enable({"use_reentrant": False})
    again = answers(sampler, requests(), Sampling(max_tokens=12))
    assert [c.tokens for c in again] == [c.tokens for c in plain]
    assert model.hf.generation_config.repetition_penalty == 5.0
