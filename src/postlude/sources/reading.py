"""A path to a table of rows: JSON lines here, the other kinds of file in `tabular`, each also compressed."""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from postlude.errors import DataError, Problem
from postlude.sources.table import MAX_RECORD, Table
from postlude.sources.tabular import read_data_set, read_parquet, read_separated

_BROKEN = object()
SPLIT = "train"
"""Of a data set, where none is named."""
JSON = (".jsonl", ".json", ".ndjson", "")
SEPARATED = {".csv": ",", ".tsv": "\t"}
PACKED = (".gz", ".bz2", ".xz", ".zst")
MAGIC = {
    b"\x1f\x8b": "gzip; name it .gz",
    b"BZh": "bzip2; name it .bz2",
    b"\xfd7zXZ": "xz; name it .xz",
    b"\x28\xb5\x2f\xfd": "zstd; name it .zst",
    b"PAR1": "Parquet; name it .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""First bytes -> what such a file is, for one that is not what its name says."""


def read(path: str, split: str = SPLIT) -> Table:
    """Rows of a JSONL, JSON, CSV, TSV or Parquet file, of a folder saved by `datasets`, or of `hf:OWNER/NAME`."""
    if path.startswith("hf:"):
        return read_data_set(path, split)
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"data: {path!r} does not exist.{_nearby(place)}", code="no-such-file")
    if place.is_dir():
        return read_data_set(path, split)
    table = _read_file(path, place)
    if split != SPLIT:
        table.notes.append(f"{path} is one file, which has no splits: all its rows are read, not only {split!r}")
    return table


def _read_file(path: str, place: Path) -> Table:
    suffixes = [s.lower() for s in place.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    kind = suffixes[-1] if suffixes else ""
    if kind == ".parquet" and not packing:
        return read_parquet(path, place)
    if kind not in JSON and kind not in SEPARATED:
        raise DataError(
            f"data: {path!r} is not JSONL or JSON, CSV, TSV or Parquet (by its name). Convert it to one JSON object "
            "per line.",
            code="unsupported-file",
        )
    text = _decoded(path, _unpacked(path, place, packing))
    table = Table(path)
    if kind in SEPARATED:
        read_separated(table, text, SEPARATED[kind])
    elif text.lstrip().startswith("["):
        _read_array(table, text)
    else:
        _read_lines(table, text)
    return table


def _nearby(place: Path) -> str:
    if not place.parent.is_dir():
        return f" The folder {str(place.parent)!r} does not exist either."
    names = [p.name for p in place.parent.iterdir() if p.is_file()]
    close = get_close_matches(place.name, names, 1, 0.75)
    return f" Did you mean {str(place.parent / close[0])!r}?" if close else ""


# ------------------------------------------------------------------------------------------------------- bytes


def _unpacked(path: str, place: Path, packing: str) -> bytes:
    try:
        raw = place.read_bytes()
    except OSError as error:
        raise DataError(f"data: cannot read {path!r}: {error.strerror}.", code="cannot-read") from error
    if not packing:
        return raw
    unpack = _unpacker(path, packing)
    try:
        return unpack(raw)
    except (OSError, EOFError, ValueError, zlib.error, _lzma_error()) as error:
        raise DataError(
            f"{path}: cannot be unpacked as {packing}, it is cut off, damaged or of another kind: {error}. "
            "Copy or compress it again.",
            code="damaged-file",
        ) from error


def _unpacker(path: str, packing: str) -> Callable[[bytes], bytes]:
    try:
        if packing == ".gz":
            from gzip import decompress
        elif packing == ".bz2":
            from bz2 import decompress
        elif packing == ".xz":
            from lzma import decompress
        else:
            decompress = _unpack_zstd(path)
    except ImportError as error:  # a Python built without the library
        raise DataError(
            f"data: this Python cannot unpack {packing} files: {error}. Unpack {path!r} first.", code="missing-package"
        ) from error
    return decompress


def _unpack_zstd(path: str) -> Callable[[bytes], bytes]:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"data: {path!r} is packed with zstd, which needs pyarrow: pip install 'postlude[datasets]'. Or unpack it.",
            code="missing-package",
        ) from error
    return lambda raw: pyarrow.input_stream(pyarrow.py_buffer(raw), compression="zstd").read()


def _lzma_error() -> type[Exception]:
    try:
        from lzma import LZMAError
    except ImportError:
        return OSError
    return LZMAError


def _decoded(path: str, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        known = next((what for start, what in MAGIC.items() if raw.startswith(start)), None)
        hint = f" It looks like {known}." if known else ""
        raise DataError(
            f"{path}: not UTF-8 (byte {error.start}). Save the file as UTF-8.{hint}", code="not-utf8"
        ) from error


# -------------------------------------------------------------------------------------------------------- JSON


def _read_lines(table: Table, text: str) -> None:
    lines = text.split("\n")
    final = next((n for n in range(len(lines), 0, -1) if lines[n - 1].strip()), 0)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            table.blank += 1
            continue
        table.read += 1
        where = f"{table.path} line {number}"
        if len(line) > MAX_RECORD:
            table.reject(where, Problem("too-long", f"{len(line)} characters in one record (limit {MAX_RECORD})"))
            continue
        value = _parse(table, where, line, last=number == final)
        if value is not _BROKEN:
            table.add(where, value)


def _read_array(table: Table, text: str) -> None:
    value = _parse(table, table.path, text, last=True)
    for number, item in enumerate(value if isinstance(value, list) else [], 1):
        table.read += 1
        table.add(f"{table.path} item {number}", item)


def _parse(table: Table, where: str, text: str, last: bool) -> Any:
    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON; use null or a number")

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is too large for a number")
        return value

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [k for k, n in Counter(k for k, _ in items).items() if n > 1]
        if twice:
            raise ValueError(f"key {twice[0]!r} appears twice in one object")
        return dict(items)

    try:
        return json.loads(text, parse_constant=constant, parse_float=number, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        hint = " (the file looks cut off)" if last and at_end else ""
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        table.reject(where, Problem("not-json", f"not JSON at {line}column {error.colno}: {error.msg}{hint}"))
    except (ValueError, RecursionError) as error:
        table.reject(where, Problem("not-json", str(error) or "nested too deeply"))
    return _BROKEN
