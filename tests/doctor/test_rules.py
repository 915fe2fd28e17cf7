"""Every rule on figures made for it: it finds its symptom, and nothing in healthy runs of several kinds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from postlude.doctor import hacking, human, overoptimisation
from postlude.doctor.rule import Finding
from postlude.doctor.rules import RULES, examine
from postlude.doctor.track import Track
from postlude.doctor.watching import Watch
from postlude.recipe.documents import Document, from_text, override
from postlude.recipe.resolution import resolve

STEPS = 80
Value = float | Callable[[int, random.Random], float | None]
"""Of a figure: a number, or what it is after a step; None leaves it out."""
Columns = Mapping[str, Value]
RECIPE: Mapping[str, Any] = {
    "schedule": {"lr": 1e-5, "warmup": 0},
    "objective": {"kl": {"coef": 0.04}, "entropy": 0.0, "ratio": "token", "link": {"beta": 0.1}},
    "sampling": {"max_tokens": 64},
    "updates": 1,
    "epochs": 1,
    "group_size": 8,
    "max_lag": 0,
    "keep": None,
    "critic": {"lr": 1e-4, "warmup": 0},
}
LAG = {**RECIPE, "max_lag": 1}
SERVERS = {"count": 2, "python": "python3", "concurrency": 256}
RANKED = {**RECIPE, "engine": {"trainers": 4, "token_budget": 4096, "commit_every": None}, "prompts_per_step": 16}
SERVED = {**RECIPE, "engine": {"servers": SERVERS, "commit_every": 1, "probe_every": 1, "publish": "stream"}}


# ------------------------------------------------------------------------------------------------ healthy runs


def climbs(start: float, end: float, noise: float = 0.03, over: int = 50) -> Value:
    """From the one to the other in so many steps, with noise."""
    return lambda step, rng: start + (end - start) * min(step / over, 1.0) + rng.gauss(0, noise)


def share(start: float, end: float, noise: float = 0.03, over: int = 50) -> Value:
    """The same between 0 and 1."""
    value = climbs(start, end, noise, over)
    assert callable(value)
    return lambda step, rng: min(max(value(step, rng) or 0.0, 0.0), 1.0)


def sampled(start: float, end: float, noise: float = 0.05) -> dict[str, Value]:
    """An online method whose share of right answers goes from the one to the other."""
    return {
        "samples": 96, "unscored": 0, "answers/empty": 0, "skipped_updates": 0, "masked_infinite": 0,
        "trained_tokens": 1000, "grad_norm": climbs(0.6, 0.4, 0.1), "reward/mean": share(start, end, noise),
        "sampled_accuracy": share(start, end, noise), "reward/std": 0.45, "reward/min": 0, "reward/max": 1,
        "reward/exact": share(start, end, noise), "frac_zero_std_groups": share(0.2, 0.5, 0.1),
        "advantage/mean": 0.0, "advantage/std": 0.9, "truncated_frac": share(0.05, 0.02),
        "completion_length/mean": climbs(30, 34, 2), "completion_length/min": 4, "completion_length/max": 64,
        "entropy": climbs(0.8, 0.3, 0.03), "kl_ref/k1": climbs(0.0, 0.15, 0.01),
        "kl_ref/k3": climbs(0.002, 0.15, 0.001), "kl_old/k3": 0.001, "ratio/max": 2.0,
        "clip_frac_low": 0.05, "clip_frac_high": 0.05, "mismatch/k3": 1e-4,
        "mismatch/ess": 0.99, "value/explained_variance": climbs(0.1, 0.6, 0.05), "value/mean": climbs(start, end),
        "return/mean": climbs(start, end), "answers/template_marks": 0.0,
    }  # fmt: skip


def judged(accuracy: float = 0.9) -> dict[str, Value]:
    """A preference method over pairs."""
    return {
        "loss/pairs": climbs(0.69, 0.4, 0.03), "rewards/accuracy": share(0.5, accuracy),
        "grad_norm": climbs(1, 0.5, 0.1), "rewards/margin": climbs(0.0, 0.8, 0.05),
        "rewards/chosen": climbs(0.0, 0.2), "rewards/rejected": climbs(0, -0.6),
        "displaced_frac": share(0.1, 0.2), "epoch": lambda step, rng: step / 40, "skipped_updates": 0,
        "held_out/loss/pairs": lambda step, rng: 0.69 - 0.2 * step / STEPS if step % 10 == 0 else None,
        "reward/mean": 0.5,
    }  # fmt: skip


def written() -> dict[str, Value]:
    """Fine-tuning on written text."""
    return {
        "loss/policy": climbs(3.0, 1.0, 0.1), "grad_norm": climbs(3, 1, 0.2), "skipped_updates": 0,
        "masked_infinite": 0, "trained_tokens": 1000, "epoch": lambda step, rng: step / 40,
        "held_out/loss/policy": lambda step, rng: 3 - 1.9 * step / STEPS if step % 10 == 0 else None,
    }  # fmt: skip


KTO: dict[str, Value] = {
    "loss/points": climbs(0.5, 0.35, 0.02), "rewards/accuracy": share(0.5, 0.8), "rewards/mean": climbs(0, 0.3),
    "reward/mean": share(0.5, 0.5, 0.1), "grad_norm": 1.0,
}  # fmt: skip
HEALTHY: Mapping[str, Columns] = {
    "learning": sampled(0.3, 0.85),
    "high from the start": sampled(0.93, 0.96, 0.02),
    "flat by nature": sampled(0.4, 0.4, 0.08),
    "noisy": sampled(0.3, 0.6, 0.2),
    "pairs": judged(),
    "text": written(),
    "labels": KTO,
}


def watched(columns: Columns, seed: int = 0, steps: int = STEPS, recipe: Mapping[str, Any] = RECIPE) -> list[Finding]:
    """What a run's rules find while it goes on, hints too."""
    rng, watch, noted = random.Random(seed), Watch(Track("m", steps, recipe), asked=list(RULES)), list[str]()
    findings: list[Finding] = []
    for step in range(1, steps + 1):
        values = {n: v(step, rng) if callable(v) else v for n, v in columns.items()}
        watch.add(step, {name: value for name, value in values.items() if value is not None})
        findings += watch.alarms(noted)
    return findings


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("seed", range(3))
def test_healthy_runs_raise_no_alarm(name: str, seed: int) -> None:
    found = [f for f in watched(HEALTHY[name], seed) if f.gravity != "hint"]
    assert not found, [(f.rule, f.text) for f in found]
    early = [f for f in watched(HEALTHY[name], seed, steps=6) if f.gravity != "hint"]
    assert not early, "nor is a short one"


