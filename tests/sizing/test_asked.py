"""What `postlude memory` is asked that it cannot answer: a sentence with the way on, never a number."""

from __future__ import annotations

import math

import pytest

from postlude.errors import ConfigError
from postlude.footprint import Lengths, forecast
from postlude.sizing.shape import size_in


@pytest.mark.parametrize("gib", [math.inf, math.nan, 0.0, -1.0, 1e308])
def test_a_gpu_has_memory_that_exists(gib: float) -> None:
    with pytest.raises(ConfigError, match=r"--gpu-memory: .* must be above 0 and at most"):
        forecast("8B", gpu_memory=gib)


def test_a_size_that_no_shape_reaches_is_refused_and_not_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'999999999B': no shape of a known model"):
        forecast("999999999B")
    assert 0.99e12 < forecast("1000B").shape.parameters < 1.01e12


@pytest.mark.parametrize("name", ["Qwen2.5-7B", "7b-instruct", "meta-llama/Llama-3-7B", "llama_2-7b"])
def test_a_model_that_is_not_here_is_asked_for_by_its_size(name: str) -> None:
    with pytest.raises(ConfigError, match=r"size.* 7B\."):
        forecast(name)


def test_a_recipe_is_no_size() -> None:
    with pytest.raises(ConfigError, match=r"no recipe, run or method called 'maths-7b\.yaml'"):
        forecast("maths-7b.yaml")
    assert size_in("Qwen2.5-0.5B") == "0.5B" and size_in("llama-3.1-70b-it") == "70B" and size_in("grpo") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("99999999999,5", "from 1 to"),
        ("0,0", "from 1 to"),
        ("5," + "9" * 5000, "from 1 to"),
        ("5", "PROMPT,ANSWER"),
        ("a,b", "PROMPT,ANSWER"),
        ("-1,5", "PROMPT,ANSWER"),
    ],
)
def test_lengths_are_two_numbers_in_range(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Lengths.of(text)


def test_a_critic_takes_more_than_none_at_equal_micro_batches() -> None:
    keys = ["engine.dtype=bfloat16", "engine.token_budget=3072"]
    ppo, grpo = (forecast("8B", keys, method) for method in ("ppo", "grpo"))
    lora = forecast("8B", [*keys, "model.lora.rank=16"], "grpo")
    assert ppo.plan.token_budget == grpo.plan.token_budget == 3072
    assert ppo.peak > 1.5 * grpo.peak > 3 * lora.peak


def test_where_servers_sample_nothing_of_it_is_counted_here() -> None:
    """Neither keys and values nor a copy of the weights, which lag would need; and it is said."""
    here = forecast("8B", ["max_lag=1", "objective.correction.high=2"])
    there = forecast("8B", ["max_lag=1", "objective.correction.high=2", "engine.servers.urls=[http://10.0.0.5:8000]"])
    assert {part.name for part in here.parts} - {part.name for part in there.parts} >= {
        "sampler's copy",
        "keys and values",
    }
    assert not [part for part in there.parts if part.phase == "sampling"]
    assert any("sampled by engine.servers, and not here" in note for note in there.notes)
    assert any(knob.key.startswith("sampling.max_tokens=") for knob in there.knobs)
    assert not any(knob.key.startswith(("engine.cache_gib", "max_lag")) for knob in there.knobs)
