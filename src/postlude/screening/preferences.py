"""What pairs of a file say together: opposite preferences, and whether length alone tells the chosen answer."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from postlude.screening.entries import Entry
from postlude.screening.findings import EXAMPLES, Finding
from postlude.statistics import wilson

TOLD_FROM = 0.6
"""Share of pairs, either way, from which on length is told."""
Pair = tuple[Entry, str, str]
"""The row, its better answer and its worse."""


def pairs_of(entries: Sequence[Entry]) -> list[Pair]:
    """Rows of two answers of which one is better."""
    result: list[Pair] = []
    for entry in entries:
        if len(entry.answers) == 2 and len(entry.rewards) == 2 and entry.rewards[0] != entry.rewards[1]:
            first, second = entry.answers
            better = entry.rewards[0] > entry.rewards[1]
            result.append((entry, first, second) if better else (entry, second, first))
    return result


def conflicts(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    """(place, place of the first that says the opposite) of pairs of one prompt that stand both ways round."""
    preferred: dict[tuple[str, str, str], str] = {}
    result: list[tuple[str, str]] = []
    for entry, better, worse in pairs_of(entries):
        preferred.setdefault((entry.prompt, better, worse), entry.place)
        other = preferred.get((entry.prompt, worse, better))
        if other is not None:
            result.append((entry.place, other))
    return result


def of_conflicts(entries: Sequence[Entry]) -> list[Finding]:
    found = conflicts(entries)
    if not found:
        return []
    shown = tuple(f"{place} and {other}" for place, other in found[:EXAMPLES])
    text = "prefer what another row of the same prompt rejects, and reject what it prefers"
    return [Finding("conflict", len(found), len(entries), text, shown)]


def length_bias(entries: Sequence[Entry]) -> list[Finding]:
    """Whether the chosen answer is mostly the longer one (or the shorter): a model learns that first.

    The share is of pairs of different lengths in characters, with Wilson's 95 % interval; told where it lies beyond
    `TOLD_FROM`, and its interval on that side of one half.
    """
    pairs = pairs_of(entries)
    differing = [(better, worse) for _, better, worse in pairs if len(better) != len(worse)]
    longer = sum(len(better) > len(worse) for better, worse in differing)
    if not differing:
        return []
    share, (low, high) = longer / len(differing), wilson(longer, len(differing))
    if not ((share > TOLD_FROM and low > 0.5) or (share < 1 - TOLD_FROM and high < 0.5)):
        return []
    chosen, rejected = (median(len(pair[side]) for pair in differing) for side in (0, 1))
    count, which = (longer, "longer") if share > 0.5 else (len(differing) - longer, "shorter")
    bounds = (low, high) if share > 0.5 else (1 - high, 1 - low)
    part = count / len(differing)
    text = (
        f"choose the {which} answer: a share of {part:.3f} ({bounds[0]:.3f} to {bounds[1]:.3f}), medians "
        f"{chosen:.0f} and {rejected:.0f} characters. A model learns length first; see "
        "dpo_length_normalised and simpo"
    )
    figures = {"share_longer": share, "low": low, "high": high, "median_chosen": chosen, "median_rejected": rejected}
    return [Finding("length-bias", count, len(differing), text, (), True, figures)]
