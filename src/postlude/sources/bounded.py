"""The lines of a file of any size: unpacked on the way, none longer than `MAX_RECORD`, none of it held but the line.

What a file is packed as is told by its first bytes; a packed one may not grow without bound.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from postlude.errors import DataError
from postlude.sources.table import MAX_RECORD

CHUNK = 1 << 20
"""Bytes read at a time."""
MOST_RATIO = 200
"""What is unpacked may be so many times the size of the file, beyond `FREE` bytes: text packs to a tenth, a bomb to a
thousandth."""
FREE = 16 << 20
PACKED = {".gz": b"\x1f\x8b", ".bz2": b"BZh", ".xz": b"\xfd7zXZ", ".zst": b"\x28\xb5\x2f\xfd"}
"""Ending -> first bytes."""
OTHERS = {
    b"PAR1": "Parquet; name it .parquet",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV",
    b"\xff\xfe": "UTF-16: iconv -f UTF-16 -t UTF-8 IN > OUT",
    b"\xfe\xff": "UTF-16: iconv -f UTF-16 -t UTF-8 IN > OUT",
    b"ARROW1": "Arrow; name the folder that `datasets` saved it in, or write it as Parquet",
    b"\x80": "a pickle, which is never opened: it can run code. Write it as JSON lines or Parquet",
    b"SQLite": "a database; write the table as JSON lines or CSV",
    b"%PDF": "a PDF",
}
"""First bytes -> what such a file is, for one that is no text."""


@dataclass(frozen=True)
class Line:
    """One line without its end, or the length in bytes of one that is too long to be read."""

    number: int
    raw: bytes
    start: int
    """The place of its first byte in the (unpacked) file."""
    beyond: int = 0
    """Its length, where that is above `MAX_RECORD`; `raw` is then its beginning."""


def first_bytes(path: str, place: Path) -> bytes:
    """Of a regular file. Raises DataError where it is none, or cannot be read."""
    try:
        if not stat.S_ISREG(place.stat().st_mode):
            raise DataError(
                f"data: {path!r} is a pipe, a device or a socket, and a file is read more than once. Save what it "
                "gives to a file.",
                code="unsupported-file",
            )
        with place.open("rb") as file:
            return file.read(CHUNK)
    except OSError as error:
        raise DataError(f"data: cannot read {path!r}: {error.strerror}.", code="cannot-read") from error


def packing_of(start: bytes) -> str:
    """The ending that a file with these first bytes should have; empty where it is not packed."""
    return next((ending for ending, magic in PACKED.items() if start.startswith(magic)), "")


def lines(path: str, place: Path, packing: str) -> Iterator[Line]:
    """Every line of a file, the empty ones too. Raises DataError for what cannot be unpacked, or grows too far."""
    pending, number, place_of, dropped = bytearray(), 1, 0, 0
    for chunk in chunks(path, place, packing):
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            pending += part[: MAX_RECORD + 1 - len(pending)]
            dropped += len(part)
            yield _line(number, pending, place_of, dropped)
            number, place_of, dropped = number + 1, place_of + dropped + 1, 0
            pending = bytearray()
        pending += rest[: MAX_RECORD + 1 - len(pending)]
        dropped += len(rest)
    if dropped:
        yield _line(number, pending, place_of, dropped)


def _line(number: int, raw: bytearray, start: int, length: int) -> Line:
    return Line(number, bytes(raw), start, length if length > MAX_RECORD else 0)


def text_of(path: str, line: Line) -> str:
    """A line as text. Raises DataError, which names the byte and the encoding it may be in."""
    try:
        return line.raw.decode("utf-8")
    except UnicodeDecodeError as error:
        if line.beyond and error.start >= MAX_RECORD - 4:  # cut within a character
            return line.raw[: error.start].decode("utf-8")
        raise not_utf8(path, line.raw, error.start, line.start) from error


def not_utf8(path: str, raw: bytes, place: int, start: int) -> DataError:
    """What is said of bytes, `start` before them in the file, of which that at `place` is in another encoding."""
    return DataError(
        f"{path}: not UTF-8 (byte {start + place}). Save the file as UTF-8." + _guess(raw, start == 0), code="not-utf8"
    )


def _guess(raw: bytes, first: bool) -> str:
    known = next((what for start, what in OTHERS.items() if first and raw.startswith(start)), None)
    if known:
        return f" It looks like {known}."
    if b"\x00" in raw[:4]:
        return " It looks like UTF-16 or UTF-32."
    return " It looks like Windows-1252 or Latin-1: iconv -f WINDOWS-1252 -t UTF-8 IN > OUT."


# ---------------------------------------------------------------------------------------------------- unpacking


def chunks(path: str, place: Path, packing: str) -> Iterator[bytes]:
    """A file's bytes in pieces. Raises DataError for one that is damaged, or that would fill the machine."""
    packed_size, size = place.stat().st_size, 0
    try:
        with _opened(path, place, packing) as stream:
            while chunk := stream.read(CHUNK):
                size += len(chunk)
                if packing and size > max(FREE, MOST_RATIO * packed_size):
                    raise DataError(
                        f"{path}: {packed_size:,} bytes unpack to more than {MOST_RATIO} times as many, as no text "
                        "does. Unpack it yourself where that is meant.",
                        code="damaged-file",
                    )
                yield chunk
    except (OSError, EOFError, ValueError, zlib.error, _lzma_error()) as error:
        if not packing:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise DataError(f"data: cannot read {path!r}: {reason}.", code="cannot-read") from error
        raise DataError(
            f"{path}: cannot be unpacked as {packing}, it is cut off, damaged or of another kind: {error}. "
            "Copy or compress it again.",
            code="damaged-file",
        ) from error


def _opened(path: str, place: Path, packing: str) -> IO[bytes]:
    try:
        if packing == ".gz":
            from gzip import open as unpacked
        elif packing == ".bz2":
            from bz2 import open as unpacked
        elif packing == ".xz":
            from lzma import open as unpacked
        elif packing == ".zst":
            return _opened_zstd(path, place)
        else:
            return place.open("rb")
    except ImportError as error:  # a Python built without the library
        raise DataError(
            f"data: this Python cannot unpack {packing} files: {error}. Unpack {path!r} first.", code="missing-package"
        ) from error
    return cast("IO[bytes]", unpacked(place, "rb"))


def _opened_zstd(path: str, place: Path) -> IO[bytes]:
    try:
        import pyarrow
    except ImportError as error:
        raise DataError(
            f"data: {path!r} is packed with zstd, which needs pyarrow: pip install 'postlude[datasets]'. Or unpack it.",
            code="missing-package",
        ) from error
    stream: Any = pyarrow.input_stream(str(place), compression="zstd")
    return cast("IO[bytes]", stream)


def _lzma_error() -> type[Exception]:
    try:
        from lzma import LZMAError
    except ImportError:
        return OSError
    return LZMAError
