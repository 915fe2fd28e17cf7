"""What a comparison is to say, held against its arms before any of them is trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from postlude.algorithms import find_method
from postlude.best import problem_of
from postlude.errors import ConfigError, Problem
from postlude.recipe.measured import prefixes, truths
from postlude.recipe.schema import Recipe
from postlude.statistics import BEST_OF
from postlude.words import meant

_OF_SEVERAL = re.compile(r"/(?:pass@|best_of_)(\d+)(?:/|$)")
"""Figures of the best of k answers."""


@dataclass(frozen=True)
class Asked:
    """Figures to compare by, and the arm that all are held against."""

    metrics: Sequence[str] = ()
    baseline: str | None = None


def require_arm(baseline: str | None, arms: Sequence[str]) -> None:
    """Raises ConfigError where the baseline is none of the arms."""
    if baseline is not None and baseline not in arms:
        raise ConfigError(
            f"--baseline: there is no arm {baseline!r}.{meant(baseline, arms)} There are {', '.join(arms)}.",
            code="unknown-name",
            key="--baseline",
        )


def problems_of(metrics: Sequence[str], chosen_by: str | None, recipes: Mapping[str, Recipe]) -> list[Problem]:
    """Every figure that the evaluations of an arm will not give, as far as its recipe tells; and of the one that a
    sweep chooses by, whether one end of it is better."""
    problems: list[Problem] = []
    for key, names in (("--metric", metrics), ("--choose-by", [chosen_by] if chosen_by else [])):
        for name in names:
            each = {arm: _problem(name, recipe, key) for arm, recipe in recipes.items()}
            alike = len({*each.values()}) == 1
            for arm, problem in [*each.items()][: 1 if alike else None]:
                if problem is not None:
                    code, text = problem
                    problems.append(Problem(code, text if alike else f"arm {arm}: {text}", key=key))
    return problems


def _problem(name: str, recipe: Recipe, key: str) -> tuple[str, str] | None:
    """(code, sentence) where no evaluation by the recipe gives the figure."""
    entry = find_method(recipe.method)
    problem = problem_of(name, prefixes(recipe, entry), truths(recipe), key, directed=key != "--metric")
    if problem is not None:
        return problem
    return next(_of_several(name, recipe.evaluate.samples, key), None)


def _of_several(name: str, samples: int, key: str) -> Iterator[tuple[str, str]]:
    """The best of k needs k answers, and few k are measured."""
    for text in _OF_SEVERAL.findall(name):
        most = 1 if name.startswith("greedy/") else samples
        there = [k for k in BEST_OF if k <= most]
        if int(text) not in there:
            listed = ", ".join(map(str, there)) or "none"
            many = "greedy answers are one each" if most < samples else f"evaluate.samples is {samples}"
            yield "unknown-name", f"{key}: {name!r} is not measured: {many}, so that k may be {listed}."