# --------------------------------------------------------------------------------------------------- symptoms

FLAT = sampled(0.3, 0.3, 0.03)
PAIRS, TEXT = judged(), written()


def later(before: float, after: float, begins: int = 20) -> Value:
    return lambda step, rng: before if step < begins else after


def doubling(step: int, rng: random.Random) -> float:
    """A distance that doubles every five steps."""
    return 0.01 * 2 ** (step / 5)


BROKEN: dict[str, Value] = FLAT | {
    **{n: later(0.54, 0.05, 2) for n in ("reward/mean", "sampled_accuracy", "reward/exact")},
    "kl_ref/k3": later(0.0, 6.0, 2), "entropy": later(0.4, 0.01, 3), "truncated_frac": later(0.01, 1.0, 2),
    "answers/repeated": later(0.25, 0.9, 2), "completion_length/min": later(4, 64, 2),
    "advantage/std": later(0.9, 0, 4), "grad_norm": later(0.6, 0, 4),
}  # fmt: skip
"""The first update has lost everything, as a rate 30 times too high does."""


def measured(before: float, after: float) -> Value:
    """By an evaluation every five steps."""
    return lambda step, rng: None if step % 5 else before if step == 5 else after


HELD_OUT: dict[str, Value] = sampled(0.3, 0.99) | {
    "greedy/accuracy": measured(0.94, 0.56), "greedy/accuracy_low": measured(0.72, 0.33),
    "greedy/accuracy_high": measured(0.99, 0.77), "sampled/accuracy": measured(0.53, 0.4),
}  # fmt: skip


def timed(**seconds: Value) -> dict[str, Value]:
    """What the parts of every step took."""
    usual: dict[str, Value] = {"wait": 5, "train": 4, "commit": 0.1, "publish": 0.2}
    return {f"seconds/{name}": value for name, value in (usual | seconds).items()}


