"""What a run takes: by the formulas, against tensors that were counted, and as a command."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import postlude
from postlude.algorithms import ALGORITHMS
from postlude.batch import pack
from postlude.cli.app import app
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.measuring import peak
from postlude.engines.local.memory import kept_of, shape_of
from postlude.engines.local.model import LocalModel, without_dropout
from postlude.errors import ConfigError
from postlude.footprint import Lengths, forecast
from postlude.models.lora import Lora
from postlude.sizing import Estimate, Setting, Shape, estimate
from postlude.sizing.activations import moments
from postlude.sizing.heap import HEAP
from postlude.sizing.ranks import shared_out
from postlude.sizing.work import Asked, Work
from tests.refusals import refused

SMOLLM2 = Shape.of_config(Path("tests/fixtures/configs/smollm2-135m.json"))
COUNT = 134_515_008
GRPO = Setting(reference=True, without_reference="objective.kl=null")


def bytes_of(whole: Estimate, name: str) -> int:
    return sum(part.bytes for part in whole.parts if part.name == name)


# --------------------------------------------------------------------------------------------------------- parts


def test_what_is_always_there_is_counted_in_bytes_of_parameters() -> None:
    full = estimate(SMOLLM2, GRPO)
    assert bytes_of(full, "weights") == 4 * COUNT == bytes_of(full, "reference")
    assert bytes_of(full, "optimiser (AdamW)") == 8 * COUNT
    assert bytes_of(full, "gradients") == 4 * COUNT  # there in all passes but the first
    half = estimate(SMOLLM2, replace(GRPO, dtype="bfloat16"))
    assert bytes_of(half, "weights") == 2 * COUNT
    assert bytes_of(half, "fp32 master weights") == 4 * COUNT
    adapter = estimate(SMOLLM2, replace(GRPO, lora=Lora(16)))
    assert bytes_of(adapter, "weights") == 4 * (COUNT + 4_884_480)
    assert bytes_of(adapter, "optimiser (AdamW)") == 8 * 4_884_480
    assert bytes_of(adapter, "reference") == 0  # the model without its adapter
    critic = estimate(SMOLLM2, replace(GRPO, critic="own"))
    assert bytes_of(critic, "critic") == 12 * (COUNT + 576)
    trunk = estimate(SMOLLM2, replace(GRPO, critic="trunk"))
    assert bytes_of(trunk, "critic") == 12 * 577
    assert bytes_of(estimate(SMOLLM2, replace(GRPO, apart=True)), "sampler's copy") == 4 * COUNT


def test_the_peak_is_the_largest_phase_and_no_sum_over_phases() -> None:
    whole = estimate(SMOLLM2, GRPO)
    assert whole.peak == max(whole.phases.values()) < sum(whole.phases.values())
    assert whole.phases[whole.worst] == whole.peak
    assert whole.phases["update"] == whole.always + sum(part.bytes for part in whole.parts if part.phase == "update")
    beside = estimate(SMOLLM2, replace(GRPO, apart=True))
    assert beside.phases["update"] > whole.phases["update"] + bytes_of(beside, "keys and values")


def test_every_part_says_how_it_is_computed() -> None:
    for part in estimate(SMOLLM2, replace(GRPO, dtype="bfloat16", apart=True, critic="own")).parts:
        assert part.formula and part.bytes > 0


def peaks(*settings: Setting) -> list[int]:
    return [estimate(SMOLLM2, setting).peak for setting in settings]


def test_more_is_never_less() -> None:
    ranks = peaks(*(replace(GRPO, lora=Lora(rank)) for rank in (1, 8, 64, 256)))
    assert ranks == sorted(ranks) and ranks[1] < peaks(GRPO)[0]
    for setting in (GRPO, replace(GRPO, lora=Lora(8)), replace(GRPO, dtype="bfloat16"), replace(GRPO, critic="own")):
        plain, saving = peaks(setting, replace(setting, checkpointing=True))
        assert saving <= plain
    budgets = peaks(*(replace(GRPO, asked=Asked(token_budget=n)) for n in (512, 1024, 4096, 16_384)))
    assert budgets == sorted(budgets)
    longer = [
        replace(GRPO, work=Work(sequence=n, piece=n, update=n, answers=1, prompt=n // 2, group=1)) for n in (64, 512)
    ]
    assert peaks(*longer) == sorted(peaks(*longer))


def test_a_smaller_room_gives_smaller_micro_batches_that_fit_it() -> None:
    rooms = [3 << 30, 6 << 30, 12 << 30, 48 << 30]
    chosen = [estimate(SMOLLM2, replace(GRPO, lora=Lora(8), room=room)) for room in rooms]
    assert [one.plan.token_budget for one in chosen] == sorted(one.plan.token_budget for one in chosen)
    assert chosen[0].plan.token_budget < chosen[-1].plan.token_budget
    assert all(one.peak - one.process <= room for one, room in zip(chosen, rooms, strict=True))
    with refused("out-of-memory"):
        estimate(SMOLLM2, replace(GRPO, room=1 << 30))


def test_ranks_share_weights_gradients_and_optimiser_and_nothing_else() -> None:
    whole, rank = estimate(SMOLLM2, shared_out(GRPO, 1)), estimate(SMOLLM2, shared_out(GRPO, 4))
    assert whole == estimate(SMOLLM2, GRPO)
    for name in ("weights", "optimiser (AdamW)", "reference"):
        assert bytes_of(rank, name) == bytes_of(whole, name) // 4, name
    root = COUNT - 30 * SMOLLM2.of_layer
    assert part_of(rank, "gathered weights", "update") == 4 * (2 * SMOLLM2.of_layer + root)
    assert bytes_of(rank, "a layer's gradients, added up") == 8 * SMOLLM2.of_layer
    assert bytes_of(whole, "gradients") == 4 * COUNT and bytes_of(rank, "gradients") == 0  # one pass: none before it
    assert bytes_of(rank, "keys and values") == 0 and bytes_of(rank, "the process") == bytes_of(whole, "the process")


def test_half_precision_over_ranks_is_held_in_float32_and_gathered_in_half() -> None:
    rank = estimate(SMOLLM2, shared_out(replace(GRPO, dtype="bfloat16", reference=False), 4))
    assert bytes_of(rank, "weights") == COUNT and bytes_of(rank, "fp32 master weights") == 0
    assert part_of(rank, "gathered weights", "update") == 2 * (2 * SMOLLM2.of_layer + COUNT - 30 * SMOLLM2.of_layer)
    adapter = estimate(SMOLLM2, shared_out(replace(GRPO, dtype="bfloat16", lora=Lora(16)), 4))
    assert bytes_of(adapter, "weights") == (2 * COUNT + 4 * 4_884_480) // 4


def test_knobs_save_what_they_say_and_the_largest_stands_first() -> None:
    whole = estimate(SMOLLM2, GRPO)
    saved = {knob.key: knob for knob in whole.knobs}
    assert [knob.saves for knob in whole.knobs] == sorted((knob.saves for knob in whole.knobs), reverse=True)
    lora = estimate(SMOLLM2, replace(GRPO, lora=Lora()))
    assert saved["model.lora.rank=16"].peak == lora.peak == whole.peak - saved["model.lora.rank=16"].saves
    assert saved["objective.kl=null"].saves == 4 * COUNT
    assert "objective.kl=null" not in {
        knob.key for knob in estimate(SMOLLM2, replace(GRPO, without_reference="")).knobs
    }


@pytest.mark.parametrize("method", ["grpo", "ppo", "dpo", "sft", "reward_model", "kto"])
def test_every_knob_is_a_setting_that_a_recipe_of_the_method_takes(method: str) -> None:
    for knob in forecast("135M", [], method).knobs:
        again = forecast("135M", [knob.key], method)
        assert again.peak == pytest.approx(knob.peak, rel=0.02), knob.key


@pytest.mark.parametrize("method", [*ALGORITHMS])
def test_every_method_has_a_forecast(method: str) -> None:
    assert forecast("135M", [], method).peak > 16 * COUNT * (0.5 if method == "sft" else 0.9)


# ------------------------------------------------------------------------------------------------------ the heap

SMALL = replace(SMOLLM2, vocabulary=8000, layers=8)
SHORT = Work(sequence=160, piece=160, update=640, draw=1280, answers=8, prompt=60, group=1)
"""Four answers of 100 tokens in an update, eight in a draw."""


def part_of(whole: Estimate, name: str, phase: str) -> int:
    return next((part.bytes for part in whole.parts if (part.name, part.phase) == (name, phase)), 0)


def test_gradients_of_the_step_before_leave_their_places_in_the_heap() -> None:
    whole = estimate(SMALL, Setting(work=SHORT, reads_old=False))
    assert part_of(whole, "gradients", "update") == 0  # those of the only pass come as its activations go
    assert part_of(whole, "holes of the heap", "update") == 4 * SMALL.parameters
    adapter = estimate(SMALL, Setting(work=SHORT, reads_old=False, lora=Lora(1)))
    passing = part_of(adapter, "activations", "update") + part_of(adapter, "logits and their gradient", "update")
    assert part_of(adapter, "holes of the heap", "update") == pytest.approx(HEAP * passing, rel=1e-6)
    assert part_of(estimate(SMALL, Setting(work=SHORT, device="cuda")), "holes of the heap", "update") == 0


def test_large_logits_come_on_top_of_what_the_last_update_left_in_the_heap() -> None:
    wide = replace(SMALL, vocabulary=32_000)  # 500 rows of a chunk: 64 MB
    whole = estimate(wide, Setting(work=replace(SHORT, draw=6400), reads_old=True))
    update = sum(part.bytes for part in whole.parts if part.phase == "update")
    logits = part_of(whole, "logits and their gradient", "update")
    assert part_of(whole, "left by the last update", "reading") == pytest.approx(update - logits, abs=4)
    small = estimate(SMALL, Setting(work=SHORT, reads_old=True))  # 800 rows of 8,000: 26 MB, which the heap has
    assert part_of(small, "left by the last update", "reading") == 0
    assert part_of(small, "one layer and the output layer", "reading") == 8 * 800 * 8000 + 2 * 800 * 576 * 4


# --------------------------------------------------------------------------------------------- against real tensors


def family(kind: str) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=400, n_embd=64, n_layer=4, n_head=4, n_positions=256))
    sizes: dict[str, Any] = {"vocab_size": 400, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 5}
    heads: dict[str, Any] = {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=True))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "lora", "checkpointing", "bfloat16", "long prompts", "chunks"])
def test_a_pass_takes_what_the_formulas_say(kind: str) -> None:
    from peft import LoraConfig, get_peft_model

    net = family("gpt2" if kind == "gpt2" else "llama")
    if kind == "lora":
        net = get_peft_model(net, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    if kind == "bfloat16":
        net = net.to(torch.bfloat16)
    if kind == "checkpointing":
        net.gradient_checkpointing_enable({"use_reentrant": False})
    without_dropout(net)
    model = LocalModel(net.train())
    model.choose_path()
    model.head_chunk = 64 if kind == "chunks" else 4096
    prompt, answer = (120, 20) if kind == "long prompts" else (20, 60)
    answers = tuple(Completion(tuple(range(k, k + answer)), reward=1.0) for k in range(4))
    batch = pack([Group(Prompt(str(g), "", tokens=tuple(range(g, g + prompt))), answers) for g in range(3)])

    def forth_and_back() -> None:
        with model.running(batch) as outputs:
            outputs(False).logprobs.sum().backward()  # type: ignore[union-attr]

    forth_and_back()  # what is made once, and the gradients
    seen = peak(forth_and_back, torch.device("cpu"))
    work = Work(sequence=prompt + answer, prompt=prompt, group=4)
    found = moments(shape_of(model), kept_of(model), work, batch.tokens.shape[0], model.head_chunk)
    said = max(one.layers + one.beside for one in found)
    assert said == pytest.approx(seen, rel=0.05 if kind != "checkpointing" else 0.12)


# ---------------------------------------------------------------------------------------------------------- command


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["memory", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_command_shows_parts_formulas_peak_and_knobs() -> None:
    out = told("8B", "--method", "ppo")
    assert "8,030,261,248 parameters" in out and "4 B x 8.03 B parameters" in out
    assert "peak" in out and "critic.form=trunk" in out and "typical shape" in out
    assert "GPU" in told("8B", "--gpu-memory", "80", "model.lora.rank=8", "engine.dtype=bfloat16")
    assert "peak of each of 8 ranks" in told("8B", "--gpus", "8")


def test_what_does_not_fit_is_answered_with_the_least_it_takes_and_what_makes_it_fit() -> None:
    out = told("8B", "--method", "grpo", "--gpu-memory", "24")
    assert "does not fit 24 GiB: takes at least 172 GB" in " ".join(out.split())
    assert "model.lora.rank=16 engine.dtype=bfloat16" in out and "GB" in out and " -60" not in out
    whole = forecast("8B", [], "grpo", gpu_memory=24)
    assert whole.fits is False and whole.peak == whole.least.peak > 16 * 8e9
    for way in whole.ways:
        assert forecast("8B", way.keys, "grpo", gpu_memory=24).peak == way.peak <= 24 << 30
        for key in way.keys:  # none is in it for nothing
            rest = [one for one in way.keys if one != key]
            assert forecast("8B", rest, "grpo", gpu_memory=24).fits is False
    assert forecast("8B", [], "grpo", gpu_memory=whole.needed / 2**30).fits is True
    assert forecast("8B", [], "grpo", gpu_memory=0.97 * whole.needed / 2**30).fits is False


def test_where_no_setting_makes_it_fit_the_largest_usual_size_is_named() -> None:
    out = " ".join(told("70B", "--gpu-memory", "24").split())
    assert "at least 1.46 TB" in out and "no settings make it fit" in out and "is 8B" in out
    lean = ["model.lora.rank=16", "engine.dtype=bfloat16", "engine.gradient_checkpointing=true"]
    assert forecast("8B", lean, gpu_memory=24).fits and not forecast("13B", lean, gpu_memory=24).fits
    assert "nothing does" in " ".join(told("70B", "--gpu-memory", "0.2").split())


def test_fits_is_a_field_and_none_where_no_memory_was_named() -> None:
    for gib, fits in (("24", False), ("80", True)):
        values = json.loads(told("1B", "--method", "grpo", "--gpu-memory", gib, "--json"))
        assert values["fits"] is (values["peak"] <= int(gib) << 30) is fits
        assert bool(values["ways"]) is not fits
    assert json.loads(told("1B", "--json"))["fits"] is None
    assert postlude.memory("8B", gpu_memory=24).fits is False


def test_sizes_that_were_asked_for_are_judged_as_they_are() -> None:
    asked = ["engine.token_budget=16384", "model.lora.rank=8", "engine.dtype=bfloat16"]
    whole = forecast("7B", asked, "sft", gpu_memory=24)
    assert whole.fits is False and not whole.refused and whole.plan.token_budget == 16_384
    assert ("engine.gradient_checkpointing=true",) in [way.keys for way in whole.ways]
    assert "as it is set" in told("7B", *asked, "--method", "sft", "--gpu-memory", "24")


def test_ranks_fit_where_their_share_does() -> None:
    alone, shared = (forecast("8B", [], "grpo", gpu_memory=80, gpus=count) for count in (1, 8))
    assert alone.fits is False and shared.fits is True and shared.peak <= 80 << 30 < alone.peak
    assert "on each rank" in " ".join(told("8B", "--gpu-memory", "24", "--gpus", "8").split())


def test_no_refusal_names_less_than_nothing() -> None:
    with pytest.raises(ConfigError) as refusal:
        estimate(SMOLLM2, replace(GRPO, room=1 << 30))
    assert "and 0 GiB are free" in str(refusal.value)


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_of_the_command_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = told("0.5B", "--method", "grpo").partition("what would take less")[2]
    assert "  engine.token_budget=2048" in out and all(len(line) <= width for line in out.splitlines())
    assert "nothing but speed: results do not change" in out  # in one piece


def test_the_command_as_json_and_from_python_are_the_same() -> None:
    values = json.loads(told("135M", "--method", "dpo", "--data-lengths", "64,32", "--json"))
    whole = postlude.memory("135M", method="dpo", data_lengths=(64, 32))
    assert values["peak"] == whole.peak and values["phases"] == whole.phases
    assert {part["name"] for part in values["parts"]} == {part.name for part in whole.parts}
    assert postlude.memory("135M", model={"lora": {"rank": 4}}).setting.lora == Lora(4)


@pytest.mark.parametrize(
    ("what", "code"), [("no-such-recipe.yaml", "unknown-name"), ("nobody/nothing-here", "no-such-model")]
)
def test_what_is_not_there_is_refused_in_a_sentence(what: str, code: str) -> None:
    with refused(code):
        forecast(what)


def test_a_method_that_is_none_is_refused() -> None:
    with refused("unknown-method", said="grpo"):
        forecast("135M", [], "grppo")


@pytest.mark.parametrize("text", ["512", "a,b", "1,2,3", "-1,5"])
def test_lengths_are_two_numbers(text: str) -> None:
    with refused("wrong-type"):
        Lengths.of(text)


def test_a_forecast_of_a_model_imports_no_torch() -> None:
    code = "import sys; from postlude.footprint import forecast; forecast('7B'); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
