"""postlude demo constitution: AI feedback by two principles on a small model, ending in one table.

The model is taught four things, each a line of text: to answer (letters in alphabetical order, often rudely), to
criticise an answer by a principle, to revise it, and to say which of two answers follows a principle better. From there
on no label of ours is used: the model's own criticism makes it polite. The rules below only measure.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from postlude.cli.demos import comparison, free_folder, open_policy, run_recipe, write_rows
from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.judge.templates import Template

RULES: dict[str, Callable[[str], bool]] = {"kind": lambda a: a.endswith(" thanks"), "calm": lambda a: "!" not in a}
"""Principle -> whether an answer follows it."""
TAILS = ("", "!", "!!", " thanks", " thanks!")
WEIGHTS = (35, 25, 20, 12, 8)
"""How teachers end their answers, in percent."""
MOST = 24
"""Tokens of an answer, criticism or revision."""


@dataclass(frozen=True)
class Stage:
    """One row of the table: shares of sampled answers to held-out prompts."""

    name: str
    right: float
    kind: float
    calm: float
    length: float
    seconds: float


def constitution(output: Path | None, seed: int) -> None:
    """Teach the start, let it revise and compare answers, train on both, and measure."""
    console = Screen()
    folder = output or free_folder("constitution")
    prepare(folder, seed)
    console.print(f"A Qwen3 of 0.6 M parameters, two principles, templates and recipes are in {folder}/")
    seconds = {"sft": run_recipe(folder, "sft", console)}
    _revise(folder, seed)
    seconds["revised-sft"] = run_recipe(folder, "revised", console)
    _compare(folder, seed)
    seconds |= {name: run_recipe(folder, name, console) for name in ("dpo", "direct")}
    console.print()
    console.print(table([measure(folder, name, spent, seed) for name, spent in seconds.items()]))
    console.print(
        "\nright: the letters are; thanks, calm: the answer follows that principle. Rules measure it, which no run was "
        "shown.",
    )
    console.print(
        f"So the model mended its own manners. With a model of yours: docs/ai-feedback.md, and the files in {folder}/.",
        soft_wrap=True,
    )


def prepare(folder: Path, seed: int) -> None:
    """Model, lessons, prompts, principles, templates and recipes."""
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe import packaged

    write_rows(folder, lessons(random.Random(seed)))
    save_tiny_model(folder / "model", seed)
    packaged.write("constitution", folder, seed)


def lessons(rng: random.Random) -> dict[str, list[dict[str, Any]]]:
    """What the start is taught, the prompts that the runs use, and those held out."""
    from postlude.sources.tasks import held_out

    prompts = [f"{a}{b}{c}{d}>" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh" for d in "abcdefgh"]
    rng.shuffle(prompts)
    taught = [p for p in prompts if not held_out(p)]
    rows = [row for prompt in taught for row in _lesson(prompt, rng)]
    rng.shuffle(rows)
    asked = [{"prompt": p, "answer": _letters(p)} for p in taught[:600]]
    return {
        "sft": rows,
        "prompts": asked,
        "eval": [{"prompt": p, "answer": _letters(p)} for p in prompts if held_out(p)],
    }


def _lesson(prompt: str, rng: random.Random) -> list[dict[str, Any]]:
    """An answer, a criticism, a revision and a comparison, each written out as the templates ask for it."""
    ask = _templates()
    letters, name = _letters(prompt), rng.choice([*RULES])
    principle = {"id": name}
    first, second = (letters + tail for tail in rng.choices(TAILS, WEIGHTS, k=2))
    good, other = RULES[name](first), RULES[name](second)
    better = rng.choice("12") if good == other else "1" if good else "2"
    shown = {"prompt": prompt, "answer": first, "principle": principle}
    critique = "fine" if good else {"kind": "no thanks", "calm": "loud"}[name]
    return [
        {"prompt": prompt, "completion": letters + rng.choices(TAILS, WEIGHTS)[0]},
        {"prompt": ask["critique"].render(**shown), "completion": critique},
        {"prompt": ask["revise"].render(**shown, critique=critique), "completion": _revised(first, name)},
        {
            "prompt": ask["pairs"].render(prompt=prompt, first=first, second=second, principle=principle),
            "completion": better,
        },
    ]


@cache
def _templates() -> dict[str, Template]:
    """How the small model is asked: it knows no English."""
    from postlude.judge.templates import Template
    from postlude.recipe.packaged import file_text

    return {name: Template(file_text(f"constitution/{name}.jinja"), name) for name in ("critique", "revise", "pairs")}


def _letters(prompt: str) -> str:
    return "".join(sorted(prompt[:-1]))


def _revised(answer: str, principle: str) -> str:
    """The answer as a teacher would mend it."""
    if principle == "calm":
        return answer.replace("!", "")
    return answer if answer.endswith(" thanks") else re.sub(r"[^a-h].*", "", answer) + " thanks"


def _revise(folder: Path, seed: int) -> None:
    from postlude.cli.constitution import revise

    revise(
        model=str(folder / "sft"),
        principles=str(folder / "principles.yaml"),
        data=str(folder / "prompts.jsonl"),
        out=folder / "revised",
        rounds=2,
        keep="last",
        max_tokens=MOST,
        critique_template=str(folder / "critique.jinja"),
        revise_template=str(folder / "revise.jinja"),
        seed=seed,
    )


def _compare(folder: Path, seed: int) -> None:
    from postlude.cli.constitution import compare

    compare(
        model=str(folder / "revised-sft"),
        principles=str(folder / "principles.yaml"),
        data=str(folder / "prompts.jsonl"),
        out=folder / "compared",
        count=4,
        critic=str(folder / "sft"),
        threshold=0.2,
        template=str(folder / "pairs.jinja"),
        max_tokens=MOST,
        seed=seed,
    )


def measure(folder: Path, name: str, seconds: float, seed: int) -> Stage:
    """A policy's sampled answers to held-out prompts, by the rules."""
    import asyncio

    from postlude.engines.settings import Sampling
    from postlude.rollouts.rollout import answer

    engine, prompts = open_policy(folder / name, "eval")
    groups = asyncio.run(answer(engine.sampler, prompts, 2, Sampling(max_tokens=MOST), seed, "measure"))
    said = [(g.prompt, c.text, c.length) for g in groups for c in g.completions]
    right = [re.split(r"[^a-h]", text)[0] == prompt.answer for prompt, text, _ in said]
    share = lambda rule: sum(rule(text) for _, text, _ in said) / len(said)
    length = sum(n for _, _, n in said) / len(said)
    return Stage(name, sum(right) / len(said), share(RULES["kind"]), share(RULES["calm"]), length, seconds)


def table(stages: list[Stage]) -> Table:
    """All policies side by side."""
    columns = ("right", "thanks", "calm", "mean length", "seconds")
    rows = [
        (s.name, f"{s.right:.3f}", f"{s.kind:.3f}", f"{s.calm:.3f}", f"{s.length:.1f}", f"{s.seconds:.0f}")
        for s in stages
    ]
    return comparison(columns, rows)
