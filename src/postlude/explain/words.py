"""Topics by what they speak of: `why is my reward flat`."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from postlude.facts.asked import SAID
from postlude.facts.methods import METHODS
from postlude.facts.practice import SYMPTOM
from postlude.facts.topic import Topic

COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by can do does for from go goes going has have how i in is it its me mean means my "
        "of on or our should so than that the then there this to too use used was what when where which who why will "
        "with would you your get gets got keeps keep happens vs versus between difference compare compared explain",
    )
)
MEANS = {
    "improv": "flat stuck plateau stagnat ris increas better learn",
    "explod": "diverg blow explos",
    "infinit": "nan inf finit",
    "memori": "oom gpu vram",
    "hack": "cheat gam exploit",
    "long": "verbos length short",
    "rate": "lr",
    "tim": "slow",
    "repeat": "repetition repetit",
    "grow": "growth",
    "not": "no dont doesnt isnt wont never cannot cant without",
}
SAME: Mapping[str, str] = {said: one for one, several in MEANS.items() for said in several.split()}
"""Beginnings of words -> one word for all of them."""
ENDINGS = ("ation", "ing", "edly", "ed", "er", "ly", "e")
DOUBLED = re.compile(r"([^aeiouls])\1$")
FIRST, SECOND = 6.0, 2.0
"""What a word counts in the name and its other names, and in the title, against one in the text."""
NAMED = 20.0
"""Added where the question holds the whole name."""
PHRASE = 8.0
"""What a word counts besides, in words of users that the question holds all of."""
SYMPTOMS_FIRST = 1.6
"""What a symptom counts more than others where a question asks why, or of what is the user's."""
ASKS_WHY = frozenset(("why", "my", "wrong"))
ADVICE = frozenset(("which", "should", "why", "many", "much", "best"))
SIDE_BY_SIDE = "methods"
"""The command that answers a question of two methods: it has no answer in the page of one."""
LEAST = 0.34
"""Share of the question that a topic must speak of, if it has no words of users in it."""


def content(question: str) -> str:
    """A question without the words that every question has: `what is dpo` asks for `dpo`."""
    words = [word.strip("?!.,'") for word in question.split()]
    asks = bool(words) and words[0].casefold() in ("what", "whats", "explain")
    return " ".join(word for word in words if word.casefold() not in COMMON or (word == "mean" and not asks))


def weighs(question: str) -> bool:
    """Whether it asks for advice, and not for what something is."""
    return not ADVICE.isdisjoint(question.casefold().split())


def methods_in(question: str) -> list[str]:
    """The methods that a question names, each once."""
    words = (word.strip("?!.,'()").casefold() for word in re.split(r"[\s,/]+", question))
    return list(dict.fromkeys(word for word in words if word in METHODS))


def stems(text: str) -> list[str]:
    """Words without what is common and without their endings, synonyms joined."""
    words = re.findall(r"[a-z0-9]+", text.casefold().replace("'", ""))
    return [_stem(word) for word in words if word not in COMMON]


def _stem(word: str) -> str:
    if word in SAME:
        return SAME[word]
    one = word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word
    one = one[:-1] if one.endswith("s") and not one.endswith("ss") and len(one) > 3 else one
    stem = next((one[: -len(end)] for end in ENDINGS if one.endswith(end) and len(one) - len(end) > 2), one)
    stem = stem[:-1] if DOUBLED.search(stem) else stem
    stem = stem[:-1] + "i" if stem.endswith("y") and len(stem) > 3 else stem
    return SAME.get(stem, stem)


@dataclass(frozen=True)
class Page:
    """A topic as the search sees it."""

    topic: Topic
    weights: Mapping[str, float]
    """Stem -> what it counts."""
    name: frozenset[str]
    phrases: tuple[frozenset[str], ...]
    """Stems of each of its other names, and of users' words for it."""


@dataclass(frozen=True)
class Index:
    """Topics to be searched."""

    topics: tuple[Topic, ...] = field(repr=False)

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        return tuple(_page(topic) for topic in self.topics)

    @cached_property
    def spread(self) -> Counter[str]:
        """Stem -> how many topics have it."""
        return Counter(stem for page in self.pages for stem in page.weights)

    def search(self, question: str, most: int = 8) -> list[Topic]:
        """Those that speak most of what is asked: rare words count more, and words of users for a topic most."""
        asked = frozenset(stems(question))
        unknown = math.log(1 + len(self.pages))
        worth = {stem: math.log(1 + len(self.pages) / self.spread[stem]) for stem in asked if self.spread[stem]}
        least = LEAST * sum(worth.get(stem, unknown) for stem in asked)
        why = not ASKS_WHY.isdisjoint(question.casefold().split())
        scored: list[tuple[float, Topic]] = []
        for page in self.pages:
            held = max((_sum(worth, phrase) for phrase in page.phrases if phrase <= asked), default=0.0)
            seen = [stem for stem in worth if stem in page.weights]
            if seen and (held or _sum(worth, seen) >= least):
                whole = NAMED if page.name and page.name <= asked else 0.0
                score = whole + PHRASE * held + sum(worth[stem] * page.weights[stem] for stem in seen)
                scored.append((score * (SYMPTOMS_FIRST if why and page.topic.kind == SYMPTOM else 1.0), page.topic))
        scored.sort(key=lambda pair: -pair[0])
        return _side_by_side(question, [topic for _, topic in scored], self.topics)[:most]


def _sum(worth: Mapping[str, float], several: Iterable[str]) -> float:
    return sum(worth[stem] for stem in several)


def _side_by_side(question: str, topics: list[Topic], every: Iterable[Topic]) -> list[Topic]:
    """With what compares methods first, and they themselves next, where a question names several."""
    named = methods_in(question)
    if len(named) < 2:
        return topics
    comparing = [topic for topic in every if topic.kind == "command" and topic.name == SIDE_BY_SIDE]
    asked = [topic for name in named for topic in every if topic.kind == "method" and topic.name == name]
    return [*comparing, *asked, *(topic for topic in topics if topic not in (*comparing, *asked))]


def _page(topic: Topic) -> Page:
    weights: dict[str, float] = {}
    said = (*topic.words, *SAID.get((topic.kind, topic.name), ()))
    for text, weight in (
        (" ".join(filter(None, (topic.meaning, topic.healthy, topic.use, topic.bad_at))), 1.0),
        (topic.title, SECOND),
        (" ".join((topic.name, *said)), FIRST),
    ):
        for stem in stems(text):
            weights[stem] = max(weight, weights.get(stem, 0.0))
    phrases = (frozenset(stems(words)) for words in said)
    return Page(topic, weights, frozenset(stems(topic.name)), tuple(phrase for phrase in phrases if phrase))


def search(question: str, topics: Iterable[Topic], most: int = 8) -> list[Topic]:
    """Those of some topics that speak most of what is asked."""
    return Index(tuple(topics)).search(question, most)
