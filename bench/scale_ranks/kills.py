"""Part `kills`: a run whose ranks are killed in a forward pass, a backward pass, a step and a save ends with what it
would have ended with.

A rank dies from inside, by SIGKILL: the recipe's method comes from a file of its own (`mortal.py`), which every rank
loads, and which counts what the rank does. Nothing of what is shipped knows of it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.scale_ranks.material import Material, Rows, events, table, train

STEPS, UPDATES, EVERY = 5, 2, 4
"""Steps of a run, updates in each, steps from one commit to the next."""
KILLS = (("forward", 1, 3), ("backward", 1, 6), ("step", 1, 8), ("save", 0, 1))
"""What which rank dies in, and in which of its calls since it was started; one after another."""
FILES = ("model.safetensors", "trainer/optimizer.safetensors")
MORTAL = '''"""GRPO, and ranks that kill themselves, once for each line of kills.json."""
import json, os, signal
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from postlude.algorithms import ALGORITHMS
from postlude.engines.local.engine import LocalEngine
from postlude.engines.local.trainer import LocalTrainer

GRPO = replace(ALGORITHMS["grpo"])
HERE = Path(__file__).parent
CALLS = {
    "forward": (LocalTrainer, "outputs"), "backward": (torch.Tensor, "backward"),
    "step": (torch.optim.AdamW, "step"), "save": (LocalEngine, "_write_beside"),
}


def dies(place, kind, name, rank, count, after):
    true, calls = getattr(kind, name), [0]

    def call(*args, **more):
        calls[0] += 1
        result = true(*args, **more) if after else None
        if calls[0] == count and dist.is_initialized() and dist.get_rank() == rank:
            place.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return result if after else true(*args, **more)

    setattr(kind, name, call)


if (HERE / "kills.json").exists():
    kills = json.loads((HERE / "kills.json").read_text())
    left = [(moment, rank, count) for moment, rank, count in kills if not (HERE / f"dead in {moment}").exists()]
    for moment, rank, count in left[:1]:
        dies(HERE / f"dead in {moment}", *CALLS[moment], rank, count, moment == "step")
'''


def run(folder: Path) -> bool:
    """One run that nobody disturbs, and one with all the kills."""
    material = Material.at(folder / "material")
    seconds = [_run(material, folder / name, kills) for name, kills in (("calm", ()), ("killed", KILLS))]
    dead = [(folder / f"killed/dead in {moment}").exists() for moment, _, _ in KILLS]
    rows: Rows = [[f"rank {rank} in {moment}, call {count}"] for moment, rank, count in KILLS]
    table(("killed", "came to pass"), [[*row, "yes" if died else "NO"] for row, died in zip(rows, dead, strict=True)])
    seen = {file: _bytes(folder, f"model/{file}") for file in FILES}
    seen["events.jsonl"] = [events(folder / name / "run")[1:] for name in ("calm", "killed")]  # the first names a path
    seen["rollouts/"] = [_rollouts(folder / name / "run") for name in ("calm", "killed")]
    same = {name: calm == killed for name, (calm, killed) in seen.items()}
    table(
        ("of the run", "against one without"), [[name, "bit-equal" if one else "OTHER"] for name, one in same.items()]
    )
    print(f"undisturbed {seconds[0]:.0f} s, with {len(KILLS)} kills {seconds[1]:.0f} s")
    return all(dead) and all(same.values()) and len(seen["rollouts/"][0]) == STEPS


def _run(material: Material, folder: Path, kills: Sequence[tuple[str, int, int]]) -> float:
    """Train, and the seconds that took."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "mortal.py").write_text(MORTAL)
    (folder / "kills.json").write_text(json.dumps(kills))
    started = time.monotonic()
    values = material.recipe("grpo", method=f"{folder / 'mortal.py'}:GRPO", steps=STEPS, updates=UPDATES)
    train(values, folder / "run", 2, commit_every=EVERY)
    return time.monotonic() - started


def _bytes(folder: Path, file: str) -> list[Any]:
    return [(folder / name / "run" / file).read_bytes() for name in ("calm", "killed")]


def _rollouts(run: Path) -> dict[str, bytes]:
    """The answers of each step."""
    return {file.name: file.read_bytes() for file in (run / "rollouts").glob("step-*.jsonl")}
