"""The bytes of a run folder, and what differs between two."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

CLOCK = {"timings.jsonl", "lock", "live.json"}
"""Files that hold wall-clock values or the number of a process: no part of what is compared."""
Bytes = Mapping[str, str]
"""Path in the folder -> hash of a file, target of a link, or `folder`."""


def bytes_of(folder: Path, leaving_out: frozenset[str] = frozenset()) -> dict[str, str]:
    """What every file of a folder holds, but for those with wall-clock values."""
    result: dict[str, str] = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            inside = str(path.relative_to(folder))
            if inside in CLOCK or inside in leaving_out:
                continue
            if name.endswith((".sqlite-wal", ".sqlite-shm")):
                continue
            if path.is_symlink():
                result[inside] = f"-> {path.readlink()}"
            else:
                result[inside] = "folder" if path.is_dir() else hashlib.sha256(_content(path)).hexdigest()
    return result


PAID = re.compile(rb'"judge/(calls|cached|tokens|cost)": [^,}]+')
"""Figures that say what a judge was asked in truth: a question answered before a kill is not asked again."""


def unpaid(folder: Path, bytes_: Bytes) -> dict[str, str]:
    """The same without what a judge was paid for, and the manifests that hold its hash."""
    result = {name: value for name, value in bytes_.items() if not name.endswith("trainer/manifest.json")}
    events = PAID.sub(b"", (folder / "events.jsonl").read_bytes())
    return {**result, "events.jsonl": hashlib.sha256(events).hexdigest()}


def _content(path: Path) -> bytes:
    """The bytes of a file; of a judge's cache its rows, which the database lays out as it likes."""
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as cache:
        return repr(cache.execute("SELECT key, value FROM cache ORDER BY key").fetchall()).encode()


def differences(one: Bytes, other: Bytes) -> list[str]:
    """What is in one only, in the other only, or not the same, sorted."""
    return sorted(
        f"{name} ({'differs' if name in one and name in other else 'missing' if name in one else 'new'})"
        for name in {*one, *other}
        if one.get(name) != other.get(name)
    )
