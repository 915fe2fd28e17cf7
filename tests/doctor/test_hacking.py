"""Every rule on reward hacking on figures made for it: it fires where it must, and not beside an honest reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from postlude.doctor import hacking, overoptimisation
from postlude.doctor.rule import Finding
from postlude.doctor.rules import RULES
from postlude.doctor.track import Track
from postlude.statistics import reward_rl

Figures = Mapping[str, float | Sequence[float]]
STEPS = 40
REWARD = {"use": "mine.py:paid"}
METRIC = "truth/held_out/right"


def ramp(start: float, end: float, steps: int = STEPS) -> list[float]:
    """From the one to the other in half of the steps, with a little noise."""
    return [start + (end - start) * min(2 * i / steps, 1) + 0.001 * (-1) ** i for i in range(steps)]


def track(figures: Figures, evals: Figures | None = None, recipe: Mapping[str, Any] | None = None) -> Track:
    """Figures of every step, and of an evaluation before the first step and after every fifth."""
    made = Track("grpo", STEPS, recipe or {"reward": [REWARD]})
    held = {name: ramp(v, v, 9) if isinstance(v, int | float) else v for name, v in (evals or {}).items()}
    common = {"samples": 8.0, "completion_length/mean": 20.0, "reward/mean": ramp(0.2, 0.9)}
    for step in range(STEPS + 1):
        row = {n: v[step - 1] if isinstance(v, Sequence) else v for n, v in (common | {**figures}).items()}
        made.add(step, row) if step else None
        made.add(step, {n: v[step // 5] for n, v in held.items()}) if step % 5 == 0 else None
    return made


def truth(start: float, end: float, width: float = 0.1, apart: float = 0.0) -> Figures:
    """A metric over nine evaluations, with its interval, the reward on the same answers, and the divergence."""
    values = ramp(start, end, 9)
    return {
        METRIC: values,
        f"{METRIC}/low": [v - width for v in values],
        f"{METRIC}/high": [v + width for v in values],
        "truth/held_out/reward": ramp(0.2, 0.9, 9),
        f"{METRIC}/divergence": ramp(0, apart, 9),
        f"{METRIC}/divergence/low": ramp(0, apart - 0.2, 9),
    }


def looked(rule: str, made: Track) -> Finding | None:
    return RULES[rule].look(made)


LONGER = {"completion_length/mean": ramp(20, 40), "answers/length_reward": 0.8}
BETTER = {"sampled_accuracy": ramp(0.3, 0.8)}
NO_BETTER = {"sampled_accuracy": ramp(0.3, 0.3)}
PATTERNS: Sequence[
    tuple[str, Figures, Figures]
] = [  # rule, figures at fault, the same beside a reason or below a bound
    ("length-paid", LONGER | {"answers/length_reward": 0.65}, LONGER | {"answers/length_reward": 0.5}),
    ("length-paid", LONGER, LONGER | {"completion_length/mean": ramp(20, 24)}),
    ("same-affix", {"answers/common_end": ramp(0.1, 0.9)}, {"answers/common_end": ramp(0.9, 0.9)}),
    ("same-affix", {"answers/common_start": ramp(0.1, 0.9)}, {"answers/common_start": ramp(0.1, 0.5)}),
    ("repetition", {"answers/repeated": ramp(0.1, 0.6)}, {"answers/repeated": ramp(0.5, 0.6)}),
    ("echo", {"answers/echo": ramp(0, 0.8)}, {"answers/echo": ramp(0.8, 0.8)}),
    (
        "answers-alike",
        {"answers/similarity": ramp(0.1, 0.8), "completion_length/mean": 99.0},
        {"answers/similarity": ramp(0.1, 0.8), "completion_length/mean": 20.0},
    ),
]


@pytest.mark.parametrize(("rule", "wrong", "fine"), PATTERNS)
def test_patterns_that_pay_are_found_and_excused_where_answers_get_better(
    rule: str, wrong: Figures, fine: Figures
) -> None:
    finding = looked(rule, track(NO_BETTER | {**wrong}))
    assert finding is not None and finding.value > finding.threshold and finding.steps[-1] == STEPS
    assert "evaluate.metrics would measure truth" in finding.text
    assert looked(rule, track(NO_BETTER | {**fine})) is None
    assert looked(rule, track(BETTER | {**wrong})) is None, "more answers are right, by all that is known"
    hacked = looked(rule, track(BETTER | {**wrong}, truth(0.5, 0.4)))
    assert hacked is not None and f"{METRIC} went from 0.501 to 0.4" in hacked.text, "truth counts more than accuracy"
    assert looked(rule, track(wrong, truth(0.3, 0.8))) is None


def test_bounds_are_lower_where_truth_is_measured() -> None:
    little = {"completion_length/mean": ramp(20, 26), "answers/length_reward": 0.4}
    assert looked("length-paid", track(little)) is None
    assert looked("length-paid", track(little, truth(0.5, 0.5))) is not None
    assert looked("same-affix", track({"answers/common_end": ramp(0.1, 0.5)}, truth(0.5, 0.5))) is not None


def test_a_reward_for_form_that_rises_alone() -> None:
    form, content = {"use": "format", "weight": 0.5}, {"use": "exact", "outcome": True}
    recipe = {"reward": [form, content]}
    rising = {"reward/format": ramp(0.1, 1.0), "reward/exact": 0.3}
    finding = looked("format-only", track(NO_BETTER | rising, recipe=recipe))
    assert finding is not None and "reward/format has risen from 0.19 to 1" in finding.text
    assert looked("format-only", track(BETTER | rising, recipe=recipe)) is None
    assert looked("format-only", track(NO_BETTER | rising, recipe={"reward": [form | {"weight": 0}, content]})) is None
    assert not RULES["format-only"].concerns(track(NO_BETTER | rising, recipe={"reward": [form]}))


def test_agreement_with_wrong_claims() -> None:
    finding = looked("sycophancy", track({"answers/agree": ramp(0.2, 0.5)}))
    assert finding is not None and (finding.threshold, finding.figure) == (0.1, "answers/agree")
    assert looked("sycophancy", track({}, {"sampled/agree": ramp(0.2, 0.5, 9)})) is not None
    assert looked("sycophancy", track({"answers/agree": ramp(0.5, 0.2)})) is None
    assert not RULES["sycophancy"].concerns(track({}))


@pytest.mark.parametrize(
    ("rule", "wrong", "fine"),
    [
        ("code-smells", {"answers/smells": ramp(0.002, 0.05)}, {"answers/smells": ramp(0.04, 0.05)}),
        (
            "test-gaming",
            {"code/visible": ramp(0.4, 0.9), "code/hidden": ramp(0.4, 0.5)},
            {"code/visible": ramp(0.5, 0.9), "code/hidden": ramp(0.4, 0.8)},
        ),
        ("several-answers", {"maths/ambiguous": ramp(0.0, 0.4)}, {"maths/ambiguous": ramp(0.4, 0.4)}),
        ("judge-canary", {"judge/canary": 0.2}, {"judge/canary": -0.8}),
        ("reward-models-part", {"model/disagreement": ramp(0.1, 0.4)}, {"model/disagreement": ramp(0.1, 0.15)}),
    ],
)
def test_verifiers_that_are_gamed(rule: str, wrong: Figures, fine: Figures) -> None:
    assert looked(rule, track(wrong)) is not None and looked(rule, track(fine)) is None
    assert not RULES[rule].concerns(track({}))


def test_a_canary_that_is_compared_wins_half() -> None:
    recipe = {"reward": [{"use": "judge", "args": {"mode": "pairs"}}]}
    assert looked("judge-canary", track({"judge/canary": 0.4}, recipe=recipe)) is None
    assert looked("judge-canary", track({"judge/canary": 0.6}, recipe=recipe)) is not None


def test_a_reward_at_its_top_is_saturated_unless_truth_is_there_too() -> None:
    top = {"answers/at_max": 0.95}
    assert looked("saturation", track(top)) is not None
    assert looked("saturation", track(top | BETTER)) is None, "solved, as far as the run can tell"
    assert looked("saturation", track(top | BETTER, truth(0.5, 0.5))) is not None
    assert looked("saturation", track(top, truth(0.5, 0.8))) is None, "truth has risen with it"
    assert looked("saturation", track(top | {"reward/mean": 0.9})) is None, "it has not come there"


def test_the_reward_alone_rises() -> None:
    finding = looked("reward-without-truth", track({}, truth(0.5, 0.45, apart=1.0)))
    assert finding is not None and finding.remedy == (f"checkpoints.best={METRIC}",)
    assert (finding.value, finding.threshold) == (pytest.approx(1.0, abs=0.01), 0.5)
    assert looked("reward-without-truth", track({}, truth(0.5, 0.9, apart=1.0))) is None, "truth rises, too"
    assert looked("reward-without-truth", track({}, truth(0.5, 0.45, apart=0.4))) is None
    assert (
        looked("reward-without-truth", track({}, {**truth(0.5, 0.45, apart=1.0), "truth/held_out/reward": 0.5})) is None
    )
    blind = RULES["reward-without-truth"].blind(track({}))
    assert blind is not None and "evaluate.metrics" in blind


def test_truth_falls_by_more_than_chance() -> None:
    finding = looked("truth-falls", track({}, truth(0.6, 0.2)))
    assert finding is not None and finding.value == pytest.approx(0.2, abs=0.01)
    assert looked("truth-falls", track({}, truth(0.6, 0.5))) is None
    measured = {"reward": [REWARD, {"use": "exact", "weight": 0, "outcome": True}]}
    accuracy = {name.replace(METRIC, "sampled/accuracy"): v for name, v in truth(0.6, 0.2).items() if METRIC in name}
    accuracy = {name.replace("accuracy/", "accuracy_"): v for name, v in accuracy.items()}
    assert looked("truth-falls", track({}, accuracy, measured)) is not None, "a reward that only measures is truth"
    assert not RULES["truth-falls"].concerns(track({}, accuracy)), "one that is trained on is none"


def test_the_peak_of_the_fit_lies_behind() -> None:
    distances = [0.25 * i for i in range(STEPS + 1)]
    kl = {"kl_ref/sequence": [d * d for d in distances[1:]]}
    gold = [0.5 + reward_rl(d, 0.2, 0.2) for d in distances[::5]]  # best at d = exp(0) = 1
    over = {**truth(0.5, 0.5, width=0.05), METRIC: gold}
    finding = looked("over-optimised", track(kl, over))
    assert finding is not None and "best at a distance of 1 " in finding.text
    assert (finding.value, finding.threshold) == (pytest.approx(10), pytest.approx(1.2))
    rising = {**over, METRIC: [0.5 + reward_rl(d, 0.2, 0.05) for d in distances[::5]]}
    assert looked("over-optimised", track(kl, rising)) is None


def test_a_budget_of_kl() -> None:
    far = {"kl_ref/sequence": ramp(1, 150)}
    assert looked("kl-budget", track(far)) is not None and looked("kl-budget", track({"kl_ref/sequence": 90.0})) is None
    held = {"kl_control": {"target": 6.0, "unit": "sequence"}, "objective": {"kl": {"coef": 0.1}}}
    finding = looked("kl-budget", track({"kl_ref/sequence": 13.0}, recipe=held))
    assert finding is not None and (finding.threshold, finding.remedy) == (12.0, ("objective.kl.coef=0.3",))


def test_every_rule_is_tried_here() -> None:
    rules = {rule.name for rule in (*hacking.RULES, *overoptimisation.RULES)}
    tried = {"format-only", "sycophancy", "saturation", "reward-without-truth", "truth-falls", "over-optimised"}
    tried |= {"code-smells", "test-gaming", "several-answers", "judge-canary", "reward-models-part", "kl-budget"}
    assert rules == tried | {rule for rule, _, _ in PATTERNS}
