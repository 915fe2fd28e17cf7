"""Answers that were paid for once: a file of key -> JSON value that outlives the run which wrote it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, RewardError

WAITS = (0.1, 1.0, 5.0)
"""Seconds between the tries of a write that fails."""


def key_of(*parts: Any) -> str:
    """One key for any JSON values: SHA-256 of their canonical text. Equal parts, equal key."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Cache:
    """An SQLite file. Every `put` is on disk when it returns; several processes and threads may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._opened = False
        """Whether it could be: what fails from then on stops a run between steps, as a failing reward does."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
            db.execute(
                "CREATE TABLE IF NOT EXISTS totals (name TEXT, what TEXT, sum INTEGER, PRIMARY KEY (name, what))"
            )
        self._opened = True

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: none is shared between threads, none is left open at the end."""
        try:
            with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db, db:
                yield db
        except sqlite3.OperationalError as error:  # of the disk, and not of the file
            text = f"cache {str(self.path)!r} cannot be read or written: {error}. What it holds is safe."
            raise (RewardError if self._opened else ConfigError)(text, code="cannot-cache") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"cache {str(self.path)!r} cannot be used: {error}. Move it away, or name another.", code="cannot-cache"
            ) from error

    def get(self, key: str) -> Any:
        """The value, or None where there is none (None is never stored)."""
        return self.get_all([key]).get(key)

    def get_all(self, keys: Collection[str]) -> dict[str, Any]:
        """The values of those keys that have one."""
        with self._open() as db:
            rows = [db.execute("SELECT value FROM cache WHERE key = ?", (key,)).fetchone() for key in keys]
        return {key: json.loads(row[0]) for key, row in zip(keys, rows, strict=True) if row}

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value; one that is there already stays, so that whoever came first is what all get."""
        self.put_all({key: value})

    def put_all(self, values: Mapping[str, Any]) -> None:
        """The same for several, on disk together: that takes about as long as one."""
        rows = [(key, json.dumps(value, ensure_ascii=True)) for key, value in values.items()]
        self._insist("INSERT OR IGNORE INTO cache VALUES (?, ?)", rows)

    def total(self, name: str) -> dict[str, int]:
        """Sums under a name, of all who ever added to it."""
        with self._open() as db:
            rows = db.execute("SELECT what, sum FROM totals WHERE name = ?", (name,)).fetchall()
        return dict(rows)

    def add(self, name: str, more: Mapping[str, int]) -> None:
        """Add to sums; several processes may do so."""
        rows = [(name, what, count) for what, count in more.items()]
        self._insist("INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET sum = sum + excluded.sum", rows)

    def _insist(self, statement: str, rows: Sequence[tuple[str, str] | tuple[str, str, int]]) -> None:
        """Write all rows or none, several times where the disk refuses."""
        for wait in WAITS:
            with suppress(RewardError), self._open() as db:
                db.executemany(statement, rows)
                return
            time.sleep(wait)
        with self._open() as db:
            db.executemany(statement, rows)

    def __len__(self) -> int:
        with self._open() as db:
            return db.execute("SELECT COUNT(*) FROM cache").fetchone()[0]
