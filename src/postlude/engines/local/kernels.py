"""Three operations of a transformer block with written gradients: the automatic ones read memory far more often."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    """[..., 1] of x [..., D]; few operations, since each costs more than its arithmetic on a small batch."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    if x.is_cuda:  # a number as a tensor would wait for the device
        return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()
    return torch.addcmul(_constant(eps, norm.dtype), norm, norm, value=1 / x.shape[-1]).rsqrt_()


@cache
def _constant(number: float, dtype: torch.dtype) -> Tensor:
    """A number as a tensor on the CPU; making one costs as much as an operation on a small batch."""
    with torch.inference_mode(False):
        return torch.tensor(number, dtype=dtype)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class _RMSNorm(Function):
    """weight * x / sqrt(mean(x^2) + eps) over the last axis, computed in float32 or wider."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = _wide(x)
        inverse = _inverse_rms(wide, eps)
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        wide, grad, scale = _wide(x), _wide(grads[0]), _wide(weight)
        product = grad * wide
        grad_weight = None
        if ctx.needs_input_grad[1]:
            rows = product.reshape(-1, x.shape[-1])
            grad_weight = (inverse.reshape(1, -1) @ rows).reshape(weight.shape).to(weight.dtype)
        along = (product @ scale).unsqueeze(-1) * inverse.pow(3) / x.shape[-1]
        grad_x = (grad * scale).mul_(inverse).addcmul_(wide, along, value=-1)
        return grad_x.to(x.dtype), grad_weight, None


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm of x [..., D] with weight [..., D], rounding where the Hugging Face modules round.

    The gradient is for a weight [D] alone.
    """
    if torch.is_grad_enabled():
        return _RMSNorm.apply(x, weight, eps)  # type: ignore[return-value]
    wide = _wide(x)
    return (wide * _inverse_rms(wide, eps)).to(x.dtype).mul_(weight)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[T, H, D] with pairs (i, i + D/2) turned by the angles whose cosine and sine are [T, 1, D], each twice."""
    half = x.shape[-1] // 2
    if x.shape[0] > 512:  # a large x is read as few times as can be, a small one costs per operation
        out = torch.empty_like(x)
        a, b, c, s = x[..., :half], x[..., half:], cos[..., :half], sin[..., :half]
        torch.mul(a, c, out=out[..., :half]).addcmul_(b, s, value=-1)
        torch.mul(b, c, out=out[..., half:]).addcmul_(a, s)
        return out
    a, b = x.chunk(2, -1)
    return torch.addcmul(x * cos, torch.cat([-b, a], -1), sin)


class _Rotate(Function):
    """Turning forth in the forward pass, back in the backward pass; nothing of x is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return rotated(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return rotated(grads[0], cos, -sin), None, None


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`rotated` with a gradient for x."""
    return _Rotate.apply(x, cos, sin) if torch.is_grad_enabled() else rotated(x, cos, sin)  # type: ignore[return-value]


class _SwiGLU(Function):
    """silu(gate) * up; silu(gate) is computed again in the backward pass rather than kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = torch.ops.aten.silu_backward(grads[0] * up, gate)
        return grad_gate, F.silu(gate).mul_(grads[0])


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """The gated activation of Llama's feed-forward block, [T, I] from two of them."""
    return _SwiGLU.apply(gate, up) if torch.is_grad_enabled() else F.silu(gate).mul_(up)  # type: ignore[return-value]
