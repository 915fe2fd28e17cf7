"""DRPO's headline claim in miniature: `make study-drpo` writes docs/drpo-study.md, with its numbers and a plot.

Accuracy against length, for DRPO over lambda and for GRPO, RLOO-LP, ALP and HAPO over their strengths, on a task whose
right answers are sometimes long (`bench.long_answers`). All start from one policy that writes more than it needs. Each
method has the rate that was best for it, of three, by held-out prompts and a seed that are not reported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench import long_answers

STEPS = 48
SEEDS = 3
START = 0.55
"""Held-out accuracy at which the start stops learning from its teachers."""
RATES = ("1e-4", "2e-4", "4e-4")
FAMILIES: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    # name -> (method, key of its strength, strengths from none on, the one its rate is chosen with)
    "DRPO": ("drpo", "objective.advantage.lam", (".inf", "0.5", "0.2", "0.1"), "0.2"),
    "GRPO": ("grpo", "alpha", ("0", "0.4", "0.8"), "0.4"),
    "RLOO-LP": ("rloo_lp", "shaping.0.alpha", ("0", "0.2", "0.4"), "0.2"),
    "ALP": ("alp", "shaping.0.beta", ("0.01", "0.1"), "0.01"),
    "HAPO": ("hapo", "shaping.0.weight", ("0", "0.1", "1"), "0.1"),
}
"""Without a penalty ALP is GRPO, whose run of strength 0 stands for both."""
FEW = 128
"""Prompts of HAPO's runs, which go through them three times: it compares an answer with those of earlier times."""


def arm_name(family: str, strength: str) -> str:
    return f"{family} {strength}"


def settings_of(family: str, strength: str, few: str | None = None) -> dict[str, str]:
    """An arm's settings; GRPO's price on length is a factor of its own. `few`: the file of HAPO's prompts."""
    method, key, _, _ = FAMILIES[family]
    if family == "HAPO" and few is not None:
        return {"method": method, key: strength, "data.path": few}
    if family != "GRPO":
        return {"method": method, key: strength}
    price = {} if strength == "0" else {"shaping": f"[{{kind: linear_length, alpha: {strength}}}]"}
    return {"method": method, "objective.kl": "null", **price}


def start(folder: Path) -> None:
    """Data, and a policy taught by teachers who write too much."""
    from postlude.launch import launch
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe import Document

    if (folder / "sft" / "model").exists():
        return
    long_answers.write(folder)
    save_tiny_model(folder / "model", 0, layers=2, width=128, heads=4, spread=0.05)
    values: dict[str, Any] = recipe(folder) | {
        "method": "sft",
        "model": str(folder / "model"),
        "output": str(folder / "sft"),
        "steps": 700,
        "prompts_per_step": 64,
        "optimizer": {"beta2": 0.98},
        "schedule": {"lr": 3e-3, "warmup": 30},
        "evaluate": {"every": 20, "prompts": 60, "samples": 4, "stop_at": START},
    }
    values["data"] = {"path": str(folder / "sft.jsonl"), "eval": str(folder / "choose.jsonl")}
    launch(Document({k: v for k, v in values.items() if k not in ("group_size", "updates")}))


def recipe(folder: Path) -> dict[str, Any]:
    """What all arms have alike."""
    return {
        "method": "grpo",
        "model": str(folder / "sft" / "model"),
        "data": {"path": str(folder / "prompts.jsonl"), "eval": str(folder / "report.jsonl")},
        "reward": {"use": "exact", "args": {"after": "#"}},
        "sampling": {"max_tokens": 64},
        "prompts_per_step": 8,
        "group_size": 8,
        "updates": 2,
        "schedule": {"lr": 2e-4, "decay": "linear"},
        "evaluate": {"every": 0, "prompts": 120, "samples": 4},
        "checkpoints": {"every": 0},
    }


def say(text: str) -> None:
    print(text, flush=True)


def tune(folder: Path) -> dict[str, str]:
    """Family -> the rate it gets."""
    from postlude.contest.arms import Arm
    from postlude.contest.plan import Allowance, Tuning
    from postlude.contest.running import Work, choices
    from postlude.contest.setup import set_up
    from postlude.recipe import Document

    arms = [Arm(family, settings_of(family, middle)) for family, (*_, middle) in FAMILIES.items()]
    tuning = Tuning({"schedule.lr": RATES}, str(folder / "choose.jsonl"))
    place = folder / "rates"
    setup = set_up(Document(recipe(folder)), "drpo study", arms, [0], Allowance("steps", STEPS), tuning, place)
    setup.contest.write(place)
    work = Work(setup.contest, place, lambda job, at: say(f"{job.place} ({at})") or (lambda event: None), say)
    work.run_trials()
    return {family: choice.settings["schedule.lr"] for family, choice in choices(setup.contest, place).items()}


def run(folder: Path, rates: dict[str, str]) -> None:
    """Every family over its strengths."""
    from postlude.contest.arms import Arm
    from postlude.contest.plan import Allowance
    from postlude.contest.running import Work
    from postlude.contest.setup import set_up
    from postlude.recipe import Document

    few = folder.absolute() / "few.jsonl"
    few.write_text("".join((folder / "prompts.jsonl").read_text().splitlines(keepends=True)[:FEW]))
    arms = [
        Arm(arm_name(family, strength), {**settings_of(family, strength, str(few)), "schedule.lr": rates[family]})
        for family, (_, _, strengths, _) in FAMILIES.items()
        for strength in strengths
    ]
    place = folder / "frontier"
    setup = set_up(Document(recipe(folder)), "drpo study", arms, SEEDS, Allowance("steps", STEPS), None, place)
    setup.contest.write(place)
    work = Work(setup.contest, place, lambda job, at: say(f"{job.place} ({at})") or (lambda event: None), say)
    work.run()


def main(folder: Path) -> None:
    """Whoever stops it finds what was done in the folder, and goes on with the same command."""
    from bench import drpo_page

    start(folder)
    rates = tune(folder)
    say(f"rates: {rates}")
    if len(rates) == len(FAMILIES):
        run(folder, rates)
        drpo_page.main(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "drpo-study"))
