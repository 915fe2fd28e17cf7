"""Reward models as rewards: one or several, of whole answers or of their steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from statistics import pstdev
from typing import Any, Literal

from postlude.bounds import Finite, NotNegative
from postlude.engines.settings import ScorerSpec
from postlude.errors import ConfigError, EngineError, Problem
from postlude.models.dtypes import Dtype
from postlude.models.heads import reads_pairs
from postlude.models.opening import problems_of_weights
from postlude.models.scorers import require_head
from postlude.rewards.functions import LearnedReward, StepwiseReward, text_of
from postlude.rewards.numbers import ensemble_score, logit, pair_preference, sigmoid, solution_score

Combine = Literal["mean", "worst", "uncertainty"]
Solution = Literal["product", "min", "last"]


@dataclass
class HeadReward(LearnedReward):
    """Of models with a scalar head."""

    def check(self) -> None:
        """What can be known without weights: every folder has a scalar head."""
        problems: list[Problem] = []
        for spec in self.specs:
            try:
                config = require_head(spec.path, "reward model")
            except EngineError as error:
                problems += error.problems
                continue
            problems += problems_of_weights(spec.path, config, scalar=True, what="reward model")
            pairs = reads_pairs(config)
            if pairs != self.compares:
                is_, use = ("two answers at once", "pair_model") if pairs else ("one answer at a time", "model")
                problems.append(
                    Problem(
                        "not-a-reward-model", f"reward model: {spec.path!r} reads {is_}; as a reward it is `{use}`."
                    )
                )
        if problems:
            raise ConfigError(problems)


@dataclass
class AnswerReward(HeadReward):
    """A score per answer, in the models' own unit: (score - shift) * scale, members combined after that."""

    combine: Combine = "mean"
    lam: float = 0.5
    shift: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __call__(
        self, prompts: Sequence[Any], completions: Sequence[Any], log_metric: Callable[[str, float], None]
    ) -> list[float]:
        answers = [text_of(c) for c in completions]
        raw = [scorer.score(prompts, answers) for scorer in self.scorers]
        columns = [
            [(x - b) * a for x in row]
            for row, b, a in zip(raw, self.shift or (0.0,) * len(raw), self.scale or (1.0,) * len(raw), strict=True)
        ]
        members = list(zip(*columns, strict=True))
        if len(columns) > 1:
            log_metric("disagreement", sum(map(pstdev, members)) / max(len(members), 1))
        return [ensemble_score(m, self.combine, self.lam) for m in members]


@dataclass
class StepReward(HeadReward, StepwiseReward):
    """A process model: a probability per step, and for the whole answer their product, minimum or last."""

    combine: Solution = "product"

    @property
    def separator(self) -> str:
        return self.specs[0].separator

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], steps: Sequence[int]) -> list[Any]:
        answers = [text_of(c) for c in completions]
        (scorer,) = self.scorers
        return [[sigmoid(z) for z in row] for row in scorer.score_steps(prompts, answers)]

    def whole(self, parts: Sequence[float]) -> float:
        """One number for the answer."""
        logits = [logit(p) for p in parts]
        return solution_score(logits, self.combine)


@dataclass
class PrefixReward(AnswerReward, StepwiseReward):
    """What its models say of an answer up to and with each of its tokens: r(x, y<=t), a score for every token."""

    def __call__(  # type: ignore[override]  # its arguments are its signature
        self, prompts: Sequence[Any], prefixes: Sequence[Sequence[str]], log_metric: Callable[[str, float], None]
    ) -> list[list[float]]:
        asked = [prompt for prompt, texts in zip(prompts, prefixes, strict=True) for _ in texts]
        scores = iter(super().__call__(asked, [text for texts in prefixes for text in texts], log_metric))
        return [[*islice(scores, len(texts))] for texts in prefixes]

    @property
    def separator(self) -> None:
        return None

    def whole(self, parts: Sequence[float]) -> float:
        """The score of the whole answer."""
        return parts[-1]


@dataclass
class PairReward(HeadReward):
    """A model that reads two answers: each answer's mean chance of being better than the others to its prompt.

    Answers of one draw are compared within their prompt; an answer without any other abstains (section 2.4).
    """

    compares = True  # a score is of an answer among others, so that none can be kept

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float | None]:
        answers = [text_of(c) for c in completions]
        groups: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(repr(prompt), []).append(i)
        matches = [(i, j) for members in groups.values() for i, j in combinations(members, 2)]
        (scorer,) = self.scorers
        logits = scorer.prefer([prompts[i] for i, _ in matches], [(answers[i], answers[j]) for i, j in matches])
        won: dict[int, list[float]] = {}
        for (i, j), (forth, back) in zip(matches, logits, strict=True):
            p = pair_preference(forth, back)
            won.setdefault(i, []).append(p)
            won.setdefault(j, []).append(1 - p)
        return [sum(won[i]) / len(won[i]) if i in won else None for i in range(len(answers))]


def pair_model(
    path: str,
    dtype: Dtype = "float32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> PairReward:
    """The mean chance of an answer against the others to its prompt, by a model that reads both (reward_model_pair)."""
    reward = PairReward(_specs(path, dtype, device))
    reward.check()
    return reward


def reward_model(
    path: str | Sequence[str],
    combine: Combine = "mean",
    lam: NotNegative = 0.5,
    shift: Finite | Sequence[Finite] = 0.0,
    scale: Finite | Sequence[Finite] = 1.0,
    dtype: Dtype = "float32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    prefixes: bool = False,
) -> AnswerReward:
    """The score of a reward model (a folder, a run, or a list of them: an ensemble).

    `combine`: mean, `worst` member, or `uncertainty`: mean - lam variance (2310.02743). Each score becomes
    (score - shift) * scale first, one pair for all members or one each: an ensemble's members must be on one scale.
    With `prefixes` it scores the answer up to and with every token, for methods that reward tokens.
    """
    specs = _specs(path, dtype, device)
    if combine not in ("mean", "worst", "uncertainty"):
        raise ValueError(f"combine must be mean, worst or uncertainty, got {combine!r}")
    kind = PrefixReward if prefixes else AnswerReward
    reward = kind(specs, combine=combine, lam=lam, shift=each(shift, specs), scale=each(scale, specs))
    reward.check()
    return reward


def process_model(
    path: str,
    combine: Solution = "product",
    separator: str = "\n",
    dtype: Dtype = "float32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> StepReward:
    """The probability that each step is right, by a process model; steps stand between separators."""
    if combine not in ("product", "min", "last"):
        raise ValueError(f"combine must be product, min or last, got {combine!r}")
    reward = StepReward(_specs(path, dtype, device, separator), combine=combine)
    reward.check()
    return reward


def _specs(path: str | Sequence[str], dtype: Any, device: Any, separator: str = "\n") -> tuple[ScorerSpec, ...]:
    paths = [path] if isinstance(path, str) else [*path]
    if not paths or not all(isinstance(p, str) for p in paths):
        raise ValueError(f"path must be a folder or a list of folders, got {path!r}")
    return tuple(ScorerSpec(model_of(p), dtype, device, separator) for p in paths)


def model_of(path: str) -> str:
    """A run's newest model; any other path as it is."""
    inside = Path(path).expanduser() / "model"
    return str(inside) if (inside / "config.json").exists() or (inside / "adapter_config.json").exists() else path


def each(value: float | Sequence[float], specs: Sequence[ScorerSpec]) -> tuple[float, ...]:
    values = (float(value),) * len(specs) if isinstance(value, int | float) else tuple(map(float, value))
    if len(values) != len(specs):
        raise ValueError(f"{len(values)} numbers for {len(specs)} models")
    return values
