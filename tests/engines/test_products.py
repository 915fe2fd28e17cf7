"""Products by either library, the written gradients of adapters and of the output layer: beside the plain ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from postlude.engines.local import direct, head, products
from postlude.engines.local.decode import LocalSampler
from postlude.engines.local.measuring import peak
from postlude.engines.local.model import LocalModel
from postlude.engines.protocol import Request
from postlude.engines.settings import Sampling
from tests.conftest import VOCABULARY, build
from tests.engines.test_parity import gradients, local, lora


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every product that oneDNN could do goes there, however small; on processors without it nothing changes."""
    monkeypatch.setattr(products, "WORTH", 0)


@pytest.fixture
def intel(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(products, "_maker", lambda: "GenuineIntel")
    products.serves.cache_clear()
    yield
    products.serves.cache_clear()


def material(dtype: torch.dtype = torch.float32, bias: bool = True) -> tuple[Tensor, Tensor, Tensor | None]:
    torch.manual_seed(0)
    x, weight = torch.randn(37, 24, dtype=dtype), torch.randn(50, 24, dtype=dtype)
    return x.requires_grad_(), weight.requires_grad_(), torch.randn(50, dtype=dtype).requires_grad_() if bias else None


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.usefixtures("always")
def test_products_and_their_gradients_are_torchs_own(bias: bool) -> None:
    x, weight, b = material(bias=bias)
    given = [t for t in (x, weight, b) if t is not None]
    goal = torch.randn(37, 50)
    found, expected = products.linear(x, weight, b), F.linear(x, weight, b)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    grads = zip(
        torch.autograd.grad((found * goal).sum(), given),
        torch.autograd.grad((expected * goal).sum(), given),
        strict=True,
    )
    for mine, theirs in grads:
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 5, 37])
@pytest.mark.usefixtures("always")
def test_a_packed_weight_multiplies_any_number_of_rows(rows: int, bias: bool) -> None:
    x, weight, b = (None if t is None else t.detach() for t in material(bias=bias))
    assert x is not None and weight is not None
    found = products.PackedWeight(weight, b)(x[:rows])
    torch.testing.assert_close(found, F.linear(x[:rows], weight, b), atol=2e-5, rtol=1e-5)


@pytest.mark.usefixtures("intel")
def test_where_mkl_is_as_good_nothing_changes() -> None:
    assert not products.serves()
    x, weight, b = material()
    assert torch.equal(products.linear(x, weight, b), F.linear(x, weight, b))


def test_products_in_other_precisions_are_torchs_own(always: None) -> None:
    for dtype in (torch.float64, torch.bfloat16):
        x, weight, b = (t.detach().to(dtype) for t in material() if t is not None)
        assert torch.equal(products.multiply(x, weight, b), F.linear(x, weight, b))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_an_adapters_written_gradient_is_the_automatic_one(dtype: torch.dtype, tolerance: float, always: None) -> None:
    x, weight, b = material(dtype)
    assert b is not None
    down, up = torch.randn(3, 24, dtype=dtype).requires_grad_(), torch.randn(50, 3, dtype=dtype).requires_grad_()
    frozen, bias = weight.detach(), b.detach()
    goal = torch.randn(37, 50, dtype=dtype)
    found = products.adapted(x, frozen, bias, down, up, 1.7)
    expected = F.linear(x, frozen, bias) + 1.7 * (x @ down.t() @ up.t())
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
    wanted = [x, down, up]
    pairs = zip(
        torch.autograd.grad((found * goal).sum(), wanted),
        torch.autograd.grad((expected * goal).sum(), wanted),
        strict=True,
    )
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, atol=10 * tolerance, rtol=tolerance)


# ------------------------------------------------------------------------------------------------- the output layer


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("chunk", [20, 9])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_output_layers_written_gradient_is_the_automatic_one(temperature: float, chunk: int, frozen: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, VOCABULARY, dtype=torch.float64).requires_grad_(not frozen)
    hidden = torch.randn(20, 16, dtype=torch.float64, requires_grad=True)
    targets, goal = torch.randint(VOCABULARY, (20,)), torch.randn(20, dtype=torch.float64)
    wanted = [hidden] if frozen else [hidden, layer.weight, layer.bias]
    results = []
    for given in (layer, None):
        logprobs, entropy = head.head_outputs(layer, hidden, targets, temperature, False, chunk, given)
        results.append((logprobs, entropy.detach(), *torch.autograd.grad((logprobs * goal).sum(), wanted)))
    for mine, plain in zip(*results, strict=True):
        torch.testing.assert_close(mine, plain, atol=1e-12, rtol=1e-10)