SYMPTOMS: dict[str, tuple[Columns, int]] = {
    "no-signal": (FLAT | {"frac_zero_std_groups": later(0.3, 1), "advantage/std": later(0.9, 0),
                          "grad_norm": later(1, 0), "sampled_accuracy": later(0.3, 0)}, 30),
    "broken-policy": (BROKEN, 4),
    "useless-groups": (FLAT | {"frac_zero_std_groups": 0.95}, 20),
    "solved": (sampled(0.97, 0.99, 0.01), 20),
    "flat-reward": (FLAT, 50),
    "unmoved": (FLAT | {"kl_ref/k3": 1e-9}, 30),
    "reward-crash": (FLAT | {n: later(0.8, 0.1, 40) for n in ("reward/mean", "sampled_accuracy", "reward/exact")}, 55),
    "kl-explosion": (FLAT | {"kl_ref/k3": doubling}, 60),
    "entropy-collapse": (FLAT | {"entropy": later(0.8, 0.01)}, 30),
    "entropy-rise": (FLAT | {"entropy": climbs(0.8, 6.0)}, 40),
    "gradient-growth": (FLAT | {"grad_norm": lambda step, rng: 0.3 * 1.1**step}, 40),
    "not-finite": (FLAT | {"skipped_updates": lambda step, rng: float(step in (20, 25))}, 25),
    "impossible-tokens": (FLAT | {"masked_infinite": 50}, 10),
    "loss-rises": (TEXT | {"loss/policy": climbs(1.0, 9.0)}, 30),
    "ratio": (FLAT | {"ratio/max": later(2, 400)}, 20),
    "clipped": (FLAT | {"clip_frac_low": 0.4, "clip_frac_high": 0.3}, 10),
    "large-steps": (FLAT | {"kl_old/k3": 0.5}, 16),
    "effective-samples": (FLAT | {"mismatch/ess": later(0.9, 0.1)}, 20),
    "mismatch": (FLAT | {"mismatch/k3": 0.05}, 10),
    "stale-data": (FLAT | {"mismatch/k3": 0.3}, 10),
    "negative-kl": (FLAT | {"kl_ref/k1": climbs(-0.1, -0.1, 0.01)}, 20),
    "dead-critic": (FLAT | {"value/explained_variance": 0.0, "value/mean": 0.0, "return/mean": 0.3}, 30),
    "cut-off": (FLAT | {"truncated_frac": 0.6}, 20),
    "endless": (FLAT | {"truncated_frac": 1.0, "completion_length/min": 64}, 10),
    "empty-answers": (FLAT | {"answers/empty": 0.2}, 10),
    "template-marks": (FLAT | {"answers/template_marks": 0.2}, 10),
    "length-drift": (FLAT | {"completion_length/mean": climbs(30, 90, 2)}, 45),
    "displacement": (PAIRS | {"displaced_frac": 0.7}, 5),
    "pairs-at-chance": (PAIRS | {"rewards/accuracy": share(0.5, 0.5, 0.05)}, 50),
    "margin-alone": (PAIRS | {"rewards/accuracy": share(0.7, 0.7, 0.05), "rewards/margin": climbs(0.1, 4, 0.02),
        "held_out/loss/pairs": lambda step, rng: None}, 40),
    "preferences-unmoved": (PAIRS | {"rewards/chosen": 1e-5, "rewards/rejected": -1e-5}, 30),
    "one-sided": (KTO | {"reward/mean": 0.95}, 10),
    "overfitting": (TEXT | {"held_out/loss/policy": lambda step, rng: (
        1 + abs(step - 30) / 50 if step % 10 == 0 else None)}, 50),
    "repeated-rows": (TEXT | {"epoch": lambda step, rng: step / 4}, 40),
    "flat-loss": (TEXT | {"loss/policy": climbs(2.0, 2.0, 0.05)}, 50),
    "held-out-falls": (HELD_OUT, 30),
    "reward-fails": (FLAT | {"reward/exact/errors": 10}, 10),
    "unscored": (FLAT | {"unscored": 30}, 10),
    "verifier-timeouts": (FLAT | {"maths/timeout": 0.3}, 10),
    "unreadable-answers": (FLAT | {"maths/unparsable": 0.7}, 10),
    "judge-silent": (FLAT | {"judge/calls": 96, "judge/failed": 4, "judge/unreadable": 8}, 10),
    "judge-undecided": (FLAT | {"judge/calls": 96, "judge/flip_rate": 0.4}, 10),
    "handshake-grows": (FLAT | {"handshake/error": lambda step, rng: 1e-6 * 2.0**step}, 20),
    "answers-again": (FLAT | {"refused_answers": 20, "requeued": 20}, 10),
    "trainer-waits": (FLAT | timed(wait=8, train=1), 10),
    "servers-wait": (FLAT | timed(wait=1, train=9), 10),
    "dear-publication": (FLAT | timed(wait=5, train=2, commit=4, publish=1), 10),
    "ranks-uneven": (TEXT | {"ranks/imbalance": climbs(1.8, 1.8, 0.1)}, 10),
    "ranks-restart": (FLAT | timed(restart=lambda step, rng: 20.0 * (step % 4 == 0)), 12),
    "dear-commits": (TEXT | timed(wait=0.1, train=5, commit=4, publish=1), 10),
}  # fmt: skip
RECIPES = {"stale-data": LAG} | dict.fromkeys(("handshake-grows", "answers-again"), SERVED)
RECIPES |= dict.fromkeys(("trainer-waits", "servers-wait", "dear-publication"), SERVED)
RECIPES |= dict.fromkeys(("ranks-uneven", "ranks-restart", "dear-commits"), RANKED)
"""Of symptoms that only some recipes have."""


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_rule_finds_its_symptom_in_time(name: str) -> None:
    columns, by = SYMPTOMS[name]
    recipe = RECIPES.get(name, RECIPE)
    for seed in range(2):
        findings = {f.rule: f for f in watched(columns, seed, recipe=recipe)}
        assert name in findings, [*findings]
        finding = findings[name]
        assert finding.steps and finding.steps[-1] <= by
        assert finding.text and len(finding.values) == len(finding.steps) and finding.figure
        for pair in finding.remedy:
            assert pair.partition("=")[2], pair
    related = {name, *RULES[name].follows} | {rule.name for rule in RULES.values() if name in rule.follows}
    others = [f.rule for f in findings.values() if f.rule not in related | {"flat-reward", "saturation"}]
    assert len(others) <= 1, f"one fault is one alarm, or nearly: {others}"


