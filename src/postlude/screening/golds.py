"""What the right answers of a file show together: two for one prompt, always the same, given away by the prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from postlude.errors import visible
from postlude.screening.entries import Entry, normalised
from postlude.screening.findings import EXAMPLES, Finding, seen_in

FEWEST = 5
"""Rows from which on one answer for all of them means something."""
TELLING = 8
"""Characters from which on a right answer that stands in its prompt is no accident."""
_GIVES_AWAY = r"(?:####|\\boxed\{{|answer\s*(?:is|=|:))\s*\$?{gold}(?!\w|\.\d)"


def of_golds(entries: Sequence[Entry]) -> list[Finding]:
    with_gold = [(e, gold_text(e.gold)) for e in entries if e.gold is not None]
    return [*_two_golds(with_gold), *_constant(with_gold), *_in_prompt(with_gold), *_answer_in_prompt(entries)]


def gold_text(gold: Any) -> str:
    """A right answer as text, equal ones alike: 42, 42.0 and "42 " are."""
    if isinstance(gold, float) and gold.is_integer():
        gold = int(gold)
    text = gold if isinstance(gold, str) else json.dumps(gold, sort_keys=True, ensure_ascii=False, default=str)
    return normalised(text)


def _two_golds(entries: Sequence[tuple[Entry, str]]) -> list[Finding]:
    first: dict[str, tuple[str, str]] = {}
    count, shown = 0, list[str]()
    for entry, gold in entries:
        place, other = first.setdefault(normalised(entry.prompt), (entry.place, gold))
        if gold != other:
            count += 1
            shown.append(f"{entry.place}: {visible(gold[:30])!r}, {place}: {visible(other[:30])!r}")
    text = "have another right answer than an earlier row of the same prompt; one of the two is wrong"
    return [Finding("two-golds", count, len(entries), text, tuple(shown[:EXAMPLES]))] if count else []


def _constant(entries: Sequence[tuple[Entry, str]]) -> list[Finding]:
    golds = {gold for _, gold in entries}
    if len(golds) != 1 or len(entries) < FEWEST:
        return []
    text = (
        f"have the same right answer, {visible(next(iter(golds))[:30])!r}: a policy would learn to say it to everything"
    )
    return [Finding("constant-gold", len(entries), len(entries), text)]


def _in_prompt(entries: Sequence[tuple[Entry, str]]) -> list[Finding]:
    """Long golds that stand in the prompt, and short ones that it says are the answer."""
    places = [e.place for e, gold in entries if gold and _gives_away(normalised(e.prompt), gold)]
    return seen_in("answer-in-prompt", places, len(entries), "have a prompt that holds its own right answer")


def _gives_away(prompt: str, gold: str) -> bool:
    if gold not in prompt:
        return False
    long = len(gold) >= TELLING and (" " in gold or not gold.isalpha())
    return long or re.search(_GIVES_AWAY.format(gold=re.escape(gold)), prompt) is not None


def _answer_in_prompt(entries: Sequence[Entry]) -> list[Finding]:
    """Demonstrations that the prompt already shows."""
    single = [e for e in entries if len(e.answers) == 1 and e.prompt]
    places = [e.place for e in single if len(e.answers[0].split()) >= TELLING and e.answers[0].strip() in e.prompt]
    return seen_in("answer-in-prompt", places, len(single), "have a prompt that holds the whole answer")
