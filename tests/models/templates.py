"""Short chat templates in the style of well-known models, and tokenizers that know their marks."""

from __future__ import annotations

import string
from typing import Any

from postlude.models.chat import Renderer
from postlude.models.tiny import character_tokenizer

_ROLES = "{{ '<|im_start|>' + m.role + '\n' + (m.content or '') + '<|im_end|>\n' }}"
CHATML = (
    "{% for m in messages %}" + _ROLES + "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULTING = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}" + CHATML
)
"""Writes a system message of its own where there is none."""
LLAMA = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + (m.content or '') | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
    "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}"
    "{{ '<start_of_turn>' + role + '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
QWEN = (
    "{% if tools %}{{ '<|im_start|>system\n' }}{% for t in tools %}{{ t | tojson + '\n' }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}"
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last %}{{ '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' }}{% endif %}"
    "{{ m.content or '' }}{% for c in m.tool_calls or [] %}{% set c = c.function or c %}"
    "{{ '<tool_call>{\"name\": \"' + c.name + '\", \"arguments\": ' + c.arguments | tojson + '}</tool_call>' }}"
    "{% endfor %}{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}"
    "{{ '<|im_start|>user\n<tool_response>' + m.content + '</tool_response><|im_end|>\n' }}"
    "{% else %}" + _ROLES + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}"
    "{% elif m.role == 'assistant' %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}"
    "{% elif m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}"
)
"""Drops the thinking, and every role it does not know."""
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""Its roles are plain letters."""
DATED = "{{ 'Today is ' + strftime_now('%d %B %Y') + '\n' }}" + CHATML
ENDLESS = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
"""Nothing ends a turn."""
SPECIAL = {
    CHATML: ["<|im_start|>", "<|im_end|>"],
    DEFAULTING: ["<|im_start|>", "<|im_end|>"],
    LLAMA: ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    MISTRAL: [],
    GEMMA: ["<start_of_turn>", "<end_of_turn>"],
    QWEN: ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"],
    DEEPSEEK: ["<|User|>", "<|Assistant|>", "<think>", "</think>"],
    ZEPHYR: [],
    DATED: ["<|im_start|>", "<|im_end|>"],
    ENDLESS: [],
}
"""Template -> the control tokens of its tokenizer."""


def tokenizer_of(template: str, *special: str) -> Any:
    """Printable characters and marks as tokens."""
    tokenizer = character_tokenizer(string.printable, chat_template=template)
    tokenizer.add_special_tokens({"bos_token": "<bos>", "additional_special_tokens": [*special]})
    return tokenizer


def of(template: str, *special: str) -> Renderer:
    """A renderer of a template and its marks; it stops at EOS alone."""
    tokenizer = tokenizer_of(template, *special)
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))


def renderer(template: str) -> Renderer:
    """The renderer of a template of this file."""
    return of(template, *SPECIAL[template])


def subword(kind: str) -> Renderer:
    """ChatML with a small BPE tokenizer: over bytes as GPT-2's, or over pieces with a mark for spaces as Llama's."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE(byte_fallback=kind == "pieces", unk_token=None))
    alphabet = pre_tokenizers.ByteLevel.alphabet() if kind == "bytes" else list(string.printable)
    if kind == "bytes":
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
    else:
        inner.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        inner.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>", "<eos>"], initial_alphabet=alphabet)
    inner.train_from_iterator(["The token ends it, user and assistant tokens end it too. " * 20], trainer)
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHATML
    return Renderer(tokenizer, frozenset({tokenizer.eos_token_id}))
