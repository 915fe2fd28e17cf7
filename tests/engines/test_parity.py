"""Every fast path beside the plain one: packed against padded, cached decoding against `generate`."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

import pytest
import torch

from postlude.algorithms import ALGORITHMS
from postlude.batch import split
from postlude.engines.local import decode, direct, kernels
from postlude.engines.local.attention import Packed
from postlude.engines.local.cache import token_bytes
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.model import LocalModel, probe_batch, without_dropout
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.protocol import Request
from postlude.engines.settings import Optimizer, Sampling
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


def test_chunked_head_equals_the_whole_one() -> None:
    _, expected = gradients(local("llama"))
    chunked = local("llama")
    chunked.head_chunk = 5
    _, got = gradients(chunked)
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
    whole = LocalTrainer(model, Optimizer(), 10_000).outputs(batch, "policy").logprobs
    parts = LocalTrainer(model, Optimizer(), 25).outputs(batch, "policy").logprobs
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
    logprobs = trainer.outputs(together, "policy").logprobs[together.mask]
    alone = [pack([row]) for row in rows]
    expected = torch.cat([trainer.outputs(b, "policy").logprobs[b.mask] for b in alone])
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
    before = [m.clone() for m in trainer.parts["policy"].owned]
    for _ in range(4):
        trainer.forward_backward(batch, objective)
        trainer.step(1e-5)  # far below the resolution of bf16 at these weights
    moved = max(float((m - b).abs().max()) for m, b in zip(trainer.parts["policy"].owned, before, strict=True))
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


@pytest.mark.parametrize("shared_beyond", [0, 1000], ids=["prompt per group", "prompt per sequence"])
@pytest.mark.parametrize("name", PACKED)
def test_cached_decoding_equals_generate(
    name: str, shared_beyond: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "SHARED_BEYOND", shared_beyond)
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
    logp = LocalTrainer(model, Optimizer(), 10_000).outputs(batch, "policy").logprobs
    torch.testing.assert_close(logp[batch.mask], batch.rollout_logprobs[batch.mask], atol=2e-5, rtol=0)


def test_an_answer_does_not_depend_on_its_neighbours(tokenizer: Any) -> None:
    sampler = LocalSampler(local("llama"), tokenizer, frozenset({1, 9}))
    sampling = Sampling(max_tokens=16)
    together = answers(sampler, requests(), sampling)
    for i, alone in enumerate(requests()):
        assert answers(sampler, [alone], sampling)[0].tokens == together[i].tokens


@pytest.mark.parametrize("shared_beyond", [0, 1000], ids=["prompt per group", "prompt per sequence"])
@pytest.mark.parametrize("name", ["qwen3", "mistral", "gemma2"])
def test_a_small_cache_budget_changes_no_answer(
    name: str, shared_beyond: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New requests, longer prompts among them, take the place of finished ones in the middle of decoding."""
    monkeypatch.setattr(decode, "SHARED_BEYOND", shared_beyond)
    model = local(name)
    sampling = Sampling(max_tokens=30)
    wanted = requests(6, 3)
    whole = answers(LocalSampler(model, tokenizer, frozenset({1, 7, 9, 20})), wanted, sampling)
    for tokens in (80, 140, 300):
        sampler = LocalSampler(model, tokenizer, frozenset({1, 7, 9, 20}))
        sampler.cache_bytes = tokens * token_bytes(sampler.model)
        cut = answers(sampler, wanted, sampling)
        assert [c.tokens for c in cut] == [c.tokens for c in whole]
        for a, b in zip(cut, whole, strict=True):
            torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=2e-5, rtol=0)


