"""Tables of what became of the trials: for the terminal, and for docs/reliability.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.faults.outcome import GOOD, KINDS

Row = dict[str, Any]
DOCS = Path(__file__).parents[2] / "docs"
RECORD, PAGE = DOCS / "faults.json", DOCS / "reliability.md"
BEGIN, END = "<!-- measured: {name} -->", "<!-- end of {name} -->"
HEADS: Mapping[str, Sequence[str]] = {
    "faults": ("family", "what is done", "trials", *KINDS),
    "damage": ("family", "run", "what is done", "trials", *KINDS),
    "kills": ("family", "trials", "kills", "of them in a resume", *KINDS),
    "mutations": ("part of the state", "caught in", "what differs then"),
}


def counts(rows: Sequence[Row], *keys: str) -> list[list[str]]:
    """A line for each combination of keys: trials, and how many ended in each way."""
    groups: dict[tuple[str, ...], Counter[str]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[key]) for key in keys), Counter())[row["kind"]] += 1
    lines = [[*key, str(total.total()), *(str(total[kind]) for kind in KINDS)] for key, total in groups.items()]
    whole = Counter(row["kind"] for row in rows)
    return [*lines, ["all", *[""] * (len(keys) - 1), str(whole.total()), *(str(whole[kind]) for kind in KINDS)]]


def of_kills(rows: Sequence[Row]) -> list[list[str]]:
    """A line per family."""
    names = list(dict.fromkeys(row["family"] for row in rows))
    lines: list[list[str]] = []
    for name in [*names, "all"]:
        chosen = [row for row in rows if name in ("all", row["family"])]
        kinds = Counter(row["kind"] for row in chosen)
        kills, resumes = (str(sum(row[key] for row in chosen)) for key in ("kills", "resumes"))
        lines.append([name, str(len(chosen)), kills, resumes, *(str(kinds[kind]) for kind in KINDS)])
    return lines


def of_mutations(rows: Sequence[Row]) -> list[list[str]]:
    """A line per part: the families in which leaving it out is seen, and what then differs in the first of them."""
    lines: list[list[str]] = []
    for part in dict.fromkeys(row["part"] for row in rows):
        caught = [row for row in rows if row["part"] == part and row["caught"]]
        families = f"{len(caught)} of {sum(row['part'] == part for row in rows)}"
        lines.append([part, families, f"{caught[0]['family']}: {caught[0]['how']}" if caught else "-"])
    return lines


def lines_of(name: str, rows: Sequence[Row]) -> list[list[str]]:
    """The cells of a table."""
    if name == "kills":
        return of_kills(rows)
    if name == "mutations":
        return of_mutations(rows)
    return counts(rows, "family", "what") if name == "faults" else counts(rows, "family", "part", "what")


def shown(name: str, lines: Sequence[Sequence[str]], console: Console) -> None:
    """A table on the terminal."""
    table = Table(box=box.SIMPLE_HEAD, title=name)
    for head in HEADS[name]:
        numeric = head in KINDS or head in ("trials", "kills", "of them in a resume", "caught in")
        table.add_column(head, justify="right" if numeric else "left", style="red" if head in KINDS[2:] else None)
    for line in lines:
        table.add_row(*("" if cell == "0" else cell for cell in line), end_section=line is lines[-2])
    console.print(table)


def bad(rows: Sequence[Row], console: Console, most: int = 40) -> int:
    """Print what went wrong; how many trials."""
    wrong = [row for row in rows if is_wrong(row)]
    for text, count in Counter(_told(row) for row in wrong).most_common(most):
        console.print(f"{count:4} {text}", markup=False, highlight=False, soft_wrap=True)
    return len(wrong)


def is_wrong(row: Row) -> bool:
    """Whether a trial ended as none may."""
    kind = row.get("kind", "same")
    return kind not in GOOD and not (kind == "said" and row.get("spare", False))


def _told(row: Row) -> str:
    return " | ".join(str(row[key]) for key in ("family", "part", "fault", "where", "kind", "detail") if key in row)


def keep(name: str, lines: Sequence[Sequence[str]], command: str) -> None:
    """Write a table into docs/faults.json and docs/reliability.md."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[name] = {"command": command, "lines": [list(line) for line in lines]}
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    if PAGE.exists():
        PAGE.write_text(filled(PAGE.read_text(), record))


def filled(page: str, record: Mapping[str, Any]) -> str:
    """The page with the tables of the record between its marks."""
    for name, table in record.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        if begin in page:
            before, _, rest = page.partition(begin)
            page = f"{before}{begin}\n\n{markdown(name, table)}\n\n{end}{rest.partition(end)[2]}"
    return page


def markdown(name: str, table: Mapping[str, Any]) -> str:
    """A table as it stands in the page."""
    heads = HEADS[name]
    rows = [heads, ["---"] * len(heads), *table["lines"]]
    return "\n".join([f"`{table['command']}`", "", *("| " + " | ".join(row) + " |" for row in rows)])
