"""An adapter's weights added to those of its model, and the sum compared with the adapter before it is used."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from postlude.errors import EngineError
from postlude.models import adapters
from postlude.models.fit import PREFIX, require_finite

TOLERANCE = 1e-3
"""Largest difference of a log-prob, or of a score, that merging in float32 may make."""
PROBE = 32
"""Tokens that both are asked about."""


@dataclass(frozen=True)
class Merged:
    """A whole model, and how it came about."""

    net: Any
    difference: float
    """Of its log-probs (or score) from those with the adapter, the largest on a probe."""
    untied: bool
    """Whether a matrix that the model shared between two places had to become two."""


def merge(net: Any, folder: str) -> Merged:
    """A folder's adapter merged into its model, in the model's precision.

    Raises ConfigError where the adapter is not this model's, EngineError where the merged model says something else.
    """
    adapted = adapters.opened(net, folder)
    require_finite(adapted, folder)
    ids = _probe_ids(net, adapted.peft_config[adapters.NEW])
    expected = _said(adapted, ids)
    shared = _untie(adapted)
    try:
        with warnings.catch_warnings(action="ignore"):  # of shared matrices, which are parted by now
            whole = adapted.merge_and_unload()
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise EngineError(f"{folder}: this adapter cannot be merged: {error}", code="adapter-cannot-merge") from error
    untied = _settle(whole, shared)
    difference = float((_said(whole, ids) - expected).abs().max())
    if not difference <= TOLERANCE:
        raise EngineError(
            f"{folder}: merged into its model, this adapter gives other log-probs than by itself: they differ by "
            f"{difference:.1e} (limit {TOLERANCE:.0e}). Its build is one that cannot be merged; train a plain LoRA.",
            code="adapter-cannot-merge",
        )
    return Merged(whole.requires_grad_(True), difference, untied)


def _probe_ids(net: Any, config: Any) -> Any:
    """[1, N] tokens all over the vocabulary, and those whose rows the adapter changes."""
    import torch

    rows = net.get_input_embeddings().weight.shape[0]
    trained_ids = config.trainable_token_indices or []
    listed = [i for part in trained_ids.values() for i in part] if isinstance(trained_ids, dict) else trained_ids
    ids = [*((7919 * i + 13) % rows for i in range(PROBE)), *listed[:PROBE]]
    return torch.tensor([ids], device=net.device)


def _said(net: Any, ids: Any) -> Any:
    """[1, N, V] log-probs of a language model, [1, 1] score of a scorer, without dropout."""
    import torch

    with torch.no_grad(), _evaluating(net):
        logits = net(input_ids=ids).logits
    return logits if logits.ndim == 2 else logits.log_softmax(-1)


@contextmanager
def _evaluating(net: Any) -> Iterator[None]:
    before = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(before)


def _untie(adapted: Any) -> list[tuple[str, str]]:
    """Give every place of a shared matrix one of its own where an adapter stands on any: added to the shared one, what
    was learned for one place would change the others too. Also where only the adapter shares it (replicated layers):
    no file can say so. Returns the pairs that were parted, by their plain names."""
    from torch import nn

    known = _shared_by_config(adapted.get_base_model())
    places: dict[int, list[str]] = {}
    for name, p in adapted.named_parameters(remove_duplicate=False):
        if adapters.NEW not in name.split("."):  # the adapter's own weights may be shared, and stay so
            places.setdefault(p.data_ptr(), []).append(name)
    parted = []
    for first, *others in places.values():
        adapts = any(_plain(name) != name.removeprefix(PREFIX) for name in (first, *others))
        if not others or (known.issuperset(map(_plain, (first, *others))) and not adapts):
            continue
        for name in others:
            holder, _, last = name.rpartition(".")
            module = adapted.get_submodule(holder)
            setattr(module, last, nn.Parameter(getattr(module, last).detach().clone()))
            parted.append((_plain(first), _plain(name)))
    return parted


def _shared_by_config(net: Any) -> set[str]:
    """Names of the parameters that a model's config makes one."""
    return {name for pair in net.all_tied_weights_keys.items() for name in pair}


def _plain(name: str) -> str:
    """A parameter's name as it is without adapters."""
    parts = name.removeprefix(PREFIX).split(".")
    return ".".join(p for p in parts if p not in ("base_layer", "original_module", "token_adapter"))


def _settle(net: Any, parted: Sequence[tuple[str, str]]) -> bool:
    """Share again what came out equal, and say in the config what is shared. Whether anything no longer is."""
    import torch

    differ, known = False, _shared_by_config(net)
    for first, other in parted:
        one, two = net.get_parameter(first), net.get_parameter(other)
        if known.issuperset((first, other)) and torch.equal(one, two):
            holder, _, last = other.rpartition(".")
            setattr(net.get_submodule(holder), last, one)
        else:
            differ = True
    if parted:
        say_sharing(net)
    return differ


def say_sharing(net: Any) -> None:
    """Write into a model's config whether its input and output layers are one matrix."""
    inner, outer = net.get_input_embeddings(), net.get_output_embeddings()
    if inner is None or outer is None:
        return
    shared = inner.weight is outer.weight
    for config in (net.config, net.config.get_text_config()):
        config.tie_word_embeddings = shared
    if not shared:
        net.all_tied_weights_keys = {}
