"""Shared fixtures: small models of many architectures, made on the spot."""

from __future__ import annotations

import functools
import os
import shutil
import signal
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import pytest
import torch
import typer.testing

torch.set_num_threads(1)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite that was started with nohup is like any other
typer.testing._get_command = functools.cache(typer.testing._get_command)  # else made anew for every call, in 25 ms

MEMORY, ROOM = Path("/dev/shm"), 8 << 30
"""A file system in memory, where there is one with room: what is flushed to it is there at once."""
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

VOCABULARY = 61
COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=256, eos_token_id=1, pad_token_id=0, bos_token_id=None,
)  # fmt: skip


def _build(name: str) -> Any:
    import transformers as t

    grouped = dict(num_key_value_heads=2, head_dim=8)
    if name == "llama":
        return t.LlamaForCausalLM(t.LlamaConfig(**COMMON, num_key_value_heads=2))
    if name == "llama_tied":
        return t.LlamaForCausalLM(t.LlamaConfig(**COMMON, num_key_value_heads=4, tie_word_embeddings=True))
    if name == "qwen2":
        return t.Qwen2ForCausalLM(t.Qwen2Config(**COMMON, num_key_value_heads=2))
    if name == "qwen3":
        return t.Qwen3ForCausalLM(t.Qwen3Config(**COMMON, **grouped, tie_word_embeddings=True))
    if name == "mistral":
        return t.MistralForCausalLM(t.MistralConfig(**COMMON, **grouped, sliding_window=6))
    if name == "gemma":
        return t.GemmaForCausalLM(t.GemmaConfig(**COMMON, **grouped))
    if name == "gemma2":
        config = t.Gemma2Config(**COMMON, **grouped, sliding_window=6, query_pre_attn_scalar=8)
        return t.Gemma2ForCausalLM(config)
    if name == "gemma3":
        return t.Gemma3ForCausalLM(t.Gemma3TextConfig(**COMMON, **grouped, sliding_window=6, query_pre_attn_scalar=8))
    if name == "phi3":
        return t.Phi3ForCausalLM(t.Phi3Config(**COMMON, num_key_value_heads=2))
    if name == "granite":
        return t.GraniteForCausalLM(t.GraniteConfig(**COMMON, num_key_value_heads=2, logits_scaling=3.0))
    if name == "gpt2":
        return t.GPT2LMHeadModel(
            t.GPT2Config(
                vocab_size=VOCABULARY,
                n_embd=32,
                n_layer=2,
                n_head=4,
                n_positions=256,
                eos_token_id=1,
                bos_token_id=1,
            )
        )
    if name == "gpt_neo":
        return t.GPTNeoForCausalLM(
            t.GPTNeoConfig(
                vocab_size=VOCABULARY, hidden_size=32, num_layers=2, num_heads=4, intermediate_size=48,
                attention_types=[[["global", "local"], 1]], window_size=6, max_position_embeddings=256,
                eos_token_id=1, bos_token_id=1,
            )
        )  # fmt: skip
    if name == "zamba2":  # whose layers share a transformer, in which each has a map of its own
        hybrid = dict(num_mem_blocks=1, mamba_d_state=4, n_mamba_heads=8, mamba_ngroups=1, chunk_size=8, adapter_rank=2)
        return t.Zamba2ForCausalLM(t.Zamba2Config(**COMMON, **hybrid, layers_block_type=["hybrid"] * 2))
    raise KeyError(name)


PACKED = (
    "llama",
    "llama_tied",
    "qwen2",
    "qwen3",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3",
    "phi3",
    "granite",
    "gpt2",
)
"""Architectures that must run packed."""


def build(name: str, seed: int = 0) -> Any:
    """A small model with random weights, larger than usual so that differences show."""
    torch.manual_seed(seed)
    model, random = _build(name), np.random.default_rng(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:  # by numpy: what torch draws in float32 depends on the processor
                p.copy_(torch.from_numpy(0.15 * random.standard_normal(p.shape)))
    return model


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    from postlude.models.tiny import character_tokenizer

    return character_tokenizer()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3 as a Hugging Face folder."""
    from postlude.models.tiny import save_tiny_model

    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder, layers=2, width=64, heads=2)
    return folder
