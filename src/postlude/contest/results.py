"""What the runs of a comparison came to, read from their folders at any time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from postlude.contest.plan import Job
from postlude.errors import ConfigError
from postlude.runs import History, read
from postlude.runs.files import Row
from postlude.runs.history import Column, numbers
from postlude.statistics import mean

State = Literal["finished", "running", "stopped", "failed", "waiting"]
PEAKS = "peaks.jsonl"
"""Of a comparison: the most memory that each run's process held, run by run."""
COMPARED = ("data", "eval", "reward", "model")
"""Fingerprints that should be the same for all arms; a note where they are not."""
READERS: Mapping[str, Callable[[Row], Any]] = {
    "accuracy": lambda row: row.get("correct"),
    "reward": lambda row: row.get("reward"),
    "length": lambda row: row.get("length"),
}
"""Figure of held-out answers -> what it is the mean of."""


@dataclass(frozen=True)
class Used:
    """What a run used so far, counted alike for every method."""

    steps: int = 0
    sampled: int = 0
    passed: int = 0
    """Tokens that training passed through the model."""
    seconds: float = 0.0
    """Of drawing and training."""
    peak: int | None = None
    """Bytes its process held at most, on the GPU where it has one."""

    @property
    def tokens(self) -> int:
        return self.sampled + self.passed

    def of(self, kind: str) -> float:
        """Of what a budget counts."""
        return float({"tokens": self.tokens, "steps": self.steps, "seconds": self.seconds}[kind])


@dataclass(frozen=True)
class Result:
    """One run as its folder tells it."""

    job: Job
    state: State
    used: Used = Used()
    history: History | None = None
    why: str = ""
    """What is to be said of one that did not finish."""
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of its last evaluation, once it has finished."""

    @cached_property
    def answers(self) -> Mapping[str, Mapping[str, float]]:
        """Figure -> held-out prompt -> the mean over its answers of the last evaluation."""
        if self.history is None or self.state != "finished":
            return {}
        return by_prompt(self.history.answers, self.history.evals[-1])

    def curve(self, figure: str) -> Column | None:
        """A figure over the run's steps."""
        return self.history[figure] if self.history is not None and figure in self.history else None


def result_of(job: Job, folder: Path, peaks: Mapping[str, int]) -> Result:
    """The run of a job, whatever there is of it. Raises ConfigError where its files are damaged."""
    place = folder / job.place
    if not (place / "events.jsonl").is_file():
        return Result(job, "waiting")
    history = read(place)
    used = _used(history, peaks.get(job.place))
    if history.finished:
        evals = history.evals
        if not evals or evals[-1]["step"] != history.steps:
            return Result(job, "failed", used, history, "it was not evaluated after its last step")
        return Result(job, "finished", used, history, figures=dict(numbers(evals[-1])))
    if history.running:
        return Result(job, "running", used, history, f"step {history.steps}")
    if history.end is not None and history.end.get("reason") == "error":
        return Result(job, "failed", used, history, f"an error ended it after step {history.steps}")
    return Result(job, "stopped", used, history, f"after step {history.steps}")


def _used(history: History, peak: int | None) -> Used:
    steps = history.of("step")
    sampled = 0 if _from_file(history) else sum(int(row.get("tokens", 0)) for row in steps)
    passed = sum(int(row.get("passed_tokens", 0)) for row in steps)
    seconds = sum(row.get("draw", 0.0) + row.get("train", 0.0) for row in history.timings[: len(steps)])
    return Used(history.steps, sampled, passed, seconds, peak)


def _from_file(history: History) -> bool:
    """Whether nothing is sampled: `tokens` is then of the batch."""
    return bool(history.of("step")) and "samples" not in history.of("step")[0]


def by_prompt(rows: Sequence[Row], evaluation: Row) -> dict[str, dict[str, float]]:
    """Figure -> prompt -> the mean over its answers, of one evaluation's rows of eval.jsonl.

    Each prompt has one greedy answer, and then as many sampled ones as the rest of the rows.
    """
    rows = [row for row in rows if row["step"] == evaluation["step"]]
    greedy = int(evaluation.get("greedy/answers", 0))
    values: dict[str, dict[str, list[float]]] = {}
    for place, row in enumerate(rows):
        drawn = row.get("drawn") or ("greedy" if place < greedy else "sampled")
        prompt = f"{row.get('set', '')}/{row['prompt_id']}"
        for name, value in _values(row, drawn):
            if value is not None:
                values.setdefault(name, {}).setdefault(prompt, []).append(float(value))
    return {name: {prompt: mean(some) for prompt, some in of.items()} for name, of in values.items()}


def _values(row: Row, drawn: str) -> list[tuple[str, Any]]:
    """The figures that an answer is part of, with its value."""
    pairs = [(f"{drawn}/{name}", value(row)) for name, value in READERS.items()]
    if drawn == "sampled" and "set" in row:
        pairs += [(f"truth/{row['set']}/{label}", value) for label, value in (row.get("metrics") or {}).items()]
        pairs += [(f"truth/{row['set']}/reward", row.get("reward"))]
    return pairs


# -------------------------------------------------------------------------------------------------------- memory


def peaks_in(folder: Path) -> dict[str, int]:
    """Place of each run -> bytes; of one that was resumed the most of its parts."""
    peaks: dict[str, int] = {}
    path = folder / PEAKS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            peaks[row["place"]] = max(int(row["bytes"]), peaks.get(row["place"], 0))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is damaged: {line[:80]!r}. It may be removed.", code="damaged-run") from error
    return peaks


# ---------------------------------------------------------------------------------------------------- equal terms


def unequal(results: Sequence[Result]) -> list[str]:
    """What the finished runs of different arms do not share although a comparison should: in words."""
    notes: list[str] = []
    ended = [r for r in results if r.history is not None and r.state == "finished"]
    for word in COMPARED:
        prints: dict[str, dict[str, None]] = {}
        for r in ended:
            inputs = r.history.manifest.get("inputs", {}) if r.history else {}
            prints.setdefault(json.dumps(inputs.get(word, {}), sort_keys=True), {})[r.job.arm] = None
        if len(prints) > 1:
            groups = " / ".join(", ".join(arms) for arms in prints.values())
            notes.append(f"{_WORDS[word]} of the runs differ: {groups}")
    return notes


_WORDS = {
    "data": "the prompts or rows trained on",
    "eval": "the held-out prompts, so that no figure can be compared,",
    "reward": "the rewards, so that accuracy and reward do not mean the same,",
    "model": "the models at the start",
}
