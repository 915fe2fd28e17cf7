"""Typical shapes by size: those of well-known models, from their published configs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


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
    def values(self) -> dict[str, object]:
        """As its config.json has them."""
        return {
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
