"""Rows that stand in a file twice, nearly twice, or in the held-out file too."""

from __future__ import annotations

from collections.abc import Sequence

from postlude.screening import similar
from postlude.screening.entries import Entry, first_places, normalised
from postlude.screening.findings import EXAMPLES, Finding

TOLD_FROM = 0.01
"""Share of duplicates that is worth a warning."""


def duplicates(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(place, place of the first) of rows whose prompt, answers and gold were there before."""
    return [*first_places((e.place, (e.prompt, e.answers, e.rewards, str(e.gold))) for e in entries)]


def of_repeats(entries: Sequence[Entry]) -> list[Finding]:
    twice = duplicates(entries)
    again = {place for place, _ in twice}
    single = [e for e in entries if e.place not in again]
    result = [
        *_pairs(
            "duplicate", twice, len(entries), "are the same as an earlier one", len(twice) > TOLD_FROM * len(entries)
        )
    ]
    once = {normalised(e.asked): e for e in reversed(single)}
    asked_again = len(single) - len(once)
    if asked_again:
        shown = _repeated_prompts(single)
        text = "ask what an earlier row asks" + (", with another answer" if any(e.answers for e in single) else "")
        result.append(Finding("same-prompt", asked_again, len(entries), text, shown, warning=False))
    distinct = [*reversed(once.values())]
    found = similar.near([e.asked for e in distinct])
    close = [(distinct[i].place, distinct[j].place) for i, j in sorted(found.pairs.items())]
    text = f"are nearly the same as an earlier one ({similar.GRAM}-word sequences, Jaccard {similar.THRESHOLD} or more)"
    result += _pairs("near-duplicate", close, len(entries), text)
    if found.framed:
        places = tuple(distinct[i].place for i in found.framed[:EXAMPLES])
        text = "hold nothing but words that many rows share, and are compared with none"
        result.append(Finding("framed", len(found.framed), len(entries), text, places))
    return result


def _repeated_prompts(entries: Sequence[Entry]) -> tuple[str, ...]:
    again = first_places((e.place, normalised(e.asked)) for e in entries)
    return tuple(f"{place} as {first}" for place, first in list(again)[:EXAMPLES])


def _pairs(code: str, pairs: Sequence[tuple[str, str]], of: int, text: str, warning: bool = True) -> list[Finding]:
    shown = tuple(f"{place} as {first}" for place, first in pairs[:EXAMPLES] if place and first)
    return [Finding(code, len(pairs), of, text, shown, warning)] if pairs else []


def of_leaks(trained: Sequence[Entry], held_out: Sequence[Entry]) -> list[Finding]:
    """Held-out rows whose prompt is trained on, or nearly so: they measure memory."""
    places = {normalised(e.asked): e.place for e in reversed(trained)}
    exact = [(e.place, places[key]) for e in held_out if (key := normalised(e.asked)) in places]
    leaked = {place for place, _ in exact}
    rest = [e for e in held_out if e.place not in leaked]
    texts = [e.asked for e in trained] + [e.asked for e in rest]
    pairs = similar.near(texts, among=len(trained)).pairs
    near = [(rest[i - len(trained)].place, trained[j].place) for i, j in sorted(pairs.items())]
    result = _pairs("leak", exact, len(held_out), "of the held-out file are also trained on")
    result += of_system_leaks(trained, held_out)
    text = f"of the held-out file are nearly the same as one that is trained on (Jaccard {similar.THRESHOLD} or more)"
    return result + _pairs("near-leak", near, len(held_out), text)


def of_system_leaks(trained: Sequence[Entry], held_out: Sequence[Entry]) -> list[Finding]:
    """Held-out rows that ask what is trained on under another system message, or without one."""
    whole = {normalised(e.asked) for e in trained}
    places = {normalised(e.asked_by_user): e.place for e in reversed(trained)}
    asked = [(e, normalised(e.asked_by_user)) for e in held_out if normalised(e.asked) not in whole]
    pairs = [(e.place, places[key]) for e, key in asked if key and key in places]
    text = "of the held-out file ask what is trained on, under another system message"
    return _pairs("system-leak", pairs, len(held_out), text)
