"""A run that goes back to an earlier checkpoint: what came after is put aside, whole, in its folder.

    RUN/taken-back/step-000087-kl-explosion/     events.jsonl, eval.jsonl, ... as they were
                   rollouts/ broken/             of the steps that were taken back
                   checkpoints/                  those that came after

What is to be done is written down first (`ask`), so that a process which is killed within it leaves a folder that the
next one finishes; each part of it may be done twice.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from postlude import plain_json
from postlude.errors import ConfigError
from postlude.runs import checkpoints
from postlude.runs.durable import Disk, flush_tree, remove
from postlude.runs.files import broken_files, regular, rollout_files
from postlude.runs.sealed import APPENDED, PLACE, WHOLE, Sealed

ASIDE = "taken-back"
ASKED = "taking-back.json"
TAKEN_BACK = "taken-back"
"""Code of the note behind the checkpoint that a run went back to."""
EVERY = 10**9
"""Checkpoints that stay: all that are there."""


@dataclass(frozen=True)
class Back:
    """A way back."""

    step: int
    """Of the checkpoint to go back to."""
    name: str
    """Of the folder in `taken-back/` that takes what came after."""

    @property
    def place(self) -> str:
        """In the run's folder."""
        return f"{ASIDE}/{self.name}"


def good_before(folder: Path, step: int) -> int | None:
    """The step of the newest checkpoint that stands before a step; None where there is none."""
    there = [int(place.name.removeprefix("step-")) for place in checkpoints.complete(folder)]
    return max((number for number in there if number < step), default=None)


def run_of(place: Path) -> Path | None:
    """The run whose steps a folder of `taken-back/` holds; None of any other folder."""
    aside = (place if place.parent.name else place.resolve()).parent
    run = aside.parent
    return run if aside.name == ASIDE and (run / "events.jsonl").is_file() else None


def rule_of(place: Path) -> str:
    """The alarm that put such a folder aside, by its name."""
    named = re.fullmatch(r"step-\d+-(.+?)(?:-\d+)?", place.resolve().name)
    return named[1] if named else "an alarm"


def ask(disk: Disk, step: int, now: int, why: str) -> Back:
    """Write down that the run goes back from step `now` to the checkpoint of `step`."""
    name = f"{checkpoints.name_of(now)}-{why}"
    count = len([*(disk.root / ASIDE).glob(f"{name}*")])
    back = Back(step, f"{name}-{count + 1}" if count else name)
    disk.replace(ASKED, json.dumps(asdict(back)) + "\n")
    return back


def asked(folder: Path) -> Back | None:
    """What was written down and is not finished. Raises ConfigError where it cannot be read."""
    file = folder / ASKED
    try:
        known: Any = plain_json.read(regular(file))
        fields = cast("dict[str, Any]", known)
        return Back(int(fields["step"]), Path(str(fields["name"])).name)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{file} is damaged: the run was going back to an earlier checkpoint, and it does not say which. Remove it "
            "to go on from the newest one.",
            code="damaged-run",
        ) from error


def finish(disk: Disk, back: Back) -> None:
    """Do all that is left to do of it. Raises TrainingError where the disk refuses."""
    folder, place = disk.root, disk.root / back.place
    sealed = Sealed.at(folder / PLACE / checkpoints.name_of(back.step))
    disk.insist(back.place, lambda: _put_aside(folder, place, back.step))
    disk.insist(PLACE, lambda: _move_checkpoints(folder, place, back.step))
    checkpoints.rewind(disk, sealed)
    known: Mapping[str, Any] = sealed.state.get("best") or {}
    best: int | None = known.get("step")
    if best is None:
        disk.remove("best")
    checkpoints.tidy(disk, EVERY, best)
    disk.remove(ASKED)


def _put_aside(folder: Path, place: Path, step: int) -> None:
    """Copy everything that `rewind` takes away, under a hidden name first. Raises OSError."""
    if place.exists():
        return
    hidden = place.with_name(f".{place.name}")
    remove(hidden)
    (hidden / "rollouts").mkdir(parents=True)
    (hidden / PLACE).mkdir()
    files = [folder / name for name in (*APPENDED, *WHOLE, "timings.jsonl")]
    files += [path for number, path in rollout_files(folder / "rollouts") if number > step]
    files += [path for number, path in broken_files(folder / "broken") if number > step]
    for path in files:
        if path.is_file():
            target = hidden / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
    flush_tree(hidden)
    hidden.rename(place)
    flush_tree(place.parent)


def _move_checkpoints(folder: Path, place: Path, step: int) -> None:
    """Those that came after. Raises OSError."""
    for one in checkpoints.all_of(folder):
        if int(one.name.removeprefix("step-")) > step:
            one.rename(place / PLACE / one.name)
