"""Runs every trial with every seed, once, and keeps what it logged. Resumable: what is there is not run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.alarms_study.trials import SEEDS, TRIALS, Trial
from bench.alarms_study.worlds import make, values_of
from postlude.errors import PostludeError
from postlude.runs import read

KEPT = ("events.jsonl", "config.yaml", "took.json")
"""Of a run: the rest, weights and answers, is not needed to judge rules."""


def slug(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name).replace("--", "-")


def place_of(study: Path, trial: Trial, seed: int) -> Path:
    return study / "runs" / slug(trial.name) / str(seed)


def made_of(trial: Trial) -> str:
    """What a run is made of, as a hash: one whose settings were changed is run again."""
    made = json.dumps([trial.task, trial.settings, trial.altered.__name__], sort_keys=True)
    return hashlib.sha256(made.encode()).hexdigest()[:16]


def is_there(study: Path, trial: Trial, seed: int) -> bool:
    path = place_of(study, trial, seed) / "took.json"
    return path.exists() and json.loads(path.read_text())["made_of"] == made_of(trial)


def world(study: Path, task: str, seed: int) -> Path:
    """The world of a task and a seed, made if it is not there."""
    folder = study / "worlds" / f"{task}-{seed}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, task, seed)
        (folder / "made").touch()
    return folder


def run(study: Path, trial: Trial, seed: int) -> float:
    """One run; the processor's seconds that it took. One that is refused before its first update is kept, too."""
    from postlude.launch import launch
    from postlude.recipe.documents import Document

    home, target = world(study, trial.task, seed), place_of(study, trial, seed)
    shutil.rmtree(target, ignore_errors=True)
    values = values_of(home, trial.task, trial.settings, seed) | {"output": str(target)}
    began, refused = time.process_time(), {}
    with trial.altered():
        try:
            launch(Document(values))
        except PostludeError as error:
            if read(target).steps:
                raise
            refused = {"refused": error.code}
    seconds = time.process_time() - began
    for entry in target.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in KEPT:
            entry.unlink()
    (target / "took.json").write_text(
        json.dumps({"processor_seconds": round(seconds, 2), "made_of": made_of(trial), **refused}) + "\n"
    )
    return seconds


def refusal(study: Path, trial: Trial, seed: int) -> str | None:
    """The code of the error by which a run was refused before its first update; None of one that went on."""
    return json.loads((place_of(study, trial, seed) / "took.json").read_text()).get("refused")


def missing(study: Path, wanted: Callable[[Trial, int], bool]) -> Iterator[tuple[Trial, int]]:
    """Seed by seed, so that a part of the study is a smaller study of both kinds of seeds."""
    for seed in sorted(SEEDS, key=lambda seed: (seed % 3, seed)):
        yield from ((t, seed) for t in TRIALS if wanted(t, seed) and not is_there(study, t, seed))


def collect(study: Path, wanted: Callable[[Trial, int], bool] = lambda trial, seed: True) -> list[str]:
    """Run what is missing; what failed, in words."""
    import torch

    torch.set_num_threads(1)
    failed: list[str] = []
    for trial, seed in list(missing(study, wanted)):
        try:
            seconds = run(study, trial, seed)
        except Exception as error:  # one that breaks must not cost the others; it is reported
            failed.append(f"{trial.name}, seed {seed}: {type(error).__name__}: {error}")
            print(failed[-1], file=sys.stderr, flush=True)
            continue
        print(f"{trial.name}, seed {seed}: {seconds:.1f} s", flush=True)
    return failed


def seconds_of(study: Path, trials: Sequence[Trial] = TRIALS) -> float:
    """Processor seconds of all runs that are there."""
    took = [place_of(study, t, s) / "took.json" for t in trials for s in SEEDS if is_there(study, t, s)]
    return sum(json.loads(path.read_text())["processor_seconds"] for path in took)
