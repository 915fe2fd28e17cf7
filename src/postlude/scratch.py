"""Folders for one command, in the system's place for temporary files: gone with it, or at the latest when the next such
command starts after it was killed."""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import IO

MARK = ".in-use"
"""A file in each, locked for as long as the process lives that made it."""


class Scratch:
    """A folder named `prefix` and something of its own. `keep` or `drop` ends it."""

    def __init__(self, prefix: str, within: str | None = None) -> None:
        within = within or tempfile.gettempdir()
        _sweep(prefix, within)
        self.place = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
        unlocked = self.place / f"{MARK}-soon"
        self._mark: IO[bytes] = unlocked.open("wb")
        fcntl.flock(self._mark, fcntl.LOCK_EX)
        unlocked.rename(self.place / MARK)  # locked from the moment that it is there

    def drop(self) -> None:
        """Remove it."""
        rmtree(self.place, ignore_errors=True)
        self._mark.close()

    def keep(self, *names: str) -> None:
        """Let these stay for people, if they are there, and nothing else; it is no longer swept away."""
        for place in self.place.iterdir():
            if place.name not in names:
                rmtree(place, ignore_errors=True) if place.is_dir() else place.unlink()
        self._mark.close()
        with suppress(OSError):  # it holds some
            self.place.rmdir()


def _sweep(prefix: str, within: str) -> None:
    """Remove what processes left that were killed: folders of this user whose mark nobody holds any more."""
    for place in Path(within).glob(f"{prefix}*"):
        with suppress(OSError):
            if not place.is_symlink() and place.lstat().st_uid == os.getuid() and (place / MARK).is_file():
                with (place / MARK).open("rb") as mark:
                    fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError where its process lives
                    rmtree(place, ignore_errors=True)
