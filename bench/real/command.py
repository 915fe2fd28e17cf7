"""One command of postlude in a process of its own: what it said, its time and the most memory it held."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postlude.runs import read
from postlude.runs.files import read_rows

LIMIT_GIB = 8
"""Address space of a command: what it chooses has to fit."""
START = "from postlude.cli import main; main()"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    arguments: tuple[str, ...]
    output: str
    code: int
    seconds: float
    """CPU seconds."""
    peak_mb: float
    """The most resident memory."""

    @property
    def path(self) -> str:
        """How the model was run, by the first line of a run."""
        found = re.search(r"\b(direct|packed|padded) path", self.output)
        return found.group(1) if found else ""


def postlude(folder: Path, *arguments: str) -> Done:
    """Run a command in `folder`, within the limit."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GIB << 30, LIMIT_GIB << 30))

    log = folder / "output.txt"
    environment = {**os.environ, "COLUMNS": "200"}
    with log.open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", START, *arguments], cwd=folder, stdout=out, stderr=out, env=environment,
            preexec_fn=limit,
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = used.ru_utime + used.ru_stime
    return Done(arguments, log.read_text(), child.returncode, seconds, used.ru_maxrss / 1024)


def steps(folder: Path, run: str) -> list[dict[str, Any]]:
    """The step events of a run."""
    return [*read(folder / run).of("step")]


def events(folder: Path, run: str) -> list[dict[str, Any]]:
    """All events of a run."""
    return [*read(folder / run).events]


def rows(path: Path) -> list[dict[str, Any]]:
    """A file of JSON lines."""
    return read_rows(path)


def moved_by(run: Path, start: Path) -> float:
    """How far a run's weights are from the model it started with; of an adapter, its own `B`, which starts at zero."""
    from safetensors.torch import load_file

    if not (run / "adapter_model.safetensors").exists():
        return furthest(run, start)
    adapter = load_file(run / "adapter_model.safetensors")
    return max(float(x.abs().max()) for name, x in adapter.items() if "lora_B" in name)


def furthest(one: Path, other: Path) -> float:
    """The largest difference between the weights of two folders."""
    from safetensors.torch import load_file

    names: Sequence[str] = [n for n in ("model.safetensors", "adapter_model.safetensors") if (one / n).exists()]
    (name,) = names
    a, b = load_file(one / name), load_file(other / name)
    assert a.keys() == b.keys()
    return max(float((a[key].float() - b[key].float()).abs().max()) for key in a)
