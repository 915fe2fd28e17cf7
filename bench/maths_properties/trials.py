"""Trials by chance, each told from its number, so that any can be made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from bench.maths_properties.drawn import Drawn
from bench.maths_properties.numbers import NUMBERS, TERMS
from bench.maths_properties.responses import AROUND, BESIDE
from bench.maths_properties.structures import STRUCTURES
from postlude.maths.verify import Verifier

MAKERS = (*NUMBERS, *TERMS, *STRUCTURES)
AT_ONCE = 500


@dataclass(frozen=True)
class Trial:
    """A right answer and a response: whether it should be called right."""

    number: int
    kind: str
    law: str
    gold: str
    response: str
    right: bool


@dataclass
class Tally:
    tried: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    """(kind, law) -> trials."""
    broken: list[Trial] = field(default_factory=list[Trial])


def trials(number: int) -> Iterator[Trial]:
    """Four of one random value: another spelling, another value, other words around it, another answer beside it."""
    rng = Random(number)
    one: Drawn = MAKERS[number % len(MAKERS)](rng)
    other = one.other(rng)
    gold, again, changed = one.write(rng), one.write(rng), other.write(rng)
    plain = AROUND[0]
    yield Trial(number, one.kind, "another spelling", gold, plain.replace("%s", again), True)
    yield Trial(number, one.kind, "another value", gold, plain.replace("%s", changed), False)
    around = rng.choice([a for a in AROUND if "$" not in again or "$" not in a])
    yield Trial(number, one.kind, "other words around", gold, around.replace("%s", again), True)
    if one.holds(other):
        return  # a part of the answer and then all of it is one answer
    first, second = rng.sample((again, changed), 2)
    together = one.kind in ("interval", "union")  # of which "or" says the union
    beside = (
        rng.choice([b for b in BESIDE if not (together and r"\text{ or }" in b)])
        .replace("%s", first, 1)
        .replace("%s", second, 1)
    )
    yield Trial(number, one.kind, "another answer beside", gold, beside, False)


def tried(first: int, count: int) -> Tally:
    """The trials of `count` random values, from number `first`."""
    verifier, tally = Verifier(), Tally()
    for start in range(first, first + count, AT_ONCE):
        some = [t for n in range(start, min(start + AT_ONCE, first + count)) for t in trials(n)]
        results = verifier.verify_all([(t.gold, t.response) for t in some])
        for trial, result in zip(some, results, strict=True):
            tally.tried[trial.kind, trial.law] += 1
            if (result.verdict == "equal") != trial.right:
                tally.broken.append(trial)
    return tally
