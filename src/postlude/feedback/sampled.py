"""Pairs out of a policy's own scored answers, with or without one side given by the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Literal

from postlude.bounds import Bounds
from postlude.data import Completion, Group, Message
from postlude.errors import ConfigError, DataError

Side = Literal["chosen", "rejected"]
Answer = str | Sequence[Message]
DROPPED = {
    "completion", "completions", "ranks", "scores", "label", "labels", "margin", "probability", "chosen", "rejected",
    "response_1", "response_2", "chosen_score", "rejected_score",
}  # fmt: skip
"""Columns that speak of other answers than the new pair's."""


@dataclass(frozen=True)
class Choosing:
    """Which answers are paired."""

    which: Literal["best-worst", "all"] = "best-worst"
    margin: float = 0.0
    """Two answers whose rewards differ by less make no pair; equal ones never do."""
    given: Side | None = None
    """The side that the data hold; the other one is sampled."""
    rewarded: bool = True
    """Whether there is a reward; without one, every sampled answer is taken to be on the other side."""
    drop_truncated: bool = False
    """Leave out answers that the length limit cut."""

    def __post_init__(self) -> None:
        if problem := Bounds(0).problem(self.margin):
            raise ConfigError(f"--margin {problem}.", code="out-of-range")
        if not self.rewarded and self.given is None:
            raise ConfigError(
                "give --reward, or --given chosen|rejected where the data hold one side of each pair.",
                code="missing-option",
            )
        if not self.rewarded and self.margin:
            raise ConfigError("--margin is a difference of rewards; give --reward too.", code="missing-option")


@dataclass
class Paired:
    """Pairs and counts. prompts = paired + `unpaired`; answers = usable + `unused`; compared = pairs + `dropped`."""

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    prompts: int = 0
    paired: int = 0
    answers: int = 0
    usable: int = 0
    unused: Counter[str] = field(default_factory=Counter[str])
    compared: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])

    def add(self, group: Group, choosing: Choosing, given: Completion | None = None) -> list[dict[str, Any]]:
        """The pairs of one prompt's answers, counted; they are also kept in `rows`."""
        answers = self._usable(group, choosing)
        pairs = (
            self._sampled(group, answers, choosing) if given is None else self._other(group, answers, choosing, given)
        )
        self.prompts += 1
        self.paired += bool(pairs)
        self.rows += pairs
        return pairs

    def _usable(self, group: Group, choosing: Choosing) -> list[Completion]:
        usable: list[Completion] = []
        for completion in group.completions:
            reason = _unusable(completion, usable, choosing)
            self.unused.update([reason] if reason else [])
            usable += [] if reason else [completion]
        self.answers += len(group.completions)
        self.usable += len(usable)
        return usable

    def _sampled(self, group: Group, answers: list[Completion], choosing: Choosing) -> list[dict[str, Any]]:
        pairs = []
        for first, second in _comparisons(answers, choosing):
            better, worse = sorted((first, second), key=lambda c: -(c.reward or 0.0))
            if self._counted(_too_close((better.reward or 0.0) - (worse.reward or 0.0), choosing.margin)):
                pairs.append(_row(group, _said(group, better), _said(group, worse), better.reward, worse.reward))
        return pairs

    def _other(
        self, group: Group, answers: list[Completion], choosing: Choosing, given: Completion
    ) -> list[dict[str, Any]]:
        """The given answer with sampled ones on the other side: with the most distant of them, or with all."""
        assert choosing.given is not None
        fitting = [c for c in answers if self._counted(_wrong_side(c, given, choosing))]
        if choosing.which == "best-worst" and choosing.rewarded and len(fitting) > 1:
            sign = -1.0 if choosing.given == "chosen" else 1.0
            best = max(fitting, key=lambda c: sign * (c.reward or 0.0))
            self.dropped["not the most distant"] += len(fitting) - 1
            fitting = [best]
        answer = group.prompt.columns[choosing.given]
        if choosing.given == "chosen":
            return [_row(group, answer, _said(group, c), given.reward, c.reward) for c in fitting]
        return [_row(group, _said(group, c), answer, c.reward, given.reward) for c in fitting]

    def _counted(self, reason: str | None) -> bool:
        """Count a comparison; whether it makes a pair."""
        self.compared += 1
        self.dropped.update([reason] if reason else [])
        return reason is None


def _unusable(completion: Completion, before: Sequence[Completion], choosing: Choosing) -> str | None:
    if not completion.text.strip():
        return "empty"
    if completion.truncated and choosing.drop_truncated:
        return "cut by the length limit"
    if choosing.rewarded and completion.reward is None:
        return "not scored"
    return "repeated" if any(completion.text == other.text for other in before) else None


def _comparisons(answers: list[Completion], choosing: Choosing) -> list[tuple[Completion, Completion]]:
    if len(answers) < 2:
        return []
    if choosing.which == "all":
        return list(combinations(answers, 2))
    ordered = sorted(answers, key=lambda c: c.reward or 0.0)
    return [(ordered[-1], ordered[0])]


def _too_close(difference: float, margin: float) -> str | None:
    if difference == 0:
        return "equally good"
    return f"closer than {margin:g}" if difference < margin else None


def _wrong_side(sampled: Completion, given: Completion, choosing: Choosing) -> str | None:
    """Why a sampled answer is no opposite of the given one."""
    if sampled.text.strip() == given.text.strip():
        return "same as the given answer"
    if not choosing.rewarded:
        return None
    sign = 1.0 if choosing.given == "chosen" else -1.0
    if given.reward is not None and sampled.reward is not None:
        difference = sign * (given.reward - sampled.reward)
        side = "worse" if sign > 0 else "better"
        return f"not {side} than the given answer" if difference < 0 else _too_close(difference, choosing.margin)
    if sampled.correct is None:
        return "the given answer is not scored"
    return None if sampled.correct == (sign < 0) else f"{'right' if sampled.correct else 'wrong'} itself"


def _said(group: Group, completion: Completion) -> Answer:
    """An answer in the form of its prompt."""
    if isinstance(group.prompt.messages, str):
        return completion.text
    return [{"role": "assistant", "content": completion.text}]


def _row(
    group: Group, chosen: Answer, rejected: Answer, chosen_score: float | None, rejected_score: float | None
) -> dict[str, Any]:
    columns = {k: v for k, v in group.prompt.columns.items() if k not in DROPPED}
    scores = {"chosen_score": chosen_score, "rejected_score": rejected_score}
    row = {**columns, "prompt": group.prompt.messages, "chosen": chosen, "rejected": rejected}
    return {**row, **{k: v for k, v in scores.items() if v is not None}}


def given_text(answer: Any, prompt: Any, side: Side) -> str:
    """What a given answer says. Raises DataError where it is none, or not of its prompt's form."""
    if answer is None:
        raise DataError(f'"{side}" is missing (--given {side})', code="missing-field")
    if isinstance(prompt, str):
        if not isinstance(answer, str) or not answer.strip():
            raise DataError(
                f'"{side}" must be text, as the prompt is, found {str(answer)[:40]!r}', code="text-or-messages"
            )
        return answer
    one = answer[0] if isinstance(answer, list) and len(answer) == 1 else None
    if not isinstance(one, dict) or one.get("role") != "assistant" or not isinstance(one.get("content"), str):
        raise DataError(
            f'"{side}" must be a list with one message of the assistant, as the prompt is one of messages',
            code="text-or-messages",
        )
    return one["content"]
