"""Folders that are damaged, quantised, or not the model they say: told before weights are read, in one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from postlude.cli.scoring import holds_scorer
from postlude.errors import ConfigError, EngineError
from postlude.models import opening, scorers
from postlude.models.load import Lora, inspect, inspect_files, load
from postlude.models.quiet import quiet
from postlude.models.spec import Holding, ModelSpec
from tests.refusals import refused

WEIGHTS = "model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 269060552\n"


@pytest.fixture
def folder(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of a whole model, to be damaged."""
    return shutil.copytree(model_folder, tmp_path / "model")


@pytest.fixture
def adapter(model_folder: Path, tmp_path: Path) -> Path:
    """A LoRA adapter on a whole model."""
    from postlude.models import adapters

    place = shutil.copytree(
        model_folder, tmp_path / "adapter", ignore=shutil.ignore_patterns("config*", "*.safetensors")
    )
    with quiet():
        adapters.save(load(ModelSpec(str(model_folder), lora=Lora(2))), place)
    return place


def told(folder: Path, **given: Any) -> str:
    """What is said of a folder's weights without reading them; loading says the same."""
    with quiet():
        try:
            problems = opening.problems_of_weights(str(folder), inspect(ModelSpec(str(folder))).config, **given)
        except ConfigError as error:
            problems = error.problems
        if not given.get("scalar"):
            with pytest.raises((ConfigError, EngineError)):
                load(ModelSpec(str(folder), **given))
    assert problems
    return "\n".join(problems)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def headless(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def rewritten(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


NO_MODEL: list[tuple[dict[str, Any], str]] = [
    ({"num_hidden_layers": 1}, "`num_hidden_layers` \\(1\\) must be equal"),
    ({"hidden_size": "x"}, "hidden_size' expected int, got str"),
    ({"hidden_size": -4}, "no model can be made .* negative dimension"),
    ({"num_attention_heads": 0}, "no model can be made .* ZeroDivisionError"),
    ({"hidden_act": "gleu"}, "no model can be made .* KeyError: 'gleu'"),
    ({"rope_parameters": {"rope_type": "foo", "rope_theta": 1e4}}, "no model can be made .* 'foo'"),
    ({"architectures": 5}, "architectures 5, which is no list"),
    ({"dtype": "float13"}, "float13"),
]


@pytest.mark.parametrize(("values", "said"), NO_MODEL, ids=[next(iter(values)) for values, _ in NO_MODEL])
def test_a_config_of_no_model_is_told(values: dict[str, Any], said: str, folder: Path) -> None:
    rewritten(folder / "config.json", **values)
    with refused("bad-model-config", said=said), quiet():
        inspect(ModelSpec(str(folder)))
        inspect_files(str(folder), scalar=True)  # as a critic's are looked at
    assert not holds_scorer(str(folder))  # nor does the look for a reward model end in a traceback


@pytest.mark.parametrize("text", ["", "null", "[]", '"x"', "{", "{}"])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_damaged_file_beside_the_weights_is_told(name: str, text: str, folder: Path) -> None:
    (folder / name).write_text(text)
    if text == "{}" and name in ("generation_config.json", "tokenizer_config.json"):
        return  # says nothing, and may
    with pytest.raises(ConfigError, match=name.partition("_")[0].partition(".")[0]), quiet():
        inspect(ModelSpec(str(folder)))


DAMAGE: list[tuple[Callable[[Path], Any], str]] = [
    (cut, "is cut off"),
    (headless, "cut off in its header"),
    (lambda f: f.write_bytes(b""), "has 0 bytes"),
    (lambda f: f.write_bytes(POINTER), "git lfs pull"),
    (lambda f: f.write_bytes(b"{" * 400), "not a safetensors file"),
    (lambda f: f.write_bytes(f.read_bytes() + b"more"), "longer than its header says"),
    (lambda f: save_file({}, f), "holds no tensor"),
    (lambda f: f.unlink(), f"has no {WEIGHTS}"),
    (lambda f: f.rename(f.with_name("pytorch_model.bin")), "pickle"),
    (lambda f: f.rename(f.with_name("model.Q4_0.gguf")), "GGUF"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE, ids=[words for _, words in DAMAGE])
def test_damaged_weights_are_told_before_they_are_read(damage: Callable[[Path], Any], words: str, folder: Path) -> None:
    damage(folder / WEIGHTS)
    assert words in told(folder)
    assert words in told(folder, scalar=True)


@pytest.mark.parametrize(("damage", "words"), DAMAGE[:7], ids=[words for _, words in DAMAGE[:7]])
@pytest.mark.parametrize("lora", [None, Lora(2)], ids=["merged", "below another"])
def test_damaged_adapters_are_told_before_they_are_read(
    damage: Callable[[Path], Any], words: str, lora: Lora | None, adapter: Path
) -> None:
    damage(adapter / "adapter_model.safetensors")
    assert words in told(adapter, lora=lora)


def changed(folder: Path, **changes: Any) -> None:
    """Tensors of a weights file set; None takes one out."""
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file) | {name.replace("__", "."): tensor for name, tensor in changes.items()}
    save_file({k: v for k, v in tensors.items() if v is not None}, file, metadata={"format": "pt"})


def test_weights_of_another_model_are_told(folder: Path) -> None:
    changed(
        folder,
        model__norm__weight=None,
        extra__weight=torch.zeros(3),
        model__layers__0__mlp__up_proj__weight=torch.ones(2, 2),
    )
    text = told(folder)
    assert "1 tensors are missing from the weights, and would be random: model.norm.weight" in text
    assert "extra.weight" in text and "no place" in text
    assert "model.layers.0.mlp.up_proj.weight (2, 2) for (192, 64)" in text


def test_an_index_that_names_a_missing_shard_is_told(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    with quiet():
        AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="100KB")
    (folder / WEIGHTS).unlink()
    with quiet():
        assert opening.problems_of_weights(str(folder), scorers.config_of(str(folder))) == []
        load(ModelSpec(str(folder)))
    shards = sorted(folder.glob("model-*.safetensors"))
    shards[1].unlink()
    assert shards[1].name in told(folder)
    cut(shards[0])
    shutil.copy(shards[0], shards[1])
    assert "is cut off" in told(folder)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.int8, torch.uint8])
