"""Checkpoints of a run folder: written under a temporary name, found again, rewound to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from postlude.errors import ConfigError, TrainingError
from postlude.runs.files import rollout_files
from postlude.runs.lock import is_held

STATE = Path("trainer", "state.json")
"""Of a checkpoint, written last: where the run stood."""
TAIL = 1 << 16
"""Bytes at the end of events.jsonl that hold its last line."""


def name_of(step: int) -> str:
    """The folder of a step's checkpoint in checkpoints/."""
    return f"step-{step:06d}"


def complete(folder: Path) -> list[Path]:
    """The checkpoints of a run that were written to their end, oldest first."""
    return [p for p in sorted((folder / "checkpoints").glob("step-*")) if (p / STATE).exists()]


async def write(place: Path, save: Callable[[Path], Awaitable[None]], state: Mapping[str, Any]) -> None:
    """`save` to a temporary name, add the state, rename. Raises TrainingError where the disk refuses."""
    temporary = place.with_name("." + place.name)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        await save(temporary)
        (temporary / STATE).write_text(json.dumps(state, allow_nan=False))
        shutil.rmtree(place, ignore_errors=True)
        temporary.rename(place)
    except OSError as error:
        raise TrainingError(
            f"cannot save a checkpoint to {place}: {error.strerror or error}", code="cannot-write"
        ) from error


def keep_newest(folder: Path, count: int) -> None:
    """Point `model` to the newest checkpoint, for every tool that takes a model folder; delete all but `count`."""
    there = complete(folder)
    link, fresh = folder / "model", folder / ".model"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("checkpoints") / there[-1].name)
    fresh.replace(link)
    for old in there[:-count]:
        shutil.rmtree(old)


def state_of(checkpoint: Path) -> dict[str, Any]:
    """Where the run stood when a checkpoint was written."""
    state: dict[str, Any] = json.loads((checkpoint / STATE).read_text())
    return state


def rewind(folder: Path, step: int, event_bytes: int, any_kept: bool) -> None:
    """Take back everything a run wrote after a step: it will be written again."""
    events = folder / "events.jsonl"
    if events.exists():
        with events.open("r+b") as out:
            out.truncate(event_bytes)
    for name in ("timings.jsonl", "eval.jsonl"):
        _keep_steps(folder / name, step if any_kept else -1)
    _count_from_one(folder / "rollouts")
    for number, path in rollout_files(folder / "rollouts"):
        if number > step:
            path.unlink()


def _count_from_one(folder: Path) -> None:
    """Runs of 0.1 numbered these files from 0, one less than their step: such a folder is renamed, the last first."""
    files = rollout_files(folder)
    if files and files[0][0] == 0:
        for number, path in reversed(files):
            path.rename(folder / f"step-{number + 1:06d}.jsonl")


def _keep_steps(path: Path, last: int) -> None:
    """Drop the lines of later steps: a resumed run writes them again."""
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = [line for line in file if json.loads(line)["step"] <= last]
        path.write_text("".join(lines))


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "events.jsonl").exists() and (folder / "checkpoints").is_dir()


def latest_model(path: str) -> str:
    """A run folder's newest checkpoint; any other path is returned as it is."""
    folder = Path(path).expanduser()
    if not is_run(folder):
        return path
    there = complete(folder)
    if not there:
        raise ConfigError(f"{path!r} is a run without a finished checkpoint.", code="no-checkpoint")
    return str(there[-1])


def unfinished(path: str | Path) -> str | None:
    """What is to be known of a run that nothing ended as it should; None of one that ended, still goes on, or is none.

    Every run that ends, by an error too, says so last: one that does not was killed, or its process left otherwise.
    """
    folder = Path(path).expanduser()
    events = folder / "events.jsonl"
    if not (events.is_file() and (folder / "checkpoints").is_dir()) or is_held(folder / "lock"):
        return None
    with events.open("rb") as file:
        file.seek(max(events.stat().st_size - TAIL, 0))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    if b'"kind": "end"' in last:
        return None
    return (
        f"{str(folder)!r} was left in the middle of its work: its process was killed, or something in it (a reward, "
        "say) ended it. What came after its newest checkpoint is lost."
    )
