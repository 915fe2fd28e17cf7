"""Gates: they come first, and what they stop is shown to no other reward."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from postlude.data import Completion, Group, Prompt
from postlude.errors import RewardError
from postlude.rewards.combine import Scored
from postlude.rewards.learned import PairReward
from postlude.rewards.member import Reward
from postlude.rewards.rewards import RewardFigures, Rewards, Scoring
from postlude.rewards.spec import RewardSpec
from postlude.words import first_of_each
from tests.scoring import correct_of, group, reward, rewards_of, score


def tagged(completions: Sequence[str]) -> list[float | None]:
    """Of the form #...; an answer of ? cannot be judged."""
    return [None if c == "?" else float(c.startswith("#")) for c in completions]


FORM = reward(tagged, "form", weight=0.25, gate=1.0)


def seen_by(kind: str, seen: list[list[str]]) -> Reward:
    """1 for every answer, plain or async; what it is shown is noted."""

    def plain(completions: list[str], log_extra: Any) -> list[float]:
        seen.append(completions)
        log_extra("length", [len(c) for c in completions])
        return [1.0] * len(completions)

    async def later(completions: list[str], log_extra: Any) -> list[float]:
        await asyncio.sleep(0)
        return plain(completions, log_extra)

    return reward(plain if kind == "plain" else later, "costly", outcome=True)


GROUPS = [group(["#ab", "b"], name="p"), group(["c", "dd"], "r", "q"), group(["#e", "#"], "s", "t")]


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("place", ["first", "last"])
def test_what_a_gate_stops_is_shown_to_no_other_reward(kind: str, place: str) -> None:
    seen: list[list[str]] = []
    members = [FORM, seen_by(kind, seen)]
    scored = score(GROUPS, *(members if place == "first" else members[::-1]))
    assert [c for call in seen for c in call] == ["#ab", "#e", "#"]
    assert len(seen) == (1 if kind == "plain" else 2), "nothing is asked of a group of which nothing passed"
    assert rewards_of(scored) == [1.25, 0.0, 0.0, 0.0, 1.25, 1.25]
    assert correct_of(scored) == [True, False, False, False, True, True]
    assert scored.metrics["gate/form"] == 0.5
    assert [c.scores for g in scored.groups for c in g.completions][:2] == [{"form": 1.0, "costly": 1.0}, {"form": 0.0}]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_logged_columns_stay_with_their_answers(kind: str) -> None:
    scored = score(GROUPS, FORM, seen_by(kind, []))
    assert scored.extra == {"length": [3, None, None, None, 2, 1]}


def test_the_mean_of_a_reward_is_over_the_answers_it_was_shown() -> None:
    figures = RewardFigures.of(score(GROUPS, FORM, seen_by("plain", [])).groups).by_name
    assert figures == {"reward/form": 0.5, "reward/costly": 1.0}


def test_the_weight_of_a_gate_counts_for_what_it_stops_too() -> None:
    half = reward(lambda completions: [0.5 for _ in completions], "half", weight=2.0, gate=0.6)
    scored = score([group(["a"])], half, seen_by("plain", seen := []))
    assert (rewards_of(scored), correct_of(scored), seen) == ([1.0], [False], [])


def test_a_gate_that_abstains_makes_the_answer_abstain() -> None:
    seen: list[list[str]] = []
    scored = score([group(["?", "#a", "b"])], FORM, seen_by("plain", seen))
    assert seen == [["#a"]]
    assert rewards_of(scored) == [None, 1.25, 0.0]
    assert correct_of(scored) == [None, True, False]
    assert scored.metrics["gate/form"] == pytest.approx(1 / 3)


def test_an_answer_that_passed_and_that_no_reward_could_score_abstains() -> None:
    nothing = reward(lambda completions: [None] * len(completions), "nothing")
    assert rewards_of(score([group(["#a", "b"])], FORM, nothing)) == [None, 0.0]


def test_a_reward_without_weight_does_not_make_a_score() -> None:
    right = reward(lambda completions: [1.0] * len(completions), "right", weight=0.0, outcome=True)
    some = reward(lambda completions: [None, 0.5], "some")
    scored = score([group(["a", "b"])], right, some)
    assert (rewards_of(scored), correct_of(scored)) == ([None, 0.5], [True, True])


def test_of_several_gates_each_must_be_passed() -> None:
    long = reward(lambda completions: [len(c) for c in completions], "long", weight=0.0, gate=2)
    seen: list[list[str]] = []
    scored = score([group(["#a", "#", "aa", ""])], FORM, long, seen_by("async", seen))
    assert seen == [["#a"]]
    assert (scored.metrics["gate/form"], scored.metrics["gate/long"]) == (0.5, 0.5)


def test_where_nothing_says_what_is_correct_a_stopped_answer_is_not_wrong_either() -> None:
    plain = reward(lambda completions: [1.0] * len(completions), "score")
    assert correct_of(score([group(["#a", "b"])], FORM, plain)) == [None, None]


