"""The folder of a version: what is in it, what it shares with a checkpoint, and that it is whole or not there."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from postlude.engines.local.engine import LocalEngine
from postlude.engines.servers import shelf as shelves
from postlude.engines.servers.shelf import Shelf, named_weights, stored_weights
from postlude.errors import EngineError, TrainingError
from postlude.models.lora import Lora
from tests.conftest import build

WHOLE = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture(scope="module")
def tied(model_folder: Path) -> LocalEngine:
    return LocalEngine.open(str(model_folder), token_budget=256)


@pytest.fixture(scope="module")
def untied_folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    build("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def opened(run: Path, engine: LocalEngine, path: Path | str) -> Shelf:
    return Shelf.open(run, engine.policy, engine.tokenizer, str(path))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {n: t for file in folder.glob("model*.safetensors") for n, t in load_file(file).items()}


def names(folder: Path) -> set[str]:
    return {place.name for place in folder.iterdir()}


@torch.no_grad()
def change(engine: LocalEngine, by: float) -> None:
    for p in engine.model.net.parameters():
        if p.requires_grad:
            p.add_(by)


def test_a_tied_model_has_a_head_of_its_own_there_and_opens_as_the_same_model(
    tied: LocalEngine, model_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = opened(tmp_path, tied, model_folder).place(0)
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert names(folder) == WHOLE | shards | {"model.safetensors.index.json"}
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    held = tensors(folder)
    assert {*index["weight_map"]} == {*held} == {*tied.model.net.state_dict()}
    assert torch.equal(held["lm_head.weight"], tied.model.net.get_input_embeddings().weight)
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert not again.config.tie_word_embeddings
    assert again.lm_head.weight.data_ptr() != again.model.embed_tokens.weight.data_ptr()
    ids = torch.arange(3, 40).unsqueeze(0)
    with torch.no_grad(), tied.model.plain():
        assert torch.equal(again(ids).logits, tied.model.net(ids).logits)
    assert json.loads((folder / "generation_config.json").read_text()) == {"eos_token_id": 1, "pad_token_id": 0}


def test_a_checkpoint_of_the_same_step_serves_for_it_and_stays_what_it_is(
    tied: LocalEngine, model_folder: Path, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "step-000001"
    tied.write(checkpoint)
    before = {file.name: file.read_bytes() for file in checkpoint.iterdir() if file.is_file()}
    folder = opened(tmp_path, tied, model_folder).place(1, checkpoint)
    assert os.path.samefile(folder / "model-00001-of-00002.safetensors", checkpoint / "model.safetensors")
    assert {file.name: file.read_bytes() for file in checkpoint.iterdir() if file.is_file()} == before
    assert json.loads(before["config.json"])["tie_word_embeddings"]
    assert not json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
    live = tied.model.net.state_dict()
    assert all(torch.equal(tensor, live[name]) for name, tensor in tensors(folder).items())


def test_an_untied_model_is_linked_as_it_is(untied_folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine.open(str(untied_folder), token_budget=256)
    engine.write(tmp_path / "step-000001")
    folder = opened(tmp_path, engine, untied_folder).place(1, tmp_path / "step-000001")
    assert names(folder) == WHOLE | {"model.safetensors"}
    assert os.path.samefile(folder / "model.safetensors", tmp_path / "step-000001" / "model.safetensors")


def test_in_half_precision_the_folder_holds_what_the_trainer_does(untied_folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine.open(str(untied_folder), token_budget=256, dtype="bfloat16")
    held = tensors(opened(tmp_path, engine, untied_folder).place(0))
    live = engine.model.net.state_dict()
    assert {tensor.dtype for tensor in held.values()} == {torch.bfloat16}
    assert all(torch.equal(tensor, live[name]) for name, tensor in held.items())


def test_where_files_cannot_be_linked_they_are_copied(
    tied: LocalEngine, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    tied.write(tmp_path / "step-000001")
    monkeypatch.setattr(os, "link", refuse)
    folder = opened(tmp_path, tied, model_folder).place(1, tmp_path / "step-000001")
    live = tied.model.net.state_dict()
    assert all(torch.equal(tensor, live[name]) for name, tensor in tensors(folder).items())


def test_the_newest_two_stay_and_any_that_a_server_starts_from(untied_folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine.open(str(untied_folder), token_budget=256)
    shelf = opened(tmp_path, engine, untied_folder)
    shelf.in_use = lambda: [shelf.at(1)]
    for version in range(4):
        change(engine, 0.01)
        shelf.place(version)
    assert shelf.versions() == [1, 2, 3] and shelf.to_start_from() == shelf.at(3)
    shelf.in_use = lambda: []
    shelf.place(10)
    assert names(shelf.root) == {"v3", "v10"}, "by number, not by name"
    shelf.place(4)
    assert names(shelf.root) == {"v3", "v4"}, "a larger number is of a run whose ledger is gone"
    assert shelf.to_start_from() == shelf.at(4)


def test_everything_is_on_the_disk_before_it_has_its_name(
    tied: LocalEngine, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    sync = os.fsync

    def note(file: int) -> None:
        flushed.append(Path(os.readlink(f"/proc/self/fd/{file}")))
        assert flushed[-1] == shelf.root or not shelf.at(5).exists()
        sync(file)

    shelf = opened(tmp_path, tied, model_folder)
    monkeypatch.setattr(os, "fsync", note)
    folder = shelf.place(5)
    assert {place.name for place in flushed} >= names(folder)
    assert flushed[-1] == shelf.root


@pytest.mark.parametrize("name", ["fsync", "link"])
def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(
    name: str, tied: LocalEngine, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tied.write(tmp_path / "step-000001")
    shelf = opened(tmp_path, tied, model_folder)
    shelf.place(1)
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(TrainingError, match=r"cannot write .*served/v2, .*No space left on device \(.* are free\)"):
        shelf.place(2, tmp_path / "step-000001")
    monkeypatch.undo()
    assert names(shelf.root) == {"v1"} and shelf.to_start_from() == shelf.at(1)
    assert shelf.place(2).exists()


def test_what_a_killed_process_left_unfinished_is_gone(tied: LocalEngine, model_folder: Path, tmp_path: Path) -> None:
    for name in (".v3.123.new", ".v1.123.old", "v2"):
        (tmp_path / "served" / name).mkdir(parents=True)
    (tmp_path / "served" / "notes.txt").write_text("mine")
    shelf = opened(tmp_path, tied, model_folder)
    assert names(shelf.root) == {"v2", "notes.txt"}
    assert "config.json" in names(shelf.place(2)), "one of the same number is replaced"


def test_what_is_written_is_compared_with_what_was_trained(
    tied: LocalEngine, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is not the embedding, as a fault of ours would write it."""
    tied.write(tmp_path / "step-000001")
    shelf, right = opened(tmp_path, tied, model_folder), shelves._untie

    def wrong(name: str, head: Any, folder: Path) -> None:
        with torch.no_grad():
            right(name, head + 1e-3, folder)
            tied.model.net.lm_head.weight.sub_(1e-3)

    monkeypatch.setattr(shelves, "_untie", wrong)
    with pytest.raises(EngineError, match=r"'lm_head.weight' is not what was trained"):
        shelf.place(1, tmp_path / "step-000001")
    assert names(shelf.root) == set()
    with torch.no_grad():
        tied.model.net.lm_head.weight.add_(1e-3)


