"""A checkpoint of several ranks is what a single process writes of the same weights, and each reads the other's."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from postlude.engines.local import saving
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.ranks import Alone
from postlude.engines.ranks.crew import Blueprint, Counters
from postlude.engines.ranks.rank import Rank
from postlude.engines.ranks.unwritten import require_written, written
from postlude.engines.settings import Local, Optimizer
from postlude.errors import EngineError
from postlude.models import pieces, saved
from postlude.models.lora import Lora
from postlude.models.pieces import Pieces
from postlude.models.quiet import quiet
from postlude.models.spec import Critic, ModelSpec
from postlude.models.spread import LeftOff, Undivided, apart
from tests.ranks import Processes

HELD = Local(token_budget=512, head_chunk=64, threads=1)
COUNTERS = Counters(version=5, skipped=1)
SMALL_FILES = f"{Path(__file__).with_name('small_files.py')}:SMALL"


@pytest.fixture(scope="module")
def crew() -> Iterator[Processes]:
    ranks = Processes(2)
    yield ranks
    ranks.end()


def blueprint(model: Path | str, **values: Any) -> Blueprint:
    held = replace(HELD, **{name: values.pop(name) for name in ("dtype",) if name in values})
    return Blueprint(ModelSpec(str(model), lora=values.pop("lora", None)), Optimizer(), held, 0, **values)


def trained(plan: Blueprint) -> LocalEngine:
    """An engine of one process after two steps on gradients of chance, with a reference between them."""
    with quiet():
        engine = Rank(plan).engine
    trainer = engine.trainer
    for seed in (1, 2):
        draws = torch.Generator().manual_seed(seed)
        for _, _, owned in trainer.named:
            owned.grad = torch.randn(owned.shape, generator=draws).to(owned.dtype)
        trainer.step(0.01)
        if seed == 1 and (plan.keep_reference or trainer.has_adapter):
            trainer.reference.refresh(1.0)
    trainer.version, trainer.skipped = COUNTERS.version, COUNTERS.skipped
    return engine


def ask(crew: Processes, method: str, *shared: Any) -> list[Any]:
    return asyncio.run(crew.call(method, shared[0] if len(shared) == 1 else shared))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def require_same_files(one: Path, other: Path) -> None:
    ours, theirs = contents(one), contents(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name] != theirs[name]] == []


def adapter_on(model: Path, folder: Path) -> Path:
    """A trained adapter for another to stand on."""
    engine = trained(blueprint(model, lora=Lora(rank=3, alpha=5)))
    with quiet():
        engine.write(folder)
    return folder


def experts_like(model: Path, folder: Path) -> Path:
    """A mixture of experts, whose file has a tensor for each where the model has one for all."""
    from transformers import AutoTokenizer, MixtralConfig, MixtralForCausalLM

    tokenizer: Any = AutoTokenizer.from_pretrained(model)
    config = MixtralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=3,
        vocab_size=len(tokenizer),
    )
    with quiet():
        MixtralForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


CASES: dict[str, dict[str, Any]] = {
    "all weights": {"keep_reference": True, "critic": Critic("own")},
    "half precision": {"keep_reference": True, "critic": Critic("own"), "dtype": "bfloat16"},
    "experts, under older names": {"keep_reference": True},
    "adapter on an adapter": {"lora": Lora(rank=2), "critic": Critic("trunk")},
    "adapter of a reward model": {"lora": Lora(rank=2), "scores": True, "dtype": "bfloat16"},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_ranks_write_what_one_process_writes(name: str, crew: Processes, model_folder: Path, tmp_path: Path) -> None:
    """Every file of it, byte for byte, after they have read it; and one process reads theirs."""
    make = {"adapter on an adapter": adapter_on, "experts, under older names": experts_like}.get(name)
    model = make(model_folder, tmp_path / "start") if make else model_folder
    plan = blueprint(model, **CASES[name])
    engine = trained(plan)
    with quiet():
        engine.write(tmp_path / "one")
    ask(crew, "build", plan)
    ask(crew, "load", tmp_path / "one", True)
    assert ask(crew, "save", tmp_path / "ranks", COUNTERS) == [None, None]
    require_same_files(tmp_path / "one", tmp_path / "ranks")
    assert ask(crew, "fingerprint", None) == [engine.fingerprint()] * 2
    again = Rank(plan).engine
    again.take_up(tmp_path / "ranks")
    with quiet():
        again.write(tmp_path / "again")
    require_same_files(tmp_path / "one", tmp_path / "again")
    require_gathered(crew, engine, tmp_path / "weights.safetensors")


def require_gathered(crew: Processes, engine: LocalEngine, file: Path) -> None:
    """What travels to a sampler: the policy's trained weights, as one process holds them."""
    assert ask(crew, "gather", file, None) == [None, None]
    policy = engine.trainer.parts["policy"]
    sent = load_file(file)
    assert sent.keys() == {*policy.names}
    for key, p in zip(policy.names, policy.params, strict=True):
        assert sent[key].dtype == p.dtype and torch.equal(sent[key], p.detach())
    assert [p.name for p in file.parent.glob(".*")] == []


