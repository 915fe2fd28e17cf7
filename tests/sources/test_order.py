"""Mixtures: sets are drawn by weight, each in its own permutations, and a restored one goes on where it stood."""

from __future__ import annotations

import asyncio
import json

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.sources.file import FileSource
from postlude.sources.order import Cursor, Mixture, Share

SHARES = (Share("a", 10, 3.0), Share("b", 4, 1.0), Share("c", 7, 0.5))


def mixture(seed: int = 0, shares: tuple[Share, ...] = SHARES) -> Mixture:
    return Mixture(shares, seed)


def of_set(draws: list[int], first: int, size: int) -> list[int]:
    return [i - first for i in draws if first <= i < first + size]


def test_each_set_is_gone_through_once_per_epoch_of_its_own() -> None:
    draws = list(mixture().take(900))
    for first, size in ((0, 10), (10, 4), (14, 7)):
        own = of_set(draws, first, size)
        whole = len(own) // size * size
        assert whole >= 2 * size
        for start in range(0, whole, size):
            assert sorted(own[start : start + size]) == list(range(size))


def test_sets_are_drawn_in_proportion_to_their_weights() -> None:
    order = mixture(3)
    n = sum(1 for _ in order.take(9000))
    for share in SHARES:
        expected = share.weight / 4.5
        spread = 4 * (expected * (1 - expected) / n) ** 0.5
        assert abs(order.counts()[share.name] / n - expected) < spread


def test_the_order_is_fixed_by_the_seed() -> None:
    first, again, other = (list(mixture(seed).take(200)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_two_sets_of_one_size_are_not_gone_through_in_the_same_order() -> None:
    draws = list(mixture(0, (Share("a", 50, 1.0), Share("b", 50, 1.0))).take(90))
    a, b = of_set(draws, 0, 50), of_set(draws, 50, 50)
    n = min(len(a), len(b))
    assert a[:n] != b[:n]


def test_a_set_keeps_its_order_when_another_one_joins() -> None:
    alone = list(mixture(2, SHARES[:1]).take(20))
    among = of_set(list(mixture(2).take(60)), 0, 10)
    assert among[:20] == alone


@pytest.mark.parametrize("done", [0, 1, 17, 1023, 1024, 1500])
def test_a_restored_mixture_goes_on_where_it_stood(done: int) -> None:
    never_stopped, order, again = mixture(1), mixture(1), mixture(1)
    whole = list(never_stopped.take(1600))
    assert list(order.take(done)) == whole[:done]
    again.restore(json.loads(json.dumps(order.state())))
    assert list(again.take(1600 - done)) == whole[done:]
    assert again.counts() == never_stopped.counts()


def test_a_set_that_a_checkpoint_does_not_know_begins_at_its_beginning() -> None:
    order = mixture(1, SHARES[:2])
    list(order.take(30))
    more = mixture(1)
    more.restore(order.state())
    assert more.counts() == {**order.counts(), "c": 0}
    assert more.drawn == 30


def test_a_step_reports_the_share_it_drew_and_the_epochs_of_each_set() -> None:
    items = [Group(Prompt(str(i), ""), (Completion((1,)),)) for i in range(21)]
    source = FileSource(items, 8, mixture())
    drawn = [asyncio.run(source.draw(step, 5)) for step in range(5)]
    for one in drawn:
        names = [("a", range(10)), ("b", range(10, 14)), ("c", range(14, 21))]
        for name, place in names:
            share = sum(int(g.prompt.id) in place for g in one.groups) / 8
            assert one.report[f"data/{name}"] == share
    counts = source.cursor.counts()
    assert sum(counts.values()) == 40
    assert drawn[-1].report["epoch/a"] == counts["a"] / 10
    assert drawn[-1].report["epoch"] == 40 / 21


def test_a_step_that_draws_nothing_reports_no_share() -> None:
    order = mixture()
    list(order.take(9))
    assert set(order.figures(order.counts())) == {"epoch/a", "epoch/b", "epoch/c"}


def test_a_single_set_has_the_state_and_figures_it_always_had() -> None:
    cursor = Cursor(10, seed=0)
    list(cursor.take(3))
    assert cursor.state() == {"drawn": 3}
    assert cursor.figures(cursor.counts()) == {}
