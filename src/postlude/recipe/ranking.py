"""Rules of a recipe on several trainers (`engine.trainers`), and what `engine: ray` stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from postlude.engines.gpus import gpus_here
from postlude.engines.ranks.places import cores
from postlude.errors import Problem
from postlude.recipe.documents import EACH_GPU, Document
from postlude.shapes import is_dict
from postlude.sources.spec import Wrong
from postlude.words import counted

if TYPE_CHECKING:
    from postlude.recipe.schema import Recipe

LEAST = 2
"""Trainers that `engine: ray` stands for where there are fewer GPUs."""
KEY = "engine.trainers"


def with_number(values: Mapping[str, Any], document: Document) -> tuple[dict[str, Any], list[Problem]]:
    """`engine.trainers: gpus`, which `engine: ray` is short for, as a number of this machine, which a note says; and a
    problem where `engine` is another word."""
    engine = values.get("engine")
    if isinstance(engine, str):
        sentence = (
            f"engine is {engine!r}, and takes keys, or a word: ray (several trainers, one for each GPU here) or local "
            "(this process). vLLM servers that sample are engine.servers."
        )
        others = {key: value for key, value in values.items() if key != "engine"}
        return others, [Problem("not-a-choice", sentence, key="engine").at(document.where("engine"))]
    if not is_dict(engine) or engine.get("trainers") != EACH_GPU:
        return dict(values), []
    number, why = _choice(engine)
    note = f"{KEY} is {number}: {why}{_elsewhere(engine)}"
    document.notes += [note] if note not in document.notes else []
    return {**values, "engine": {**engine, "trainers": number}}, []


def _choice(engine: Mapping[str, Any]) -> tuple[int, str]:
    """(how many, why so many)."""
    gpus = 0 if engine.get("device") == "cpu" else gpus_here()
    taken = _of_servers(engine)
    if gpus - taken >= LEAST:
        return gpus - taken, f"one for each GPU here{' that servers leave' if taken else ''}"
    least = "the least that engine: ray stands for"
    if engine.get("device") == "cpu":
        return LEAST, f"{least}, since engine.device is cpu"
    if gpus:
        left = f", of which servers take {taken}" if taken else ""
        return LEAST, f"{least}, since this machine has {counted(gpus, 'GPU')}{left}"
    return LEAST, f"{least}, on the CPU, since this machine shows no GPU"


def _of_servers(engine: Mapping[str, Any]) -> int:
    """GPUs that servers take which are started here. What is no number is told where values are validated."""
    servers = engine.get("servers")
    if not is_dict(servers):
        return 0
    count, each = servers.get("count"), servers.get("gpus", 1)
    return count * each if isinstance(count, int) and isinstance(each, int) else 0


def _elsewhere(engine: Mapping[str, Any]) -> str:
    address = engine.get("address", "local")
    return "" if address == "local" else f". Those of the cluster at {address} are not counted: give {KEY} a number"


def problems(recipe: Recipe, wrong: Wrong) -> list[Problem]:
    """A sentence for every rule that a recipe with several trainers breaks."""
    return [*_shares(recipe, wrong), *_publishes(recipe, wrong)] if recipe.engine.trainers > 1 else []


def _shares(recipe: Recipe, wrong: Wrong) -> Iterator[Problem]:
    """Ranks do not take turns with servers."""
    servers = recipe.engine.servers
    if servers and servers.colocate:
        key = "engine.servers.colocate"
        sentence = (
            f"{key} lets servers and one trainer take turns on the same GPU, and {KEY} is {recipe.engine.trainers}. "
            "Give the servers GPUs of their own (colocate: false), or set engine.trainers to 1."
        )
        yield wrong(key, "contradiction", sentence)


def _publishes(recipe: Recipe, wrong: Wrong) -> Iterator[Problem]:
    """A way to servers that there is from ranks, which hold no tensor whole."""
    if recipe.servers and recipe.engine.publish == "stream":
        sentence = (
            f"engine.publish is stream, which sends tensors out of one trainer's memory, and {KEY} is "
            f"{recipe.engine.trainers}. Take auto or files: ranks write each version to the run folder."
        )
        yield wrong("engine.publish", "contradiction", sentence)


def notes(recipe: Recipe) -> list[str]:
    """What a user should know of a recipe with several trainers before it runs."""
    return [*_idle(recipe), *_crowded(recipe)]


def _crowded(recipe: Recipe) -> list[str]:
    """More ranks on the CPU of this machine than it has cores."""
    held, number = recipe.engine, cores()
    if held.trainers <= number or held.address != "local" or (held.device != "cpu" and gpus_here()):
        return []
    return [
        f"{KEY} is {held.trainers}, and this machine has {counted(number, 'core')}: ranks take turns on them, and each "
        "step is slower than with fewer"
    ]


def _idle(recipe: Recipe) -> list[str]:
    trainers, units, noun = recipe.engine.trainers, *units_of(recipe)
    if units >= trainers:
        return []
    return [
        f"{KEY} is {trainers}, and an update has {counted(units, noun)} to share out: that leaves "
        f"{counted(trainers - units, 'rank')} with nothing to do in it. Raise prompts_per_step, or lower {KEY}"
    ]


def units_of(recipe: Recipe) -> tuple[int, str]:
    """(how many, what they are): what an update has at most to share out over ranks."""
    whole = not recipe.objective.splits_groups
    drawn = recipe.prompts_per_step
    if recipe.algorithm.source != "rollout":
        return max(1, drawn // recipe.updates), "row"
    if whole:
        return max(1, drawn // recipe.updates), "whole group"
    return max(1, drawn * recipe.group_size // recipe.updates), "answer"