def test_the_output_layer_holds_the_logits_of_one_chunk_however_many_rows_there_are() -> None:
    layer = nn.Linear(8, 4000)

    def most(rows: int) -> int:
        hidden, targets = torch.zeros(rows, 8, requires_grad=True), torch.zeros(rows, dtype=torch.long)

        def forth_and_back() -> None:
            head.head_outputs(layer, hidden, targets, 1.0, False, 10, layer)[0].sum().backward()

        forth_and_back()
        return peak(forth_and_back, torch.device("cpu"))

    assert most(20) > 10 * 4000 * 4
    assert most(400) < 1.2 * most(20)


def test_a_second_backward_pass_computes_the_logits_again() -> None:
    layer, hidden = nn.Linear(16, VOCABULARY), torch.randn(20, 16, requires_grad=True)
    logprobs, _ = head.head_outputs(layer, hidden, torch.arange(20), 1.0, False, VOCABULARY, layer)
    first, second = (torch.autograd.grad(logprobs.sum(), hidden, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second)


def test_a_token_that_cannot_be_has_no_part_in_the_entropy() -> None:
    layer = nn.Linear(16, VOCABULARY)
    with torch.no_grad():
        layer.bias[7] = -float("inf")
    hidden, targets = torch.randn(20, 16), torch.arange(20) + 8
    for mine, plain in zip(
        head.head_outputs(layer, hidden, targets, 1.0, False, VOCABULARY, layer),
        head.head_outputs(layer, hidden, targets, 1.0, False, VOCABULARY),
        strict=True,
    ):
        assert mine.isfinite().all()
        torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-5)


def test_only_a_plain_output_layer_is_taken_for_one() -> None:
    assert local("llama").output is not None
    assert LocalModel(lora(build("llama"))).output is not None
    assert local("gemma2").output is None and local("granite").output is None, "soft cap; scaled logits"


# -------------------------------------------------------------------------------------------------- whole models


@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3"])
@pytest.mark.usefixtures("always")
def test_a_model_run_by_other_products_gives_the_padded_numbers(name: str, adapter: bool) -> None:
    fast = local(name) if not adapter else LocalModel(lora(build(name)))
    plain = local(name, packed=False) if not adapter else LocalModel(lora(build(name)))
    fast.choose_path()
    plain.choose_path(False)
    assert fast.direct is not None and not plain.packed
    logp, grads = gradients(fast)
    expected, expected_grads = gradients(plain)
    torch.testing.assert_close(logp, expected, atol=1e-5, rtol=0)
    assert grads.keys() == expected_grads.keys()
    for key, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[key], atol=2e-5, rtol=1e-4, msg=lambda m, k=key: f"{k}: {m}")


@pytest.mark.parametrize("name", ["llama", "qwen2", "llama_tied"])
def test_packed_weights_decode_as_the_model_itself(
    name: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, always: None
) -> None:
    model = local(name)
    requests = [Request((5, 6, 7, 8 + i), i) for i in range(5)]

    async def sampled() -> list[Any]:
        sampler = LocalSampler(model, tokenizer, frozenset({1}))
        found = {i: c async for i, c in sampler.sample(requests, Sampling(max_tokens=12))}
        return [found[i] for i in range(len(requests))]

    packed = asyncio.run(sampled())
    monkeypatch.setattr(products, "WORTH", 1 << 60)
    monkeypatch.setattr(direct, "COPIES_BELOW", 0)
    monkeypatch.setattr(direct, "PACKS_BELOW", 0)
    plain = asyncio.run(sampled())
    assert [c.tokens for c in packed] == [c.tokens for c in plain]
    for a, b in zip(packed, plain, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=2e-5)
