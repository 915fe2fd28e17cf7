"""What is free, what a micro-batch costs, and what is chosen from the two."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from postlude.algorithms import ALGORITHMS
from postlude.batch import split
from postlude.engines.local import free as free_memory
from postlude.engines.local.direct import Direct
from postlude.engines.local.free import Free
from postlude.engines.local.measuring import peak
from postlude.engines.local.memory import _forth_and_back as forth_and_back
from postlude.engines.local.memory import _probe as probe
from postlude.engines.local.memory import choose, measure, rough
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.engines.local.trainer import LocalTrainer
from postlude.engines.settings import Optimizer
from postlude.errors import ConfigError
from postlude.models.load import Lora
from postlude.models.tiny import character_tokenizer, tiny_qwen3
from postlude.sizing.work import BUDGET, Asked, Held, Work
from tests.engines.test_parity import local
from tests.refusals import refused

MIB = 2**20
CPU = torch.device("cpu")


def small(layers: int = 2, width: int = 64) -> LocalModel:
    net = tiny_qwen3(character_tokenizer(), layers=layers, width=width)
    without_dropout(net)
    model = LocalModel(net)
    model.choose_path()
    return model


def held(trained: int = 4 * MIB) -> Held:
    return Held(weights=trained, gradients=trained, optimizer=2 * trained, decoding=0, apart=False)


# ------------------------------------------------------------------------------------------------------------ free


def written(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_room_in_control_groups_of_version_2_is_the_least_of_all_above(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user/job"
    written(tmp_path, **{
        "proc/self/cgroup": "0::/user/job\n",
        f"{group}/memory.max": "max\n",
        f"{group}/memory.high": "3000\n",
        f"{group}/memory.current": "1000\n",
        f"{group}/memory.stat": "anon 700\ninactive_file 200\n",
        "sys/fs/cgroup/user/memory.max": "2500\n",
        "sys/fs/cgroup/user/memory.current": "2000\n",
    })  # fmt: skip
    assert sorted(found.bytes for found in free_memory._groups(tmp_path)) == [500, 2200]


def test_room_in_control_groups_of_version_1_and_in_a_container_that_sees_the_host_path(tmp_path: Path) -> None:
    written(tmp_path, **{
        "proc/self/cgroup": "5:cpu:/docker/abc\n4:memory:/docker/abc\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "4000\n",
        "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100\n",
    })  # fmt: skip
    assert [found.bytes for found in free_memory._groups(tmp_path)] == [1100]


def test_a_machine_that_does_not_say_counts_half_of_its_memory(tmp_path: Path) -> None:
    (found,) = free_memory._machine(tmp_path)
    assert 2**28 < found.bytes < 2**45
    written(tmp_path, **{"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:     7 kB\n"})
    assert free_memory._machine(tmp_path)[0].bytes == 7 * 1024


# ----------------------------------------------------------------------------------------------------------- costs


def test_the_peak_is_of_what_is_alive_at_once() -> None:
    def work() -> None:
        a = torch.ones(1000)
        b = a * 2  # 8000 bytes
        del a
        c = b.view(10, 100) + 1  # 8000 again: a view takes nothing
        del b
        c.add_(1)

    assert peak(work, CPU) == 8000


@pytest.mark.parametrize("kind", ["direct", "packed", "padded", "LoRA", "checkpointing", "critic"])
def test_costs_measured_on_32_tokens_foretell_larger_micro_batches(kind: str) -> None:
    from peft import LoraConfig, get_peft_model

    model = small() if kind != "packed" else local("gemma")
    critic = None
    if kind == "padded":
        model.choose_path(allow_packed=False)
    if kind == "LoRA":
        model = LocalModel(get_peft_model(model.net, LoraConfig(r=4, target_modules="all-linear")))
        model.choose_path()
    if kind == "checkpointing":
        model.net.gradient_checkpointing_enable({"use_reentrant": False})
        model.net.train()
    if kind == "critic":
        critic = small()
    costs = measure(model, critic)
    assert all(p.grad is None for p in model.net.parameters())
    model.head_chunk = 64
    batch = probe(model, 8, 64)
    forth_and_back(model, critic, batch)
    seen = peak(lambda: forth_and_back(model, critic, batch), CPU)
    said = costs.micro(8 * 64, 64, 64 * model.vocabulary)
    assert 0.8 * seen < said < 1.6 * seen
    assert said < rough(model, critic).micro(8 * 64, 64, 64 * model.vocabulary) or kind == "packed"


# ---------------------------------------------------------------------------------------------------------- choosing


def test_small_models_get_the_largest_budget_without_measuring() -> None:
    plan = choose(small(), None, held(), Free(8 << 30, "here"), Work(sequence=200, update=5000), Asked())
    assert plan.token_budget == BUDGET and "at most" not in plan.text  # counted, and no bound


def test_the_budget_falls_with_what_is_free_and_never_rises() -> None:
    model, work = small(), Work(sequence=100, piece=100, update=10**6)
    budgets = [
        choose(model, None, held(), Free(n * MIB, "here"), work, Asked()).token_budget for n in (60, 150, 600, 9000)
    ]
    assert budgets == sorted(budgets) and budgets[0] < budgets[-1] == BUDGET
    assert all(b & (b - 1) == 0 for b in budgets), "powers of two: a little more or less that is free changes nothing"


def test_what_never_fits_is_refused_with_what_would() -> None:
    model = small(layers=8)
    size = sum(4 * p.numel() for p in model.net.parameters())
    work = Work(sequence=4000, piece=4000, update=4000)
    with pytest.raises(ConfigError) as caught:
        choose(model, None, held(size), Free(60 * MIB, "here"), work, Asked())
    text = str(caught.value)
    assert "the longest piece of 4,000 tokens" in text
    assert "engine.gradient_checkpointing=true" in text and "pieces of at most" in text and "token_budget" in text
    with pytest.raises(ConfigError, match="smaller model, or more memory"):
        choose(model, None, held(8), Free(MIB // 4, "here"), Work(sequence=50, piece=50), Asked())


def test_a_setting_of_the_users_stands_with_a_warning_that_names_what_fits() -> None:
    model, work = small(), Work(sequence=100, piece=100, update=10**6)
    plan = choose(model, None, held(), Free(60 * MIB, "here"), work, Asked(token_budget=16384))
    fits = choose(model, None, held(), Free(60 * MIB, "here"), work, Asked())
    assert plan.token_budget == 16384 and f"token_budget={fits.token_budget}" in plan.warning
    assert not fits.warning


def test_the_cache_shrinks_and_answers_that_have_no_room_are_refused() -> None:
    model, work = small(), Work(sequence=200, piece=200, update=400, answers=10_000)
    large = choose(model, None, held(), Free(16 << 30, "here"), work, Asked()).cache_bytes
    less = choose(model, None, held(), Free(900 * MIB, "here"), work, Asked()).cache_bytes
    assert large == 2 << 30 and less < large
    long = dataclasses.replace(work, sequence=10**6, piece=64)
    with refused("out-of-memory"):
        choose(model, None, held(), Free(400 * MIB, "here"), long, Asked())


def test_models_that_load_later_count() -> None:
    model, work = small(), Work(sequence=100, piece=100, update=10**6)
    alone = choose(model, None, held(), Free(600 * MIB, "here"), work, Asked())
    beside = choose(model, None, held(), Free(600 * MIB, "here"), dataclasses.replace(work, other=450 * MIB), Asked())
    assert beside.token_budget < alone.token_budget


# ------------------------------------------------------------------------------------------------------- same results


@pytest.mark.parametrize("method", ["grpo", "drpo", "sft", "dpo"])
@pytest.mark.parametrize("lora", [False, True])
def test_results_do_not_depend_on_budget_and_chunk(method: str, lora: bool) -> None:
    """Weights after two updates in float64, whole and in pieces."""

    def trained(budget: int, chunk: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        net: Any = local("llama").net.double()
        if lora:
            from peft import get_peft_model

            net = get_peft_model(net, lora_config())
        model = LocalModel(net)
        model.direct = Direct(model.hf)  # the modules' own norms round to float32
        trainer = LocalTrainer(model, Optimizer(max_grad_norm=0), budget, keep_reference=True)
        trainer.use(budget, chunk)
        objective: Any = ALGORITHMS[method].objective
        if method == "drpo":
            objective = dataclasses.replace(objective, advantage=dataclasses.replace(objective.advantage, cap=20))
        batch = batch_of(method)
        if objective.kind == "token":
            batch = dataclasses.replace(batch, old_logprobs=trainer.outputs(batch, "policy").logprobs)
        if "reference" in objective.needs:
            batch = dataclasses.replace(batch, ref_logprobs=trainer.outputs(batch, "reference").logprobs)
        batch = objective.advantages(batch)
        for _ in range(2):
            weighed = objective.weigh(batch, trainer.outputs(batch, "policy") if objective.live else None)
            for micro in split(weighed, budget, not objective.splits_groups, model.packed):
                trainer.forward_backward(micro, objective)
            trainer.step(1e-2)
        return [p.detach() for p in model.net.parameters()]

    for mine, other in zip(trained(10_000, 1000), trained(20, 3), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)


def lora_config() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=Lora().rank, target_modules="all-linear", init_lora_weights=True)


def batch_of(method: str) -> Any:
    """Groups of ragged answers with rewards 1 and 0."""
    from postlude.batch import pack
    from postlude.data import Completion, Group, Prompt

    groups = []
    for g in range(3):
        prompt = Prompt(str(g), "", tokens=tuple(2 + (7 * g + i) % 50 for i in range(3 + g)))
        lengths = (4, 7) if method == "dpo" else (4, 7, 5)
        answers = tuple(
            Completion(
                tuple(2 + (11 * g + 5 * k + i) % 50 for i in range(n)),
                reward=float(k == 0),
                logprobs=(-2.0,) * n,
                correct=k == 0,
            )
            for k, n in enumerate(lengths)
        )
        groups.append(Group(prompt, answers))
    return pack(groups)
