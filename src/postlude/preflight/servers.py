"""Section `servers`: which vLLM servers a run would start, and whether there is room; which of `urls` answer, and as
what; what a run gives them. Starts none."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from postlude.engines.local.free import free
from postlude.engines.servers.addresses import private_urls
from postlude.engines.servers.command import HOST, NAME, threads_of
from postlude.engines.servers.deadline import within
from postlude.engines.servers.publishing import way_of
from postlude.engines.servers.wire import ServerFailure, VllmServer
from postlude.engines.settings import Local, Servers
from postlude.footprint import numbers
from postlude.preflight.commits import written_bytes
from postlude.preflight.report import Section
from postlude.prepared import Prepared
from postlude.sizing.work import SIZES
from postlude.words import counted, size

LOOK = 5.0
"""Seconds that each of `urls` has to say what it is."""
BESIDE = 2_500_000_000
"""Bytes that a vLLM server on a CPU takes at least beside its weights: modules, and a GiB of keys and values."""


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
    tries = "publishes to the servers and compares" if servers.urls else "starts the servers"
    section.table.append(("not tried", f"this check answers in this process; postlude engine check {tries}"))
    return section


def _start(prepared: Prepared, servers: Servers, section: Section) -> str:
    count = servers.count or len(servers.urls)
    section.figures |= {"count": count, "own": not servers.urls, "colocate": servers.colocate}
    if servers.urls:
        well = _ask(private_urls(servers.urls), servers.start_timeout, section)
        section.figures["answering"] = well
        return f"{counted(count, 'server')} of others, {well} ready"
    if prepared.vllm is not None:
        section.figures |= {"package": prepared.vllm.package, "vllm": prepared.vllm.version}
        section.table.append(("interpreter", f"{servers.python}: {prepared.vllm.package} {prepared.vllm.version}"))
    section.table.append(("device", _device(prepared, servers, count)))
    _require_room(prepared, servers, count, section)
    turns = ", which sleeps while the trainer works" if servers.colocate else ""
    return f"{counted(count, 'server')} started here{turns}"


def _ask(urls: Sequence[str], patience: float, section: Section) -> int:
    """How many answer as vLLM with a policy. What each says stands in the table, what is wrong in the findings."""

    async def all_of_them() -> list[tuple[str, bool] | ServerFailure]:
        return await asyncio.gather(*(_said_by(url) for url in urls))

    with ThreadPoolExecutor(1) as pool:  # an event loop may run in this thread, as in a notebook
        answers = pool.submit(lambda: asyncio.run(all_of_them())).result()
    for url, answer in zip(urls, answers, strict=True):
        if not isinstance(answer, ServerFailure):
            text, named = answer
            section.table.append((url, text))
            if not named:
                section.broken("server-refused", f"{url}: {text}, and no {NAME!r}.", f"--served-model-name {NAME}")
        elif answer.kind == "answer" or (answer.kind == "status" and (answer.status or 0) < 500):
            text = f"something answers at {url}, and it is no vLLM server of ours to use: {answer}."
            section.broken("server-refused", text, "See engine.servers.urls.")
        else:
            text = f"{url} does not answer now: {answer}."
            section.warn("server-unreachable", text, f"A run waits for it for {patience:.0f} s (start_timeout).")
    return sum(not isinstance(answer, ServerFailure) and answer[1] for answer in answers)


async def _said_by(url: str) -> tuple[str, bool] | ServerFailure:
    """Its version with what it serves, and whether that is a policy; or why it says nothing."""
    server = VllmServer(url)
    try:
        async with within(LOOK):
            await server.health()
            version, listed = await server.version(), await server.models()
        names = [one.name for one in listed]
        return f"vLLM {version}, serves {', '.join(names) or 'nothing'}", NAME in names
    except TimeoutError:
        return ServerFailure("timeout", f"no reply within {LOOK:g} s")
    except ServerFailure as failure:
        return failure
    finally:
        await server.close()


def _require_room(prepared: Prepared, servers: Servers, count: int, section: Section) -> None:
    """Warn where servers on a CPU cannot all be held: by a bound that each is above."""
    import torch

    if prepared.devices or (torch.cuda.is_available() and prepared.recipe.engine.device != "cpu"):
        return
    each = BESIDE + numbers(prepared.recipe.model.path) * SIZES[prepared.recipe.engine.dtype]
    there = free(torch.device("cpu"))
    section.figures["least_bytes"] = count * each
    if count * each > there.bytes:
        section.warn(
            "out-of-memory",
            f"engine.servers.count is {count}: each takes at least {size(each)} on a CPU, together "
            f"{size(count * each)}, and {size(there.bytes)} are free ({there.bound}).",
            f"Lower engine.servers.count: {max(1, there.bytes // each)} at most.",
        )


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
    recipe, sizes = prepared.recipe, written_bytes(prepared)
    if sizes is None:
        return
    version, commit = sizes
    section.figures |= {"version_bytes": version, "commit_bytes": commit, "commit_every": recipe.commit_every}
    when = "before each" if recipe.commit_every == 1 else f"every {recipe.commit_every} steps"
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