def test_every_rule_of_the_optimisation_has_a_symptom_here() -> None:
    elsewhere = {rule.name for table in (hacking, overoptimisation, human) for rule in table.RULES}
    assert {*SYMPTOMS} == {*RULES} - elsewhere


# ----------------------------------------------------------------------------------------- the rate, and remedies


def diagnosed(columns: Columns, recipe: Mapping[str, Any] = RECIPE, steps: int = 30) -> dict[str, Finding]:
    return {f.rule: f for f in watched(columns, steps=steps, recipe=recipe)}


def test_all_that_a_broken_policy_shows_is_one_alarm_and_its_remedy_a_far_lower_rate() -> None:
    recipe = {**RECIPE, "schedule": {"lr": 0.03, "warmup": 0}}
    findings = diagnosed(BROKEN, recipe)
    assert {*findings} - {"solved", "flat-reward"} == {"broken-policy"}
    assert findings["broken-policy"].remedy == ("schedule.lr=0.001",), "not a third of it"
    assert "usual" in findings["broken-policy"].text and "1e-06" in findings["broken-policy"].text
    near = BROKEN | {"kl_ref/k3": later(0.0, 1.5, 2)}
    assert diagnosed(near, recipe)["broken-policy"].remedy == ("schedule.lr=0.003",)


def test_a_fall_without_a_distance_and_a_distance_without_a_fall_are_no_broken_policy() -> None:
    learnt = {n: climbs(0.5, 0.9) for n in ("reward/mean", "sampled_accuracy", "reward/exact")}
    for healthy in (BROKEN | {"kl_ref/k3": 0.01}, BROKEN | learnt):
        assert "broken-policy" not in diagnosed(healthy)


