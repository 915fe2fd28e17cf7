"""The judgement on methods agrees with what the catalogue says of them."""

from __future__ import annotations

import pytest

from postlude.algorithms import ALGORITHMS
from postlude.facts.methods import METHODS
from postlude.facts.tables import BETAS, PPO_SETTINGS, RANKS, RATES, rank_basis, rank_for
from postlude.objectives import Need


def test_every_method_has_an_entry_and_no_other() -> None:
    assert set(METHODS) == set(ALGORITHMS)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_cost_names_the_models_that_are_held(name: str) -> None:
    needs, cost = ALGORITHMS[name].needs, METHODS[name].cost
    assert (Need.REFERENCE in needs) == ("reference" in cost.replace("no reference", ""))
    assert (Need.VALUES in needs) == ("critic" in cost)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_feedback_is_what_the_method_reads(name: str) -> None:
    entry, feedback = ALGORITHMS[name], set(METHODS[name].feedback)
    of_source = {
        "file": {"answers"},
        "rollout": {"checkable", "scored", "scored steps", "text"},
        "preference": {"pairs", "rankings", "thumbs", "chances", "steps"},
    }
    assert feedback and feedback <= of_source[entry.source]
    if entry.source == "preference":
        kinds = {"pair": "pairs", "rated": "rankings", "binary": "thumbs", "steps": "steps"}
        assert feedback - {"chances"} == {kinds[kind] for kind in getattr(entry.objective, "learns_from", ())}
    assert ("text" in feedback) == entry.pretrain


def test_ranks_are_the_notes_rows_and_powers_of_two_between() -> None:
    for row in RANKS:
        assert (rank_for(row.billions, "sft"), rank_for(row.billions, "rl")) == (row.sft, row.rl)
        assert "row for" in rank_basis(row.billions)
    assert [rank_for(b, "sft") for b in (0.135, 1, 3, 14, 32, 405)] == [8, 16, 32, 128, 128, 256]
    assert [rank_for(b, "rl") for b in (0.135, 1, 3, 14, 32, 405)] == [8, 8, 8, 16, 16, 32]
    assert rank_basis(14) == "a guess between the notes' rows for 8B and 70B"
    with pytest.raises(ValueError, match="more than 0"):
        rank_for(0, "rl")


def test_betas_go_from_far_to_hardly() -> None:
    assert [beta.moves for beta in BETAS] == ["far", "usual", "little", "hardly"]
    assert [beta.value for beta in BETAS] == sorted(beta.value for beta in BETAS)


def test_the_defaults_beside_the_notes_are_those_of_ppo() -> None:
    from postlude.explain.comparing import defaults_of

    defaults = dict(defaults_of(ALGORITHMS["ppo"]))
    assert {usual.key: usual.default for usual in PPO_SETTINGS} == {s.key: defaults[s.key] for s in PPO_SETTINGS}


def test_the_rates_are_those_of_the_catalogue() -> None:
    rates = {rate.training: rate.full for rate in RATES}
    of_methods = {name: entry.lr for name, entry in ALGORITHMS.items()}
    assert {of_methods[name] for name in ("sft", "rft", "expert_iteration")} == {rates["sft, rft, expert_iteration"]}
    assert of_methods["orpo"] == rates["orpo"] and of_methods["dpo"] == rates["dpo and its relatives"]
    assert {of_methods[name] for name in ("grpo", "dapo", "drpo", "ppo", "rloo")} == {rates["online methods"]}
    assert of_methods["reward_model"] == rates["reward models"]


def test_the_usual_beta_is_the_default() -> None:
    from postlude.explain.comparing import defaults_of

    usual = next(beta.value for beta in BETAS if beta.moves == "usual")
    assert dict(defaults_of(ALGORITHMS["dpo"]))["objective.link.beta"] == usual
