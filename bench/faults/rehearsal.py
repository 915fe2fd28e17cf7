"""One run in this process before the first trial.

Commands are forked off, and find made what the first run of a process makes: a quarter of a command's time.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import time
from pathlib import Path

from typer.testing import CliRunner

from bench.faults.families import FAMILIES, make_world, write_recipe
from bench.faults.trial import START

PATIENCE = 60.0
"""Seconds that threads of a run may outlive it."""


def rehearse() -> None:
    """Raises RuntimeError where the run fails, or leaves a thread: nothing could be forked off beside it."""
    from postlude.cli.app import app

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_world(place)
        write_recipe(place, FAMILIES["LoRA"])
        with contextlib.chdir(place):
            done = CliRunner().invoke(app, [*START])
    if done.exit_code:
        raise RuntimeError(done.output)
    end = time.monotonic() + PATIENCE
    while len(os.listdir("/proc/self/task")) > 1:
        gc.collect()  # pools in which transformers read weights end when they are collected
        time.sleep(0.01)
        if time.monotonic() > end:
            raise RuntimeError("a thread of the run is still there")
    gc.freeze()  # children then share these pages for good
