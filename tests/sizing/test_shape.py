"""Parameters of known models, from their configs, as published; and of every family as transformers counts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from postlude.models.lora import Lora
from postlude.sizing import Shape
from postlude.sizing.shape import of_values
from tests.refusals import refused

CONFIGS = Path("tests/fixtures/configs")

TINY = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
"""Sizes of the same model in every family."""


def test_smollm2_has_as_many_parameters_as_its_card_says() -> None:
    shape = Shape.of_config(CONFIGS / "smollm2-135m.json")
    assert shape.parameters == 134_515_008
    assert (shape.layers, shape.width, shape.heads, shape.kv_heads, shape.vocabulary) == (30, 576, 9, 3, 49_152)
    assert shape.tied and shape.family == "llama" and not shape.note
    assert shape.adapter(16) == 30 * 16 * (2 * 1152 + 2 * 768 + 3 * 2112) == 4_884_480


@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("0.5B", 494_032_768),
        ("1B", 1_235_814_400),
        ("1.5B", 1_543_714_304),
        ("7B", 7_615_616_512),
        ("8b", 8_030_261_248),
        ("13B", 13_015_864_320),
        ("70B", 70_553_706_496),
    ],
)
def test_sizes_stand_for_well_known_models(size: str, parameters: int) -> None:
    """Qwen2.5, Llama 3 and Llama 2, by their published counts."""
    shape = Shape.of_size(size)
    assert shape.parameters == parameters
    assert "typical shape" in shape.note


@pytest.mark.parametrize("size", ["2B", "350M", "20B", "1000B", "3M"])
def test_other_sizes_are_a_neighbour_made_wider_or_narrower(size: str) -> None:
    shape = Shape.of_size(size)
    wanted = float(size[:-1]) * {"M": 1e6, "B": 1e9}[size[-1]]
    assert shape.parameters == pytest.approx(wanted, rel=0.02)
    assert "no well-known model has this size" in shape.note


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
        ("mistral", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("qwen3", {}),
        ("phi3", {"pad_token_id": 0}),
        ("granite", {}),
        ("olmo2", {}),
        ("gemma", {}),
        ("gemma2", {}),
        ("gemma3_text", {}),
        ("smollm3", {"pad_token_id": 0}),
        ("gpt_neox", {"tie_word_embeddings": False}),
        ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 48}),
        ("mixtral", {"num_local_experts": 4}),
        ("qwen3_moe", {"num_experts": 4, "moe_intermediate_size": 24, "mlp_only_layers": []}),
    ],
)
def test_families_are_counted_as_transformers_counts_them(family: str, more: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = TINY if family != "gpt2" else {"vocab_size": 96}
    config = AutoConfig.for_model(family, **sizes, **more)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shape = of_values(config.to_dict(), family)
    assert shape.parameters == sum(p.numel() for p in model.parameters()) == model.num_parameters()
    assert not shape.note


def test_an_adapter_has_as_many_parameters_as_peft_makes() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**TINY)
    targets: list[str | tuple[str, ...]] = ["all-linear", ("q_proj", "v_proj"), r".*mlp\..*_proj"]
    for target in targets:
        with torch.device("meta"):
            names = list(target) if isinstance(target, tuple) else target
            model = get_peft_model(
                LlamaForCausalLM(config), LoraConfig(r=4, target_modules=names, task_type="CAUSAL_LM")
            )
        made = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert of_values(config.to_dict(), "x").adapter(4, Lora(4, targets=target).targets) == made


def test_a_config_that_says_too_little_is_refused(tmp_path: Path) -> None:
    with refused("no-such-model"):
        Shape.of_config(tmp_path / "nowhere" / "at" / "all")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    with refused("bad-model-config", said="does not say num_hidden_layers"):
        Shape.of_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**TINY, "num_hidden_layers": "three"}))
    with refused("bad-model-config", said="is no size"):
        Shape.of_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with refused("bad-model-config"):
        Shape.of_config(tmp_path)
    with refused("wrong-type"):
        Shape.of_size("large")


def test_an_unknown_family_is_counted_and_says_so() -> None:
    shape = of_values({**TINY, "model_type": "something-new"}, "x")
    assert shape.parameters == of_values({**TINY, "model_type": "llama"}, "x").parameters
    assert "something-new" in shape.note
