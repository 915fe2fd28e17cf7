"""Every file of a run damaged in turn, then the run resumed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.faults.faults import Chosen, every, middle_of
from bench.faults.outcome import Bench, Outcome
from bench.faults.trial import RESUME, START, command


def flip(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Half of it is lost."""
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """All of it is lost but its name."""
    os.truncate(path, 0)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "bit flipped": flip,
    "cut in half": cut,
    "empty": empty,
    "gone": Path.unlink,
}
FOREIGN = (
    "notes.txt",
    "rollouts/notes.txt",
    "rollouts/step-000001.jsonl.gz",
    "checkpoints/notes.txt",
    "checkpoints/step-000002.bak/config.json",
    "checkpoints/step-9/readme",
)
"""Files of somebody else's, which a run leaves alone."""


def trials(bench: Bench, folder: Path, part: str, chosen: Chosen = every) -> Iterator[Outcome]:
    """Each file of a run as it lies in `folder`, damaged in each way; the outcome is that of resuming it."""
    bench.put(folder)
    quiet = command(bench.place, RESUME)
    bench.usual |= quiet.said
    number = 0
    newest = max(p.name for p in (folder / "checkpoints").glob("step-*"))
    for name in sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()):
        for damage, apply in DAMAGES.items():
            path = bench.run / name
            size = (folder / name).lstat().st_size
            if ((folder / name).is_symlink() and damage != "gone") or (not size and damage != "gone"):
                continue
            number += 1
            if not chosen(number):
                continue
            bench.put(folder)
            apply(path)
            kind, detail = bench.judged(bench.continued())
            spare = name.startswith("checkpoints/") and not name.startswith(f"checkpoints/{newest}/")
            yield Outcome(bench.family.name, part, damage, name, kind, detail, spare)
    for name in FOREIGN:
        number += 1
        if chosen(number):
            bench.put(folder)
            (bench.run / name).parent.mkdir(parents=True, exist_ok=True)
            (bench.run / name).write_text("not of this run\n")
            top = name if name.count("/") < 2 else name.rpartition("/")[0]
            kind, detail = bench.judged(bench.continued(), foreign=[name, top])
            yield Outcome(bench.family.name, part, "foreign file", name, kind, detail)


def finished_and_half(bench: Bench, store: Path) -> dict[str, Path]:
    """A finished run, and one that was killed in its middle, as folders."""
    middle = middle_of(bench, store / "half")
    bench.clear()
    command(bench.place, START)
    shutil.rmtree(store / "finished", ignore_errors=True)
    shutil.copytree(bench.run, store / "finished", symlinks=True)
    return {"finished": store / "finished", "half": middle}
