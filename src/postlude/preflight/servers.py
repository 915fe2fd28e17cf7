"""Section `servers`: which vLLM servers a run would start or reach, and what it gives them. Starts none."""

from __future__ import annotations

from postlude.engines.servers.command import HOST, threads_of
from postlude.engines.servers.publishing import way_of
from postlude.engines.settings import Local, Servers
from postlude.errors import ConfigError
from postlude.footprint import numbers, shape_of
from postlude.models.adapters import is_adapter
from postlude.preflight.report import Section
from postlude.prepared import Prepared
from postlude.sizing.work import SIZES
from postlude.words import counted, size

MOMENTS = 8
"""Bytes of AdamW's for each number that trains."""


def look_at_servers(prepared: Prepared) -> Section | None:
    """What is wrong with them was refused by the check; None where a run has none."""
    recipe = prepared.recipe
    servers = recipe.servers
    if servers is None:
        return None
    section = Section("servers", "vLLM servers")
    section.summary = _start(prepared, servers, section)
    section.table.append(("reached", _addresses(servers)))
    _publish(prepared, section)
    _written(prepared, section)
    _longest(prepared, section)
    section.table.append(("not tried", "this check answers in this process; postlude engine check starts the servers"))
    return section


def _start(prepared: Prepared, servers: Servers, section: Section) -> str:
    count = servers.count or len(servers.urls)
    section.figures |= {"count": count, "own": not servers.urls, "colocate": servers.colocate}
    if servers.urls:
        return f"{counted(count, 'server')} that run already"
    if prepared.vllm is not None:
        section.figures |= {"package": prepared.vllm.package, "vllm": prepared.vllm.version}
        section.table.append(("interpreter", f"{servers.python}: {prepared.vllm.package} {prepared.vllm.version}"))
    section.table.append(("device", _device(prepared, servers, count)))
    turns = ", which sleeps while the trainer works" if servers.colocate else ""
    return f"{counted(count, 'server')} started here{turns}"


def _device(prepared: Prepared, servers: Servers, count: int) -> str:
    if not prepared.devices:
        return f"the CPU, {counted(threads_of(count), 'thread')} each"
    shared = "which the trainer shares" if servers.colocate else "the trainer has another"
    return f"GPU {', '.join(prepared.devices)} ({servers.gpus} each), {shared}"


def _addresses(servers: Servers) -> str:
    """What replaces weights asks for no password."""
    if servers.urls:
        return ", ".join(servers.urls)
    return f"on {HOST} alone, at a free port each"


def _publish(prepared: Prepared, section: Section) -> None:
    held, adapter = prepared.recipe.engine, _trains_adapter(prepared)
    way = way_of(held.publish, adapter)
    section.figures["publish"] = way
    why = "as engine.publish says" if held.publish != "auto" else f"auto: {_why(adapter)}"
    section.table.append(("publish", f"{way} ({why}); compared {_how_often(held)}"))


def _why(adapter: bool) -> str:
    return "an adapter is trained" if adapter else "all weights are trained"


def _how_often(held: Local) -> str:
    return "after each" if held.probe_every == 1 else f"after every {held.probe_every}th"


def _trains_adapter(prepared: Prepared) -> bool:
    return prepared.recipe.model.lora is not None


def _written(prepared: Prepared, section: Section) -> None:
    """To the disk, by publications and the checkpoints before them; unknown of a model that is not here yet."""
    recipe = prepared.recipe
    held = recipe.engine
    trained = numbers(recipe.model.path)
    if recipe.model.lora is not None:
        try:
            trained = shape_of(recipe.model.path).adapter(recipe.model.lora.rank, recipe.model.lora.targets)
        except ConfigError:
            trained = 0
    if not trained or is_adapter(recipe.model.path):
        return
    version = trained * (SIZES[held.dtype] if recipe.model.lora is None else 4)
    master = 4 if SIZES[held.dtype] < 4 else 0
    commit = version + trained * (MOMENTS + master)
    section.figures |= {"version_bytes": version, "commit_bytes": commit, "commit_every": held.commit_every}
    when = "before each" if held.commit_every == 1 else f"every {held.commit_every} steps"
    section.table.append(("a step writes", f"{size(version)} for a version, and {when} a checkpoint of {size(commit)}"))


def _longest(prepared: Prepared, section: Section) -> None:
    recipe = prepared.recipe
    prompts = [*prepared.prompts, *prepared.held_out, *prepared.sheet]
    longest = max((len(prompt.tokens) for prompt in prompts), default=0)
    whole = longest + recipe.sampling.max_tokens
    section.figures["longest"] = whole
    context = f" of the model's {prepared.facts.context:,}" if prepared.facts.context else ""
    text = f"{longest:,} + {recipe.sampling.max_tokens:,} = {whole:,} tokens{context}"
    section.table.append(("longest", text))
