"""Adapters of every build: what is opened, joined and exported is what peft itself computes from the folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.models import adapters, heads, opening, scorers
from postlude.models.load import Lora, load
from postlude.models.quiet import quiet
from postlude.models.spec import ModelSpec
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


def saved(name: str, given: dict[str, Any], tmp_path: Path, tokenizer: Any, rows: int | None = None) -> str:
    """A folder with an adapter of a build on a model in another folder; its log-probs are in the file `said`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base, folder = tmp_path / "base", tmp_path / "adapter"
    with quiet():
        build(name).save_pretrained(base)
        tokenizer.save_pretrained(base)
        net = AutoModelForCausalLM.from_pretrained(base)
        if rows:
            net.resize_token_embeddings(rows, mean_resizing=False)
        whole = {"r": 4, "lora_alpha": 8, "target_modules": LINEAR, "task_type": "CAUSAL_LM", **given}
        net = shaken(get_peft_model(net, LoraConfig(**whole)))
        torch.save(said(net), tmp_path / "said")
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
    folder = saved(name, BUILDS[kind], tmp_path, tokenizer)
    expected = by_peft(folder)
    with quiet():
        problems = opening.problems_of_weights(folder, scorers.config_of(folder))
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
    folder = saved(name, BUILDS[kind], tmp_path, tokenizer)
    spec = ModelSpec(folder, lora=Lora(4))
    with quiet():
        problems = opening.problems_of_weights(folder, scorers.config_of(folder), lora=spec.lora)
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


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {"target_modules": "all-linear"}),
    ("qwen3", {"target_modules": ["o_proj", "lm_head"]}),
    ("gemma", {"target_modules": ["o_proj", "embed_tokens"]}),
    ("gemma2", {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]}),
    ("gpt2", {"target_modules": ["c_attn", "lm_head"]}),
    ("gpt2", {"target_modules": ["wte"]}),
    ("gpt2", {"target_modules": ["c_attn"], "bias": "all", "lora_bias": True}),
    ("gpt2", {"target_modules": ["c_attn", "mlp.c_proj"], "use_dora": True, "fan_in_fan_out": True}),
    ("gpt2", {"target_modules": ["c_attn"], "modules_to_save": ["wte"]}),
    ("gpt_neo", {"target_modules": ["q_proj", "lm_head"]}),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "given"), OTHERS, ids=[f"{n} {[*g.values()]}" for n, g in OTHERS])
def test_export_writes_what_peft_computes(name: str, given: dict[str, Any], tmp_path: Path, tokenizer: Any) -> None:
    folder = saved(name, given, tmp_path, tokenizer)
    expected = by_peft(folder)
    torch.testing.assert_close(exported(folder, tmp_path / "whole"), expected, atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["both ends", "dora", "saved both", "new tokens", "pissa", "replicated", "bias"])
def test_export_serves_what_lora_cannot_stand_on(kind: str, tmp_path: Path, tokenizer: Any) -> None:
    folder = saved("llama_tied", BUILDS[kind], tmp_path, tokenizer)
    expected = by_peft(folder)
    torch.testing.assert_close(exported(folder, tmp_path / "whole"), expected, atol=1e-4, rtol=0)
    with quiet():
        assert opening.problems_of_weights(str(tmp_path / "whole"), scorers.config_of(str(tmp_path / "whole"))) == []
        load(ModelSpec(str(tmp_path / "whole"), lora=Lora(2)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["llama", "llama_tied"])
@pytest.mark.parametrize("given", [{}, {"trainable_token_indices": [62, 63]}, {"target_modules": ["lm_head"]}], ids=str)
def test_an_adapter_with_a_longer_vocabulary(name: str, given: dict[str, Any], tmp_path: Path, tokenizer: Any) -> None:
    folder = saved(name, given, tmp_path, tokenizer, rows=65)
    expected = torch.load(tmp_path / "said")
    assert adapters.vocabulary(folder) == 65
    with quiet():
        torch.testing.assert_close(said(load(ModelSpec(folder))), expected, atol=1e-4, rtol=0)
        problems = opening.problems_of_weights(folder, scorers.config_of(folder), lora=Lora(2))
    assert len(problems) == 1 and "a vocabulary of another size" in problems[0]
    torch.testing.assert_close(exported(folder, tmp_path / "whole"), expected, atol=1e-4, rtol=0)


def exported(folder: str, into: Path) -> torch.Tensor:
    """Log-probs of what `postlude export` writes, as plain transformers opens it."""
    from transformers import AutoModelForCausalLM

    from postlude.cli.export import export

    export(folder, into)
    with quiet():
        return said(AutoModelForCausalLM.from_pretrained(into))


@pytest.mark.parametrize("adapted", [False, True], ids=["all weights", "lora"])
@pytest.mark.parametrize("pairs", [False, True], ids=["answers", "pairs"])
def test_a_reward_model_opens_as_transformers_and_peft_open_it(
    adapted: bool, pairs: bool, tmp_path: Path, model_folder: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    from postlude.cli.export import export
    from postlude.engines.local.engine import LocalEngine
    from postlude.engines.local.scorer import LocalScorer
    from postlude.engines.settings import Local, Optimizer, ScorerSpec
    from postlude.models.load import inspect

    spec = ModelSpec(str(model_folder), lora=Lora(2) if adapted else None)
    engine = LocalEngine.start(
        spec, inspect(spec), Optimizer(), Local(token_budget=4096), False, scores=True, pairs=pairs
    )
    shaken(engine.model.net)
    folder = tmp_path / "scorer"
    engine.write(folder)
    config = scorers.config_of(str(folder))
    assert heads.is_scorer(config) and heads.reads_pairs(config) == pairs
    scorer = LocalScorer.open(ScorerSpec(str(folder)))
    (group,) = scorer.groups(["1+1="], ["2"])
    ids = torch.tensor([[*group.prompt.tokens, *group.completions[0].tokens]])
    with quiet():
        start = str(model_folder) if adapted else str(folder)
        net: Any = AutoModelForSequenceClassification.from_pretrained(start, num_labels=1)
        net = PeftModel.from_pretrained(net, str(folder)) if adapted else net
        with torch.no_grad():
            expected = float(net.eval()(input_ids=ids).logits)
    assert scorer.of_groups([group]) == pytest.approx([expected], abs=1e-4)
    if adapted:
        export(str(folder), tmp_path / "whole")
        again = LocalScorer.open(ScorerSpec(str(tmp_path / "whole")))
        assert again.of_groups([group]) == pytest.approx([expected], abs=1e-4) and again.reads_pairs == pairs


def test_a_critic_starts_from_all_of_a_policy_s_adapter(tmp_path: Path, tokenizer: Any) -> None:
    folder = saved("llama_tied", BUILDS["both ends"], tmp_path, tokenizer)
    with quiet():
        critic, policy = load(ModelSpec(folder), scalar=True), load(ModelSpec(folder))
    for name, weight in policy.base_model.named_parameters():
        assert torch.equal(critic.base_model.get_parameter(name), weight), name


def test_export_says_in_what_numbers_it_writes(
    tmp_path: Path, tokenizer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    folder = saved("llama", {}, tmp_path, tokenizer)
    file = tmp_path / "base" / "model.safetensors"
    save_file({k: v.bfloat16() for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    exported(folder, tmp_path / "whole")
    assert "in float32 (the one under the adapter holds BF16 numbers)" in capsys.readouterr().out
    assert {t.dtype for t in load_file(tmp_path / "whole" / "model.safetensors").values()} == {torch.float32}
