"""The saves of a run: which of its steps is saved, tried again where the disk refuses, and lost in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude.errors import TrainingError
from postlude.runs import checkpoints
from postlude.runs.sealed import MANIFEST, PLACE, Hashes, Sealed

WAITS = (1.0, 10.0)
"""Seconds between the tries of a save that fails."""
MOST_LOST = 3
"""Saves lost in a row before a run ends."""
Save = Callable[[Path], Awaitable[None]]
"""Writes an engine and what belongs to it into a folder."""


@dataclass
class Saves:
    """What is saved of a run's folder."""

    folder: Path
    say: Callable[[str], None]
    step: int = 0
    """The step whose state is saved, with all that followed it."""
    committed: int = 0
    """The step whose state is saved as it was before its weights were published."""
    announced: int = 0
    """The step of the newest planned checkpoint, saved or lost."""
    parent: str | None = None
    """SHA-256 of events.jsonl as it was at that one."""
    lost: int = 0
    """Saves lost in a row."""

    def go_on(self, sealed: Sealed) -> None:
        """Take up a run at one of its checkpoints."""
        due = sealed.state.get("due", {})
        whole = not (sealed.commit or due.get("evaluation") or due.get("sheet"))  # else saved again once that is done
        self.step, self.committed = (sealed.step if whole else 0), (sealed.step if sealed.commit else 0)
        self.announced, self.parent = checkpoints.parent_of(self.folder, sealed)

    def announce(self, step: int) -> None:
        """The event of a planned checkpoint is written, and what may be of its state."""
        self.announced, self.parent = step, Hashes().of(self.folder / "events.jsonl")

    async def write(self, step: int, save: Save, state: Mapping[str, Any], frame: Mapping[str, Any]) -> str | None:
        """Write and seal a checkpoint, tried again where that fails; why it is lost, or None. What was committed of
        the step already is not written twice."""
        name = checkpoints.name_of(step)
        earlier = self.folder / PLACE / name
        again = self.committed == step and (earlier / MANIFEST).exists()
        for wait in (*WAITS, None):
            try:
                await checkpoints.write(
                    self.folder, name, _linking(earlier) if again else save, {**state, "step": step}, frame
                )
            except OSError as error:
                why = error.strerror or str(error)
                if wait is None:
                    return why
                self.say(f"checkpoint {name} cannot be saved ({why}): tried again in {wait:g} s")
                await asyncio.sleep(wait)
            else:
                self.lost = 0
                return None
        return None

    def lose(self, step: int, why: str, last: bool) -> None:
        """Say that a save is lost. Raises TrainingError where it was the last of a run, or one too many."""
        self.lost += 1
        sound = checkpoints.complete(self.folder)
        until = f"the newest checkpoint is {sound[-1].name}" if sound else "no checkpoint was saved yet"
        name = checkpoints.name_of(step)
        if last or self.lost >= MOST_LOST:
            count = "" if last else ", the third save that is lost in a row"
            raise TrainingError(
                f"cannot save checkpoint {name} ({why}){count}: {until}. Once there is room for it, go on with: "
                f"postlude train {self.folder} --resume",
                code="cannot-write",
            )
        self.say(f"checkpoint {name} is lost ({why}): training goes on, {until}, and the next save is tried as planned")


def _linking(checkpoint: Path) -> Save:
    async def link(folder: Path) -> None:
        checkpoints.link_files(checkpoint, folder)

    return link