def test_a_distance_is_measured_against_the_start_where_nothing_else_came_before() -> None:
    flat = dict.fromkeys(("reward/mean", "sampled_accuracy", "reward/exact"), 0.3)
    findings = diagnosed(FLAT | flat | {"kl_ref/k3": later(0.0, 4.0, 2)}, steps=6)
    assert findings["kl-explosion"].remedy == (f"schedule.lr={1e-5 / 30:g}",)


def test_a_rate_that_was_raised_on_the_way_goes_back_to_what_it_was() -> None:
    raised = {**RECIPE, "schedule": {"lr": 0.1, "warmup": 5}}
    high = {n: later(0.54, 0.0, 24) for n in ("reward/mean", "sampled_accuracy", "reward/exact")}
    columns = FLAT | high | {"lr": later(0.001, 0.1, 22), "kl_ref/k3": later(0.1, 6.0, 23)}
    for rule in ("broken-policy", "kl-explosion"):
        finding = RULES[rule].look(track_after(columns, 27, raised))
        assert finding is not None and finding.remedy == ("schedule.lr=0.001",), rule
    warming = FLAT | {"lr": lambda step, rng: 0.02 * min(step, 5), "kl_ref/k3": doubling}
    assert diagnosed(warming, raised, 60)["kl-explosion"].remedy == ("objective.kl.coef=0.12",), "a warm-up is no raise"


def track_after(columns: Columns, steps: int, recipe: Mapping[str, Any]) -> Track:
    rng, track = random.Random(0), Track("m", steps, recipe)
    for step in range(1, steps + 1):
        values = {n: v(step, rng) if callable(v) else v for n, v in columns.items()}
        track.add(step, {name: value for name, value in values.items() if value is not None})
    return track


@pytest.mark.parametrize(
    ("rate", "explained", "remedy"),
    [(1.0, -14.0, "critic.lr=0.0001"), (1.0, 0.0, "critic.lr=0.0001"), (1e-4, -2.0, "critic.lr=3e-05"),
     (1e-4, 0.0, "critic.lr=0.0003")],
)  # fmt: skip
def test_the_rate_of_a_critic_is_moved_towards_what_is_usual(rate: float, explained: float, remedy: str) -> None:
    columns = FLAT | {"value/explained_variance": explained, "value/mean": 0.0, "return/mean": 0.7}
    recipe = {**RECIPE, "critic": {"lr": rate, "warmup": 0}}
    assert diagnosed(columns, recipe)["dead-critic"].remedy == (remedy,)


def test_pairs_at_chance_of_a_policy_that_has_moved_are_looked_at_and_no_rate_is_raised() -> None:
    recipe = {**RECIPE, "data": {"path": "my pairs.jsonl"}}
    chance = PAIRS | {"rewards/accuracy": share(0.5, 0.5, 0.05)}
    moved = diagnosed(chance, recipe, 50)["pairs-at-chance"]
    assert moved.remedy == () and moved.command == "postlude data check 'my pairs.jsonl'"
    still = diagnosed(chance | {"rewards/chosen": 1e-5, "rewards/rejected": 1e-5, "displaced_frac": 0.0}, recipe, 50)
    assert RULES["preferences-unmoved"].name in still and "pairs-at-chance" not in still


def test_a_limit_of_a_few_tokens_is_cut_off_and_no_model_that_knows_no_end() -> None:
    tiny = {"truncated_frac": 1.0, "completion_length/min": 2, "completion_length/max": 2}
    wrong = dict.fromkeys(("reward/mean", "sampled_accuracy", "reward/exact", "advantage/std", "grad_norm"), 0.0)
    recipe = {**RECIPE, "sampling": {"max_tokens": 2}}
    findings = diagnosed(FLAT | tiny | wrong, recipe, 12)
    assert {*findings} == {"cut-off", "no-signal"}
    assert {finding.remedy for finding in findings.values()} == {("sampling.max_tokens=4",)}


def test_answers_that_ended_at_the_start_are_those_of_a_model_that_knows_an_end() -> None:
    lost = {"truncated_frac": later(0.01, 1.0, 2), "completion_length/min": later(4, 64, 2)}
    assert {"cut-off"} == {*diagnosed(FLAT | lost)} & {"cut-off", "endless"}


