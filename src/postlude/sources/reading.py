"""A path to a table of rows: JSON lines and arrays here, the other kinds of file in `tabular`, each also packed."""

from __future__ import annotations

import io
import json
import math
from codecs import getincrementaldecoder
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from postlude.errors import DataError, Problem
from postlude.sources.arrays import Item, Splitter
from postlude.sources.bounded import PACKED, chunks, first_bytes, lines, not_utf8, packing_of, text_of
from postlude.sources.table import KEPT, MAX_RECORD, Table
from postlude.sources.tabular import is_data_set, read_data_set, read_parquet, read_separated

SPLIT = "train"
"""Of a data set, where none is named."""
JSON = (".jsonl", ".json", ".ndjson", "")
SEPARATED = {".csv": ",", ".tsv": "\t"}
MOST_DEPTH = 100
"""Objects and lists within each other."""
BOM = "\ufeff"
TOO_DEEP = f"nested too deeply (more than {MOST_DEPTH} lists and objects within each other)"


def read(path: str, split: str = SPLIT) -> Table:
    """Rows of a JSONL, JSON, CSV, TSV or Parquet file, of a folder saved by `datasets`, or of `hf:OWNER/NAME`."""
    if path.startswith("hf:"):
        return read_data_set(path, split)
    place = _regular(path)
    if place.is_dir():
        return read_data_set(path, split)
    table = _read_file(path, place)
    if split != SPLIT:
        table.notes.append(f"{path} is one file, which has no splits: all its rows are read, not only {split!r}")
    return table


def _regular(path: str) -> Path:
    """The file, or folder of a data set, that a path names. Raises DataError with what it is instead."""
    if "://" in path:
        raise DataError(
            f"data: {path[:200]!r} is an address, and nothing is fetched. Download the file, or name a data set of the "
            "hub: hf:OWNER/NAME.",
            code="unsupported-file",
        )
    if path == "-":
        raise DataError(
            "data: '-' would be standard input, and a file is read more than once. Save it to a file.",
            code="unsupported-file",
        )
    try:
        place = Path(path).expanduser()
        place.stat()
        if place.is_dir() and not is_data_set(place):
            raise DataError(_folder(path, place), code="unsupported-file")
    except FileNotFoundError as error:
        raise DataError(f"data: {path!r} does not exist.{_nearby(place)}", code="no-such-file") from error
    except (OSError, ValueError, RuntimeError) as error:  # a circle of links, a NUL in a name, no such user
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"data: cannot read {path[:200]!r}: {reason}.", code="cannot-read") from error
    return place


def _folder(path: str, place: Path) -> str:
    """What is said of a folder that no data set was saved in."""
    files = sorted(p.name for p in place.iterdir() if kind_of(p)[0] is not None and p.is_file() and p.suffix)
    if not files:
        return f"data: {path!r} is a folder, and holds neither a saved data set nor a file that is read."
    shown = ", ".join(files[:10]) + (f" and {len(files) - 10} more" if len(files) > 10 else "")
    return f"data: {path!r} is a folder. Name one of its files, or several (data=[A, B]): {shown}."


