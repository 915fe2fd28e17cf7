"""The program in an answer: its last Python block, after the thinking."""

from __future__ import annotations

import re
from collections.abc import Iterator

THOUGHT, THINKING = "</think>", "<think>"
LANGUAGES = ("python", "py", "python3")
_FENCE = re.compile(r"[ ]{0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)")


def program_of(text: str, fence: str = "required") -> str | None:
    """The last closed block marked as Python, else the last without a mark; None where there is none.

    Only what follows the last `</think>` is read; thinking that never ends holds no answer. `fence` optional: without
    any block the whole answer is the program.
    """
    _, closed, answer = text.rpartition(THOUGHT)
    if not closed and THINKING in text:
        return None
    blocks = list(_blocks(answer))
    for languages in (LANGUAGES, ("",)):
        fitting = [code for language, code in blocks if language in languages and code.strip()]
        if fitting:
            return fitting[-1]
    whole = fence == "optional" and not _FENCE.search(answer) and answer.strip()
    return answer if whole else None


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(language in lower case, code) of each block that is closed by a fence like the one that opened it."""
    inside: list[str] | None = None
    mark = language = ""
    for line in text.split("\n"):
        fence = _FENCE.fullmatch(line.rstrip())
        if inside is None:
            if fence:
                inside, mark, language = [], fence[1], (fence[2].split() or [""])[0].lower()
        elif fence and not fence[2].strip() and fence[1].startswith(mark):
            yield language, "\n".join(inside) + "\n"
            inside = None
        else:
            inside.append(line)
