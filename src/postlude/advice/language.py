"""Which language texts are in, as far as letters and a few small words tell."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

SMALL = {
    "English": "the and of to is in that it for you with this are what how not be on as was have from your i can my do",
    "German": "der die das und ist nicht ein eine zu den von mit sich auf für wie ich du im auch es wird sind dem was",
    "French": "le la les et est un une des du que pour dans ce il vous ne pas sur qui au avec je comment sont quelle",
    "Spanish": "el los las y es un una de que en por para con no se del su como lo qué cómo son está cuál más al",
    "Italian": "il lo gli e è un una di che in per con non si del come della sono cosa nel i le qual più quanto",
    "Portuguese": "o os as e é um uma de que em por para com não se do da como são qual mais na no você eu quanto",
    "Dutch": "de het een en is van ik je dat niet in op te zijn voor met die wat hoe aan er maar om ook bij",
    "Polish": "i w na z do nie jest to się że jak co dla po od czy są ile jaki jaka który przez o",
    "Turkish": "bir ve bu ne için ile de da mi çok nasıl olan var gibi en kaç hangi daha",
}
"""Languages of Latin letters and their commonest words."""
SCRIPTS = {
    "CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "CYRILLIC": "Russian or kin",
    "ARABIC": "Arabic or kin", "DEVANAGARI": "Hindi or kin", "GREEK": "Greek", "HEBREW": "Hebrew", "THAI": "Thai",
    "BENGALI": "Bengali", "TAMIL": "Tamil",
}  # fmt: skip
_WORDS = {name: set(words.split()) for name, words in SMALL.items()}
_SEEN = 60_000
"""Letters that are looked at."""


def language_of(texts: Sequence[str]) -> str:
    """The language of most of these texts; English where nothing tells."""
    sample = "\n".join(text[:400] for text in texts)[:_SEEN]
    letters = [letter for letter in sample if letter.isalpha()]
    if not letters:
        return "English"
    scripts = Counter(unicodedata.name(letter, "").split(" ")[0] for letter in letters if not letter.isascii())
    foreign = {script: n for script, n in scripts.items() if script in SCRIPTS}
    if sum(foreign.values()) > 0.3 * len(letters):
        if {"HIRAGANA", "KATAKANA"} & {*foreign}:
            return "Japanese"
        return SCRIPTS[max(foreign, key=lambda script: foreign[script])]
    said = re.findall(r"[^\W\d_]+", sample.casefold())
    votes = {name: sum(word in words for word in said) for name, words in _WORDS.items()}
    best = max(votes, key=lambda name: votes[name])
    return best if votes[best] > 1.25 * votes["English"] + 2 else "English"


def letters_per_token(language: str) -> float:
    """A rough rule, for where no tokenizer says."""
    dense = {"Chinese": 1.3, "Japanese": 1.3, "Korean": 1.5, "Thai": 2.0}
    latin = {name: 3.2 for name in SMALL if name != "English"}
    return {**dense, **latin, "English": 4.0}.get(language, 2.2)
