"""A policy that was trained on preferences as a reward: what DPO's loss takes for the reward of an answer.

beta (log policy(y|x) - log reference(y|x)), summed over the answer's tokens with the one that ends it (2305.18290;
section 5 of the specification). Up to a term of the prompt alone it is the reward that the policy is optimal for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from postlude.engines.settings import ImplicitSpec
from postlude.errors import ConfigError, Problem, reason
from postlude.models.heads import is_scorer
from postlude.models.load import Facts, inspect
from postlude.models.spec import ModelSpec
from postlude.plain_yaml import load
from postlude.rewards.functions import text_of
from postlude.rewards.learned import AnswerReward, Combine, StepReward, each, model_of

SCORES = {"implicit": False, "implicit_mean": True}
"""Scores of objectives that compare a policy with its reference -> whether by the mean over tokens."""


@dataclass
class ImplicitReward(AnswerReward):
    """The implicit reward of whole answers."""

    def check(self) -> None:
        """Everything that can be known without weights."""
        _require_pairs(self.specs)


@dataclass
class ImplicitSteps(StepReward):
    """The implicit reward of each step: dense, and the steps of an answer add up to that of the whole."""

    def check(self) -> None:
        _require_pairs(self.specs)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], steps: Sequence[int]) -> list[Any]:
        (scorer,) = self.scorers
        return scorer.score_steps(prompts, [text_of(c) for c in completions])

    def whole(self, parts: Sequence[float]) -> float:
        """The sum: these are parts of a log-ratio, no probabilities."""
        return sum(parts)


def implicit(
    policy: str | Sequence[str],
    reference: str | None = None,
    beta: float | None = None,
    per_token: bool | None = None,
    separator: str | None = None,
    combine: Combine = "mean",
    lam: float = 0.5,
    shift: float | Sequence[float] = 0.0,
    scale: float | Sequence[float] = 1.0,
    dtype: Literal["float32", "bfloat16"] = "float32",
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> AnswerReward | StepReward:
    """beta (log policy - log reference) of an answer, of a policy trained on preferences (a folder, a run, or a list).

    `reference`, `beta` and `per_token` (the mean over tokens instead of the sum) are those of the policy's run where
    they are not given. With `separator` the steps that stand between it are rewarded one by one. `combine`, `lam`,
    `shift` and `scale` are those of `model`.
    """
    paths = [policy] if isinstance(policy, str) else [*policy]
    if not paths or not all(isinstance(p, str) for p in paths):
        raise ValueError(f"policy must be a folder or a list of folders, got {policy!r}")
    specs, problems = [], []
    for path in paths:
        try:
            chosen = _settings(path, reference, beta, per_token)
        except ConfigError as error:
            problems += error.problems
            continue
        specs.append(ImplicitSpec(model_of(path), dtype, device, separator or "\n", **chosen))
    if problems:
        raise ConfigError(problems)
    if separator is not None and len(specs) > 1:
        raise ValueError("steps can be rewarded by one policy, not by several")
    reward = (
        ImplicitReward(tuple(specs), combine=combine, lam=lam, shift=each(shift, specs), scale=each(scale, specs))
        if separator is None
        else ImplicitSteps(tuple(specs))
    )
    reward.check()
    return reward


def _settings(path: str, reference: str | None, beta: float | None, per_token: bool | None) -> dict[str, Any]:
    """Reference, beta and kind of sum: as given, else those of the policy's run. Raises ConfigError for what neither
    says."""
    recipe = _run_of(path)
    objective = recipe.get("objective") or {}
    trained = objective.get("score") if objective.get("score") in SCORES else None
    problems: list[Problem] = []
    if reference is None:
        reference, problem = _start_of(path, recipe)
        problems += [problem] if problem else []
    if beta is None:
        beta = (objective.get("link") or {}).get("beta") if trained else None
        if beta is None:
            problems.append(
                Problem(
                    "method-needs",
                    f"reward implicit: {path!r} is no run of the DPO family, so its beta is not known; give beta.",
                )
            )
    elif not 0 < beta < float("inf"):
        problems.append(Problem("out-of-range", f"reward implicit: beta must be positive, got {beta:g}."))
    if problems:
        raise ConfigError(problems)
    mean = SCORES.get(trained or "", False) if per_token is None else per_token
    return {"reference": model_of(reference), "beta": float(beta or 0.0), "per_token": mean}


def _run_of(path: str) -> Mapping[str, Any]:
    """The resolved recipe of the run that a folder is, or is a checkpoint of; empty for any other."""
    folder = Path(path).expanduser()
    for place in (folder, *folder.resolve().parents[:2]):
        if (place / "events.jsonl").exists() and (place / "config.yaml").exists():
            try:
                recipe = load((place / "config.yaml").read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(
                    f"reward implicit: {str(place / 'config.yaml')!r} cannot be read: {reason(error)}.",
                    code="damaged-run",
                ) from error
            return recipe if isinstance(recipe, dict) else {}
    return {}


def _start_of(path: str, own: Mapping[str, Any]) -> tuple[str, Problem | None]:
    """(what the policy of a run started from, or why that is not known)."""
    model = own.get("model") or {}
    if not model.get("path"):
        return "", Problem(
            "missing-key",
            f"reward implicit: {path!r} is no run, so what it was trained from is not known; give reference.",
            key="reference",
        )
    if isinstance(model.get("reference"), dict):
        return "", Problem(
            "missing-key",
            f"reward implicit: the reference of {path!r} was refreshed while it trained, so its start is not what it "
            "was compared with; give reference.",
            key="reference",
        )
    return model["path"], None


def _require_pairs(specs: Sequence[Any]) -> None:
    """Both models are there, can write, read the same tokens, and are not one and the same."""
    problems: list[Problem] = []
    for spec in specs:
        facts = [_facts(name, path, problems) for name, path in (("policy", spec.path), ("reference", spec.reference))]
        if None not in facts:
            problems += _unlike(spec, *facts)  # type: ignore[arg-type]
    if problems:
        raise ConfigError(problems)


def _facts(name: str, path: str, problems: list[Problem]) -> Facts | None:
    try:
        facts = inspect(ModelSpec(path))
    except ConfigError as error:
        problems += [p.without("model: ").within(f"reward implicit, {name}: ") for p in error.problems]
        return None
    if is_scorer(facts.config):
        problems.append(
            Problem(
                "reward-model-cannot-write",
                f"reward implicit, {name}: {path!r} is a reward model, which writes nothing; as a reward: `model`.",
            )
        )
        return None
    return facts


def _unlike(spec: ImplicitSpec, policy: Facts, reference: Facts) -> list[Problem]:
    if Path(spec.path).expanduser().resolve() == Path(spec.reference).expanduser().resolve():
        return [
            Problem(
                "contradiction",
                f"reward implicit: policy and reference are both {spec.path!r}, so the reward would always be 0.",
            )
        ]
    if policy.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        return [
            Problem(
                "bad-tokenizer",
                f"reward implicit: the tokenizers of {spec.path!r} and of its reference {spec.reference!r} differ, so "
                "their log-probs cannot be compared. The reference is the model that the policy was trained from.",
            )
        ]
    if len(policy.tokenizer) > min(policy.vocabulary, reference.vocabulary):
        return [
            Problem(
                "bad-tokenizer",
                f"reward implicit: the tokenizer has {len(policy.tokenizer)} tokens, policy and reference have "
                f"{policy.vocabulary} and {reference.vocabulary} rows for them; the tokenizer is not theirs.",
            )
        ]
    return []