def test_a_rank_that_cannot_write_says_so_and_all_go_on(crew: Processes, model_folder: Path, tmp_path: Path) -> None:
    ask(crew, "build", blueprint(model_folder, keep_reference=True))
    ask(crew, "refresh_reference", 1.0)
    (tmp_path / "file").write_text("in the way")
    require_unwritten(ask(crew, "save", tmp_path / "file" / "step", COUNTERS), "Not a directory")
    require_unwritten(ask(crew, "gather", tmp_path / "file" / "weights", None), "Not a directory")
    (tmp_path / "full" / "trainer").mkdir(parents=True)
    (tmp_path / "full" / "trainer" / "reference.safetensors").symlink_to("/dev/full")
    require_unwritten(ask(crew, "save", tmp_path / "full", COUNTERS), "No space left on device")
    (tmp_path / ".weights.new").symlink_to("/dev/full")
    require_unwritten(ask(crew, "gather", tmp_path / "weights", None), "No space left on device")
    assert {p.name for p in tmp_path.iterdir()} == {"file", "full"}, "no half of the weights stays on a full disk"
    ask(crew, "rehearse", None)
    require_written(ask(crew, "save", tmp_path / "step", COUNTERS), tmp_path)
    assert (tmp_path / "step" / "model.safetensors").exists()


def test_a_rank_that_cannot_reach_the_others_did_not_fail_to_write() -> None:
    def work() -> None:
        raise ConnectionResetError(104, "Connection reset by peer")

    with pytest.raises(ConnectionResetError):
        written(0, work)


def require_unwritten(said: list[Any], why: str) -> None:
    with pytest.raises(OSError, match=f"trainer rank 0: {why}"):
        require_written(said, Path.cwd())
    assert said[1] is None


