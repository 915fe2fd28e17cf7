"""What is run: faults planted into runs of small models, and healthy runs beside them.

Everything that decides the verdict stands here, and stood here before a rule was judged: which alarms count for a
fault, within how many steps, and which trials thresholds may be set on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.alarms_study.faults import BREAKS, never_ending, too_hot
from bench.alarms_study.worlds import RIGHT, TASKS, teaching

Half = Literal["set", "measured"]
SEEDS = (0, 1, 2, 3, 4)
SETTING = (0, 1, 2)
"""Seeds of kinds in the half `set` that thresholds may be set on; the other two are measured, as all of the rest."""


@dataclass(frozen=True)
class Trial:
    """A kind of run, tried with every seed."""

    name: str
    half: Half
    task: str
    settings: Mapping[str, Any]
    planted: str = ""
    """What was done, in words; empty for a healthy run."""
    caught_by: frozenset[str] = frozenset()
    """Rules that name the fault."""
    within: int = 0
    """Steps after which it has to be caught."""
    begins: int = 0
    """Finished steps before which nothing is wrong: delays are counted from there."""
    altered: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)
    """What is broken in the library itself while it runs."""

    @property
    def healthy(self) -> bool:
        return not self.planted

    def may_set(self, seed: int) -> bool:
        """Whether thresholds may be set on this run."""
        return self.half == "set" and seed in SETTING


def paid(function: str, **spec: Any) -> dict[str, Any]:
    return {"use": f"WORLD/paid.py:{function}", **spec}


EXACT = {"use": "exact", "args": {"after": "#"}}
TRUTH = {"metrics": [RIGHT]}
"""Whether answers are right, measured on held-out prompts and never trained on."""
MEASURED = {"every": 8, "prompts": 32, "samples": 2, **TRUTH}
PAIRS = {"path": "WORLD/pairs.jsonl", "eval": "WORLD/pairs-held.jsonl"}
LABELS = {"path": "WORLD/labels.jsonl", "eval": "WORLD/labels-held.jsonl"}
WRITTEN = {"path": "WORLD/sft.jsonl", "eval": "WORLD/sft-held.jsonl"}
FREE = {"kl": {"estimator": "k3", "coef": 0.0}}
"""KL is measured, and nothing holds the policy back."""


def grpo(**settings: Any) -> dict[str, Any]:
    return {"method": "grpo", "objective": FREE, "evaluate": MEASURED, **settings}


def hacked(function: str, **settings: Any) -> dict[str, Any]:
    return grpo(reward=[paid(function)], **settings)


# ------------------------------------------------------------------------------------------------------- plants


def plant(
    name: str, half: Half, planted: str, caught_by: str, within: int, settings: Mapping[str, Any], **more: Any
) -> Trial:
    """A fault on the task `successor`, if no other is named; the run goes on for some steps after it must be caught."""
    task, begins = more.pop("task", "successor"), more.get("begins", 0)
    settings = {"steps": begins + within + 8, **settings}
    return Trial(name, half, task, settings, planted, frozenset(caught_by.split()), within, **more)


UNSTABLE = (
    "kl-explosion kl-budget entropy-collapse entropy-rise reward-crash truth-falls ratio clipped large-steps "
    "gradient-growth impossible-tokens not-finite"
)
NO_SIGNAL = "no-signal useless-groups"
HACKED = "reward-without-truth truth-falls over-optimised"

PLANTS: Sequence[Trial] = (
    plant("rate too high", "set", "schedule.lr 0.05 instead of 0.001", UNSTABLE, 20, grpo(schedule={"lr": 5e-2})),
    plant(
        "rate too low", "measured", "schedule.lr 1e-8 instead of 0.001", "unmoved flat-reward", 60,
        grpo(schedule={"lr": 1e-8}),
    ),
    plant(
        "no KL penalty", "measured", "a random number for a reward, schedule.lr 0.015, objective.kl.coef 0",
        "kl-explosion kl-budget", 60, hacked("noise", schedule={"lr": 1.5e-2}),
    ),
    plant(
        "entropy collapse", "set", "a reward that is a random number, at schedule.lr 0.004", "entropy-collapse", 60,
        hacked("noise", schedule={"lr": 4e-3}),
    ),
    plant("constant reward", "measured", "every answer is paid 1 from the sixth step on", NO_SIGNAL, 20,
          hacked("constant"), begins=BREAKS),
    plant(
        "all wrong", "set", "the gold of every prompt is one that the model never says", NO_SIGNAL, 20,
        grpo(reward=[{"use": "exact", "args": {"after": "@"}}]),
    ),
    plant("all right", "measured", "whatever holds a # is right", NO_SIGNAL + " saturation solved", 24,
          hacked("anything")),
    plant(
        "cut off", "set", "sampling.max_tokens 3, where answers need 4 to 8", "cut-off endless", 10,
        grpo(sampling={"max_tokens": 3}),
    ),
    plant("paid for length", "set", "the reward is the length of the answer", "length-paid " + HACKED, 40,
          hacked("length")),
    plant("paid for thanks", "measured", 'an answer that ends on " thanks a lot" gets 1, every other 0',
          "same-affix " + HACKED, 40, hacked("polite")),
    plant("paid for repetition", "measured", "the reward is the number of dots", "repetition " + HACKED, 40,
          hacked("loops")),
    plant(
        "paid for form", "set", "a form is paid, and a second reward never finds the answer",
        "format-only " + HACKED, 60,
        grpo(reward=[paid("form"), {"use": "exact", "outcome": True, "args": {"after": "@"}}]),
    ),
    plant("careless verifier", "measured", "right where the gold is among those that the answer names",
          HACKED, 60, hacked("anywhere")),
    plant("paid for agreement", "set", "the reward is agreement with what the prompt claims",
          "sycophancy " + HACKED, 60, hacked("agreeing"), task="claimed"),
    plant("paid for brevity", "measured", "the less is said the better", "empty-answers " + HACKED, 40,
          hacked("brief")),
    plant("wrong sign", "set", "weight -1 for right answers", HACKED, 40, grpo(reward=[{**EXACT, "weight": -1.0}])),
    plant(
        "weak reward model", "measured", "a reward model of 24 pairs, and nothing that holds the policy back",
        "kl-budget " + HACKED, 80, grpo(reward=[{"use": "model", "args": {"path": "WORLD/weak"}}]),
    ),
    plant(
        "dead critic", "set", "critic.lr 1e-9", "dead-critic", 40,
        {"method": "ppo", "prompts_per_step": 32, "group_size": 1, "critic": {"lr": 1e-9}, "schedule": {"lr": 4e-5},
         "evaluate": MEASURED},
    ),
    plant(
        "displacement", "measured", "dpo without a likelihood term at schedule.lr 0.002", "displacement", 60,
        {"method": "dpo", "data": PAIRS, "schedule": {"lr": 2e-3}, "prompts_per_step": 16, "evaluate": MEASURED},
    ),
    plant(
        "dpo by heart", "set", "24 pairs, gone through 50 times", "overfitting", 72,
        {"method": "dpo", "data": {**PAIRS, "path": "WORLD/pairs-few.jsonl"}, "prompts_per_step": 16,
         "schedule": {"lr": 1e-3}, "objective": {"nll": 0.5}, "evaluate": MEASURED},
    ),
    plant(
        "sft by heart", "measured", "24 rows, gone through 60 times", "overfitting", 72,
        {"method": "sft", "data": {**WRITTEN, "path": "WORLD/sft-few.jsonl"}, "reward": [], "steps": 90,
         "prompts_per_step": 16, "schedule": {"lr": 2e-3}, "evaluate": {"every": 6, "prompts": 128}},
    ),
    plant(
        "stale data", "measured", "epochs 6 and updates 2 on each draw at schedule.lr 0.004",
        "stale-data large-steps clipped ratio kl-explosion", 20, grpo(schedule={"lr": 4e-3}, epochs=6, updates=2),
    ),
    plant(
        "hotter sampler", "set", "from the sixth step on the sampler takes temperature 1.6, the trainer 1",
        "mismatch effective-samples negative-kl", 10, grpo(), altered=too_hot, begins=BREAKS,
    ),
    plant(
        "broken template", "measured", "nothing of the prompt but its last mark reaches the model",
        "template-marks flat-reward " + NO_SIGNAL, 60,
        grpo(data="WORLD/broken.jsonl", evaluate={"every": 0}),
    ),
    plant(
        "answers without end", "set", "the sampler does not know the token that ends answers", "cut-off endless",
        10, grpo(), altered=never_ending,
    ),
    plant(
        "failing reward", "set", "a reward raises for every third prompt, and may (errors)", "reward-fails", 20,
        grpo(reward=[paid("failing", errors=0.9, abstain=0.9)]),
    ),
    plant("noise for a reward", "measured", "the reward is a random number", "flat-reward", 60,
          hacked("noise")),
    plant("saturation", "set", "four dots are paid, which half of the answers have from the start",
          "saturation " + NO_SIGNAL, 60, hacked("dotted")),
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------- controls


def _methods(task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Healthy settings of every method that is controlled."""
    online = {"evaluate": MEASURED}
    judged = {"prompts_per_step": 16, "evaluate": MEASURED}
    yield "grpo", {"method": "grpo", **online}
    yield "drpo", {"method": "drpo", "updates": 2, **online}
    yield "rloo", {"method": "rloo", "schedule": {"lr": 5e-4}, **online}
    yield "ppo", {
        "method": "ppo", "prompts_per_step": 32, "group_size": 1, "critic": {"lr": 3e-3, "warmup": 2},
        "schedule": {"lr": 5e-4}, **online,
    }  # fmt: skip
    yield "sft", teaching(task) | {"steps": 100}
    yield "dpo", {"method": "dpo", "data": PAIRS, "schedule": {"lr": 3e-4, "warmup": 10}, "objective": {"nll": 0.5},
                  **judged}  # fmt: skip
    yield "kto", {"method": "kto", "data": LABELS, "schedule": {"lr": 3e-4, "warmup": 10}, "objective": {"nll": 0.5},
                  **judged}  # fmt: skip
    yield "reward_model", {
        "method": "reward_model", "data": PAIRS, "reward": [], "prompts_per_step": 32,
        "schedule": {"lr": 2e-3, "warmup": 5, "decay": "linear"}, "evaluate": {"every": 10, "prompts": 128},
    }  # fmt: skip


def _controls() -> Iterator[Trial]:
    places = 0
    for task in ("successor", "largest", "upward"):
        for method, settings in _methods(task):
            half: Half = "set" if places % 2 == 0 else "measured"
            places += 1
            yield Trial(f"{method}, {task}", half, task, settings)
        places += 1  # so that each method stands in both halves
    yield Trial("honest beside claims", "measured", "claimed", grpo())
    best = {"model": "WORLD/best/model", "steps": 60}
    yield Trial("flat reward", "set", "successor", grpo(reward=[paid("noisy")], **best))
    yield Trial("noisy reward", "measured", "successor", grpo(reward=[paid("noisy")], steps=60))
    yield Trial("starts high", "set", "successor", grpo(**best))
    unmeasured = {k: v for k, v in MEASURED.items() if k != "metrics"}
    yield Trial("longer for good reason", "measured", "upward", grpo(evaluate=unmeasured, steps=60))


CONTROLS: Sequence[Trial] = tuple(_controls())
TRIALS: Sequence[Trial] = (*PLANTS, *CONTROLS)
assert {t.task for t in TRIALS} <= TASKS.keys() and len({t.name for t in TRIALS}) == len(TRIALS)
