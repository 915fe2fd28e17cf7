"""Rules of a recipe on what is held out: who measures it, by what, and which figure is best by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from postlude.best import problem_of
from postlude.errors import Problem
from postlude.method import Algorithm
from postlude.objectives import Need
from postlude.recipe.documents import Document
from postlude.rewards.spec import RewardSpec
from postlude.sources.spec import Wrong

if TYPE_CHECKING:
    from postlude.recipe.schema import Recipe

OURS = ("reward",)
"""Names beside those of metrics in truth/SET/..."""
TRAINING = {
    "weight": "it is in no sum",
    "outcome": "it says nothing of what is trained on",
    "gate": "it stands before no reward",
    "normalise": "its numbers are compared from one evaluation to the next",
    "abstain": "no step depends on it; `errors` says how many calls may fail",
}
"""Settings of a reward that mean nothing for a metric, and why."""


def problems(recipe: Recipe, entry: Algorithm, wrong: Wrong, document: Document) -> list[Problem]:
    """A sentence for every one that the recipe breaks."""
    return [
        *_measures(recipe, entry, wrong, document),
        *_metrics(recipe, entry, wrong),
        *_sheet(recipe, entry, wrong),
        *_keeps(recipe, entry, wrong),
    ]


def _measures(recipe: Recipe, entry: Algorithm, wrong: Wrong, document: Document) -> list[Problem]:
    """Reward and held-out prompts are given where they are used, and nowhere else."""
    problems: list[Problem] = []
    if entry.source == "rollout" and not recipe.reward and not document.values.get("reward"):  # a wrong one was told
        problems.append(
            Problem(
                "missing-key",
                "'reward' is missing: give a built-in (exact, regex, ...) or my_rewards.py:fn.",
                key="reward",
            )
        )
    if entry.source != "rollout" and recipe.reward and not recipe.data.eval:
        problems.append(
            wrong(
                "reward",
                "no-effect",
                f"{entry.name} trains on written answers; a reward is only used on held-out prompts, and "
                "data.eval is not set.",
            )
        )
    if recipe.reward and Need.SCORES in recipe.objective.needs:
        problems.append(
            wrong("reward", "not-of-method", f"{entry.name} trains a reward model, which writes no answers to reward.")
        )
    if recipe.evaluate.stop_at is not None and (not recipe.data.eval or not recipe.reward or not recipe.evaluate.every):
        problems.append(
            wrong(
                "evaluate.stop_at",
                "no-effect",
                "evaluate.stop_at needs held-out prompts (data.eval), a reward, and evaluate.every > 0.",
            )
        )
    return problems


def _keeps(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """What is best is told by a figure that evaluations give, and that has a direction."""
    name = recipe.checkpoints.best
    if name is None:
        return []
    problem = problem_of(name, prefixes(recipe, entry), truths(recipe))
    if problem is None and not 0 < recipe.evaluate.every < recipe.steps:
        problem = ("no-effect", "checkpoints.best: only the last step would be evaluated. Lower evaluate.every.")
    return [wrong("checkpoints.best", *problem)] if problem else []


def prefixes(recipe: Recipe, entry: Algorithm) -> tuple[str, ...]:
    """What stands before the figures that evaluations give, truth aside."""
    measured = {
        "pretrain/held_out/": bool(recipe.pretrain and recipe.pretrain.eval),
        "held_out/": bool(recipe.data.eval) and entry.source != "rollout",
        "greedy/": samples(recipe),
        "sampled/": samples(recipe),
    }
    return tuple(prefix for prefix, holds in measured.items() if holds)


def samples(recipe: Recipe) -> bool:
    """Whether evaluations sample answers to held-out prompts."""
    return bool(recipe.data.eval and (recipe.reward or recipe.evaluate.metrics))


def truths(recipe: Recipe) -> tuple[str, ...]:
    """The figures truth/SET/METRIC that evaluations give, without what stands behind them; where there is neither a
    metric nor a second set there are none."""
    names, metrics = recipe.data.eval_names, [metric.label for metric in recipe.evaluate.metrics]
    if not samples(recipe) or not (metrics or len(names) > 1):
        return ()
    labels = [*metrics, *(OURS if recipe.reward else ())]
    return tuple(f"truth/{name}/{label}" for name in names for label in labels)


def _metrics(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """Metrics have something to measure, names of their own, and no setting that is of training."""
    key, broken = "evaluate.metrics", list[Problem]()
    if not recipe.evaluate.metrics:
        return broken
    if Need.SCORES in recipe.objective.needs:
        sentence = f"{entry.name} trains a reward model, which writes no answers to measure."
        return [wrong(key, "not-of-method", sentence)]
    if not recipe.data.eval:
        broken.append(wrong(key, "no-effect", f"{key} measures held-out answers, and data.eval is not set."))
    labels = [metric.label for metric in recipe.evaluate.metrics]
    for name in sorted({label for label in labels if labels.count(label) > 1}):
        broken.append(wrong(key, "duplicate-name", f"two metrics are called {name!r}; give one of them a `name`."))
    for place, metric in enumerate(recipe.evaluate.metrics):
        if metric.label in OURS or "/" in metric.label:
            sentence = f"{key}: {metric.label!r} cannot be a metric's name in truth/SET/METRIC; give it another `name`."
            broken.append(wrong(f"{key}.{place}", "reserved-name", sentence))
        broken += _training(metric, f"{key}.{place}", wrong)
    return broken


def _training(metric: RewardSpec, key: str, wrong: Wrong) -> list[Problem]:
    usual = RewardSpec(metric.use)
    changed = [name for name in TRAINING if vars(metric)[name] != vars(usual)[name]]
    sentences = {n: f"{key}.{n}: a metric is not trained on: {TRAINING[n]}. Leave {n} out." for n in changed}
    return [wrong(f"{key}.{name}", "no-effect", sentence) for name, sentence in sentences.items()]


def _sheet(recipe: Recipe, entry: Algorithm, wrong: Wrong) -> list[Problem]:
    """A sheet has prompts, and a policy that answers them."""
    sheet, key = recipe.evaluate.sheet, "evaluate.sheet"
    if sheet is None:
        return []
    if Need.SCORES in recipe.objective.needs:
        return [wrong(key, "not-of-method", f"{key}: {entry.name} trains a reward model, which writes no answers.")]
    if sheet.path is None and not recipe.data.eval:
        return [wrong(key, "missing-key", f"{key} has no prompts: give {key}.path, or held-out ones (data.eval).")]
    return []
