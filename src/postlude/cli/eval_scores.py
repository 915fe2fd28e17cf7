"""postlude eval of a reward model: its scores against what people (or checks) said."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from postlude.audit.reward_models import (
    Compared,
    Figures,
    Labelled,
    ensemble_figures,
    label_figures,
    pair_figures,
    pairs_of,
)
from postlude.check import open_scorer
from postlude.cli.opening import recipe_part
from postlude.cli.scores_view import show
from postlude.cli.scoring import rewards_of, the_model
from postlude.cli.session import Session
from postlude.cli.waiting import Waiting, tell
from postlude.data import Group, joined_pair
from postlude.engines.settings import ImplicitSpec, ScorerSpec
from postlude.errors import ConfigError, Problem
from postlude.models.chat import Renderer
from postlude.rewards.learned import AnswerReward
from postlude.rewards.numbers import logit, pair_preference
from postlude.runs.checkpoints import latest_model
from postlude.sources.compared import Limits, compared
from postlude.sources.file import Table
from postlude.sources.table import Kind
from postlude.terminal import Screen

if TYPE_CHECKING:
    from postlude.engines.local.scorer import LocalScorer

OnBad = Literal["stop", "skip"]
AT_A_TIME = 64
"""Groups scored between two signs of life."""
KINDS: tuple[Kind, ...] = ("pair", "rated", "binary", "steps")


@dataclass(frozen=True)
class Measured:
    """Reward models that are measured together."""

    name: str
    models: Sequence[ScorerSpec]
    """The model, then the other members of its ensemble."""
    units: Sequence[tuple[float, float]] = ()
    """(shift, scale) of each: its scores are (score - shift) * scale. None is as they are."""


@dataclass(frozen=True)
class Scored:
    """The rows one model could read, and its scores: of answers, or of labelled steps."""

    kind: Kind
    groups: list[Group]
    scores: list[list[float]]
    """For each group."""
    problems: list[Problem]

    @property
    def flat(self) -> list[float]:
        return [s for row in self.scores for s in row]

    def on_scale(self, shift: float, scale: float) -> Scored:
        """The same scores in another unit."""
        return replace(self, scores=[[(s - shift) * scale for s in row] for row in self.scores])


def models_of(model: str, ensemble: Sequence[str]) -> Measured:
    """The reward models of MODEL and --ensemble."""
    separator = recipe_part(model, "data").get("step_separator") or "\n"
    paths = [latest_model(path, lambda text: tell([text])) for path in (model, *ensemble)]
    return Measured(model, [ScorerSpec(path, separator=separator) for path in paths])


def models_of_reward(uses: Sequence[str], arguments: str | None, ensemble: Sequence[str]) -> Measured:
    """The reward models that --reward is made of."""
    if not uses:
        raise ConfigError("give MODEL, or a reward model to measure as --reward.", code="missing-option")
    if ensemble:
        raise ConfigError(
            "--ensemble goes with MODEL; in --reward give a list of paths or policies.", code="contradiction"
        )
    rewards = rewards_of(uses, arguments)
    function = the_model(rewards)
    units = zip(function.shift, function.scale, strict=True) if isinstance(function, AnswerReward) else ()
    return Measured(rewards.members[0].spec.label, function.specs, [*units])


def evaluate_scores(session: Session, measured: Measured, on_bad_row: OnBad, target: Path) -> None:
    """Measure on the session's table, save as JSON, show."""
    console, path, limit = Screen(), session.table.path, session.named.limit
    units = measured.units or [(0.0, 1.0)] * len(measured.models)
    scored = [_scored(model, session, on_bad_row) for model in measured.models]
    members = _same_rows([m.on_scale(*unit) for m, unit in zip(scored, units, strict=True)])
    first = members[0]
    data = _judgements(first, path)
    figures = pair_figures(first.flat, data) if isinstance(data, Compared) else label_figures(first.flat, data)
    ensemble = ensemble_figures([m.flat for m in members], data) if len(members) > 1 else None
    names, n_read = [*map(name_of, measured.models)], session.table.read
    result: Figures = {"model": names[0], "data": path, "kind": first.kind, "rows": len(first.groups)}
    result |= {"rows_read": n_read, "rows_bad": n_read - len(first.groups) if limit is None else 0}
    result |= {"figures": figures, "others": names[1:], "ensemble": ensemble, "scores": [*_answers(first)]}
    target.write_text(json.dumps(result, indent=1, default=str) + "\n", encoding="utf-8")
    show(console, result, first.problems)
    console.print(f"\nsaved to {target}", soft_wrap=True)


def name_of(spec: ScorerSpec) -> str:
    """What is measured, in words."""
    if not isinstance(spec, ImplicitSpec):
        return spec.path
    mean = ", mean per token" if spec.per_token else ""
    return f"{spec.path} (implicit reward against {spec.reference}, beta {spec.beta:g}{mean})"


