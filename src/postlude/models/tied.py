"""Models whose output layer is their embedding."""

from __future__ import annotations

from typing import Any

ALWAYS_TIED = frozenset({"cohere", "cohere2", "cohere2_moe", "gemma2", "gemma3n", "gemma3n_text"})
"""Types of model that vLLM computes from the embedding whatever their config says, with no place for a second one."""


def is_tied(net: Any) -> bool:
    """Whether a model's output layer is its embedding, and servers have to be given it as a matrix of its own."""
    return ties(net) and net.config.get_text_config().model_type not in ALWAYS_TIED


def ties(net: Any) -> bool:
    """Whether a model's config calls its output layer its embedding."""
    return bool(net.config.get_text_config().tie_word_embeddings)
