"""What has changed the ranks' weights since their newest checkpoint, so that ranks which are started again catch up.

Every such change has a serial number, and a checkpoint says which was the last before it. Ranks that are lost are
started from the newest checkpoint that was sealed, and go through the changes after it once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from postlude import plain_json
from postlude.errors import EngineError, reason

RANKS = Path("trainer") / "ranks.json"
"""Of a checkpoint that several ranks wrote: the serial number of their last change, and how many they were."""


@dataclass(frozen=True)
class Change:
    """A call of all ranks that left other weights, moments or references than before."""

    serial: int
    method: str
    shared: Any
    each: Sequence[Any] | None


@dataclass
class Journal:
    """The changes since the newest sealed checkpoint, the oldest first."""

    sealed: Callable[[], Sequence[Path]] = lambda: ()
    """Checkpoints of the run that were written to their end, the oldest first."""
    serial: int = 0
    """Of the newest change."""
    changes: list[Change] = field(default_factory=list[Change])
    _begun: Path | None = None
    """The checkpoint that was loaded; None is the model that the recipe names."""
    _begun_at: int = 0
    _saved: set[int] = field(default_factory=set[int])
    """Serial numbers of the checkpoints that were written since; whether they were sealed is not known here."""
    _left: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """Of the checkpoints that were there before this process wrote any: their serial numbers are none of ours."""

    def __post_init__(self) -> None:
        self._left = {_identity(folder) for folder in self.sealed() if (folder / RANKS).exists()}

    def add(self, method: str, shared: Any = None, each: Sequence[Any] | None = None) -> None:
        """A change that all ranks have made."""
        self.serial += 1
        self.changes.append(Change(self.serial, method, shared, each))

    def begin_from(self, folder: Path) -> None:
        """A checkpoint is loaded: what came before is none of ours."""
        written = _read(folder)
        self.serial = self._begun_at = written["serial"] if written else 0
        self._begun, self.changes = folder, []
        self._saved.clear()

    def write(self, folder: Path, ranks: int) -> None:
        """Say in a checkpoint where it stands. What a sealed one holds is not needed here any more."""
        (folder / RANKS).write_text(json.dumps({"serial": self.serial, "ranks": ranks}))
        self._saved.add(self.serial)
        self.newest()

    def newest(self) -> tuple[Path | None, int]:
        """The checkpoint to start again from, and the serial number of the last change in it."""
        there = self.sealed()
        newest = there[-1] if there else self._begun
        written = _read(newest) if newest is not None and self._is_ours(newest) else None
        if newest is None or written is None or written["serial"] not in self._saved:
            newest, serial = self._begun, self._begun_at
        else:
            serial = written["serial"]
            self.changes = [change for change in self.changes if change.serial > serial]
        if (self.changes and self.changes[0].serial != serial + 1) or serial + len(self.changes) != self.serial:
            raise EngineError(
                f"{newest or 'the model'} holds change {serial} of the ranks, and what came after it is not known here "
                f"any more: the newest checkpoint has gone ({len(self.changes)} of {self.serial - serial} changes).",
                code="no-checkpoint",
            )
        return newest, serial

    def _is_ours(self, folder: Path) -> bool:
        return (folder / RANKS).exists() and _identity(folder) not in self._left


def _identity(folder: Path) -> tuple[int, int]:
    """What tells a checkpoint from another of its name and number, and is none of its bytes: the same run again writes
    the same ones."""
    stat = (folder / RANKS).stat()
    return stat.st_ino, stat.st_mtime_ns


def _read(folder: Path) -> dict[str, int] | None:
    """What `Journal.write` wrote; None where it did not."""
    file = folder / RANKS
    if not file.exists():
        return None
    try:
        written = plain_json.read(file)
        return {"serial": int(written["serial"]), "ranks": int(written["ranks"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"{file} cannot be read: {reason(cast('Exception', error))}", code="damaged-run") from error
