"""Answers of several parts, options of a multiple choice, and words that only introduce a value."""

from __future__ import annotations

import re
from dataclasses import dataclass

from postlude.maths import prose
from postlude.maths.texts import TEXTS
from postlude.maths.wording import estimated, unestimated

_SEQUENCES = (tuple("abcdefgh"), tuple("123456789"), ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii"))
_JOIN = re.compile(r"[,;.]*(?:\s*\band)?[,;.]*$")
_MARK = re.compile(r"(?:^|(?<=[\s,;$}]))(?:[Pp]art\s+)?\(?([a-h]|[ivx]{1,4}|[1-9])\)\s*[:.]?\s*(?=\S)")
_STYLES = re.compile(
    r"\\(?:text(?:bf|rm|it|sf)?|math(?:rm|bf|sf|it)|mbox|bf|rm|boldsymbol)(?![A-Za-z])\s*|[{}$*_`]|\\[ ,;!]|~"
)
_OPTION = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:\(([A-J])\)|\[([A-J])\]|([A-J])(?![A-Za-z'^_=<>+*/|0-9-]))\s*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_ANOTHER = re.compile(
    r"(?<![A-Za-z\\])[A-J](?![A-Za-z'])(?!\s+[a-z]{2})"
    r"|^[\s:.,)]*(?:(?:is|was)\s+)?(?:wrong|incorrect|untrue|rejected|excluded|not)\b"
    r"|^(?:is|was|are)(?:n['’]t)?\b(?!\s+(?:the\s+)?(?:correct|right|best|answer))"
)
_LETTERS = re.compile(r"\(?[A-J]\)?(?:\s*(?:,|;|、|&|\band\b|\s)?\s*\(?[A-J]\)?)+")
_INTRODUCED = re.compile(
    rf"{TEXTS}\s*\{{([^{{}}]*(?::|=|\b(?:is|are|equals|be))\s*)\}}\s*:?\s*(?=[^\s:])(.+)",
    re.DOTALL | re.IGNORECASE,
)
_GENERIC = re.compile(
    r"(?:\s*(?:the|our|final|correct|answer|ans|result|value|number|is|equals|therefore|thus|so|hence)\b[\s:=,]*)+",
    re.IGNORECASE,
)
_HEDGED = re.compile(
    r"\b(?:not|never|or|less|more|most|least|than|anything|but|wrong|incorrect|if|between|about|one\s+of|near\w*|almost"
    r"|approx\w*|except|either|neither|maybe|perhaps|no|over|under|above|below|least|up\s+to|any|non)\b|n['’]t",
    re.IGNORECASE,
)
_NAMED_SPLIT = re.compile(r"\s*[,;]\s*(?:and\s+)?(?=[A-Za-z\\])")
_NAMED = re.compile(r"\s*((?:\\text\s*\{\s*)?[A-Za-z][A-Za-z ]{0,30}):\s*\}?\s+([-−$\\(\d].*)")


def parts(text: str) -> list[str] | None:
    """The parts of "(a) 3 (b) 5", in order; None where a text is no such sequence of two parts or more."""
    if ")" not in text:
        return None
    text = text.strip().lstrip("$ ").strip()
    first = _MARK.match(text)
    if not first:
        return None
    for sequence in _SEQUENCES:
        found = _sequence(text, sequence)
        if len(found) > 1 and all(found):
            return found
    return None


def _sequence(text: str, names: tuple[str, ...]) -> list[str]:
    places: list[re.Match[str]] = []
    for match in _MARK.finditer(text):
        if len(places) < len(names) and match.group(1) == names[len(places)]:
            places.append(match)
    if not places or places[0].start():
        return []
    ends = [*(m.start() for m in places[1:]), len(text)]
    return [_JOIN.sub("", text[m.end() : end].rstrip()) for m, end in zip(places, ends, strict=True)]


def bare_letter(text: str) -> str | None:
    """The letter of a text that is nothing else."""
    if len(text) > 40:
        return None
    clean = _STYLES.sub("", text).strip(" .:()[]")
    return clean if len(clean) == 1 and "A" <= clean <= "J" else None


def chosen(text: str) -> str | None:
    """The letter of the one option that an answer chooses: `C`, `(C) 12`, `Option C`; else None."""
    match = _OPTION.fullmatch(_STYLES.sub("", text).strip())
    if not match:
        return None
    letter, rest = next(filter(None, match.groups()[:3])), match.group(4)
    if not letter.isupper() or _ANOTHER.search(rest) or re.match(r"(?:or|and|,|/|&)(?!\w)", rest, re.IGNORECASE):
        return None
    marked = match.group(3) is None or not rest or rest[0] in ").:,"
    return letter if marked or not rest else None


def letters(text: str) -> tuple[str, bool] | None:
    """(the letters of several options, whether they are parted): `AC`, `A, C`, `C and A`; None for other text."""
    clean = _STYLES.sub("", text).strip(" .")
    if not re.fullmatch("[A-J]{2,10}", clean) and not _LETTERS.fullmatch(clean):
        return None
    found = re.findall("[A-J]", clean)
    parted = not clean.isalpha() or "and" in clean
    one_each = len({*found}) == len(found) and (parted or found == sorted(found))
    return ("".join(sorted(found)), parted) if one_each else None


def unlabelled(text: str) -> tuple[str, str]:
    """(words that introduce a value, the value): `\\text{The number is }12`. Words that hedge introduce nothing."""
    match = _INTRODUCED.fullmatch(text.strip())
    if not match or _HEDGED.search(match.group(1)) or re.search(r"[A-Za-z]\s*(?::|=|\bis\b)", match.group(2)):
        return "", text
    label = match.group(1).strip(" :=")
    return ("" if _GENERIC.fullmatch(label + " ") else label.lower()), match.group(2)


def named(text: str) -> str:
    """`J: 4 hr, S: 14 hr` as `J = 4 hr, S = 14 hr`: names of two values or more, each with a colon and a space."""
    pieces = _NAMED_SPLIT.split(text) if ": " in text else []
    if len(pieces) < 2 or not all(_NAMED.fullmatch(piece) for piece in pieces):
        return text
    return ", ".join(_NAMED.sub(r"\1 = \2", piece) for piece in pieces)


@dataclass(frozen=True)
class Pair:
    """Gold and answer on one footing. `gold_parts`, `answer_parts`: their parts, where one of them names parts."""

    gold: str
    answer: str
    gold_parts: tuple[str, ...] = ()
    answer_parts: tuple[str, ...] = ()


def footing(gold: str, answer: str) -> Pair:
    """What of two texts is compared: without what only introduces a value, as letters where options are meant."""
    if answer.isdecimal() and gold.isdecimal():
        return Pair(gold, answer)
    if estimated(gold):  # an answer that only estimates says less than a gold that does not
        gold, answer = unestimated(gold), unestimated(answer)
    gold_label, gold_value = unlabelled(gold) if "\\" in gold else ("", gold)
    answer_label, answer_value = unlabelled(answer) if "\\" in answer else ("", answer)
    if not gold_label or not answer_label or gold_label == answer_label:
        gold, answer = gold_value, answer_value
    said, value = prose.stated(gold) if " " in gold else ("", gold)
    if said:  # of what an answer states without the gold stating it, the words may be "the wrong answer is"
        answered = prose.stated(answer)
        gold, answer = (value, answered[1]) if answered[0] in ("", said) else (gold, answer)
    chosen_pair = _options(gold, answer) if any("A" <= c <= "J" for c in gold) else None
    if chosen_pair:
        return chosen_pair
    gold, answer = named(gold), named(answer)
    gold_parts, answer_parts = parts(gold), parts(answer)
    return Pair(gold, answer, tuple(gold_parts or ()), tuple(answer_parts or ()))


def _options(gold: str, answer: str) -> Pair | None:
    several, answered = letters(gold), letters(answer)
    if several and answered and several[1] != answered[1]:  # AC and A, C; but ABC is no ACB
        return Pair(", ".join(several[0]), ", ".join(answered[0]))
    letter = chosen(answer) if bare_letter(gold) else None
    return Pair(bare_letter(gold) or gold, letter) if letter else None
