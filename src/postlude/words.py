"""Numbers with their nouns."""

from __future__ import annotations


def counted(number: int, noun: str, several: str | None = None) -> str:
    """`1 row`, `2 rows`, `1,000 rows`; `several` where the plural is not the noun with an s."""
    return f"{number:,} {noun if number == 1 else several or noun + 's'}"