def kind_of(place: Path) -> tuple[str | None, str]:
    """(kind, packing) by a file's name; None as the kind of one that is not read."""
    suffixes = [s.lower() for s in place.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    kind = suffixes[-1] if suffixes else ""
    return (kind if kind in JSON or kind in SEPARATED or (kind == ".parquet" and not packing) else None), packing


def _read_file(path: str, place: Path) -> Table:
    kind, named = kind_of(place)
    if kind == ".parquet":
        return read_parquet(path, place)
    if kind is None:
        raise DataError(
            f"data: {path!r} is not JSONL or JSON, CSV, TSV or Parquet (by its name). Convert it to one JSON object "
            "per line.",
            code="unsupported-file",
        )
    start = first_bytes(path, place)
    packing = packing_of(start) or named
    if not packing and b"\x00" in start[:4]:
        raise not_utf8(path, start[:4], start.index(b"\x00"), 0)
    table = Table(path)
    if packing != named:
        table.notes.append(f"{path}: packed as {packing}, which its name does not say")
    if kind in SEPARATED:
        read_separated(table, _text_lines(table, place, packing), SEPARATED[kind])
    elif _is_array(path, place, packing):
        _read_array(table, place, packing)
    else:
        _read_lines(table, place, packing)
    return table


def _nearby(place: Path) -> str:
    if not place.parent.is_dir():
        return f" The folder {str(place.parent)!r} does not exist either."
    names = [p.name for p in place.parent.iterdir() if p.is_file()]
    close = get_close_matches(place.name, names, 1, 0.75)
    return f" Did you mean {str(place.parent / close[0])!r}?" if close else ""


# ------------------------------------------------------------------------------------------------------- lines


def _text_lines(table: Table, place: Path, packing: str) -> Iterator[str]:
    """The lines of a file of cells with their ends, as `csv` wants them. Raises DataError for one that is too long."""
    for line in lines(table.path, place, packing):
        if line.beyond:
            raise DataError(
                f"{table.path}:{line.number}: {line.beyond:,} bytes in one line (limit {MAX_RECORD:,}).",
                code="too-long",
            )
        text = text_of(table.path, line)
        if line.number == 1 and text.startswith(BOM):
            text = text.removeprefix(BOM)
            table.note_mark()
        yield from io.StringIO(text + "\n", newline="")


def _is_array(path: str, place: Path, packing: str) -> bool:
    """Whether the first thing in a file is the bracket of an array."""
    for line in lines(path, place, packing):
        text = line.raw.removeprefix(b"\xef\xbb\xbf").lstrip()
        if text:
            return text.startswith(b"[")
    return False


def _read_lines(table: Table, place: Path, packing: str) -> None:
    broken: tuple[str, str] | None = None
    for line in lines(table.path, place, packing):
        text = text_of(table.path, line)
        if text.startswith(BOM):
            text = text.removeprefix(BOM)
            table.note_mark()
        if not line.beyond and not text.strip():
            table.blank += 1
            continue
        if broken:
            _reject(table, *broken)
            broken = None
        table.read += 1
        table.returns += text.endswith("\r")
        where = f"{table.path}:{line.number}"
        if line.beyond:
            table.keep(where, text[:KEPT])
            table.reject(where, Problem("too-long", f"{line.beyond:,} bytes in one record (limit {MAX_RECORD:,})"))
            continue
        value = parsed(text)
        if isinstance(value, Problem):
            broken = where, text
        else:
            table.add(where, value)
    if broken:
        _reject(table, *broken, last=True)


def _reject(table: Table, where: str, text: str, last: bool = False) -> None:
    """Reject a text that is no JSON."""
    problem = parsed(text, last)
    table.keep(where, text.strip()[:KEPT])
    if text.strip() in ("{", "[") or (text.strip() == "}" and not table.rows):
        problem = Problem(
            "not-json", f"{problem} (an object over several lines? Put each on one, or all into an array)"
        )
    table.reject(where, problem)


def _read_array(table: Table, place: Path, packing: str) -> None:
    splitter = Splitter()
    for number, item in enumerate(splitter.items(_pieces(table, place, packing)), 1):
        table.read += 1
        where = f"{table.path}:{item.line} item {number}"
        value = _value(item)
        if isinstance(value, Problem):
            table.keep(where, item.text[:KEPT])
            table.reject(where, value)
        else:
            table.add(where, value)
    if splitter.ended and splitter.behind:
        raise DataError(
            f"{table.path}: something follows the array that the file begins with: {splitter.behind!r}. Write one "
            "array, or one object on each line.",
            code="not-json",
        )


def _value(item: Item) -> Any:
    if item.beyond:
        return Problem("too-long", f"{item.beyond:,} characters in one record (limit {MAX_RECORD:,})")
    value = parsed(item.text, last=item.cut_off)
    if item.cut_off and not isinstance(value, Problem):
        return Problem("not-json", "the array is not closed behind it (the file looks cut off)")
    return value


def _pieces(table: Table, place: Path, packing: str) -> Iterator[str]:
    """The text of a file."""
    decoder, read_bytes = getincrementaldecoder("utf-8")(), 0
    for chunk in chunks(table.path, place, packing):
        waiting = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            start = read_bytes - waiting
            raise not_utf8(table.path, error.object, error.start, start) from error
        if not read_bytes and text.startswith(BOM):
            text = text.removeprefix(BOM)
            table.note_mark()
        read_bytes += len(chunk)
        yield text


# -------------------------------------------------------------------------------------------------------- JSON


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; use null or a number")


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits} is too large for a number")
    return value


def _object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(items)
    if len(values) < len(items):
        twice = next(k for k, n in Counter(k for k, _ in items).items() if n > 1)
        raise ValueError(f"key {twice!r} appears twice in one object")
    return values


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_float=_number, object_pairs_hook=_object)


def parsed(text: str, last: bool = False) -> Any:
    """The value of a JSON text, or the Problem with it. `last`: nothing follows it in its file."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        at_end = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        hint = " (the file looks cut off)" if last and at_end else ""
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        return Problem("not-json", f"not JSON at {line}column {error.colno}: {error.msg}{hint}")
    except (ValueError, RecursionError) as error:
        return Problem("not-json", f"not JSON: {error}" if isinstance(error, ValueError) else TOO_DEEP)
    brackets = text.count("[") + text.count("{")
    return Problem("not-json", TOO_DEEP) if brackets > MOST_DEPTH and _deeper(value, MOST_DEPTH) else value


def _deeper(value: Any, most: int) -> bool:
    """Whether lists and objects stand within each other more than so many times."""
    level = [value]
    for _ in range(most):
        inner: list[Any] = []
        for one in level:
            members = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
            inner += [member for member in members if isinstance(member, dict | list)]
        if not inner:
            return False
        level = inner
    return True