def test_nothing_is_solved_while_held_out_answers_get_worse() -> None:
    right = dict.fromkeys(("reward/mean", "sampled_accuracy", "reward/exact"), 1.0)
    assert "solved" in diagnosed(FLAT | right)
    assert {"held-out-falls"} == {*diagnosed(HELD_OUT | right)} & {"held-out-falls", "solved"}
    assert "held-out-falls" not in diagnosed(HELD_OUT | {"sampled/accuracy": measured(0.5, 0.6)}), "the other rises"


def test_a_reward_that_only_takes_away_is_at_its_top_and_not_all_wrong() -> None:
    """-1 and 0: no answer is ever called right, and 0 is the highest there is."""
    columns = FLAT | {
        "sampled_accuracy": 0.0, "reward/exact": None, "reward/mean": climbs(-0.5, 0.0, 0.001, 8), "reward/min": -1.0,
        "reward/max": 0.0, "answers/at_max": share(0.5, 1.0, 0, 8), "frac_zero_std_groups": later(0.3, 0.97, 8),
    }  # fmt: skip
    findings = diagnosed({n: v for n, v in columns.items() if v is not None})
    assert "saturation" in findings and not {"useless-groups", "no-signal"} & {*findings}


def test_prompts_that_are_drawn_over_and_over_are_repeated_rows() -> None:
    track = track_after(FLAT, 30, {**RECIPE, "prompts_per_step": 2})
    assert RULES["repeated-rows"].look(track) is None, "nobody says how many rows there are"
    track.rows = 3
    finding = RULES["repeated-rows"].look(track)
    assert finding is not None and finding.value == 20 and "20 times" in finding.text
    track.rows = 4
    assert RULES["repeated-rows"].look(track) is None


EXTREMES: Mapping[str, Any] = {
    **RECIPE, "schedule": {"lr": 1.0, "warmup": 0}, "critic": {"lr": 1.0, "warmup": 0}, "stop_kl": None,
    "objective": {"kl": {"coef": 1.0}, "entropy": 0.5, "ratio": "token", "link": {"beta": 1.0}},
    "group_size": 2, "sampling": {"max_tokens": 1}, "updates": 1, "epochs": 1, "max_lag": 1,
}  # fmt: skip


METHODS = {"loss/pairs": "dpo", "loss/points": "kto", "loss/policy": "sft"}
"""By a figure that its steps log; ppo has every setting of the others."""


@pytest.mark.parametrize("recipe", [RECIPE, EXTREMES], ids=["usual", "extreme"])
def test_every_remedy_is_a_setting_that_a_recipe_takes(recipe: Mapping[str, Any]) -> None:
    for name, (columns, by) in SYMPTOMS.items():
        engine = {"engine": SERVED["engine"]} if RECIPES.get(name) is SERVED else {}
        finding = RULES[name].look(track_after(columns, by, {**recipe, **engine}))
        method = next((method for figure, method in METHODS.items() if figure in columns), "ppo")
        if finding is not None and finding.remedy:
            resolve(recipe_with(method, finding.remedy, served=bool(engine)))


def recipe_with(method: str, pairs: tuple[str, ...], served: bool = False) -> Document:
    reward = (
        "reward: [{use: exact}]\ngroup_size: 4\nobjective: {kl: {coef: 0.04}}\ncritic: {lr: 0.001}\n"
        if method == "ppo"
        else ""
    )
    engine = "engine: {servers: {count: 2, python: python3}}\n" if served else ""
    data = "data: {path: d.jsonl, eval: e.jsonl}\nsteps: 100\noutput: o\n"
    document = from_text(f"method: {method}\nmodel: m\n{data}{reward}{engine}", "r.yaml")
    override(document, pairs)
    return document


# ----------------------------------------------------------------------------------------------- near misses


def test_what_comes_gradually_to_all_right_is_solved_and_not_without_a_signal() -> None:
    done = {"frac_zero_std_groups": later(0.5, 1, 60), "advantage/std": later(0.9, 0, 60), "grad_norm": later(1, 0, 60)}
    right = {n: share(0.5, 1.0, 0) for n in ("sampled_accuracy", "reward/mean", "reward/exact")}
    rules = {f.rule for f in watched(FLAT | done | right | {"reward/min": later(0, 1, 60)})}
    assert "solved" in rules and not rules & {"no-signal", "useless-groups"}


