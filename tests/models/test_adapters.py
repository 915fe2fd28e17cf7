"""Adapters of every build: what is opened, joined and exported is what peft itself computes from the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.models import adapters, heads, opening
from postlude.models.load import Lora, ModelSpec, load, quiet
from tests.conftest import VOCABULARY, build

LINEAR = ["q_proj", "v_proj"]
IDS = (torch.arange(40).reshape(1, 40) * 7 + 3) % VOCABULARY
BUILDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True, "r": 8, "lora_alpha": 32},
    "patterns": {"rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 7}, "alpha_pattern": {"v_proj": 3}},
    "one layer": {"layers_to_transform": [1], "layers_pattern": "layers"},
    "excluded": {"target_modules": "all-linear", "exclude_modules": ["down_proj"]},
    "dropout": {"lora_dropout": 0.5},
    "expression": {"target_modules": r".*layers\.1\..*(up|down)_proj"},
    "gaussian": {"init_lora_weights": "gaussian"},
    "lm_head": {"target_modules": [*LINEAR, "lm_head"]},
    "lm_head alone": {"target_modules": "lm_head"},
    "embedding": {"target_modules": [*LINEAR, "embed_tokens"]},
    "both ends": {"target_modules": [*LINEAR, "embed_tokens", "lm_head"]},
    "dora": {"use_dora": True},
    "bias": {"bias": "all"},
    "bias of its own": {"bias": "lora_only"},
    "lora bias": {"lora_bias": True, "target_modules": ["gate_proj"]},
    "saved head": {"modules_to_save": ["lm_head"]},
    "saved embedding": {"modules_to_save": ["embed_tokens"]},
    "saved both": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "saved norm": {"modules_to_save": ["norm"]},
    "new tokens": {"trainable_token_indices": [3, 5, 60]},
    "new tokens by name": {"trainable_token_indices": {"embed_tokens": [4]}},
    "tied": {"target_modules": [*LINEAR, "embed_tokens"], "ensure_weight_tying": True},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "parameters": {"target_parameters": ["q_proj.weight"], "target_modules": ["v_proj"]},
    "replicated": {"layer_replication": [[0, 2], [1, 2]]},
}
STACKED = {
    "plain", "rslora", "patterns", "one layer", "excluded", "dropout", "expression", "gaussian", "lm_head",
    "lm_head alone", "embedding", "both ends",
}  # fmt: skip
"""Builds that another adapter can stand on."""


def said(net: Any) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(input_ids=IDS).logits.log_softmax(-1)


def shaken(net: Any) -> Any:
    """An adapter as after training: every trained number elsewhere."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    return net


def saved(name: str, kind: str, tmp_path: Path, tokenizer: Any) -> str:
    """A folder with an adapter of a build on a model in another folder."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base, folder = tmp_path / "base", tmp_path / "adapter"
    with quiet():
        build(name).save_pretrained(base)
        tokenizer.save_pretrained(base)
        net = AutoModelForCausalLM.from_pretrained(base)
        given = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "task_type": "CAUSAL_LM", **BUILDS[kind]}
        net = shaken(get_peft_model(net, LoraConfig(**given)))
        net.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return str(folder)


def by_peft(folder: str) -> torch.Tensor:
    """Log-probs of an adapter folder as plain transformers and peft open it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with quiet():
        base = json.loads((Path(folder) / "adapter_config.json").read_text())["base_model_name_or_path"]
        return said(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("name", ["llama_tied", "llama"])
def test_an_adapter_opens_as_peft_opens_it_or_is_refused(name: str, kind: str, tmp_path: Path, tokenizer: Any) -> None:
    folder = saved(name, kind, tmp_path, tokenizer)
    expected = by_peft(folder)
    with quiet():
        problems = opening.problems_of_weights(folder, heads.config_of(folder))
        if kind == "lora bias":  # on a map without one, where no whole model has a place for it
            assert len(problems) == 1 and "lora_bias" in problems[0]
            return
        assert problems == []
        whole = load(ModelSpec(folder))
        torch.testing.assert_close(said(whole), expected, atol=1e-4, rtol=0)
    assert float((said(load(ModelSpec(str(tmp_path / "base")))) - expected).abs().max()) > 0.01


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BUILDS)
@pytest.mark.parametrize("name", ["llama_tied", "llama"])
def test_lora_on_an_adapter_saves_what_it_started_from_or_is_refused(
    name: str, kind: str, tmp_path: Path, tokenizer: Any
) -> None:
    folder = saved(name, kind, tmp_path, tokenizer)
    spec = ModelSpec(folder, lora=Lora(4))
    with quiet():
        problems = opening.problems_of_weights(folder, heads.config_of(folder), lora=spec.lora)
        if kind not in STACKED:
            words = "lora_bias" if kind == "lora bias" else "Merge it first"
            assert len(problems) == 1 and words in problems[0], problems
            return
        assert problems == []
        net = load(spec)
        torch.testing.assert_close(said(net), by_peft(folder), atol=1e-4, rtol=0)
        shaken(net)
        expected = said(net)
        adapters.save(net, tmp_path / "joined")
        torch.testing.assert_close(by_peft(str(tmp_path / "joined")), expected, atol=1e-4, rtol=0)
        again = load(spec, adapter_from=str(tmp_path / "joined"))
        torch.testing.assert_close(said(again), expected, atol=1e-6, rtol=0)
