"""Which answers are put before a reviewer, and why.

random      every answer has the same chance: the only queue whose share of good ones is an estimate of the run's
highest     the highest rewards first: where a reward that can be gamed shows it
surprising  far from what the other answers to the prompt got, and from the order in which the policy held them likely
flagged     in steps that an alarm of the run names, or where the reward and another measure rank it wide apart
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from postlude.review.answers import Answer, Measure, Place
from postlude.runs.history import History
from postlude.shapes import is_dict, is_list
from postlude.statistics import mean, ranks

Kind = Literal["random", "highest", "surprising", "flagged"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LEAST_APART = 0.5
"""Of the places in a step's order by which reward and another measure must differ, for an answer to be flagged."""


@dataclass(frozen=True)
class Queued:
    """An answer with the reason for which it is shown. `why` tells of the reward: it is said after the verdict."""

    answer: Answer
    kind: Kind
    why: str


def queue(
    history: History,
    answers: Sequence[Answer],
    kinds: Sequence[Kind],
    count: int,
    seed: int,
    judged: Collection[Place],
) -> tuple[list[Queued], list[Queued]]:
    """`count` answers that are not judged yet, the kinds in equal parts; and those that `random` came upon and that
    another queue had judged already: they belong to the random sample too.

    Of several kinds the order is mixed, so that the place in the queue says nothing.
    """

    def chance(place: Place) -> str:
        return _chance(seed, place)

    taken: dict[Place, Queued] = {}
    again: list[Queued] = []
    for i, kind in enumerate(kinds):
        share = count // len(kinds) + (i < count % len(kinds))
        fresh = 0
        for one in _of_kind(kind, history, answers, chance):
            if fresh == share:
                break
            place = one.answer.place
            if kind == "random" and place in judged:
                again.append(one)
            elif place not in judged and place not in taken:
                taken[place], fresh = one, fresh + 1
    order = sorted(taken.values(), key=lambda one: chance(one.answer.place)) if len(kinds) > 1 else [*taken.values()]
    return order, again


def _chance(seed: int, place: Place) -> str:
    """A random order that stays as it is when answers are added: the first n of it are a random sample of all."""
    return hashlib.sha256(f"{seed} {place.step} {place.prompt} {place.index}".encode()).hexdigest()


def _of_kind(
    kind: Kind, history: History, answers: Sequence[Answer], chance: Callable[[Place], str]
) -> Iterator[Queued]:
    """All answers of a kind, the first to show first."""
    mixed = sorted(answers, key=lambda a: chance(a.place))
    if kind == "random":
        yield from (Queued(a, kind, "drawn at random") for a in mixed)
    elif kind == "highest":
        scored = [(a.reward, a) for a in mixed if a.reward is not None]
        scored.sort(key=lambda one: -one[0])
        yield from (Queued(a, kind, f"reward {reward:.3g}, among the highest") for reward, a in scored)
    else:
        reasons = surprises(answers) if kind == "surprising" else flags(history, answers)
        named = [a for a in mixed if a.place in reasons]
        named.sort(key=lambda a: -reasons[a.place][0])
        yield from (Queued(a, kind, reasons[a.place][1]) for a in named)


# ------------------------------------------------------------------------------------------------- surprising

Reasons = dict[Place, tuple[float, str]]
"""Answer -> how much it is one, and the words for it."""


def surprises(answers: Sequence[Answer]) -> Reasons:
    """How little each reward was to be expected: its distance from the mean of the prompt's other answers, in standard
    deviations of the step's rewards, plus the distance of its place by reward from that by mean log-prob (0 to 1).

    Answers without a reward, alone with their prompt, or in a step of equal rewards, are none.
    """
    result: Reasons = {}
    for step in _parts(answers, lambda a: a.place.step):
        spread = _deviation([a.reward for a in step if a.reward is not None])
        groups = _parts([a for a in step if a.reward is not None], lambda a: a.place.prompt) if spread else []
        for group in (g for g in groups if len(g) > 1):
            rewards = [a.reward or 0.0 for a in group]
            for place, answer, reward in zip(_places(group), group, rewards, strict=True):
                others = (sum(rewards) - reward) / (len(group) - 1)
                gap = (reward - others) / spread
                if not gap:
                    continue
                text = f"reward {reward:.3g}, the prompt's other answers {others:.3g}: {gap:+.1f} standard deviations"
                apart = 0.0 if place is None else abs(place[0] - place[1]) / (len(group) - 1)
                if place is not None:
                    text += f"; by reward number {place[0]:g} of {len(group)}, by log-prob number {place[1]:g}"
                result[answer.place] = abs(gap) + apart, text
    return result


