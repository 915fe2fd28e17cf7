"""What a model is tried with, before it is known how it may be run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from postlude.batch import Batch, pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.attention import Options, Packed


class Counting:
    """A layout that notes which layers called it."""

    def __init__(self, inner: Packed) -> None:
        self.inner, self.layers = inner, set[int]()

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        self.layers.add(layer)
        return self.inner.attend(layer, query, key, value, options)


@contextmanager
def small_window(hf: Any, config: Any, size: int = 8) -> Iterator[None]:
    """Shrink sliding windows to `size`, so that a short probe reaches beyond them."""
    window = config.__dict__.get("sliding_window")
    modules = [m for m in hf.modules() if m.__dict__.get("sliding_window") is not None]
    if window is None or not modules:
        yield
        return
    before = [m.sliding_window for m in modules]
    config.sliding_window = size
    for module in modules:
        module.sliding_window = size
    try:
        yield
    finally:
        config.sliding_window = window
        for module, value in zip(modules, before, strict=True):
            module.sliding_window = value


def probe_batch(vocabulary: int) -> Batch:
    """Two groups with ragged completions of pseudo-random tokens."""
    ids = [(7919 * i + 13) % max(vocabulary - 1, 1) for i in range(120)]
    cuts = ((0, 14, (12, 5)), (40, 3, (17, 1, 9)))
    groups = []
    for start, prompt, lengths in cuts:
        tokens = ids[start:]
        completions = tuple(
            Completion(tuple(tokens[prompt + 3 * k : prompt + 3 * k + n]), reward=1.0) for k, n in enumerate(lengths)
        )
        groups.append(Group(Prompt(str(start), "", tokens=tuple(tokens[:prompt])), completions))
    return pack(groups)
