"""The files of a run as they lie there: lines of JSON, numbered rollouts."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any, cast

from postlude import plain_json

Row = dict[str, Any]
"""One line of a file of JSON lines."""
Numbered = list[tuple[int, Path]]
SUMS = "SHA256SUMS"
"""In `rollouts/`: the SHA-256 of every file, as `sha256sum` writes and checks them."""
PUBLISHED = "published.jsonl"
"""Of a run with servers: the step that each version of its weights is of. Never cut back."""
RANKS = "ranks"
"""Of a run with several trainers: what its ranks said, and Ray."""
SERVED, LOGS = "served", "servers"
"""Of a run with servers: folders of the newest versions of its weights, and of what the servers said."""


def regular(place: Path) -> Path:
    """The same path, unless opening what is there could wait for ever, as a pipe does. Raises OSError then."""
    if place.exists() and not place.is_file() and not place.is_dir():
        raise OSError(errno.EINVAL, "it is neither a file nor a folder", str(place))
    return place


def read_rows(path: Path) -> list[Row]:
    """The rows of a file of JSON lines. Only a line feed ends one: text may hold other characters that break lines."""
    with regular(path).open(encoding="utf-8", newline="\n") as file:
        return [plain_json.loads(line) for line in file if line.strip()]


def whole_rows(path: Path) -> tuple[list[Row], int]:
    """The rows that are whole, and the bytes after the last of them: a process may be writing there, or have been
    killed as it wrote. No rows where there is no file. Raises ValueError naming a line inside that is no JSON object.
    """
    try:
        content = regular(path).read_bytes()
    except FileNotFoundError:
        return [], 0
    *lines, rest = content.split(b"\n")
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = _row(line)
        if row is None and number == len(lines) and not rest and not _is_json(line):  # cut off by a power failure, say
            return rows, len(line) + 1
        if row is None:
            raise ValueError(f"{path} line {number} is no JSON object: {line[:60].decode(errors='replace')!r}")
        rows.append(row)
    return rows, len(rest)


def rows_before_damage(path: Path) -> list[Row]:
    """The rows before the first line that is no JSON object. Raises OSError."""
    rows: list[Row] = []
    for line in filter(bytes.strip, regular(path).read_bytes().split(b"\n")):
        row = _row(line)
        if row is None:
            break
        rows.append(row)
    return rows


def _is_json(line: bytes) -> bool:
    try:
        plain_json.loads(line)
    except ValueError:
        return False
    return True


def _row(line: bytes) -> Row | None:
    try:
        value = plain_json.loads(line)
    except ValueError:
        return None
    return cast(Row, value) if isinstance(value, dict) else None


def broken_files(folder: Path) -> Numbered:
    """(step in its name, file) of `broken/` in order."""
    if not folder.is_dir():
        return []
    names = [(re.fullmatch(r"step-(\d+)\.(?:json|safetensors)", path.name), path) for path in folder.iterdir()]
    return sorted((int(name[1]), path) for name, path in names if name)


def rollout_files(folder: Path) -> Numbered:
    """(number in its name, file) of `rollouts/` in order; what has another kind of name is left alone."""
    if not folder.is_dir():
        return []
    names = [(re.fullmatch(r"step-(\d+)\.jsonl", path.name), path) for path in folder.iterdir()]
    return sorted((int(name[1]), path) for name, path in names if name)