def test_quantised_weights_are_told(kind: torch.dtype, folder: Path) -> None:
    changed(folder, model__layers__0__mlp__up_proj__weight=torch.zeros(192, 64).to(kind))
    assert "as quantised models do" in told(folder)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_kinds_of_whole_numbers_are_read(kind: torch.dtype, folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    save_file({k: v.to(kind) for k, v in tensors.items()}, folder / WEIGHTS, metadata={"format": "pt"})
    with quiet():
        net = load(ModelSpec(str(folder)))
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(net.get_parameter(name), tensors[name].to(kind).float())


def test_a_config_of_quantised_weights_is_told(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    assert "quantised (awq)" in told(folder)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_named(bad: float, folder: Path, adapter: Path) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    weight = load_file(folder / WEIGHTS)[name]
    weight[3, 5] = bad
    changed(folder, **{name.replace(".", "__"): weight})
    for spec, held in (
        (ModelSpec(str(folder)), Holding()),
        (ModelSpec(str(folder)), Holding("bfloat16")),
        (ModelSpec(str(folder), lora=Lora(2)), Holding()),
    ):
        with quiet(), pytest.raises(EngineError, match=r"1 of \d+ numbers of .*layers\.1\.self_attn\.q_proj.*weight"):
            load(spec, held)
    with quiet(), pytest.raises(EngineError, match=r"layers\.1\.self_attn\.q_proj"):
        load(ModelSpec(str(folder)), scalar=True)
    (own,) = [n for n in load_file(adapter / "adapter_model.safetensors") if "layers.0.mlp.up_proj.lora_A" in n]
    changed(adapter, **{own.replace(".", "__"): torch.full((2, 64), bad)})
    for spec in (ModelSpec(str(adapter)), ModelSpec(str(adapter), lora=Lora(2))):
        with quiet(), refused("not-finite", said=r"layers\.0\.mlp\.up_proj", kind=EngineError):
            load(spec)


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"peft_type": "IA3"}, "type IA3"),
    ({"peft_type": "LOHA"}, "type LOHA"),
    ({"peft_type": "VERA"}, "type VERA"),
    ({"peft_type": "PROMPT_TUNING"}, "type PROMPT_TUNING"),
    ({"peft_type": None}, "type None"),
    ({"base_model_name_or_path": None}, "does not say which model"),
    ({"base_model_name_or_path": "./nowhere/at/all"}, "does not exist here"),
    ({"alora_invocation_tokens": [3]}, "activated LoRA"),
    ({"use_qalora": True}, "quantised"),
    ({"never_heard_of": {"a": 1}}, "never_heard_of"),
    ({"r": 5}, "size mismatch"),
    ({"target_modules": ["q_proj"]}, "no place in its model"),
    ({"target_modules": ["nothing"]}, "cannot be put on its model"),
    ({"use_dora": True}, "tensors are missing"),
]


