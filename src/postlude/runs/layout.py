"""What lies in a run's folder by name, and whether that is a run's already."""

from __future__ import annotations

from pathlib import Path

from postlude.runs import checkpoints, taken_back
from postlude.runs.files import LOGS, PUBLISHED, RANKS, SERVED
from postlude.runs.live import CONTROL, LIVE
from postlude.runs.sealed import APPENDED, WHOLE

LISTS = "inputs"
"""Where the hashes of the rows of each data set are listed."""
BROKEN = "broken"
FOLDERS = ("rollouts", "checkpoints", LISTS, BROKEN, taken_back.ASIDE, SERVED, LOGS, RANKS)
GROWING = (*APPENDED, "timings.jsonl", PUBLISHED, "lock", *FOLDERS)
"""What is written to in place: none of it may lead out of the folder."""


def is_used(folder: Path) -> bool:
    """Whether a step of it was finished."""
    return (folder / "timings.jsonl").exists() or bool(checkpoints.all_of(folder))


def inner(folder: Path) -> list[str]:
    """The names of what is read of a run besides: whole files, and what lies in its own folders."""
    inside = [
        path for name in ("rollouts", LISTS, BROKEN) if (folder / name).is_dir() for path in (folder / name).iterdir()
    ]
    return [*WHOLE, LIVE, CONTROL, *(path.relative_to(folder).as_posix() for path in inside if not path.is_symlink())]
