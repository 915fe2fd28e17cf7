"""Fingerprints of files: SHA-256, read once and piece by piece. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

Print = Mapping[str, Any]
"""Of one thing: `sha256` (with `bytes`, or `rows`), or the `commit` of a hub id."""
Prints = dict[str, Print]
"""Name of each thing -> its fingerprint."""


def of_file(path: Path) -> Print:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": file.tell(), "sha256": digest}


def of_text(text: str) -> Print:
    """Size and SHA-256 of text as UTF-8."""
    content = text.encode("utf-8", "surrogatepass")
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def of_json(path: Path, without: Collection[str]) -> Print:
    """Of the values of a file of JSON, however it is laid out, but for some keys; of any other file as it is."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return of_file(path)
    if isinstance(values, dict):
        values = {key: value for key, value in cast("dict[str, Any]", values).items() if key not in without}
    return of_text(json.dumps(values, sort_keys=True))


def of_lines(lines: Sequence[str]) -> Print:
    """How many lines, and the SHA-256 of the file that holds them."""
    return {"rows": len(lines), "sha256": of_text(as_text(lines))["sha256"]}


def as_text(lines: Sequence[str]) -> str:
    """What such a file holds."""
    return "".join(f"{line}\n" for line in lines)
