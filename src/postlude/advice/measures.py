"""Numbers of what was read: counts, lengths, repeats, contradictions, bias."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from postlude.advice.evidence import HeldOut, Lengths, Part, Share
from postlude.advice.names import TEST_COLUMNS
from postlude.advice.reading import Material, Pile
from postlude.advice.shapes import Feedback
from postlude.maths.verify import Verifier
from postlude.rewards.code import Tests
from postlude.screening import similar
from postlude.screening.entries import Entry, normalised
from postlude.screening.golds import gold_text
from postlude.screening.preferences import conflicts, pairs_of
from postlude.screening.texts import stops_short
from postlude.statistics import mean, pearson, wilson

LOOKED_AT = 20_000
"""Rows, the same ones in whatever order they stand, that are looked at where each costs something."""
Count = Callable[[str], int]
"""Text -> tokens."""


def share(count: float, of: int) -> Share:
    return Share(count, of, *wilson(count, of))


def parts_of(material: Material, tokens: Count) -> tuple[Part, ...]:
    """A part for each kind of feedback, most distinct rows first."""
    piles: dict[Feedback, list[Pile]] = defaultdict(list)
    for pile in material.piles:
        piles[pile.feedback].append(pile)
    parts = [_part(feedback, some, tokens) for feedback, some in piles.items()]
    return tuple(sorted(parts, key=lambda part: (part.others, -part.distinct, part.feedback)))


def held_out_of(material: Material) -> HeldOut | None:
    """The rows of files for measuring, and how many of their prompts are trained on."""
    piles = [pile for pile in material.held_out if not pile.others]
    if not piles:
        return None
    trained = {normalised(entry.asked) for pile in material.piles for entry in pile.entries}
    rows = [entry for pile in piles for entry in pile.entries]
    leaked = sum(normalised(entry.asked) in trained for entry in rows)
    kinds: tuple[Feedback, ...] = tuple(dict.fromkeys(pile.feedback for pile in piles))
    return HeldOut(tuple(dict.fromkeys(pile.path for pile in piles)), len(rows), leaked, kinds)


def _part(feedback: Feedback, piles: Sequence[Pile], tokens: Count) -> Part:
    both = [(entry, row) for pile in piles for entry, row in zip(pile.entries, pile.rows, strict=True)]
    first: dict[Any, tuple[Entry, Mapping[str, Any]]] = {}
    for entry, row in both:
        first.setdefault(_key(entry, row), (entry, row))
    distinct = [first[key] for key in sorted(first, key=repr)]
    seen = [entry for entry, _ in distinct]
    step = max(1, len(seen) // LOOKED_AT)
    looked_at = seen[::step]
    asked = {normalised(entry.asked): entry.asked for entry in looked_at}
    near = len(similar.near(sorted(asked.values())).pairs)
    return Part(
        feedback,
        len(both),
        tuple(dict.fromkeys(pile.path for pile in piles)),
        len(seen),
        len({normalised(entry.prompt) for entry in seen}),
        step * near,
        all(pile.others for pile in piles),
        _lengths([entry.prompt for entry in seen], tokens),
        _lengths([answer for entry in seen for answer in entry.answers], tokens),
        said=next((pile.said for pile in piles if not pile.direct or pile.columns), ""),
        cut_off=step * sum(any(map(stops_short, entry.answers)) for entry in looked_at),
        copied=step * sum(_copied(entry) for entry in looked_at),
        chat=any(isinstance(row.get("prompt", row.get("messages")), list) for _, row in distinct[:50]),
        **_OF.get(feedback, lambda *_: {})(seen, [row for _, row in distinct]),
    )


def _key(entry: Entry, row: Mapping[str, Any]) -> Any:
    """What makes two rows the same."""
    beside = tuple(str(row[name]) for name in ("labels", *TEST_COLUMNS) if row.get(name) is not None)
    return normalised(entry.prompt), tuple(map(normalised, entry.answers)), entry.rewards, str(entry.gold), beside


def _copied(entry: Entry) -> bool:
    return len(entry.answers) == 1 and len(entry.answers[0].split()) >= 8 and entry.answers[0].strip() in entry.prompt


def _lengths(texts: Sequence[str], count: Count) -> Lengths:
    if not texts:
        return Lengths()
    step = max(1, len(texts) // LOOKED_AT)
    sizes = sorted(count(text) for text in texts[::step])
    at = sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))]
    return Lengths(round(median(sizes)), at, sizes[-1], step * sum(sizes))


# ------------------------------------------------------------------------------------------------- each its own


def _of_compared(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Length against preference, within prompts."""
    longer = differing = close = ties = comparisons = 0
    lengths: list[float] = []
    goods: list[float] = []
    for entry in entries:
        sizes, rewards = [len(answer) for answer in entry.answers], entry.rewards
        lengths += [size - mean(sizes) for size in sizes]
        goods += [reward - mean(rewards) for reward in rewards]
        for i in range(len(sizes)):
            for j in range(i):
                comparisons += 1
                ties += rewards[i] == rewards[j]
                if rewards[i] != rewards[j]:
                    differing += sizes[i] != sizes[j]
                    longer += (sizes[i] - sizes[j]) * (rewards[i] - rewards[j]) > 0
                    close += abs(sizes[i] - sizes[j]) <= 0.1 * max(sizes[i], sizes[j])
    lists = any(len(entry.answers) > 2 for entry in entries)
    return {
        "longer": share(longer, differing) if differing else None,
        "correlation": pearson(lengths, goods),
        "close": close,
        "conflicts": len(conflicts(entries)),
        "size": median(len(entry.answers) for entry in entries),
        "ties": ties / comparisons if lists and comparisons else 0.0,
        "constant": len({normalised(better) for _, better, _ in pairs_of(entries)}) == 1,
    }


