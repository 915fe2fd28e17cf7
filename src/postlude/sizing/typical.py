"""Typical shapes by size: those of well-known models, from their published configs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from postlude.errors import ConfigError
from postlude.sizing.shape import Linear, Shape, of_values


@dataclass(frozen=True)
class Known:
    """A well-known model: its name and the sizes in its config.json."""

    name: str
    family: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    vocabulary: int
    tied: bool
    head_width: int | None = None

    @property
    def shape(self) -> Shape:
        values = {
            "model_type": self.family,
            "num_hidden_layers": self.layers,
            "hidden_size": self.width,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.inner,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": self.tied,
            "head_dim": self.head_width,
        }
        return of_values(values, self.name)


MODELS: Mapping[str, Known] = {
    "135M": Known("SmolLM2-135M", "llama", 30, 576, 9, 3, 1536, 49_152, True),
    "360M": Known("SmolLM2-360M", "llama", 32, 960, 15, 5, 2560, 49_152, True),
    "0.5B": Known("Qwen2.5-0.5B", "qwen2", 24, 896, 14, 2, 4864, 151_936, True),
    "0.6B": Known("Qwen3-0.6B", "qwen3", 28, 1024, 16, 8, 3072, 151_936, True, 128),
    "1B": Known("Llama-3.2-1B", "llama", 16, 2048, 32, 8, 8192, 128_256, True, 64),
    "1.5B": Known("Qwen2.5-1.5B", "qwen2", 28, 1536, 12, 2, 8960, 151_936, True),
    "1.7B": Known("Qwen3-1.7B", "qwen3", 28, 2048, 16, 8, 6144, 151_936, True, 128),
    "3B": Known("Qwen2.5-3B", "qwen2", 36, 2048, 16, 2, 11_008, 151_936, True),
    "4B": Known("Qwen3-4B", "qwen3", 36, 2560, 32, 8, 9728, 151_936, True, 128),
    "7B": Known("Qwen2.5-7B", "qwen2", 28, 3584, 28, 4, 18_944, 152_064, False),
    "8B": Known("Llama-3.1-8B", "llama", 32, 4096, 32, 8, 14_336, 128_256, False),
    "13B": Known("Llama-2-13B", "llama", 40, 5120, 40, 40, 13_824, 32_000, False),
    "14B": Known("Qwen2.5-14B", "qwen2", 48, 5120, 40, 8, 13_824, 152_064, False),
    "32B": Known("Qwen2.5-32B", "qwen2", 64, 5120, 40, 8, 27_648, 152_064, False),
    "70B": Known("Llama-3.1-70B", "llama", 80, 8192, 64, 8, 28_672, 128_256, False),
    "72B": Known("Qwen2.5-72B", "qwen2", 80, 8192, 64, 8, 29_568, 152_064, False),
}
"""Size, as people say it -> the model whose shape stands for it."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([mMbB])")


def number_of(size: str) -> float | None:
    """Parameters that a text such as 7B, 1.5b or 350M names; None where it names no size."""
    match = _SIZE.fullmatch(size.strip())
    return float(match[1]) * (1e6 if match[2] in "mM" else 1e9) if match else None


def of_size(size: str) -> Shape:
    """The shape of the well-known model of that size; of others the nearest one's, wider or narrower."""
    wanted = number_of(size)
    if not wanted:
        raise ConfigError(f"{size!r} is no size of a model. Write it as 7B or 350M.", code="bad-value")
    named = {number_of(name): known for name, known in MODELS.items()}
    if wanted in named:
        known = named[wanted]
        return replace(known.shape, name=size, note=f"the typical shape of this size: that of {known.name}")
    near = min(MODELS.values(), key=lambda known: abs(math.log(known.shape.parameters / wanted)))
    shape = _as_large(near.shape, wanted)
    note = f"no well-known model has this size: the shape of {near.name}, made {_way(near.shape, wanted)}"
    return replace(shape, name=size, note=note)


def _way(shape: Shape, wanted: float) -> str:
    return "wider" if wanted > shape.parameters else "narrower"


def _as_large(shape: Shape, wanted: float) -> Shape:
    """The shape with every width scaled so that it has about so many parameters; depth and vocabulary stay."""
    low, high = 1 / 64, 64.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _scaled(shape, middle).parameters < wanted else (low, middle)
    return _scaled(shape, low)


def _scaled(shape: Shape, factor: float) -> Shape:
    each = max(1, round(shape.head_width * factor))

    def wide(size: int) -> int:
        return max(1, round(size * factor))

    linears = tuple(
        Linear(one.name, wide(one.inputs), wide(one.outputs), one.bias, one.copies) for one in shape.linears
    )
    return replace(
        shape,
        width=wide(shape.width),
        head_width=each,
        inner=wide(shape.inner),
        linears=linears,
        vectors=wide(shape.vectors),
        outside=wide(shape.outside),
    )
