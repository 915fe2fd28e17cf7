"""Answers that were paid for once: a file of key -> JSON value that outlives the run which wrote it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError


def key_of(*parts: Any) -> str:
    """One key for any JSON values: SHA-256 of their canonical text. Equal parts, equal key."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Cache:
    """An SQLite file. Every `put` is on disk when it returns; several processes and threads may share the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE IF NOT EXISTS cache (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each use: none is shared between threads, none is left open at the end."""
        try:
            with self._lock, closing(sqlite3.connect(self.path, timeout=30)) as db, db:
                yield db
        except sqlite3.DatabaseError as error:
            raise ConfigError(
                f"cache {str(self.path)!r} cannot be used: {error}. Move it away, or name another."
            ) from error

    def get(self, key: str) -> Any:
        """The value, or None where there is none (None is never stored)."""
        with self._open() as db:
            row = db.execute("SELECT value FROM cache WHERE key = ?", (key,)).fetchone()
        self.hits, self.misses = self.hits + bool(row), self.misses + (not row)
        return json.loads(row[0]) if row else None

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value; one that is there already stays, so that whoever came first is what all get."""
        text = json.dumps(value, ensure_ascii=True)
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO cache VALUES (?, ?)", (key, text))

    def __len__(self) -> int:
        with self._open() as db:
            return db.execute("SELECT COUNT(*) FROM cache").fetchone()[0]
