"""What a run will write against what is free on its disk."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TIGHT = 0.8
"""Share of the free space from which on a run is told that it will be short."""


@dataclass(frozen=True)
class Space:
    """Bytes that a run will hold at its worst, by what holds them, and bytes that are free there."""

    parts: Mapping[str, int]
    free: int

    @property
    def needed(self) -> int:
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        return self.needed <= self.free

    @property
    def tight(self) -> bool:
        return self.needed > TIGHT * self.free


def free_bytes(folder: Path) -> int:
    """What this user may still write where a folder is, or will be."""
    folder = folder.expanduser().absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return shutil.disk_usage(there).free


def forecast(folder: Path, checkpoint: int, keep: int, planned: int, answers: int = 0, served: bool = False) -> Space:
    """Of a run whose checkpoints take `checkpoint` bytes each: `keep` of `planned` stay, and one more is being written
    before an old one goes. `answers`: bytes of rollouts and of held-out answers over the whole run. `served`: the step
    that servers have the weights of is saved beside those, and of the weights they are given two versions stay while a
    third is written, which with the optimiser is about a checkpoint."""
    held = min(keep, planned)
    writing = checkpoint if planned > held or served else 0
    parts = {"checkpoints": held * checkpoint, "the next one": writing, "answers": answers}
    ours = {"what is published": checkpoint, "versions for servers": checkpoint} if served else {}
    return Space(parts | ours, free_bytes(folder))
