"""Which step's weights each version is: `published.jsonl` in a run's folder, one line for each version.

A line is on the disk before any server gets the weights, and nothing takes one back: not a run that goes on from an
earlier checkpoint, nor one that an alarm takes back. So no number ever names two sets of weights, and an answer's
version tells which step it was sampled after, or that it is none of this run's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from pathlib import Path

from postlude.errors import ConfigError
from postlude.runs.durable import Disk
from postlude.runs.files import PUBLISHED, Row, whole_rows


class Ledger(Container[int]):
    """The versions of a run's weights that were published, or were about to be as the process ended.

    Opening it takes the last line away where a kill cut it: nothing was published under that number. Raises ConfigError
    where what stands before cannot be read.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None] = lambda text: None) -> None:
        self._disk = Disk(folder, tell)
        self._steps: dict[int, int] = {}
        self._file = file = folder / PUBLISHED
        try:
            rows, rest = whole_rows(file)
        except (OSError, ValueError) as error:
            raise ConfigError(_damaged(file, str(error)), code="damaged-run") from error
        if rest:
            self._disk.cut(PUBLISHED, file.stat().st_size - rest)
        for number, row in enumerate(rows, 1):
            self._take_up(row, f"{file} line {number}")

    def _take_up(self, row: Row, where: str) -> None:
        version, step = row.get("version"), row.get("step")
        if not (type(version) is int and type(step) is int and version > self.newest and step >= 0):
            raise ConfigError(_damaged(where, f"it is {json.dumps(row)[:80]}"), code="damaged-run")
        self._steps[version] = step

    def __contains__(self, version: object) -> bool:
        return version in self._steps

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def newest(self) -> int:
        """The largest number that was given; -1 where none was."""
        return next(reversed(self._steps), -1)

    def step_of(self, version: int) -> int | None:
        """The step after which these weights were taken; None of a version that was never published."""
        return self._steps.get(version)

    def add(self, version: int, step: int) -> None:
        """Write down that the weights after a step are this version, before anybody gets them. Raises ValueError where
        a number as large was given already, TrainingError where the disk refuses."""
        if version <= self.newest:
            raise ValueError(f"version {version} is not above {self.newest}, the newest of {PUBLISHED}")
        self._disk.append(PUBLISHED, _line(version, step), flushed=True)
        self._steps[version] = step

    def go_on_from(self, version: int, step: int, served: bool = False) -> None:
        """Of a run that sampled in its own process until now: its versions, one for each step, are published ones.
        Raises ConfigError where servers had weights of it (`served`), whose numbers are gone."""
        if version <= self.newest or not step:
            return
        if served and not self._steps:
            raise ConfigError(_damaged(self._file, "it is not there, or empty"), code="damaged-run")
        known = {
            number: step - (version - number)
            for number in range(self.newest + 1, version + 1)
            if step >= version - number
        }
        self._disk.append(PUBLISHED, "".join(_line(*pair) for pair in known.items()), flushed=True)
        self._steps |= known


def _line(version: int, step: int) -> str:
    return json.dumps({"version": version, "step": step}) + "\n"


def _damaged(where: object, why: str) -> str:
    return (
        f"{where} cannot be read: {why}. It says which versions of the weights servers had, so that no number is given "
        "twice. Put it back as it was, or start anew with another output=FOLDER."
    )
