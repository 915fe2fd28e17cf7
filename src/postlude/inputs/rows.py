"""Data sets row by row: a short hash of each as the reader understood it, kept in the run to tell what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from postlude.data import Prompt
from postlude.inputs.prints import Print, as_text, of_lines
from postlude.prepared import Prepared
from postlude.words import counted


@dataclass(frozen=True)
class Rows:
    """The rows of one data set that are used, in their order."""

    kind: str
    """`data`, `eval`, `sheet`, `pretrain` or `pretrain-eval`."""
    name: str
    """Of the set among those of its kind."""
    number: int
    """The same, as a number."""
    rows: Sequence[Prompt]

    @property
    def hashes(self) -> list[str]:
        """Of each row: the hash of its values, which is its id; a repeated one has its count behind it."""
        return [row.id for row in self.rows]

    @property
    def file(self) -> str:
        """The list's name in the run's folder of them."""
        return f"{self.kind}{f'-{self.number}' if self.number else ''}.txt"

    @property
    def text(self) -> str:
        """What the list says."""
        return as_text(self.hashes)

    @property
    def fingerprint(self) -> Print:
        return {**of_lines(self.hashes), "list": self.file}


def data_sets(prepared: Prepared) -> Iterator[Rows]:
    """Every data set of a run."""
    trained = prepared.prompts or [group.prompt for group in prepared.items]
    start = 0
    for number, share in enumerate(prepared.shares):
        yield Rows("data", share.name if len(prepared.shares) > 1 else "data", number, trained[start:][: share.size])
        start += share.size
    alone = isinstance(prepared.recipe.data.eval, str)
    for number, one in enumerate(prepared.eval_sets):
        if one.rows:
            yield Rows("eval", "eval" if alone else one.name, number, one.rows)
    named = prepared.recipe.evaluate.sheet and prepared.recipe.evaluate.sheet.path
    others = (
        ("sheet", prepared.sheet if named else []),
        ("pretrain", [group.prompt for group in prepared.pretrain]),
        ("pretrain-eval", [group.prompt for group in prepared.pretrain_held_out]),
    )
    yield from (Rows(kind, kind, 0, rows) for kind, rows in others if rows)


def difference(before: Sequence[str], now: Rows) -> str:
    """What happened to the rows of a data set, in words: `3 of 400 rows differ (first data.jsonl line 17)`."""
    hashes = now.hashes
    gone, new = Counter(before) - Counter(hashes), Counter(hashes) - Counter(before)
    if not gone and not new:
        first = next(i for i, (old, one) in enumerate(zip(before, hashes, strict=True)) if old != one)
        return f"its {counted(len(before), 'row')} stand in another order (first {now.rows[first].place})"
    differ = min(gone.total(), new.total())
    said: list[str] = []
    if differ:
        said.append(f"{differ} of {counted(len(before), 'row')} differ{'s' if differ == 1 else ''}")
    if new.total() > differ:
        said.append(_were(new.total() - differ, "added"))
    if gone.total() > differ:
        said.append(_were(gone.total() - differ, "taken out"))
    place = next((row.place for row in now.rows if row.id in new), "")
    place = place or f"row {next(i for i, one in enumerate(before, 1) if one in gone)} of those it began with"
    return f"{', '.join(said)} (first {place})"


def _were(count: int, what: str) -> str:
    return f"{count} {'was' if count == 1 else 'were'} {what}"
