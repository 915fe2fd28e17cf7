"""Lines of JSON over two pipes: what comes in, and what goes out."""

from __future__ import annotations

import os
from json import dumps, loads
from typing import Any

RECORD = 8 << 20
"""Bytes of one line that leaves; longer ones are replaced by an error."""


class Lines:
    """`requests` is read, `results` is written; both are descriptors."""

    def __init__(self, requests: int, results: int) -> None:
        self._requests, self._results = requests, results
        self._rest = b""

    def read(self) -> Any:
        """The next line's JSON; None at the end."""
        while b"\n" not in self._rest:
            more = os.read(self._requests, 1 << 16)
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return loads(line)

    def write(self, *record: Any) -> None:
        try:
            line = dumps(record, allow_nan=False).encode() + b"\n"
        except (ValueError, RecursionError, MemoryError) as error:
            line = dumps(["unfit", type(error).__name__]).encode() + b"\n"
        if len(line) > RECORD:
            line = dumps(["unfit", f"larger than {RECORD >> 10} KiB"]).encode() + b"\n"
        while line:
            line = line[os.write(self._results, line) :]
