"""A model that says one thing: every token leads to the next of a chain."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from postlude.models.quiet import quiet
from postlude.models.tiny import character_tokenizer

MARKS = ("<think>", "</think>", "<tool_call>", "<end>")
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '<end>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
"""A turn ends with `<end>`, which is a stop id beside `<eos>`."""


def marked_tokenizer() -> Any:
    """One token per character, and MARKS as special tokens."""
    tokenizer = character_tokenizer(chat_template=TEMPLATE)
    tokenizer.add_special_tokens({"additional_special_tokens": [*MARKS]})
    return tokenizer


def save_chain(folder: Path, said: Sequence[str], width: int = 64) -> None:
    """Write a model that goes from each token of `said` to the next; the last should be one that ends an answer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = marked_tokenizer()
    ids = tokenizer.convert_tokens_to_ids([*said])
    stops = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end>")]
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=stops, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), width))
        model.lm_head.weight.zero_()
        for one, following in pairwise(ids):
            model.lm_head.weight[following, one] = 10.0
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**settings, "eos_token_id": stops, "pad_token_id": tokenizer.pad_token_id}))
