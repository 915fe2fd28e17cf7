"""What became of a run that something was done to: the same bytes, a refusal, or worse."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.faults.families import Family, make_world, write_recipe
from bench.faults.folder import Bytes, bytes_of, differences, unpaid
from bench.faults.trial import RESUME, START, Ended, command

Kind = Literal["same", "refused", "said", "silent", "traceback", "hang"]
KINDS: tuple[Kind, ...] = ("same", "refused", "said", "silent", "traceback", "hang")
GOOD = ("same", "refused")
NO_RUN = ("[not-a-run]", "[unknown-name]")


@dataclass(frozen=True)
class Outcome:
    """What became of one trial."""

    family: str
    part: str
    """What was under way, or was looked at: run, resume, a finished run, ..."""
    fault: str
    """What was done to it: kill, power, disk full, ..."""
    where: str
    """The operation or file."""
    kind: Kind
    detail: str = ""
    spare: bool = False
    """Of a file in a checkpoint that is not the newest: the run does not need it, and says that it is damaged."""


@dataclass
class Bench:
    """A family's recipe in a folder of its own, and the bytes of its run when nothing happens."""

    place: Path
    family: Family
    url: str | None = None
    whole: Bytes = None  # type: ignore[assignment]
    seconds: float = 0.0
    """That a whole run took."""
    usual: frozenset[str] = frozenset()
    """Lines that a run or a resume prints when nothing is wrong."""

    @property
    def run(self) -> Path:
        return self.place / "run"

    def begin(self) -> Ended:
        """Make the world, and run from start to end; raises RuntimeError where that fails."""
        if not (self.place / "mine.py").exists():
            make_world(self.place)
        write_recipe(self.place, self.family, self.url)
        self.clear()
        before = time.monotonic()
        ended = command(self.place, START)
        self.seconds = time.monotonic() - before
        if ended.code != self.family.code:
            raise RuntimeError(f"{self.family.name}: {ended.text[-2000:]}")
        self.whole, self.usual = self.bytes(), ended.said
        return ended

    def bytes(self) -> Bytes:
        """What is compared of the run as it is."""
        every = bytes_of(self.run)
        return unpaid(self.run, every) if self.family.judged else every

    def clear(self) -> None:
        """No run."""
        shutil.rmtree(self.run, ignore_errors=True)

    def put(self, folder: Path) -> None:
        """A copy of a folder as the run."""
        self.clear()
        shutil.copytree(folder, self.run, symlinks=True)

    def continued(self) -> list[Ended]:
        """What a person does after an interruption: resume; start where there is no run yet."""
        ended = command(self.place, RESUME)
        if ended.refused and any(text in ended.text for text in NO_RUN):
            return [ended, command(self.place, START)]
        return [ended]

    def judged(self, commands: Sequence[Ended], foreign: Sequence[str] = ()) -> tuple[Kind, str]:
        """What became of the run after these commands; `foreign` files must still be there."""
        for ended in commands:
            if ended.code is None:
                return "hang", ended.last
            if ended.traced:
                return "traceback", ended.last
        last = commands[-1]
        if last.code != self.family.code:
            return ("refused" if last.refused else "traceback"), last.last
        after = self.bytes()
        lost = [name for name in foreign if name not in after]
        changed = differences(self.whole, {k: v for k, v in after.items() if k not in foreign})
        changed += [f"{name} (foreign, removed)" for name in lost]
        if not changed:
            return "same", ""
        news = sorted(last.said - self.usual)
        return ("said" if news else "silent"), "; ".join([*changed[:4], *news[:2]])
