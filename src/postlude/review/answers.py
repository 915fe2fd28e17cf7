"""The answers of a run as reviewers are shown them: light entries of all, the whole row of one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from postlude.errors import ConfigError
from postlude.runs.files import Row
from postlude.runs.history import History


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where an answer stands in a run, and what it says: verdicts are of this."""

    step: int
    prompt: str
    """The id of its prompt."""
    index: int
    """Among the answers to this prompt in this step, from 0."""
    digest: str
    """Of prompt and answer: another answer in the same place, after a resume say, has another."""


Measure = Callable[["Answer"], float | None]
"""A number of an answer; None where it has none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What of an answer decides whether it is shown; `text_of` reads the rest."""

    place: Place
    line: int
    """In the file of its step, from 0."""
    reward: float | None
    scores: Mapping[str, float | None]
    correct: bool | None
    likelihood: float | None
    """Mean log-prob of its tokens in nats; None where the sampler gave none."""


@dataclass(frozen=True)
class Shown:
    """A whole answer."""

    prompt: str | Sequence[Mapping[str, Any]]
    gold: Any
    text: str
    stop: str
    tokens: int
    siblings: int
    """Answers to this prompt in this step, this one included."""


def answers_of(history: History, steps: tuple[int, int | None] = (0, None)) -> list[Answer]:
    """All answers that the run sampled in these steps, both ends included.

    Raises ConfigError for rows that hold none.
    """
    first, last = steps
    wanted = [step for step in history.rollouts if first <= step and (last is None or step <= last)]
    return [answer for step in wanted for answer in _of_step(history, step)]


def _of_step(history: History, step: int) -> Iterator[Answer]:
    places: dict[str, int] = {}
    for line, row in enumerate(history.rollouts[step]):
        prompt, text = row.get("prompt_id"), row.get("completion")
        if not isinstance(prompt, str) or not isinstance(text, str):
            raise ConfigError(
                f"{history.folder / 'rollouts'}: line {line + 1} of step {step} holds no answer (`prompt_id` and "
                "`completion`). The file is damaged, or no run wrote it.",
                code="damaged-run",
            )
        index = places[prompt] = places.get(prompt, -1) + 1
        place = Place(step, prompt, index, digest_of(row))
        scores = cast("Mapping[str, float | None]", row.get("scores") or {})
        yield Answer(place, line, row.get("reward"), scores, row.get("correct"), _likelihood(row.get("logprobs")))


def digest_of(row: Row) -> str:
    """A short stable name of what was asked and answered."""
    said = json.dumps([row.get("prompt"), row["completion"]], sort_keys=True, default=str)
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _likelihood(logprobs: Sequence[float] | None) -> float | None:
    return sum(logprobs) / len(logprobs) if logprobs else None


def shown(history: History, answer: Answer) -> Shown:
    """The whole answer. Raises ConfigError where the run took it back meanwhile."""
    rows = history.rollouts[answer.place.step]
    row = rows[answer.line] if answer.line < len(rows) else {}
    if "completion" not in row or digest_of(row) != answer.place.digest:
        raise ConfigError(
            f"step {answer.place.step} was written anew while its answers were reviewed: the run was resumed. "
            "What was judged so far is saved; start the review again.",
            code="state-does-not-fit",
        )
    siblings = sum(other.get("prompt_id") == answer.place.prompt for other in rows)
    tokens = len(row.get("tokens") or ())
    return Shown(row["prompt"], row.get("answer"), row["completion"], str(row.get("stop")), tokens, siblings)