def test_large_ones_are_written_in_parts_and_read_by_one_process(
    crew: Processes, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last that is asked of these ranks: from here on they write small files."""
    plan = blueprint(model_folder, dtype="bfloat16")
    engine = trained(plan)
    monkeypatch.setattr(saved, "LARGEST", 100_000)
    with quiet():
        engine.write(tmp_path / "one")
    index = json.loads((tmp_path / "one" / "model.safetensors.index.json").read_text())
    assert len({*index["weight_map"].values()}) > 2
    ask(crew, "build", replace(plan, imports=(SMALL_FILES,)))
    ask(crew, "load", tmp_path / "one", True)
    ask(crew, "save", tmp_path / "ranks", COUNTERS)
    ours, theirs = contents(tmp_path / "one"), contents(tmp_path / "ranks")
    parts = [f"trainer/parts/0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert {*theirs} - {*ours} == {*parts} and {*ours} - {*theirs} == {"trainer/optimizer.safetensors"}
    assert [name for name in ours if name in theirs and ours[name] != theirs[name]] == []
    again = Rank(plan).engine
    again.take_up(tmp_path / "ranks")
    with quiet():
        again.write(tmp_path / "again")
    require_same_files(tmp_path / "one", tmp_path / "again")
    ask(crew, "save", tmp_path / "one", COUNTERS)  # over what is there: one form of the optimiser is left
    assert contents(tmp_path / "one").keys() == theirs.keys()
    (tmp_path / "ranks" / parts[0]).unlink()
    with pytest.raises(EngineError, match="holds 1 of the 2 files that as many ranks wrote"):
        again.take_up(tmp_path / "ranks")


class Row(Undivided):
    """One of several that each hold some rows of every matrix."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size

    def of(self, whole: Tensor) -> tuple[int, int]:
        each = -(-len(whole) // self.size)
        return min(self.rank * each, len(whole)), min((self.rank + 1) * each, len(whole))


@pytest.mark.parametrize("readers", [1, 2, 3, 8])
@pytest.mark.parametrize("writers", [1, 2, 3, 8])
def test_any_number_reads_what_another_wrote(writers: int, readers: int, tmp_path: Path) -> None:
    """Of 8 some hold no row at all."""
    whole = torch.arange(7 * 3, dtype=torch.float32).reshape(7, 3)
    for n in range(writers):
        first, end = Row(n, writers).of(whole)
        held = {"w": whole[first:end]} if end > first else {"other": torch.zeros(1)}
        save_file({k: v.contiguous() for k, v in held.items()}, tmp_path / f"{n}.safetensors")
    files = [tmp_path / f"{n}.safetensors" for n in range(writers)]
    with Pieces(files) as stored:
        assert stored.shape("w") == (7, 3)
        read = [stored.read("w", Row(n, readers).of(whole)) for n in range(readers)]
        assert torch.equal(torch.cat(read), whole)
        assert torch.equal(stored.read("w"), whole)
        with pytest.raises(EngineError, match=r"'w' is \(7, 3\), and the model's is \(3, 7\)"):
            stored.fill(torch.zeros(3, 7), "w", Alone())


def test_a_file_is_what_safetensors_writes(tmp_path: Path) -> None:
    tensors = {
        "b::ü": torch.randn(3, 5, dtype=torch.float64),
        "a": torch.randn(7).bfloat16(),
        "c": torch.tensor(2.0),
        "d": torch.randn(4, 0, 2),
        "e": torch.randn(2, 9).half(),
        "f": torch.randn(8, 2).T,
    }
    pieces.write(tmp_path / "ours", tensors, Alone())
    save_file({name: one.contiguous() for name, one in tensors.items()}, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    with safe_open(tmp_path / "ours", framework="pt") as stored:
        assert torch.equal(stored.get_tensor("f"), tensors["f"])


class Meeting(Undivided):
    """Threads that agree as ranks do."""

    size = 3

    def __init__(self, rank: int, said: list[float], barrier: threading.Barrier) -> None:
        self.rank, self.said, self.barrier = rank, said, barrier

    def most(self, numbers: Sequence[float]) -> list[float]:
        self.said[self.rank] = numbers[0]
        self.barrier.wait(10)
        return [max(self.said)]


def test_where_one_fails_all_stop_and_that_one_says_why() -> None:
    said, barrier = [0.0] * 3, threading.Barrier(3)
    ends: list[type | None] = [None] * 3

    def work(rank: int) -> None:
        def write() -> None:
            if rank == 1:
                raise OSError(28, "No space left on device")

        try:
            apart(Meeting(rank, said, barrier), write)
        except (OSError, LeftOff) as error:
            ends[rank] = type(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert ends == [LeftOff, OSError, LeftOff]


def test_one_process_writes_one_optimiser_however_large(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = trained(blueprint(model_folder))
    monkeypatch.setattr(saving, "LARGEST", 0)
    with quiet():
        engine.write(tmp_path / "one")
    assert (tmp_path / "one" / "trainer" / saving.OPTIMIZER).exists()
