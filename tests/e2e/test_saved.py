"""What a run saves is what it trained, what it started from where it trained nothing, and what it goes on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from postlude.engines.local.engine import LocalEngine
from postlude.errors import ConfigError, EngineError
from postlude.launch import launch
from postlude.models.load import problems_of_path
from postlude.models.quiet import quiet
from postlude.models.saved import require_saved
from postlude.recipe import documents
from tests.models.test_adapters import BUILDS, STACKED, by_peft, said
from tests.models.test_adapters import saved as adapter_of

DTYPES = ["float32", "bfloat16", "float64"]
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "data": "written.jsonl"},
    "sft lora": {"method": "sft", "data": "written.jsonl", "model.lora.rank": 2},
    "reward model": {"method": "reward_model", "data": "pairs.jsonl"},
    "reward model lora": {"method": "reward_model", "data": "pairs.jsonl", "model.lora.rank": 2},
    "own critic": {"method": "ppo", "data": "prompts.jsonl", "reward": "exact", "sampling.max_tokens": 3},
    "value head": {
        "method": "ppo", "data": "prompts.jsonl", "reward": "exact", "sampling.max_tokens": 3, "critic.form": "trunk",
        "model.lora.rank": 2,
    },
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    sums = [(f"{a}+{b}=", str(a + b)) for a in range(3) for b in range(4)]
    rows = {
        "prompts": [{"prompt": p, "answer": a} for p, a in sums],
        "written": [{"prompt": p, "completion": a} for p, a in sums],
        "pairs": [{"prompt": p, "chosen": a, "rejected": a + "7"} for p, a in sums],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def run(output: str, values: dict[str, Any], resume: bool = False) -> Path:
    """A run in this folder, quietly; its newest checkpoint."""
    given = {"model": "model", "prompts_per_step": 4, "threads": 1, **values}
    document = documents.Document({"method": given.pop("method")}, {"method": "here"})
    documents.override(document, [f"{k}={v}" for k, v in given.items()] + [f"output={output}"])
    with quiet():
        return launch(document, resume).checkpoints[-1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", METHODS)
def test_one_step_and_a_resumed_one_are_two(name: str, dtype: str, place: Path, model_folder: Path) -> None:
    (place / "model").symlink_to(model_folder)
    given = {**METHODS[name], "model.dtype": dtype, "schedule.lr": 0.01}
    whole = run("whole", {**given, "steps": 2})
    run("parts", {**given, "steps": 1})
    parts = run("parts", {**given, "steps": 2}, resume=True)
    files = sorted(p.relative_to(whole) for p in whole.rglob("*.safetensors"))
    assert files == sorted(p.relative_to(parts) for p in parts.rglob("*.safetensors"))
    for file in files:
        one, two = load_file(whole / file), load_file(parts / file)
        assert one.keys() == two.keys()
        assert not [k for k in one if not torch.equal(one[k], two[k])], file


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "kind", ["rslora", "lm_head", "both ends", "dora", "bias", "saved head", "new tokens", "pissa"]
)
@pytest.mark.parametrize("lora", [None, 3], ids=["all weights", "lora"])
def test_a_run_that_trains_nothing_saves_what_it_started_from(
    kind: str, lora: int | None, place: Path, tokenizer: Any
) -> None:
    from transformers import AutoModelForCausalLM

    folder = adapter_of("llama_tied", BUILDS[kind], place, tokenizer)
    given: dict[str, Any] = {
        "method": "sft",
        "data": "written.jsonl",
        "model": folder,
        "schedule.lr": 1e-12,
        "steps": 1,
    }
    expected = by_peft(folder)
    if lora is None:
        with quiet():
            after = said(AutoModelForCausalLM.from_pretrained(run("out", given)))
    elif kind in STACKED:
        after = by_peft(str(run("out", {**given, "model.lora.rank": lora})))
    else:
        with pytest.raises(ConfigError, match="Merge it first"):
            run("out", {**given, "model.lora.rank": lora})
        return
    torch.testing.assert_close(after, expected, atol=1e-4, rtol=0)


def test_a_checkpoint_that_is_not_what_was_trained_is_an_error(tmp_path: Path, model_folder: Path) -> None:
    with quiet():
        engine = LocalEngine.open(str(model_folder))
        engine.write(tmp_path / "good")
        net = engine.model.net
        file = tmp_path / "good" / "model.safetensors"
        tensors = load_file(file)
        name = "model.layers.1.mlp.down_proj.weight"
        wrong = {**tensors, name: tensors[name].clone()}
        wrong[name][0, 0] += 1e-6
        save_file(wrong, file, metadata={"format": "pt"})
        with pytest.raises(EngineError, match=f"'{name}' is not what was trained"):
            require_saved(net, tmp_path / "good")
        save_file({k: v for k, v in tensors.items() if k != name}, file, metadata={"format": "pt"})
        with pytest.raises(EngineError, match=f"missing from the weights.*{name}"):
            require_saved(net, tmp_path / "good")
        tied = {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
        save_file(tied, file, metadata={"format": "pt"})
        with pytest.raises(EngineError, match="are one matrix; they were two"):
            require_saved(net, tmp_path / "good")


def test_what_cannot_be_saved_is_told_before_the_work(model_folder: Path) -> None:
    engine = LocalEngine.open(str(model_folder))
    engine.rehearse()
    engine.model.net.config.odd = object()  # type: ignore[union-attr]
    with pytest.raises(EngineError, match=r"checkpoints of this model could not be saved: .*JSON"):
        engine.rehearse()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", ["model", "adapter"])
def test_an_adapter_on_other_weights_than_it_was_trained_on_is_refused(
    start: str, place: Path, model_folder: Path, tokenizer: Any
) -> None:
    """It would open without a word, and say something that nobody trained."""
    if start == "model":
        shutil.copytree(model_folder, "model")
    else:
        adapter_of("llama_tied", BUILDS["plain"], place, tokenizer)
    checkpoint = run(
        "out", {"method": "sft", "data": "written.jsonl", "model": start, "model.lora.rank": 2, "steps": 1}
    )
    assert problems_of_path(str(checkpoint)) == []
    file = place / ("model" if start == "model" else "base") / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "q_proj" in name)
    save_file({**weights, name: weights[name] * 1.01}, file, {"format": "pt"})
    (problem,) = problems_of_path(str(checkpoint))
    assert problem.code == "misfit-weights"
    assert "model.safetensors has changed since" in problem