def _of_thumbs(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    said: dict[tuple[str, str], set[float]] = defaultdict(set)
    for entry in entries:
        said[normalised(entry.prompt), normalised(entry.answers[0])].add(entry.rewards[0])
    centred = [float(len(entry.answers[0])) for entry in entries]
    return {
        "up": sum(entry.rewards[0] > 0.5 for entry in entries),
        "conflicts": sum(len(rewards) > 1 for rewards in said.values()),
        "correlation": pearson(centred, [entry.rewards[0] for entry in entries]),
    }


def _of_steps(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    labels = [label for row in rows for label in row["labels"] if label is not None]
    wrong = sum(1 - float(label) for label in labels)
    return {"size": median(len(row["labels"]) for row in rows), "wrong": wrong / len(labels) if labels else 0.0}


def _of_golds(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verifier = Verifier()
    some = entries[:: max(1, len(entries) // LOOKED_AT)]
    texts = [gold_text(entry.gold) for entry in some]
    compared = sum(_is_value(verifier, entry.gold) for entry in some)
    said: dict[str, set[str]] = defaultdict(set)
    for entry, gold in zip(some, texts, strict=True):
        said[normalised(entry.prompt)].add(gold)
    return {
        "readable": round(compared * len(entries) / len(some)),
        "letters": sum(re.fullmatch(r"\(?[a-h]\)?\.?", gold) is not None for gold in texts),
        "constant": len({*texts}) == 1,
        "conflicts": sum(len(golds) > 1 for golds in said.values()),
    }


def _is_value(verifier: Verifier, gold: Any) -> bool:
    return verifier.problem_of_gold(gold) is None and verifier.only_text(gold) is None


def _of_tests(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"size": median(map(_tests, rows))}


def _tests(row: Mapping[str, Any]) -> int:
    try:
        tests = Tests.of(row)
    except ValueError:  # the check names the row
        return 0
    return len(tests.visible) + len(tests.hidden) if tests else 0


def _of_answers(entries: Sequence[Entry], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"constant": len({normalised(answer) for entry in entries for answer in entry.answers}) == 1}


_OF: Mapping[str, Callable[[Sequence[Entry], Sequence[Mapping[str, Any]]], dict[str, Any]]] = {
    "pairs": _of_compared, "lists": _of_compared, "thumbs": _of_thumbs, "steps": _of_steps, "golds": _of_golds,
    "tests": _of_tests, "answers": _of_answers, "text": _of_answers,
}  # fmt: skip


def texts_of(piles: Iterable[Pile]) -> list[str]:
    """Some of what was read, for telling the language."""
    result: list[str] = []
    for pile in piles:
        for entry in pile.entries[:: max(1, len(pile.entries) // 200)]:
            result += [text for text in entry.texts if text]
    return result
