"""Llama-shaped models as plain functions over their own Hugging Face weights, for training and for decoding.

The modules of transformers spend most of a small step outside of matrix products. `Direct` reads the same parameters
and does the same arithmetic with a third of the operations. In training, adapters other than plain LoRA are called as
modules; decoding adds plain ones to its copy. It serves Llama, Mistral, Qwen2 and Qwen3; the self-check at load
compares it with the modules, which serve everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from postlude.engines.local.attention import Layout, Options, active
from postlude.engines.local.gathered import through
from postlude.engines.local.kernels import rms_norm, rotate, rotated, swiglu
from postlude.engines.local.products import PackedWeight, adapted, linear, multiply, serves
from postlude.sizing.activations import DIRECT as SERVED
from postlude.sizing.machine import COPIES_BELOW, PACKS_BELOW

STATIC_ROPE = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose angles do not depend on how long the sequence is."""

Projected = tuple[Tensor, Tensor, Tensor]


def unserved(hf: Any, config: Any) -> str:
    """Why a model cannot be run directly, from its config; empty where nothing speaks against it."""
    if config.model_type not in SERVED:
        return f"model type {config.model_type}"
    if config.hidden_act != "silu":
        return f"activation {config.hidden_act}"
    kind = hf.base_model.rotary_emb.__dict__.get("rope_type", "default")
    return "" if kind in STATIC_ROPE else f"rotary scaling {kind}"


@dataclass(frozen=True)
class _Block:
    """One decoder layer: four maps, two norms, and what its attention needs."""

    project: Callable[[Tensor, Tensor, Tensor], Projected]
    """x [T, D], cos, sin -> queries [T, H, d], keys and values [T, Hkv, d], turned by position."""
    out: Callable[[Tensor], Tensor]
    gate_up: Callable[[Tensor], tuple[Tensor, Tensor]]
    down: Callable[[Tensor], Tensor]
    norms: tuple[Tensor, Tensor]
    eps: float
    layer: int
    options: Options

    def __call__(self, x: Tensor, cos: Tensor, sin: Tensor, layout: Layout, rows: Tensor | None = None) -> Tensor:
        """[T, D] -> [T, D]; with `rows` [N], only what those rows become: the last layer owes the others nothing."""
        q, k, v = self.project(rms_norm(x, self.norms[0], self.eps), cos, sin)
        attended = layout.attend(self.layer, q, k, v, self.options).flatten(1)
        if rows is not None:
            x, attended = x.index_select(0, rows), attended.index_select(0, rows)
        x = x + self.out(attended)
        gate, up = self.gate_up(rms_norm(x, self.norms[1], self.eps))
        return x + self.down(swiglu(gate, up))