def test_a_reward_that_breaks_to_the_highest_is_no_solved_task() -> None:
    broken = {n: later(0.4, 1) for n in ("sampled_accuracy", "reward/mean", "reward/exact")}
    broken |= {"reward/min": later(0, 1), "advantage/std": later(0.9, 0), "grad_norm": later(1, 0)}
    assert "no-signal" in {f.rule for f in watched(FLAT | broken)}


def test_a_distance_that_pays_is_no_explosion() -> None:
    rising = {n: climbs(0.1, 0.9, 0.01, STEPS) for n in ("sampled_accuracy", "reward/mean", "reward/exact")}
    grows: dict[str, Value] = {"kl_ref/k3": lambda step, rng: 0.02 * 2 ** (step / 12)}
    assert "kl-explosion" not in {f.rule for f in watched(FLAT | rising | grows)}
    assert "kl-explosion" in {f.rule for f in watched(FLAT | {"kl_ref/k3": later(0.1, 12)})}, "but one that is lost is"


def test_short_answers_that_are_cut_by_design_are_fine_where_they_are_right() -> None:
    by_design = {"truncated_frac": 1.0, "completion_length/min": 1, "completion_length/max": 1}
    assert not {"cut-off", "endless"} & {f.rule for f in watched(sampled(0.85, 0.9, 0.01) | by_design)}


def test_noise_that_a_critic_cannot_foresee_is_no_dead_critic() -> None:
    unforeseen = {"value/explained_variance": climbs(0, 0, 0.1), "value/mean": 0.31, "return/mean": 0.3}
    assert "dead-critic" not in {f.rule for f in watched(FLAT | unforeseen)}


def test_whole_answers_are_clipped_at_once_by_their_nature() -> None:
    halves = FLAT | {"clip_frac_low": 0.4, "clip_frac_high": 0.3}
    by_answer = {**RECIPE, "objective": {"ratio": "sequence_mean"}}
    assert "clipped" not in {f.rule for f in watched(halves, recipe=by_answer)}


def test_older_weights_are_stale_data_and_no_mismatch() -> None:
    rules = {f.rule for f in watched(FLAT | {"mismatch/k3": 0.3}, recipe=LAG)}
    assert "stale-data" in rules and "mismatch" not in rules


HEALTHY_SERVED: Columns = sampled(0.3, 0.85) | timed(wait=5, train=4) | {
    "refused_answers": lambda step, rng: float(step == 30) * 12, "requeued": lambda step, rng: float(step == 30) * 40,
    "handshake/error": lambda step, rng: 2e-5 * (1 + rng.random()), "lag/mean": 0, "lag/max": 0,
}  # fmt: skip


def test_servers_that_keep_up_raise_no_alarm_and_no_hint() -> None:
    ours = {"handshake-grows", "answers-again", "trainer-waits", "servers-wait", "dear-publication"}
    assert not ours & {f.rule for f in watched(HEALTHY_SERVED, recipe=SERVED)}
    ahead = HEALTHY_SERVED | timed(wait=0.1, train=9)
    assert ours & {f.rule for f in watched(ahead, recipe={**SERVED, "max_lag": 1})} == {"servers-wait"}
    assert not ours & {f.rule for f in watched(ahead)}, "without servers nothing is said of them"


def test_ranks_that_keep_step_raise_no_alarm_and_one_that_was_lost_once_neither() -> None:
    ours = {"ranks-uneven", "ranks-restart", "dear-commits"}
    once: Value = lambda step, rng: 30.0 * (step == 20)
    even = sampled(0.3, 0.85) | timed(restart=once) | {"ranks/imbalance": climbs(1.05, 1.05, 0.02)}
    assert not ours & {f.rule for f in watched(even, recipe=RANKED)}
    assert not ours & {f.rule for f in watched(even | timed(commit=20), recipe=RECIPE)}, (
        "of one trainer nothing is said"
    )


def test_settings_that_no_recipe_says_are_no_trouble() -> None:
    for columns, _ in SYMPTOMS.values():
        watched(columns, recipe={})


