"""postlude demo rlhf: the classic pipeline on a small model, ending in one table of SFT, PPO and PPO-ptx."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from postlude.cli.demos import comparison, free_folder, open_policy, run_recipe, write_rows
from postlude.data import Group
from postlude.runs import read
from postlude.runs.files import read_rows
from postlude.terminal import Screen

STAGES = ("reward_model", "ppo", "ppo_ptx")
"""The runs after `sft`: recipes of `postlude/recipes/rlhf`."""


@dataclass(frozen=True)
class Stage:
    """One row of the table."""

    name: str
    gold: float
    """Share of sampled held-out answers that are right."""
    proxy: float
    """Mean score by the reward model."""
    length: float
    text_loss: float
    """Nats per token of held-out answers to the other task."""
    seconds: float


def rlhf(output: Path | None, seed: int) -> None:
    """Make model, data and recipes in a folder, run them in order, and compare the policies."""
    console = Screen()
    folder = output or free_folder("rlhf")
    prepare(folder, seed)
    console.print(f"A Qwen3 of 0.6 M parameters, demonstrations and preferences are in {folder}/")
    seconds = {"sft": run_recipe(folder, "sft", console)}
    console.print(f"labellers compare the taught model's answers: {collect(folder, seed)} pairs")
    seconds |= {name: run_recipe(folder, name, console) for name in STAGES}
    stages = [measure(folder, name, seconds[name]) for name in ("sft", "ppo", "ppo_ptx")]
    console.print()
    console.print(table(stages))
    accuracy = _last(folder / "reward_model", "eval")["held_out/rewards/accuracy"]
    console.print(f"\nThe reward model agrees with the labellers' rule on {accuracy:.1%} of held-out pairs.")
    console.print(
        "right: share of sampled answers to held-out prompts that are right; score: the reward model's; text loss: on "
        "held-out answers to the other task, in nats per token; what it rises by is the alignment tax.",
    )


def prepare(folder: Path, seed: int) -> None:
    """Model, demonstrations of both tasks, preferences about one, and the recipes."""
    from postlude.models.tiny import save_tiny_model
    from postlude.recipe import packaged
    from postlude.sources.tasks import TASKS, rows, write

    write(TASKS["lines"], folder, train=2500, evaluate=256, seed=seed)
    other = [row for row, _ in zip(rows(TASKS["sort"], seed, "train"), range(1500), strict=False)]
    held = [row for row, _ in zip(rows(TASKS["sort"], seed, "eval"), range(128), strict=False)]
    both = read_rows(folder / "sft.jsonl") + other
    random.Random(seed).shuffle(both)
    write_rows(folder, {"both": both, "text": other, "text-eval": held})
    save_tiny_model(folder / "model", seed)
    packaged.write("rlhf", folder, seed)


def collect(folder: Path, seed: int) -> int:
    """Labellers judge the taught model's own answers, and err in one pair of twenty; the number of pairs.

    A reward model must know the answers it will judge: pairs that teachers wrote would leave it blind to the policy's
    own. Besides pairs, which the pipeline uses, there are ranked lists, single labels and labels of lines.
    """
    rng = random.Random(f"{seed}:labels")
    counts = 0
    for source, ending, limit, noise in (("prompts", "", 2500, 0.05), ("eval", "-eval", 256, 0.0)):
        kinds: dict[str, list[dict[str, Any]]] = {"pairs": [], "ranked": [], "labels": [], "steps": []}
        for group in _sampled(folder / "sft", source, limit, seed):
            for kind, row in _judged(group, rng, noise):
                kinds[kind].append({"prompt": group.prompt.messages, **row, "answer": group.prompt.answer})
        write_rows(folder, {f"{kind}{ending}": rows for kind, rows in kinds.items()})
        counts = counts or len(kinds["pairs"])
    return counts


def _sampled(run: Path, source: str, limit: int, seed: int) -> list[Group]:
    """Six answers of a run's policy to each prompt."""
    import asyncio

    from postlude.engines.settings import Sampling
    from postlude.rollouts.rollout import answer

    engine, prompts = open_policy(run, source, limit)
    return asyncio.run(answer(engine.sampler, prompts, 6, Sampling(max_tokens=40), seed, "label"))


def _judged(group: Group, rng: random.Random, noise: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, row): what labellers say of the answers to one prompt; no pairs where all are right or all wrong."""
    from postlude.sources.tasks import right_lines

    texts = list(dict.fromkeys(c.text for c in group.completions if not c.truncated and c.text))
    lines = {t: right_lines(group.prompt.text, t) for t in texts}
    good = {t: t.rpartition("#")[2] == group.prompt.answer for t in texts}
    right, wrong = [t for t in texts if good[t]], [t for t in texts if not good[t]]
    for text in texts[:2]:
        yield "labels", {"completion": text, "label": good[text]}
        steps = text.split("\n")
        if all(steps) and len(lines[text]) == len(steps):
            yield "steps", {"completions": steps, "labels": lines[text]}
    for better, worse in zip(right, wrong, strict=False):
        pair = (worse, better) if rng.random() < noise else (better, worse)
        yield "pairs", {"chosen": pair[0], "rejected": pair[1]}
    if right and wrong:
        scores = [sum(lines[t]) + 2 * good[t] for t in texts]
        if len({*scores}) == 1:
            return
        yield "ranked", {"completions": texts, "ranks": [1 + sum(other > s for other in scores) for s in scores]}


def measure(folder: Path, name: str, seconds: float) -> Stage:
    """A policy on held-out prompts, by the rule, by the reward model, and on the other task's text."""
    import asyncio

    from postlude.check import equip
    from postlude.engines.settings import Sampling
    from postlude.evaluate import measure as sampled
    from postlude.rewards.rewards import Rewards
    from postlude.rewards.spec import RewardSpec

    engine, prompts = open_policy(folder / name, "eval")
    rewards = Rewards.of(
        [
            RewardSpec("model", args={"path": str(folder / "reward_model")}),
            RewardSpec("exact", weight=0.0, outcome=True, args={"after": "#"}),
        ]
    )
    equip(rewards, engine.tokenizer)
    report = asyncio.run(sampled(engine.sampler, rewards, prompts, Sampling(max_tokens=40), 4, "eval"))
    figures = report.figures
    loss = _text_loss(engine, folder / "text-eval.jsonl")
    return Stage(name, figures["eval/accuracy"], figures["eval/reward"], figures["eval/length"], loss, seconds)


def _text_loss(engine: Any, path: Path) -> float:
    """Nats per token of written answers under a policy."""
    from postlude.batch import pack
    from postlude.sources import file as rows

    batch = pack(rows.groups(rows.read(str(path)), engine.renderer, None))
    logprobs = engine.trainer.outputs(batch, "policy").logprobs
    return -float(logprobs[batch.mask].mean())


def table(stages: list[Stage]) -> Table:
    """All policies side by side."""
    columns = ("right", "score", "mean length", "text loss", "seconds")
    rows = [
        (s.name, f"{s.gold:.3f}", f"{s.proxy:.2f}", f"{s.length:.1f}", f"{s.text_loss:.3f}", f"{s.seconds:.0f}")
        for s in stages
    ]
    return comparison(columns, rows)


def _last(folder: Path, kind: str) -> dict[str, Any]:
    return read(folder).of(kind)[-1]
