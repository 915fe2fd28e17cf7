"""Small models made on the spot, without a download: for the demo, for tests, and to try a recipe out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from postlude.models.quiet import quiet

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz+-*/=#().,:;?!<>| \n"


def character_tokenizer(alphabet: str = ALPHABET, chat_template: str | None = None) -> Any:
    """A fast tokenizer with one token per character, `<pad>`, `<eos>` and `<unk>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *dict.fromkeys(alphabet)])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    tokenizer.chat_template = chat_template
    return tokenizer


def tiny_qwen3(
    tokenizer: Any, seed: int = 0, layers: int = 3, width: int = 128, heads: int = 4, spread: float = 0.02
) -> Any:
    """A Qwen3 with random weights: 0.57 M parameters at the default size.

    numpy draws them: what torch draws in float32 depends on the processor's instructions.
    """
    import numpy as np
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=width // heads,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model, random = Qwen3ForCausalLM(config), np.random.default_rng(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.copy_(torch.from_numpy(spread * random.standard_normal(p.shape)))
    return model


def save_tiny_model(folder: Path | str, seed: int = 0, **size: Any) -> None:
    """Write model and tokenizer as an ordinary Hugging Face folder."""
    folder = Path(folder)
    tokenizer = character_tokenizer()
    model = tiny_qwen3(tokenizer, seed, **size)
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # without this the library would not know that the model has no beginning-of-sequence token
    path = folder / "generation_config.json"
    if path.exists():
        settings = json.loads(path.read_text())
        settings["eos_token_id"], settings["pad_token_id"] = tokenizer.eos_token_id, tokenizer.pad_token_id
        path.write_text(json.dumps(settings, indent=2))