def test_a_step_without_some_figure_changes_nothing_for_the_others() -> None:
    def often(value: float) -> Value:
        return lambda step, rng: value if step % 3 else None

    sparse = {"reward/std": often(0.45), "mismatch/ess": often(0.99), "entropy": often(0.5)}
    assert not [f for f in watched(sampled(0.3, 0.85) | sparse) if f.gravity != "hint"]


def test_a_look_costs_no_more_late_than_early() -> None:
    """Rules read windows: what they touch of a column does not grow with the run."""

    class Counting(list[float]):
        touched = 0

        def __getitem__(self, index: Any) -> Any:
            value = super().__getitem__(index)
            Counting.touched += len(value) if isinstance(index, slice) else 1
            return value

    counts: list[int] = []
    for steps in (200, 800):
        track = Track("m", steps, RECIPE)
        rng = random.Random(0)
        for step in range(1, steps + 1):
            track.add(step, {n: v(step, rng) or 0.0 if callable(v) else v for n, v in sampled(0.3, 0.85).items()})
        for column in track.columns.values():
            column.values = Counting(column.values)
        Counting.touched = 0
        examine(track)
        counts.append(Counting.touched)
    assert counts[1] <= counts[0] * 1.1


@pytest.mark.parametrize(("trained", "found"), [(0.1, True), (0.6, False)])
def test_overfitting_shows_in_the_likelihood_term_before_it_does_in_the_loss(trained: float, found: bool) -> None:
    track = Track("dpo", STEPS)
    for step in range(1, 31):
        track.add(
            step, {"rewards/accuracy": 0.9, "loss/pairs": 0.5 - step / 100, "loss/nll": 0.3 if step < 9 else trained}
        )
        if step % 5 == 0:
            track.add(step, {"held_out/loss/pairs": 0.45, "held_out/loss/nll": 0.1 + abs(step - 10) / 100})
    finding = RULES["overfitting"].look(track)
    assert (finding is not None) == found
    assert finding is None or (finding.figure, finding.steps) == ("held_out/loss/nll", (15, 20, 25, 30))


def test_a_likelihood_term_that_gives_a_little_back_of_what_it_gained_is_no_overfitting() -> None:
    """Beside a preference loss that falls on held-out rows: of a healthy run."""
    track = Track("kto", 48)
    for step, preference, nll in zip(
        range(0, 49, 8), (0.5, 0.49, 0.47, 0.46, 0.45, 0.45, 0.44), (0.071, 0.042, 0.023, 0.022, 0.024, 0.028, 0.033),
        strict=True,
    ):  # fmt: skip
        track.add(step, {"held_out/loss/points": preference, "held_out/loss/nll": nll})
        track.add(step, {"loss/points": 0.5 - step / 200, "loss/nll": 0.07 - step / 1000, "rewards/accuracy": 1.0})
    assert RULES["overfitting"].look(track) is None
    track.add(56, {"held_out/loss/nll": 0.09, "held_out/loss/points": 0.44, "loss/points": 0.2, "loss/nll": 0.01})
    track.add(64, {"held_out/loss/nll": 0.12, "held_out/loss/points": 0.44, "loss/points": 0.2, "loss/nll": 0.01})
    assert RULES["overfitting"].look(track) is not None, "worse than at the start"


def test_the_evidence_is_the_steps_that_show_it_so_that_no_sound_checkpoint_is_lost() -> None:
    last = {"kl_ref/k3": (0.1, 12.0), "mismatch/ess": (1.0, 0.1), "ratio/max": (1.0, 900.0)}
    track = Track("grpo", STEPS)
    for step in range(1, 33):
        track.add(step, {"samples": 8.0, "unscored": 8.0 * (step % 4 == 0), "skipped_updates": float(step in (26, 32))})
        track.add(step, {name: bad if step == 32 else good for name, (good, bad) in last.items()})
    rules = ("kl-explosion", "effective-samples", "ratio", "not-finite", "unscored")
    findings = {name: finding for name in rules if (finding := RULES[name].look(track))}
    assert {name: finding.steps for name, finding in findings.items()} == {
        "kl-explosion": (32,), "effective-samples": (32,), "ratio": (32,), "not-finite": (26, 32),
        "unscored": (24, 28, 32),
    }  # fmt: skip