def test_the_tensors_of_a_stream_are_those_of_the_folder(tied: LocalEngine, model_folder: Path, tmp_path: Path) -> None:
    folder = opened(tmp_path, tied, model_folder).place(0)
    sent = named_weights(tied.model.net, folder)
    assert {*sent} == {*tensors(folder)} and "lm_head.weight" in sent
    stored = stored_weights(folder)
    assert [*stored] == [*sent] and all(torch.equal(stored[name], sent[name]) for name in sent)
    assert sent["lm_head.weight"].data_ptr() == tied.model.net.lm_head.weight.data_ptr()
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"model.norm.weight"', '"norm.weight"'))
    with pytest.raises(EngineError, match=r"norm\.weight otherwise than the model in memory"):
        named_weights(tied.model.net, folder)


def test_an_adapter_stands_on_the_folder_that_it_was_trained_on(model_folder: Path, tmp_path: Path) -> None:
    engine = LocalEngine.open(str(model_folder), token_budget=256, lora=Lora(rank=4))
    change(engine, 0.01)
    shelf = opened(tmp_path, engine, model_folder)
    assert shelf.to_start_from() == model_folder.resolve(), "nothing is copied"
    engine.write(tmp_path / "step-000001")
    plain, linked = shelf.place(1), shelf.place(2, tmp_path / "step-000001")
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (plain, linked))
    assert {*a} == {*b} and all(torch.equal(a[name], b[name]) for name in a)
    assert not (plain / "trainer").exists() and json.loads((linked / "adapter_config.json").read_text())["r"] == 4


def test_an_adapter_on_an_adapter_is_served_as_one(model_folder: Path, tmp_path: Path) -> None:
    """Of both ranks together, on the base below; the product is exact."""
    first = LocalEngine.open(str(model_folder), token_budget=256, lora=Lora(rank=4))
    change(first, 0.02)
    first.write(tmp_path / "start")
    engine = LocalEngine.open(str(tmp_path / "start"), token_budget=256, lora=Lora(rank=3))
    change(engine, 0.03)
    shelf = opened(tmp_path / "run", engine, tmp_path / "start")
    folder = shelf.place(1)
    assert shelf.to_start_from() == model_folder.resolve() and not (folder / "trainer").exists()
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 7


def test_a_base_whose_files_hold_two_matrices_is_served_with_both(model_folder: Path, tmp_path: Path) -> None:
    """Where a config says one matrix and the files hold two, the files are right here, and vLLM would go by the
    config."""
    whole = opened(tmp_path / "other", LocalEngine.open(str(model_folder), token_budget=256), model_folder).place(0)
    base = tmp_path / "base"
    base.mkdir()
    for file in whole.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    shard = base / "model-00002-of-00002.safetensors"
    from safetensors.torch import save_file

    save_file({"lm_head.weight": load_file(shard)["lm_head.weight"] + 1}, shard, metadata={"format": "pt"})
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    engine = LocalEngine.open(str(base), token_budget=256, lora=Lora(rank=4))
    shelf = opened(tmp_path / "run", engine, base)
    assert shelf.base == tmp_path / "run" / "served" / "base"
    assert not json.loads((shelf.base / "config.json").read_text())["tie_word_embeddings"]
    assert os.path.samefile(shelf.base / shard.name, shard)
    assert json.loads((base / "config.json").read_text())["tie_word_embeddings"], "the user's stays what it is"