class Direct:
    """The hidden states of one model, computed from its live parameters."""

    def __init__(self, hf: Any) -> None:
        self._hf, self._body = hf, hf.base_model
        self._angles: Tensor | None = None

    def hidden(self, tokens: Tensor, position: Tensor, rows: Tensor) -> Tensor:
        """[N, D] last hidden states of `rows` [N] of a packed row; a layout must be active."""
        x = self._body.embed_tokens(tokens)
        self.reserve(int(position.max()) + 1 if position.numel() else 1)
        cos, sin = self.angles(position)
        layout = active()
        for i, module in enumerate(layers := self._body.layers, 1):
            wanted = rows if i == len(layers) else None
            x = through(module, partial(_run, module), x, cos, sin, layout, wanted)
        norm = self._body.norm
        return rms_norm(x, norm.weight, norm.variance_epsilon)

    def reserve(self, positions: int) -> None:
        """Make angles for at least so many positions."""
        weight = self._body.embed_tokens.weight
        if self._angles is not None and self._angles.shape[0] >= positions and self._angles.dtype == weight.dtype:
            return
        with torch.inference_mode(False), torch.no_grad():
            rows = torch.arange(max(256, 2 * positions), device=weight.device)
            self._angles = self._turns(rows, weight.dtype).unsqueeze(2).contiguous()

    def _turns(self, position: Tensor, dtype: torch.dtype) -> Tensor:
        """[T, 2, d] cosines and sines: the module's own, whose float32 is too coarse for a float64 model."""
        rotary = self._body.rotary_emb
        if dtype != torch.float64:
            cos, sin = rotary(torch.empty(0, dtype=dtype, device=position.device), position[None])
            return torch.stack([cos[0], sin[0]], 1)
        angle = (position[:, None] * _frequencies(rotary)).repeat(1, 2)
        return torch.stack([angle.cos(), angle.sin()], 1) * rotary.attention_scaling

    def angles(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [T, 1, d] of positions [T] that were reserved."""
        assert self._angles is not None
        cos, sin = self._angles[position].unbind(1)
        return cos, sin

    @property
    def copied(self) -> int:
        """Bytes of the copy that decoding makes of a small model; 0 of a large one."""
        params = list(self._body.layers.parameters())
        if sum(p.numel() for p in params) > _copied_below():
            return 0
        output = self._hf.get_output_embeddings()
        if serves() and output is not None:  # it is packed, too
            params.append(output.weight)
        return sum(p.numel() * p.element_size() for p in params)

    @torch.no_grad()
    def for_decoding(self) -> Stepper | None:
        """A fused copy of today's weights, of a small model, with LoRA adapters added in; None for all others."""
        plain = all(_is_one_weight(m) for layer in self._body.layers for m in _linears(layer))
        count = sum(p.numel() for p in self._body.layers.parameters())
        return Stepper(self) if plain and count <= _copied_below() else None


def _frequencies(rotary: Any) -> Tensor:
    """[d/2] radians per position in float64. The plain ones are computed anew: the last digit of the module's, which
    are in float32, depends on the processor."""
    known: Tensor = rotary.inv_freq
    if rotary.rope_type != "default":
        return known.double()
    pair = torch.arange(known.shape[0], dtype=torch.float64, device=known.device)
    return rotary.config.rope_parameters["rope_theta"] ** (-pair / known.shape[0])


def _copied_below() -> int:
    """Parameters of the layers up to which decoding copies them."""
    return PACKS_BELOW if serves() else COPIES_BELOW


def _linears(layer: Any) -> list[nn.Module]:
    a, m = layer.self_attn, layer.mlp
    return [a.q_proj, a.k_proj, a.v_proj, a.o_proj, m.gate_proj, m.up_proj, m.down_proj]


def _is_one_weight(module: Any) -> bool:
    """Whether a linear module acts as one matrix: it is one, or plain LoRA can be added to it without loss."""
    if type(module) is nn.Linear:
        return True
    if not hasattr(module, "get_delta_weight"):
        return False
    from peft.tuners.lora import Linear

    base = module.get_base_layer()
    exact = base.weight.dtype in (torch.float32, torch.float64)  # bf16 would lose the adapter's small steps
    bare = not (module.merged or module.lora_variant or any(module.lora_bias.values()))
    return type(module) is Linear and type(base) is nn.Linear and exact and bare


def _weight(module: Any) -> Tensor:
    """The matrix of a module that acts as one; without the adapter where that is switched off."""
    weight: Tensor = module.weight
    if type(module) is nn.Linear or module.disable_adapters:
        return weight
    for name in module.active_adapters:  # in their order: sums round by it
        if name in module.lora_A:
            weight = weight + module.get_delta_weight(name)
    return weight


def _options(attention: Any) -> Options:
    dropout = attention.attention_dropout if attention.training else 0.0
    holder = (
        attention if "sliding_window" in attention.__dict__ else attention.config
    )  # Mistral reads it from the config
    return Options(attention.scaling, holder.__dict__.get("sliding_window"), dropout=dropout)


def _live(module: Any) -> _Block:
    """A block over the layer's own weights, with gradients; adapters' modules are called as they are."""
    a, m = module.self_attn, module.mlp
    gate, up = mapped(m.gate_proj), mapped(m.up_proj)
    q_norm, k_norm = getattr(a, "q_norm", None), getattr(a, "k_norm", None)

    def project(x: Tensor, cos: Tensor, sin: Tensor) -> Projected:
        q, k, v = (mapped(part)(x).unflatten(1, (-1, a.head_dim)) for part in (a.q_proj, a.k_proj, a.v_proj))
        if q_norm is not None and k_norm is not None:
            q = rms_norm(q, q_norm.weight, q_norm.variance_epsilon)
            k = rms_norm(k, k_norm.weight, k_norm.variance_epsilon)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    norms = module.input_layernorm.weight, module.post_attention_layernorm.weight
    eps = module.input_layernorm.variance_epsilon
    return _Block(
        project,
        mapped(a.o_proj),
        lambda x: (gate(x), up(x)),
        mapped(m.down_proj),
        norms,
        eps,
        a.layer_idx,
        _options(a),
    )


def _run(module: Any, x: Tensor, cos: Tensor, sin: Tensor, layout: Layout, rows: Tensor | None) -> Tensor:
    """What a decoder layer makes of [T, D], as its block does; recomputed in the backward pass where that is asked."""
    block = _live(module)
    if not (module.gradient_checkpointing and torch.is_grad_enabled() and module.training):
        return block(x, cos, sin, layout, rows)
    return checkpoint(block, x, cos, sin, layout, rows, use_reentrant=False)  # type: ignore[no-any-return]


def mapped(module: Any) -> Callable[[Tensor], Tensor]:
    """What a linear module does to rows [N, I], with or without plain LoRA; other modules are called as they are."""
    if type(module) is nn.Linear:
        return lambda x: linear(x, module.weight, module.bias)
    adapter = _adapter(module)
    if adapter is None:
        return module
    base, down, up, scale = adapter
    if torch.is_grad_enabled():
        return lambda x: adapted(x, base.weight, base.bias, down, up, scale)
    return lambda x: multiply(x, base.weight, base.bias).addmm_(multiply(x, down), up.t(), alpha=scale)


def _adapter(module: Any) -> tuple[nn.Linear, Tensor, Tensor, float] | None:
    """(frozen layer, A, B, scale) of a module with one plain LoRA adapter that is on, all of one precision."""
    if not hasattr(module, "get_delta_weight") or not _is_one_weight(module) or module.disable_adapters:
        return None
    names = [name for name in module.active_adapters if name in module.lora_A]
    base = module.get_base_layer()
    if len(names) != 1 or base.weight.requires_grad or (base.bias is not None and base.bias.requires_grad):
        return None
    down, up = module.lora_A[names[0]].weight, module.lora_B[names[0]].weight
    plain = isinstance(module.lora_dropout[names[0]], nn.Identity) and down.dtype == up.dtype == base.weight.dtype
    return (base, down, up, module.scaling[names[0]]) if plain else None


class Stepper:
    """A copy of a small model's weights for one token per sequence: joined and transposed, for few and fast products.

    Made anew before every draw; it never sees a gradient.
    """

    def __init__(self, direct: Direct) -> None:
        self._direct, self._body = direct, direct._body
        self._blocks = [_fused(layer) for layer in self._body.layers]

    def hidden(self, tokens: Tensor, position: Tensor) -> Tensor:
        """[S, D] last hidden states of one token per sequence; a layout must be active."""
        x = self._body.embed_tokens(tokens)
        cos, sin = self._direct.angles(position)
        layout = active()
        for block in self._blocks:
            x = block(x, cos, sin, layout)
        norm = self._body.norm
        return rms_norm(x, norm.weight, norm.variance_epsilon)


def _joined(*modules: Any, scale: float = 1.0) -> Callable[[Tensor], Tensor]:
    """x -> the outputs of several linear modules side by side, the first one's times `scale`."""
    first, *rest = (_weight(m) for m in modules)
    weight = torch.cat([first * scale, *rest])
    if all(m.bias is None for m in modules):
        return PackedWeight(weight)
    first, *rest = (m.bias if m.bias is not None else m.weight.new_zeros(m.out_features) for m in modules)
    return PackedWeight(weight, torch.cat([first * scale, *rest]))


def _fused(module: Any) -> _Block:
    """A block over joined copies of the layer's weights; queries (times the attention's scale) and keys go together."""
    a, m = module.self_attn, module.mlp
    heads, kv = (linear.out_features // a.head_dim for linear in (a.q_proj, a.k_proj))
    q_norm, k_norm = getattr(a, "q_norm", None), getattr(a, "k_norm", None)
    folded = a.scaling if a.q_proj.weight.dtype in (torch.float32, torch.float64) else 1.0  # half precision would round
    both: Tensor | None = None
    if q_norm is not None and k_norm is not None:
        both = torch.cat([q_norm.weight.expand(heads, -1) * folded, k_norm.weight.expand(kv, -1)])
    qkv = _joined(a.q_proj, a.k_proj, a.v_proj, scale=folded if both is None else 1.0)
    gate_up = _joined(m.gate_proj, m.up_proj)
    eps = module.input_layernorm.variance_epsilon

    def project(x: Tensor, cos: Tensor, sin: Tensor) -> Projected:
        rows = qkv(x).view(x.shape[0], -1, a.head_dim)
        turned, v = rows.split_with_sizes((heads + kv, kv), 1)
        if both is not None:
            turned = rms_norm(turned, both, eps)
        q, k = rotated(turned, cos, sin).split_with_sizes((heads, kv), 1)
        return q, k, v

    return _Block(
        project,
        _joined(a.o_proj),
        lambda x: gate_up(x).chunk(2, 1),  # type: ignore[arg-type,return-value]
        _joined(m.down_proj),
        (module.input_layernorm.weight, module.post_attention_layernorm.weight),
        eps,
        a.layer_idx,
        replace(_options(a), scale=a.scaling / folded),
    )
