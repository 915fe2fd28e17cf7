"""A `PoolSampler` over servers that run already, and a fleet that loses patience at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from contextlib import asynccontextmanager
from pathlib import Path

from postlude.engines.servers.fleet import Fleet, Member, Patience
from postlude.engines.servers.pool import PoolSampler
from postlude.engines.settings import Servers
from postlude.models.load import inspect
from postlude.models.spec import ModelSpec

QUICK = Patience(look=0.2, again=0.02, nobody=30.0)


def fleet_of(urls: list[str], label: int = 0, say: Callable[[str], None] = lambda text: None, **keys: object) -> Fleet:
    """Whoever comes up is labelled; `keys` are of `Servers`."""
    fleet = Fleet(Servers(urls=tuple(urls), **keys), Path("."), urls=urls, say=say, patience=QUICK)  # type: ignore[arg-type]
    fleet.admit = labelled(label)
    return fleet


def labelled(version: int) -> Callable[[Member], Awaitable[None]]:
    """Admits whoever comes up, under this version."""

    async def admit(member: Member) -> None:
        await member.server.label(version)

    return admit


def pool_of(folder: Path, fleet: Fleet, published: Container[int] = frozenset({0})) -> PoolSampler:
    """Over a fleet that is open, of the model in a folder."""
    facts = inspect(ModelSpec(str(folder)))
    return PoolSampler(fleet, published, facts.tokenizer, facts.stop_ids, facts.vocabulary, fleet.settings)


@asynccontextmanager
async def pooled(folder: Path, urls: list[str], **keys: object) -> AsyncGenerator[PoolSampler]:
    """Both, while it is open."""
    fleet = fleet_of(urls, **keys)  # type: ignore[arg-type]
    await fleet.open()
    try:
        yield pool_of(folder, fleet)
    finally:
        await fleet.close()