def _places(group: Sequence[Answer]) -> list[tuple[float, float] | None]:
    """(by reward, by mean log-prob) of each answer in the order of its group, 1 the best; ties share their mean."""
    likely = [a.likelihood for a in group if a.likelihood is not None]
    if len(likely) < len(group):
        return [None] * len(group)
    best = len(group) + 1
    by_reward, by_policy = ranks([a.reward or 0.0 for a in group]), ranks(likely)
    return [(best - r, best - p) for r, p in zip(by_reward, by_policy, strict=True)]


def _deviation(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    middle = mean(values)
    return mean([(x - middle) ** 2 for x in values]) ** 0.5


def _parts(answers: Sequence[Answer], key: Callable[[Answer], object]) -> list[list[Answer]]:
    """The answers of each step, or of each prompt."""
    parts: dict[object, list[Answer]] = {}
    for answer in answers:
        parts.setdefault(key(answer), []).append(answer)
    return [*parts.values()]


# ---------------------------------------------------------------------------------------------------- flagged


def flags(history: History, answers: Sequence[Answer]) -> Reasons:
    """Answers on which the reward and another measure of the same answers are half a step's order or more apart, and
    answers of the steps that the run's alarms rest on, for which the first reason counts double."""
    result: Reasons = {}
    measures = measures_of(history)
    for step in _parts(answers, lambda a: a.place.step):
        for name, value_of in measures.items():
            both = [(a, r, v) for a in step if (r := a.reward) is not None and (v := value_of(a)) is not None]
            for answer, apart in _apart(both):
                if apart >= LEAST_APART and apart > result.get(answer.place, (0.0, ""))[0]:
                    result[answer.place] = apart, f"the reward ranks it far from where {name} does"
    alarms = alarmed(history)
    for answer in answers:
        if alarm := alarms.get(answer.place.step):
            apart, text = result.get(answer.place, (0.0, ""))
            result[answer.place] = 2 * apart, "; ".join(part for part in (f"alarm {alarm}", text) if part)
    return result


def _apart(both: Sequence[tuple[Answer, float, float]]) -> Iterator[tuple[Answer, float]]:
    """By what part of the order each answer's places by its two numbers differ."""
    if len(both) < 2:
        return
    by_reward, by_other = ranks([r for _, r, _ in both]), ranks([v for _, _, v in both])
    for (answer, _, _), one, other in zip(both, by_reward, by_other, strict=True):
        yield answer, abs(one - other) / (len(both) - 1)


def alarmed(history: History) -> dict[int, str]:
    """Step -> the alarm that names it as evidence, of those the run noted while it went on."""
    named: dict[int, str] = {}
    for row in history.of("note"):
        data: Any = row.get("data")
        if row.get("code") != "alarm" or not is_dict(data):
            continue
        evidence = data.get("steps")
        for step in evidence if is_list(evidence) else [row["step"]]:
            named.setdefault(int(step), str(data.get("rule", "")))
    return named


def measures_of(history: History) -> dict[str, Measure]:
    """Name -> what else measures an answer than the reward that is trained: rewards of weight 0, and correctness."""
    entries: Any = history.recipe.get("reward") or []
    measures: dict[str, Measure] = {"correctness": _correct}
    for entry in entries if is_list(entries) else [entries]:
        if is_dict(entry) and entry.get("weight") == 0:
            name = str(entry.get("name") or str(entry.get("use", "")).rpartition(":")[2])
            measures[name] = _score(name)
    return measures


def _correct(answer: Answer) -> float | None:
    return None if answer.correct is None else float(answer.correct)


def _score(name: str) -> Measure:
    return lambda answer: answer.scores.get(name)
