"""What `postlude explain` says of one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One page. A field is None where there is nothing to say."""

    name: str
    """As it is asked for; unique within its kind."""
    title: str
    """In a few words, for lists."""
    kind: str
    """`figure`, `key`, `method`, `concept`, ... (`explain.topics.KINDS`)."""
    meaning: str
    """Whole sentences; an empty line parts paragraphs."""
    unit: str | None = None
    formula: str | None = None
    """Lines as they are to be printed."""
    healthy: str | None = None
    """What is usual, what is not, and what to do then."""
    use: str | None = None
    """When it is the thing to take, or what to do with it."""
    bad_at: str | None = None
    source: str | None = None
    """A section of docs/specification.md, a paper, or a page of the documentation."""
    place: str | None = None
    """Where postlude does it: `file.py:symbol` of the package, which a test finds."""
    see: tuple[str, ...] = ()
    """Names of other topics."""
    words: tuple[str, ...] = ()
    """Other names of it, and what people say who look for it."""
    shows: tuple[str, ...] = ()
    """Commands that show it on the user's own model, data or run."""
