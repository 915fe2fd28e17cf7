"""From hidden states to log-probs and entropy, in chunks, without holding all logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from postlude.engines.local.products import multiply


def _scaled(logits: Tensor, temperature: float) -> Tensor:
    """Logits at a temperature, in float32 or wider."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return wide if temperature == 1 else wide / temperature


def logprobs_and_entropy(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """[N] log-prob of each target and [N] entropy of each row, in nats, from logits [N, V].

    Computed in float32 or wider from logits / temperature; the entropy is over the whole vocabulary.
    """
    scaled = _scaled(logits, temperature)
    normaliser = torch.logsumexp(scaled, dim=-1)
    logprobs = scaled.gather(1, targets.unsqueeze(1)).squeeze(1) - normaliser
    probabilities = (scaled - normaliser.unsqueeze(1)).exp()
    entropy = normaliser - torch.where(probabilities > 0, probabilities * scaled, 0).sum(dim=-1)
    return logprobs, entropy


def _without_entropy_gradient(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    scaled = _scaled(logits, temperature)
    normaliser = torch.logsumexp(scaled, dim=-1)
    logprobs = scaled.gather(1, targets.unsqueeze(1)).squeeze(1) - normaliser
    with torch.no_grad():
        log_p = scaled.detach() - normaliser.detach().unsqueeze(1)
        entropy = -torch.where(log_p > -100, log_p.exp() * log_p, 0).sum(dim=-1)
    return logprobs, entropy


class _TokenLogprobs(Function):
    """Log-probs and entropies of targets from hidden states, output layer included, with a written gradient.

    The automatic one reads and writes logits several times more often. Entropies have no gradient here. One chunk
    keeps its probabilities for the backward pass; of several each computes its logits again.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float, size: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.temperature, ctx.size, ctx.softmax = temperature, size, None
        logprobs: list[Tensor] = []
        entropies: list[Tensor] = []
        for rows, goal in zip(hidden.split(size), targets.split(size), strict=True):
            part = _Softmax(rows, weight, bias, goal, temperature)
            logprobs.append(part.logprobs)
            entropies.append(part.entropy)
            if len(hidden) <= size and any(ctx.needs_input_grad):
                ctx.softmax = part
            del part  # before the next is made: what several hold at once would grow with the batch
        return torch.cat(logprobs), torch.cat(entropies)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        softmax, ctx.softmax = ctx.softmax, None
        grad_hidden: list[Tensor] = []
        grad_weight = grad_bias = None
        for rows, goal, grad in zip(*(x.split(ctx.size) for x in (hidden, targets, grads[0])), strict=True):
            part = softmax or _Softmax(rows, weight, bias, goal, ctx.temperature)
            of_logits = part.gradient(grad).to(weight.dtype)
            del part
            softmax = None
            if wants_hidden:
                grad_hidden.append(multiply(of_logits, weight.t()))
            if wants_weight:
                more = multiply(of_logits.t(), rows.t())
                grad_weight = more if grad_weight is None else grad_weight.add_(more)
                del more
            if wants_bias:
                more = of_logits.sum(0)
                grad_bias = more if grad_bias is None else grad_bias.add_(more)
            del of_logits  # or it would stand beside the logits of the next chunk
        return torch.cat(grad_hidden) if wants_hidden else None, grad_weight, grad_bias, None, None, None


class _Softmax:
    """A chunk's softmax over the vocabulary, and what is read from it; `gradient` uses it up."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float
    ) -> None:
        logits = multiply(hidden, weight, bias)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if temperature != 1:
            logits /= temperature
        logits -= logits.amax(-1, keepdim=True)
        self._targets, self._temperature = targets.unsqueeze(1), temperature
        self._weights = logits.exp()
        self._total = self._weights.sum(-1, keepdim=True)
        normaliser = self._total.log().squeeze(1)
        self.logprobs = logits.gather(1, self._targets).squeeze(1) - normaliser
        self.entropy = normaliser - _dot(self._weights, logits) / self._total.squeeze(1)

    def gradient(self, grad: Tensor) -> Tensor:
        """[N, V] of the logits, from that of the log-probs [N]."""
        grad = grad.unsqueeze(1) / self._temperature
        of_logits = self._weights.mul_(-grad / self._total)
        return of_logits.scatter_add_(1, self._targets, grad)


def _dot(weights: Tensor, logits: Tensor) -> Tensor:
    """[N] sums of products over [N, V]; a weight of 0 counts nothing, whatever its logit is."""
    products = torch.bmm(weights.unsqueeze(1), logits.unsqueeze(2)).flatten()
    if bool(products.isfinite().all()):
        return products
    return torch.where(weights > 0, weights * logits, 0).sum(-1)


def head_outputs(
    head: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    temperature: float,
    entropy_gradient: bool = False,
    size: int = 0,
    layer: nn.Linear | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies [N] of targets [N] from hidden states [N, D], a chunk of rows at a time.

    `head` maps hidden states to final logits (cap, scale and bias included). Beyond `size` rows (0: any number) the
    chunks are recomputed in the backward pass, which keeps memory flat and costs about a fifth more head time.
    `layer` is given where `head` is that and nothing else.
    """
    if layer is not None and not entropy_gradient and hidden.shape[0]:
        rows = size or hidden.shape[0]
        return _TokenLogprobs.apply(hidden, layer.weight, layer.bias, targets, temperature, rows)  # type: ignore[return-value]
    compute = logprobs_and_entropy if entropy_gradient else _without_entropy_gradient

    def chunk(rows: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        return compute(head(rows), goal, temperature)

    n = hidden.shape[0]
    if not size or n <= size:
        return chunk(hidden, targets)
    pieces = [
        checkpoint(chunk, rows, goal, use_reentrant=False) if torch.is_grad_enabled() else chunk(rows, goal)
        for rows, goal in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    logprobs, entropies = zip(*pieces, strict=True)  # type: ignore[arg-type]
    return torch.cat(logprobs), torch.cat(entropies)
