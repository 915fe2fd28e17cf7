"""Where a response stops thinking and answers, by the marks that families of models write."""

from __future__ import annotations

import re

_WORDS = r"(?:\w{1,20}:)?(?:think|thinking|thoughts?|reasoning|reason|scratchpad)"
MARKS = (
    (rf"<\|?\s*{_WORDS}(?:\s[^<>\n]{{0,80}})?\s*\|?>", rf"<\|?/\s*{_WORDS}\s*\|?>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    (r"◁\s*think\s*▷", r"◁\s*/\s*think\s*▷"),
    (rf"<\|begin_of_{_WORDS}\|>", rf"<\|end_of_{_WORDS}\|>"),
    (r"<\|channel\|>analysis<\|message\|>", r"<\|channel\|>final<\|message\|>"),
)
"""(opens, closes), as patterns: Qwen, DeepSeek and Seed; Magistral; Kimi; OpenThinker and GLM; gpt-oss."""
OPENS = re.compile("|".join(opening for opening, _ in MARKS), re.IGNORECASE)
CLOSES = re.compile("|".join(closing for _, closing in MARKS), re.IGNORECASE)


def end_of(text: str) -> int:
    """Just after the last mark that closes thinking; 0 where there is none."""
    end = 0
    for mark in CLOSES.finditer(text):
        end = mark.end()
    return end


def spoken(text: str) -> str | None:
    """What follows the thinking; None where thinking never ends, as in a response that was cut off."""
    answer = text[end_of(text) :]
    opened = OPENS.search(answer)
    if opened and not answer[opened.end() :].strip():  # a mark at the very end opens nothing
        return answer[: opened.start()] if answer[: opened.start()].strip() else None
    return None if opened else answer


def tail(text: str, after: str | None) -> str | None:
    """What a response answers: what follows its thinking, and in that the last `after`; None where it says none.

    `after` may be the mark that closes thinking.
    """
    if spoken(text) is None:
        return None
    if after is None:
        return spoken(text)
    _, mark, rest = text.rpartition(after)
    return rest if mark and not CLOSES.search(rest) else None