def test_the_first_reward_that_is_no_gate_says_what_is_correct() -> None:
    form = RewardSpec("format", gate=1, args={"pattern": "#.*"})
    exact = RewardSpec("exact", args={"after": "#"})
    assert [m.outcome for m in Rewards.of([form, exact]).members] == [False, True]
    assert [m.outcome for m in Rewards.of([form]).members] == [True]
    marked = RewardSpec("format", gate=1, outcome=True, args={"pattern": "#.*"})
    assert [m.outcome for m in Rewards.of([marked, exact]).members] == [True, False]


def test_a_gate_normalises_among_all_and_stopped_answers_stand_below_those_that_did_well() -> None:
    scored = score([group(["#a", "b"])], FORM, reward(seen_by("plain", []).function, "n", normalise="group"))
    assert rewards_of(scored) == pytest.approx([0.25 + 0.5**0.5, -(0.5**0.5)])


def test_step_rewards_of_a_stopped_answer_are_none() -> None:
    def each(steps: list[list[str]]) -> list[list[float]]:
        return [[1.0] * len(s) for s in steps]

    rewards = Rewards([FORM, reward(each, "each", steps="|")])
    rewards.ends = lambda completion, separator: [0] * len(completion.text.split(separator))
    scored = asyncio.run(rewards.score([group(["#a|b", "a|b"])]))
    assert [c.steps for c in scored.groups[0].completions] == [((0, 2.0),), ()]


def test_pairs_are_of_answers_that_passed() -> None:
    """A model that compares sees no stopped answer; one that is left alone abstains."""

    class Longer:
        def prefer(self, prompts: Any, answers: Any) -> list[tuple[float, float]]:
            assert all(a.startswith("#") and b.startswith("#") for a, b in answers)
            return [(100.0, -100.0) if len(a) > len(b) else (-100.0, 100.0) for a, b in answers]

    pairs = Reward(RewardSpec("pair_model"), PairReward((), _scorers=[Longer()]), False)  # type: ignore[list-item]
    groups = [group(["#aa", "b", "#a"], "one"), group(["#c", "d"], "two")]
    assert rewards_of(score(groups, FORM, pairs)) == pytest.approx([1.25, 0.0, 0.25, None, 0.0])


def test_early_rewards_behind_a_plain_gate_start_before_all_answers_are_there() -> None:
    seen: list[list[str]] = []

    async def draw() -> Scored:
        scoring = Scoring(Rewards([FORM, seen_by("async", seen)]), 0, 1)
        scoring.add(0, GROUPS[0])
        for _ in range(20):
            await asyncio.sleep(0)
        assert seen == [["#ab"]]
        return await scoring.finish(GROUPS)

    assert rewards_of(asyncio.run(draw())) == [1.25, 0.0, 0.0, 0.0, 1.25, 1.25]


def test_a_plain_gate_is_called_once_where_nothing_waits_for_it() -> None:
    calls = []

    def form(completions: list[str]) -> list[float | None]:
        calls.append(len(completions))
        return tagged(completions)

    score(GROUPS, reward(form, "form", gate=1.0), seen_by("plain", []))
    assert calls == [6]


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_an_error_in_a_gate_stops_the_draw(kind: str) -> None:
    def broken(completions: Any) -> list[float]:
        raise KeyError("gone")

    async def later(completions: Any) -> list[float]:
        raise KeyError("gone")

    async def waits(completions: Any) -> list[float]:
        await asyncio.sleep(60)
        return []

    members = [reward(broken if kind == "plain" else later, "door", gate=1.0), reward(waits, "waits")]
    with pytest.raises(RewardError, match="reward door raised KeyError"):
        score([group(["a"]), group(["b"])], *members)


def test_groups_without_answers_are_left_alone() -> None:
    scored = score([group(["#a"]), Group(Prompt("e", "x"), ())], FORM, seen_by("async", []))
    assert [len(g.completions) for g in scored.groups] == [1, 0]
    assert isinstance(scored.groups[0].completions[0], Completion)


def test_a_gate_that_pays_is_said_once() -> None:
    """A stopped answer counts 0, which is more than a penalty behind the gate."""
    form = RewardSpec("format", gate=1, weight=0, args={"pattern": "a.*"})
    rewards = Rewards.of([form, RewardSpec("length", args={"limit": 4})])
    answers = Group(Prompt("p", "q"), (Completion((1, 2), "ab"), Completion((1,), "b")))
    names: list[str] = []
    notes = [first_of_each(asyncio.run(rewards.score([answers])).notes, names) for _ in range(2)]
    assert "goes below 0 behind the gate format" in notes[0][0] and notes[1] == []
    shifted = Rewards.of([form, RewardSpec("length", shift=-1, args={"limit": 4})])
    assert asyncio.run(shifted.score([answers])).notes == []
