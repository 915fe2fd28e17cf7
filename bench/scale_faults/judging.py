"""What is wrong with a run that servers sampled for, by its folder alone."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from postlude import runs
from postlude.batch import pack
from postlude.data import Completion, Group, Prompt
from postlude.engines.local.engine import LocalEngine

LARGEST = 1e-4
"""Nats that a log-prob may lie beside one computed again: rollouts/ holds five decimals."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Expected:
    """What a whole run has."""

    steps: int
    groups: int
    """Of a step."""
    answers: int
    """Of a group."""
    lag: int
    temperature: float


class Judge:
    """Reads run folders; its model takes the weights of their checkpoints."""

    def __init__(self, model: Path, prompts: Iterable[Prompt]) -> None:
        self.model = model
        self.prompts = {prompt.id: prompt for prompt in prompts}
        self.engine = LocalEngine.open(str(model))

    def flaws(self, folder: Path, expected: Expected) -> list[str]:
        """A line for each thing that is wrong; of a whole run."""
        history = runs.read(folder)
        events = history.of("step")
        steps = [int(event["step"]) for event in events]
        lines = [] if steps == [*range(1, expected.steps + 1)] else [f"steps {steps} instead of 1 to {expected.steps}"]
        figures = [(event["step"], name, value) for event in events for name, value in event.items()]
        lines += [f"step {step}: {name} is {value}" for step, name, value in figures if not _sound(value)]
        trained = {step: [row for row in history.rollouts[step] if row["trained"]] for step in steps}
        lines += counts(trained, expected)
        published = of_ledger(folder)
        lines += repeated(folder) + versions(trained, published, expected.lag)
        return lines or self.logprobs(folder, trained, published, expected.temperature)

    def logprobs(
        self, folder: Path, trained: Mapping[int, Sequence[Row]], published: Mapping[int, int], temperature: float
    ) -> list[str]:
        """Each token's log-prob again, under the weights that its span names."""
        lines: list[str] = []
        rows = [(step, row) for step, of_step in trained.items() for row in of_step]
        for version in sorted({version for _, row in rows for version, _ in row["spans"]}):
            place = folder / f"checkpoints/step-{published[version]:06d}" if published[version] else self.model
            if not place.exists():
                lines.append(f"the weights of version {version} are in no checkpoint")
                continue
            engine = self._with(place)
            for step, row in rows:
                error = self._error(engine, row, version, temperature)
                if error > LARGEST:
                    lines.append(
                        f"step {step}: log-probs of version {version} are {error:.2g} nats beside its weights'"
                    )
        return lines

    def _with(self, place: Path) -> LocalEngine:
        """An engine with the weights of a folder."""
        if (place / "adapter_config.json").exists():
            return LocalEngine.open(str(place))
        self.engine.trainer.load_weights(str(place))
        return self.engine

    def _error(self, engine: LocalEngine, row: Row, version: int, temperature: float) -> float:
        """The largest, in nats, of the tokens of a version; 0 where it has none."""
        starts = [start for _, start in row["spans"]]
        spans = zip(row["spans"], [*starts[1:], len(row["tokens"])], strict=True)
        chosen = [i for (number, start), end in spans if number == version for i in range(start, end)]
        if not chosen:
            return 0.0
        answer = Completion(tuple(row["tokens"]), reward=1.0)
        group = Group(Prompt("", "", tokens=self.prompts[row["prompt_id"]].tokens), (answer,))
        batch = pack([group], engine.trainer.dtype, temperature)
        again = asyncio.run(engine.trainer.forward(batch, "policy")).logprobs
        assert again is not None
        ours, theirs = again[-len(answer.tokens) :][chosen], torch.tensor(row["logprobs"])[chosen]
        return float((ours - theirs).abs().max())


def of_ledger(folder: Path) -> dict[int, int]:
    """Version -> step."""
    return {row["version"]: row["step"] for row in _ledger(folder)}


def repeated(folder: Path) -> list[str]:
    """Numbers only grow: none names two sets of weights."""
    numbers = [row["version"] for row in _ledger(folder)]
    return [] if numbers == sorted(set(numbers)) else [f"versions were published as {numbers}"]


def _ledger(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "published.jsonl").read_text().splitlines()]


def counts(trained: Mapping[int, Sequence[Row]], expected: Expected) -> list[str]:
    """So many groups a step, none twice: the prompts of a short run are all drawn once."""
    lines: list[str] = []
    steps_of: dict[str, list[int]] = {}
    for step, rows in trained.items():
        sizes = Counter(row["prompt_id"] for row in rows)
        if sorted(sizes.values()) != [expected.answers] * expected.groups:
            lines.append(f"step {step}: groups of {sorted(sizes.values())} answers were trained")
        for name in sizes:
            steps_of.setdefault(name, []).append(step)
    return lines + [f"a group was trained in steps {steps}" for steps in steps_of.values() if len(steps) > 1]


def versions(trained: Mapping[int, Sequence[Row]], published: Mapping[int, int], lag: int) -> list[str]:
    """Every token of a published version, and of one so many steps old at most."""
    lines: list[str] = []
    for step, rows in trained.items():
        for row in rows:
            spans = row.get("spans") or ()
            if not spans or spans[0][1] != 0 or row["policy_version"] != min((v for v, _ in spans), default=None):
                lines.append(f"step {step}: spans {spans} and policy_version {row['policy_version']} of one answer")
            for version, _ in spans:
                if version not in published:
                    lines.append(f"step {step}: version {version} was never published")
                elif not 0 <= step - 1 - published[version] <= lag:
                    lines.append(f"step {step}: version {version} is of step {published[version]}")
    return lines


def _sound(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
