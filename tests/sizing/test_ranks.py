"""What a rank takes: by the formulas, against the tensors of a model that is spread over four."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.memory import gathered, kept_of, local_of, shape_of
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.engines.ranks.shard import spread
from postlude.models.lora import Lora
from postlude.sizing import Setting, Shape
from postlude.sizing.activations import moments
from postlude.sizing.estimate import ADDING_UP, RUNTIME, estimate, least_held, worst_moment
from postlude.sizing.host import host_of
from postlude.sizing.parts import held_parts, root_of
from postlude.sizing.ranks import added_up_bytes, gathered_bytes, of_share, sampler_of, share_of, shared_out
from postlude.sizing.work import Work

RANKS = 4


class Resident(TorchDispatchMode):
    """The most bytes of storages made meanwhile, as large as they are at each operation: FSDP2 gives storages back and
    takes them again."""

    def __init__(self) -> None:
        super().__init__()
        self._there: dict[int, weakref.ref[Any]] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        for x in tree_leaves(outputs):
            if isinstance(x, Tensor) and not hasattr(x, "to_local"):
                storage = x.untyped_storage()
                key = storage._cdata
                self._there.setdefault(key, weakref.ref(storage, lambda _, key=key: self._there.pop(key, None)))
        alive = [storage for one in [*self._there.values()] if (storage := one()) is not None]
        self.most = max(self.most, sum(storage.nbytes() for storage in alive))
        return outputs


@pytest.fixture(scope="module")
def mesh() -> Iterator[DeviceMesh]:
    """This process as one of four that are not there: what they would send is left out."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=RANKS)
    yield init_device_mesh("cpu", (RANKS,))
    dist.destroy_process_group()


def tiny(dtype: torch.dtype, vocabulary: int, lora: bool) -> LocalModel:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 5, "head_dim": 8}
    heads: dict[str, Any] = {"num_attention_heads": 8, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=vocabulary, **sizes, **heads, tie_word_embeddings=vocabulary < 1000)
    net: Any = LlamaForCausalLM(config)
    net = net.to(dtype)
    if lora:
        net = get_peft_model(net, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    without_dropout(net)
    model = LocalModel(net.train())
    model.choose_path()
    model.head_chunk = 4096
    return model


@pytest.mark.parametrize(
    ("dtype", "vocabulary", "lora"),
    [
        ("float32", 400, False),
        ("bfloat16", 400, False),
        ("float32", 4000, False),
        ("bfloat16", 4000, False),
        ("float32", 400, True),
    ],
)
def test_a_rank_takes_what_the_formulas_say(mesh: DeviceMesh, dtype: Any, vocabulary: int, lora: bool) -> None:
    model = tiny(getattr(torch, dtype), vocabulary, lora)
    shape, kept = shape_of(model), kept_of(model)
    spread(model, mesh)
    setting = Setting(dtype=dtype, ranks=RANKS, lora=Lora(16) if lora else None)
    weights = next(of_share(part, RANKS) for part in held_parts(shape, setting) if part.name == "weights")
    params = [local_of(p) for p in model.net.parameters()]
    assert sum(p.numel() * p.element_size() for p in params) == pytest.approx(weights.bytes, rel=0.01)
    answers = tuple(Completion(tuple(range(k, k + 60)), reward=1.0) for k in range(4))
    batch = pack([Group(Prompt(str(g), "", tokens=tuple(range(g, g + 20))), answers) for g in range(3)])

    def forth_and_back() -> None:
        with model.running(batch) as outputs:
            outputs(False).logprobs.sum().backward()  # type: ignore[union-attr]

    forth_and_back()
    with Resident() as resident:
        forth_and_back()
    passes = moments(shape, kept, Work(sequence=80, prompt=20, group=4), batch.tokens.shape[0], model.head_chunk)
    there = max(one.layers + one.beside for one in passes)
    moved = gathered_bytes(shape, setting) + added_up_bytes(shape, setting)
    assert moved == gathered(model, None, RANKS) and gathered(model, None, 1) == 0
    assert there + moved == pytest.approx(resident.most, rel=0.06)
    assert there + moved > 0.99 * resident.most


# --------------------------------------------------------------------------------------------------------- shares


def test_a_share_is_whole_pieces_of_what_is_trained_and_nothing_of_what_is_sampled() -> None:
    work = Work(sequence=100, piece=100, update=1000, draw=4000, answers=40, first_prompts=10, prompt=20, group=4)
    share = share_of(work, 4)
    assert (share.update, share.draw, share.answers, share.first_prompts) == (250, 1000, 0, 0)
    assert share_of(work, 64).update == 100 == share_of(work, 64).draw  # a piece cannot be cut
    assert share_of(work, 1) is work
    assert share_of(replace(work, update=0), 4).update == 0  # not known


def test_the_driver_beside_ranks_holds_weights_to_sample_with_and_nothing_that_trains() -> None:
    shape = shape_of(tiny(torch.float32, 400, False))
    setting = Setting(reference=True, critic="own", apart=True)
    driver = estimate(shape, sampler_of(setting))
    names = {part.name for part in driver.parts}
    assert {"weights", "keys and values"} <= names
    assert not names & {"optimiser (AdamW)", "gradients", "activations", "reference", "critic", "sampler's copy"}
    rank = estimate(shape, shared_out(setting, 4))
    names = {part.name for part in rank.parts}
    assert {"optimiser (AdamW)", "reference", "critic"} <= names and not names & {"keys and values", "sampler's copy"}


def test_ranks_of_one_host_share_its_memory_with_each_other_and_the_driver() -> None:
    shape = Shape.of_size("1B")
    setting = Setting(reference=True)
    two, four = host_of(shape, setting, 2, True), host_of(shape, setting, 4, True)
    count = shape.parameters
    share = 20 * count // 4  # weights, gradients, two moments, the reference
    assert four.rank == pytest.approx(share + 4 * (2 * shape.of_layer + root_of(shape)) + 8 * shape.of_layer + RUNTIME)
    assert four.driver == least_held(shape, sampler_of(setting)) >= 4 * count
    assert four.loading == 4 * count + 4 * (4 * count + RUNTIME)  # files are there once, float32 in each
    assert two.needs == max(two.loading, 2 * two.rank + two.driver)
    assert host_of(shape, setting, 4, False).driver == 0  # servers sample


def test_embedding_and_output_layer_are_added_up_whole_where_they_are_most_of_a_model() -> None:
    shape = shape_of(tiny(torch.float32, 4000, False))
    one = Work(sequence=20, piece=20, update=200, draw=200, prompt=4, group=1)
    setting = replace(shared_out(Setting(work=one), 4), asked=replace(Setting().asked, token_budget=20))
    rank = estimate(shape, setting)
    assert worst_moment(shape, setting, rank.plan).name == ADDING_UP == rank.at
    root = 2 * 4000 * 64 + 64
    assert next(part.bytes for part in rank.parts if part.name.startswith("gradient of the embedding")) == 8 * root
