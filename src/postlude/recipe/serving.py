"""Rules of a recipe on vLLM servers (`engine.servers`): what contradicts what, and what only the run itself can say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from postlude.engines.settings import Local, Servers
from postlude.errors import Problem
from postlude.method import Algorithm
from postlude.models.lora import SERVED_RANKS, served_rank
from postlude.recipe import measured
from postlude.sources.spec import Wrong

if TYPE_CHECKING:
    from postlude.recipe.schema import Recipe

FIXED = {
    "--model": "model.path says which",
    "--tokenizer": "model.path says which",
    "--served-model-name": "requests name the version that they are for",
    "--dtype": "engine.dtype says which",
    "--quantization": "its log-probs would be those of another model",
    "--trust-remote-code": "code that comes with a model is never run",
    "--tensor-parallel-size": "engine.servers.gpus says how many",
    "-tp": "engine.servers.gpus says how many",
    "--max-model-len": "the longest prompt and sampling.max_tokens say how many",
    "--logprobs-mode": "only the log-probs of what was sampled from can be trained on",
    "--max-logprobs": "the log-prob of every sampled token is asked for",
    "--return-tokens-as-token-ids": "ids are asked for by themselves",
    "--enable-scale-out": "versions come from that endpoint, so it is always there",
    "--generation-config": "every setting of sampling is sent with each request",
    "--override-generation-config": "every setting of sampling is sent with each request",
    "--enable-lora": "model.lora says whether",
    "--max-lora-rank": "model.lora.rank says which",
    "--max-loras": "two versions are loaded at a time",
    "--max-cpu-loras": "two versions are loaded at a time",
    "--lora-modules": "a version is loaded when it is published",
    "--weight-transfer-config": "engine.publish says how weights come",
    "--worker-extension-cls": "engine.publish says how weights come",
    "--enable-sleep-mode": "engine.servers.colocate says whether",
    "--host": "a server that takes weights is reached from this machine alone",
    "--port": "a free one is taken",
    "--uds": "a free port of this machine is taken",
    "--api-key": "a server that is started here is reached from this machine alone",
    "--ssl-keyfile": "a server that is started here is reached from this machine alone",
    "--ssl-certfile": "a server that is started here is reached from this machine alone",
    "--root-path": "its endpoints are at the root",
    "--headless": "it is asked over HTTP",
    "--config": "it could set any of what the run sets; write the options out",
    "--seed": "every request has its own",
}
"""Options of vLLM that `engine.servers.args` must not hold -> why."""


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
    for url in servers.urls:
        parts = urlsplit(url)
        if parts.path.strip("/"):
            plain = f"{parts.scheme}://{parts.netloc}"
            sentence = f"engine.servers.urls: {url} is an endpoint; the server itself is {plain}. Write that."
            yield wrong("engine.servers.urls", "wrong-type", sentence)
    doubled = sorted({url for url in servers.urls if servers.urls.count(url) > 1})
    if doubled:
        sentence = f"engine.servers.urls names {', '.join(doubled)} more than once."
        yield wrong("engine.servers.urls", "duplicate-name", sentence)


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
        name = word.partition("=")[0]
        option = name if name == "-tp" else "--" + name.lstrip("-").replace("_", "-")
        taken = next((one for one in FIXED if one == option or (len(option) > 4 and one.startswith(option))), None)
        if name.startswith("-") and taken is not None:
            sentence = f"engine.servers.args holds {name}, which the run sets: {FIXED[taken]}. Take it out."
            yield wrong("engine.servers.args", "contradiction", sentence)
