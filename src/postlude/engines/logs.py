"""Logs of processes that are started here: a file for each start, and what its end says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from postlude.errors import printable

READ = 64 << 10
"""Bytes of a log's end that are looked at."""


def new_log(folder: Path, name: str) -> tuple[Path, IO[bytes]]:
    """A log that is not there yet: of every start its own."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = folder / (f"{name}.log" if number == 1 else f"{name}-{number}.log")
        try:
            return path, path.open("xb")
        except FileExistsError:
            number += 1


def last_lines(log: Path) -> list[str]:
    """The lines at the end of a log, oldest first, without empty ones and without what drives a terminal."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - READ))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [printable(line.rstrip())[:1000] for line in text.splitlines() if line.strip()]