@pytest.mark.parametrize(("change", "words"), CONFIGS, ids=[words for _, words in CONFIGS])
@pytest.mark.parametrize("lora", [None, Lora(2)], ids=["merged", "below another"])
def test_an_adapter_that_cannot_be_opened_is_told(
    change: dict[str, Any], words: str, lora: Lora | None, adapter: Path
) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert words in told(adapter, lora=lora)


def test_an_adapter_of_another_model_is_told(adapter: Path, tmp_path: Path) -> None:
    from postlude.models.tiny import save_tiny_model

    save_tiny_model(tmp_path / "other", layers=2, width=32, heads=2)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(tmp_path / "other")}))
    assert "made for a model of another size" in told(adapter)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(adapter)}))
    assert "is an adapter too" in told(adapter)
    file.write_text("{")
    assert "cannot be read" in told(adapter)


def test_a_folder_with_a_model_and_an_adapter_is_told(adapter: Path, model_folder: Path) -> None:
    for name in ("config.json", WEIGHTS):
        shutil.copy(model_folder / name, adapter / name)
    assert "not said which counts" in told(adapter)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (("q_prj",), "Did you mean 'q_proj'? There are: embed_tokens, q_proj, k_proj"),
        (("q_proj", "v_prj"), "no module is called 'v_prj'"),
        ("q_proj", "matches none"),
        ("[", "no regular expression"),
        (("norm",), "cannot stand on all"),
        (("mlp",), "cannot stand on all"),
    ],
)
def test_targets_that_no_module_has_are_told(targets: Any, words: str, folder: Path) -> None:
    assert words in told(folder, lora=Lora(2, targets=targets))


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj",), ("lm_head", "embed_tokens"), r".*\.1\..*proj"])
def test_targets_that_are_there_pass(targets: Any, folder: Path) -> None:
    with quiet():
        config = scorers.config_of(str(folder))
        assert opening.problems_of_weights(str(folder), config, lora=Lora(2, targets=targets)) == []
        load(ModelSpec(str(folder), lora=Lora(2, targets=targets)))


def test_tokens_beyond_the_embedding_are_said(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(folder)
    facts = inspect(ModelSpec(str(folder)))
    assert (
        facts.vocabulary == rows and f"1 tokens beyond the {rows} rows" in facts.notes[0] and "<more>" in facts.notes[0]
    )
    tokenizer.eos_token = "<more>"
    tokenizer.save_pretrained(folder)
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["eos_token_id"] = rows
    (folder / "config.json").write_text(json.dumps(config))
    with refused("answers-never-end"):
        inspect(ModelSpec(str(folder)))
