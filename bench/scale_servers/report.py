"""What a part of the study found: a table, and claims that hold or not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

WIDTH = 170
"""Columns that a table may have, however narrow the terminal is."""


@dataclass(frozen=True)
class Claim:
    """One sentence, whether it holds, and by which figure."""

    text: str
    holds: bool
    figure: str


@dataclass
class Report:
    """Of one part."""

    part: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    claims: list[Claim] = field(default_factory=list[Claim])
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether every claim does; of none, no."""
        return bool(self.claims) and all(claim.holds for claim in self.claims)

    def claim(self, text: str, holds: bool, figure: str) -> None:
        """Add one."""
        self.claims.append(Claim(text, holds, figure))


def show(console: Console, report: Report) -> None:
    """For people."""
    table = Table(box=box.SIMPLE, title=f"{report.part} ({report.seconds:.0f} s)", title_justify="left")
    for head in report.heads:
        table.add_column(head, no_wrap=True)
    for row in report.rows:
        table.add_row(*row)
    console.print(table)
    for claim in report.claims:
        mark = "holds   " if claim.holds else "DOES NOT HOLD"
        console.print(f"{mark} {claim.text}: {claim.figure}", markup=False, soft_wrap=True)


def save(file: Path, reports: Sequence[Report]) -> None:
    """As JSON."""
    file.write_text(json.dumps([asdict(report) | {"holds": report.holds} for report in reports], indent=1) + "\n")
