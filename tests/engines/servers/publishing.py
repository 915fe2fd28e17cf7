"""A trainer, its shelf and fake servers, for tests of what is published to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch

from postlude.engines.local.engine import LocalEngine
from postlude.engines.servers.fleet import Member
from postlude.engines.servers.handshake import Handshakes
from postlude.engines.servers.shelf import Shelf
from postlude.engines.servers.wire import VllmServer
from postlude.models.lora import Lora
from postlude.models.tied import is_tied
from tests.fake_vllm import FakeServer

T = TypeVar("T")


@dataclass
class Stage:
    """`at(version)` writes it, all weights changed."""

    folder: Path
    run: Path
    lora: Lora | None = None
    engine: LocalEngine = field(init=False)
    shelf: Shelf = field(init=False)

    def __post_init__(self) -> None:
        self.engine = LocalEngine.open(str(self.folder), token_budget=1024, lora=self.lora)
        self.shelf = Shelf.open(self.run, self.engine.policy, self.engine.tokenizer, str(self.folder))

    @torch.no_grad()
    def at(self, version: int) -> Path:
        random = torch.Generator().manual_seed(version)
        for p in self.engine.model.net.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=random))
        return self.shelf.place(version)

    def handshakes(self, length: int = 256) -> Handshakes:
        net = self.engine.model.net
        return Handshakes(self.engine.trainer, self.engine.model.vocabulary, length, is_tied(net))


def with_members(fakes: Sequence[FakeServer], work: Callable[[list[Member]], Awaitable[T]], model: str = "policy") -> T:
    """Do it with a member for each server."""

    async def go() -> T:
        members = [Member(f"server {i} ({f.url})", VllmServer(f.url, 60.0), None) for i, f in enumerate(fakes, 1)]
        for member in members:
            member.model = model
        try:
            return await work(members)
        finally:
            for member in members:
                await member.server.close()

    return asyncio.run(go())
