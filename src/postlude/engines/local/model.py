"""One Hugging Face model, run two ways: packed rows (fast), or plain padded rows (any architecture).

A self-check at load compares the two on a probe and decides; where they differ the plain path is used and said so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from postlude.batch import Batch, split
from postlude.engines.local.attention import NAME, Packed, attending
from postlude.engines.local.direct import Direct, mapped, unserved
from postlude.engines.local.gathered import through
from postlude.engines.local.head import head_outputs
from postlude.engines.local.probing import Counting, probe_batch, small_window
from postlude.engines.local.products import PackedWeight, serves
from postlude.engines.local.spans import place_in, sequence_table
from postlude.engines.local.threads import Workplace
from postlude.errors import EngineError
from postlude.models import adapters
from postlude.models.heads import HEAD
from postlude.objectives import Outputs
from postlude.sizing.work import CHUNK_ELEMENTS

LOGIT_TOLERANCE = {torch.float32: 5e-4, torch.float64: 5e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Difference of log-probs between the packed and the padded path that the self-check lets pass: the largest, or in half
precision, whose rounding is that coarse, the mean. The modules' norms and rotary angles are in float32 always, so a
float64 model is compared as finely as that."""
FROZEN_TOKENS = 16_384
"""Read at a time by models that do not train."""


