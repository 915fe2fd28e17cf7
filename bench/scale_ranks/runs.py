"""Runs of two ranks in processes of their own, and whatever they start."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.scale_servers.processes import Process, below
from postlude.models.tiny import save_tiny_model

STEPS = 16
HANGS = 300.0
"""Seconds for one part of a run, on a machine that does much else."""
LOOK = 0.05


@dataclass
class Training:
    """One `postlude train`, and every process that was ever seen below it."""

    running: subprocess.Popen[bytes]
    seen: dict[tuple[int, str], Process] = field(default_factory=dict[tuple[int, str], Process])

    def left(self) -> list[Process]:
        """Those that still run."""
        return [process for process in list(self.seen.values()) if process.lives]

    def look_on(self) -> None:
        """Remember whatever runs below it, and below that."""
        while self.running.poll() is None:
            for process in below(self.running.pid):
                self.seen.setdefault((process.pid, process.started), process)
            time.sleep(LOOK)


def undisturbed(folder: Path) -> str | None:
    """What `weights_of` says of a run that nobody disturbs; None where it does not come to its end. The parts that want
    one share it, in one folder."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "model").exists():
            _material(folder)
        ended = (folder / "undisturbed" / "model").exists() or to_the_end(folder, "undisturbed")
        return weights_of(folder / "undisturbed") if ended else None


def _material(folder: Path) -> None:
    """A tiny model, and rows to learn."""
    save_tiny_model(folder / "model", layers=2, width=64, heads=2)
    rows = [{"prompt": f"{i}+{i + 1}=", "completion": f"{2 * i + 1}"} for i in range(60)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def start(folder: Path, name: str, options: Sequence[str] = ()) -> Training:
    """Begin a run, or go on with it."""
    place = folder / name
    words = [sys.executable, "-c", "from postlude.cli import main; main()", "train"]
    if (place / "config.yaml").exists():
        words += [str(place), "--resume"]
    else:
        words += ["sft", f"model={folder / 'model'}", f"data={folder / 'rows.jsonl'}", f"output={place}"]
        words += [
            f"steps={STEPS}",
            "prompts_per_step=6",
            "engine={trainers: 2, device: cpu, commit_every: 2}",
            *options,
        ]
    with (folder / f"{name}.log").open("ab") as log:
        running = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    training = Training(running)
    threading.Thread(target=training.look_on, daemon=True).start()
    return training


def to_the_end(folder: Path, name: str, options: Sequence[str] = ()) -> bool:
    """Whether the run comes to its end."""
    code = start(folder, name, options).running.wait(HANGS)
    if code:
        print(f"{name} ended with {code}: {(folder / f'{name}.log').read_text()[-1500:]}")
    return code == 0


def steps_of(place: Path) -> int:
    """How many steps events.jsonl tells of."""
    with suppress(OSError):
        return sum('"kind": "step"' in row for row in (place / "events.jsonl").read_text().splitlines())
    return 0


def weights_of(place: Path) -> str:
    """The newest checkpoint's step, and a hash of its weights."""
    newest = max((place / "checkpoints").glob("step-*"), key=lambda folder: int(folder.name.partition("-")[2]))
    digest = hashlib.sha256()
    for path in sorted(newest.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return f"{newest.name} {digest.hexdigest()}"
