"""What a recipe's several trainers need of this machine, looked at before a model loads: Ray, and a GPU for each."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from postlude.engines.gpus import gpus_here
from postlude.engines.settings import Local
from postlude.errors import Problem
from postlude.prepared import Prepared
from postlude.recipe.ranking import KEY
from postlude.words import counted

INSTALL = "pip install 'postlude[ray]'"
LEAST = (2, 60)
"""Of Ray: tokens are right from there on."""


def problems_of_ranks(prepared: Prepared) -> list[Problem]:
    """Everything that is wrong. Starts nothing, connects to nobody, imports no Ray."""
    held = prepared.recipe.engine
    if held.trainers == 1:
        return []
    problems = [_problem_of_ray(held.trainers), _problem_of_gpus(held, prepared)]
    return [problem for problem in problems if problem is not None]


def _problem_of_ray(trainers: int) -> Problem | None:
    if find_spec("ray") is None:
        return Problem("missing-package", f"{KEY} is {trainers}, which needs Ray: {INSTALL}", key=KEY)
    try:
        text = version("ray")
    except PackageNotFoundError:
        return None  # it is there without its metadata, as of a build of one's own
    parts = tuple(int(part) if part.isdigit() else 0 for part in text.split(".")[:2])
    if LEAST <= parts < (3,):
        return None
    sentence = f"{KEY} is {trainers}, which needs Ray 2.60 or later, below 3; this is {text}: {INSTALL}"
    return Problem("missing-package", sentence, key=KEY)


def _problem_of_gpus(held: Local, prepared: Prepared) -> Problem | None:
    """Of trainers on this machine: those of a cluster are counted there, and beside servers that are started here
    `check_servers` counts."""
    gpus = 0 if held.device == "cpu" else gpus_here()
    servers = prepared.recipe.servers
    if held.address != "local" or (not gpus and held.device != "cuda") or (gpus and servers and servers.count):
        return None
    if held.trainers <= gpus:
        return None
    sentence = (
        f"{KEY} wants {counted(held.trainers, 'GPU')}, one for each; this process sees {counted(gpus, 'GPU')}. Lower "
        "it, widen CUDA_VISIBLE_DEVICES, or set engine.device to cpu."
    )
    return Problem("no-room", sentence, key=KEY)
