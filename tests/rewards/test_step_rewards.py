"""Rewards of steps and tokens among others: where each lands, what belongs to the whole answer, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from postlude.batch import pack, select
from postlude.data import Completion, Group, Prompt, completion_from_json, completion_to_json
from postlude.errors import ConfigError, RewardError
from postlude.models.steps import prefixes
from postlude.objectives.advantages import RewardToGo
from postlude.objectives.along import token_rewards
from postlude.rewards.member import Reward
from postlude.rewards.rewards import Rewards
from postlude.rewards.spec import RewardSpec
from postlude.rollouts.filters import Mixed
from postlude.rollouts.shaping import Overlong
from tests.scoring import given, group, reward


def scored(texts: Sequence[str], *members: Reward, measuring: bool = False) -> list[Completion]:
    """Answers of one prompt; each character of a text is a token, steps stand between `|`."""

    def ends(completion: Completion, separator: str) -> list[int]:
        pieces = completion.text.split(separator)
        return [sum(len(p) + 1 for p in pieces[: i + 1]) - 1 - (i == len(pieces) - 1) for i in range(len(pieces))]

    answers = tuple(Completion(tuple(range(len(t))), t) for t in texts)
    rewards = Rewards([*members], ends, lambda c: [c.text[: i + 1] for i in range(len(c.text))])
    made = asyncio.run(rewards.score([Group(Prompt("p", "q", tokens=(1,)), answers)], measuring=measuring))
    return [*made.groups[0].completions]


def near(*expected: tuple[int, float]) -> Any:
    return [pytest.approx(pair) for pair in expected]


def steps(*values: Any, **settings: Any) -> Reward:
    return reward(given(*values), "steps", steps="|", **settings)


def test_steps_stand_at_their_ends_and_the_rest_is_of_the_whole_answer() -> None:
    (one,) = scored(["ab|c"], steps([0.5, 1.5], weight=2.0), reward(given(3.0), "answer", 0.5))
    assert one.steps == ((2, 1.0), (3, 3.0))
    assert one.whole == 1.5
    assert one.reward == 2.0 * 1.0 + 1.5, "the mean of the steps, weighed, and the answer's own"


def test_a_reward_for_every_token_and_one_for_every_prefix() -> None:
    tokens = reward(lambda completion_ids: [[0.1 * i for i in ids] for ids in completion_ids], "t", tokens=True)
    seen: list[Any] = []

    def of_prefixes(prefixes: Any, completions: Any) -> Any:
        seen.extend(prefixes)
        return [[float(len(text)) for text in texts] for texts in prefixes]

    (one, two) = scored(["abc", "d"], tokens, reward(of_prefixes, "p", 0.5, tokens=True))
    assert seen == [["a", "ab", "abc"], ["d"]]
    assert [*one.steps] == near((0, 0.5), (1, 1.1), (2, 1.7))
    assert (two.steps, two.whole) == (((0, 0.5),), 0.0)


def test_numbers_of_steps_are_shaped_one_by_one_and_normalised_over_the_prompt() -> None:
    a, b = scored(["x|y", "z"], steps([4.0, -9.0], [2.0], clip=(0.0, 2.0), scale=0.5, normalise="group", weight=3.0))
    # clipped 2, 0, 2; halved 1, 0, 1; mean 2/3, deviation sqrt(1/3): 0.57735 and -1.1547
    assert [*a.steps] == near((1, 3 * 0.5773502691896258), (2, -3 * 1.1547005383792517))
    assert [*b.steps] == near((0, 3 * 0.5773502691896258))
    plain = scored(["x|y", "z"], steps([4.0, -9.0], [2.0], normalise="group"), measuring=True)
    assert plain[0].steps == ((1, 4.0), (2, -9.0))


def test_what_a_gate_stops_has_no_steps_or_one_of_nothing_among_normalised_ones() -> None:
    gate = reward(given(1.0, 0.0), "gate", 0.0, gate=1.0)
    passed, stopped = scored(["x|y", "zz"], gate, steps([1.0, 3.0]))
    assert (passed.steps, stopped.steps) == (((1, 1.0), (2, 3.0)), ())
    assert (stopped.reward, stopped.whole) == (0.0, 0.0)
    passed, stopped = scored(["x|y", "zz"], gate, steps([1.0, 2.0], normalise="group"))
    assert [*passed.steps] == near((1, 0.0), (2, 1.0))
    assert [*stopped.steps] == near((1, -1.0)), "below those that passed and did well"


def test_an_abstention_leaves_the_whole_answers_reward_and_a_measured_one_no_steps() -> None:
    one, two = scored(["x|y", "z"], steps(None, [1.0]), reward(given(0.5, 0.25), "answer"))
    assert (one.steps, one.whole, one.reward) == ((), 0.5, 0.5)
    assert (two.steps, two.whole, two.reward) == (((0, 1.0),), 0.25, 1.25)
    (only,) = scored(["x|y"], steps([1.0, 0.0], weight=0.0), reward(given(1.0), "answer"))
    assert (only.steps, only.whole) == ((), None), "what only measures has no place among the rewards"
    (none,) = scored(["x|y"], steps(None))
    assert (none.reward, none.whole) == (None, None)


@pytest.mark.parametrize(
    ("how", "number"), [("mean", 0.5), ("sum", 1.5), ("last", 2.0), ("min", -1.0), ("product", -1.0), (None, 0.5)]
)
def test_what_stands_for_the_whole_is_as_the_recipe_says(how: Any, number: float) -> None:
    (one,) = scored(["a|b|c"], steps([0.5, -1.0, 2.0], whole=how))
    assert one.scores == {"steps": number} and one.reward == number


def test_the_penalty_on_length_goes_to_the_last_token() -> None:
    (one,) = scored(["ab|c"], steps([0.5, 1.5]), reward(given(3.0), "answer"))
    shaped = Overlong(limit=4, cache=4)(Group(Prompt("p", "q", tokens=(1,)), (one,)), {}).completions[0]
    assert (shaped.reward, shaped.whole) == (one.reward - 1.0, one.whole - 1.0)  # type: ignore[operator]
    batch = pack([Group(Prompt("p", "q", tokens=(1,)), (shaped,))])
    assert token_rewards(batch, 0.0).tolist() == [0.0, 0.0, 0.0, 0.5, 2.0 + 1.5]


def test_rewards_survive_packing_cutting_and_a_checkpoint() -> None:
    made = [*scored(["ab|c", "d"], steps([0.5, 1.5], [0.25])), Completion((7, 8), reward=None)]
    assert [completion_from_json(completion_to_json(c)) for c in made] == made
    batch = pack([Group(Prompt("p", "q", tokens=(1,)), tuple(made))])
    whole = token_rewards(batch, 0.0)
    assert whole.tolist() == [0.0, 0.0, 0.0, 0.5, 1.5, 0.25, 0.0, 0.0]
    import torch

    assert token_rewards(select(batch, torch.tensor([1, 2])), 0.0).tolist() == [0.0, 0.25, 0.0, 0.0]
    old = [replace(c, whole=None) for c in made]
    assert token_rewards(pack([Group(Prompt("p", "q", tokens=(1,)), tuple(old))]), 0.0)[4] == 1.0, "all at the end"


def test_the_step_that_went_wrong_is_the_one_that_is_pushed_down() -> None:
    one, two = scored(["a|b|c", "d|e|f"], steps([1.0, -1.0, 0.0], [0.0, 0.0, 0.0]))
    assert one.reward == two.reward == 0.0, "their means say nothing"
    batch = pack([Group(Prompt("p", "q", tokens=(1,)), (one, two))])
    advantage = RewardToGo(kl_coef=0.0)(batch)[1:6]
    assert (advantage > 0).tolist() == [True, True, False, False, True], "up to its end, and nothing else"


def test_dynamic_sampling_sees_steps_that_differ() -> None:
    differ, same = scored(["a|b"], steps([1.0, -1.0])), scored(["a|b"], steps([0.0, 0.0]))
    of = lambda completions: Group(Prompt("p", "q"), (*completions, *completions))
    assert Mixed()(of(differ)) is not None
    assert Mixed()(of(same)) is None


def test_text_up_to_each_token(tokenizer: Any) -> None:
    ids = tuple(tokenizer("12+", add_special_tokens=False)["input_ids"])
    assert prefixes(tokenizer, (*ids, tokenizer.eos_token_id), "12+") == ["1", "12", "12+", "12+"]
    assert prefixes(tokenizer, (), "") == []


def test_a_number_too_few_names_the_answer() -> None:
    with pytest.raises(RewardError, match=r"gave 2 rewards for an answer of 3 tokens \('abc'\)"):
        scored(["abc"], reward(given([1.0, 2.0]), "t", tokens=True))
    with pytest.raises(RewardError, match="gave 1 step rewards for an answer of 2 steps"):
        scored(["a|b"], steps([1.0]))


def test_numbers_too_large_for_one_are_an_error() -> None:
    for how in ("mean", "sum", "product"):
        with pytest.raises(RewardError, match="make no finite number together"):
            scored(["a|b"], steps([1e308, 1e308], whole=how))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"whole": "sum"}, "whole is for rewards of steps or tokens"),
        ({"tokens": True, "cache": "scores.sqlite"}, "cache is set, but it rewards tokens"),
    ],
)
def test_settings_that_do_not_fit(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Rewards.of([RewardSpec("regex", args={"pattern": "x"}, **spec)])


def test_steps_and_tokens_together_and_an_empty_separator() -> None:
    with pytest.raises(ValueError, match="steps and tokens are both set"):
        RewardSpec("my.py:fn", steps="|", tokens=True)
    with pytest.raises(ValueError, match="steps is empty text"):
        RewardSpec("my.py:fn", steps="")


def test_correct_by_a_threshold_where_no_reward_says_it() -> None:
    def correct(threshold: float | None, *members: Reward) -> list[bool | None]:
        rewards = Rewards([*members], correct_above=threshold)
        made = asyncio.run(rewards.score([group(["a", "b", "c", "d"])]))
        return [c.correct for c in made.groups[0].completions]

    scores = reward(given(0.2, 0.5, 0.7, None), "rm")
    assert correct(None, scores) == [None] * 4
    assert correct(0.5, scores) == [False, False, True, None], "above, not at; nobody knows of an unscored one"
    assert correct(0.5, scores, reward(given(1.0, 0.0, 0.0, 0.0), "r", 0.5)) == [True, False, True, False], "of the sum"
    flag = reward(given(0.0, 1.0, 0.5, None), "flag", 0.0, outcome=True)
    assert correct(0.5, scores, flag) == [False, True, True, None], "a flag goes first, where it says something"
    gate = reward(given(1.0, 1.0, 0.0, 1.0), "gate", 0.0, gate=1.0)
    behind = reward(given(0.2, 0.5, None), "rm")
    assert correct(0.1, behind, gate) == [True, True, False, None], "what a gate stopped is wrong"


def test_a_price_on_length_never_says_what_is_right() -> None:
    price, regex = RewardSpec("length", args={"limit": 9}), RewardSpec("regex", args={"pattern": "x"})
    assert [m.outcome for m in Rewards.of([price]).members] == [False]
    assert [m.outcome for m in Rewards.of([price, regex]).members] == [False, True]
