"""Whether a run has taught its policy anything, said at its end. While it goes on the rule `no-signal` says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from postlude.data import Completion
from postlude.sources.source import Drawn

NOTHING_LEARNT = "nothing-learnt"
"""Code of the note on a whole run that taught nothing, or moved no weight: `Run.conclusion` says the same."""
EARLY = 3
"""Steps without anything to learn from, of which a run is an error: fewer are a short trial."""
ADVICE = {
    "right": "The task is too easy, or the reward calls anything right: look at rollouts/, take harder prompts.",
    "wrong": "The task is too hard as it is, or the reward finds no answer in the text: look at rollouts/, take easier "
    "prompts or more answers to each (group_size), or fine-tune on written answers first (sft).",
    "constant": "A reward that gives every answer the same number cannot say which is better: look at rollouts/ and at "
    "the reward.",
    "even": "The answers to each prompt differ in nothing the reward sees: take more of them (group_size), a higher "
    "sampling.temperature, or a reward that tells them apart.",
    "neither": "The method goes by right and wrong, and the numbers between 0 and 1 are neither: set correct_above (an "
    "answer is correct if its reward lies above it), or take a method that goes by the reward itself, such as grpo.",
    "unscored": "The reward abstained everywhere: look at rollouts/ and at the reward.",
    "skipped": "The notes say what it was; broken/ holds the batches.",
    "unknown": "Look at rollouts/ and at the figures of events.jsonl.",
}


@dataclass
class Learning:
    """What the steps of a run have taught so far. Part of a checkpoint: a resumed run goes on counting."""

    learnt: bool = False
    """Whether any step had something to learn from."""
    values: list[float] = field(default_factory=list[float])
    """The first two different numbers that a reward gave: with one only, it says nothing."""
    causes: list[str] = field(default_factory=list[str])
    """Of steps without anything to learn from; each once."""

    def see(self, drawn: Drawn, figures: Mapping[str, float]) -> None:
        """Take a step with its figures into account."""
        completions = [c for g in drawn.sampled for c in g.completions]
        self._remember(completions)
        imitates = "acceptance_rate" in figures  # of accepted answers: none of them has to be the better one
        constant = len(self.values) == 1 and not imitates
        if not constant and _has_signal(figures):
            self.learnt = True
            return
        cause = _cause(completions, constant, figures)
        self.causes += [cause] if cause not in self.causes else []

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Learning:
        """From a checkpoint; one of an earlier version does not say, and may have learnt."""
        known: Mapping[str, Any] = state.get("learning", {"learnt": True})
        return cls(**{name: known[name] for name in ("learnt", "values", "causes") if name in known})

    def nothing_in(self, steps: int) -> str:
        """Why none of so many steps taught anything, and what to do."""
        causes = self.causes or ["unknown"]
        why = "; ".join(self._said(c).rstrip(".") for c in causes)
        return f"nothing was learnt in {steps} step{'s' * (steps != 1)}: {why}. " + " ".join(ADVICE[c] for c in causes)

    def _remember(self, completions: Sequence[Completion]) -> None:
        if len(self.values) < 2:
            given = [x for c in completions if c.reward is not None for x in (c.reward, *(r for _, r in c.steps))]
            self.values = list(dict.fromkeys([*self.values, *given]))[:2]

    def _said(self, cause: str) -> str:
        value = f" {self.values[0]:g}" if len(self.values) == 1 else ""
        return {
            "right": "every answer was right.",
            "wrong": "every answer was wrong.",
            "constant": f"the reward was the same{value} for every answer.",
            "even": "all answers to each prompt got the same reward.",
            "neither": "no prompt had right answers beside wrong ones, and some answers were neither.",
            "unscored": "no answer got a reward.",
            "skipped": "every update was left out, since something in it was not finite.",
            "unknown": "the gradient was exactly 0.",
        }[cause]


def _has_signal(figures: Mapping[str, float]) -> bool:
    """Whether a step had a gradient, and answers that stand out from others where it goes by those."""
    advantages = [figures[name] for name in ("advantage/mean", "advantage/std") if name in figures]
    return figures.get("grad_norm", 0.0) != 0.0 and (not advantages or any(advantages))


def _cause(completions: Sequence[Completion], constant: bool, figures: Mapping[str, float]) -> str:
    """Why a step had nothing to learn from: a key of ADVICE."""
    scored = [c for c in completions if c.reward is not None]
    verdicts = {c.correct for c in scored}
    if completions and not scored:
        return "unscored"
    if verdicts in ({True}, {False}):
        return "right" if verdicts == {True} else "wrong"
    if constant:
        return "constant"
    if figures.get("skipped_updates", 0.0) > 0:
        return "skipped"
    if figures.get("neither_frac", 0.0) > 0:
        return "neither"
    return "even" if scored else "unknown"