def _scored(model: ScorerSpec, session: Session, on_bad_row: OnBad) -> Scored:
    """One model's scores of the rows, read with its own tokenizer."""
    scorer, whole = open_scorer(model), session.table
    table = replace(whole, rows=[*whole.rows], problems=[*whole.problems], notes=[*whole.notes])
    limits = Limits(scorer.facts.context, scorer.facts.vocabulary, model.separator)
    renderer = Renderer(scorer.facts.tokenizer, scorer.facts.stop_ids)
    groups = compared(table, renderer, limits, KINDS, session.reading)
    table.require_clean(on_bad_row, "--on-bad-row skip")
    tell(table.notes)
    assert table.kind is not None
    groups = groups[: session.named.limit]
    steps, pairs = table.kind == "steps", scorer.reads_pairs
    if pairs:
        groups = _of_two(groups, table)
    with Waiting(f"scoring with {model.path}") as waiting:
        scores: list[list[float]] = []
        for start in range(0, len(groups), AT_A_TIME):
            waiting.count(start, len(groups), "rows")
            part = groups[start : start + AT_A_TIME]
            scores += _steps(scorer, part) if steps else _pairs(scorer, part) if pairs else _whole(scorer, part)
    return Scored(table.kind, groups, scores, table.problems)


def _whole(scorer: LocalScorer, groups: Sequence[Group]) -> list[list[float]]:
    found = iter(scorer.of_groups(groups))
    return [[next(found) for _ in group.completions] for group in groups]


def _of_two(groups: Sequence[Group], table: Table) -> list[Group]:
    """Every pair of a list as a group of its own: such a model gives no number to one answer."""
    if table.kind not in ("pair", "rated"):
        raise ConfigError(
            f"{table.path} holds {table.form}, and this model reads two answers: give pairs or lists.",
            code="wrong-rows",
        )
    found = []
    for group in groups:
        for i, (a, b) in enumerate(combinations(group.completions, 2)):
            if a.reward != b.reward:
                prompt = replace(group.prompt, place=f"{group.prompt.place}, pair {i + 1}")
                found.append(replace(group, prompt=prompt, completions=(a, b)))
    return found


def _pairs(scorer: LocalScorer, groups: Sequence[Group]) -> list[list[float]]:
    """Two numbers that differ by the logit of the chance, over both orders, that the first is better."""
    logits = iter(scorer.of_groups([joined_pair(g) for g in groups]))
    chances = [pair_preference(forth, back) for forth, back in zip(logits, logits, strict=True)]
    return [[logit(p) / 2, -logit(p) / 2] for p in chances]


def _steps(scorer: LocalScorer, groups: Sequence[Group]) -> list[list[float]]:
    return scorer.steps_of_groups(groups)


def _same_rows(members: Sequence[Scored]) -> list[Scored]:
    """Only rows that every member could read: contexts differ."""
    common = set[str].intersection(*({g.prompt.place for g in m.groups} for m in members))
    result = []
    for m in members:
        kept = [i for i, g in enumerate(m.groups) if g.prompt.place in common]
        result.append(replace(m, groups=[m.groups[i] for i in kept], scores=[m.scores[i] for i in kept]))
    if not common:
        raise ConfigError("--ensemble: no row can be read by every member.", code="no-usable-row")
    return result


def _judgements(scored: Scored, path: str) -> Compared | Labelled:
    """What the data say of the answers, in the order of the scores."""
    answers = [(c, repr(g.prompt.messages)) for g in scored.groups for c in g.completions]
    if scored.kind == "steps":
        labels = [(label, prompt) for c, prompt in answers for _, label in c.steps]
        return Labelled([label for label, _ in labels], [prompt for _, prompt in labels])
    lengths, prompts = [c.length for c, _ in answers], [prompt for _, prompt in answers]
    if scored.kind == "binary":
        return Labelled([c.reward or 0.0 for c, _ in answers], prompts, lengths)
    pairs, start = [], 0
    for group in scored.groups:
        pairs += pairs_of([c.reward or 0.0 for c in group.completions], start)
        start += len(group.completions)
    if not pairs:
        raise ConfigError(
            f"{path}: no answer is preferred to another, so there is nothing to be right about.", code="no-preference"
        )
    return Compared(lengths, pairs, prompts)


def _answers(scored: Scored) -> Iterator[dict[str, Any]]:
    """Every row with its scores, for a closer look."""
    for group, scores in zip(scored.groups, scored.scores, strict=True):
        said = [label for c in group.completions for _, label in c.steps] or [c.reward for c in group.completions]
        yield {
            "place": group.prompt.place,
            "prompt": group.prompt.messages,
            "answers": [c.text for c in group.completions],
            "said": said,
            "scores": scores,
        }
