"""What stands in texts and is rarely meant: marks of other encodings, invisible characters, control tokens, no end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from postlude.errors import visible
from postlude.screening.entries import Entry
from postlude.screening.findings import EXAMPLES, Finding

CONTROL_TOKEN = re.compile(
    r"<\|[A-Za-z][\w ]{1,30}\|>|</?s>|<(?:bos|eos|pad|unk)>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>"
    r"|<\uff5c[^\uff5c]{1,30}\uff5c>"
)
"""As the common families of tokenizers write them; which are those of one model says `--model`."""
MOJIBAKE = re.compile(
    r"[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac[\u2122\u0153\u009d\u00a6\u201c\u201d\u02dc]|\u00ef\u00bb\u00bf"
)
"""UTF-8 that was read as Windows-1252 or Latin-1."""
INVISIBLE = re.compile(r"[\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
"""Zero width, and marks that turn the direction of writing; those that join letters are left to the languages that need
them."""
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ENDS = re.compile(r"[.!?…。！？:;\"'”’»)\]}>`|*_~$#%\d\\=/+-]\s*\Z|[^\w\s,(\[{]\s*\Z")
LONG = 25
"""Words from which on an answer is looked at for its end."""
_SHOWN = 20


def of_texts(entries: Sequence[Entry]) -> list[Finding]:
    """Rows whose prompt or answers hold such things."""
    looked = (
        ("control-tokens", CONTROL_TOKEN, _holds_bracket, "hold what tokenizers read as control tokens"),
        ("mojibake", MOJIBAKE, _beyond_ascii, "hold text that was read in another encoding (mojibake)"),
        ("replacement", re.compile("\ufffd"), _beyond_ascii, "hold U+FFFD, which stands for what could not be read"),
        ("invisible", INVISIBLE, _beyond_ascii, "hold characters that nobody sees"),
        ("control-characters", CONTROLS, _any, "hold control characters"),
    )
    return [finding for one in looked for finding in _matches(*one, entries)]


def _holds_bracket(text: str) -> bool:
    return "<" in text or "[" in text


def _beyond_ascii(text: str) -> bool:
    return not text.isascii()


def _any(text: str) -> bool:
    return True


def _matches(
    code: str, pattern: re.Pattern[str], worth: Callable[[str], bool], text: str, entries: Iterable[Entry]
) -> list[Finding]:
    count, of, shown = 0, 0, list[str]()
    for entry in entries:
        of += 1
        match = next((m for m in map(pattern.search, filter(worth, entry.texts)) if m), None)
        if match:
            count += 1
            if len(shown) < EXAMPLES:
                shown.append(f"{entry.place}: {_named(match)}")
    return [Finding(code, count, of, text, tuple(shown))] if count else []


def _named(match: re.Match[str]) -> str:
    """What was met, as it can be seen."""
    seen = match.group()
    if len(seen) == 1 and not seen.isprintable():
        return f"U+{ord(seen):04X}"
    return repr(visible(seen[:_SHOWN]))


def cut_off(entries: Sequence[Entry]) -> list[Finding]:
    """Answers of some length that stop within a sentence: they teach not to end, or to end anywhere."""
    answered = [e for e in entries if e.answers]
    places = [e.place for e in answered if any(map(stops_short, e.answers))]
    if not places:
        return []
    text = (
        f"have an answer of {LONG} words or more that does not seem to end: it stops within a sentence or a code block"
    )
    return [Finding("cut-off", len(places), len(answered), text, tuple(places[:EXAMPLES]))]


def stops_short(answer: str) -> bool:
    """Whether a text of some length ends in the middle of a sentence, or with a code block open."""
    if len(answer.split(None, LONG)) <= LONG:
        return False
    if answer.count("```") % 2:
        return True
    last = answer.rstrip().rpartition("\n")[2]
    if len(last.split()) < 4 or not answer.isascii():  # a heading, an item, a signature; languages of other marks
        return False
    return not _ENDS.search(last)
