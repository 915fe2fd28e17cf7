"""Each check fails where the engine is wrong: a fault of its kind is planted, in a model that was opened sound."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from postlude.batch import Batch, split
from postlude.engines.local import decode, direct, model, trainer
from postlude.engines.local.attention import Block
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.model import LocalModel
from postlude.engines.local.prefixes import PrefixCache
from postlude.models import adapters, fit, opening
from postlude.selftest import subject as subjects
from postlude.selftest.running import result
from postlude.selftest.subject import Setup, Subject, largest
from postlude.selftest.table import CHECKS

Plant = Callable[[pytest.MonkeyPatch], None]
FAULTS: dict[str, Plant] = {}
"""Name of a check -> what makes it fail."""


def fault(*names: str) -> Callable[[Plant], Plant]:
    def note(plant: Plant) -> Plant:
        FAULTS.update(dict.fromkeys(names, plant))
        return plant

    return note


@fault("micro-batches")
def a_mean_of_means(patch: pytest.MonkeyPatch) -> None:
    """Each pass is divided by its own tokens instead of all."""

    def cut(*args: Any, **kwargs: Any) -> Iterator[Batch]:
        parts = list(split(*args, **kwargs))
        for part in parts:
            assert part.policy_weight is not None
            share = part.policy_weight.sum() * len(parts)
            yield replace(part, policy_weight=part.policy_weight / share)

    patch.setattr(trainer, "split", cut)


@fault("step")
def half_of_the_passes_are_lost(patch: pytest.MonkeyPatch) -> None:
    def cut(*args: Any, **kwargs: Any) -> list[Batch]:
        parts = list(split(*args, **kwargs))
        return parts[: (len(parts) + 1) // 2]

    patch.setattr(trainer, "split", cut)


@fault("packed", "adapter-packed")
def a_token_sees_the_next_one(patch: pytest.MonkeyPatch) -> None:
    def allowed(self: Block, window: int | None) -> Tensor:
        distance = self.query_position[:, :, None] - self.key_position[:, None, :]
        seen = (distance >= -1) & (self.keys >= 0)[:, None, :]
        return (seen | (self.queries < 0)[:, :, None]).unsqueeze(1)

    patch.setattr(Block, "allowed", allowed)


@fault("padding")
def padding_is_seen(patch: pytest.MonkeyPatch) -> None:
    def allowed(self: Block, window: int | None) -> Tensor:
        distance = self.query_position[:, :, None] - self.key_position[:, None, :]
        return ((distance >= 0) | (self.queries < 0)[:, :, None]).unsqueeze(1)

    patch.setattr(Block, "allowed", allowed)


def repacked(patch: pytest.MonkeyPatch, change: Callable[[Batch], Batch]) -> None:
    real = subjects.pack
    patch.setattr(subjects, "pack", lambda *a, **k: change(real(*a, **k)))


@fault("shared-prompt")
def later_answers_stand_a_place_too_far(patch: pytest.MonkeyPatch) -> None:
    def shift(batch: Batch) -> Batch:
        first = torch.tensor([int(g) not in batch.sequence_group[:s] for s, g in enumerate(batch.sequence_group)])
        later = (batch.sequence >= 0) & ~first[batch.sequence.clamp(min=0)]
        return replace(batch, position=batch.position + later.long())

    repacked(patch, shift)


@fault("order")
def the_first_token_of_a_batch_is_not_trained(patch: pytest.MonkeyPatch) -> None:
    def unmask(batch: Batch) -> Batch:
        mask = batch.mask.clone()
        mask[mask.nonzero()[0]] = False
        return replace(batch, mask=mask)

    repacked(patch, unmask)


@fault("masked")
def every_token_is_trained(patch: pytest.MonkeyPatch) -> None:
    repacked(patch, lambda batch: replace(batch, mask=batch.predictor >= 0))


@fault("chunked-head")
def a_chunk_is_off(patch: pytest.MonkeyPatch) -> None:
    real = model.head_outputs

    def outputs(*args: Any) -> tuple[Tensor, Tensor]:
        logprobs, entropy = real(*args)
        return (logprobs * 1.05, entropy) if 0 < args[5] < len(args[1]) else (logprobs, entropy)

    patch.setattr(model, "head_outputs", outputs)


@fault("checkpointing")
def a_recomputed_layer_has_no_input_gradient(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(direct, "checkpoint", lambda run, x, *args, **how: run(x.detach(), *args))


@fault("decode", "adapter-decode")
def decoding_is_a_position_ahead(patch: pytest.MonkeyPatch) -> None:
    real = LocalModel.stepper

    def stepper(self: LocalModel) -> Any:
        hidden, head = real(self)
        return lambda tokens, position: hidden(tokens, position + 1), head

    patch.setattr(LocalModel, "stepper", stepper)


@fault("temperature")
def log_probs_are_of_temperature_1(patch: pytest.MonkeyPatch) -> None:
    real = decode.choose
    patch.setattr(decode, "choose", lambda logits, random, how: real(logits, random, replace(how, temperature=1.0)))


@fault("prefix-cache")
def kept_rows_are_too_large(patch: pytest.MonkeyPatch) -> None:
    real = PrefixCache.find
    patch.setattr(PrefixCache, "find", lambda self, tokens: [rows * 2 for rows in real(self, tokens)])


@fault("own-sampler")
def published_weights_are_not_copied(patch: pytest.MonkeyPatch) -> None:
    async def load(self: decode.LocalSampler, weights: Any) -> None:
        self.version = weights.version

    patch.setattr(decode.LocalSampler, "load", load)


@fault("saved")
def a_weight_is_read_wrong(patch: pytest.MonkeyPatch) -> None:
    real = fit.read

    def read(*args: Any, **kwargs: Any) -> Any:
        net = real(*args, **kwargs)
        next(net.parameters()).data[0, 0] += 1e-3
        return net

    patch.setattr(fit, "read", read)


def rewritten(patch: pytest.MonkeyPatch, name: str, key: str, value: Any) -> None:
    """Another value in a JSON file of every folder that is written."""
    real = LocalEngine.write

    def write(self: LocalEngine, folder: Path) -> None:
        real(self, folder)
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))

    patch.setattr(LocalEngine, "write", write)


@fault("transformers")
def the_config_says_another_model(patch: pytest.MonkeyPatch) -> None:
    rewritten(patch, "config.json", "rms_norm_eps", 0.1)


@fault("adapter-in-peft")
def the_adapters_config_says_another_scale(patch: pytest.MonkeyPatch) -> None:
    rewritten(patch, "adapter_config.json", "lora_alpha", 64)


@fault("resume", "adapter-resume")
def the_moments_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = LocalEngine.load

    async def load(self: LocalEngine, *args: Any) -> None:
        await real(self, *args)
        self.trainer.optimizer.state.clear()

    patch.setattr(LocalEngine, "load", load)


@fault("adapter-off")
def the_adapter_stays_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(adapters, "without_trained", lambda net: nullcontext())


@fault("adapter-saved")
def an_adapter_is_read_too_large(patch: pytest.MonkeyPatch) -> None:
    real = adapters.load

    def load(net: Any, *args: Any) -> None:
        real(net, *args)
        for name, p in net.named_parameters():
            p.data *= 1.001 if "lora_B" in name else 1.0

    patch.setattr(adapters, "load", load)


@fault("merged")
def a_merge_leaves_a_layer_out(patch: pytest.MonkeyPatch) -> None:
    real = opening.merged

    def merged(path: str, *args: Any) -> Any:
        whole = real(path, *args)
        base = opening.causal(adapters.base_path(path), merge=False)
        whole.net.get_parameter(LAYER).data.copy_(base.get_parameter(LAYER))
        return whole

    patch.setattr(opening, "merged", merged)


LAYER = "model.layers.0.self_attn.v_proj.weight"


def test_a_fault_is_planted_for_every_check() -> None:
    assert {*FAULTS} == {check.name for check in CHECKS}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_a_planted_fault_is_seen(
    check: Any, dtype: str, setup_of: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Subject.of(setup_of("qwen3", dtype), check.on == "adapter")
    FAULTS[check.name](monkeypatch)
    outcome = result(check, subject, time.monotonic())
    assert outcome.status == "FAILED"
    assert outcome.reason or outcome.differences[outcome.worst] > 1.5 * outcome.tolerances[outcome.worst]


def test_what_is_not_a_number_or_missing_is_no_agreement() -> None:
    nan = torch.tensor([float("nan"), 0.0])
    assert largest(nan, torch.zeros(2)) == float("inf")
    assert largest(torch.zeros(0), torch.zeros(0)) == float("inf")
    assert largest(torch.zeros(3), torch.zeros(2)) == float("inf")
    assert largest(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0])) == 0.5
