"""Columns that may hold feedback and that nothing names: never passed over, as they would make another advice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from postlude.advice.evidence import Unnamed
from postlude.advice.judging import is_flag, labels_in
from postlude.advice.names import column_of
from postlude.advice.shapes import Feedback
from postlude.advice.wording import is_beside, kinds_of, sided
from postlude.sources.layouts import Layout, layout_of, way_out
from postlude.sources.table import Row

WORDS = 3
"""Of a text from which on it may be what somebody wrote or judged, and not a name or a date."""
DENSE = 12
"""Letters that count as so many words, for scripts without spaces."""
SHARE = 0.2
"""Of rows whose text makes a column one of texts."""
SHOWN, CUT = 2, 48


def unnamed_in(path: str, rows: Sequence[Row], kinds: set[Feedback], used: set[str]) -> Unnamed | None:
    """The columns of alike rows without which nothing should be advised; None where there are none. `kinds`: what was
    recognised; `used`: the columns that were read for it."""
    values = [row.values for row in rows]
    layout = layout_of(values[0])
    if layout is not None:
        return _of_layout(path, rows, layout)
    free = [name for name in dict.fromkeys(name for row in values for name in row) if name not in used]
    texts = [name for name in free if not is_beside(name) and is_wordy(values, name)]
    labels = [name for name in labels_in(values, free) if name not in texts]
    if kinds == {"text"}:
        texts, labels = [name for name in texts if "remark" not in kinds_of(name)], judging(values, labels)
    elif kinds <= {"answers"} and kinds:
        texts, labels = [], judging(values, labels)
    elif kinds - {"prompts"}:
        return None
    if not texts and not (labels and kinds):
        return None
    prompt = next((name for name in used if name in values[0]), None) if kinds else None
    shown = tuple((name, _examples(values, name)) for name in [*texts, *labels])
    return Unnamed(path, len(rows), shown, _guess(prompt, texts, labels))


def _of_layout(path: str, rows: Sequence[Row], layout: Layout) -> Unnamed:
    values = [row.values for row in rows]
    shown = tuple((name, _examples(values, name)) for name in layout.needs)
    return Unnamed(path, len(rows), shown, way_out=way_out(values[0]).strip(), layout=layout.name)


def judging(rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    """Of columns with few values, those that judge by their name or by what stands in them."""
    return [name for name in labels if is_flag(rows, name) or "judged" in kinds_of(name)]


def is_wordy(rows: Sequence[Mapping[str, Any]], column: str, share: float = SHARE) -> bool:
    """Whether a column holds text of several words, be it in lists."""
    return sum(any(map(_is_wordy, _texts(row.get(column)))) for row in rows) >= max(1, share * len(rows))


def _is_wordy(text: str) -> bool:
    if "://" in text and len(text.split()) == 1:
        return False
    return len(text.split()) >= WORDS or (
        len(text) >= DENSE and sum(letter > "\u2fff" for letter in text) > len(text) / 2
    )


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def _examples(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[str, ...]:
    said = (row.get(column) for row in rows)
    texts = (x if isinstance(x, str) else json.dumps(x, ensure_ascii=False, default=str) for x in said if x is not None)
    short = (" ".join(text.split()) for text in texts)
    seen: dict[str, None] = {}
    for text in short:
        seen[text if len(text) <= CUT else f"{text[:CUT]}..."] = None
        if len(seen) == SHOWN:
            break
    return tuple(seen)


def _guess(prompt: str | None, texts: Sequence[str], labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names for these columns, as they may be meant."""
    if prompt is None:
        prompt = column_of("prompt", texts) or texts[0]
    others = [name for name in texts if name != prompt]
    both = next(iter(sided(others)), (others[0], others[1]) if len(others) > 1 else None)
    label = next((name for name in labels if name != prompt), None)
    names = {"prompt": prompt}
    if both and label:
        names |= {"first": both[0], "second": both[1], "preference": label}
    elif both:
        better, worse = column_of("chosen", others), column_of("rejected", others)
        first = better or next(name for name in both if name != worse)
        names |= {"chosen": first, "rejected": worse or next(name for name in both if name != first)}
    elif others:
        names |= {"completion": others[0]} | ({"label": label} if label else {})
    elif label:
        names |= {"answer": label}
    return tuple(names.items())