@dataclass
class LocalModel:
    """A causal language model (with or without a PEFT adapter) and the way it is run."""

    net: nn.Module
    """What is trained: the Hugging Face model, or the PEFT model around it."""
    reads: Literal["logprobs", "scores", "values"] = "logprobs"
    """What comes out: log-probs of trained tokens, or numbers of a scalar head, at the ends of answers and steps
    (a reward model) or before every trained token (a critic)."""
    value_head: nn.Linear | None = None
    """A critic on the policy's own hidden states."""
    packed: bool = True
    reason: str = ""
    """Why the packed path is not used; empty where it is."""
    direct: Direct | None = None
    """The packed path without the modules' overhead, for the architectures it serves."""
    indirect: str = ""
    """Why a model that could be run directly is not; empty for all others."""
    head_chunk: int = 0
    """Tokens whose logits are held at a time; set from the vocabulary where it is 0."""
    precision: torch.dtype | None = None
    """Of its arithmetic, where its weights are held in another."""
    whole_bytes: int = 0
    """Of its weights as one process holds them, where several do."""
    layout: Callable[[Batch], Packed] = Packed
    """How a packed row attends: flex_attention on CUDA, where the check at load lets it."""

    def __post_init__(self) -> None:
        if not self.head_chunk and self.reads == "logprobs":
            self.head_chunk = max(1, CHUNK_ELEMENTS // self.vocabulary)

    @property
    def hf(self) -> Any:
        """The Hugging Face model itself, adapters injected."""
        return self.net.get_base_model() if hasattr(self.net, "get_base_model") else self.net  # type: ignore[operator]

    @property
    def config(self) -> Any:
        return self.hf.config.get_text_config()

    @property
    def device(self) -> torch.device:
        return next(self.net.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """That it computes in."""
        return self.precision or self.hf.get_input_embeddings().weight.dtype

    @property
    def weight_bytes(self) -> int:
        """Of all its weights, as one process holds them."""
        return self.whole_bytes or sum(p.numel() * p.element_size() for p in self.net.parameters())

    @property
    def path(self) -> Literal["direct", "packed", "padded"]:
        """The way it is run."""
        return "direct" if self.direct else "packed" if self.packed else "padded"

    @property
    def vocabulary(self) -> int:
        """Rows of the output layer."""
        return self.hf.get_output_embeddings().weight.shape[0]

    def head(self, hidden: Tensor) -> Tensor:
        """Final logits [N, V] of hidden states [N, D]: output layer, scale and soft cap."""
        config = self.config
        logits = mapped(self.hf.get_output_embeddings())(hidden)
        if "logit_scale" in config.__dict__ and config.logit_scale is not None:  # Cohere
            logits = logits * config.logit_scale
        if "logits_scaling" in config.__dict__ and config.logits_scaling is not None:  # Granite
            logits = logits / config.logits_scaling
        cap = config.__dict__.get("final_logit_softcapping")  # Gemma 2
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @property
    def output(self) -> nn.Linear | None:
        """The output layer, where `head` is that and nothing else."""
        layer = self.hf.get_output_embeddings()
        names = ("logit_scale", "logits_scaling", "final_logit_softcapping")
        if type(layer) is not nn.Linear or any(self.config.__dict__.get(name) is not None for name in names):
            return None
        return layer

    def hidden(self, tokens: Tensor, position: Tensor, rows: Tensor) -> Tensor:
        """[N, D] last hidden states of `rows` [N] of a packed row; a layout must be active."""
        if self.direct is not None:
            return self.direct.hidden(tokens, position, rows)
        out = self.hf.base_model(
            input_ids=tokens.unsqueeze(0),
            position_ids=position.unsqueeze(0),
            attention_mask=None,
            use_cache=False,
        )
        return out.last_hidden_state[0].index_select(0, rows)

    def stepper(self) -> tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """([S, D] last hidden states of one token per sequence, their logits [S, V]), with today's weights."""
        fused = None if self.direct is None else self.direct.for_decoding()
        if fused is not None:
            layer = self.output if serves() and self.dtype is torch.float32 else None
            return fused.hidden, self.head if layer is None else PackedWeight(layer.weight, layer.bias)
        return (
            lambda tokens, position: self.hidden(tokens, position, torch.arange(len(tokens), device=tokens.device))
        ), self.head

    def reserve(self, positions: int) -> None:
        """Prepare for sequences of so many tokens."""
        if self.direct is not None:
            self.direct.reserve(positions)

    def copy(self, net: nn.Module) -> LocalModel:
        """Another set of weights of the same architecture, run the same way."""
        other = LocalModel(
            net, self.reads, packed=self.packed, reason=self.reason, indirect=self.indirect, layout=self.layout
        )
        other.direct = None if self.direct is None else Direct(other.hf)
        return other

    @contextmanager
    def running(self, batch: Batch) -> Iterator[Callable[[bool], Outputs]]:
        """Yields `outputs(entropy_gradient)`; keep the context open through the backward pass."""
        if self.packed:
            with attending(self.layout(batch)):
                yield lambda entropy_gradient=False: self._whole(self._packed_outputs, batch, entropy_gradient)
        else:
            yield lambda entropy_gradient=False: self._whole(self._padded_outputs, batch, entropy_gradient)

    def _whole(self, run: Callable[[Batch, bool], Outputs], batch: Batch, entropy_gradient: bool) -> Outputs:
        """What is computed with the weights outside of the layers here; each layer sees to its own."""

        def columns() -> tuple[Tensor | None, ...]:
            outputs = run(batch, entropy_gradient)
            return outputs.logprobs, outputs.entropy, outputs.values, outputs.scores

        return Outputs(*through(self.hf, columns))

    def _packed_outputs(self, batch: Batch, entropy_gradient: bool) -> Outputs:
        rows, read = self._places(batch)
        hidden = self.hidden(batch.tokens, batch.position, read)
        if self.reads != "logprobs":
            return self._numbers(batch, rows, hidden)
        return self._finish(batch, rows, hidden, hidden, self.head, entropy_gradient, self.output)

    def _padded_outputs(self, batch: Batch, entropy_gradient: bool) -> Outputs:
        """Each sequence as a row of its own, prompt repeated, padded on the right."""
        table = sequence_table(batch)
        rows, _ = self._places(batch)
        row, column = place_in(table, batch)
        places = row[rows], column[rows] - (0 if self.reads == "scores" else 1)  # a last prompt row is everybody's
        inputs: dict[str, Any] = {
            "input_ids": batch.tokens[table.clamp(min=0)],
            "attention_mask": (table >= 0).long(),
            "use_cache": False,
        }
        if self.reads != "logprobs":
            return self._numbers(batch, rows, self.hf.base_model(**inputs).last_hidden_state[places])
        # not by its own hooks: where it is spread over ranks, what is around its layers has been gathered for this
        out = self.hf.forward(**inputs, output_hidden_states=self.value_head is not None)
        hidden = out.hidden_states[-1][places] if self.value_head is not None else None
        return self._finish(batch, rows, out.logits[places], hidden, lambda x: x, entropy_gradient)

    def _places(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[N] tokens that something is said about, and the rows whose hidden states say it."""
        if self.reads == "scores":
            return batch.judged, batch.judged
        rows = batch.mask.nonzero().squeeze(1)
        return rows, batch.predictor[rows]

    def _numbers(self, batch: Batch, rows: Tensor, hidden: Tensor) -> Outputs:
        """Numbers of the scalar head, computed in its own precision (at least float32), at `rows` of [T]."""
        numbers = _apply(self.hf.get_submodule(HEAD), hidden)
        spread = numbers.new_zeros(batch.tokens.shape[0]).index_copy(0, rows, numbers)
        return Outputs(scores=spread) if self.reads == "scores" else Outputs(values=spread)

    def _finish(
        self,
        batch: Batch,
        rows: Tensor,
        source: Tensor,
        hidden: Tensor | None,
        head: Callable[[Tensor], Tensor],
        entropy_gradient: bool,
        layer: nn.Linear | None = None,
    ) -> Outputs:
        logp, entropy = head_outputs(
            head, source, batch.tokens[rows], batch.temperature, entropy_gradient, self.head_chunk, layer
        )
        empty = logp.new_zeros(batch.tokens.shape[0])
        values = None
        if self.value_head is not None and hidden is not None:
            values = empty.index_copy(0, rows, _apply(self.value_head, hidden).to(empty.dtype))
        return Outputs(empty.index_copy(0, rows, logp), empty.index_copy(0, rows, entropy), values)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Without dropout; put back into train mode afterwards (gradient checkpointing wants it)."""
        before = self.net.training
        self.net.eval()
        try:
            yield
        finally:
            self.net.train(before)

    @contextmanager
    def plain(self) -> Iterator[None]:
        """Run the model with its own attention instead of the packed one."""
        if not self.packed:
            yield
            return
        self.hf.set_attn_implementation(self._own_attention())
        try:
            yield
        finally:
            self.hf.set_attn_implementation(NAME)

    def _own_attention(self) -> str:
        # PyTorch's fused attention has no soft cap, and some versions of transformers drop it in silence
        capped = self.config.__dict__.get("attn_logit_softcapping") is not None
        return "sdpa" if type(self.hf)._supports_sdpa and not capped else "eager"

    def without_adapter(self) -> Any:
        """Context in which the adapter is off; refuses a model that has none."""
        if not hasattr(self.net, "disable_adapter"):
            raise EngineError("this model has no adapter to switch off", code="not-supported")
        return adapters.without_trained(self.net)

    def choose_path(self, allow_packed: bool = True) -> None:
        """Decide by a probe: directly, packed through the modules, or padded; `indirect` and `reason` say why."""
        self.packed, self.direct = False, None
        self.reason = _unsupported(self.hf, self.config) if allow_packed else "switched off"
        probed = not self.reason
        if probed:
            other = unserved(self.hf, self.config)
            self.indirect = "" if other else self._probe(Direct(self.hf))
            if other or self.indirect:
                self.reason = self._probe(None)
            else:
                self.direct = Direct(self.hf)
        self.packed = not self.reason
        self.hf.set_attn_implementation(NAME if self.packed else self._own_attention())
        if not probed:
            self._require_finite()
        if self.packed and self.device.type == "cuda":
            self._choose_layout()

    def fall_back(self, path: Literal["direct", "packed", "padded"], reason: str) -> None:
        """Run it in a slower way than was chosen."""
        if path == self.path:
            return
        self.direct = None
        if path == "packed":
            self.indirect = reason
            return
        self.packed, self.reason = False, reason
        self.hf.set_attn_implementation(self._own_attention())

    def _choose_layout(self) -> None:
        """flex_attention where it compiles here and gives the log-probs and gradients of masked attention."""
        from postlude.engines.local.flex import FlexPacked

        def outcome(layout: Callable[[Batch], Packed]) -> tuple[Tensor, Tensor]:
            batch = probe_batch(self.config.vocab_size).to(self.device)
            self.layout = layout
            with self.evaluating(), self.running(batch) as outputs:
                main = self._main(outputs(False))
                (gradient,) = torch.autograd.grad(main.sum(), [next(p for p in trained)])
            return main.detach(), gradient.float()

        trained = [p for p in self.net.parameters() if p.requires_grad]
        plain = outcome(Packed)
        try:
            flex = outcome(FlexPacked)
        except Exception:  # compilation fails in many ways; masked attention serves all of them
            self.layout = Packed
            return
        half = self.dtype in (torch.bfloat16, torch.float16)
        apart = [float((a - b).norm() / (b.norm() + 1e-9)) for a, b in zip(flex, plain, strict=True)]
        self.layout = FlexPacked if max(apart) < (0.05 if half else 1e-3) else Packed

    @torch.no_grad()
    def _probe(self, direct: Direct | None) -> str:
        """Empty where packed and padded agree on a probe longer than the (shrunk) sliding window."""
        batch = probe_batch(self.config.vocab_size).to(self.device)
        with small_window(self.hf, self.config), self.evaluating():
            self.hf.set_attn_implementation(self._own_attention())
            padded = self._finite(self._padded_outputs(batch, False))
            self.hf.set_attn_implementation(NAME)
            calls = Counting(Packed(batch))
            self.direct = direct
            try:
                with attending(calls):
                    packed = self._main(self._packed_outputs(batch, False))
            except EngineError as error:
                return str(error)
            finally:
                self.direct = None
        if calls.layers != set(range(self.config.num_hidden_layers)):
            return f"{type(self.hf).__name__} does not use the registered attention in every layer"
        difference = (packed - padded)[batch.mask].abs()
        half = self.dtype in (torch.bfloat16, torch.float16)
        worst = float(difference.mean() if half else difference.max())
        limit = LOGIT_TOLERANCE.get(self.dtype, 1e-4)
        return "" if worst <= limit else f"packed and padded {self.reads} differ by {worst:.1e} (limit {limit:.0e})"

    @torch.no_grad()
    def _require_finite(self) -> None:
        """Raise EngineError where the model answers a probe with numbers that are none."""
        with self.evaluating():
            self._finite(self._padded_outputs(probe_batch(self.config.vocab_size).to(self.device), False))

    def _finite(self, outputs: Outputs) -> Tensor:
        """[T] what this model is there to say; an EngineError where any of it is NaN or infinite."""
        numbers = self._main(outputs)
        bad = int((~torch.isfinite(numbers)).sum())
        if bad:
            raise EngineError(
                f"{bad} of {numbers.numel()} {self.reads} of a first try of {type(self.hf).__name__} in {self.dtype} "
                "are NaN or infinite, though its weights are not. Take another engine.dtype, or another model.",
                code="not-finite",
            )
        return numbers

    def _main(self, outputs: Outputs) -> Tensor:
        """[T] what this model is there to say."""
        numbers = {"logprobs": outputs.logprobs, "scores": outputs.scores, "values": outputs.values}[self.reads]
        assert numbers is not None
        return numbers


def _apply(head: nn.Module, hidden: Tensor) -> Tensor:
    """[N] numbers of a linear map [D -> 1], in the map's precision."""
    return head(hidden.to(next(head.parameters()).dtype)).squeeze(-1)


def _unsupported(hf: Any, config: Any) -> str:
    """Why an architecture cannot run packed, from its config alone; empty where nothing speaks against it."""
    kinds = set(config.__dict__.get("layer_types") or ()) - {"full_attention", "sliding_attention"}
    if kinds:
        return f"layers of kind {', '.join(sorted(kinds))}"
    if any(isinstance(module, nn.Conv1d) for module in hf.base_model.modules()):
        return "convolutions mix tokens beside its attention"  # a small one would pass the probe
    if not hf._can_set_attn_implementation():
        return f"{type(hf).__name__} does not take a registered attention function"
    return ""


def without_dropout(net: nn.Module) -> None:
    """Set every dropout to 0: with it, step-0 ratios are not 1. Modules stay in train mode."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in list(module.__dict__.items()):
            if isinstance(value, float) and ("dropout" in name or name.endswith("pdrop")):
                setattr(module, name, 0.0)


@torch.no_grad()
def read_frozen(model: LocalModel, batch: Batch, pick: Callable[[Outputs], Tensor | None]) -> Tensor:
    """[T] what a model gives at the trained rows, 0 elsewhere, some tokens at a time; for models that are only read."""
    result = torch.zeros(batch.tokens.shape[0], dtype=torch.promote_types(model.dtype, torch.float32))
    numbered = replace(batch, rows=torch.arange(batch.tokens.shape[0]))
    workplace = Workplace.of(model.net)
    for part in split(numbered, FROZEN_TOKENS, keeps_groups=False, shares_prompts=model.packed):
        micro = part.to(model.device)
        with workplace, model.running(micro) as outputs:
            numbers = pick(outputs(False))
        assert numbers is not None and part.rows is not None
        result[part.rows[part.mask]] = numbers[micro.mask].to(result.dtype).cpu()
    return result
