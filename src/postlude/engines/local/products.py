"""Products of rows with weights, by the faster of the two libraries that torch brings.

Torch takes float32 products from MKL, which runs its AVX2 code on processors that are not Intel's. oneDNN uses AVX-512
there, in half the time and less: 91 against 206 GFLOP/s of one core at 640 rows of 576 -> 3072, and as much in both
products of the backward pass. Its operators are private to torch, so a trial decides whether they are there and right.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

WORTH = 1 << 20
"""Multiplications below which a product takes less time than oneDNN needs to begin."""
PACKED_FOR = 8
"""Rows that a packed weight is laid out for; other numbers, one apart, are as fast with it."""


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[N, O] of rows [N, I] and a weight [O, I], which may be a transposed view. Has no gradient of its own."""
    if _is_for_onednn(x, weight.numel()):
        return _onednn(x, weight, bias)
    return F.linear(x, weight, bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`multiply` with gradients."""
    if torch.is_grad_enabled() and _is_for_onednn(x, weight.numel()):
        return _Linear.apply(x, weight, bias)  # type: ignore[return-value]
    return multiply(x, weight, bias)


class _Linear(Function):
    """All three products by `multiply`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return multiply(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        (x, weight), (grad,) = ctx.saved_tensors, grads
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        return (
            multiply(grad, weight.t()) if wants_x else None,
            multiply(grad.t(), x.t()) if wants_weight else None,
            grad.sum(0) if wants_bias else None,
        )


def adapted(x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """[N, O] of rows [N, I] by a frozen weight [O, I] with a low-rank adapter, scale x up [O, r] down [r, I], on it."""
    return _Adapted.apply(x, weight, bias, down, up, scale)  # type: ignore[return-value]


class _Adapted(Function):
    """The adapter's share is added in place, where separate operations would make three more arrays [N, O]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        low = multiply(x, down)
        ctx.save_for_backward(x, weight, down, up, low)
        ctx.scale = scale
        return multiply(x, weight, bias).addmm_(low, up.t(), alpha=scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight, down, up, low), (grad,) = ctx.saved_tensors, grads
        of_low = multiply(grad, up.t()).mul_(ctx.scale)
        of_x = multiply(grad, weight.t()).addmm_(of_low, down) if ctx.needs_input_grad[0] else None
        of_down, of_up = multiply(of_low.t(), x.t()), multiply(grad.t(), low.t()).mul_(ctx.scale)
        return of_x, None, None, of_down, of_up, None


class PackedWeight:
    """A weight in the layout that its library reads fastest, for products of few rows without a gradient."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """`weight`: [O, I]. A copy is kept; what happens to it later is not seen."""
        self._bias, self._size = bias, weight.numel()
        self._packed: Tensor | None = None
        if _is_for_onednn(weight, PACKED_FOR * weight.shape[1]):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR)
        else:
            self._turned = weight.t().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """[N, O] of [N, I]."""
        if self._packed is not None:
            return _onednn(x, self._packed, self._bias)
        if _is_for_onednn(x, self._size):
            return _onednn(x, self._turned.t(), self._bias)
        return torch.mm(x, self._turned) if self._bias is None else torch.addmm(self._bias, x, self._turned)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _is_for_onednn(x: Tensor, size: int) -> bool:
    """Whether the product of rows with a weight of so many numbers is of a kind and size that oneDNN is faster in."""
    return x.dtype is torch.float32 and x.ndim == 2 and x.shape[0] * size >= WORTH and not x.is_cuda and serves()


@cache
def serves() -> bool:
    """Whether oneDNN's products are the faster ones here: an AVX-512 processor that is not Intel's."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkldnn.is_available():
        return False
    return _maker() != "GenuineIntel" and _gives_right_numbers()


def _maker() -> str:
    """Who made the processor, as it says itself; Intel where it does not, which leaves everything as torch has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "GenuineIntel"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "GenuineIntel")


@torch.no_grad()
def _gives_right_numbers() -> bool:
    """A trial of everything that is used: plain, packed and transposed weights, with and without a bias."""
    generator = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((24, 40), (56, 40), (56,)))
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_FOR)
        products = [_onednn(x, weight, bias), _onednn(x, packed, None), _onednn(x.t(), weight[:24].t(), None)]
    except (AttributeError, RuntimeError, TypeError):  # another version of torch
        return False
    expected = [x @ weight.t() + bias, x @ weight.t(), x.t() @ weight[:24]]
    return all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(products, expected, strict=True))
