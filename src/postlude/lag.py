"""How old the answers are that a step is trained on: steps from the weights that sampled them to those that learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from postlude.data import Completion, Group
from postlude.engines.protocol import Engine
from postlude.errors import TrainingError, visible
from postlude.runs.folder import Run
from postlude.runs.stats import mean
from postlude.sources.source import Drawn
from postlude.words import counted


def versions_of(completion: Completion) -> tuple[tuple[int, int], ...]:
    """(version, first token) of each part of an answer, in order."""
    return completion.spans or ((completion.policy_version, 0),)


def lags(engine: Engine, drawn: Sequence[Drawn]) -> dict[str, float]:
    """`lag/mean` and `lag/max` over the answers that are trained on, each as old as its oldest part."""
    ages = [_age(engine, c) for d in drawn if d.sampled for g in d.groups for c in g.completions]
    return {"lag/mean": mean(ages), "lag/max": float(max(ages))} if ages else {}


def _age(engine: Engine, completion: Completion) -> int:
    return max(engine.lag(version) or 0 for version, _ in versions_of(completion))


def require_known(run: Run, engine: Engine, drawn: Sequence[Drawn], most: int) -> None:
    """Every part of an answer that is about to be trained on comes from weights of this run which were published, and
    are at most so many steps old; groups that dynamic sampling kept from earlier draws may be older. Raises
    TrainingError: that should never be, and nothing of such a draw may be trained on."""
    for d in drawn:
        fresh = {id(c) for g in d.sampled for c in g.completions}
        for group, number, completion in _answers(d.groups if d.sampled else ()):
            for version, first in versions_of(completion):
                lag = engine.lag(version)
                if lag is None or lag < 0 or (lag > most and id(completion) in fresh):
                    why = _why(version, lag, most)
                    raise TrainingError(_refusal(run, group, number, first, why), code="stale-answer")


def _answers(groups: Sequence[Group]) -> Iterator[tuple[Group, int, Completion]]:
    for group in groups:
        for number, completion in enumerate(group.completions, 1):
            yield group, number, completion


def _why(version: int, lag: int | None, most: int) -> str:
    if lag is None:
        return f"version {version} of the weights, which this run never published"
    if lag < 0:
        return f"version {version} of the weights, which is of a later step"
    return f"version {version} of the weights, {counted(lag, 'step')} ago, and max_lag is {most}"


def _refusal(run: Run, group: Group, number: int, first: int, why: str) -> str:
    place = group.prompt.place or f"prompt {group.prompt.id}"
    return (
        f"step {run.step + 1}: answer {number} to {visible(place)} comes, from token {first} on, from {why}. Nothing "
        f"of this draw was trained on. Go on from the newest checkpoint with: postlude train {run.folder} --resume"
    )
