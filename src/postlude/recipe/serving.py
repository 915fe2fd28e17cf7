"""Rules of a recipe on vLLM servers (`engine.servers`): what contradicts what, and what only the run itself can say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from postlude.engines.servers.command import decided
from postlude.engines.servers.limits import unserved
from postlude.engines.settings import Local, Servers
from postlude.errors import Problem
from postlude.method import Algorithm
from postlude.models.lora import SERVED_RANKS, served_rank, token_layers
from postlude.objectives import TokenObjective
from postlude.recipe import measured
from postlude.sources.spec import Wrong
from postlude.words import Once

if TYPE_CHECKING:
    from postlude.recipe.schema import Recipe


def samples(recipe: Recipe, entry: Algorithm) -> bool:
    """Whether the policy answers prompts at all: in training, in evaluations, or on the sheet."""
    return entry.source == "rollout" or measured.samples(recipe) or recipe.evaluate.sheet is not None


def problems(recipe: Recipe, wrong: Wrong) -> list[Problem]:
    """A sentence for every rule that a recipe with servers breaks."""
    servers = recipe.engine.servers
    if servers is None:
        return []
    return [
        *_shares(recipe, servers, wrong),
        *_holds(recipe, wrong),
        *_samples_at(recipe, wrong),
        *_args(servers, wrong),
        *_publishes(recipe, wrong),
    ]


def both(engine: Local, sampler: object) -> str | None:
    """What is wrong where a policy has both kinds of server; None where it has at most one."""
    if sampler is None or engine.servers is None:
        return None
    return (
        "sampler and engine.servers both say who answers. sampler is any OpenAI-compatible server, with whatever "
        "weights it has; engine.servers are vLLM servers that get this model's weights from postlude. Keep one of them."
    )


def _shares(recipe: Recipe, servers: Servers, wrong: Wrong) -> Iterator[Problem]:
    """Who takes turns on a device can neither be elsewhere nor work at the same time."""
    key = "engine.servers.colocate"
    if servers.colocate and servers.urls:
        sentence = (
            f"{key}: servers that run already (urls) have been given their memory by others. Let postlude start them "
            "(count, python), or leave colocate out."
        )
        yield wrong(key, "contradiction", sentence)
    if servers.colocate and recipe.max_lag:
        sentence = (
            f"{key} lets the servers sleep while the trainer works, and max_lag {recipe.max_lag} lets both work at the "
            "same time. Set max_lag to 0, or give the servers a device of their own (colocate: false)."
        )
        yield wrong(key, "contradiction", sentence)


def _holds(recipe: Recipe, wrong: Wrong) -> Iterator[Problem]:
    """vLLM can hold the model as the trainer does."""
    if recipe.engine.dtype == "float64":
        sentence = (
            "engine.dtype is float64, which vLLM does not have: its log-probs would be rounded otherwise than the "
            "trainer's. Take float32, or sample in this process (engine.servers=null)."
        )
        yield wrong("engine.dtype", "not-supported", sentence)
    lora = recipe.model.lora
    if lora is not None and served_rank(lora.rank) is None:
        sentence = f"model.lora.rank is {lora.rank}, and vLLM loads adapters up to {SERVED_RANKS[-1]}. Lower it."
        yield wrong("model.lora.rank", "not-supported", sentence)
    layers = token_layers(lora.targets) if lora is not None else []
    if layers:
        sentence = (
            f"model.lora.targets names {', '.join(layers)}, a layer with a row for every token, and servers load no "
            "adapter on those. Leave it out, or take all-linear, which never stands on one."
        )
        yield wrong("model.lora.targets", "not-supported", sentence)


def _samples_at(recipe: Recipe, wrong: Wrong) -> Iterator[Problem]:
    """A temperature that vLLM neither changes nor refuses."""
    problem = unserved(recipe.sampling) if samples(recipe, recipe.algorithm) else None
    if problem is not None:
        yield wrong("sampling.temperature", "not-supported", f"sampling.temperature: {problem}")


def _publishes(recipe: Recipe, wrong: Wrong) -> Iterator[Problem]:
    """A way that there is for what is trained."""
    way, lora = recipe.engine.publish, recipe.model.lora
    if way == "lora" and lora is None:
        sentence = "engine.publish is lora, and no adapter is trained (model.lora). Take auto, files or stream."
        yield wrong("engine.publish", "contradiction", sentence)
    if way in ("files", "stream") and lora is not None:
        sentence = (
            f"engine.publish is {way}, and what is trained is an adapter (model.lora), which servers load as one. Take "
            "auto or lora."
        )
        yield wrong("engine.publish", "contradiction", sentence)


def _args(servers: Servers, wrong: Wrong) -> Iterator[Problem]:
    """Nothing of vLLM's command line that the run decides."""
    for word in servers.args:
        if (why := decided(word)) is not None:
            sentence = f"engine.servers.args holds {word.partition('=')[0]}, which the run sets: {why}. Take it out."
            yield wrong("engine.servers.args", "contradiction", sentence)


MOST_MISMATCH = 0.01
"""Nats per token (k1) between servers and trainer from which on a user hears of a correction."""


def notes_on(recipe: Recipe, figures: Mapping[str, float]) -> list[str]:
    """A note on a step's figures, once a run: servers in low precision disagree with the trainer about the same
    weights, and nothing corrects for it."""
    objective, apart = recipe.objective, abs(figures.get("mismatch/k1", 0.0))
    rough = recipe.servers is not None and recipe.engine.dtype in ("bfloat16", "float16")
    corrected = not isinstance(objective, TokenObjective) or objective.correction or objective.behaviour == "rollout"
    if not rough or recipe.max_lag or corrected or apart <= MOST_MISMATCH:
        return []
    text = (
        f"servers and trainer give the same tokens log-probs {apart:.2g} nats apart on average (mismatch/k1; up to "
        f"{MOST_MISMATCH:g} is usual), in {recipe.engine.dtype} and from the same weights, and nothing corrects for "
        "it. Set objective.correction.mode=token_truncate, or engine.dtype=float32"
    )
    return [Once("servers and trainer disagree", text)]