@pytest.mark.parametrize("shared_beyond", [0, 1000], ids=["prompt per group", "prompt per sequence"])
def test_the_cache_stays_within_its_budget(shared_beyond: int, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times columns, at every step, however long finished answers wait to leave."""
    monkeypatch.setattr(decode, "SHARED_BEYOND", shared_beyond)
    sampler = LocalSampler(local("qwen3"), tokenizer, frozenset({1, 7, 9, 20}))
    wanted = [Request(tuple(range(3, 23)), seed=i) for i in range(40)]
    for tokens in (100, 300, 900):
        sampler.cache_bytes = tokens * token_bytes(sampler.model)
        flow = decode._Flow(sampler, wanted, Sampling(max_tokens=24))
        with torch.inference_mode():
            while flow.advance():
                for trace, token in zip(flow.traces, flow.drawn[0], strict=True):
                    if trace.stop is None:
                        trace.tokens.append(token)
                        if token in sampler.stop_ids or len(trace.tokens) == 24:
                            trace.stop = "eos"
                columns = max((k.shape[2] for k in flow._layout._keys.values()), default=0)
                held = len(flow.traces) * columns + flow._layout.prompt_tokens
                assert held <= tokens


def test_finished_answers_that_wait_do_not_run_out_of_positions(tokenizer: Any) -> None:
    """Their position goes on until enough others have finished; the table of angles reaches that far."""
    model = local("llama")
    model.reserve(100)
    sampler = LocalSampler(model, tokenizer, frozenset())
    sampler.cache_bytes = 8 * 260 * token_bytes(sampler.model)
    wanted = [Request(tuple(range(3, 23)), seed=i) for i in range(14)]
    found = answers(sampler, wanted, Sampling(max_tokens=180))
    assert all(len(c.tokens) == 180 for c in found)


def test_requests_enter_while_others_are_decoded(tokenizer: Any) -> None:
    """The cache is filled up again as soon as a quarter of it is free, not once it is empty."""
    sampler = LocalSampler(local("qwen3"), tokenizer, frozenset({1, 7, 9, 20}))
    sampler.cache_bytes = 250 * token_bytes(sampler.model)
    flow = decode._Flow(sampler, requests(6, 3), Sampling(max_tokens=30))
    seen: list[tuple[int, int]] = []
    with torch.inference_mode():
        while flow.advance():
            for trace, token in zip(flow.traces, flow.drawn[0], strict=True):
                trace.tokens.append(token)
                if trace.stop is None and (token in sampler.stop_ids or len(trace.tokens) == 30):
                    trace.stop = "eos"
            ages = [len(t.tokens) for t in flow.traces]
            seen.append((min(ages), max(ages)))
    assert any(low < high for low, high in seen)


@pytest.mark.parametrize("name", ["qwen3", "mistral", "gemma2", "llama"])
def test_flex_attention_sees_what_masked_attention_sees(name: str) -> None:
    """The mask of the CUDA path, whose forward pass also runs here: shared prompts, windows, soft caps."""
    from postlude.engines.local.flex import FlexPacked

    model = local(name)
    batch = probe_batch(VOCABULARY)
    found = []
    for layout in (Packed, FlexPacked):
        model.layout = layout
        with torch.no_grad(), model.running(batch) as outputs:
            found.append(outputs(False).logprobs)
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", PACKED)
def test_cuda_gives_the_log_probs_and_gradients_of_the_cpu(name: str) -> None:
    expected_logp, expected = gradients(local(name))
    net = build(name).to("cuda")
    without_dropout(net)
    model = LocalModel(net.train())
    model.choose_path()
    objective = ALGORITHMS["sft"].objective
    batch = objective.weigh(objective.advantages(probe_batch(VOCABULARY))).to("cuda")
    with model.running(batch) as outputs:
        result = outputs(False)
        objective.loss(batch, result).total.backward()
    torch.testing.assert_close(result.logprobs.detach().cpu(), expected_logp, atol=1e-4, rtol=0)
    for n, p in model.net.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(p.grad.cpu(), expected[n], atol=1e-3, rtol=1e-2)


DIRECT = ["llama", "mistral", "qwen2", "qwen3"]


def test_direct_checkpoints_its_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = direct.checkpoint

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return real(*args, **kwargs)

    model = local("qwen3")
    expected_logp, expected = gradients(model)
    monkeypatch.setattr(direct, "checkpoint", counted)
    model.hf.gradient_checkpointing_enable({"use_reentrant": False})
    logp, grads = gradients(model)
    assert len(calls) == model.config.num_hidden_layers
    torch.testing.assert_close(logp, expected_logp)
    assert grads.keys() == expected.keys()
    for n, g in expected.items():
        torch.testing.assert_close(grads[n], g)


@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
def test_direct_in_bf16_rounds_like_the_modules(name: str, tokenizer: Any) -> None:
    net = build(name).to(torch.float32)
    for p in net.parameters():
        p.data = p.data.bfloat16()
    without_dropout(net)
    model = LocalModel(net.train())
    model.choose_path()
    assert model.direct is not None
    logp, grads = gradients(model)
    sampler = LocalSampler(model, tokenizer, frozenset({1}))
    found = answers(sampler, requests(), Sampling(max_tokens=12))
    model.direct = None
    plain_logp, plain = gradients(model)
    assert float((logp - plain_logp).abs().mean()) < 0.02
    for n, g in plain.items():
        assert float((grads[n] - g).float().norm()) < 0.05 * float(g.float().norm()) + 1e-3, n
    again = answers(sampler, requests(), Sampling(max_tokens=12))
    same = [a.tokens == b.tokens for a, b in zip(found, again, strict=True)]
    assert sum(same) >= len(same) // 2  # rounding may flip a token here and there


@pytest.mark.parametrize("name", PACKED)
def test_direct_serves_the_architectures_it_names(name: str) -> None:
    assert (local(name).direct is not None) == (name.split("_")[0] in DIRECT)


@pytest.mark.parametrize("adapted", [False, True], ids=["all weights", "lora"])
@pytest.mark.parametrize("name", DIRECT)
def test_direct_equals_the_modules_in_log_probs_and_gradients(name: str, adapted: bool) -> None:
    net = lora(build(name)) if adapted else build(name)
    without_dropout(net)
    model = LocalModel(net.train())
    model.choose_path()
    assert model.direct is not None
    logp, grads = gradients(model)
    model.direct = None
    expected_logp, expected = gradients(model)
    torch.testing.assert_close(logp, expected_logp, atol=1e-5, rtol=1e-5)
    assert grads.keys() == expected.keys()
    for n, g in expected.items():
        torch.testing.assert_close(grads[n], g, atol=1e-5 * float(g.abs().max() + 1e-6), rtol=1e-4)


@pytest.mark.parametrize("adapter", [None, "on", "off"])
@pytest.mark.parametrize("name", DIRECT)
def test_the_fused_copy_decodes_as_the_model_itself(
    name: str, adapter: str | None, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = local(name) if adapter is None else LocalModel(lora(build(name)))
    model.choose_path()
    assert model.direct is not None and model.direct.for_decoding() is not None
    if adapter == "off":
        model.net.base_model.disable_adapter_layers()
    sampler = LocalSampler(model, tokenizer, frozenset({1}))
    fused = answers(sampler, requests(), Sampling(max_tokens=20))
    monkeypatch.setattr(direct, "COPIES_BELOW", 0)
    plain = answers(sampler, requests(), Sampling(max_tokens=20))
    assert [c.tokens for c in fused] == [c.tokens for c in plain]
    for a, b in zip(fused, plain, strict=True):
        torch.testing.assert_close(torch.tensor(a.logprobs), torch.tensor(b.logprobs), atol=2e-5, rtol=0)


@pytest.mark.parametrize("change", ["half", "dora", "bias"])
def test_an_adapter_that_cannot_be_added_exactly_is_not_fused(change: str) -> None:
    from peft import LoraConfig, get_peft_model

    net = build("llama").bfloat16() if change == "half" else build("llama")
    kinds = {"use_dora": change == "dora", "lora_bias": False}
    net = get_peft_model(net, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **kinds))
    if change == "bias":
        for module in net.modules():
            if hasattr(module, "lora_bias"):
                module.lora_bias["default"] = True
    assert direct.Direct(LocalModel(net).hf).for_decoding() is None


def test_written_gradients_equal_automatic_ones() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 3, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, dtype=torch.float64, requires_grad=True)
    angle = torch.randn(5, 1, 4, dtype=torch.float64)
    cos, sin = (torch.cat([f(angle), f(angle)], -1) for f in (torch.cos, torch.sin))
    assert torch.autograd.gradcheck(lambda x, w: kernels.rms_norm(x, w, 1e-3), (x, weight))
    assert torch.autograd.gradcheck(lambda x: kernels.rotate(x, cos, sin), (x,))
    assert torch.autograd.gradcheck(kernels.swiglu, (x, x.detach().flip(0).requires_grad_()))
    wide = torch.randn(600, 3, 8)
    parts = torch.cat([kernels.rotated(p, cos[:1].float(), sin[:1].float()) for p in wide.split(100)])
    torch.testing.assert_close(kernels.rotated(wide, cos[:1].float(), sin[:1].float()), parts)


def test_bf16_keeps_rotary_frequencies_in_float32(tmp_path: Any) -> None:
    """Rounded frequencies turn positions beyond a few hundred by a radian."""
    from postlude.models.load import load
    from postlude.models.spec import Holding, ModelSpec

    build("llama").save_pretrained(tmp_path)
    loaded = load(ModelSpec(str(tmp_path)), Holding("bfloat16", "cpu"))
    assert loaded.model.rotary_emb.inv_freq.dtype == torch.float32
    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}


def test_half_precision_gradients_add_up_in_float32() -> None:
    model = LocalModel(build("llama").to(torch.bfloat16).train())
    model.choose_path()
    trainer = LocalTrainer(model, Optimizer(), 10_000)
    objective = ALGORITHMS["sft"].objective
    batch = objective.weigh(objective.advantages(probe_batch(VOCABULARY)))
    trainer.forward_backward(batch, objective)
    once = [p.grad.clone() for p in trainer.parts["policy"].owned if p.grad is not None]
    for _ in range(63):
        trainer.forward_backward(batch, objective)
    for p, first in zip([p for p in trainer.parts["policy"].owned if p.grad is not None], once, strict=True):
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
    assert torch.equal(trainer.outputs(batch, "policy").logprobs, trainer.outputs(batch, "policy").logprobs)
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
