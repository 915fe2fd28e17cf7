"""Choosing tokens: the seeds, the frequencies, and the log-probs of the distribution sampled from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from postlude.engines.local.sampling import choose, uniforms
from postlude.engines.settings import Sampling

SIZES = [1, 2, 63, 64, 65, 200, 1000]
"""Vocabularies below, at and above one block, and no multiple of it."""


def seeds(n: int, start: int = 0) -> np.ndarray:
    return np.random.default_rng(start).integers(0, 2**64, n, dtype=np.uint64)


def logits(size: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(1, size, generator=torch.Generator().manual_seed(seed)) * scale


def draw(row: Tensor, sampling: Sampling, n: int = 4000) -> tuple[Tensor, Tensor]:
    """Tokens and log-probs at n evenly spaced numbers, so that frequencies are exact up to one."""
    even = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    return choose(row.expand(n, -1), even, sampling)


def check(row: Tensor, sampling: Sampling, expected: Tensor, n: int = 4000) -> None:
    """Frequencies and log-probs of `sampling` are those of the distribution `expected` [V]."""
    token, logp = draw(row, sampling, n)
    counts = torch.bincount(token, minlength=row.shape[1]).double()
    assert (counts - n * expected.double()).abs().max() < 1.01
    torch.testing.assert_close(logp.double(), expected.double().log()[token], atol=1e-5, rtol=1e-5)


def nucleus(row: Tensor, top_k: int, top_p: float) -> Tensor:
    """Probabilities after top-k, then top-p, token by token as the definition says."""
    p = torch.softmax(row[0].double(), -1)
    order = sorted(range(len(p)), key=lambda i: -float(p[i]))
    order = order[:top_k] if top_k else order
    total, mass, keep = sum(float(p[i]) for i in order), 0.0, []
    for i in order:
        keep.append(i)
        mass += float(p[i]) / total
        if mass >= top_p:
            break
    result = torch.zeros_like(p)
    result[keep] = p[keep] / p[keep].sum()
    return result


# --------------------------------------------------------------------------------------------------- uniforms


def test_numbers_depend_on_seed_and_time_alone() -> None:
    some = seeds(7)
    together = uniforms(some, 12)
    assert np.array_equal(uniforms(some, 12), together)
    for i in range(7):
        assert np.array_equal(uniforms(some[i : i + 1], 12)[0], together[i])
    order = [4, 0, 6, 4]
    assert np.array_equal(uniforms(some[order], 12), together[order])
    assert np.array_equal(uniforms(some, 30)[:, :12], together)


def test_numbers_can_be_taken_from_the_middle() -> None:
    some = seeds(5)
    assert np.array_equal(uniforms(some, 6, start=4), uniforms(some, 10)[:, 4:])


def test_numbers_differ_between_seeds_and_times() -> None:
    found = uniforms(np.arange(50, dtype=np.uint64), 40)
    assert len(np.unique(found)) == 50 * 40


@pytest.mark.parametrize("some", [seeds(400), np.arange(400, dtype=np.uint64)], ids=["hashed", "in a row"])
def test_numbers_are_uniform_and_independent(some: np.ndarray) -> None:
    found = uniforms(some, 50)
    assert found.shape == (400, 50) and found.dtype == np.float64
    assert found.min() > 0 and found.max() < 1
    counts = np.histogram(found, bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8  # chi-square with 19 degrees of freedom, p = 0.001
    across, along = found[1:] * found[:-1], found[:, 1:] * found[:, :-1]
    for pairs in (across, along):  # a product of two has mean 1/4 and variance 7/144
        assert abs(pairs.mean() - 0.25) < 4 * math.sqrt(7 / 144 / pairs.size)


def test_the_largest_and_smallest_seed_are_no_exception() -> None:
    ends = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)
    found = uniforms(ends, 1000)
    assert np.isfinite(found).all()
    assert (abs(found.mean(1) - 0.5) < 0.04).all()


# ----------------------------------------------------------------------------------------------------- choose


@pytest.mark.parametrize("size", SIZES)
def test_frequencies_and_log_probs_are_those_of_the_softmax(size: int) -> None:
    row = logits(size)
    check(row, Sampling(), torch.softmax(row[0].double(), -1))


@pytest.mark.parametrize("temperature", [0.3, 0.7, 1.5, 4.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    row = logits(200, seed=1)
    check(row, Sampling(temperature=temperature), torch.softmax(row[0].double() / temperature, -1))


@pytest.mark.parametrize("size", [63, 200])
@pytest.mark.parametrize("top_k", [1, 2, 10, 62, 500])
def test_top_k_keeps_the_most_likely(size: int, top_k: int) -> None:
    row = logits(size, seed=2)
    check(row, Sampling(top_k=top_k), nucleus(row, top_k, 1.0))


@pytest.mark.parametrize("size", [63, 200])
@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_with_that_probability(size: int, top_p: float) -> None:
    row = logits(size, seed=3)
    check(row, Sampling(top_p=top_p), nucleus(row, 0, top_p))


def test_top_p_is_measured_after_temperature_and_top_k() -> None:
    row = logits(200, seed=4)
    check(row, Sampling(temperature=0.5, top_k=20, top_p=0.8), nucleus(row / 0.5, 20, 0.8))
    check(row, Sampling(temperature=2.0, top_k=20, top_p=0.8), nucleus(row / 2.0, 20, 0.8))


def test_top_p_stops_at_the_token_that_reaches_it() -> None:
    row = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    for top_p, kept in ((0.5, 1), (0.51, 2), (0.75, 2), (0.8, 3)):
        token, _ = draw(row, Sampling(top_p=top_p), 200)
        assert set(token.tolist()) == set(range(kept)), top_p


def test_ties_at_the_edge_of_top_k_keep_k_tokens() -> None:
    token, logp = draw(torch.zeros(1, 100), Sampling(top_k=3), 300)
    assert len(set(token.tolist())) == 3
    assert torch.allclose(logp, torch.tensor(1 / 3).log())


def test_temperature_zero_takes_the_most_likely_with_its_log_prob_at_one() -> None:
    rows = torch.cat([logits(200, seed=s) for s in range(5)])
    token, logp = choose(rows, torch.full((5,), 0.9), Sampling(temperature=0))
    assert torch.equal(token, rows.argmax(-1))
    torch.testing.assert_close(logp, torch.log_softmax(rows, -1).max(-1).values)


def test_a_rows_choice_does_not_depend_on_its_neighbours() -> None:
    rows = torch.cat([logits(200, seed=s) for s in range(6)])
    numbers = torch.from_numpy(uniforms(seeds(6), 1))[:, 0]
    for sampling in (Sampling(), Sampling(temperature=0.7, top_k=50, top_p=0.9), Sampling(temperature=0)):
        token, logp = choose(rows, numbers, sampling)
        for i in range(6):
            alone, alone_logp = choose(rows[i : i + 1], numbers[i : i + 1], sampling)
            assert int(alone) == int(token[i])
            torch.testing.assert_close(alone_logp[0], logp[i])
        order = [5, 2, 0]
        assert torch.equal(choose(rows[order], numbers[order], sampling)[0], token[order])


@pytest.mark.parametrize("size", [5, 64, 130, 1000])
def test_frequencies_from_real_seeds_pass_a_chi_square_test(size: int) -> None:
    n = 8000
    row = logits(size, seed=5, scale=0.7)
    numbers = torch.from_numpy(uniforms(seeds(n, start=1), 3))[:, 2]
    token, _ = choose(row.expand(n, -1), numbers, Sampling())
    expected = n * torch.softmax(row[0].double(), -1)
    observed = torch.bincount(token, minlength=size).double()
    statistic = float(((observed - expected) ** 2 / expected).sum())
    freedom = size - 1
    assert abs(statistic - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("number", [0.0, 1e-17, 0.5, 1 - 2**-53, 1.0])
def test_an_impossible_token_is_never_chosen(number: float) -> None:
    row = torch.full((1, 260), -float("inf"))
    row[0, 70:72] = torch.tensor([0.0, 1.0])
    row[0, 200] = 2.0
    token, logp = choose(row, torch.tensor([number], dtype=torch.float64), Sampling())
    assert int(token) in (70, 71, 200)
    assert math.isfinite(float(logp))
    assert {0.0: 70, 1e-17: 70, 1.0: 200}.get(number, int(token)) == int(token)


def test_large_logits_do_not_overflow() -> None:
    token, _ = draw(torch.tensor([[3e4, 3e4, -3e4]]), Sampling(temperature=0.5), 100)
    assert torch.bincount(token, minlength=3).tolist() == [50, 50, 0]


def test_log_probs_of_large_logits_keep_their_digits() -> None:
    _, logp = draw(torch.tensor([[3e4, 3e4, -3e4]]), Sampling(temperature=0.5), 100)
    torch.testing.assert_close(logp, torch.full_like(logp, 0.5).log())


def test_half_precision_logits_give_float_log_probs() -> None:
    row = logits(200).bfloat16()
    check(row, Sampling(), torch.softmax(row[0].double(), -1))
    assert draw(row, Sampling(), 4)[1].dtype == torch.float32


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -0.1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
        {"max_tokens": 0},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Sampling(**bad)  # type: ignore[arg-type]
