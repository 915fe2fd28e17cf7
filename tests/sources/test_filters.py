"""Selection: dynamic sampling, rejection sampling, and refilling a batch within a bound."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.rollouts.filters import Accepted, Mixed, Refill, refill


def judged(*correct: bool | None, rewards: Sequence[float | None] | None = None, name: str = "p") -> Group:
    """A group with these verdicts; rewards follow them unless given."""
    given = [None if c is None else float(c) for c in correct] if rewards is None else rewards
    return Group(
        Prompt(name, name),
        tuple(
            Completion((i,), text=f"answer {i}", correct=c, reward=r)
            for i, (c, r) in enumerate(zip(correct, given, strict=True))
        ),
    )


def mixed(name: str = "p") -> Group:
    return judged(True, False, name=name)


def solved(name: str = "p") -> Group:
    return judged(True, True, name=name)


Draws = Sequence[Sequence[Group]]


def run(draws: Draws, keep: Mixed, need: int, carried: Sequence[Group] = ()) -> tuple[Refill, int]:
    """The result of a refill from these draws, and how many were taken; nothing comes after the last."""
    taken = 0

    async def draw() -> Sequence[Group]:
        nonlocal taken
        taken += 1
        return draws[taken - 1] if taken <= len(draws) else []

    return asyncio.run(refill(draw, keep, need, carried)), taken


def names(groups: Sequence[Group]) -> list[str]:
    return [g.prompt.id for g in groups]


# ------------------------------------------------------------------------------------------------------ mixed


def test_groups_with_right_and_wrong_answers_are_kept() -> None:
    group = judged(True, False, False)
    assert Mixed()(group) is group
    assert Mixed()(judged(True, True)) is None
    assert Mixed()(judged(False, False)) is None
    assert Mixed()(judged(True)) is None


def test_correctness_decides_even_where_shaping_made_rewards_differ() -> None:
    assert Mixed()(judged(True, True, rewards=(1.0, 0.6))) is None
    assert Mixed()(judged(True, False, rewards=(0.5, 0.5))) is not None


def test_answers_of_unknown_correctness_do_not_count_beside_known_ones() -> None:
    assert Mixed()(judged(True, None, rewards=(1.0, 0.2))) is None
    assert Mixed()(judged(True, None, False)) is not None


def test_without_correctness_rewards_must_differ_by_more_than_the_tolerance() -> None:
    assert Mixed()(judged(None, None, rewards=(0.3, 0.3))) is None
    assert Mixed()(judged(None, None, rewards=(0.3, 0.4))) is not None
    assert Mixed(tolerance=0.25)(judged(None, None, rewards=(0.25, 0.5))) is None
    assert Mixed(tolerance=0.25)(judged(None, None, rewards=(0.25, 0.75))) is not None


def test_unscored_answers_make_no_difference() -> None:
    assert Mixed()(judged(None, None, rewards=(None, None))) is None
    assert Mixed()(judged(None, None, rewards=(None, 0.5))) is None
    assert Mixed()(judged(None, None, None, rewards=(None, 0.5, 0.0))) is not None


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_rounds"):
        Mixed(max_rounds=-1)


# --------------------------------------------------------------------------------------------------- accepted


def answers(*values: tuple[str, bool | None, float | None]) -> Group:
    return Group(
        Prompt("p", "p"),
        tuple(Completion((1, 2), text=text, correct=c, reward=r) for text, c, r in values),
    )


def kept(keep: Accepted, group: Group) -> list[str]:
    result = keep(group)
    return [] if result is None else [c.text for c in result.completions]


def test_only_correct_answers_are_accepted_whatever_their_reward() -> None:
    group = answers(("a", True, -0.5), ("b", False, 2.0), ("c", True, 1.0))
    assert kept(Accepted(), group) == ["a", "c"]


def test_where_correctness_is_unknown_a_positive_reward_is_accepted() -> None:
    group = answers(("a", None, 0.1), ("b", None, 0.0), ("c", None, -1.0), ("d", None, None))
    assert kept(Accepted(), group) == ["a"]


def test_repeats_are_equal_texts_up_to_white_space() -> None:
    group = answers(("a b", True, 1.0), (" a\n b ", True, 1.0), ("ab", True, 1.0), ("A b", True, 1.0))
    assert kept(Accepted(), group) == ["a b", "ab", "A b"]
    assert len(kept(Accepted(unique=False), group)) == 4


def test_a_wrong_answer_does_not_bar_a_later_one_with_its_text() -> None:
    assert kept(Accepted(), answers(("a", False, 0.0), ("a", True, 1.0))) == ["a"]


def test_the_first_distinct_answers_are_taken_up_to_the_bound() -> None:
    group = answers(*[(text, True, 1.0) for text in "aabacd"])
    assert kept(Accepted(per_prompt=3), group) == ["a", "b", "c"]


def test_a_prompt_without_an_accepted_answer_is_dropped() -> None:
    assert Accepted()(answers(("a", False, 0.0))) is None
    empty = Group(Prompt("p", "p"), (Completion((), text="", correct=True, reward=1.0),))
    assert Accepted()(empty) is None


def test_accepting_none_per_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="per_prompt"):
        Accepted(per_prompt=0)


# ----------------------------------------------------------------------------------------------------- refill


def test_draws_go_on_until_the_batch_is_full() -> None:
    draws = [[mixed("a"), solved()], [solved(), solved()], [mixed("b"), mixed("c")], [mixed("d")]]
    result, taken = run(draws, Mixed(), need=2)
    assert names(result.batch) == ["a", "b"]
    assert names(result.surplus) == ["c"]
    assert (result.rounds, taken, len(result.drawn), result.gave_up) == (3, 3, 6, False)


def test_carried_groups_come_first() -> None:
    result, _ = run([[mixed("b"), mixed("c")]], Mixed(), need=2, carried=[mixed("a")])
    assert names(result.batch) == ["a", "b"]
    assert names(result.surplus) == ["c"]
    assert names(result.drawn) == ["b", "c"]


def test_enough_carried_groups_need_no_draw() -> None:
    result, taken = run([[mixed("z")]], Mixed(), need=2, carried=[mixed("a"), mixed("b"), mixed("c")])
    assert taken == 0
    assert (names(result.batch), names(result.surplus)) == (["a", "b"], ["c"])
    assert (result.rounds, result.drawn, result.gave_up) == (0, [], False)


def test_the_bound_on_draws_is_kept_and_said() -> None:
    draws = [[mixed("a"), solved()], *[[solved(), solved()]] * 20]
    result, taken = run(draws, Mixed(max_rounds=4), need=2)
    assert (taken, result.rounds, result.gave_up) == (4, 4, True)
    assert (names(result.batch), result.surplus) == (["a"], [])
    assert len(result.drawn) == 8


def test_a_batch_filled_by_the_last_draw_did_not_give_up() -> None:
    result, _ = run([[solved()], [mixed("a")]], Mixed(max_rounds=2), need=1)
    assert (names(result.batch), result.gave_up) == (["a"], False)


def test_a_bound_of_zero_is_no_bound() -> None:
    result, taken = run([*[[solved()]] * 50, [mixed("a")]], Mixed(max_rounds=0), need=1)
    assert (taken, names(result.batch), result.gave_up) == (51, ["a"], False)


def test_a_source_that_ends_stops_the_refill() -> None:
    result, taken = run([[mixed("a")]], Mixed(max_rounds=0), need=3)
    assert (taken, result.rounds) == (2, 1)
    assert (names(result.batch), result.gave_up) == (["a"], True)


def test_nothing_is_left_over_where_carrying_is_off() -> None:
    result, _ = run([[mixed("a"), mixed("b"), mixed("c")]], Mixed(carry=False), need=1)
    assert (names(result.batch), result.surplus) == (["a"], [])


def test_counts_of_a_refill_add_up() -> None:
    rng = random.Random(7)
    for _ in range(200):
        kinds = [rng.choices((mixed, solved), k=rng.randint(1, 4)) for _ in range(6)]
        draws = [[kind(f"{r}.{i}") for i, kind in enumerate(row)] for r, row in enumerate(kinds)]
        carried = [mixed(f"c{i}") for i in range(rng.randint(0, 3))]
        keep = Mixed(max_rounds=rng.randint(1, 6))
        result, taken = run(draws, keep, rng.randint(1, 5), carried)
        rejected = sum(keep(g) is None for g in result.drawn)
        assert len(result.drawn) == len(result.batch) + len(result.surplus) + rejected - len(carried)
        assert names(result.drawn) == [name for draw in draws[:taken] for name in names(draw)]
        assert len(set(names([*result.batch, *result.surplus]))) == len(result.batch) + len(result.surplus)
