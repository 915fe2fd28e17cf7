"""Topics by what they speak of: `why is my reward flat`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from postlude.facts.topic import Topic

COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does for from go goes going has have how i in is it its me mean means my not "
        "of on or our should so than that the then there this to too use used was what when where which who why will "
        "with would you your get gets got happens vs versus between difference compare compared explain",
    )
)
MEANS = {
    "improv": "flat stuck plateau stagnat rise rising increas better learn",
    "explod": "diverg blow explos",
    "infinite": "nan inf infinit finite",
    "memory": "oom gpu vram",
    "hack": "cheat gam game exploit",
    "long": "verbos length longer short",
    "rate": "lr",
    "time": "slow",
}
SAME: Mapping[str, str] = {said: one for one, several in MEANS.items() for said in several.split()}
"""Beginnings of words -> one word for all of them."""
ENDINGS = ("ations", "ation", "ings", "ing", "edly", "ies", "ed", "es", "er", "ly", "e", "s")
FIRST, SECOND = 6.0, 2.0
"""What a word counts in the name and its other names, and in the title, against one in the text."""
NAMED = 20.0
"""Added where the question holds the whole name."""
LEAST = 0.34
"""Share of the question that a topic must speak of."""


def content(question: str) -> str:
    """A question without the words that every question has: `what is dpo` asks for `dpo`."""
    words = [word.strip("?!.,'") for word in question.split()]
    asks = bool(words) and words[0].casefold() in ("what", "whats", "explain")
    return " ".join(word for word in words if word.casefold() not in COMMON or (word == "mean" and not asks))


def stems(text: str) -> list[str]:
    """Words without what is common and without their endings, synonyms joined."""
    words = re.findall(r"[a-z0-9]+", text.casefold().replace("'", ""))
    return [_stem(word) for word in words if word not in COMMON]


def _stem(word: str) -> str:
    if word in SAME:
        return SAME[word]
    stem = next((word[: -len(end)] for end in ENDINGS if word.endswith(end) and len(word) - len(end) > 2), word)
    return SAME.get(stem, stem)


def search(question: str, topics: Iterable[Topic], most: int = 8) -> list[Topic]:
    """Those that speak most of what is asked; rare words count more."""
    asked = dict.fromkeys(stems(question))
    pages = [(topic, _weights(topic)) for topic in topics]
    spread = Counter(stem for _, weights in pages for stem in weights)
    worth = {stem: math.log(1 + len(pages) / spread[stem]) for stem in asked if spread[stem]}
    least = LEAST * sum(worth.get(stem, math.log(1 + len(pages))) for stem in asked)
    scored: list[tuple[float, Topic]] = []
    for topic, weights in pages:
        seen = [stem for stem in worth if stem in weights]
        if seen and sum(worth[stem] for stem in seen) >= least:
            name = set(stems(topic.name))
            whole = NAMED if name and name <= set(seen) else 0.0
            scored.append((whole + sum(worth[stem] * weights[stem] for stem in seen), topic))
    scored.sort(key=lambda pair: -pair[0])
    return [topic for _, topic in scored[:most]]


def _weights(topic: Topic) -> dict[str, float]:
    weights: dict[str, float] = {}
    for text, weight in (
        (" ".join(filter(None, (topic.meaning, topic.healthy, topic.use, topic.bad_at))), 1.0),
        (topic.title, SECOND),
        (" ".join((topic.name, *topic.words)), FIRST),
    ):
        for stem in stems(text):
            weights[stem] = max(weight, weights.get(stem, 0.0))
    return weights
