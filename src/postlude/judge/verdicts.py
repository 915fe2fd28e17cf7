"""What a judge replied, read strictly: a whole JSON object of the right form, or nothing."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from postlude import plain_json
from postlude.errors import shortened
from postlude.thinking import end_of

"""Up to the first end: templates of thinking models open the thought themselves."""
_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n```\Z", re.DOTALL)


class Unreadable(ValueError):
    """Why a reply is no verdict, in words that the judge itself can act on."""


class _Verdict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    reason: str = ""


class Score(_Verdict):
    """One answer's grade."""

    score: int


class Better(_Verdict):
    """Which of two answers is better; 0 is neither."""

    better: Annotated[int, Field(ge=0, le=2)]


class Ranking(_Verdict):
    """Answers by number, best first; a list inside holds equally good ones."""

    ranking: list[int | list[int]]


def read_score(reply: str, low: int, high: int) -> int:
    """The score of a reply. A number out of range is no score: it is never moved into it."""
    score = _read(reply, Score).score
    if not low <= score <= high:
        raise Unreadable(f'"score" must be a whole number from {low} to {high}, not {score}')
    return score


def read_better(reply: str) -> float:
    """The chance that the first answer is better: 1, 0, or 0.5 for neither."""
    return {1: 1.0, 2: 0.0, 0: 0.5}[_read(reply, Better).better]


def read_ranking(reply: str, count: int) -> list[float]:
    """For each answer in order the share of the others it beats, ties as half."""
    levels = [[x] if isinstance(x, int) else x for x in _read(reply, Ranking).ranking]
    named = [x for level in levels for x in level]
    if sorted(named) != list(range(1, count + 1)):
        raise Unreadable(f'"ranking" must name each of 1 to {count} once')
    rank = {x: i for i, level in enumerate(levels) for x in level}
    return [
        sum(1.0 if rank[a] < rank[b] else 0.5 if rank[a] == rank[b] else 0.0 for b in rank if b != a) / (count - 1)
        for a in range(1, count + 1)
    ]


def _read(reply: str, form: type[Any]) -> Any:
    text = without_thought(reply)
    fenced = _FENCED.match(text)
    text = fenced[1] if fenced else text
    try:
        value = plain_json.loads(text, object_pairs_hook=_once)
        return form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = shortened(".".join(map(str, first["loc"])), 80)
        raise Unreadable(f"{where}: {first['msg']}" if where else first["msg"]) from error
    except ValueError as error:
        raise Unreadable("the reply must be one JSON object and nothing else") from error


def without_thought(reply: str) -> str:
    """What a model says once it has thought."""
    return reply[end_of(reply) :].strip()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A key given twice has no one value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found
