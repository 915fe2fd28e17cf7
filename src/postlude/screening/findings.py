"""What a file as a whole shows, each kind counted, with the places of the first examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

EXAMPLES = 3
"""Places that are named of each kind."""


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was seen in some rows."""

    code: str
    """Stable, for programs: an entry of `KINDS`."""
    count: int
    of: int
    """Rows that were looked at."""
    text: str
    """What these rows are or hold, as a sentence goes on after `3 of 10 rows`."""
    places: tuple[str, ...] = ()
    """Of the first."""
    warning: bool = True
    """Whether it is likely to spoil a run; else it is good to know."""
    figures: dict[str, float] = field(default_factory=dict[str, float])
    rows: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Where there are several reasons: reason -> places of all its rows."""

    @property
    def sentence(self) -> str:
        rows = "row" if self.of == 1 else "rows"
        shown = "; ".join(self.places)
        more = ", ..." if self.count > len(self.places) else ""
        return f"{self.count:,} of {self.of:,} {rows} {self.text}" + (f" ({shown}{more})" if shown else "")


KINDS = {
    "duplicate": "A row stands in the file more than once.",
    "near-duplicate": "Prompts that differ by a few words.",
    "framed": "Rows of nothing but words that many rows share.",
    "same-prompt": "A prompt is asked more than once.",
    "two-golds": "One prompt has two right answers.",
    "conflict": "One pair prefers A to B, another B to A.",
    "leak": "A held-out prompt is also trained on.",
    "near-leak": "A held-out prompt is nearly one that is trained on.",
    "system-leak": "A held-out prompt is trained on under another system message.",
    "length-bias": "The longer answer is mostly the chosen one.",
    "constant-gold": "Every row has the same right answer.",
    "answer-in-prompt": "A prompt holds its own answer.",
    "cut-off": "An answer does not seem to end.",
    "control-tokens": "Text holds what tokenizers read as control tokens.",
    "mojibake": "Text was read in another encoding than it was written in.",
    "replacement": "Text holds the character that stands for those which could not be read.",
    "invisible": "Text holds characters that nobody sees.",
    "control-characters": "Text holds control characters.",
    "unreadable-gold": "A right answer that no answer could be compared with.",
    "text-only-gold": "A right answer is compared as text alone.",
    "turn-order": "The turns of a conversation do not take turns.",
    "other-columns": "Columns that no format reads.",
}
"""Code -> what it means, in one line."""


def seen_in(
    code: str, places: Sequence[str], of: int, text: str, warning: bool = True, **figures: float
) -> list[Finding]:
    """A finding of the rows at these places; none where there are none."""
    if not places:
        return []
    return [Finding(code, len(places), of, text, tuple(places[:EXAMPLES]), warning, figures)]
