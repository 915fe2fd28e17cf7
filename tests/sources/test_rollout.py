"""What the rounds of one draw add up to."""

from __future__ import annotations

from dataclasses import replace

from postlude.data import Group
from postlude.rewards.combine import Scored
from postlude.rollouts.rollout import Logged, _abstained
from tests.scoring import given, group, reward


def scored(groups: list[Group], share: float, count: float, **extra: list[str]) -> Scored:
    return Scored(groups, {"gate/form": share}, dict(extra), {"reward/judge/errors": count}, ["slow"])


def test_figures_of_rounds_are_means_or_sums_and_columns_stay_in_place() -> None:
    logged = Logged()
    logged.add(scored([group("ab")], 0.5, 2.0, why=["x", "y"]))
    logged.add(scored([group("c")], 0.0, 1.0))
    logged.add(scored([group("d")], 0.25, 0.0, why=["z"]))
    assert logged.figures() == {"gate/form": 0.25, "reward/judge/errors": 3.0}
    assert logged.extra == {"why": ["x", "y", None, "z"]}
    assert list(dict.fromkeys(logged.notes)) == ["slow"]


def test_the_share_that_a_reward_abstained_on_is_of_the_answers_it_was_shown() -> None:
    judge = reward(given(), "judge", abstain=0.5)
    shown = group("abcd")
    values: list[dict[str, float | None]] = [{"judge": None}, {"judge": 1.0}, {"form": 0.0}, {"form": 0.0}]
    answers = tuple(replace(c, scores=s) for c, s in zip(shown.completions, values, strict=True))
    assert _abstained(judge, [replace(shown, completions=answers)]) is None
    stricter = reward(given(), "judge", abstain=0.4)
    assert "could not score 1 of 2 answers" in str(_abstained(stricter, [replace(shown, completions=answers)]))
    assert _abstained(stricter, [replace(shown, completions=answers[2:])]) is None, "nothing was shown to it"
