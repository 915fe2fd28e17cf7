"""Part `methods`: another method, evaluation and best-of-n, by the commands that a user has for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.scale_servers.material import LIMIT, Place, finished, learning_recipe, recipe
from bench.scale_servers.report import Report
from postlude.engines.local.engine import LocalEngine
from postlude.runs import read
from postlude.statistics import wilson

PROMPTS, BEST_OF, STEPS = 384, 8, 4
CLOSE = 1e-3
"""Nats: the two likeliest tokens are as good as equal, and float32 decides which is taken."""
REWARD = ("--reward-args", '{after: "#"}')
HEADS = ("what", "local", "server", "answers", "that differ")


def methods(place: Place) -> Report:
    """Greedy answers, best-of-n, and a few steps of online DPO."""
    demo, report = place.demo(), Report("methods", HEADS)
    model = demo / "sft/model"
    data = ("--data", str(demo / "eval.jsonl"), "--limit", str(PROMPTS), "--max-tokens", str(LIMIT))
    servers = ("--servers", "1", "--servers-python", str(place.python))
    _greedy(place, report, model, data, servers)
    _best_of(report, model, data, servers)
    _online_dpo(place, report, demo)
    return report


# ------------------------------------------------------------------------------------------------------- greedy


@dataclass(frozen=True)
class Difference:
    """Where two greedy answers to a prompt part."""

    prompt: str
    at: int
    """Token."""
    margin: float
    """Nats between the two tokens, by the model."""


def _greedy(place: Place, report: Report, model: Path, data: Sequence[str], servers: Sequence[str]) -> None:
    answers, accuracy = dict[str, list[Mapping[str, Any]]](), dict[str, float]()
    for name, more in (("local", ()), ("server", servers)):
        out = place.folder / f"eval-{name}.json"
        words = ("eval", str(model), *data, "--reward", "exact", *REWARD, "--temperature", "0", "--out", str(out))
        finished([*words, "--force", *more])
        said = json.loads(out.read_text())
        answers[name], accuracy[name] = said["answers"], said["figures"]["accuracy"]
    parted = differences(model, answers["local"], answers["server"])
    count = len(answers["local"])
    report.rows.append(
        ("eval, greedy accuracy", *(f"{accuracy[n]:.3f}" for n in answers), str(count), str(len(parted)))
    )
    worst = max((one.margin for one in parted), default=0.0)
    figure = f"{len(parted)} of {count} differ, the two tokens at most {worst:.1e} nats apart"
    report.claim(f"greedy answers are the local sampler's, but for ties within {CLOSE} nats", worst <= CLOSE, figure)
    apart = abs(accuracy["local"] - accuracy["server"])
    text = "greedy accuracy is the local sampler's, but for these answers"
    report.claim(text, apart <= len(parted) / count + 1e-9, f"{apart:.4f} apart")


def differences(
    model: Path, ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]
) -> list[Difference]:
    """Of answers to the same prompts, in their order."""
    engine = LocalEngine.open(str(model))
    rows = list[Difference]()
    for a, b in zip(ours, theirs, strict=True):
        if a["prompt"] != b["prompt"]:
            raise AssertionError("the two evaluations asked other prompts")
        if a["completion"] != b["completion"]:
            rows.append(_parting(engine, a["prompt"], a["completion"], b["completion"]))
    return rows


@torch.no_grad()
def _parting(engine: LocalEngine, prompt: str, one: str, other: str) -> Difference:
    """Both end with the token that ends an answer, where text alone does not tell them apart."""
    encode = lambda text: [*engine.tokenizer.encode(text), engine.tokenizer.eos_token_id]
    first, second = encode(one), encode(other)
    at = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    ids = [*engine.tokenizer.encode(prompt), *first[:at]]
    with engine.model.plain():
        logits = engine.model.hf(torch.tensor([ids])).logits[0, -1]
    return Difference(prompt, at, float((logits[first[at]] - logits[second[at]]).abs()))


# ------------------------------------------------------------------------------------------------ best of n, DPO


def _best_of(report: Report, model: Path, data: Sequence[str], servers: Sequence[str]) -> None:
    right = dict[str, int]()
    words = ("sample", str(model), *data, "-n", str(BEST_OF), "--best-by", "exact", *REWARD, "--json")
    for name, more in (("local", ()), ("server", servers)):
        rows = [json.loads(line) for line in finished([*words, *more]).splitlines() if line.startswith("{")]
        right[name] = sum(row["reward"] == 1 for row in rows)
        if len(rows) != PROMPTS:
            report.claim(f"best of {BEST_OF}, {name}: an answer to each prompt", False, f"{len(rows)} of {PROMPTS}")
    shares = [right[name] / PROMPTS for name in right]
    report.rows.append((f"sample, best of {BEST_OF}", *(f"{share:.3f}" for share in shares), str(PROMPTS), ""))
    low, high = wilson(right["local"], PROMPTS, z=2.8)  # 95 % of a difference of two such shares, at the least
    said = f"{shares[1]:.3f}, and {shares[0]:.3f} without"
    report.claim(
        f"best of {BEST_OF} is as often right, within what {PROMPTS} prompts tell", low <= shares[1] <= high, said
    )


def _online_dpo(place: Place, report: Report, demo: Path) -> None:
    folder = place.folder / "methods"
    values = learning_recipe(
        demo,
        method="online_dpo",
        objective={},
        steps=STEPS,
        schedule={"lr": 1e-4},
        evaluate={"every": STEPS, "prompts": 64},
        engine={"servers": place.started_here},
    )
    finished(["train", str(recipe(folder, "online_dpo", values))])
    history = read(folder / "online_dpo")
    first, last = (event["sampled/accuracy"] for event in (history.evals[0], history.evals[-1]))
    report.rows.append((f"online_dpo, {STEPS} steps", "", f"{first:.3f} to {last:.3f}", "", ""))
    trained = [row for rows in history.rollouts.values() for row in rows if row["trained"]]
    known = sum(all(version in history.published for version, _ in row.get("spans") or [(-1, 0)]) for row in trained)
    done = history.finished and history.steps == STEPS and known == len(trained) > 0
    said = f"{history.steps} of {STEPS} steps, {known} of {len(trained)} trained answers of published versions"
    report.claim("online_dpo trains through a server", done, said)
